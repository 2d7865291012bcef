//! A service with one log per room and no mercy, behind WebSocket and gRPC.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use model::{
    Catchup, ClientFrame, ClientSays, Encode, Encoding, End, FoldedPost, Limits, LogId, Mark,
    MessageId, Page, Publish, Rights, RoomName, Says, ServerFrame, SessionId, Snapshot,
    SnapshotReason, Subscribe, Subscription, User, UserId, Welcome,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use wire::codec;

/// What goes to one connection.
pub(crate) enum Out {
    Frame(Box<ServerFrame>),
    Message(Bytes),
    /// The connection breaks off.
    Cut,
    /// The WebSocket is closed with this code.
    Close(u16),
}

#[derive(Default)]
struct Log {
    entries: Vec<(MessageId, UserId, Bytes)>,
    readers: Vec<UnboundedSender<Out>>,
}

#[derive(Default)]
struct World {
    logs: BTreeMap<RoomName, Log>,
    connections: u32,
    /// Publishes until the next cut, which swallows the answer of the last of them.
    cut_after: Option<u32>,
    greeting: Greeting,
}

/// What is said to a hello.
#[derive(Clone, Default)]
pub(crate) enum Greeting {
    #[default]
    Welcome,
    End(End),
    Close(u16),
}

#[derive(Clone)]
pub(crate) struct Service {
    world: Arc<Mutex<World>>,
    /// Connections that are open.
    open: watch::Sender<u32>,
    /// Subscribes so far.
    subscribed: watch::Sender<usize>,
}

fn log_id() -> LogId {
    LogId::new("log1").expect("valid")
}

impl Service {
    pub(crate) fn new() -> Service {
        Service {
            world: Arc::default(),
            open: watch::Sender::new(0),
            subscribed: watch::Sender::new(0),
        }
    }

    pub(crate) fn greet_with(&self, greeting: Greeting) {
        self.world.lock().expect("no panics").greeting = greeting;
    }

    pub(crate) fn cut_after(&self, publishes: u32) {
        self.world.lock().expect("no panics").cut_after = Some(publishes);
    }

    /// The ids in a room's log, in order.
    pub(crate) fn ids(&self, room: &RoomName) -> Vec<MessageId> {
        let world = self.world.lock().expect("no panics");
        world.logs[room].entries.iter().map(|(id, ..)| id.clone()).collect()
    }

    pub(crate) fn connections_so_far(&self) -> u32 {
        self.world.lock().expect("no panics").connections
    }

    pub(crate) async fn until_open(&self, connections: u32) {
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open == connections).await.expect("the service is there");
    }

    pub(crate) async fn until_subscribed(&self, times: usize) {
        let mut subscribed = self.subscribed.subscribe();
        subscribed.wait_for(|so_far| *so_far >= times).await.expect("the service is there");
    }

    pub(crate) fn connect(&self) -> (Connected, UnboundedReceiver<Out>) {
        self.world.lock().expect("no panics").connections += 1;
        self.open.send_modify(|open| *open += 1);
        let (out, outbox) = unbounded_channel();
        (Connected { service: self.clone(), out, user: None }, outbox)
    }
}

/// One connection's end inside the service.
pub(crate) struct Connected {
    service: Service,
    out: UnboundedSender<Out>,
    user: Option<User>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.service.open.send_modify(|open| *open -= 1);
    }
}

