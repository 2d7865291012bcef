//! What both transports can do, so that the connection does not care which one it has.

use std::task::{Context, Poll};

use model::{ClientFrame, FromServer};

use crate::{grpc, ws};

/// The largest frame taken from a server: 500 summaries, each with a longest post.
pub(crate) const SERVER_FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An open connection. Boxed: a client that waits for its next dial holds none.
#[derive(Debug)]
pub(crate) enum Transport {
    Ws(Box<ws::Socket>),
    Grpc(Box<grpc::Call>),
}

/// What came in.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "handed on at once; nearly all of them are frames")]
pub enum Received {
    /// A frame.
    Frame(FromServer),
    /// Something that is not a frame, and why.
    Unreadable(String),
    /// The end, with the close code if the other side named one.
    Closed(Option<u16>),
}

impl Transport {
    /// Whether a frame can be taken now.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        match self {
            Transport::Ws(socket) => socket.poll_ready(cx),
            Transport::Grpc(call) => call.poll_ready(cx),
        }
    }

    /// Takes a frame; only after `poll_ready`.
    pub(crate) fn start_send(&mut self, frame: &ClientFrame) -> Result<(), ()> {
        match self {
            Transport::Ws(socket) => socket.start_send(frame),
            Transport::Grpc(call) => call.start_send(frame),
        }
    }

    /// Puts what was taken on its way.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        match self {
            Transport::Ws(socket) => socket.poll_flush(cx),
            Transport::Grpc(_) => Poll::Ready(Ok(())),
        }
    }

    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        match self {
            Transport::Ws(socket) => socket.poll_receive(cx),
            Transport::Grpc(call) => call.poll_receive(cx),
        }
    }

    /// Says goodbye if that can be done at once; dropping closes in any case.
    pub(crate) fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        if let Transport::Ws(socket) = self {
            socket.say_goodbye(cx);
        }
    }
}
