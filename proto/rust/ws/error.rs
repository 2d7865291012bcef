use std::error::Error;
use std::fmt;

use super::CONTROL_BYTES_MAX;

/// What a client's bytes did wrong. The connection cannot go on: the borders of frames are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WsError {
    /// RSV1, RSV2 or RSV3 is set; no extension was negotiated that gives them a meaning.
    ReservedBits,
    /// The opcode, 3-7 or 11-15, has no meaning.
    ReservedOpcode(u8),
    /// A ping, pong or close without the FIN bit.
    FragmentedControl,
    /// A ping, pong or close of more than [`CONTROL_BYTES_MAX`] bytes.
    ControlTooLarge,
    /// Clients must mask every frame.
    Unmasked,
    /// The length was not written in its shortest form, or has its highest bit set.
    BadLength,
    /// The message, as far as its headers declare it, is larger than the caller allows.
    TooLarge {
        /// Bytes of the message up to the end of the frame that was refused.
        declared: u64,
        /// Bytes that were allowed.
        max: usize,
    },
    /// A continuation frame, but no message is open.
    ContinuationWithoutStart,
    /// A new text or binary frame, but the fragmented message before it is not complete.
    MessageInsideMessage,
    /// A text message, or the reason in a close frame, is not UTF-8.
    InvalidUtf8,
    /// A close frame with half a code.
    BadClosePayload,
    /// A close code that must not be sent, such as 1005 or 999.
    BadCloseCode(u16),
}

impl fmt::Display for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ReservedBits => f.write_str("reserved bits are set in a frame"),
            Self::ReservedOpcode(opcode) => write!(f, "opcode {opcode} is reserved"),
            Self::FragmentedControl => f.write_str("a control frame is fragmented"),
            Self::ControlTooLarge => {
                write!(f, "a control frame is larger than {CONTROL_BYTES_MAX} bytes")
            }
            Self::Unmasked => f.write_str("a frame is not masked"),
            Self::BadLength => f.write_str("a frame's length is not in its shortest form"),
            Self::TooLarge { declared, max } => {
                write!(f, "a message of {declared} bytes or more, the limit is {max}")
            }
            Self::ContinuationWithoutStart => f.write_str("a continuation without a message"),
            Self::MessageInsideMessage => {
                f.write_str("a new message before the fragmented one was complete")
            }
            Self::InvalidUtf8 => f.write_str("text is not valid UTF-8"),
            Self::BadClosePayload => f.write_str("a close frame holds half a code"),
            Self::BadCloseCode(code) => write!(f, "close code {code} must not be sent"),
        }
    }
}

impl Error for WsError {}
