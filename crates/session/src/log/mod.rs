//! What a shard of an edge knows of rooms: the live tail of encoded entries, shared segments of what
//! is older, who is present, and who of its sessions reads along.
//!
//! It stands apart from the sessions because everything here is shared by them: an entry is encoded
//! once, a segment is fetched once, a presence change is framed once, however many read. Sessions
//! hold cursors only. One [`Logs`] is owned by one shard (a thread, or a task under simulation);
//! what shards share among them is immutable and comes in through [`Feed`] and [`Frame`].
//!
//! # How a shard drives it
//! ```text
//! lane ── Feed::share(room, fed, frames) ──► every shard that watches the room
//! shard: logs.handle_feed(now, &room, &feed)          what the owner feeds
//!        logs.handle_segment(now, &segment, result)   the answer to Request::Fetch
//!        logs.handle_timeout(now)                     when poll_timeout() says so
//! then, until each is empty:
//!        logs.poll_request() -> Watch{room} | Unwatch{room} | Fetch(segment)      to the room's lane
//!        logs.poll_news()    -> News: sessions[news.session].handle_news(now, &news, &mut logs),
//!                               then that session's poll_transmit, if its socket takes bytes
//! ```
//! `poll_request` is drained before a session's `poll_action`, so that a watch reaches the lane
//! before the attach that wants it; either order works. `poll_news` walks members in slices of
//! [`WALK_SLICE`] a room: a shard may stop after any call and go on later, with its sockets and
//! inbox in between. News that comes during a walk extends it, so that members reached late
//! find several entries at once and write them together.
//!
//! `Watch` is asked once, when the first member joins, and `Unwatch` once, when the last has left;
//! after [`model::Fed::Unwatched`] a lane forgets the watch by itself. A lane that already watches
//! for another shard answers `Watch` with a `Watching` of its own making (the room as of the
//! entries that follow). A lane shares a segment's read between the shards that ask at the same
//! time (`Frame::share`, once) unless an `Erased` of the room passed since the read began, and keeps
//! none: it could hold what was erased since. A segment may be cut after any entry; each answer
//! carries the [`Segment`] that was asked, question number included.
//!
//! # Invariants
//! - A tail is dense: head + 1 is appended, lower is dropped, higher is ignored and counted.
//! - What speaks of another generation of the watch than the standing one changes nothing.
//! - An erased entry is nowhere in memory any more, but for a frame half written.
//! - Bounded: a tail by `log_entries_max` and `log_bytes_max`, segments by 16 MiB a shard, a ring
//!   by 64 frames and 64 KiB, a roster by `presence_list_max`; news by the members there are.
//!
//! Look elsewhere for: cursors and what a session is told ([`crate::server`]), contiguity across
//! owners (`link`), bytes (`wire`, behind [`Frames`]).

mod ephemeral;
mod feed;
mod frame;
mod members;
mod presence;
mod reading;
mod room;
mod segments;
mod summary;
mod tail;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::{Fed, Limits, Mark, Now, PresenceChange, RoomName, Seq, UserId};

pub use ephemeral::Shared;
pub use feed::Feed;
pub use frame::{
    Counted, Frame, Frames, WireKind, websocket_header_bytes, websocket_message_bytes,
};
pub use members::SessionKey;
pub use segments::{Segment, SegmentFault};

use members::Member;
pub(crate) use reading::Reading;
use room::Appended;
pub(crate) use room::RoomLog;
use segments::Shelf;
use summary::{Due, Glance};

/// Members of one room that look before another room's have their turn.
pub const WALK_SLICE: u32 = 256;

/// A room's place in a shard's slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey(u32);

/// Something to be asked of a room's lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Feed this room to this shard.
    Watch {
        /// The room.
        room: RoomName,
    },
    /// Nobody here reads it any more.
    Unwatch {
        /// The room.
        room: RoomName,
    },
    /// Read a segment from the owner and answer by [`Logs::handle_segment`].
    Fetch(Segment),
}

/// One session has to look at one of its rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whose `handle_news` is to be called.
    pub session: SessionKey,
    pub(crate) slot: u16,
    pub(crate) room: RoomKey,
    /// Whose mark moved where, if that is the news.
    pub(crate) marked: Option<(UserId, Mark)>,
}

