//! The `Chat` service: `Connect` is a session in a shard, the rest is one question to one room (or
//! to many, for `Summaries`).

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use model::{End, FromServer, Refusal, RefusalCode, Says, limits};
use session::log::WireKind;
use tokio::io::{DuplexStream, WriteHalf};
use tokio::sync::oneshot;
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Request, Response, Status, Streaming};
use wire::codec;

use super::admission::Place;
use super::pipe::{self, FrameReader};
use super::raw::RawCodec;
use super::unary;
use crate::edge::Shared;
use crate::shard::{Newcomer, Parked, Shown};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Serves `parlour.v1.Chat`.
#[derive(Clone)]
pub(crate) struct ChatService {
    shared: Arc<Shared>,
}

impl ChatService {
    pub(crate) fn new(shared: Arc<Shared>) -> ChatService {
        ChatService { shared }
    }
}

impl NamedService for ChatService {
    const NAME: &'static str = "parlour.v1.Chat";
}

impl tower::Service<http::Request<Body>> for ChatService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        Box::pin(async move {
            let mut grpc = Grpc::new(RawCodec).max_decoding_message_size(limits::HELLO_BYTES_MAX);
            if method == "Connect" {
                let connect = tower::service_fn(move |request: Request<Streaming<Bytes>>| {
                    let shared = Arc::clone(&shared);
                    async move { connect(&shared, request).await }
                });
                return Ok(grpc.streaming(connect, request).await);
            }
            let Some(method) = unary::Method::named(&method) else {
                return Ok(Status::unimplemented(format!(
                    "Chat has no method {method:?}; `grpcurl … describe parlour.v1.Chat` lists them"
                ))
                .into_http());
            };
            let call = tower::service_fn(move |request: Request<Bytes>| {
                let shared = Arc::clone(&shared);
                async move {
                    let (metadata, _, body) = request.into_parts();
                    unary::call(&shared, method, &metadata, &body).await.map(Response::new)
                }
            });
            Ok(grpc.unary(call, request).await)
        })
    }
}

fn unreadable(why: String) -> Status {
    codec::refusal_status(&Refusal::because(RefusalCode::TokenInvalid, why))
}

/// What the metadata says of who is there.
pub(super) fn shown(metadata: &MetadataMap) -> Result<Shown, Status> {
    let text = |name: &str| {
        metadata
            .get(name)
            .map(|value| {
                value
                    .to_str()
                    .map(str::to_owned)
                    .map_err(|_| unreadable(format!("the metadata `{name}` is not plain text")))
            })
            .transpose()
    };
    let token = match text("authorization")? {
        None => None,
        Some(value) => Some(
            value
                .strip_prefix("Bearer ")
                .or_else(|| value.strip_prefix("bearer "))
                .ok_or_else(|| {
                    unreadable("the metadata `authorization` must be `Bearer <JWT>`".into())
                })?
                .to_owned(),
        ),
    };
    Ok(Shown { token, name: text("parlour-name")? })
}

async fn connect(
    shared: &Arc<Shared>,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Answers>, Status> {
    let shown = shown(request.metadata())?;
    let address = request
        .extensions()
        .get::<SocketAddr>()
        .map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), SocketAddr::ip);
    let place = shared.admit(address).map_err(|end| codec::end_status(&end))?;
    let held = Arc::clone(&place);
    let (near, far) = pipe::pipe();
    shared
        .shards
        .open(Newcomer {
            socket: Parked::Pipe(Box::new(far)),
            wire: WireKind::WebSocketProto,
            place,
            received: Vec::new(),
            shown: Some(shown),
        })
        .await;
    let (read, write) = tokio::io::split(near);
    let (fault, faulted) = oneshot::channel();
    tokio::spawn(bring(request.into_inner(), write, fault));
    // A client that does not read keeps what waits for it beyond the end of its session, and with it
    // its place: else it could pile up such streams without a bound.
    let told =
        Told { frames: FrameReader::new(read), faulted, end: None, is_over: false, _place: held };
    Ok(Response::new(Box::pin(futures_util::stream::unfold(told, Told::next))))
}

/// What the client says, into the pipe, until either side ends.
async fn bring(
    mut said: Streaming<Bytes>,
    mut pipe: WriteHalf<DuplexStream>,
    mut fault: oneshot::Sender<Status>,
) {
    loop {
        let frame = tokio::select! {
            frame = said.next() => frame,
            () = fault.closed() => break,
        };
        match frame {
            Some(Ok(frame)) => {
                if pipe::write_frame(&mut pipe, &frame).await.is_err() {
                    break;
                }
            }
            Some(Err(status)) if status.code() == Code::OutOfRange => {
                // Larger than the decoder takes; the session says so, as it does of any other fault.
                let _ = pipe::write_oversized(&mut pipe).await;
                break;
            }
            Some(Err(status)) => {
                // The client is told by the status; the session ends with its pipe.
                let _ = fault.send(status);
                break;
            }
            None => break,
        }
    }
    // Errors mean that the session has closed the pipe already.
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut pipe).await;
}

/// What the session says, out of the pipe when HTTP/2 has room for it and not before: nothing waits in
/// between.
struct Told {
    frames: FrameReader,
    /// Why the client's frames could not be read, if that is how they ended.
    faulted: oneshot::Receiver<Status>,
    /// The last frame, if it was an end.
    end: Option<End>,
    is_over: bool,
    _place: Arc<Place>,
}

impl Told {
    /// The next frame; behind the last one, the status that the stream ends with.
    async fn next(mut self) -> Option<(Result<Bytes, Status>, Told)> {
        if self.is_over {
            return None;
        }
        if let Ok(Some(frame)) = self.frames.next().await {
            self.end = end_of(&frame);
            return Some((Ok(frame), self));
        }
        self.is_over = true;
        let status = match self.end.take() {
            Some(end) => codec::end_status(&end),
            None => self.faulted.try_recv().ok()?,
        };
        Some((Err(status), self))
    }
}

/// The end, if the frame is one: a push, so its first byte is the tag of field 19.
fn end_of(frame: &Bytes) -> Option<End> {
    if !frame.starts_with(&[0x9A, 0x01]) {
        return None;
    }
    match codec::decode_server(model::Encoding::Proto, frame) {
        Ok(FromServer::Says(frame)) => match frame.says {
            Says::End(end) => Some(end),
            _ => None,
        },
        _ => None,
    }
}
