//! What has begun on a connection and is not whole yet.

use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::WsError;
use super::head::{HEAD_BYTES_MAX, Head};

/// The cut-off header, frame and message of one connection; see [`super::Decoder`] for its life.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) head: CutHead,
    /// The frame whose header is whole and whose payload is not.
    pub(super) frame: Option<Frame>,
    /// What arrived of a control frame's payload. Apart from `message`, because control frames come
    /// between the fragments of one.
    control: Vec<u8>,
    message: Option<Message>,
}

/// A frame that became whole in the box.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    Control(OpCode),
    Message(Data),
}

impl InFlight {
    pub(super) fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    /// Adds unmasked bytes of `frame`, and says when it completes something to be told.
    ///
    /// `max` bounds what is reserved for a message that goes on after this frame.
    pub(super) fn absorb(
        &mut self,
        mut frame: Frame,
        payload: &[u8],
        max: usize,
    ) -> Result<Option<Held>, WsError> {
        match frame.opcode {
            OpCode::Control(_) => self.control.extend_from_slice(payload),
            OpCode::Data(kind) => {
                let message = self.message.get_or_insert_with(|| Message::new(kind));
                let end = message.bytes.len() + frame.missing();
                message.append(payload, if frame.fin { end } else { max });
            }
        }
        frame.received += payload.len();
        if frame.missing() > 0 {
            self.frame = Some(frame);
            return Ok(None);
        }
        match (frame.opcode, &mut self.message) {
            (OpCode::Control(_), _) => Ok(Some(Held::Control(frame.opcode))),
            (OpCode::Data(_), Some(message)) if frame.fin => {
                message.complete = true;
                Ok(Some(Held::Message(message.kind)))
            }
            (OpCode::Data(_), Some(message)) => message.check_fragment().map(|()| None),
            (OpCode::Data(_), None) => Ok(None),
        }
    }

    /// The bytes of what [`Self::absorb`] completed.
    pub(super) fn payload(&self, held: Held) -> &[u8] {
        match held {
            Held::Control(_) => &self.control,
            Held::Message(_) => self.message.as_ref().map_or(&[], |message| &message.bytes),
        }
    }

    /// Frees what the last event lent; true if nothing is left in flight.
    pub(super) fn release(&mut self) -> bool {
        if self.frame.is_none() {
            self.control = Vec::new();
        }
        self.message.take_if(|message| message.complete);
        self.head.len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Bytes of heap that this holds, itself included.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>()
            + self.control.capacity()
            + self.message.as_ref().map_or(0, |message| message.bytes.capacity())
    }
}

/// The first bytes of a header.
#[derive(Debug, Default)]
pub(super) struct CutHead {
    bytes: [u8; HEAD_BYTES_MAX],
    len: u8,
}

impl CutHead {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes from the front of `input`; the header, once whole, and how many bytes were used.
    pub(super) fn extend(&mut self, input: &[u8]) -> Result<(Option<Head>, usize), WsError> {
        let before = usize::from(self.len);
        let used = input.len().min(HEAD_BYTES_MAX - before);
        let filled = before + used;
        self.bytes[before..filled].copy_from_slice(&input[..used]);
        match Head::parse(&self.bytes[..filled])? {
            Some((head, size)) => {
                self.len = 0;
                Ok((Some(head), size - before))
            }
            None => {
                self.len = filled as u8;
                Ok((None, used))
            }
        }
    }
}

/// A frame with its header read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    pub(super) mask: [u8; 4],
    pub(super) len: usize,
    /// Bytes of the payload that came with earlier reads.
    pub(super) received: usize,
}

impl Frame {
    /// Checks a header against the message in flight and the limit.
    pub(super) fn admit(
        head: Head,
        message: Option<&Message>,
        max: usize,
    ) -> Result<Self, WsError> {
        let before = match (head.opcode, message) {
            (OpCode::Control(_), _) | (OpCode::Data(Data::Text | Data::Binary), None) => 0,
            (OpCode::Data(Data::Continue), Some(message)) => message.bytes.len(),
            (OpCode::Data(Data::Continue), None) => return Err(WsError::ContinuationWithoutStart),
            (OpCode::Data(_), Some(_)) => return Err(WsError::MessageInsideMessage),
            (OpCode::Data(Data::Reserved(code)), None) => {
                return Err(WsError::ReservedOpcode(code));
            }
        };
        let Head { opcode, fin, mask, len } = head;
        let declared = len.saturating_add(before as u64);
        // A control frame's length was bounded by its header already, whatever the caller allows.
        let fits = matches!(opcode, OpCode::Control(_)) || declared <= max as u64;
        match usize::try_from(len) {
            Ok(len) if fits => Ok(Self { opcode, fin, mask, len, received: 0 }),
            _ => Err(WsError::TooLarge { declared, max }),
        }
    }

    /// Bytes of the payload that are still to come.
    pub(super) fn missing(&self) -> usize {
        self.len - self.received
    }
}

/// A message of which not all frames are whole.
#[derive(Debug)]
pub(super) struct Message {
    kind: Data,
    bytes: Vec<u8>,
    /// How many of `bytes` are known to be UTF-8; moves at the end of each fragment of a text.
    checked: usize,
    /// All is here and was told; the next [`InFlight::release`] frees it.
    complete: bool,
}

impl Message {
    fn new(kind: Data) -> Self {
        Self { kind, bytes: Vec::new(), checked: 0, complete: false }
    }

    /// Grows by doubling, hence by what really arrives, but not beyond `limit`.
    fn append(&mut self, payload: &[u8], limit: usize) {
        let needed = self.bytes.len() + payload.len();
        if needed > self.bytes.capacity() {
            let capacity = (2 * self.bytes.capacity()).min(limit).max(needed);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(payload);
    }

    /// Fails a text early. A character may be cut by the fragment's end, so an unfinished one at the very
    /// end is left for the next fragment.
    fn check_fragment(&mut self) -> Result<(), WsError> {
        if self.kind != Data::Text {
            return Ok(());
        }
        match str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(WsError::InvalidUtf8),
        }
        Ok(())
    }
}
