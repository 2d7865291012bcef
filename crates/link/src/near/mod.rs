//! The edge's half of a link to one owner: [`Near`]. An edge's lane has one for each owner that it
//! needs, under [`crate::Lane`].
//!
//! # How it is used
//! ```text
//!            handle_watch / handle_unwatch (one per shard and room)
//! shards ──> handle_ask ──────────────────┐
//!                                         ▼
//!   <── poll_shards ───────────────── [ Near ] ── poll_stream ──> Open, Send, Close
//!                                         ▲
//!                                         └────── handle_stream <── Up, Frame, Down
//! ```
//! After any `handle_*`: [`Near::poll_shards`] until it is empty, then [`Near::poll_stream`] *while the
//! stream has room for one more frame* (what cannot be sent stays here, bounded; while there is no room,
//! [`Near::poll_steer`]), then arm one timer for
//! [`Near::poll_timeout`] and call [`Near::handle_timeout`] when it fires. `Near::new` wants its stream
//! opened at once, if there is an owner to open one to; without one, asks wait for their deadlines.
//!
//! # What the shards get
//! - A shard calls [`Near::handle_watch`] when it gets its first reader of a room, *before* it asks
//!   `Attach`, and [`Near::handle_unwatch`] when the last one has gone. Both are idempotent.
//! - The first thing it is fed is `Watching`; then entries, dense from `info.head + 1` on. After a cut
//!   stream there is another `Watching`, of a greater generation, whose head may be above what the shard
//!   has: its log goes on from there, and readers that are behind fetch segments.
//!   Generations only grow; a shard may ignore what speaks of an older one.
//! - An attach is answered after the room's `Watching`, as on the wire.
//! - `Unwatched` is fed only when it is final (the room is damaged, say); an owner that has to go is
//!   replaced silently.
//! - Every ask is answered once: by the owner, or here: `busy` when the outbox is full,
//!   `deadline_exceeded` for a publish and `unavailable` for everything else whose time is over, all of
//!   them retryable. A publish without an id is not sent twice: its answer is final then.
//!   To `Attach` and `Summary` a no is `Answer::Unsubscribed`, else `Answer::Refused`.
//! - [`ToShards::Detached`]: the session's attachment, once answered `Subscribed`, did not survive a
//!   cut; there was no `Unsubscribed` answer for it before.
//!
//! # What survives a cut
//! In this order: watches, attachments, then every unanswered ask in the order of asking, publishes
//! with their ids unchanged. Only signals are not sent again; they are refused.
//!
//! # Invariants
//! - A room is watched at most once per stream; generations grow over the lane's life.
//! - An attachment is told to the owner on every stream until it is detached.
//! - What a superseded owner says of a room (a lower fence for the same log) is not passed on.

mod moving;
mod outbox;
mod room;
mod rooms;
mod said;
mod stream;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{
    Answer, Ask, AskBody, NodeId, Now, Refusal, RefusalCode, RoomName, Seed, SessionId, SlotNo,
    Unsubscribed, UnsubscribedCode,
};

use crate::{FromOwner, LocalKey, ShardSet, StreamEvent, StreamOp, ToOwner, ToShards};
pub use outbox::{OUTBOX_ASKS_MAX, OUTBOX_BYTES_MAX, OUTBOX_ROOM_ASKS_MAX};
use outbox::{Outbox, Pending};
use room::{Attachment, Room};
use rooms::Rooms;
use stream::{Due, Stream};
pub use stream::{HEARTBEAT_MS, IDLE_HEARTBEAT_MS, IDLE_SILENCE_MS, OPENING_MS, SILENCE_MS};

/// When to come back after a refusal for want of space, in milliseconds.
const BUSY_RETRY_MS: u64 = 250;
/// When to come back after an ask whose time is over, in milliseconds: the wait is behind it.
const LATE_RETRY_MS: u64 = 500;
/// Milliseconds before a room whose owner gave it up is watched again, unless the owner says when.
const REWATCH_MS: u64 = 100;

/// What an edge's half is made with.
#[derive(Clone, Debug)]
pub struct NearConfig {
    /// This edge.
    pub edge: NodeId,
    /// The lane's number.
    pub lane: u32,
    /// The node at the other end. `None`: there is none, and what is asked waits here until it is
    /// asked of somebody or its time is over.
    pub owner: Option<NodeId>,
    /// How many slots the cluster has.
    pub slots: u32,
    /// See [`model::Limits::publish_wait_ms`]; holds for every ask.
    pub ask_wait_ms: u64,
}

