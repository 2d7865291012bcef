//! `GET /v1/connect[?transport=websocket|grpc][&exclude=NODE]`: where there is room for a session.
//!
//! Any edge answers, from what the registry says of all of them. It also paces herds, because a browser
//! can read neither a refused upgrade nor a `Retry-After` of one: whoever comes too early is told when
//! to ask again, each somebody else's moment.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cluster::gateway::{Wish, offers};
use cluster::{Front, Node, Transport};
use model::{EndCode, NodeId, Seed};
use serde::{Deserialize, Serialize};

use crate::edge::Shared;

/// How long an answer may be kept: loads are no younger than that.
const TTL_MS: u64 = 5_000;
/// When somebody for whom there is no place asks again: as long as an edge takes to start.
const NO_PLACE_MS: u64 = 2_000;
/// How far ahead newcomers are let in, in microseconds' worth of the rate.
const BURST_US: u64 = 1_000_000;
/// The longest that anybody is told to wait. A herd beyond that asks again.
const WAIT_MAX_US: u64 = 60_000_000;

/// Who is let in when. Owned by the edge, behind a lock that is held for a few instructions.
#[derive(Debug)]
pub(crate) struct Pacer {
    cost_us: u64,
    /// When the bucket would be full again.
    full_at_us: u64,
    /// The last moment that was promised to anybody who was sent away.
    promised_us: u64,
}

impl Pacer {
    pub(crate) fn new(per_second: u32) -> Pacer {
        Pacer { cost_us: 1_000_000 / u64::from(per_second.max(1)), full_at_us: 0, promised_us: 0 }
    }

    /// Lets one in, or says in how many milliseconds to ask again: one after the other at the rate.
    pub(crate) fn admit(&mut self, now_us: u64, seed: &mut Seed) -> Result<(), u64> {
        let then_us = self.full_at_us.max(now_us) + self.cost_us;
        if then_us - now_us <= BURST_US {
            self.full_at_us = then_us;
            return Ok(());
        }
        self.promised_us = self.promised_us.max(now_us) + self.cost_us;
        let wait_us = self.promised_us - now_us;
        if wait_us > WAIT_MAX_US {
            self.promised_us = now_us + WAIT_MAX_US;
            return Err((WAIT_MAX_US / 2 + seed.below(WAIT_MAX_US / 2)) / 1_000);
        }
        Err(wait_us.div_ceil(1_000))
    }
}

/// What an edge's gateway remembers.
#[derive(Debug)]
pub(crate) struct Gateway {
    state: Mutex<(Pacer, Seed)>,
    /// Where gRPC listens, for a node that announces no fronts.
    grpc_port: u16,
}

impl Gateway {
    pub(crate) fn new(connects_per_second: u32, grpc_port: u16, seed: Seed) -> Gateway {
        Gateway { state: Mutex::new((Pacer::new(connects_per_second), seed)), grpc_port }
    }

    /// The fronts of a node that announces none: where this request came to.
    fn own_fronts(&self, headers: &HeaderMap) -> Vec<Front> {
        let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
            return Vec::new();
        };
        let Ok(authority) = host.parse::<http::uri::Authority>() else {
            return Vec::new();
        };
        let grpc = format!("http://{}:{}", authority.host(), self.grpc_port);
        vec![
            Front { transport: Transport::WebSocket, url: format!("ws://{host}/v1/ws") },
            Front { transport: Transport::Grpc, url: grpc },
        ]
    }
}

/// The query.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    transport: Option<String>,
    exclude: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    urls: Vec<Place<'a>>,
    ttl_ms: u64,
}

#[derive(Debug, Serialize)]
struct Place<'a> {
    transport: &'static str,
    url: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused<'a> {
    code: u32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// `GET /v1/connect`.
