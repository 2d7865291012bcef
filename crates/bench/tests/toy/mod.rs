//! A server of the contract that keeps everything in memory, and can be told to go wrong.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use model::{
    Catchup, ClientSays, Encode, Encoding, FoldedPost, HistoryAnchor, HistoryAsk, Limits, LogId,
    Mark, MessageContent, Page, Publish, Refusal, RefusalCode, Rights, RoomName, Says, ServerFrame,
    SessionId, Snapshot, SnapshotReason, Subscribe, Subscription, User, UserId, Welcome,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use wire::codec;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// Every so many publishes, the connection breaks: stored, and not answered.
    BreaksAt(usize),
    /// This publish is stored with another text.
    Rewords(usize),
    /// This publish is acknowledged, and not stored.
    Forgets(usize),
    /// This publish is pushed twice.
    Repeats(usize),
    /// This publish is stored again under the next number.
    StoresTwice(usize),
    /// This publish is acknowledged at another number than where it stands.
    Misnumbers(usize),
    /// This publish is refused for good, and stored.
    RefusesAndStores(usize),
    /// This publish is stored as somebody else's.
    Ascribes(usize),
}

type Outbox = mpsc::UnboundedSender<Option<Vec<u8>>>;

#[derive(Default)]
struct Room {
    entries: Vec<Bytes>,
    by_id: HashMap<(UserId, String), u64>,
    readers: Vec<Outbox>,
}

struct State {
    fault: Fault,
    publishes: usize,
    rooms: HashMap<RoomName, Room>,
}

/// Starts a server; it ends with the test's runtime.
pub(crate) async fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let state = Arc::new(Mutex::new(State { fault, publishes: 0, rooms: HashMap::new() }));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(converse(socket, state.clone()));
        }
    });
    address
}

