//! One end of a connection, as whoever reads and writes it holds it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::{Ends, Net, WIRE_BYTES};

/// A connection's end. Dropping it closes it, as the death of its process does.
#[derive(Debug)]
pub(crate) struct Pipe {
    net: Net,
    ends: Ends,
}

impl Pipe {
    pub(super) fn new(net: Net, ends: Ends) -> Pipe {
        Pipe { net, ends }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.net.lock();
        let wire = state.wires.get_mut(&self.ends.reads).expect("stays while an end is held");
        if wire.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(bytes) = wire.arrived.front_mut() else {
            if wire.has_ended {
                return Poll::Ready(Ok(()));
            }
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let count = bytes.len().min(buffer.remaining());
        buffer.put_slice(&bytes[..count]);
        bytes.advance(count);
        if bytes.is_empty() {
            wire.arrived.pop_front();
        }
        wire.bytes -= count;
        wire.wake_writer();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let now_us = self.net.time.now_us();
        let mut state = self.net.lock();
        let due_us = now_us + state.delay_us();
        let wire = state.wires.get(&self.ends.writes).expect("stays while an end is held");
        // That the other end is gone is told by the other end's machine.
        let is_told = wire.is_reader_gone && !state.is_blocked(&wire.to, &wire.from);
        let wire = state.wires.get_mut(&self.ends.writes).expect("it was there");
        if wire.is_reset || is_told {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(WIRE_BYTES.saturating_sub(wire.bytes));
        if count == 0 && !bytes.is_empty() {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        wire.send(due_us, Some(Bytes::copy_from_slice(&bytes[..count])));
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now_us = self.net.time.now_us();
        self.net.lock().end(self.ends, now_us);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let now_us = self.net.time.now_us();
        self.net.lock().leave(self.ends, now_us);
    }
}

impl Connected for Pipe {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
