//! A room, its journal's model and its peers, driven by hand.

#![allow(dead_code, reason = "each test file uses what it needs")]
#![allow(unreachable_pub, reason = "shared by test files as a module")]

pub mod store;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use model::{
    Answer, AppendError, Ask, AskBody, Content, ContentKind, Digest, Encode, Entry, Fed, Fence,
    Generation, Limits, LogId, MessageId, Now, Position, Publish, Refusal, RefusalCode, Right,
    Rights, RoomBatch, RoomName, Seed, Seq, SessionId, Subscription, User, UserId, Who,
};
use room::{AskId, Hints, Opening, Output, Peer, Read, Room, Ticket};
pub use store::Store;

/// Writes what can be read by eye: `5/3 ann: hello`.
pub struct Plain;

impl Encode for Plain {
    fn message(
        &self,
        _: &RoomName,
        log: Option<&LogId>,
        seq: Seq,
        ordinal: u64,
        _: &MessageId,
        _: u64,
        from: &User,
        content: &Content,
    ) -> Bytes {
        assert_eq!(log.is_some(), seq == 1, "the log is stated with the first entry");
        let text = String::from_utf8_lossy(&content.body);
        format!("{seq}/{ordinal} {}: {text}", from.id).into()
    }

    fn tombstone(&self, _: &Bytes, by: &UserId, reason: &str) -> Bytes {
        format!("redacted by {by}: {reason}").into()
    }

    fn redact_reason(&self, body: &Bytes) -> String {
        String::from_utf8_lossy(body).into_owned()
    }
}

pub fn room_name() -> RoomName {
    RoomName::new("team:ops").expect("valid")
}

pub fn user(name: &str) -> User {
    User { id: UserId::new(name).expect("valid"), name: name.to_owned(), data: Bytes::new() }
}

pub fn who(name: &str) -> Who {
    Who {
        user: user(name),
        session: Some(SessionId::new(&format!("s{name}")).expect("valid")),
        generation: Generation { counter: 1, random: 0 },
        rights: Rights::OPEN,
    }
}

pub fn moderator(name: &str) -> Who {
    Who { rights: Rights::OPEN.with(Right::Moderate), ..who(name) }
}

pub fn id(text: &str) -> MessageId {
    MessageId::new(&format!("id-{text:_>8}")).expect("valid")
}

pub fn content(kind: ContentKind, target: Seq, key: &str, remove: bool, text: &str) -> Content {
    let digest = Digest::of(kind, target, key, remove, text);
    let body = Bytes::copy_from_slice(text.as_bytes());
    Content { kind, target, key: key.to_owned(), remove, digest, body }
}

pub fn post(text: &str) -> Content {
    content(ContentKind::Post, 0, "", false, text)
}

pub fn edit(target: Seq, text: &str) -> Content {
    content(ContentKind::Edit, target, "", false, text)
}

pub fn redact(target: Seq) -> Content {
    content(ContentKind::Redact, target, "", false, "because")
}

pub fn react(target: Seq, key: &str) -> Content {
    content(ContentKind::Reaction, target, key, false, "")
}

pub fn unreact(target: Seq, key: &str) -> Content {
    content(ContentKind::Reaction, target, key, true, "")
}

pub fn publish(name: &str, content: Content) -> Publish {
    Publish { room: room_name(), id: Some(id(name)), since: None, after: None, content }
}

pub fn since(store: &Store, seq: Seq) -> Option<Position> {
    Some(Position { log: store.log.clone(), seq })
}

/// One owner of the room: a machine and what lies between it and the journal.
pub struct Owner {
    pub room: Room,
    pub now: Now,
    pub fence: Fence,
    pub answers: BTreeMap<(Peer, AskId), Answer>,
    pub order: Vec<AskId>,
    pub fed: BTreeMap<Peer, Vec<Fed>>,
    pub reads: VecDeque<(Ticket, Read)>,
    pub reclaim: Option<Seq>,
    /// The append that is out.
    pub batch: Option<RoomBatch>,
    pub damaged: Option<String>,
    pub asks: u64,
    /// It is being handed over: nothing new is appended.
    pub frozen: bool,
}

