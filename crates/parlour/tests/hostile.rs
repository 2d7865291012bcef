//! What no client would send: each is answered by a refusal or an `end` of the contract, and nobody else
//! notices.

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::raw::{BINARY, CLOSE, JSON, PING, Raw, TEXT, Told, frame};
use support::{Server, Start};

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const FIN_TEXT: u8 = 0x80 | TEXT;

struct House {
    server: Server,
    _dir: tempfile::TempDir,
}

fn open(settings: impl FnOnce(Start) -> Start) -> House {
    let dir = tempfile::tempdir().expect("a folder");
    let server = settings(Start::in_dir(dir.path())).start();
    House { server, _dir: dir }
}

/// Somebody well-behaved comes, publishes, reads and is answered.
async fn still_serves(server: &Server) {
    let mut ann = Raw::hello(server, "ann").await;
    let id = format!("{:016x}", fastrand::u64(..));
    let answer = ann
        .ask(json!({"publish": {"room": "lobby", "id": id, "post": {"text": "still here"}}}))
        .await;
    let seq = answer["published"]["seq"].as_u64().unwrap_or_else(|| panic!("{answer}"));
    let page = ann.ask(json!({"history": {"room": "lobby", "limit": 1}})).await;
    assert_eq!(page["history"]["posts"][0]["seq"], seq, "{page}");
}