pub(crate) async fn connect(
    State(shared): State<Arc<Shared>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    if !shared.origins.allow(&headers) {
        let why = "pages of this origin may not connect; an operator can add it to `origins`";
        return refuse(StatusCode::FORBIDDEN, EndCode::TokenInvalid, why, None);
    }
    let mut response = answer(&shared, &asked, &headers);
    let answered = response.headers_mut();
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(origin) = headers.get(header::ORIGIN) {
        answered.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answered.insert(header::VARY, HeaderValue::from_static("origin"));
        let exposed = HeaderValue::from_static("retry-after");
        answered.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

fn answer(shared: &Shared, asked: &Asked, headers: &HeaderMap) -> Response {
    let transport = match asked.transport.as_deref() {
        None => None,
        Some(name) => match [Transport::WebSocket, Transport::Grpc]
            .into_iter()
            .find(|transport| transport.as_str() == name)
        {
            None => {
                let why = "transport must be websocket or grpc";
                return refuse(StatusCode::BAD_REQUEST, EndCode::Unreadable, why, None);
            }
            known => known,
        },
    };
    let exclude = asked.exclude.as_deref().and_then(|node| NodeId::new(node).ok());
    let wish = Wish { transport, exclude: exclude.as_ref() };
    let view = shared.registry.view();
    let me = shared.own_node(&view, || shared.gateway.own_fronts(headers));
    let others = view.nodes.values().filter(|node| node.id != shared.node);
    let mut state = shared.gateway.state.lock().unwrap_or_else(PoisonError::into_inner);
    let (pacer, seed) = &mut *state;
    let fronts = offers(others.chain([&me]), &wish, seed);
    if fronts.is_empty() {
        let wait_ms = NO_PLACE_MS + seed.below(NO_PLACE_MS);
        let why = "no edge has room right now; ask again after the stated time";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, EndCode::Overloaded, why, Some(wait_ms));
    }
    if let Err(wait_ms) = pacer.admit(shared.clock.now().mono_us, seed) {
        let why = "many are coming at once; it is your turn after the stated time";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, EndCode::Overloaded, why, Some(wait_ms));
    }
    drop(state);
    let urls = fronts
        .iter()
        .map(|front| Place { transport: front.transport.as_str(), url: &front.url })
        .collect();
    axum::Json(Answer { urls, ttl_ms: TTL_MS }).into_response()
}

fn refuse(
    status: StatusCode,
    code: EndCode,
    message: &str,
    retry_after_ms: Option<u64>,
) -> Response {
    let refused = Refused { code: code.code(), message, retry_after_ms };
    let mut response = (status, axum::Json(refused)).into_response();
    if let Some(ms) = retry_after_ms {
        let seconds = HeaderValue::from(ms.div_ceil(1_000));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

impl Shared {
    /// What this node says of itself, as of now and not as the registry last heard it.
    fn own_node(&self, view: &cluster::View, fronts: impl FnOnce() -> Vec<Front>) -> Node {
        let announced = view.nodes.get(&self.node);
        let mut me = announced.cloned().unwrap_or_else(|| Node::in_process(self.node.clone()));
        if me.fronts.is_empty() {
            me.fronts = fronts();
        }
        me.load = self.load();
        me.draining |= self.is_draining();
        me
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_herd_of_ten_thousand_is_let_in_at_the_rate_and_nobody_is_refused_for_good() {
        const HERD: u64 = 10_000;
        const RATE: u32 = 500;
        let (mut pacer, mut seed) = (Pacer::new(RATE), Seed::new(11));
        let mut arrivals: BTreeMap<(u64, u64), u32> = (0..HERD).map(|who| ((0, who), 0)).collect();
        let mut admitted = BTreeMap::<u64, u32>::new();
        let mut tries_max = 0;
        while let Some(((at_us, who), tries)) = arrivals.pop_first() {
            match pacer.admit(at_us, &mut seed) {
                Ok(()) => *admitted.entry(at_us / 1_000_000).or_default() += 1,
                Err(wait_ms) => {
                    // As clients do: never before, a little later each.
                    let wait_ms = wait_ms + seed.below(wait_ms / 2 + 1);
                    arrivals.insert((at_us + wait_ms * 1_000, who), tries + 1);
                    tries_max = tries_max.max(tries + 1);
                }
            }
        }
        assert_eq!(u64::from(admitted.values().sum::<u32>()), HERD);
        assert!(admitted.values().all(|count| *count <= 2 * RATE + 1), "{admitted:?}");
        let last = *admitted.keys().next_back().expect("somebody came");
        assert!(last <= 60 && tries_max <= 10, "the last after {last} s, {tries_max} tries");
    }

    #[test]
    fn a_trickle_is_never_sent_away() {
        let (mut pacer, mut seed) = (Pacer::new(100), Seed::new(11));
        for at in 0..1_000 {
            assert_eq!(pacer.admit(at * 10_000, &mut seed), Ok(()));
        }
    }
}