pub const ALICE: Peer = Peer(1);
pub const BOB: Peer = Peer(2);

impl Owner {
    /// Claims and opens; `recent` entries as a hint.
    pub fn open(store: &mut Store, limits: &Limits, recent: usize) -> Owner {
        Owner::open_at(store, limits, recent, Now { mono_us: 1, wall_ms: 1_000 }, false)
    }

    pub fn open_at(
        store: &mut Store,
        limits: &Limits,
        recent: usize,
        now: Now,
        collecting: bool,
    ) -> Owner {
        let fence = store.claim();
        Owner::open_with(store, limits, recent, now, Opening { collecting, ..opening(fence) })
    }

    /// Claims, and opens with the hints if they count: whether they did.
    pub fn take(
        store: &mut Store,
        limits: &Limits,
        now: Now,
        named: Fence,
        hints: Hints,
    ) -> (Owner, bool) {
        let (old, fence) = (store.fence, store.claim());
        let counts = old == named;
        let hints = counts.then_some(hints);
        let opening = Opening { hints, collecting: !counts, ..opening(fence) };
        let owner = if counts {
            // Nothing is read from the journal.
            Owner::new(Room::new(now, Arc::new(limits.clone()), opening), now, fence)
        } else {
            Owner::open_with(store, limits, 3, now, opening)
        };
        (owner, counts)
    }

    fn open_with(
        store: &Store,
        limits: &Limits,
        recent: usize,
        now: Now,
        opening: Opening,
    ) -> Owner {
        let head = store.head();
        let above = head.as_ref().map_or(0, |head| head.head).saturating_sub(recent as u64);
        let fence = opening.fence;
        let opening = Opening { head, recent: store.tail(above), ..opening };
        Owner::new(Room::new(now, Arc::new(limits.clone()), opening), now, fence)
    }

    fn new(room: Room, now: Now, fence: Fence) -> Owner {
        Owner {
            room,
            now,
            fence,
            answers: BTreeMap::new(),
            order: Vec::new(),
            fed: BTreeMap::new(),
            reads: VecDeque::new(),
            reclaim: None,
            batch: None,
            damaged: None,
            asks: 0,
            frozen: false,
        }
    }

