//! Real clients, real edges, a real room server: sessions move, edges die, gateways are asked.

mod cluster;

use std::time::{Duration, Instant};

use cluster::{Cable, Cluster, SESSIONS_MAX};
use futures_util::future::join_all;
use model::{MessageContent, PresenceChange, RoomName};
use parlour_client::{Encoding, Event, Events, Handle, Options, Reading, TransportKind};

/// Far above anything that is awaited here: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const LAST_WORD: &str = "that is all";

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it should not take so long")
}

fn room() -> RoomName {
    RoomName::new("team:ops").expect("valid")
}

/// What one reader saw until the last word.
#[derive(Debug, Default)]
struct Seen {
    seqs: Vec<u64>,
    moves: usize,
    losses: usize,
    /// People who were told to have gone.
    departures: usize,
}

async fn read_to_the_end(mut events: Events) -> Seen {
    let mut seen = Seen::default();
    loop {
        match patiently(events.recv()).await.expect("the session goes on") {
            Event::Message(message) => {
                seen.seqs.push(message.seq);
                if message.content.text() == LAST_WORD {
                    return seen;
                }
            }
            Event::Moved(_) => seen.moves += 1,
            Event::Disconnected { .. } => seen.losses += 1,
            Event::Presence(frame) => {
                if let PresenceChange::Delta { departed, .. } = frame.change {
                    seen.departures += departed.len();
                }
            }
            Event::Violation(what) => panic!("{what}"),
            Event::Ended { message, .. } => panic!("{message}"),
            _ => {}
        }
    }
}

async fn come(options: Options, name: &str) -> (Handle, Events) {
    let (handle, mut events) =
        patiently(parlour_client::connect(options.name(name))).await.expect("somebody is there");
    handle.subscribe(&room(), Reading::default()).await.expect("allowed");
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the room is not read");
        match patiently(events.recv()).await.expect("the session goes on") {
            Event::Subscribed { .. } => return (handle, events),
            Event::Violation(what) => panic!("{what}"),
            _ => {}
        }
    }
}