/// The session ends with this code, and the close frame says the same.
async fn ends_with(mut raw: Raw, code: u16, reason: &str, what: &str) -> Value {
    let (end, close) = raw.end().await;
    assert_eq!(
        (&end["code"], &end["reason"], close),
        (&json!(code), &json!(reason), code),
        "{what}: {end}"
    );
    assert!(end["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {end}");
    end
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_session_as_unreadable() {
    let house = open(|start| start);
    let masked = |first, payload: &[u8]| frame(first, payload.len() as u64, KEY, payload);
    let deep = format!("{{\"ref\":{}1{}}}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    let brackets = "[".repeat(60_000);
    let unfinished = [masked(TEXT, b"{\"ref\":1,"), masked(FIN_TEXT, b"{}")].concat();
    let long_ping = frame(0x80 | PING, 126, KEY, &[0; 126]);
    let cases: [(&str, Vec<u8>); 16] = [
        ("text that is not UTF-8", masked(FIN_TEXT, b"{\"ref\":1,\"x\":\"\xff\xfe\"}")),
        ("a reserved bit", masked(0xc0 | TEXT, b"{}")),
        ("all reserved bits", masked(0xf0 | TEXT, b"{}")),
        ("a reserved opcode", masked(0x83, b"{}")),
        ("a reserved control opcode", masked(0x8b, b"")),
        ("a frame without a mask", frame(FIN_TEXT, 2, None, b"{}")),
        ("broken JSON", masked(FIN_TEXT, b"{\"ref\":1,")),
        ("JSON that is no object", masked(FIN_TEXT, b"[1,2,3]")),
        ("JSON of the wrong type", masked(FIN_TEXT, b"{\"ref\":\"many\",\"publish\":7}")),
        ("nothing", masked(FIN_TEXT, b"")),
        ("deep nesting", masked(FIN_TEXT, deep.as_bytes())),
        ("brackets without an end", masked(FIN_TEXT, brackets.as_bytes())),
        ("a binary message on a JSON socket", masked(0x80 | BINARY, b"\x08\x01")),
        ("a continuation of nothing", masked(0x80, b"{}")),
        ("a message inside a message", unfinished),
        ("a control frame that is too long", long_ping),
    ];
    for (what, bytes) in &cases {
        // Before hello and after it.
        let mut raw = Raw::dial(&house.server).await;
        raw.bytes(bytes).await;
        ends_with(raw, 4500, "unreadable", what).await;
        let mut raw = Raw::hello(&house.server, "mallory").await;
        raw.bytes(bytes).await;
        ends_with(raw, 4500, "unreadable", what).await;
    }
    still_serves(&house.server).await;
}

#[tokio::test]
async fn what_is_larger_than_it_may_be_ends_the_session_by_its_head_alone() {
    let house = open(|start| start);
    for (what, length) in [
        ("four gigabytes", 4 << 30),
        ("the longest length there is", i64::MAX as u64),
        ("a byte too many", 64 * 1024 + 1),
    ] {
        let mut raw = Raw::hello(&house.server, "mallory").await;
        raw.bytes(&frame(FIN_TEXT, length, KEY, b"{\"ref\":1,")).await;
        let end = ends_with(raw, 4501, "too_large", what).await;
        assert!(
            end["message"].as_str().is_some_and(|text| text.contains("65536")),
            "{what}: {end}"
        );
    }
    let mut raw = Raw::dial(&house.server).await;
    raw.bytes(&frame(FIN_TEXT, 256 * 1024 + 1, KEY, b"{\"ref\":1,")).await;
    ends_with(raw, 4501, "too_large", "a hello that is too large").await;

    // In pieces it may be no larger than in one.
    let mut raw = Raw::hello(&house.server, "mallory").await;
    let piece = vec![b' '; 40_000];
    raw.bytes(&frame(TEXT, piece.len() as u64, KEY, &piece)).await;
    raw.bytes(&frame(0x80, piece.len() as u64, KEY, &piece)).await;
    ends_with(raw, 4501, "too_large", "two pieces").await;

    // And the whole of it sent, as a client would that does not know the limit: the end is still read.
    let mut raw = Raw::hello(&house.server, "mallory").await;
    let text = json!({"ref": 7, "publish": {"room": "lobby", "id": "12345678", "post": {"text": "x".repeat(100_000)}}});
    raw.say(text).await;
    ends_with(raw, 4501, "too_large", "an oversized publish").await;
    still_serves(&house.server).await;
}

#[tokio::test]
async fn what_is_exactly_as_large_as_it_may_be_is_taken() {
    let house = open(|start| start);
    let mut hello = json!({"ref": 1, "hello": {"name": "ann"}}).to_string();
    hello.push_str(&" ".repeat(256 * 1024 - hello.len()));
    let mut raw = Raw::dial(&house.server).await;
    raw.send(TEXT, hello.as_bytes()).await;
    raw.until("welcome").await;
    let mut heartbeat = json!({"ref": 2, "publish": {"room": "lobby", "id": "12345678", "post":
        {"text": "é".repeat(8 * 1024)}}})
    .to_string();
    heartbeat.push_str(&" ".repeat(64 * 1024 - heartbeat.len()));
    raw.send(TEXT, heartbeat.as_bytes()).await;
    assert_eq!(raw.until("published").await["seq"], 1);
    // In many small pieces, with a ping between two of them.
    let mut raw = Raw::hello(&house.server, "bob").await;
    let text = json!({"ref": 3, "history": {"room": "lobby"}}).to_string();
    let (last, pieces) = text.as_bytes().split_last().expect("not empty");
    for (nth, byte) in pieces.iter().enumerate() {
        raw.bytes(&frame(if nth == 0 { TEXT } else { 0 }, 1, KEY, &[*byte])).await;
    }
    raw.send(PING, b"are you there?").await;
    raw.bytes(&frame(0x80, 1, KEY, &[*last])).await;
    assert_eq!(raw.until("history").await["asOf"], 1);
}

#[tokio::test]
async fn hello_comes_first_and_in_time() {
    let house = open(|start| start.set("limits.hello_within_ms", 300));
    for frame in [
        json!({"ref": 1, "publish": {"room": "lobby", "id": "12345678", "post": {"text": "x"}}}),
        json!({"heartbeat": {}}),
        json!({"ref": 1}),
        json!({"ref": 1, "hello": {"name": "ann", "client": "c".repeat(100)}}),
    ] {
        let mut raw = Raw::dial(&house.server).await;
        raw.say(frame.clone()).await;
        ends_with(raw, 4502, "hello_expected", &frame.to_string()).await;
    }
    let raw = Raw::dial(&house.server).await;
    ends_with(raw, 4008, "hello_late", "silence").await;
    let mut dribbling = Raw::dial(&house.server).await;
    dribbling.bytes(&frame(FIN_TEXT, 100, KEY, b"{\"ref\"")).await;
    ends_with(dribbling, 4008, "hello_late", "half a hello").await;
    for name in ["", "two\nlines", &"n".repeat(200)] {
        let mut raw = Raw::dial(&house.server).await;
        raw.say(json!({"hello": {"name": name}})).await;
        let (end, _) = raw.end().await;
        assert!(end["code"].as_u64().is_some_and(|code| code >= 4500), "{name:?}: {end}");
    }
    still_serves(&house.server).await;
}

#[tokio::test]
async fn silence_ends_a_session_and_any_frame_is_a_sign_of_life() {
    let house = open(|start| start.set("limits.heartbeat_ms", 400).set("limits.idle_ms", 1_000));
    let mut alive = Raw::hello(&house.server, "ann").await;
    let mut dead = Raw::hello(&house.server, "bob").await;
    let mut beats = 0;
    let (end, close) = loop {
        tokio::select! {
            told = dead.next() => match told {
                Told::Frame(told) if told.get("heartbeat").is_some() => beats += 1,
                Told::Frame(told) => match dead.next().await {
                    Told::Close(code, _) => break (told["end"].clone(), code),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            },
            // Answers heartbeats.
            told = alive.frame() => panic!("nobody is told anything: {told}"),
        }
    };
    assert_eq!((&end["reason"], close), (&json!("timed_out"), 4002), "{end}");
    assert!(beats >= 1, "the server asks before it gives up");
    assert!(alive.ask(json!({"history": {"room": "lobby"}})).await["history"].is_object());
}

#[tokio::test]
async fn random_bytes_end_a_session_and_nothing_else() {
    let house = open(|start| start);
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4_711);
    let mut random = fastrand::Rng::with_seed(seed);
    println!("SEED={seed}");
    let valid = json!({"ref": 1, "publish": {"room": "lobby", "id": "12345678", "post": {"text": "héllo"}}});
    for round in 0..150 {
        let mut raw = match round % 3 {
            0 => Raw::dial(&house.server).await,
            1 => Raw::hello(&house.server, "mallory").await,
            _ => {
                let headers = [("sec-websocket-protocol", "parlour.v1.proto")];
                Raw::upgrade(house.server.http, &headers).await.expect("upgraded")
            }
        };
        let mut bytes: Vec<u8> = match round % 4 {
            // Noise.
            0 => (0..random.usize(1..2_000)).map(|_| random.u8(..)).collect(),
            // A frame of noise.
            1 => {
                let noise: Vec<u8> = (0..random.usize(1..500)).map(|_| random.u8(..)).collect();
                let first = 0x80 | random.u8(0..16);
                frame(first, noise.len() as u64, KEY, &noise)
            }
            // A valid frame with some bytes changed, before or after it was masked.
            2 => {
                let mut text = valid.to_string().into_bytes();
                for _ in 0..random.usize(1..6) {
                    let at = random.usize(..text.len());
                    text[at] = random.u8(..);
                }
                frame(FIN_TEXT, text.len() as u64, KEY, &text)
            }
            _ => {
                let mut whole = frame(
                    FIN_TEXT,
                    valid.to_string().len() as u64,
                    KEY,
                    valid.to_string().as_bytes(),
                );
                let at = random.usize(..whole.len());
                whole[at] ^= 1 << random.u8(0..8);
                whole
            }
        };
        // A close at the end, so that what was taken for a frame, or for half of one, ends as well.
        bytes.extend(frame(0x80 | CLOSE, 2, KEY, &1000_u16.to_be_bytes()));
        raw.bytes(&bytes).await;
        raw.shut().await;
        loop {
            match raw.next().await {
                Told::Frame(_) | Told::Bytes(_) => {}
                Told::Close(code, _) => {
                    let known = matches!(code, 1000 | 4500 | 4501 | 4502 | 4504);
                    assert!(known, "SEED={seed}, round {round}: closed with {code}");
                }
                Told::Gone => break,
            }
        }
    }
    still_serves(&house.server).await;
}

#[tokio::test]
async fn who_is_refused_on_and_on_is_ended_for_flooding() {
    let house = open(|start| start);
    let mut raw = Raw::hello(&house.server, "mallory").await;
    for number in 1..=2_000 {
        raw.say(json!({"ref": number, "publish": {"room": "no room", "id": "12345678", "post": {"text": "x"}}})).await;
    }
    let mut refused = 0;
    let end = loop {
        match raw.next().await {
            Told::Frame(frame) if frame.get("refused").is_some() => refused += 1,
            Told::Frame(mut frame) => break frame["end"].take(),
            other => panic!("an end should come: {other:?}"),
        }
    };
    assert_eq!((&end["code"], &end["reason"]), (&json!(4507), &json!("flooding")));
    assert!((50..=500).contains(&refused), "{refused} were refused before");
    still_serves(&house.server).await;
}

#[tokio::test]
async fn too_many_sessions_of_one_address_are_told_to_come_back_later() {
    let house = open(|start| start.set("limits.sessions_per_address_max", 5));
    let mut held = Vec::new();
    for number in 0..5 {
        held.push(Raw::hello(&house.server, &format!("person{number}")).await);
    }
    let raw = Raw::dial(&house.server).await;
    let end = ends_with(raw, 4005, "too_many_sessions", "the sixth").await;
    assert!(end["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0), "{end}");
    held.pop();
    // The place is given back when the server has noticed.
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        let mut raw = Raw::dial(&house.server).await;
        raw.say(json!({"hello": {"name": "late"}})).await;
        match raw.next().await {
            Told::Frame(frame) if frame.get("welcome").is_some() => break,
            _ => assert!(std::time::Instant::now() < deadline, "the place is not given back"),
        }
    }
}

#[tokio::test]
async fn pages_of_other_origins_and_other_protocols_are_refused_before_the_upgrade() {
    let house = open(|start| start.set("origins", "https://app.example"));
    let address: SocketAddr = house.server.http;
    let own = format!("http://{address}");
    for (origin, status) in [
        ("http://evil.example", 403),
        ("null", 403),
        ("https://app.example.evil", 403),
        ("https://app.example", 101),
        (&own, 101),
    ] {
        let refused = Raw::upgrade(address, &[("origin", origin)]).await.err();
        assert_eq!(refused.as_ref().map_or(101, |(status, _)| *status), status, "{origin}");
        if let Some((_, body)) = refused {
            assert!(body.contains("origins"), "it says what to do: {body}");
        }
    }
    let refused = Raw::upgrade(address, &[("sec-websocket-protocol", "chat, superchat")]).await;
    let (status, body) = refused.err().expect("none of them is spoken here");
    assert_eq!(status, 400);
    assert!(body.contains(JSON), "it says which are: {body}");
    for (name, value) in [("sec-websocket-version", "8"), ("sec-websocket-key", "another")] {
        let refused = Raw::upgrade(address, &[(name, value)]).await.err().map(|(status, _)| status);
        assert!(refused.is_some_and(|status| (400..500).contains(&status)), "{name}: {refused:?}");
    }
    let any_of_them =
        Raw::upgrade(address, &[("sec-websocket-protocol", "superchat, parlour.v1.proto")]).await;
    assert!(any_of_them.is_ok());
    still_serves(&house.server).await;
}

#[tokio::test]
async fn a_hello_with_too_many_rooms_gets_an_answer_for_each() {
    let house = open(|start| start.set("limits.rooms_per_session_max", 10));
    let rooms: Vec<_> = (0..15).map(|number| json!({"room": format!("room:{number}")})).collect();
    let mut raw = Raw::dial(&house.server).await;
    raw.say(json!({"ref": 1, "hello": {"name": "ann", "subscribe": rooms}})).await;
    raw.until("welcome").await;
    let (mut subscribed, mut refused) = (0, 0);
    while subscribed + refused < 15 {
        let frame = raw.frame().await;
        subscribed += usize::from(frame.get("subscribed").is_some());
        if let Some(why) = frame.get("unsubscribed") {
            assert_eq!((&why["code"], &why["reason"]), (&json!(205), &json!("too_many_rooms")));
            refused += 1;
        }
    }
    assert_eq!((subscribed, refused), (10, 5));
    assert_eq!(raw.refusal(json!({"subscribe": {"room": "another"}})).await["code"], 121);
}

#[tokio::test]
async fn a_second_page_at_once_is_refused_and_the_first_one_comes() {
    let house = open(|start| start);
    let mut raw = Raw::hello(&house.server, "ann").await;
    let page = |r#ref: u32| json!({"ref": r#ref, "history": {"room": "lobby"}}).to_string();
    // In one segment, so that both are there before the first is answered.
    let both: Vec<u8> = [page(1), page(2)]
        .iter()
        .flat_map(|text| frame(FIN_TEXT, text.len() as u64, KEY, text.as_bytes()))
        .collect();
    raw.bytes(&both).await;
    let refused = raw.until("refused").await;
    assert_eq!((&refused["code"], &refused["retryAfterMs"]), (&json!(125), &json!(0)));
    raw.until("history").await;
    assert!(raw.ask(json!({"history": {"room": "lobby"}})).await["history"].is_object());
}
