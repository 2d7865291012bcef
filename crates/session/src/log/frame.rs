//! One committed entry, and the bytes that every reader of an edge shares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::{ContentKind, Encoding, Entry, Seq, ServerFrame};

/// What a frame weighs besides its payload: the struct, its allocation and two headers.
pub(super) const FRAME_OVERHEAD_BYTES: usize = 192;

/// How a session's bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireKind {
    /// One text message a frame, `parlour.v1.json`.
    WebSocketJson,
    /// One binary message a frame, `parlour.v1.proto`.
    WebSocketProto,
    /// One gRPC message a frame; whoever writes adds its prefix.
    Grpc,
}

impl WireKind {
    /// What its frames are encoded in.
    #[must_use]
    pub fn encoding(self) -> Encoding {
        match self {
            WireKind::WebSocketJson => Encoding::Json,
            WireKind::WebSocketProto | WireKind::Grpc => Encoding::Proto,
        }
    }
}

/// Makes frames of words: the port behind which `wire::codec` and `wire::ws` stand.
pub trait Frames: Send + Sync {
    /// The push of one entry as a complete WebSocket message, header included. `payload` is the
    /// encoded `Message`.
    fn entry(&self, encoding: Encoding, payload: &Bytes) -> Bytes;

    /// Appends one frame to `out`: a complete WebSocket message with its header, or for
    /// [`WireKind::Grpc`] the bare protobuf bytes.
    fn says(&self, wire: WireKind, frame: &ServerFrame, out: &mut Vec<u8>);
}

/// Bytes of the header of an unmasked WebSocket message that is held whole in `message`.
#[must_use]
pub fn websocket_header_bytes(message: &[u8]) -> usize {
    match message.get(1).map(|b| b & 0x7f) {
        None => message.len(),
        Some(126) => 4,
        Some(127) => 10,
        Some(_) => 2,
    }
}

/// Bytes of the unmasked WebSocket message that `bytes` begin with, header included.
#[must_use]
pub fn websocket_message_bytes(bytes: &[u8]) -> usize {
    let header = websocket_header_bytes(bytes);
    let length = match *bytes {
        [_, 126, a, b, ..] => usize::from(u16::from_be_bytes([a, b])),
        [_, 127, a, b, c, d, e, f, g, h, ..] => {
            u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize
        }
        [_, length, ..] => usize::from(length & 0x7f),
        _ => 0,
    };
    (header + length).min(bytes.len())
}

/// One committed entry on an edge, with its bytes made once for each encoding.
#[derive(Debug)]
pub struct Frame {
    /// The entry.
    pub seq: Seq,
    /// Posts up to and including it.
    pub ordinal: u64,
    /// What it is.
    pub kind: ContentKind,
    payload_bytes: u32,
    payload: Payload,
    json: OnceLock<Bytes>,
}

/// The protobuf message; the payload is normally its end, so that it is held once.
#[derive(Debug)]
enum Payload {
    Suffix(Bytes),
    Apart { message: Bytes, payload: Bytes },
}

impl Frame {
    /// Frames one entry. The payload is copied, so that nothing pins the buffer it came in.
    #[must_use]
    pub fn new(entry: &Entry, frames: &dyn Frames) -> Frame {
        let message = frames.entry(Encoding::Proto, &entry.payload);
        let payload = if message.ends_with(&entry.payload) {
            Payload::Suffix(message)
        } else {
            Payload::Apart { message, payload: Bytes::copy_from_slice(&entry.payload) }
        };
        Frame {
            seq: entry.seq,
            ordinal: entry.ordinal,
            kind: entry.kind,
            payload_bytes: entry.payload.len() as u32,
            payload,
            json: OnceLock::new(),
        }
    }

    /// Frames entries for all shards of an edge.
    #[must_use]
    pub fn share(entries: &[Entry], frames: &dyn Frames) -> Arc<[Arc<Frame>]> {
        entries.iter().map(|entry| Arc::new(Frame::new(entry, frames))).collect()
    }

    /// The encoded `Message`.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        match &self.payload {
            Payload::Suffix(message) => {
                message.slice(message.len() - self.payload_bytes as usize..)
            }
            Payload::Apart { payload, .. } => payload.clone(),
        }
    }

    /// The complete WebSocket message. The first shard that wants JSON makes it for all.
    #[must_use]
    pub fn message(&self, encoding: Encoding, frames: &dyn Frames) -> &Bytes {
        match (encoding, &self.payload) {
            (Encoding::Json, _) => {
                self.json.get_or_init(|| frames.entry(Encoding::Json, &self.payload()))
            }
            (Encoding::Proto, Payload::Suffix(message) | Payload::Apart { message, .. }) => message,
        }
    }

    /// What goes to a session on `wire`.
    #[must_use]
    pub fn bytes(&self, wire: WireKind, frames: &dyn Frames) -> &[u8] {
        strip(wire, self.message(wire.encoding(), frames))
    }

    /// What it weighs in a bounded store.
    pub(super) fn weight(&self) -> usize {
        self.payload_bytes as usize + FRAME_OVERHEAD_BYTES
    }
}

