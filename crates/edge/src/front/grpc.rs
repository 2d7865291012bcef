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
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Request, Response, Status, Streaming};
use wire::codec;

use super::pipe::{self, FrameReader, PIPE_BYTES};
use super::raw::RawCodec;
use super::unary;
use crate::edge::Shared;
use crate::shard::{Newcomer, Parked, Shown};

/// Answers that may wait between the pipe and HTTP/2; the pipe is the real buffer.
const ANSWERS_WAITING_MAX: usize = 16;

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
        .get::<TcpConnectInfo>()
        .and_then(TcpConnectInfo::remote_addr)
        .map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |peer: SocketAddr| peer.ip());
    let place = shared.admit(address).map_err(|end| codec::end_status(&end))?;
    let held = Arc::clone(&place);
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
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
    let (answers, receiver) = tokio::sync::mpsc::channel(ANSWERS_WAITING_MAX);
    tokio::spawn(bring(request.into_inner(), write, answers.clone()));
    tokio::spawn(fetch(FrameReader::new(read), answers));
    // A client that does not read keeps what waits for it beyond the end of its session, and with it
    // its place: else it could pile up such streams without a bound.
    let answers = ReceiverStream::new(receiver).map(move |answer| {
        let _place = &held;
        answer
    });
    Ok(Response::new(Box::pin(answers)))
}

/// What the client says, into the pipe, until either side ends.
async fn bring(
    mut said: Streaming<Bytes>,
    mut pipe: WriteHalf<DuplexStream>,
    answers: tokio::sync::mpsc::Sender<Result<Bytes, Status>>,
) {
    loop {
        let frame = tokio::select! {
            frame = said.next() => frame,
            () = answers.closed() => break,
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
                // The client is told once, by the status; the session ends with its pipe.
                let _ = answers.try_send(Err(status));
                break;
            }
            None => break,
        }
    }
    // Errors mean that the session has closed the pipe already.
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut pipe).await;
}

/// What the session says, out of the pipe; `end` becomes the status.
async fn fetch(mut frames: FrameReader, answers: tokio::sync::mpsc::Sender<Result<Bytes, Status>>) {
    let mut ended = None;
    while let Ok(Some(frame)) = frames.next().await {
        ended = end_of(&frame);
        if answers.send(Ok(frame)).await.is_err() {
            return;
        }
    }
    if let Some(end) = ended {
        let _ = answers.send(Err(codec::end_status(&end))).await;
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