/// Counted in plain fields; the shard exports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries appended to tails.
    pub entries: u64,
    /// Entries dropped because they stood there already.
    pub duplicates: u64,
    /// Entries ignored because they were above head + 1 or of another log: a lane's mistake.
    pub gaps: u64,
    /// Segments asked for, repetitions included.
    pub fetches: u64,
    /// Segments that came as a fault, or did not hold what they should.
    pub fetch_faults: u64,
}

/// The rooms of a shard, by name and by place.
pub struct Logs {
    limits: Arc<Limits>,
    frames: Arc<dyn Frames>,
    rooms: Vec<Option<RoomLog>>,
    vacant: Vec<RoomKey>,
    by_name: BTreeMap<RoomName, RoomKey>,
    shelf: Shelf,
    requests: VecDeque<Request>,
    /// Single members that look, before the walks.
    singles: VecDeque<News>,
    walks: VecDeque<RoomKey>,
    walk_left: u32,
    glances_due: BTreeSet<(u64, RoomKey)>,
    counters: Counters,
}

impl Logs {
    /// An empty shard's.
    #[must_use]
    pub fn new(limits: Arc<Limits>, frames: Arc<dyn Frames>) -> Logs {
        Logs {
            limits,
            frames,
            rooms: Vec::new(),
            vacant: Vec::new(),
            by_name: BTreeMap::new(),
            shelf: Shelf::default(),
            requests: VecDeque::new(),
            singles: VecDeque::new(),
            walks: VecDeque::new(),
            walk_left: WALK_SLICE,
            glances_due: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// The limits that hold here.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Rooms that somebody here reads.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.by_name.len()
    }

    /// Sessions here that read `room`, its summary included.
    #[must_use]
    pub fn members(&self, room: &RoomName) -> usize {
        self.key(room).map_or(0, |key| self.room(key).members.count())
    }

    /// Bytes of segments that are kept.
    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        self.shelf.bytes()
    }

    /// The same as [`Logs::handle_feed`] where there is one shard only.
    pub fn handle_fed(&mut self, now: Now, room: &RoomName, fed: Fed) {
        let feed = Feed::share(room, fed, &*self.frames);
        self.handle_feed(now, room, &feed);
    }

    /// The owner feeds. What is not watched, or was before, is inert.
    pub fn handle_feed(&mut self, now: Now, name: &RoomName, feed: &Feed) {
        let Some(key) = self.key(name) else { return };
        let standing = self.room(key).watch;
        match feed {
            Feed::Watching { watch, info, presence, .. } => {
                if standing.is_none_or(|standing| standing <= *watch) {
                    self.watched(now, key, *watch, info);
                    if let Some(roster) = presence {
                        self.present(key, &PresenceChange::Full((**roster).clone()));
                    }
                }
            }
            _ if standing != Some(feed.watch()) => {}
            Feed::Entries { log, frames, .. } => self.append(now, key, log, frames),
            Feed::Erased { frames, .. } => self.erase(now, key, frames),
            Feed::Trimmed { first, .. } => self.trim(key, *first),
            Feed::Signal { signal, .. } => self.beside(key, Arc::clone(signal)),
            Feed::Presence { change, .. } => self.present(key, change),
            Feed::Marked { user, mark, .. } => {
                let members = self.room(key).members.of_user(user);
                let news = members.map(|member| news(member, key, Some((user.clone(), *mark))));
                let news: Vec<News> = news.collect();
                self.singles.extend(news);
            }
            Feed::Unwatched { why, .. } => {
                // The room leaves the index, so that whoever subscribes from now on starts anew;
                // its members are told when they look.
                self.by_name.remove(name);
                self.shelf.forget(key);
                let room = self.room_mut(key);
                room.watch = None;
                room.ended = Some(Box::new(why.clone()));
                self.walk(key);
            }
        }
    }