/// A WebSocket message without its header where the transport has its own.
pub(super) fn strip(wire: WireKind, message: &[u8]) -> &[u8] {
    match wire {
        WireKind::Grpc => &message[websocket_header_bytes(message)..],
        WireKind::WebSocketJson | WireKind::WebSocketProto => message,
    }
}

/// Counts how often entries are encoded; wraps the port, so that a test or a metric can read it.
#[derive(Debug, Default)]
pub struct Counted<F> {
    inner: F,
    json: AtomicU64,
    proto: AtomicU64,
}

impl<F: Frames> Counted<F> {
    /// Counts what goes to `inner`.
    #[must_use]
    pub fn new(inner: F) -> Counted<F> {
        Counted { inner, json: AtomicU64::new(0), proto: AtomicU64::new(0) }
    }

    /// Entries encoded so far in `encoding`.
    #[must_use]
    pub fn encodes(&self, encoding: Encoding) -> u64 {
        match encoding {
            Encoding::Json => self.json.load(Ordering::Relaxed),
            Encoding::Proto => self.proto.load(Ordering::Relaxed),
        }
    }
}

impl<F: Frames> Frames for Counted<F> {
    fn entry(&self, encoding: Encoding, payload: &Bytes) -> Bytes {
        let counter = match encoding {
            Encoding::Json => &self.json,
            Encoding::Proto => &self.proto,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.inner.entry(encoding, payload)
    }

    fn says(&self, wire: WireKind, frame: &ServerFrame, out: &mut Vec<u8>) {
        self.inner.says(wire, frame, out);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Arc;

    /// `suffix` tells whether the payload ends the message, as it does on our wire.
    struct Plain {
        is_suffix: bool,
    }

    impl Frames for Plain {
        fn entry(&self, encoding: Encoding, payload: &Bytes) -> Bytes {
            let mut message = vec![0x82, payload.len() as u8, encoding as u8];
            message.extend(payload);
            if !self.is_suffix {
                message.push(0xFF);
            }
            message.into()
        }

        fn says(&self, _: WireKind, _: &ServerFrame, out: &mut Vec<u8>) {
            out.extend([0x82, 1, 0]);
        }
    }

    /// A post with a payload of so many bytes.
    pub(in crate::log) fn frame(seq: Seq, bytes: usize) -> Arc<Frame> {
        let payload = Bytes::from(vec![7; bytes]);
        let entry = Entry { seq, ordinal: seq, kind: ContentKind::Post, payload };
        Arc::new(Frame::new(&entry, &Plain { is_suffix: true }))
    }

    #[test]
    fn the_payload_is_held_within_the_message_where_that_ends_with_it() {
        for is_suffix in [true, false] {
            let frames = Plain { is_suffix };
            let payload = Bytes::from_static(b"payload");
            let entry = Entry { seq: 1, ordinal: 1, kind: ContentKind::Post, payload };
            let frame = Frame::new(&entry, &frames);
            assert_eq!(frame.payload(), entry.payload);
            assert_eq!(matches!(frame.payload, Payload::Suffix(_)), is_suffix);
        }
    }

    #[test]
    fn grpc_takes_the_websocket_message_without_its_header() {
        let counted = Counted::new(Plain { is_suffix: true });
        let payload = Bytes::from_static(b"payload");
        let entry = Entry { seq: 1, ordinal: 1, kind: ContentKind::Post, payload };
        let frame = Frame::new(&entry, &counted);
        let whole = frame.bytes(WireKind::WebSocketProto, &counted);
        assert_eq!(frame.bytes(WireKind::Grpc, &counted), &whole[2..]);
        let _ = frame.bytes(WireKind::WebSocketJson, &counted);
        let _ = frame.bytes(WireKind::WebSocketJson, &counted);
        assert_eq!((counted.encodes(Encoding::Json), counted.encodes(Encoding::Proto)), (1, 1));
        for (header, bytes) in
            [(2, &[0x82, 125][..]), (4, &[0x82, 126, 0, 200]), (10, &[0x82, 127])]
        {
            assert_eq!(websocket_header_bytes(bytes), header);
        }
    }
}