/// Publishes until told to stop; every publish must succeed. Answers how many there were.
async fn talk(handle: Handle, pause: Duration, stop: tokio::sync::watch::Receiver<bool>) -> usize {
    let mut count = 0;
    while !*stop.borrow() {
        let content = MessageContent::post(count.to_string());
        patiently(handle.publish(&room(), content)).await.expect("it is written");
        count += 1;
        tokio::time::sleep(pause).await;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_leaves_moves_everybody_while_they_talk_and_nobody_notices() {
    const READERS: usize = 200;
    let mut cluster = Cluster::start().await;
    let options = |number: usize| match number % 3 {
        0 => Options::new(cluster.one.ws()).encoding(Encoding::Json),
        1 => Options::new(cluster.one.ws()),
        _ => Options::new(cluster.one.grpc()),
    };
    let comers = (0..READERS).map(|number| {
        let options = options(number).or(cluster.two.gateway());
        async move { come(options, &format!("reader{number}")).await }
    });
    let (handles, events): (Vec<_>, Vec<_>) = join_all(comers).await.into_iter().unzip();
    assert_eq!((cluster.one.edge.sessions(), cluster.two.edge.sessions()), (READERS, 0));
    let readers: Vec<_> =
        events.into_iter().map(|events| tokio::spawn(read_to_the_end(events))).collect();

    let (stop, stopped) = tokio::sync::watch::channel(false);
    let pause = Duration::from_millis(20);
    let talkers: Vec<_> = (handles.iter().take(4).cloned())
        .map(|handle| tokio::spawn(talk(handle, pause, stopped.clone())))
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let left = cluster.one.drain(Duration::from_secs(20)).await;
    assert_eq!(left, 0, "everybody has left");
    assert_eq!(cluster.two.edge.sessions(), READERS);
    stop.send_replace(true);
    let mut written = 0;
    for talker in talkers {
        written += talker.await.expect("it talks");
    }
    let last = MessageContent::post(LAST_WORD);
    let last = patiently(handles[0].publish(&room(), last)).await.expect("written");
    assert_eq!(last.seq, written as u64 + 1, "each stands once");
    for (number, reader) in readers.into_iter().enumerate() {
        let seen = reader.await.expect("it reads");
        let all: Vec<u64> = (1..=last.seq).collect();
        assert_eq!(seen.seqs, all, "reader {number}");
        let count = (seen.moves, seen.losses, seen.departures);
        assert_eq!(count, (1, 0, 0), "reader {number} moved, lost nothing and saw nobody go");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_other_edge_everybody_is_told_the_end_and_when_to_come_back() {
    let mut cluster = Cluster::start().await;
    cluster.two.announce(|node| node.draining = true).await;
    let (_handle, mut events) = come(Options::new(cluster.one.ws()), "ann").await;
    let started = Instant::now();
    assert_eq!(cluster.one.drain(Duration::from_secs(20)).await, 0);
    assert!(started.elapsed() < Duration::from_secs(10), "nobody is waited for");
    loop {
        match patiently(events.recv()).await.expect("the session goes on") {
            Event::Disconnected { again_in_ms } => {
                return assert!(again_in_ms >= 100, "{again_in_ms}");
            }
            Event::Moved(_) => panic!("there is nowhere to go"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_an_edge_is_gone_its_clients_resume_on_another_one_by_themselves() {
    const READERS: usize = 20;
    let mut cluster = Cluster::start().await;
    let cable = Cable::to(cluster.one.http).await;
    // The registry goes on naming the dead edge: a gateway's alternatives are there for that.
    let url = format!("ws://{}/v1/ws", cable.address);
    cluster.one.announce(|node| node.fronts[0].url = url.clone()).await;
    let comers = (0..READERS).map(|number| {
        let options = Options::new(&url).or("http://127.0.0.1:1").or(cluster.two.gateway());
        async move { come(options, &format!("reader{number}")).await }
    });
    let (handles, events): (Vec<_>, Vec<_>) = join_all(comers).await.into_iter().unzip();
    let readers: Vec<_> =
        events.into_iter().map(|events| tokio::spawn(read_to_the_end(events))).collect();
    let content = || MessageContent::post("x");
    for _ in 0..5 {
        patiently(handles[0].publish(&room(), content())).await.expect("written");
    }
    cable.cut();
    for _ in 0..5 {
        patiently(handles[1].publish(&room(), content())).await.expect("written");
    }
    let last = MessageContent::post(LAST_WORD);
    patiently(handles[2].publish(&room(), last)).await.expect("written");
    for reader in readers {
        let seen = reader.await.expect("it reads");
        assert_eq!(seen.seqs, (1..=11).collect::<Vec<u64>>());
        assert!(seen.losses >= 1 && seen.moves == 0, "{seen:?}");
    }
    assert_eq!(cluster.two.edge.sessions(), READERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_leads_to_an_edge_with_room_over_the_transport_that_is_asked_for() {
    let mut cluster = Cluster::start().await;
    cluster.one.announce(|node| node.load.sessions = SESSIONS_MAX).await;
    let mut people = Vec::new();
    for (transport, sessions) in [(TransportKind::WebSocket, 1), (TransportKind::Grpc, 2)] {
        let options = Options::new("http://127.0.0.1:1").or(cluster.two.gateway()).over(transport);
        people.push(come(options, "ann").await);
        assert_eq!(cluster.two.edge.sessions(), sessions, "{transport:?}");
    }
    assert_eq!(cluster.one.edge.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_answers_in_json_and_offers_neither_full_nor_draining_edges() {
    let mut cluster = Cluster::start().await;
    let (head, body) = cluster.one.connect("", "").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("cache-control: no-store"), "{head}");
    assert_eq!(body["urls"].as_array().map(Vec::len), Some(4), "{body}");
    assert!(body["ttlMs"].as_u64().is_some_and(|ms| ms > 0), "{body}");

    let ws = |edge: &cluster::TestEdge| format!("{}/v1/ws", edge.ws());
    let websockets = |body: &serde_json::Value| -> Vec<String> {
        let urls = body["urls"].as_array().expect("a list");
        assert!(urls.iter().all(|place| place["transport"] == "websocket"), "{body}");
        urls.iter().map(|place| place["url"].as_str().expect("a string").to_owned()).collect()
    };
    let (_, body) = cluster.one.connect("?transport=websocket&exclude=e1", "").await;
    assert_eq!(websockets(&body), [ws(&cluster.two)]);
    cluster.two.announce(|node| node.draining = true).await;
    let (_, body) = cluster.one.connect("?transport=websocket", "").await;
    assert_eq!(websockets(&body), [ws(&cluster.one)], "its own load is its own to know");

    let (head, body) = cluster.one.connect("?exclude=e1", "").await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: "), "{head}");
    assert_eq!(body["code"], 4003);
    assert!(body["retryAfterMs"].as_u64().is_some_and(|ms| ms >= 2_000), "{body}");
    let (head, _) = cluster.one.connect("?transport=carrier_pigeon", "").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_announces_no_fronts_offers_where_it_was_asked() {
    let mut cluster = Cluster::start().await;
    cluster.one.announce(|node| node.fronts.clear()).await;
    let (_, body) = cluster.one.connect("?exclude=e2", "").await;
    let urls: Vec<_> = body["urls"].as_array().expect("a list").clone();
    assert_eq!(urls[0]["url"], format!("ws://{}/v1/ws", cluster.one.http));
    assert_eq!(urls[1]["url"], format!("http://{}", cluster.one.grpc));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_allowed_origins_may_read_the_gateways_answers_and_others_get_none() {
    let cluster = Cluster::start().await;
    let (head, _) = cluster.one.connect("", "origin: https://app.example\r\n").await;
    assert!(head.contains("access-control-allow-origin: https://app.example"), "{head}");
    assert!(head.contains("vary: origin"), "{head}");
    let (head, body) = cluster.one.connect("", "origin: https://evil.example\r\n").await;
    assert!(head.starts_with("http/1.1 403") && body["urls"].is_null(), "{head} {body}");
    assert!(!head.contains("access-control-allow-origin"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_at_a_gateway_is_let_in_one_after_the_other() {
    let cluster = Cluster::paced(20).await;
    let options = Options::new(cluster.one.gateway());
    let started = Instant::now();
    let comers = (0..40).map(|number| {
        let options = options.clone();
        async move { come(options, &format!("comer{number}")).await }
    });
    let comers = join_all(comers).await;
    assert_eq!(cluster.one.edge.sessions() + cluster.two.edge.sessions(), comers.len());
    assert!(started.elapsed() >= Duration::from_secs(1), "twenty at once, then twenty a second");
}
