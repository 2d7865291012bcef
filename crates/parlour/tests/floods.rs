//! Connections that ask for nothing, by the thousand, at both doors, while somebody well-behaved comes and
//! talks.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use support::person::{Door, Person};
use support::raw::{CLOSE, PING, Raw, TEXT, Told, frame};
use support::{PATIENCE, Server, Start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// More than there were places between accept and request, from one address.
const SILENT: usize = 5_000;
/// From others, so that there are too many in all.
const OTHERS: u32 = 4_000;
/// What a newcomer may wait among them: silence itself is borne for ten seconds.
const AT_ONCE: Duration = Duration::from_secs(4);

struct House {
    server: Server,
    _dir: tempfile::TempDir,
}

fn open() -> House {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raised");
    let dir = tempfile::tempdir().expect("a folder");
    let server = Start::in_dir(dir.path()).start();
    House { server, _dir: dir }
}

/// A connection from an address of one's own.
async fn dial(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::from(from), 0).into()).expect("loopback is wide");
    let dialed = tokio::time::timeout(PATIENCE, socket.connect(to)).await;
    dialed.expect("in time").expect("somebody listens")
}

/// Comes by every door, and talks.
async fn talks_at_once(server: &Server, what: &str) {
    let began = Instant::now();
    let mut raw = Raw::hello(server, "ann").await;
    let id = format!("{:016x}", fastrand::u64(..));
    let told =
        raw.ask(json!({"publish": {"room": "lobby", "id": id, "post": {"text": "x"}}})).await;
    assert!(told["published"].is_object(), "{what}: {told}");
    let bob = Person::come(server, Door::Grpc, "bob").await;
    bob.say("lobby", "here too").await;
    assert!(began.elapsed() < AT_ONCE, "{what}: it took {:?}", began.elapsed());
}

/// Sockets that were opened and say nothing took every place before the request, for ten seconds each:
/// a new WebSocket waited for eleven. At the gRPC port they stayed for ever.
#[tokio::test]
async fn silent_connections_keep_nobody_waiting() {
    let house = open();
    let server = &house.server;
    let mut ann = Raw::hello(server, "ann").await;
    for (what, address) in [("HTTP", server.http), ("gRPC", server.grpc)] {
        let mut silent = Vec::new();
        for number in 0..SILENT {
            silent.push(dial([127, 0, 0, 1], address).await);
            if number % 500 == 0 {
                let id = format!("{number:08}-{what}");
                let post = json!({"room": "lobby", "id": id, "post": {"text": "on"}});
                let told = ann.ask(json!({ "publish": post })).await;
                assert!(told["published"].is_object(), "{what}: {told}");
            }
        }
        talks_at_once(server, what).await;
        // Another address's silence is not weighed against one that has a few.
        let mut others = Vec::new();
        for number in 0..OTHERS {
            let [_, _, high, low] = (number % 50 + 2).to_be_bytes();
            others.push(dial([127, 0, 1 + high, low], address).await);
        }
        talks_at_once(server, what).await;
        // Whoever had to make room is told by the end of its stream.
        let (mut end, mut rest) = (silent.swap_remove(0), Vec::new());
        let read = tokio::time::timeout(PATIENCE, end.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "{what}: the stream ends");
    }
}

/// A connection without an HTTP/2 preface was never closed, and neither was one that finished it and
/// asked nothing.
#[tokio::test]
async fn a_grpc_connection_has_ten_seconds_for_its_first_request() {
    let house = open();
    let began = Instant::now();
    let mut silent = dial([127, 0, 0, 1], house.server.grpc).await;
    let mut polite = dial([127, 0, 0, 1], house.server.grpc).await;
    polite.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    for socket in [&mut silent, &mut polite] {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "it is closed");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

/// The way out waited for every open stream and every handshake that had not ended.
#[tokio::test]
async fn half_open_connections_do_not_hold_up_the_end() {
    let house = open();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(dial([127, 0, 0, 1], house.server.grpc).await);
        held.push(dial([127, 0, 0, 1], house.server.http).await);
        let mut polite = dial([127, 0, 0, 1], house.server.grpc).await;
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        polite.write_all(preface).await.expect("sent");
        held.push(polite);
    }
    let _bob = Person::come(&house.server, Door::Grpc, "bob").await;
    let began = Instant::now();
    let House { server, _dir } = house;
    let code = tokio::task::spawn_blocking(move || server.terminate()).await.expect("it ends");
    assert_eq!(code, Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(held);
}

/// A socket that was left unread, because too much waited to be written to it, was not looked at again
/// when that had gone: nothing rings for bytes that are there already.
#[tokio::test]
async fn a_socket_is_read_again_once_its_backlog_has_gone() {
    let house = open();
    let raw = Raw::hello(&house.server, "ann").await;
    let (mut read, mut write) = raw.split();
    // Pings whose pongs nobody takes, until the server stops reading them.
    let ping = frame(0x80 | PING, 125, Some([1, 2, 3, 4]), &[7; 125]);
    let burst = ping.repeat(512);
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(Duration::from_secs(2), write.write(&burst[sent % ping.len()..])).await
    {
        sent += written.expect("it is open");
    }
    let rest = (ping.len() - sent % ping.len()) % ping.len();
    let (last, asked) = (burst[ping.len() - rest..ping.len()].to_vec(), sent + rest);
    let request = json!({"ref": 7, "history": {"room": "lobby"}}).to_string();
    let request = frame(0x80 | TEXT, request.len() as u64, Some([1, 2, 3, 4]), request.as_bytes());
    let writing = tokio::spawn(async move {
        write.write_all(&last).await.expect("it is open");
        write.write_all(&request).await.expect("it is open");
        write
    });
    let pongs = asked / ping.len() * 127;
    let mut received = vec![0; pongs];
    let all = tokio::time::timeout(PATIENCE, read.read_exact(&mut received)).await;
    assert!(all.is_ok_and(|all| all.is_ok()), "every ping is answered");
    let mut answer = vec![0; 30];
    let answered = tokio::time::timeout(PATIENCE, read.read_exact(&mut answer)).await;
    assert!(answered.is_ok_and(|answered| answered.is_ok()), "and what was asked behind them");
    assert!(String::from_utf8_lossy(&answer).contains("\"ref\":7"), "{answer:?}");
    drop(writing);
}

/// The client's close was answered in the middle of whatever message was half written, whose end it
/// then looked like.
#[tokio::test]
async fn a_close_frame_stands_between_messages() {
    let house = open();
    let bob = Person::come(&house.server, Door::WsProto, "bob").await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a small one");
    let stream = socket.connect(house.server.http).await.expect("somebody listens");
    let mut raw = Raw::upgrade_on(stream, house.server.http, &[]).await.expect("upgraded");
    raw.ask(json!({"hello": {"name": "ann"}})).await;
    raw.ask(json!({"subscribe": {"room": "lobby"}})).await;
    // More than sockets hold, so that the last write ends within a message.
    for _ in 0..400 {
        bob.say("lobby", &"x".repeat(15_000)).await;
    }
    raw.send(CLOSE, &1000_u16.to_be_bytes()).await;
    let mut messages = 0;
    let code = loop {
        match raw.next().await {
            Told::Frame(told) if told.get("message").is_some() => messages += 1,
            Told::Frame(_) => {}
            Told::Close(code, _) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1000);
    assert!((1..400).contains(&messages), "{messages} came before the close");
}