/// What an edge's half has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NearCounts {
    /// Asks that were taken.
    pub asks: u64,
    /// Attachments that were told again, and asks that were sent to another owner once more.
    pub resent: u64,
    /// Asks refused because the outbox was full.
    pub busy: u64,
    /// Asks whose time was over.
    pub late: u64,
    /// Frames of the feed that were dropped as old.
    pub inert: u64,
    /// Rooms watched anew because something was missing.
    pub gaps: u64,
    /// Streams that stood.
    pub streams: u64,
    /// Owners that were not believed, as another had superseded them.
    pub superseded: u64,
}

impl NearCounts {
    /// Both together.
    pub(crate) fn plus(self, other: NearCounts) -> NearCounts {
        NearCounts {
            asks: self.asks + other.asks,
            resent: self.resent + other.resent,
            busy: self.busy + other.busy,
            late: self.late + other.late,
            inert: self.inert + other.inert,
            gaps: self.gaps + other.gaps,
            streams: self.streams + other.streams,
            superseded: self.superseded + other.superseded,
        }
    }
}

/// The edge's half of a link to one owner, for the rooms of one lane. Owned by the lane's task.
///
/// Any `handle_*`, then every `poll_*` until it is empty; see the module's documentation.
#[derive(Debug)]
pub struct Near {
    config: NearConfig,
    now: Now,
    stream: Stream,
    rooms: Rooms,
    outbox: Outbox,
    /// Attachments that the owner was told again: the ask, and whom it speaks of.
    retelling: BTreeMap<u64, (RoomName, SessionId)>,
    /// Rooms about which the owner has to be told something, each once.
    queue: VecDeque<RoomName>,
    /// The room whose attachments are being told, and the last session that was.
    telling: Option<(RoomName, Option<SessionId>)>,
    /// Rooms that wait, by the microsecond at which they are due.
    waiting: BTreeSet<(u64, RoomName)>,
    to_shards: VecDeque<ToShards>,
    /// Slots of which the owner was found superseded.
    superseded: BTreeSet<SlotNo>,
    next_ask: u64,
    next_watch: u64,
    counts: NearCounts,
}

impl Near {
    /// One that wants its stream opened, if it has an owner. Generations of watches start at the wall
    /// clock's microsecond, so that they also grow over restarts of the edge.
    #[must_use]
    pub fn new(now: Now, config: NearConfig, seed: Seed) -> Near {
        let stream = match config.owner {
            Some(_) => Stream::new(now, seed),
            None => Stream::never(now, seed),
        };
        Near {
            rooms: Rooms::new(config.slots),
            config,
            now,
            stream,
            outbox: Outbox::default(),
            retelling: BTreeMap::new(),
            queue: VecDeque::new(),
            telling: None,
            waiting: BTreeSet::new(),
            to_shards: VecDeque::new(),
            superseded: BTreeSet::new(),
            next_ask: 1,
            next_watch: now.wall_ms.saturating_mul(1_000).max(1),
            counts: NearCounts::default(),
        }
    }

