//! What holds for the decoder under any bytes: it never panics, the cuts between reads change nothing, it
//! holds no more than what arrived, and it is silent once it is finished.

use super::ws::{Decoder, Event, WsError};

/// Small, so that inputs of a fuzzer's size reach the limit.
const MESSAGE_BYTES_MAX: usize = 512;

/// An [`Event`] that outlives the scratch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Told {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.into()),
            Event::Binary(payload) => Self::Binary(payload.into()),
            Event::Ping(payload) => Self::Ping(payload.into()),
            Event::Pong => Self::Pong,
            Event::Close { code, reason } => Self::Close(code, reason.into()),
        }
    }
}

/// All that a decoder says of `stream`, read in pieces of the given sizes.
pub(super) fn told(
    stream: &[u8],
    mut pieces: impl FnMut() -> usize,
    message_bytes_max: usize,
) -> (Vec<Told>, Option<WsError>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut received = 0;
    let mut scratch = Vec::new();
    while received < stream.len() {
        let end = (received + pieces().max(1)).min(stream.len());
        scratch.clear();
        scratch.extend_from_slice(&stream[received..end]);
        received = end;
        let mut input = &mut scratch[..];
        loop {
            let finished = decoder.is_finished();
            match decoder.decode(&mut input, message_bytes_max) {
                Ok(None) => break,
                Ok(Some(event)) if !finished => events.push(event.into()),
                Err(error) if !finished => return (events, Some(error)),
                late => panic!("said after its end: {late:?}"),
            }
        }
        assert!(input.is_empty(), "`None` means that the input is used up");
        let held = decoder.held_bytes();
        assert!(held <= 2 * received + 256, "{held} bytes held after {received} received");
    }
    (events, None)
}

/// The first byte of `data` says how the rest is cut.
pub(super) fn holds_for(data: &[u8]) {
    let Some((&seed, stream)) = data.split_first() else {
        return;
    };
    let mut state = u32::from(seed);
    let pieces = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (state >> 16) as usize % 23
    };
    let cut = told(stream, pieces, MESSAGE_BYTES_MAX);
    let whole = told(stream, || usize::MAX / 2, MESSAGE_BYTES_MAX);
    assert_eq!(cut, whole, "cuts change what is told");
}

/// Whether a stream of the corpus is refused.
#[allow(dead_code, reason = "the fuzz target has no expectations")]
pub(super) fn refusal(data: &[u8]) -> Option<WsError> {
    told(data.get(1..).unwrap_or_default(), || usize::MAX / 2, MESSAGE_BYTES_MAX).1
}
