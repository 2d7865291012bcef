//! One connection of a shard: its session, its socket, and what lies between them.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use model::{Encoding, Generation, SessionId};
use session::log::WireKind;
use session::server::{ReadFault, Session};
use wire::ws::{Decoder, Event, WsError};

use super::ready::Bell;
use super::{Shown, Socket};
use crate::front::admission::Place;
use crate::front::pipe::{Cut, FrameCutter};

/// A connection; lives in its shard's slab.
pub(super) struct Conn {
    pub(super) session: Session,
    pub(super) socket: Socket,
    pub(super) input: Input,
    pub(super) wire: WireKind,
    pub(super) bell: Arc<Bell>,
    pub(super) waker: Waker,
    pub(super) shown: Option<Box<Shown>>,
    /// What the directory knows it by, once it said hello.
    pub(super) known: Option<(SessionId, Generation)>,
    /// The earliest timer that stands for it.
    pub(super) armed_us: Option<u64>,
    pub(super) farewell: Option<Box<Farewell>>,
    /// Reading stopped because too much waits to be written; goes on once that is gone.
    pub(super) is_unread: bool,
    /// The client has said its last word and is heard out.
    pub(super) is_last_word_said: bool,
    /// Given back when the connection is gone.
    pub(super) _place: Arc<Place>,
}

/// A connection whose session is over: the close frame goes out, then what still comes is read and
/// dropped, because closing a socket with unread bytes would take the farewell back.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) bytes: Vec<u8>,
    pub(super) written: usize,
    pub(super) is_shut: bool,
    pub(super) deadline_us: u64,
}

/// How bytes become frames.
#[derive(Debug)]
pub(super) enum Input {
    WebSocket(Decoder),
    Pipe(Box<FrameCutter>),
}

/// What was read.
pub(super) enum Read<'a> {
    /// A frame's bytes.
    Frame(&'a [u8]),
    /// A ping, to be answered.
    Ping(&'a [u8]),
    /// A sign of life.
    Pong,
    /// The client closes.
    Close,
    /// The bytes make no sense.
    Fault(ReadFault),
}

impl Input {
    pub(super) fn new(socket: &Socket) -> Input {
        match socket {
            Socket::Tcp(_) => Input::WebSocket(Decoder::default()),
            Socket::Pipe(_) => Input::Pipe(Box::default()),
        }
    }

    /// Cuts `bytes` into frames and gives each to `on`, until `on` says to stop.
    pub(super) fn take(
        &mut self,
        encoding: Encoding,
        bytes: &mut [u8],
        bytes_max: usize,
        mut on: impl FnMut(Read<'_>),
    ) {
        match self {
            Input::WebSocket(decoder) => {
                let mut input = bytes;
                loop {
                    match decoder.decode(&mut input, bytes_max) {
                        Ok(None) => return,
                        Ok(Some(event)) => on(websocket_read(encoding, event)),
                        Err(error) => return on(Read::Fault(websocket_fault(error))),
                    }
                }
            }
            Input::Pipe(cutter) => {
                let Cut { frames, oversize } = cutter.cut(bytes);
                frames.iter().for_each(|frame: &BytesMut| {
                    if frame.len() > bytes_max {
                        on(Read::Fault(oversized(frame.len(), bytes_max)));
                    } else {
                        on(Read::Frame(frame));
                    }
                });
                if oversize {
                    on(Read::Fault(ReadFault::TooLarge(format!(
                        "the frame is too large; {bytes_max} bytes are allowed"
                    ))));
                }
            }
        }
    }
}

fn oversized(bytes: usize, max: usize) -> ReadFault {
    ReadFault::TooLarge(format!("the frame has {bytes} bytes; {max} are allowed"))
}

fn websocket_read(encoding: Encoding, event: Event<'_>) -> Read<'_> {
    match (encoding, event) {
        (Encoding::Json, Event::Text(text)) => Read::Frame(text.as_bytes()),
        (Encoding::Proto, Event::Binary(bytes)) => Read::Frame(bytes),
        (Encoding::Json, Event::Binary(_)) => Read::Fault(ReadFault::Unreadable(
            "parlour.v1.json is spoken in text messages; this one was binary".into(),
        )),
        (Encoding::Proto, Event::Text(_)) => Read::Fault(ReadFault::Unreadable(
            "parlour.v1.proto is spoken in binary messages; this one was text".into(),
        )),
        (_, Event::Ping(payload)) => Read::Ping(payload),
        (_, Event::Pong) => Read::Pong,
        (_, Event::Close { .. }) => Read::Close,
    }
}

fn websocket_fault(error: WsError) -> ReadFault {
    match error {
        WsError::TooLarge { .. } => ReadFault::TooLarge(error.to_string()),
        other => ReadFault::Unreadable(other.to_string()),
    }
}

impl Farewell {
    pub(super) fn new(bytes: Vec<u8>, deadline_us: u64) -> Farewell {
        Farewell { bytes, written: 0, is_shut: false, deadline_us }
    }

    /// Goes on; ready when nothing is left to do.
    pub(super) fn poll(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<()> {
        while self.written < self.bytes.len() {
            let slice = [io::IoSlice::new(&self.bytes[self.written..])];
            match socket.poll_write(cx, &slice) {
                Poll::Ready(Ok(count)) if count > 0 => self.written += count,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        if !self.is_shut {
            match socket.poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.is_shut = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        loop {
            match socket.poll_read(cx, scratch) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