    /// Whether the owner can be reached at this moment.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.stream.is_up()
    }

    /// Whether the last stream was refused, or its owner silent, and it was not heard since.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.stream.is_lost
    }

    /// Milliseconds since the owner was last heard.
    #[must_use]
    pub fn silent_ms(&self, now: Now) -> u64 {
        self.stream.silent_ms(now)
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> NearCounts {
        self.counts
    }

    /// Asks that were not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.outbox.len()
    }

    /// Rooms that are watched or attached to.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Bytes of the asks that were not answered yet.
    pub(crate) fn unanswered_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// The generation that the next watch gets.
    pub(crate) fn next_watch(&self) -> u64 {
        self.next_watch
    }

    /// No watch from now on has a generation below this one.
    pub(crate) fn raise_next_watch(&mut self, watch: u64) {
        self.next_watch = self.next_watch.max(watch);
    }

    /// The next slot of which the owner said something that a newer owner had gone beyond. Nothing more
    /// of it is believed until it is watched anew.
    pub(crate) fn poll_superseded(&mut self) -> Option<SlotNo> {
        self.superseded.pop_first()
    }

    /// A shard has its first reader of `room`.
    pub fn handle_watch(&mut self, now: Now, shard: u32, room: &RoomName) {
        self.now = now;
        let state = self.rooms.entry(room);
        let shard = ShardSet::one(shard);
        if state.shards.contains(shard) {
            return;
        }
        state.shards = state.shards.union(shard);
        if let Some(fed) = state.watching_now() {
            self.to_shards.push_back(ToShards::Fed { shards: shard, room: room.clone(), fed });
        }
        self.enqueue(room);
    }

    /// A shard's last reader of `room` has gone.
    pub fn handle_unwatch(&mut self, now: Now, shard: u32, room: &RoomName) {
        self.now = now;
        if let Some(state) = self.rooms.get_mut(room) {
            state.shards = state.shards.without(ShardSet::one(shard));
            self.enqueue(room);
        }
    }

    /// A session (or a unary call) asks something of a room; the answer will name `local`.
    pub fn handle_ask(&mut self, now: Now, local: LocalKey, ask: Ask) {
        self.now = now;
        self.counts.asks += 1;
        let detaches = matches!(ask.body, AskBody::Detach { .. });
        if detaches && !self.detach(&ask) {
            self.answer(local, Answer::Done);
        } else if detaches || self.outbox.has_room_for(&ask.room) {
            self.admit(Some(local), ask);
        } else {
            self.refuse_busy(local, &ask);
        }
    }

    /// There is no space for an ask.
    pub(crate) fn refuse_busy(&mut self, local: LocalKey, ask: &Ask) {
        self.counts.busy += 1;
        let no = no(ask, RefusalCode::Busy, Some(BUSY_RETRY_MS));
        self.answer(local, no);
    }

    /// Something happened to the stream.
    pub fn handle_stream(&mut self, now: Now, event: StreamEvent) {
        self.now = now;
        match event {
            StreamEvent::Up => {
                if self.stream.up(now) {
                    self.counts.streams += 1;
                    self.rooms.names().iter().for_each(|room| self.enqueue(room));
                }
            }
            StreamEvent::Down => self.stream_gone(),
            StreamEvent::Frame(_) if !self.stream.is_up() => self.counts.inert += 1,
            StreamEvent::Frame(frame) => {
                self.stream.heard(now);
                match frame {
                    // The lane, which knows the other owners, acts on a move.
                    FromOwner::Heartbeat | FromOwner::Moved { .. } => {}
                    FromOwner::Answer { id, answer } => self.owner_answered(id, answer),
                    FromOwner::Fed { room, fed } => self.owner_fed(room, fed),
                }
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        let is_busy = self.is_needed();
        if self.stream.handle_timeout(now, is_busy) {
            self.stream_gone();
        }
        while let Some((id, pending)) = self.outbox.expire(now) {
            self.expired(id, pending);
        }
        while self.waiting.first().is_some_and(|(due, _)| *due <= now.mono_us) {
            let Some((_, room)) = self.waiting.pop_first() else {
                break;
            };
            self.wait_is_over(&room);
        }
    }

    /// When to call [`Near::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        let at = |mono_us: u64| Now { mono_us, wall_ms: self.now.wall_ms };
        let waiting = self.waiting.first().map(|(due, _)| at(*due));
        [self.stream.poll_timeout(self.is_needed()), self.outbox.deadline(), waiting]
            .into_iter()
            .flatten()
            .min_by_key(|due| due.mono_us)
    }

    /// The next thing for the shards, in order.
    pub fn poll_shards(&mut self) -> Option<ToShards> {
        self.to_shards.pop_front()
    }

    /// The next [`StreamOp::Open`] or [`StreamOp::Close`]: a stream that is full can be closed.
    pub fn poll_steer(&mut self) -> Option<StreamOp> {
        match self.stream.poll_steer()? {
            Due::Open => Some(StreamOp::Open { node: self.config.owner.clone()? }),
            _ => Some(StreamOp::Close),
        }
    }

    /// The next thing for the stream. To be called only while one more frame can be sent.
    pub fn poll_stream(&mut self) -> Option<StreamOp> {
        if let Some(op) = self.poll_steer() {
            return Some(op);
        }
        let frame = match self.stream.poll_first() {
            Some(Due::Heartbeat) => ToOwner::Heartbeat,
            Some(_) => ToOwner::Open { edge: self.config.edge.clone(), lane: self.config.lane },
            None if !self.stream.is_up() => return None,
            None => self.next_frame()?,
        };
        self.stream.said(self.now);
        Some(StreamOp::Send(frame))
    }

    /// Whether somebody waits for a word from the owner.
    fn is_needed(&self) -> bool {
        !self.rooms.is_empty() || self.outbox.len() > 0
    }

    fn admit(&mut self, local: Option<LocalKey>, ask: Ask) {
        let id = self.next_ask;
        self.next_ask += 1;
        if let (AskBody::Attach { .. }, Some(session), Some(local)) =
            (&ask.body, &ask.who.session, local)
        {
            let who = ask.who.clone();
            let attachment = Attachment { local, who, ask: id, stands: false, told: 0 };
            let state = self.rooms.entry(&ask.room);
            state.attached.insert(session.clone(), attachment);
            // An attach is answered behind its room's `Watching`.
            self.wait_is_over(&ask.room);
        }
        let deadline = self.now.plus_ms(self.config.ask_wait_ms);
        let slot = self.rooms.slot_of(&ask.room);
        self.outbox.insert(id, Pending { local, ask, slot, deadline, sent: false });
    }

    /// Takes an attachment off the list; `false` if the ask speaks of none.
    fn detach(&mut self, ask: &Ask) -> bool {
        let Some(session) = &ask.who.session else {
            return false;
        };
        let generation = ask.who.generation;
        let Some(state) = self.rooms.get_mut(&ask.room) else {
            return false;
        };
        let known = state.is_attached(session, generation);
        if known {
            state.attached.remove(session);
            self.forget_unused(&ask.room);
        }
        known
    }

    fn stream_gone(&mut self) {
        if !self.stream.down(self.now) {
            return;
        }
        self.retelling.clear();
        self.queue.clear();
        self.telling = None;
        self.waiting.clear();
        self.superseded.clear();
        for name in self.rooms.names() {
            if let Some(state) = self.rooms.get_mut(&name) {
                state.forget_stream();
            }
            self.forget_unused(&name);
        }
        self.outbox.rewind().into_iter().for_each(|lost| self.refuse_lost(lost));
    }

    fn expired(&mut self, id: u64, pending: Pending) {
        self.counts.late += 1;
        let answer = match &pending.ask.body {
            AskBody::Detach { .. } => Answer::Done,
            AskBody::Publish(publish) => {
                // Without an id it must not be sent again: it may have been taken.
                let retry = publish.id.as_ref().map(|_| LATE_RETRY_MS);
                no(&pending.ask, RefusalCode::DeadlineExceeded, retry)
            }
            _ => no(&pending.ask, RefusalCode::Unavailable, Some(LATE_RETRY_MS)),
        };
        if matches!(pending.ask.body, AskBody::Attach { .. }) {
            self.attach_expired(id, &pending.ask, pending.sent);
        }
        if let Some(local) = pending.local {
            self.answer(local, answer);
        }
    }

    /// An attach that may still be carried out has to be taken back, as its session was told no.
    fn attach_expired(&mut self, id: u64, ask: &Ask, sent: bool) {
        let Some(session) = &ask.who.session else {
            return;
        };
        let attached = self.rooms.get(&ask.room).and_then(|state| state.attached.get(session));
        if attached.is_none_or(|attachment| attachment.ask != id) {
            return;
        }
        let detach = Ask { body: AskBody::Detach { left: false }, ..ask.clone() };
        if self.detach(&detach) && sent {
            self.admit(None, detach);
        }
    }

    fn answer(&mut self, local: LocalKey, answer: Answer) {
        self.to_shards.push_back(ToShards::Answer { local, answer });
    }

    /// The owner will be told what it does not know of this room, once the stream stands.
    fn enqueue(&mut self, name: &RoomName) {
        let Some(state) = self.rooms.get_mut(name) else {
            return;
        };
        if self.stream.is_up() && !state.queued && state.not_before.is_none() {
            state.queued = true;
            self.queue.push_back(name.clone());
        } else if !self.stream.is_up() {
            self.forget_unused(name);
        }
    }

    /// The owner will be told after `ms` milliseconds.
    fn wait(&mut self, name: &RoomName, ms: u64) {
        let Some(state) = self.rooms.get_mut(name) else {
            return;
        };
        if state.not_before.is_none() {
            let due = self.now.plus_ms(ms).mono_us;
            state.not_before = Some(due);
            self.waiting.insert((due, name.clone()));
        }
    }

    /// The owner will be told at once.
    fn wait_is_over(&mut self, name: &RoomName) {
        let Some(state) = self.rooms.get_mut(name) else {
            return;
        };
        if let Some(due) = state.not_before.take() {
            self.waiting.remove(&(due, name.clone()));
        }
        self.enqueue(name);
    }

    fn forget_unused(&mut self, name: &RoomName) {
        if self.rooms.get(name).is_some_and(Room::is_unused) {
            self.rooms.remove(name);
        }
    }
}

/// The answer no to an ask, in the scope that its kind is answered in.
fn no(ask: &Ask, code: RefusalCode, retry_after_ms: Option<u64>) -> Answer {
    match ask.body {
        AskBody::Attach { .. } | AskBody::Summary => Answer::Unsubscribed(Unsubscribed {
            retry_after_ms,
            ..Unsubscribed::new(UnsubscribedCode::Unavailable)
        }),
        _ => Answer::Refused(Refusal { retry_after_ms, ..Refusal::new(code) }),
    }
}
