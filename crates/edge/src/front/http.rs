//! HTTP/1.1: the accept loop, health, and the way to the WebSocket.
//!
//! Connections are served by hyper itself because `axum::serve` installs no timer, which leaves header
//! timeouts inert; see [`super::connections`] for the loop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
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
use tokio::sync::watch;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::connections::{self, WAITING_MAX, waiting_per_address_max};
use super::threshold::{Bounds, Seat, Threshold};
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

/// The routes of an edge.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let sockets = if shared.websocket { get(upgrade::open) } else { get(elsewhere) };
    Router::new()
        .route("/", get(front_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/v1/connect", get(gateway::connect))
        .route("/v1/ws", sockets)
        .layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(shed))
                .load_shed()
                .concurrency_limit(REQUESTS_MAX)
                .timeout(ANSWER_WITHIN),
        )
        .with_state(shared)
}

/// This node owns rooms and has no browsers.
async fn elsewhere() -> Response {
    let text = "this is a room server, which serves no WebSockets; /v1/connect names the edges\n";
    (StatusCode::NOT_FOUND, text).into_response()
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
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let waiting_per_address = waiting_per_address_max(&shared.limits);
    let service = router(shared);
    let threshold = Threshold::new(Bounds {
        waiting_per_address,
        waiting: WAITING_MAX,
        per_address: waiting_per_address + REQUESTS_MAX,
        all: WAITING_MAX + REQUESTS_MAX,
    });
    connections::accept(listener, threshold, stop, move |socket, peer, seat| {
        converse(socket, peer, seat, service.clone())
    })
    .await;
}

async fn converse(socket: TcpStream, peer: SocketAddr, seat: Arc<Seat>, service: Router) {
    // A socket that is being upgraded has its request in work until it is handed over.
    let upgrading = Mutex::new(None);
    let service = tower::service_fn(|mut request: hyper::Request<Incoming>| {
        let in_work = seat.request();
        request.extensions_mut().insert(peer);
        let answer = service.clone().oneshot(request.map(axum::body::Body::new));
        let upgrading = &upgrading;
        async move {
            let response = answer.await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                *upgrading.lock().unwrap_or_else(PoisonError::into_inner) = Some(in_work);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        biased;
        served = &mut connection => served,
        () = seat.dismissed() => return,
    };
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