async fn converse(socket: TcpStream, state: Arc<Mutex<State>>) {
    #[allow(clippy::result_large_err, reason = "tungstenite's signature")]
    let answer = |request: &Request, mut response: Response| {
        if let Some(named) = request.headers().get("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", named.clone());
        }
        Ok(response)
    };
    let Ok(ws) = tokio_tungstenite::accept_hdr_async(socket, answer).await else {
        return;
    };
    let (mut sink, mut stream) = ws.split();
    let (outbox, mut outgoing) = mpsc::unbounded_channel();
    let mut session = Session { state, outbox, user: None };
    loop {
        tokio::select! {
            incoming = stream.next() => match incoming {
                Some(Ok(Message::Text(text))) => {
                    let frame = codec::decode_client(Encoding::Json, text.as_bytes());
                    let frame = frame.expect("our client writes frames");
                    session.handle(frame.r#ref, frame.says);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            Some(frame) = outgoing.recv() => {
                let Some(frame) = frame else { return };
                let text = String::from_utf8(frame).expect("JSON");
                if sink.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
        }
    }
}

struct Session {
    state: Arc<Mutex<State>>,
    outbox: Outbox,
    user: Option<User>,
}

impl Session {
    fn handle(&mut self, r#ref: u32, says: ClientSays) {
        match says {
            ClientSays::Hello(hello) => {
                let name = hello.name.expect("a name");
                let id: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
                let id = UserId::new(&id).expect("hexadecimal");
                self.user = Some(User { id, name, data: Bytes::new() });
                self.welcome(r#ref);
                hello.subscribe.iter().for_each(|wish| self.subscribe(0, wish));
            }
            ClientSays::Subscribe(wish) => self.subscribe(r#ref, &wish),
            ClientSays::Publish(publish) => self.publish(r#ref, &publish),
            ClientSays::History { room, ask } => self.history(r#ref, room, &ask),
            ClientSays::Heartbeat => {}
            other => panic!("the bench has no reason to say {other:?}"),
        }
    }

    fn welcome(&self, r#ref: u32) {
        let welcome = Welcome {
            session: SessionId::new("s1").expect("a name"),
            user: self.user.clone().expect("said hello"),
            resume_token: "t".to_owned(),
            heartbeat_ms: 25_000,
            token_expires_at_ms: None,
            limits: Limits::default(),
            features: Vec::new(),
        };
        self.say(r#ref, Says::Welcome(Box::new(welcome)));
    }

    fn subscribe(&self, r#ref: u32, wish: &Subscribe) {
        let mut state = self.state.lock().expect("no panic");
        let room = state.rooms.entry(wish.room.clone()).or_default();
        let head = room.entries.len() as u64;
        let held = wish.after.as_ref().map(|after| after.seq);
        let catchup = match held {
            Some(seq) => Catchup::Resumed { missed: head - seq },
            None => {
                Catchup::Snapshot(Snapshot { reason: SnapshotReason::New, page: Page::default() })
            }
        };
        let subscription = Subscription {
            log: if head == 0 { LogId::none() } else { log() },
            first: u64::from(head > 0),
            head,
            ordinal: head,
            mark: Mark::default(),
            unread: 0,
            rights: Rights::OPEN,
            catchup,
        };
        let room_name = wish.room.clone();
        let subscription = Box::new(subscription);
        self.say(r#ref, Says::Subscribed { room: room_name, subscription, presence: None });
        for payload in room.entries.iter().skip(held.unwrap_or(head) as usize) {
            push(&self.outbox, payload);
        }
        room.readers.push(self.outbox.clone());
    }

    fn publish(&self, r#ref: u32, publish: &Publish) {
        let user = self.user.clone().expect("said hello");
        let id = publish.id.clone().expect("an id");
        let key = (user.id.clone(), id.as_str().to_owned());
        let mut state = self.state.lock().expect("no panic");
        let known = state.rooms.get(&publish.room).and_then(|room| room.by_id.get(&key)).copied();
        if let Some(seq) = known {
            return self.published(r#ref, publish, seq, true);
        }
        state.publishes += 1;
        let (nth, fault) = (state.publishes, state.fault);
        let room = state.rooms.entry(publish.room.clone()).or_default();
        let seq = room.entries.len() as u64 + 1;
        if fault == Fault::Forgets(nth) {
            return self.published(r#ref, publish, seq, false);
        }
        if fault == Fault::RefusesAndStores(nth) {
            self.say(r#ref, Says::Refused(Refusal::new(RefusalCode::Forbidden)));
        }
        if fault == Fault::Misnumbers(nth) {
            self.published(r#ref, publish, seq + 1, false);
        }
        let mut content = publish.content.clone();
        if fault == Fault::Rewords(nth) {
            content = codec::content(&MessageContent::post("something else")).expect("a post");
        }
        let mut author = user.clone();
        if fault == Fault::Ascribes(nth) {
            author.id = UserId::new("mallory").expect("letters");
        }
        let copies = if fault == Fault::StoresTwice(nth) { 2 } else { 1 };
        for seq in seq..seq + copies {
            let log = (seq == 1).then(log);
            let payload = codec::Codec.message(
                &publish.room,
                log.as_ref(),
                seq,
                seq,
                &id,
                1,
                &author,
                &content,
            );
            for reader in &room.readers {
                push(reader, &payload);
                if fault == Fault::Repeats(nth) {
                    push(reader, &payload);
                }
            }
            room.entries.push(payload);
        }
        room.by_id.insert(key, seq);
        match fault {
            Fault::Misnumbers(faulty) | Fault::RefusesAndStores(faulty) if faulty == nth => {}
            Fault::BreaksAt(every) if nth.is_multiple_of(every) => {
                let _ = self.outbox.send(None);
            }
            _ => self.published(r#ref, publish, seq, false),
        }
    }

    /// Only upwards, as far as a page goes.
    fn history(&self, r#ref: u32, room: RoomName, ask: &HistoryAsk) {
        let HistoryAnchor::After(after) = ask.anchor else {
            panic!("the bench has no reason to ask for {ask:?}");
        };
        let mut state = self.state.lock().expect("no panic");
        let entries = &state.rooms.entry(room.clone()).or_default().entries;
        let posts = entries.iter().skip(after as usize).take(ask.limit as usize);
        let posts = posts.map(|payload| FoldedPost {
            payload: payload.clone(),
            edit: None,
            reactions: Vec::new(),
        });
        let page = Page {
            posts: posts.collect(),
            first: u64::from(!entries.is_empty()),
            more: entries.len() as u64 > after + u64::from(ask.limit),
            as_of: entries.len() as u64,
            mine: Vec::new(),
        };
        self.say(r#ref, Says::History { room, log: log(), page: Box::new(page) });
    }

    fn published(&self, r#ref: u32, publish: &Publish, seq: u64, duplicate: bool) {
        let room = publish.room.clone();
        self.say(r#ref, Says::Published { room, log: log(), seq, at_ms: 1, duplicate });
    }

    fn say(&self, r#ref: u32, says: Says) {
        let mut frame = Vec::new();
        codec::encode_server(Encoding::Json, &ServerFrame { r#ref, says }, &mut frame);
        let _ = self.outbox.send(Some(frame));
    }
}

fn push(reader: &Outbox, payload: &Bytes) {
    let mut frame = Vec::new();
    codec::message_frame(Encoding::Json, payload, &mut frame);
    // Who has gone hears nothing.
    let _ = reader.send(Some(frame));
}

fn log() -> LogId {
    LogId::new("toylog").expect("letters")
}
