//! Frames between a gRPC stream and a shard, over a bounded pipe of bytes: whoever is slow makes the
//! other wait, and a session need not know what it talks through.
//!
//! What the client says stands behind its length in four bytes, big endian. What the session says
//! stands behind the header of a WebSocket message, because that is how the shared bytes of a room's
//! log lie in memory.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use model::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

/// Bytes in flight each way: many frames of the usual kind. A larger one goes through in parts, so that a
/// client which does not read holds no more than this.
const PIPE_BYTES: usize = 32 * 1024;
/// Bytes of one read out of it.
const READ_BYTES: usize = 4 * 1024;
/// Bytes of the length before each frame.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Both ends: the gRPC side's, and the shard's.
pub(crate) fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(PIPE_BYTES)
}

/// The gRPC side that writes what the client said.
pub(crate) async fn write_frame(
    pipe: &mut WriteHalf<DuplexStream>,
    frame: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    pipe.write_all(&length.to_be_bytes()).await?;
    pipe.write_all(frame).await
}

/// The same for a frame that is larger than any that is allowed, of which nothing was kept.
pub(crate) async fn write_oversized(pipe: &mut WriteHalf<DuplexStream>) -> io::Result<()> {
    pipe.write_all(&u32::MAX.to_be_bytes()).await
}

/// The gRPC side that reads what the session says.
#[derive(Debug)]
pub(crate) struct FrameReader {
    pipe: ReadHalf<DuplexStream>,
    received: BytesMut,
}

impl FrameReader {
    pub(crate) fn new(pipe: ReadHalf<DuplexStream>) -> FrameReader {
        FrameReader { pipe, received: BytesMut::new() }
    }

    /// The next frame; `None` when the session has ended.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = take_message(&mut self.received) {
                return Ok(Some(frame.freeze()));
            }
            if self.received.is_empty() {
                // What held a large frame is let go of with it.
                self.received = BytesMut::with_capacity(READ_BYTES);
            }
            if self.pipe.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// The payload of the first whole WebSocket message (unmasked, as servers write them).
fn take_message(received: &mut BytesMut) -> Option<BytesMut> {
    let (header, length) = match *received.as_ref() {
        [_, 127, a, b, c, d, e, f, g, h, ..] => {
            (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
        }
        [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [_, length, ..] if length < 126 => (2, usize::from(length)),
        _ => return None,
    };
    if received.len() < header + length {
        return None;
    }
    received.advance(header);
    Some(received.split_to(length))
}

fn take_frame(received: &mut BytesMut) -> Option<BytesMut> {
    let length = received.first_chunk::<LENGTH_BYTES>().map(|bytes| u32::from_be_bytes(*bytes))?;
    if received.len() < LENGTH_BYTES + length as usize {
        return None;
    }
    received.advance(LENGTH_BYTES);
    Some(received.split_to(length as usize))
}

/// The shard's side: cuts what comes through the pipe into frames.
#[derive(Debug, Default)]
pub(crate) struct FrameCutter {
    received: BytesMut,
}

/// What was cut.
#[derive(Debug)]
pub(crate) struct Cut {
    /// The frames that are whole.
    pub(crate) frames: VecDeque<BytesMut>,
    /// Whether a frame that is larger than any that is allowed comes behind them.
    pub(crate) oversize: bool,
}

impl FrameCutter {
    /// Takes `bytes` in and gives the frames that are whole.
    pub(crate) fn cut(&mut self, bytes: &[u8]) -> Cut {
        self.received.extend_from_slice(bytes);
        let mut frames = VecDeque::new();
        while let Some(frame) = take_frame(&mut self.received) {
            frames.push_back(frame);
        }
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        let next = self.received.first_chunk::<LENGTH_BYTES>();
        let oversize =
            next.is_some_and(|bytes| u32::from_be_bytes(*bytes) as usize > limits::HELLO_BYTES_MAX);
        Cut { frames, oversize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_session_says_arrives_frame_by_frame() {
        let (near, mut far) = tokio::io::duplex(1024 * 1024);
        let payloads = [vec![1; 3], vec![], vec![2; 200], vec![3; 70_000]];
        for payload in &payloads {
            let mut message = Vec::new();
            wire::ws::frame_into(
                wire::ws::OpCode::Data(wire::ws::Data::Binary),
                payload,
                &mut message,
            );
            far.write_all(&message).await.expect("the pipe is wide");
        }
        drop(far);
        let mut reader = FrameReader::new(tokio::io::split(near).0);
        for payload in &payloads {
            let frame = reader.next().await.expect("reads").expect("a frame");
            assert_eq!(&frame[..], &payload[..]);
        }
        assert_eq!(reader.next().await.expect("reads"), None);
    }

    #[tokio::test]
    async fn frames_survive_any_cut() {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (_, mut write) = tokio::io::split(near);
        let frames: [&[u8]; 3] = [b"", b"one", &[7; 5_000]];
        for frame in frames {
            write_frame(&mut write, frame).await.expect("the pipe is open");
        }
        drop(write);
        let mut far = far;
        let mut cutter = FrameCutter::default();
        let mut seen = Vec::new();
        let mut chunk = [0u8; 7];
        loop {
            let count = far.read(&mut chunk).await.expect("reads");
            if count == 0 {
                break;
            }
            let cut = cutter.cut(&chunk[..count]);
            assert!(!cut.oversize);
            seen.extend(cut.frames);
            if seen.len() == 3 {
                break;
            }
        }
        assert_eq!(seen, frames);
    }

    #[test]
    fn a_frame_that_is_too_large_is_told_behind_those_before_it() {
        let mut cutter = FrameCutter::default();
        let cut = cutter.cut(&[0, 0, 0, 1, 7, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(cut.frames, [&[7][..]]);
        assert!(cut.oversize);
    }
}
