//! WebSocket framing (RFC 6455) for the server's side, without I/O: bytes in, events out, and back.
//!
//! It stands apart from tungstenite's own `WebSocket` because that one owns a stream and two buffers per
//! connection. A shard owns ten thousand sockets and one scratch: it reads whichever socket is ready into
//! the scratch and hands the bytes to that socket's [`Decoder`], which unmasks in place and lends the
//! payload out of the scratch. What we send is the same for every member of a room, so it is framed once
//! ([`message_frame`]) and shared. Op codes and close codes are tungstenite's types, and tungstenite is the
//! oracle that the tests hold this module against.
//!
//! # Invariants
//! - An idle connection costs the 16 bytes of its [`Decoder`]. Only a header, frame or message that is cut
//!   off at the end of the scratch is copied, into one box that is dropped when it is whole.
//! - Memory follows bytes received, never lengths declared: at most twice what arrived of the message in
//!   flight, at most the caller's limit, and some 250 bytes beside it. A message over the limit is refused
//!   by its header.
//! - How the bytes are cut into reads changes neither the events nor the error.
//! - After an error or a close frame the decoder is finished: it swallows input and says nothing more.
//! - Text is UTF-8, close codes may be sent by a client, control payloads fit into one control frame.
//!
//! # What is refused
//! Everything that RFC 6455 forbids a client, see [`WsError`]. Stricter than tungstenite in two places:
//! lengths must have their shortest form, and a close code must be one that may be sent.
//!
//! Look elsewhere for: sockets and writes (`edge`), the frames of the contract (`codec`), extensions such
//! as compression (none is negotiated, so reserved bits are errors).

mod decode;
mod encode;
mod error;
mod handshake;
mod head;
mod in_flight;
mod mask;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Event};
pub use encode::{
    HEADER_BYTES_MAX, close_into, frame_into, header, message_frame, message_frame_with, ping_into,
    pong_into,
};
pub use error::WsError;
pub use handshake::{
    Upgrade, UpgradeError, VERSION, accept_key, data_kind, select_subprotocol, subprotocol, upgrade,
};
pub use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest payload of a control frame (RFC 6455, 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
