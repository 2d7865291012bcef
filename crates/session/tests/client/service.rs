//! The far side: a service that keeps rule 3 of the contract to the letter (it looks for copies and
//! predecessors behind `since` only), and is as unkind as the contract allows.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use model::{
    Catchup, ClientFrame, ClientSays, End, EndCode, FromServer, Hello, Limits, LogId, Mark,
    Message, MessageContent, MessageId, MoveTo, Now, Page, Position, Publish, Refusal, RefusalCode,
    Rights, RoomName, Says, Seq, ServerFrame, SessionId, Snapshot, SnapshotReason, Subscribe,
    Subscription, Unsubscribed, UnsubscribedCode, User, UserId, Welcome,
};

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
    /// The client is sent elsewhere, or ended so that it comes back.
    pub(crate) moves: bool,
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
    random: fastrand::Rng,
    pub(crate) logs: BTreeMap<RoomName, Log>,
    /// Readers' cursors on this connection.
    cursors: BTreeMap<RoomName, Seq>,
    connected: bool,
    inbox: VecDeque<ClientFrame>,
    outbox: VecDeque<FromServer>,
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
            random: fastrand::Rng::with_seed(seed ^ 0x5e21),
            logs: BTreeMap::new(),
            cursors: BTreeMap::new(),
            connected: false,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            late: Vec::new(),
        }
    }

    /// No faults from here on but those that are on their way.
    pub(crate) fn calm(&mut self) {
        self.faults = Faults { forbids: self.faults.forbids, ..Faults::default() };
    }

    pub(crate) fn accept(&mut self) {
        assert!(!self.connected, "one connection at a time");
        self.connected = true;
    }

    pub(crate) fn receive(&mut self, frame: ClientFrame) {
        assert!(self.connected, "frames are sent on a connection");
        self.inbox.push_back(frame);
    }

    pub(crate) fn poll(&mut self) -> Option<FromServer> {
        self.outbox.pop_front()
    }

    /// Forgets the connection; the oldest of what was on its way may have arrived, or arrive later.
    pub(crate) fn hang_up(&mut self, now: Now) {
        let arrived = self.random.usize(0..=self.inbox.len());
        for _ in 0..arrived {
            self.hear(now);
        }
        let rest = std::mem::take(&mut self.inbox);
        if self.faults.late {
            self.late.extend(rest.into_iter().filter_map(|frame| match frame.says {
                ClientSays::Publish(publish) => Some(publish),
                _ => None,
            }));
        }
        self.outbox.clear();
        self.cursors.clear();
        self.connected = false;
    }

    /// Takes one frame from the connection, or a late one.
    pub(crate) fn hear(&mut self, _now: Now) {
        if !self.late.is_empty() && self.random.bool() {
            let at = self.random.usize(..self.late.len());
            let publish = self.late.swap_remove(at);
            let _ = self.decide(&publish);
            return;
        }
        let Some(frame) = self.inbox.pop_front() else {
            return;
        };
        let r#ref = frame.r#ref;
        match frame.says {
            ClientSays::Hello(hello) => self.welcome(r#ref, *hello),
            ClientSays::Subscribe(subscribe) => self.subscribe(r#ref, &subscribe),
            ClientSays::Publish(publish) => {
                let says = self.decide(&publish);
                self.say(r#ref, says);
            }
            ClientSays::Unsubscribe { room } => {
                self.cursors.remove(&room);
                let why = Unsubscribed::new(UnsubscribedCode::Left);
                self.say(r#ref, Says::Unsubscribed { room: room.as_str().into(), why });
            }
            _ => {}
        }
    }

    fn say(&mut self, r#ref: u32, says: Says) {
        self.outbox.push_back(FromServer::Says(ServerFrame { r#ref, says }));
    }

    fn welcome(&mut self, r#ref: u32, hello: Hello) {
        let welcome = Welcome {
            session: SessionId::new("s1").expect("valid"),
            user: ann(),
            resume_token: "again".into(),
            heartbeat_ms: 25_000,
            token_expires_at_ms: None,
            limits: Limits::default(),
            features: Vec::new(),
        };
        self.say(r#ref, Says::Welcome(Box::new(welcome)));
        for subscribe in &hello.subscribe {
            self.subscribe(0, subscribe);
        }
    }

    fn subscribe(&mut self, r#ref: u32, subscribe: &Subscribe) {
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
        self.cursors.insert(room.clone(), cursor);
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
        self.say(r#ref, Says::Subscribed { room, subscription, presence: None });
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
        if self.connected && self.random.u8(..) < 20 {
            return self.say(0, Says::Heartbeat);
        }
        let rooms: Vec<RoomName> = self.cursors.keys().cloned().collect();
        let Some(room) = self.random.choice(rooms) else {
            return;
        };
        let cursor = self.cursors.get_mut(&room).expect("chosen among them");
        let log = &self.logs[&room];
        if *cursor + 1 < log.first {
            *cursor = log.first - 1;
            let first = log.first;
            return self.say(0, Says::Truncated { room, first });
        }
        // Twice now and then: a duplicate is allowed, a hole is not.
        let repeated = *cursor > 0 && *cursor >= log.first && self.random.u8(..) < 10;
        let at = if repeated { *cursor - 1 } else { *cursor };
        if let Some(entry) = log.entries.get(at as usize) {
            *cursor = entry.seq;
            self.outbox.push_back(FromServer::Message(entry.clone()));
        }
    }

    pub(crate) fn others_publish(&mut self) {
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
        match self.random.u8(0..6) {
            0 | 1 if self.faults.cuts => {
                self.hang_up(person.now());
                person.lose_connection(self.random.bool().then_some(1006));
            }
            2 if self.faults.trims => {
                let random = &mut self.random;
                for log in self.logs.values_mut().filter(|log| log.head() > 0) {
                    log.first = log.first.max(random.u64(1..=log.head()));
                }
            }
            3 if self.faults.evictions => {
                let Some(room) = self.cursors.pop_first().map(|(room, _)| room) else {
                    return;
                };
                let why = Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(100);
                self.say(0, Says::Unsubscribed { room: room.as_str().into(), why });
            }
            4 if self.faults.moves && self.connected => {
                let url = self.random.bool().then(|| "ws://elsewhere/v1/ws".to_owned());
                let to = MoveTo { url, resume_token: "moved".into(), within_ms: 20_000 };
                self.say(0, Says::Move(to));
            }
            5 if self.faults.moves && self.connected => {
                let end = End::new(EndCode::Restarting).retry_after(self.random.u64(0..500));
                self.say(0, Says::End(end));
            }
            _ => {}
        }
    }
}
