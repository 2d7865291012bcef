//! From HTTP to a socket in a shard.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use model::{Encoding, End, ServerFrame};
use session::log::{Frames, WireKind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wire::ws;

use crate::edge::Shared;
use crate::frames::EdgeFrames;
use crate::shard::{Newcomer, Parked};

/// `GET /v1/ws`.
pub(crate) async fn open(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<SocketAddr>,
    mut request: Request,
) -> Response {
    let asked = match ws::upgrade(request.method(), request.headers()) {
        Ok(asked) => asked,
        Err(error) => return refuse(&error),
    };
    if !shared.origins.allow(request.headers()) {
        return (
            StatusCode::FORBIDDEN,
            "pages of this origin may not connect; an operator can add it to `origins`\n",
        )
            .into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let encoding = asked.encoding();
    tokio::spawn(hand_over(shared, upgrade, peer, encoding));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(key) = HeaderValue::from_str(&asked.accept_key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    if let Some(encoding) = asked.subprotocol {
        let name = HeaderValue::from_static(ws::subprotocol(encoding));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    response
}

fn refuse(error: &ws::UpgradeError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = (status, format!("{error}\n")).into_response();
    if status == StatusCode::UPGRADE_REQUIRED {
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(ws::VERSION));
    }
    response
}

/// Takes the socket out of hyper and gives it to a shard. A client that finds the edge full is
/// upgraded all the same and told so in an `end` frame: a browser cannot read a refused upgrade.
async fn hand_over(shared: Arc<Shared>, upgrade: OnUpgrade, peer: SocketAddr, encoding: Encoding) {
    let Some((mut socket, received)) = upgrade.await.ok().and_then(socket_of) else {
        return;
    };
    match shared.admit(peer.ip()) {
        Ok(place) => {
            let wire = websocket(encoding);
            let Ok(socket) = socket.into_std().map(Parked::Tcp) else {
                return;
            };
            shared.shards.open(Newcomer { socket, wire, place, received, shown: None }).await;
        }
        Err(end) => {
            // Whoever does not read its farewell is not waited for: the kernel has it.
            let _ = socket.write_all(&farewell(encoding, end)).await;
        }
    }
}

/// The stream and what was received behind the handshake. hyper's read buffer is copied and
/// dropped: even an empty one would pin 8 KiB.
fn socket_of(upgraded: Upgraded) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    let received = parts.read_buf.to_vec();
    Some((parts.io.into_inner(), received))
}

fn websocket(encoding: Encoding) -> WireKind {
    match encoding {
        Encoding::Json => WireKind::WebSocketJson,
        Encoding::Proto => WireKind::WebSocketProto,
    }
}

fn farewell(encoding: Encoding, end: End) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (code, message) = (end.code.code() as u16, end.message.clone());
    let frame = ServerFrame { r#ref: 0, says: model::Says::End(end) };
    EdgeFrames.says(websocket(encoding), &frame, &mut bytes);
    ws::close_into(code, &message, &mut bytes);
    bytes
}

/// Which pages may open a WebSocket. Requests without `Origin` come from programs, which can claim
/// any origin anyway.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Vec<String>);

impl Origins {
    /// `allowed` are whole origins such as `https://app.example`, or `*`.
    pub(crate) fn new(allowed: Vec<String>) -> Origins {
        Origins(allowed)
    }

    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        (authority.is_some() && authority == own)
            || self.0.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: Option<&'static str>, host: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn only_the_pages_own_origin_is_allowed_by_default() {
        let default = Origins::new(Vec::new());
        assert!(default.allow(&headers(None, "127.0.0.1:8080")));
        assert!(default.allow(&headers(Some("http://127.0.0.1:8080"), "127.0.0.1:8080")));
        assert!(!default.allow(&headers(Some("http://evil.example"), "127.0.0.1:8080")));
        assert!(!default.allow(&headers(Some("null"), "127.0.0.1:8080")));
        let listed = Origins::new(vec!["https://app.example".into()]);
        assert!(listed.allow(&headers(Some("https://app.example"), "chat.example")));
        assert!(!listed.allow(&headers(Some("https://app.example.evil"), "chat.example")));
    }
}