    /// The answer to [`Request::Fetch`].
    pub fn handle_segment(
        &mut self,
        now: Now,
        segment: &Segment,
        result: Result<Arc<[Arc<Frame>]>, SegmentFault>,
    ) {
        let Some(key) = self.key(&segment.room) else {
            return;
        };
        if !self.shelf.expects(key, segment.number, segment.question) {
            return;
        }
        let first = match &result {
            Ok(frames) if is_part(segment, frames) => frames.first().map(|frame| frame.seq),
            Err(SegmentFault::Trimmed { first }) => Some(*first).filter(|f| *f > segment.first()),
            Ok(_) | Err(SegmentFault::LogChanged | SegmentFault::Unavailable) => None,
        };
        let Some(first) = first else {
            self.counters.fetch_faults += 1;
            return self.shelf.fail(now, key, segment.number);
        };
        // What is missing at the segment's start was trimmed, whether or not the owner says so.
        if first > segment.first() {
            self.trim(key, first);
        }
        if let Ok(frames) = &result {
            self.shelf.insert(now, key, segment.number, frames);
        }
        for place in self.shelf.settle(key, segment.number) {
            self.look(key, place);
        }
    }

    /// Time has come for what [`Logs::poll_timeout`] named.
    pub fn handle_timeout(&mut self, now: Now) {
        for (key, number) in self.shelf.handle_timeout(now) {
            self.fetch(key, number);
        }
        let now_ms = now.mono_us / 1_000;
        while let Some((due_ms, key)) = self.glances_due.first().copied()
            && due_ms <= now_ms
        {
            self.summary_due(now_ms, key);
        }
    }

    /// When [`Logs::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        let summary = self.glances_due.first().map(|(due_ms, _)| *due_ms);
        let due_ms = self.shelf.poll_timeout().into_iter().chain(summary).min()?;
        Some(Now { mono_us: due_ms * 1_000, wall_ms: 0 })
    }

    /// The next thing to ask of a lane.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The next session that has to look at a room.
    pub fn poll_news(&mut self) -> Option<News> {
        if let Some(single) = self.singles.pop_front() {
            return Some(single);
        }
        while let Some(key) = self.walks.front().copied() {
            let next = match self.rooms.get_mut(key.0 as usize) {
                Some(Some(room)) if room.walking => room.members.walk(),
                _ => None,
            };
            let Some(member) = next else {
                self.end_turn();
                if let Some(Some(room)) = self.rooms.get_mut(key.0 as usize) {
                    room.walking = false;
                }
                continue;
            };
            self.walk_left -= 1;
            if self.walk_left == 0 {
                self.end_turn();
                self.walks.push_back(key);
            }
            return Some(news(member, key, None));
        }
        None
    }

    /// Whether somebody has to look.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.singles.is_empty() || !self.walks.is_empty()
    }

    fn end_turn(&mut self) {
        self.walks.pop_front();
        self.walk_left = WALK_SLICE;
    }
}

impl Logs {
    fn watched(&mut self, now: Now, key: RoomKey, watch: u64, info: &model::RoomInfo) {
        let room = self.room_mut(key);
        let before = room.incarnation();
        room.watched(watch, info);
        if room.incarnation() == before {
            // What is under way was perhaps read before an erasure that nobody told us of.
            let under_way = self.shelf.forget_held(key);
            under_way.into_iter().for_each(|number| self.fetch(key, number));
        } else {
            // Who waited for a segment of the old log finds out on the walk.
            self.shelf.forget(key);
        }
        if self.room(key).glance.as_ref().is_some_and(|glance| glance.is_stale()) {
            self.schedule_summary(now, key);
        }
        self.walk(key);
    }

    fn append(&mut self, now: Now, key: RoomKey, log: &model::LogId, frames: &[Arc<Frame>]) {
        let limits = Arc::clone(&self.limits);
        let room = self.room_mut(key);
        let mut counters = Counters::default();
        if room.is_log(log) {
            for frame in frames {
                match room.append(frame, &limits) {
                    Appended::Next => counters.entries += 1,
                    Appended::Duplicate => counters.duplicates += 1,
                    Appended::Gap => counters.gaps += 1,
                }
            }
        } else {
            counters.gaps += frames.len() as u64;
        }
        self.counters.entries += counters.entries;
        self.counters.duplicates += counters.duplicates;
        self.counters.gaps += counters.gaps;
        if counters.entries > 0 {
            self.schedule_summary(now, key);
            self.walk(key);
        }
    }

