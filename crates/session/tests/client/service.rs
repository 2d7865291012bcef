//! The far side: a service that keeps rule 3 of the contract to the letter (it looks for copies and
//! predecessors behind `since` only), and is as unkind as the contract allows.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use model::{
    Catchup, ClientFrame, ClientSays, End, EndCode, FromServer, Hello, Limits, LogId, Mark,
    Message, MessageContent, MessageId, MoveTo, Page, Position, Publish, Refusal, RefusalCode,
    Rights, RoomName, Says, Seq, ServerFrame, SessionId, Snapshot, SnapshotReason, Subscribe,
    Subscription, Unsubscribed, UnsubscribedCode, User, UserId, Welcome,
};

use session::client::SocketNo;

use super::person::Person;

const REPLAY_MAX: u64 = 12;

/// What may go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Connections are cut, and what is on its way is lost.
    pub(crate) cuts: bool,
    /// What was on its way to the service may arrive later all the same.
    pub(crate) late: bool,
    /// Publishes are refused for now.
    pub(crate) busy: bool,
    /// Some publishes are refused for good.
    pub(crate) forbids: bool,
    /// Logs are trimmed.
    pub(crate) trims: bool,
    /// Subscriptions are ended for now.
    pub(crate) evictions: bool,
    /// The client is sent elsewhere.
    pub(crate) moves: bool,
    /// Connections are ended so that the client comes back.
    pub(crate) ends: bool,
    /// Dials fail.
    pub(crate) dials: bool,
}

/// A connection, behind which stands an edge of its own.
#[derive(Debug, Default)]
struct Conn {
    /// Readers' cursors.
    cursors: BTreeMap<RoomName, Seq>,
    inbox: VecDeque<ClientFrame>,
    outbox: VecDeque<FromServer>,
    welcomed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Message>,
    /// Entries below are trimmed.
    pub(crate) first: Seq,
}

impl Log {
    pub(crate) fn head(&self) -> Seq {
        self.entries.len() as Seq
    }
}

#[derive(Debug)]
pub(crate) struct Service {
    faults: Faults,
    is_calm: bool,
    random: fastrand::Rng,
    pub(crate) logs: BTreeMap<RoomName, Log>,
    conns: BTreeMap<SocketNo, Conn>,
    /// Frames of former connections that are still on their way.
    late: Vec<Publish>,
}

pub(crate) fn ann() -> User {
    User { id: UserId::new("ann").expect("valid"), name: "Ann".into(), data: Bytes::new() }
}

fn log_of(room: &RoomName) -> LogId {
    LogId::new(&format!("log{}", room.as_str())).expect("valid")
}

/// Whether this message is never allowed, whoever asks when.
pub(crate) fn is_forbidden(id: &MessageId) -> bool {
    id.as_str().bytes().map(u32::from).sum::<u32>() % 9 == 0
}

impl Service {
    pub(crate) fn new(seed: u64, faults: Faults) -> Service {
        Service {
            faults,
            is_calm: false,
            random: fastrand::Rng::with_seed(seed ^ 0x5e21),
            logs: BTreeMap::new(),
            conns: BTreeMap::new(),
            late: Vec::new(),
        }
    }

