//! The gRPC transport: `Chat.Connect`, its frames encoded and decoded by the same codec as everywhere.
//!
//! tonic is told a codec that passes bytes, so that generated types stay where they belong.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes};
use futures_util::Stream;
use http::Uri;
use http::uri::PathAndQuery;
use model::{ClientFrame, Encoding};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::PollSender;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};

use crate::transport::{Received, SERVER_FRAME_BYTES_MAX};

const CONNECT: PathAndQuery = PathAndQuery::from_static("/parlour.v1.Chat/Connect");
/// Frames between the machine and HTTP/2: enough that a wake-up carries several.
const FRAMES_OUT_MAX: usize = 16;

type Opening = Pin<Box<dyn Future<Output = Result<Response<Streaming<Bytes>>, Status>> + Send>>;

/// A running call.
pub(crate) struct Call {
    outbound: PollSender<Bytes>,
    inbound: Inbound,
}

/// A server may wait for hello before it answers the call at all.
enum Inbound {
    Opening(Opening),
    Open(Box<Streaming<Bytes>>),
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

impl Call {
    /// Connects and calls; the answer is awaited by `poll_receive`.
    pub(crate) async fn open(uri: &Uri, bind: Option<IpAddr>) -> Result<Call, String> {
        let endpoint = Endpoint::from(uri.clone()).tcp_nodelay(true).local_address(bind);
        let channel = endpoint.connect().await.map_err(|error| causes(&error))?;
        let (sender, receiver) = tokio::sync::mpsc::channel(FRAMES_OUT_MAX);
        let opening = async move {
            let mut grpc = tonic::client::Grpc::new(channel)
                .max_decoding_message_size(SERVER_FRAME_BYTES_MAX)
                .max_encoding_message_size(SERVER_FRAME_BYTES_MAX);
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            grpc.streaming(Request::new(ReceiverStream::new(receiver)), CONNECT, Raw).await
        };
        let inbound = Inbound::Opening(Box::pin(opening));
        Ok(Call { outbound: PollSender::new(sender), inbound })
    }

    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.outbound.poll_reserve(cx).map_err(drop)
    }

    pub(crate) fn start_send(&mut self, frame: &ClientFrame) -> Result<(), ()> {
        let mut bytes = Vec::new();
        wire::codec::encode_client(Encoding::Proto, frame, &mut bytes);
        self.outbound.send_item(bytes.into()).map_err(drop)
    }

    /// The next frame, or the end; the status says nothing that an `end` before it did not say.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        if let Inbound::Opening(opening) = &mut self.inbound {
            match ready!(opening.as_mut().poll(cx)) {
                Ok(response) => self.inbound = Inbound::Open(Box::new(response.into_inner())),
                Err(_) => return Poll::Ready(Received::Closed(None)),
            }
        }
        let Inbound::Open(stream) = &mut self.inbound else {
            return Poll::Pending;
        };
        Poll::Ready(match ready!(Pin::new(stream.as_mut()).poll_next(cx)) {
            Some(Ok(bytes)) => match wire::codec::decode_server(Encoding::Proto, &bytes) {
                Ok(frame) => Received::Frame(frame),
                Err(unreadable) => Received::Unreadable(unreadable.message),
            },
            Some(Err(_)) | None => Received::Closed(None),
        })
    }
}

/// tonic's errors say "transport error"; what lies behind says why.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Passes bytes.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
