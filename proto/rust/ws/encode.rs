//! From payloads to a server's frames: final, unmasked, hence the same bytes for every reader.

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::CONTROL_BYTES_MAX;

/// The longest header that a server writes: two bytes and eight of length.
pub const HEADER_BYTES_MAX: usize = 10;

/// Writes the header of a whole message or control frame to the front of `out`; its size.
pub fn header(opcode: OpCode, payload_len: usize, out: &mut [u8; HEADER_BYTES_MAX]) -> usize {
    out[0] = 0x80 | u8::from(opcode);
    match payload_len {
        0..=125 => {
            out[1] = payload_len as u8;
            2
        }
        126..=0xffff => {
            out[1] = 126;
            out[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            4
        }
        _ => {
            out[1] = 127;
            out[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            10
        }
    }
}

/// Appends a frame.
pub fn frame_into(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let mut head = [0; HEADER_BYTES_MAX];
    let size = header(opcode, payload.len(), &mut head);
    out.reserve(size + payload.len());
    out.extend_from_slice(&head[..size]);
    out.extend_from_slice(payload);
}

/// Appends a close frame; a reason that does not fit is cut at a character's border.
pub fn close_into(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - size_of::<u16>());
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = [0; CONTROL_BYTES_MAX];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + end].copy_from_slice(&reason.as_bytes()[..end]);
    frame_into(OpCode::Control(Control::Close), &payload[..2 + end], out);
}

/// Appends a ping; of the payload at most [`CONTROL_BYTES_MAX`] bytes.
pub fn ping_into(payload: &[u8], out: &mut Vec<u8>) {
    control_into(Control::Ping, payload, out);
}

/// Appends the answer to a ping; of the payload at most [`CONTROL_BYTES_MAX`] bytes, which a
/// [`super::Decoder`]'s event never exceeds.
pub fn pong_into(payload: &[u8], out: &mut Vec<u8>) {
    control_into(Control::Pong, payload, out);
}

fn control_into(control: Control, payload: &[u8], out: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    frame_into(OpCode::Control(control), payload, out);
}

/// `[header | payload]` in one allocation, and the header's size: WebSocket readers share all of it, gRPC
/// readers the part behind the header.
#[must_use]
pub fn message_frame(kind: Data, payload: &[u8]) -> (Bytes, usize) {
    let mut head = [0; HEADER_BYTES_MAX];
    let size = header(OpCode::Data(kind), payload.len(), &mut head);
    let mut frame = Vec::with_capacity(size + payload.len());
    frame.extend_from_slice(&head[..size]);
    frame.extend_from_slice(payload);
    (frame.into(), size)
}

/// The same for a payload that is yet to be encoded: `write` appends it, and nothing is copied afterwards.
///
/// A good guess of the payload's size saves growth; a bad one costs what [`Vec`] costs.
#[must_use]
pub fn message_frame_with(
    kind: Data,
    payload_guess: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> (Bytes, usize) {
    let mut frame = Vec::with_capacity(HEADER_BYTES_MAX + payload_guess);
    frame.resize(HEADER_BYTES_MAX, 0);
    write(&mut frame);
    let mut head = [0; HEADER_BYTES_MAX];
    let size = header(OpCode::Data(kind), frame.len() - HEADER_BYTES_MAX, &mut head);
    // The header's size is known last, so it ends where the room that was kept for it ends.
    let start = HEADER_BYTES_MAX - size;
    frame[start..HEADER_BYTES_MAX].copy_from_slice(&head[..size]);
    (Bytes::from(frame).slice(start..), size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        let mut head = [0; HEADER_BYTES_MAX];
        let text = OpCode::Data(Data::Text);
        let sizes = [0, 125, 126, 0xffff, 0x1_0000].map(|len| header(text, len, &mut head));
        assert_eq!(sizes, [2, 2, 4, 4, 10]);
        assert_eq!(head, [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        close_into(4001, &"ü".repeat(100), &mut out);
        assert_eq!(out[..4], [0x88, 124, 0x0f, 0xa1]);
        assert_eq!(str::from_utf8(&out[4..]), Ok("ü".repeat(61).as_str()));
    }

    #[test]
    fn a_control_payload_never_outgrows_its_frame() {
        let mut out = Vec::new();
        pong_into(&[7; 300], &mut out);
        assert_eq!(out.len(), 2 + CONTROL_BYTES_MAX);
    }

    #[test]
    fn a_message_is_framed_alike_whether_copied_or_written_in_place() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; len];
            let (copied, size) = message_frame(Data::Binary, &payload);
            let written = message_frame_with(Data::Binary, 64, |out| out.extend(&payload));
            assert_eq!(written, (copied.clone(), size));
            assert_eq!(copied[size..], payload);
        }
    }
}
