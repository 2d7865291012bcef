//! The accept loop of both doors, and the gRPC one's connections.
//!
//! The loop is our own because it must outlive a lack of file descriptors, because a connection that asks
//! for nothing has to make room for one that does (see [`super::threshold`]), and because tonic's waits
//! for every open stream and for handshakes that never end when it is told to stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use model::Limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use super::admission::{Admission, Place};
use super::threshold::{Bounds, InWork, Seat, Threshold};
use crate::edge::Shared;

/// Pause after accept failed for want of descriptors: some must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that ask for nothing, at a descriptor and some 10 KiB each.
pub(super) const WAITING_MAX: usize = 4_096;
/// The same of one address, at least: a proxy's idle ones.
const WAITING_PER_ADDRESS_MIN: usize = 512;
/// Time for a gRPC client's first request, handshake included: a slow phone needs one.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Time for a unary call: longer than a publish may wait, so that the room's own answer comes first.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// Time for streams that are open when the listener stops; sessions had theirs before.
const STOP_WITHIN: Duration = Duration::from_millis(500);
/// Streams of one connection.
const STREAMS_MAX: u32 = 1_024;
/// Calls other than `Connect`, which counts as a session, of one address and in all: a health check
/// that watches or a reflection that is left open lasts as long as its client likes.
const CALLS_PER_ADDRESS_MAX: usize = 1_024;
const CALLS_MAX: usize = 16_384;
/// A dead peer is noticed within these two.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a client may send on a stream before it is read, and on all of them.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What waits in HTTP/2 for a client that does not read its stream; hyper would take 400 KiB.
const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// Accepts until `stop` says so; each connection goes to `serve`.
pub(super) async fn accept<F>(
    listener: TcpListener,
    threshold: Arc<Threshold>,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, SocketAddr, Arc<Seat>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((socket, peer)) => match threshold.enter(peer.ip()) {
                Some(seat) => {
                    if let Err(error) = socket.set_nodelay(true) {
                        tracing::debug!(%error, "nodelay");
                    }
                    tokio::spawn(serve(socket, peer, seat));
                }
                None => tracing::debug!(%peer, "too many requests are in work; not let in"),
            },
            // What accept says of one socket is that socket's; of descriptors, it is ours to wait.
            Err(error) if is_of_one_socket(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections right now; raise the limit of open files");
                threshold.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Errors mean that the edge itself is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn is_of_one_socket(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// How many connections of one address may ask for nothing: as many as it may have sessions, since those
/// behind a proxy may all come at once, and be on their way.
pub(super) fn waiting_per_address_max(limits: &Limits) -> usize {
    limits.sessions_per_address_max.clamp(WAITING_PER_ADDRESS_MIN, WAITING_MAX)
}

/// Serves gRPC until `stop` says so.
pub(crate) async fn serve_grpc(
    listener: TcpListener,
    routes: Routes,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let limits = &shared.limits;
    let threshold = Threshold::new(Bounds {
        waiting_per_address: waiting_per_address_max(limits),
        waiting: WAITING_MAX,
        // A connection with a session on it is bounded by the sessions there may be.
        per_address: limits.sessions_per_address_max.saturating_add(CALLS_PER_ADDRESS_MAX),
        all: limits.sessions_max.saturating_add(CALLS_MAX),
    });
    let door = Door {
        routes: routes.prepare(),
        calls: Admission::new(CALLS_MAX, CALLS_PER_ADDRESS_MAX),
        answer_within: Duration::from_millis(limits.publish_wait_ms) + ANSWER_MARGIN,
    };
    let stopped = stop.clone();
    accept(listener, threshold, stop, move |socket, peer, seat| {
        converse(socket, peer, seat, door.clone(), stopped.clone())
    })
    .await;
}

/// What every gRPC connection is served with.
#[derive(Clone)]
struct Door {
    routes: Routes,
    calls: Arc<Admission>,
    answer_within: Duration,
}

impl Door {
    async fn answer(
        mut self,
        peer: SocketAddr,
        in_work: InWork,
        mut request: http::Request<Incoming>,
    ) -> Result<http::Response<Body>, Infallible> {
        let is_session = request.uri().path() == "/parlour.v1.Chat/Connect";
        let admitted = (!is_session).then(|| self.calls.admit(peer.ip())).transpose();
        let place = match admitted {
            Ok(place) => place,
            Err(_) => {
                let why =
                    "too many calls at once from your address, or in all; try again in a moment";
                return Ok(Status::resource_exhausted(why).into_http());
            }
        };
        request.extensions_mut().insert(peer);
        match tokio::time::timeout(self.answer_within, self.routes.call(request)).await {
            Ok(Ok(response)) => {
                Ok(response.map(|body| Body::new(Held { body, _in_work: in_work, _place: place })))
            }
            Ok(Err(never)) => match never {},
            Err(_) => Ok(Status::deadline_exceeded("this took too long; try again").into_http()),
        }
    }
}

async fn converse(
    socket: TcpStream,
    peer: SocketAddr,
    seat: Arc<Seat>,
    door: Door,
    mut stop: watch::Receiver<bool>,
) {
    let asker = Arc::clone(&seat);
    let service = service_fn(move |request| door.clone().answer(peer, asker.request(), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let silence = async {
        tokio::time::sleep(REQUEST_WITHIN).await;
        if seat.has_asked() {
            std::future::pending::<()>().await;
        }
    };
    let served = tokio::select! {
        biased;
        served = &mut connection => served,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(STOP_WITHIN, connection).await.unwrap_or(Ok(()))
        }
        () = seat.dismissed() => return,
        () = silence => return,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a gRPC connection ended");
    }
}

/// An answer that is in work until its last byte is handed over.
struct Held {
    body: Body,
    _in_work: InWork,
    _place: Option<Place>,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