impl Connected {
    fn say(&self, r#ref: u32, says: Says) {
        let _ = self.out.send(Out::Frame(Box::new(ServerFrame { r#ref, says })));
    }

    pub(crate) fn handle(&mut self, frame: ClientFrame) {
        let world = Arc::clone(&self.service.world);
        let mut world = world.lock().expect("no panics");
        match frame.says {
            ClientSays::Hello(hello) => {
                match world.greeting.clone() {
                    Greeting::Welcome => {}
                    Greeting::End(end) => return self.say(0, Says::End(end)),
                    Greeting::Close(code) => return drop(self.out.send(Out::Close(code))),
                }
                self.welcome(frame.r#ref, hello.name.as_deref().unwrap_or("nobody"));
                hello.subscribe.iter().for_each(|wish| self.subscribe(&mut world, 0, wish));
            }
            ClientSays::Subscribe(wish) => self.subscribe(&mut world, frame.r#ref, &wish),
            ClientSays::Publish(publish) => self.publish(&mut world, frame.r#ref, publish),
            ClientSays::History { room, .. } => {
                let page = Box::new(page(world.logs.entry(room.clone()).or_default()));
                self.say(frame.r#ref, Says::History { room, log: log_id(), page });
            }
            _ => {}
        }
    }

    fn welcome(&mut self, r#ref: u32, name: &str) {
        let id = UserId::new(name).expect("tests use plain names");
        let user = User { id, name: name.to_owned(), data: Bytes::new() };
        self.user = Some(user.clone());
        let welcome = Welcome {
            session: SessionId::new("s1").expect("valid"),
            user,
            resume_token: "resume".into(),
            heartbeat_ms: 25_000,
            token_expires_at_ms: None,
            limits: Limits::default(),
            features: Vec::new(),
        };
        self.say(r#ref, Says::Welcome(Box::new(welcome)));
    }

    fn subscribe(&self, world: &mut World, r#ref: u32, wish: &Subscribe) {
        let log = world.logs.entry(wish.room.clone()).or_default();
        let head = log.entries.len() as u64;
        let after = wish.after.as_ref().map(|after| after.seq);
        let catchup = match after {
            Some(seq) => Catchup::Resumed { missed: head - seq },
            None => Catchup::Snapshot(Snapshot { reason: SnapshotReason::New, page: page(log) }),
        };
        let subscription = Box::new(Subscription {
            log: if head == 0 { LogId::none() } else { log_id() },
            first: head.min(1),
            head,
            ordinal: head,
            mark: Mark::default(),
            unread: 0,
            rights: Rights::OPEN,
            catchup,
        });
        let room = wish.room.clone();
        self.say(r#ref, Says::Subscribed { room, subscription, presence: None });
        for (.., payload) in log.entries.iter().skip(after.unwrap_or(head) as usize) {
            let _ = self.out.send(Out::Message(payload.clone()));
        }
        log.readers.push(self.out.clone());
        self.service.subscribed.send_modify(|so_far| *so_far += 1);
    }

    fn publish(&self, world: &mut World, r#ref: u32, publish: Publish) {
        let user = self.user.clone().expect("hello comes first");
        let id = publish.id.expect("a session's publish has an id");
        let log = world.logs.entry(publish.room.clone()).or_default();
        let copy = log.entries.iter().position(|(i, u, _)| *i == id && *u == user.id);
        let seq = copy.map_or(log.entries.len() + 1, |at| at + 1) as u64;
        let mut swallowed = false;
        if copy.is_none() {
            let named = (seq == 1).then(log_id);
            let room = &publish.room;
            let (log_id, content) = (named.as_ref(), &publish.content);
            let payload = codec::Codec.message(room, log_id, seq, seq, &id, 7, &user, content);
            log.entries.push((id, user.id, payload.clone()));
            if let Some(left) = &mut world.cut_after {
                *left -= 1;
                swallowed = *left == 0;
            }
            if swallowed {
                world.cut_after = None;
                log.readers.retain(|reader| !reader.same_channel(&self.out));
            }
            log.readers.retain(|reader| reader.send(Out::Message(payload.clone())).is_ok());
        }
        if swallowed {
            let _ = self.out.send(Out::Cut);
            return;
        }
        let (room, log, at_ms) = (publish.room, log_id(), 7);
        self.say(r#ref, Says::Published { room, log, seq, at_ms, duplicate: copy.is_some() });
    }
}

fn page(log: &Log) -> Page {
    let posts = log.entries.iter().map(|(.., payload)| FoldedPost {
        payload: payload.clone(),
        edit: None,
        reactions: Vec::new(),
    });
    let as_of = log.entries.len() as u64;
    Page { posts: posts.collect(), first: as_of.min(1), more: false, as_of, mine: Vec::new() }
}

/// The bytes of a frame; `None` ends the connection.
pub(crate) fn encoded(encoding: Encoding, out: &Out) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match out {
        Out::Frame(frame) => codec::encode_server(encoding, frame, &mut bytes),
        Out::Message(payload) => codec::message_frame(encoding, payload, &mut bytes),
        Out::Cut | Out::Close(_) => return None,
    }
    Some(bytes)
}
