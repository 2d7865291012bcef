//! What a session writes to: a browser's socket, or the pipe to a gRPC stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// A byte stream without buffers of its own (but for the pipe's).
#[derive(Debug)]
pub(crate) enum Socket {
    /// A WebSocket's.
    Tcp(TcpStream),
    /// A gRPC stream's; see `front::pipe`.
    Pipe(Box<DuplexStream>),
}

/// A socket on its way into a shard, registered nowhere: it belongs to the runtime of the shard's
/// thread, whose epoll wakes it.
#[derive(Debug)]
pub(crate) enum Parked {
    Tcp(std::net::TcpStream),
    Pipe(Box<DuplexStream>),
}

impl Parked {
    /// Registers it here.
    pub(super) fn unpark(self) -> io::Result<Socket> {
        match self {
            Parked::Tcp(stream) => TcpStream::from_std(stream).map(Socket::Tcp),
            Parked::Pipe(stream) => Ok(Socket::Pipe(stream)),
        }
    }
}

impl Socket {
    /// Reads what there is, or arranges to be woken. `Ok(0)`: the other side has closed.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(scratch);
        let polled = match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Socket::Pipe(stream) => Pin::new(stream.as_mut()).poll_read(cx, &mut buffer),
        };
        polled.map_ok(|()| buffer.filled().len())
    }

    /// Writes what fits, in one system call, or arranges to be woken.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (self, slices) {
            // The usual case, one message: the plain call is the cheaper one.
            (Socket::Tcp(stream), [slice]) => Pin::new(stream).poll_write(cx, slice),
            (Socket::Tcp(stream), _) => Pin::new(stream).poll_write_vectored(cx, slices),
            (Socket::Pipe(stream), _) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    /// Says that nothing more will be written.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Pipe(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
