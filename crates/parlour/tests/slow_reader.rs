//! A reader that stops reading costs the others nothing and loses nothing.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::SelectAll;
use parlour_client::{Connection, Event, HistoryAnchor, Options, Reading};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::person::{Door, Person, options, patiently, room};
use support::raw::{JSON, Raw};
use support::{PATIENCE, Start};

const READERS: usize = 1_000;
const MESSAGES: u64 = 300;
/// The edge keeps so many entries of the room in memory: the slow reader falls far behind them.
const TAIL: u64 = 32;
const TEXT_BYTES: usize = 2_000;

/// A socket whose kernel takes a few kilobytes and then no more, at either end: the other end sizes its
/// buffer by the segment size.
async fn narrow(address: SocketAddr) -> tokio::net::TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("it can be small");
    socket.set_tcp_mss(1_000).expect("it can be small");
    socket.connect(&address.into()).expect("somebody listens");
    socket.set_nonblocking(true).expect("it can");
    tokio::net::TcpStream::from_std(socket.into()).expect("a runtime")
}

/// A thousand readers in one task. Each sees 1, 2, 3 …; `told` counts what all of them saw.
async fn read_along(options: Options, told: Arc<AtomicU64>) {
    let mut crowd: SelectAll<_> = SelectAll::new();
    for number in 0..READERS {
        let options = options.clone().name(format!("reader{number}"));
        let mut connection = Connection::with_seed(options, number as u64);
        connection
            .client()
            .subscribe(&room("lobby"), Reading::after(Default::default()))
            .expect("allowed");
        let mut next = 1;
        crowd.push(connection.map(move |event| {
            match event {
                Event::Message(message) => {
                    assert_eq!(message.seq, next, "reader {number}: a hole or a repeat");
                    next += 1;
                    return 1;
                }
                Event::Violation(what) => panic!("reader {number}: {what}"),
                Event::Disconnected { .. } | Event::Ended { .. } => {
                    panic!("reader {number}: {event:?}")
                }
                _ => {}
            }
            0
        }));
    }
    while let Some(count) = crowd.next().await {
        told.fetch_add(count, Ordering::Relaxed);
    }
}

async fn until(told: &AtomicU64, wanted: u64) {
    patiently("a delivery", async {
        while told.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_is_not_waited_for_and_catches_up_in_order() {
    // PARLOUR_SLOW_SECONDS=60 makes it stop for a minute.
    let pause_s: u64 =
        std::env::var("PARLOUR_SLOW_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .expect("up to what is allowed");
    let dir = tempfile::tempdir().expect("a folder");
    let server = Start::in_dir(dir.path())
        .set("limits.log_entries_max", TAIL)
        .set("limits.sessions_per_address_max", 10_000)
        .set("limits.publishes_per_second", 100_000)
        .set("limits.replay_max", 100_000)
        // Nobody is waited for who does not answer: the slow one must not be ended meanwhile.
        .set("limits.idle_ms", 600_000)
        .start();
    let told = Arc::new(AtomicU64::new(0));
    let crowd = tokio::spawn(read_along(options(&server, Door::WsProto), Arc::clone(&told)));
    let ann = Person::come(&server, Door::WsProto, "ann").await;
    ann.say("lobby", "1").await;
    until(&told, READERS as u64).await;

    let stream = narrow(server.http).await;
    let slow = Raw::upgrade_on(stream, server.http, &[("sec-websocket-protocol", JSON)]).await;
    let mut slow = slow.unwrap_or_else(|(status, body)| panic!("{status} {body}"));
    slow.ask(json!({"hello": {"name": "slow"}})).await;
    slow.ask(json!({"subscribe": {"room": "lobby", "after": {}}})).await;

    // From here on it does not read.
    let begun = Instant::now();
    let text = "x".repeat(TEXT_BYTES);
    for seq in 2..=MESSAGES {
        ann.say("lobby", &format!("{seq} {text}")).await;
        // Everybody else has it, while the slow one has not.
        if seq % 50 == 0 {
            until(&told, seq * READERS as u64).await;
        }
    }
    let first_part = begun.elapsed();
    while begun.elapsed() < Duration::from_secs(pause_s) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ann.say("lobby", "meanwhile").await;
    }
    let last = ann.say("lobby", "the last").await.seq;
    until(&told, last * READERS as u64).await;
    println!("{READERS} readers had {MESSAGES} messages in {first_part:?}");

    // Now it reads on: everything, in order, from where it was, and then live.
    for seq in 1..=last {
        let message = slow.until("message").await;
        assert_eq!(message["seq"], json!(seq), "a hole or a repeat");
        if (2..=MESSAGES).contains(&seq) {
            let starts = message["post"]["text"]
                .as_str()
                .is_some_and(|text| text.starts_with(&format!("{seq} ")));
            assert!(starts, "{seq} is another message");
        }
    }
    ann.say("lobby", "live again").await;
    let live = slow.until("message").await;
    assert_eq!((&live["seq"], live.get("truncated")), (&json!(last + 1), None::<&Value>));
    until(&told, (last + 1) * READERS as u64).await;
    crowd.abort();
}

#[tokio::test]
async fn who_is_behind_what_retention_trims_is_told_where_the_log_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Start::in_dir(dir.path())
        .set("retention", "* count=50")
        .set("retention_interval_ms", 100)
        .set("limits.log_entries_max", TAIL)
        .set("limits.publishes_per_second", 100_000)
        .start();
    let stream = narrow(server.http).await;
    let slow = Raw::upgrade_on(stream, server.http, &[("sec-websocket-protocol", JSON)]).await;
    let mut slow = slow.unwrap_or_else(|(status, body)| panic!("{status} {body}"));
    slow.ask(json!({"hello": {"name": "slow"}})).await;
    slow.ask(json!({"subscribe": {"room": "lobby"}})).await;
    let ann = Person::come(&server, Door::Grpc, "ann").await;
    let text = "x".repeat(TEXT_BYTES);
    for seq in 1..=MESSAGES {
        ann.say("lobby", &format!("{seq} {text}")).await;
    }
    patiently("the trim", async {
        while ann.page("lobby", HistoryAnchor::Newest, 1).await.first < MESSAGES - 60 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let (mut next, mut truncated) = (1, 0);
    let deadline = Instant::now() + PATIENCE;
    while next <= MESSAGES {
        assert!(Instant::now() < deadline, "{next} does not come");
        let frame = slow.frame().await;
        if let Some(gap) = frame.get("truncated") {
            let first = gap["first"].as_u64().expect("it says where");
            assert!(first > next, "{frame}: {next} was expected");
            (next, truncated) = (first, truncated + 1);
        } else if let Some(message) = frame.get("message") {
            assert_eq!(message["seq"], json!(next), "a hole or a repeat");
            next += 1;
        }
    }
    assert!(truncated >= 1, "it was behind what was trimmed");
}
