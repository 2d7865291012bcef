//! HTTP/1.1: the accept loop, health, and the way to the WebSocket.
//!
//! The loop is our own because `axum::serve` installs no timer, which leaves header timeouts inert,
//! and because it must outlive a lack of file descriptors.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::{gateway, upgrade};
use crate::edge::Shared;

/// Time for a request's headers: a slow phone needs one, a slow loris gets no more.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// Time for an answer; the upgrade is one too, as the socket lives on elsewhere.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Requests in work at once; more are shed with 503.
const REQUESTS_MAX: usize = 4_096;
/// Sockets between accept and upgrade; more wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 4_096;
/// Pause after accept failed for want of descriptors: some must be closed first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The routes of an edge.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(front_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/v1/connect", get(gateway::connect))
        .route("/v1/ws", get(upgrade::open))
        .layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(shed))
                .load_shed()
                .concurrency_limit(REQUESTS_MAX)
                .timeout(ANSWER_WITHIN),
        )
        .with_state(shared)
}

async fn front_page() -> &'static str {
    "Parlour is running.\n\n\
     WebSocket: /v1/ws, subprotocol parlour.v1.json or parlour.v1.proto. First frame:\n\
     {\"ref\":1,\"hello\":{\"name\":\"Ann\",\"subscribe\":[{\"room\":\"lobby\"}]}}\n\n\
     Where there is room: /v1/connect\n\
     Health: /healthz, /readyz\n"
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.not_ready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Accepts until `stop` says so. Sockets that are being served live on.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let service = router(shared);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    converse(socket, peer, service).await;
                    drop(permit);
                });
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// What accept says of one socket is that socket's; of descriptors, it is ours to wait.
async fn pause(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections right now; raise the limit of open files");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn converse(socket: TcpStream, peer: SocketAddr, service: Router) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "nodelay");
    }
    let service = service.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

/// Turns what the layers refuse into an answer.
async fn shed(error: BoxError) -> Response {
    let (status, text) = if error.is::<tower::timeout::error::Elapsed>() {
        (StatusCode::GATEWAY_TIMEOUT, "this took too long; try again\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; try again in a moment\n")
    };
    (status, [("retry-after", "1")], text).into_response()
}