    fn erase(&mut self, now: Now, key: RoomKey, tombstones: &[Arc<Frame>]) {
        let room = self.room_mut(key);
        tombstones.iter().for_each(|tombstone| room.erase(tombstone));
        let (name, head) = (room.name.clone(), room.head());
        let summary_changed =
            room.glance.as_mut().is_some_and(|glance| glance.erase(&name, tombstones, head));
        tombstones.iter().for_each(|tombstone| self.shelf.erase(key, tombstone));
        if summary_changed {
            self.schedule_summary(now, key);
        }
    }

    fn trim(&mut self, key: RoomKey, first: Seq) {
        if self.room_mut(key).trim(first) {
            self.shelf.trim(key, first);
            self.walk(key);
        }
    }

    fn present(&mut self, key: RoomKey, change: &PresenceChange) {
        let list_max = self.limits.presence_list_max;
        let room = self.room_mut(key);
        let presence = room.presence.get_or_insert_default();
        if let Some(frame) = presence.apply(&room.name, change, list_max) {
            self.beside(key, frame);
        }
    }

    fn beside(&mut self, key: RoomKey, frame: Arc<Shared>) {
        self.room_mut(key).ring.get_or_insert_default().push(frame);
        self.walk(key);
    }

    fn schedule_summary(&mut self, now: Now, key: RoomKey) {
        let interval_ms = self.limits.summary_interval_ms;
        let now_ms = now.mono_us / 1_000;
        let due_ms = self.with_glance(key, |glance| {
            glance.schedule(now_ms, interval_ms);
            glance.due_ms()
        });
        if due_ms.flatten().is_some_and(|due_ms| due_ms <= now_ms) {
            self.summary_due(now_ms, key);
        }
    }

    fn summary_due(&mut self, now_ms: u64, key: RoomKey) {
        let interval_ms = self.limits.summary_interval_ms;
        match self.with_glance(key, |glance| glance.come_due(now_ms, interval_ms)) {
            Some(Due::Push) => self.push_summary(now_ms, key),
            Some(Due::Ask) => self.walk(key),
            None => {}
        }
    }

    fn push_summary(&mut self, now_ms: u64, key: RoomKey) {
        let name = self.room(key).name.clone();
        self.with_glance(key, |glance| glance.push(now_ms, &name));
        self.walk(key);
    }

    /// Changes what is pushed of a room, and keeps the list of what is due.
    fn with_glance<T>(&mut self, key: RoomKey, change: impl FnOnce(&mut Glance) -> T) -> Option<T> {
        let glance = self.rooms.get_mut(key.0 as usize)?.as_mut()?.glance.as_mut()?;
        let before = glance.due_ms();
        let result = change(glance);
        let after = glance.due_ms();
        if before != after {
            before.map(|due_ms| self.glances_due.remove(&(due_ms, key)));
            after.map(|due_ms| self.glances_due.insert((due_ms, key)));
        }
        Some(result)
    }

    fn fetch(&mut self, key: RoomKey, number: u64) {
        let (from, question) = self.shelf.ask(key, number);
        let name = self.room(key).name.clone();
        let log = self.room(key).log().clone();
        let mut segment = Segment { room: name, log, number, from, question };
        // What is known to be trimmed would be answered by just that, again and again.
        segment.from = from.max(self.room(key).first()).min(segment.last());
        self.counters.fetches += 1;
        self.requests.push_back(Request::Fetch(segment));
    }

    /// Everybody in the room looks.
    fn walk(&mut self, key: RoomKey) {
        let room = self.room_mut(key);
        room.members.start_walk();
        if !std::mem::replace(&mut room.walking, true) {
            self.walks.push_back(key);
        }
    }

    /// One member looks.
    fn look(&mut self, key: RoomKey, place: u32) {
        if let Some(member) = self.room(key).members.get(place) {
            self.singles.push_back(news(member, key, None));
        }
    }
}

fn news(member: Member, room: RoomKey, marked: Option<(UserId, Mark)>) -> News {
    News { session: member.session, slot: member.slot, room, marked }
}

/// Whether what came is of the segment: some entries of it, dense.
fn is_part(segment: &Segment, frames: &[Arc<Frame>]) -> bool {
    let wanted = segment.first()..=segment.last();
    frames.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq)
        && frames.first().is_some_and(|first| wanted.contains(&first.seq))
        && frames.last().is_some_and(|last| wanted.contains(&last.seq))
}