    /// Takes everything that the machine has to give.
    pub fn poll(&mut self) {
        if self.batch.is_none() && self.reclaim.is_none() && !self.frozen {
            self.batch = self.room.poll_append(self.now, &Plain);
        }
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Answer { peer, id, answer } => {
                    self.order.push(id);
                    let earlier = self.answers.insert((peer, id), answer);
                    assert_eq!(earlier, None, "an ask is answered once");
                }
                Output::Feed { peer, fed } => self.fed.entry(peer).or_default().push(fed),
                Output::Read { ticket, read } => self.reads.push_back((ticket, read)),
                Output::Reclaim { after } => {
                    assert!(self.batch.is_none(), "no claim while an append is out");
                    assert_eq!(self.reclaim.replace(after), None, "one claim at a time");
                }
                Output::Damaged(what) => self.damaged = Some(what),
            }
        }
    }

    pub fn ask(&mut self, peer: Peer, who: Who, body: AskBody) -> AskId {
        self.asks += 1;
        let id = AskId(self.asks);
        self.room.handle_ask(self.now, peer, id, Ask { room: room_name(), who, body });
        self.poll();
        id
    }

    pub fn send(&mut self, peer: Peer, who: Who, publish: Publish) -> AskId {
        self.ask(peer, who, AskBody::Publish(publish))
    }

    pub fn watch(&mut self, peer: Peer, watch: u64) {
        self.room.handle_watch(self.now, peer, watch);
        self.poll();
    }

    /// Answers one read, the one at `index`.
    pub fn read(&mut self, store: &Store, index: usize) {
        let Some((ticket, read)) = self.reads.remove(index) else {
            return;
        };
        self.room.handle_read(self.now, ticket, store.read(&read));
        self.poll();
    }

    /// Hands the append that is out to the journal.
    pub fn append(&mut self, store: &mut Store) {
        let Some(batch) = self.batch.take() else {
            return;
        };
        let result = store.append(self.fence, batch);
        self.appended(result);
    }

    pub fn appended(&mut self, result: Result<(), AppendError>) {
        self.batch = None;
        self.room.handle_appended(self.now, result);
        self.poll();
    }

    /// The append that is out gets lost; it may arrive later.
    pub fn lose_append(&mut self, store: &mut Store) {
        let batch = self.batch.take().expect("an append is out");
        store.lost.push((self.fence, batch));
        self.appended(Err(AppendError::Unknown("cut off".to_owned())));
    }

    /// Claims again, as the room wished.
    pub fn claim(&mut self, store: &mut Store) {
        let Some(after) = self.reclaim.take() else {
            return;
        };
        self.fence = store.claim();
        self.room.handle_reclaimed(self.now, self.fence, store.head(), store.tail(after));
        self.poll();
    }

    /// Flushes, and says what the next owner is told.
    pub fn freeze(&mut self, store: &mut Store) -> Hints {
        self.room.handle_freeze(self.now);
        self.poll();
        self.settle(store);
        assert!(self.room.is_flushed());
        self.frozen = true;
        self.room.export(self.now, 1_000).expect("flushed")
    }

    /// Lets everything happen that is under way.
    pub fn settle(&mut self, store: &mut Store) {
        for _ in 0..100_000 {
            if self.batch.is_none() && self.reads.is_empty() && self.reclaim.is_none() {
                return;
            }
            self.read(store, 0);
            self.append(store);
            self.claim(store);
        }
        panic!("it does not come to rest");
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.room.handle_timeout(self.now);
        self.poll();
    }

    pub fn answer(&self, peer: Peer, id: AskId) -> &Answer {
        self.answers.get(&(peer, id)).expect("answered")
    }

    pub fn is_answered(&self, peer: Peer, id: AskId) -> bool {
        self.answers.contains_key(&(peer, id))
    }

    /// The seq, and whether it is a duplicate.
    pub fn published(&self, peer: Peer, id: AskId) -> (Seq, bool) {
        match self.answer(peer, id) {
            Answer::Published { seq, duplicate, .. } => (*seq, *duplicate),
            other => panic!("not published: {other:?}"),
        }
    }

    pub fn refused(&self, peer: Peer, id: AskId) -> &Refusal {
        match self.answer(peer, id) {
            Answer::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn code(&self, peer: Peer, id: AskId) -> RefusalCode {
        self.refused(peer, id).code
    }

    pub fn subscribed(&self, peer: Peer, id: AskId) -> &Subscription {
        match self.answer(peer, id) {
            Answer::Subscribed(subscription) => subscription,
            other => panic!("not subscribed: {other:?}"),
        }
    }

    /// Publishes and waits for the seq.
    pub fn say(&mut self, store: &mut Store, name: &str, msg: &str, content: Content) -> Seq {
        let ask = self.send(ALICE, who(name), publish(msg, content));
        self.settle(store);
        self.published(ALICE, ask).0
    }

    /// Attaches and waits for the answer.
    pub fn attach(
        &mut self,
        store: &mut Store,
        peer: Peer,
        who: Who,
        after: Option<Position>,
    ) -> Subscription {
        let ask = self.ask(peer, who, AskBody::Attach { after, recent: 0 });
        self.settle(store);
        self.subscribed(peer, ask).clone()
    }

    pub fn take_fed(&mut self, peer: Peer) -> Vec<Fed> {
        self.fed.remove(&peer).unwrap_or_default()
    }
}

fn opening(fence: Fence) -> Opening {
    Opening {
        room: room_name(),
        head: None,
        log_if_born: LogId::new(&format!("log{fence}")).expect("valid"),
        fence,
        recent: Vec::new(),
        seed: Seed::new(fence),
        collecting: false,
        hints: None,
    }
}

/// The payloads of entries that were fed, in order.
pub fn entries(fed: &[Fed]) -> Vec<Entry> {
    let entries = fed.iter().filter_map(|fed| match fed {
        Fed::Entries { entries, .. } => Some(entries.clone()),
        _ => None,
    });
    entries.flatten().collect()
}

pub fn text(payload: &Bytes) -> String {
    String::from_utf8_lossy(payload).into_owned()
}
