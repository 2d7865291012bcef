//! The header of a client's frame.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{CONTROL_BYTES_MAX, WsError};

/// The longest header that a client sends: two bytes, eight of length, four of mask.
pub(super) const HEAD_BYTES_MAX: usize = 14;

/// What a whole header says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    pub(super) mask: [u8; 4],
    pub(super) len: u64,
}

impl Head {
    /// The header at the front of `bytes` and its size; `None` while it is cut off.
    ///
    /// Checks go in the order of the bytes and each as soon as its bytes are there, so that the error is the
    /// same wherever a read was cut.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, WsError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let opcode = opcode(first)?;
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        let short = second & 0x7f;
        if second & 0x80 == 0 {
            return Err(WsError::Unmasked);
        }
        let Some((len, rest)) = length(short, rest)? else {
            return Ok(None);
        };
        if matches!(opcode, OpCode::Control(_)) && len > CONTROL_BYTES_MAX as u64 {
            return Err(WsError::ControlTooLarge);
        }
        let Some((&mask, payload)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let head = Self { opcode, fin: first & 0x80 != 0, mask, len };
        Ok(Some((head, bytes.len() - payload.len())))
    }
}

fn opcode(first: u8) -> Result<OpCode, WsError> {
    if first & 0x70 != 0 {
        return Err(WsError::ReservedBits);
    }
    match OpCode::from(first & 0x0f) {
        OpCode::Data(Data::Reserved(code)) | OpCode::Control(Control::Reserved(code)) => {
            Err(WsError::ReservedOpcode(code))
        }
        OpCode::Control(_) if first & 0x80 == 0 => Err(WsError::FragmentedControl),
        known => Ok(known),
    }
}

/// The payload's length and what follows it; `None` while it is cut off.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, WsError> {
    let parsed = match short {
        126 => rest
            .split_first_chunk()
            .map(|(bytes, rest)| (u64::from(u16::from_be_bytes(*bytes)), 126..=0xffff, rest)),
        127 => rest
            .split_first_chunk()
            .map(|(bytes, rest)| (u64::from_be_bytes(*bytes), 0x1_0000..=i64::MAX as u64, rest)),
        _ => return Ok(Some((u64::from(short), rest))),
    };
    match parsed {
        None => Ok(None),
        Some((len, allowed, rest)) if allowed.contains(&len) => Ok(Some((len, rest))),
        Some(_) => Err(WsError::BadLength),
    }
}
