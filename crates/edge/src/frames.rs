//! The bytes of frames: the contract's codec behind WebSocket headers.

use bytes::Bytes;
use model::{Encoding, ServerFrame};
use session::log::{Frames, WireKind};
use wire::{codec, ws};

/// Implements the port through which sessions and logs get their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct EdgeFrames;

impl Frames for EdgeFrames {
    fn entry(&self, encoding: Encoding, payload: &Bytes) -> Bytes {
        let write = |out: &mut Vec<u8>| codec::message_frame(encoding, payload, out);
        ws::message_frame_with(ws::data_kind(encoding), 2 * payload.len() + 16, write).0
    }

    fn says(&self, wire: WireKind, frame: &ServerFrame, out: &mut Vec<u8>) {
        let encoding = wire.encoding();
        let mut bytes = Vec::new();
        codec::encode_server(encoding, frame, &mut bytes);
        ws::frame_into(ws::OpCode::Data(ws::data_kind(encoding)), &bytes, out);
    }
}