    /// No faults from here on but those that are on their way.
    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
        self.faults = Faults { forbids: self.faults.forbids, ..Faults::default() };
    }

    /// Whether a dial succeeds.
    pub(crate) fn accept(&mut self, socket: SocketNo) -> bool {
        if self.faults.dials && self.random.u8(..) < 100 {
            return false;
        }
        assert!(self.conns.len() < 2, "two connections at most");
        self.conns.insert(socket, Conn::default());
        true
    }

    pub(crate) fn receive(&mut self, socket: SocketNo, frame: ClientFrame) {
        let conn = self.conns.get_mut(&socket).expect("frames are sent on a connection");
        conn.inbox.push_back(frame);
    }

    /// The next frame of any connection.
    pub(crate) fn poll(&mut self) -> Option<(SocketNo, FromServer)> {
        let socket = self.any()?;
        Some((socket, self.conn(socket).outbox.pop_front()?))
    }

    fn any(&mut self) -> Option<SocketNo> {
        self.random.choice(self.conns.keys().copied().collect::<Vec<_>>())
    }

    fn conn(&mut self, socket: SocketNo) -> &mut Conn {
        self.conns.get_mut(&socket).expect("it stands")
    }

    /// Whether somebody is welcome on any connection.
    pub(crate) fn is_welcome(&self) -> bool {
        self.conns.values().any(|conn| conn.welcomed)
    }

    /// Forgets a connection; the oldest of what was on its way may have arrived, or arrive later.
    pub(crate) fn hang_up(&mut self, socket: SocketNo) {
        let waiting = self.conn(socket).inbox.len();
        let arrived = self.random.usize(0..=waiting);
        for _ in 0..arrived {
            self.hear_from(socket);
        }
        let Some(conn) = self.conns.remove(&socket) else { return };
        if self.faults.late {
            self.late.extend(conn.inbox.into_iter().filter_map(|frame| match frame.says {
                ClientSays::Publish(publish) => Some(publish),
                _ => None,
            }));
        }
    }

    /// Takes one frame from a connection, or a late one.
    pub(crate) fn hear(&mut self) {
        if !self.late.is_empty() && self.random.bool() {
            let at = self.random.usize(..self.late.len());
            let publish = self.late.swap_remove(at);
            let _ = self.decide(&publish);
            return;
        }
        if let Some(socket) = self.any() {
            self.hear_from(socket);
        }
    }

    fn hear_from(&mut self, socket: SocketNo) {
        let Some(frame) = self.conn(socket).inbox.pop_front() else {
            return;
        };
        let r#ref = frame.r#ref;
        match frame.says {
            ClientSays::Hello(hello) => self.welcome(socket, r#ref, *hello),
            ClientSays::Subscribe(subscribe) => self.subscribe(socket, r#ref, &subscribe),
            ClientSays::Publish(publish) => {
                let says = self.decide(&publish);
                self.say(socket, r#ref, says);
            }
            ClientSays::Unsubscribe { room } => {
                self.conn(socket).cursors.remove(&room);
                let why = Unsubscribed::new(UnsubscribedCode::Left);
                let room = room.as_str().into();
                self.say(socket, r#ref, Says::Unsubscribed { room, why });
            }
            _ => {}
        }
    }

    fn say(&mut self, socket: SocketNo, r#ref: u32, says: Says) {
        self.conn(socket).outbox.push_back(FromServer::Says(ServerFrame { r#ref, says }));
    }

    fn welcome(&mut self, socket: SocketNo, r#ref: u32, hello: Hello) {
        let welcome = Welcome {
            session: SessionId::new("s1").expect("valid"),
            user: ann(),
            resume_token: "again".into(),
            heartbeat_ms: 25_000,
            token_expires_at_ms: None,
            limits: Limits::default(),
            features: Vec::new(),
        };
        self.conn(socket).welcomed = true;
        self.say(socket, r#ref, Says::Welcome(Box::new(welcome)));
        for subscribe in &hello.subscribe {
            self.subscribe(socket, 0, subscribe);
        }
    }

    fn subscribe(&mut self, socket: SocketNo, r#ref: u32, subscribe: &Subscribe) {
        let room = subscribe.room.clone();
        let log = self.logs.entry(room.clone()).or_default();
        let (head, first) = (log.head(), log.first);
        let id = if head == 0 { LogId::none() } else { log_of(&room) };
        let after = subscribe.after.as_ref();
        let snapshot = |reason| Catchup::Snapshot(Snapshot { reason, page: Page::default() });
        let catchup = match after {
            None => snapshot(SnapshotReason::New),
            Some(after) if !after.speaks_of(&id) => snapshot(SnapshotReason::LogChanged),
            Some(after) if after.seq > head => panic!("the client holds what does not exist"),
            Some(after) if after.seq + 1 < first => snapshot(SnapshotReason::Trimmed),
            Some(after) if head - after.seq > REPLAY_MAX => snapshot(SnapshotReason::TooFar),
            Some(after) => Catchup::Resumed { missed: head - after.seq },
        };
        let cursor = match (&catchup, after) {
            (Catchup::Resumed { .. }, Some(after)) => after.seq,
            _ => head,
        };
        self.conn(socket).cursors.insert(room.clone(), cursor);
        let subscription = Subscription {
            log: id,
            first,
            head,
            ordinal: head,
            mark: Mark::default(),
            unread: 0,
            rights: Rights::OPEN,
            catchup,
        };
        let subscription = Box::new(subscription);
        self.say(socket, r#ref, Says::Subscribed { room, subscription, presence: None });
    }

    /// Rule 3: the copy lies in (since, head], the predecessor too, or nothing is written.
    fn decide(&mut self, publish: &Publish) -> Says {
        let id = publish.id.clone().expect("a session's publish has an id");
        if self.faults.busy && self.random.u8(..) < 60 {
            let busy = Refusal::new(RefusalCode::Busy).retry_after(self.random.u64(0..300));
            return Says::Refused(busy);
        }
        let log = self.logs.entry(publish.room.clone()).or_default();
        let since = publish.since.as_ref().map_or(0, |since: &Position| since.seq);
        assert!(since <= log.head(), "the client knows what does not exist");
        let behind = |wanted: &MessageId| {
            log.entries[since as usize..].iter().find(|m| m.from == ann() && m.id == *wanted)
        };
        let published = |seq, at_ms, duplicate| Says::Published {
            room: publish.room.clone(),
            log: log_of(&publish.room),
            seq,
            at_ms,
            duplicate,
        };
        if let Some(copy) = behind(&id) {
            return published(copy.seq, copy.at_ms, true);
        }
        if since + 1 < log.first {
            return Says::Refused(Refusal::new(RefusalCode::Undecidable));
        }
        if publish.after.as_ref().is_some_and(|after| behind(after).is_none()) {
            let missing = Refusal::new(RefusalCode::PredecessorMissing);
            return Says::Refused(if self.random.bool() {
                missing.retry_after(0)
            } else {
                missing
            });
        }
        if self.faults.forbids && is_forbidden(&id) {
            return Says::Refused(Refusal::new(RefusalCode::Forbidden));
        }
        let seq = self.append(&publish.room, ann(), id);
        Says::Published {
            room: publish.room.clone(),
            log: log_of(&publish.room),
            seq,
            at_ms: seq,
            duplicate: false,
        }
    }

    fn append(&mut self, room: &RoomName, from: User, id: MessageId) -> Seq {
        let log = self.logs.entry(room.clone()).or_default();
        let seq = log.head() + 1;
        log.entries.push(Message {
            room: room.clone(),
            log: (seq == 1).then(|| log_of(room)),
            seq,
            ordinal: seq,
            id,
            at_ms: seq,
            from,
            content: MessageContent::post("x"),
            edited_at_ms: None,
            reactions: Vec::new(),
        });
        log.first = log.first.max(1);
        seq
    }

    /// Moves one entry to one reader, or tells it what is gone.
    pub(crate) fn feed(&mut self) {
        let Some(socket) = self.any() else { return };
        if self.random.u8(..) < 20 {
            return self.say(socket, 0, Says::Heartbeat);
        }
        let conn = self.conns.get_mut(&socket).expect("chosen among them");
        let rooms: Vec<RoomName> = conn.cursors.keys().cloned().collect();
        let Some(room) = self.random.choice(rooms) else {
            return;
        };
        let cursor = conn.cursors.get_mut(&room).expect("chosen among them");
        let log = &self.logs[&room];
        if *cursor + 1 < log.first {
            *cursor = log.first - 1;
            let first = log.first;
            return self.say(socket, 0, Says::Truncated { room, first });
        }
        // Twice now and then: a duplicate is allowed, a hole is not.
        let repeated = *cursor > 0 && *cursor >= log.first && self.random.u8(..) < 10;
        let at = if repeated { *cursor - 1 } else { *cursor };
        if let Some(entry) = log.entries.get(at as usize) {
            *cursor = entry.seq;
            conn.outbox.push_back(FromServer::Message(entry.clone()));
        }
    }

    pub(crate) fn others_publish(&mut self) {
        // Seldom once it is calm: readers over two connections must get to the end.
        if self.is_calm && self.random.u8(..) < 220 {
            return;
        }
        let rooms: Vec<RoomName> = self.logs.keys().cloned().collect();
        let Some(room) = self.random.choice(rooms) else {
            return;
        };
        let bob = User { id: UserId::new("bob").expect("valid"), ..ann() };
        let burst = if self.random.u8(..) < 20 { 30 } else { 1 };
        for _ in 0..burst {
            let id = MessageId::new(&format!("bobs{:08}", self.random.u32(..))).expect("valid");
            self.append(&room, bob.clone(), id);
        }
    }

    /// One of the faults.
    pub(crate) fn misbehave(&mut self, person: &mut Person) {
        let Some(socket) = self.any() else { return };
        match self.random.u8(0..6) {
            0 | 1 if self.faults.cuts => {
                self.hang_up(socket);
                person.lose_connection(socket, self.random.bool().then_some(1006));
            }
            2 if self.faults.trims => {
                let random = &mut self.random;
                for log in self.logs.values_mut().filter(|log| log.head() > 0) {
                    log.first = log.first.max(random.u64(1..=log.head()));
                }
            }
            3 if self.faults.evictions => {
                let Some(room) = self.conn(socket).cursors.pop_first().map(|(room, _)| room) else {
                    return;
                };
                let why = Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(100);
                self.say(socket, 0, Says::Unsubscribed { room: room.as_str().into(), why });
            }
            4 if self.faults.moves && self.conn(socket).welcomed => {
                let url = self.random.bool().then(|| "ws://elsewhere/v1/ws".to_owned());
                let to = MoveTo { url, resume_token: "moved".into(), within_ms: 20_000 };
                self.say(socket, 0, Says::Move(to));
            }
            5 if self.faults.ends => {
                let end = End::new(EndCode::Restarting).retry_after(self.random.u64(0..500));
                self.say(socket, 0, Says::End(end));
            }
            _ => {}
        }
    }
}
