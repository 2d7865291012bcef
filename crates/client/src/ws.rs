//! The WebSocket transport: one frame is one message, both ways.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, Stream};
use http::Uri;
use model::limits::HELLO_BYTES_MAX;
use model::{ClientFrame, Encoding};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

pub use crate::transport::Received;
use crate::transport::SERVER_FRAME_BYTES_MAX;

/// One read: tungstenite clears the whole buffer before each, and a client's frames are small.
const READ_BYTES: usize = 4 * 1024;
/// What is collected before it is written without being flushed.
const WRITE_BYTES: usize = 4 * 1024;

/// An open WebSocket, polled by whoever owns it.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    encoding: Encoding,
}

impl Socket {
    /// Upgrades `stream`, naming the subprotocol of `encoding`.
    ///
    /// # Errors
    /// What tungstenite says: the other side is no WebSocket server, or speaks no such subprotocol.
    pub async fn handshake(
        uri: &Uri,
        stream: TcpStream,
        encoding: Encoding,
    ) -> Result<Socket, Box<Error>> {
        let subprotocol = match encoding {
            Encoding::Json => "parlour.v1.json",
            Encoding::Proto => "parlour.v1.proto",
        };
        let request = ClientRequestBuilder::new(uri.clone()).with_sub_protocol(subprotocol);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES)
            .max_write_buffer_size(WRITE_BYTES + 2 * HELLO_BYTES_MAX)
            .max_message_size(Some(SERVER_FRAME_BYTES_MAX))
            .max_frame_size(Some(SERVER_FRAME_BYTES_MAX));
        let upgraded =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        let (stream, _response) = upgraded?;
        Ok(Socket { stream, encoding })
    }

    /// Whether a frame can be taken now; `Err` means that the connection is gone.
    #[allow(clippy::result_unit_err, reason = "why it is gone is told by poll_receive")]
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Pin::new(&mut self.stream).poll_ready(cx).map_err(drop)
    }

    /// Takes a frame; only after `poll_ready`.
    #[allow(clippy::result_unit_err, reason = "why it is gone is told by poll_receive")]
    pub fn start_send(&mut self, frame: &ClientFrame) -> Result<(), ()> {
        let mut bytes = Vec::new();
        wire::codec::encode_client(self.encoding, frame, &mut bytes);
        let message = match self.encoding {
            Encoding::Proto => Message::Binary(bytes.into()),
            Encoding::Json => Message::text(String::from_utf8(bytes).expect("JSON is UTF-8")),
        };
        Pin::new(&mut self.stream).start_send(message).map_err(drop)
    }

    /// Puts what was taken on its way.
    #[allow(clippy::result_unit_err, reason = "why it is gone is told by poll_receive")]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(drop)
    }

    /// The next frame, or the end.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        loop {
            let message = match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(Error::Capacity(error))) => {
                    return Poll::Ready(Received::Unreadable(error.to_string()));
                }
                Some(Err(_)) | None => return Poll::Ready(Received::Closed(None)),
            };
            let frame = match &message {
                Message::Text(text) => wire::codec::decode_server(Encoding::Json, text.as_bytes()),
                Message::Binary(bytes) => wire::codec::decode_server(Encoding::Proto, bytes),
                Message::Close(close) => {
                    let code = close.as_ref().map(|close| u16::from(close.code));
                    return Poll::Ready(Received::Closed(code));
                }
                // tungstenite answers pings by itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            return Poll::Ready(match frame {
                Ok(frame) => Received::Frame(frame),
                Err(unreadable) => Received::Unreadable(unreadable.message),
            });
        }
    }

    /// Writes the close frame if the socket takes it at once.
    pub fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        let _ = Pin::new(&mut self.stream).poll_close(cx);
    }
}
