//! The rooms of a session: wishes, answers, cursors.
//!
//! A room is read in one way at a time, its log or its summary: the last subscribe decides. Each
//! subscribe is answered by a `subscribed` of its own, in their order, and from the moment in which
//! one is received until the answer to the last of them nothing of the room is sent. An unsubscribe is
//! answered at once, for the subscribes before it too; what an owner answers to those afterwards is
//! inert.

use std::collections::VecDeque;

use bytes::Bytes;
use model::{
    AskBody, Catchup, Mark, Now, Position, Refusal, RefusalCode, Right, Rights, RoomName, Says,
    Subscribe, Subscription, Summary, Unsubscribed, UnsubscribedCode,
};

use super::requests::Kind;
use super::{Phase, Session};
use crate::log::{Logs, News, Reading, RoomKey};

/// Attaches without a position that are under way at once. Each may bring a snapshot of
/// `PAGE_BYTES_MAX`, so that four of them are what control holds at most beside what waits there.
/// Attaches with a position are not counted: 500 rooms come back in one round trip, and a snapshot
/// among their answers that finds control full is dropped and asked for once more in this window.
const WIDE_MAX: usize = 4;
/// Milliseconds before a room whose answer and watch speak of different logs is attached again: one
/// of the two is normally behind by less than a round trip.
const DISAGREE_MS: u64 = 1_000;

/// What a session waits for in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// An attach waits for its turn.
    Queued,
    /// An attach or a summary is under way.
    Joining,
    /// The log is read.
    Live,
    /// Answer and watch spoke of different logs; looked at again later.
    Disagreeing,
    /// The summary is read.
    Glancing,
}

/// One room of one session, 72 bytes.
#[derive(Debug)]
pub(super) struct Joined {
    /// The log that `cursor` speaks of; while joining, of the wish.
    pub(super) log: model::LogId,
    /// The last entry that was sent; while joining, the wish.
    pub(super) cursor: u64,
    /// The next push beside the log; for a summary the last that was sent.
    pub(super) heard: u64,
    /// The user's mark as it was told last.
    mark: u64,
    pub(super) room: RoomKey,
    pub(super) place: u32,
    /// Which subscribe: answers to older ones do not open the room.
    join: u32,
    /// The room's incarnation that `log` was found equal to; 0 before.
    incarnation: u32,
    /// This user's presence data here.
    data: Option<Box<Bytes>>,
    recent: u8,
    pub(super) rights: Rights,
    pub(super) state: State,
    reading: Reading,
    is_ready: bool,
    has_position: bool,
    /// The right to see presence came while the room was read.
    pub(super) wants_presence: bool,
}

impl Joined {
    /// Whether the cursor may be compared with what the shard holds.
    pub(super) fn agrees(&self, logs: &Logs) -> bool {
        self.state == State::Live && self.incarnation == logs.room(self.room).incarnation()
    }

    fn position(&self) -> Option<Position> {
        self.has_position.then(|| Position { log: self.log.clone(), seq: self.cursor })
    }

    /// Whether there may be something to send.
    fn is_behind(&self, logs: &Logs) -> bool {
        let room = logs.room(self.room);
        match self.state {
            State::Live => {
                !self.agrees(logs)
                    || self.cursor < room.head()
                    || self.cursor + 1 < room.first()
                    || self.heard < room.ring_next()
                    || self.wants_presence
            }
            State::Glancing => self.heard < room.summary_version(),
            State::Queued | State::Joining | State::Disagreeing => false,
        }
    }
}

/// A session's rooms by slot, and those that have something to send.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    slots: Vec<Option<Joined>>,
    ready: VecDeque<u16>,
}

impl Rooms {
    pub(super) fn get(&self, slot: u16) -> Option<&Joined> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    fn get_mut(&mut self, slot: u16) -> Option<&mut Joined> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    /// A room that is known to be there.
    pub(super) fn at(&mut self, slot: u16) -> &mut Joined {
        self.get_mut(slot).expect("a ready room is joined")
    }

    pub(super) fn count(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u16> + use<> {
        0..self.slots.len() as u16
    }

    pub(super) fn find(&self, name: &RoomName, logs: &Logs) -> Option<u16> {
        let is_it: &dyn Fn(&Joined) -> bool = match logs.key(name) {
            Some(key) if self.slots.iter().flatten().any(|joined| joined.room == key) => {
                &move |joined| joined.room == key
            }
            // A room whose watch the owner just ended is no longer found by name.
            _ => &|joined| logs.room(joined.room).name() == name,
        };
        let slot = self.slots.iter().position(|joined| joined.as_ref().is_some_and(is_it))?;
        Some(slot as u16)
    }

    fn vacant(&mut self) -> u16 {
        let vacant = self.slots.iter().position(Option::is_none);
        let slot = vacant.unwrap_or_else(|| {
            // One room is the usual number: no space is kept for more.
            self.slots.reserve_exact(if self.slots.is_empty() { 1 } else { self.slots.len() });
            self.slots.push(None);
            self.slots.len() - 1
        });
        slot as u16
    }

    fn remove(&mut self, slot: u16) -> Option<Joined> {
        let joined = self.slots.get_mut(usize::from(slot))?.take();
        self.ready.retain(|ready| *ready != slot);
        joined
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = u16> {
        self.ready.iter().copied()
    }

    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn pop_ready(&mut self) -> Option<u16> {
        let slot = self.ready.pop_front()?;
        if let Some(joined) = self.get_mut(slot) {
            joined.is_ready = false;
        }
        Some(slot)
    }

    /// Answers whether the room was put on the list.
    pub(super) fn push_ready(&mut self, slot: u16) -> bool {
        let Some(joined) = self.get_mut(slot) else { return false };
        let is_new = !std::mem::replace(&mut joined.is_ready, true);
        if is_new {
            self.ready.push_back(slot);
        }
        is_new
    }

    /// The last `count` of the list go first.
    pub(super) fn ready_last_to_front(&mut self, count: usize) {
        self.ready.rotate_right(count.min(self.ready.len()));
    }

    /// After a write: who has had all is taken from the list, the others go on in another order, so
    /// that no room keeps the rest waiting.
    pub(super) fn rotate_ready(&mut self, logs: &Logs) {
        for _ in 0..self.ready.len().min(super::SLICES_MAX) {
            let Some(slot) = self.pop_ready() else { break };
            if self.get(slot).is_some_and(|joined| joined.is_behind(logs)) {
                self.push_ready(slot);
            }
        }
        if self.ready.len() > 1 {
            self.ready.rotate_left(1);
        }
    }
}

impl Session {
    /// A subscribe, from hello (`is_free`) or by itself.
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        r#ref: u32,
        wish: Subscribe,
        is_free: bool,
        logs: &mut Logs,
    ) {
        if !is_free && let Err(ms) = self.buckets.subscribes(now, logs.limits()) {
            return self.refuse_subscribe(now, r#ref, &wish.room, Some(ms), logs);
        }
        let slot = match self.rooms.find(&wish.room, logs) {
            Some(slot) if !self.kick_if_ended(now, slot, logs) => slot,
            _ if self.rooms.count() >= logs.limits().rooms_per_session_max => {
                return self.refuse_subscribe(now, r#ref, &wish.room, None, logs);
            }
            _ => match self.join(&wish, logs) {
                Some(slot) => slot,
                None => return,
            },
        };
        self.next_join = self.next_join.wrapping_add(1);
        let (join, reading) = (self.next_join, reading(&wish));
        let rights = self.rights(&wish.room);
        let joined = self.rooms.at(slot);
        let (room, before) = (joined.room, std::mem::replace(&mut joined.reading, reading));
        joined.join = join;
        joined.incarnation = 0;
        joined.has_position = wish.after.is_some();
        joined.rights = rights;
        joined.recent = wish.recent.min(model::limits::PAGE_POSTS_MAX) as u8;
        joined.data = (!wish.presence_data.is_empty()).then(|| Box::new(wish.presence_data));
        joined.state = State::Joining;
        (joined.log, joined.cursor) = match wish.after {
            Some(after) => (after.log, after.seq),
            None => (model::LogId::none(), 0),
        };
        let is_wide = !joined.has_position;
        logs.change(room, before, reading);
        self.overtake(slot);
        match reading {
            Reading::Summary => {
                self.refuse_overtaken(now, slot, logs);
                if before == Reading::Log {
                    self.detach(now, &wish.room, true, logs);
                }
                let kind = Kind::Summary { slot, join };
                self.ask(now, wish.room, AskBody::Summary, Some((kind, r#ref)), logs);
            }
            Reading::Log if is_wide => {
                self.rooms.at(slot).state = State::Queued;
                self.work.get_or_insert_default().wide.push_back((slot, join, r#ref));
                self.attach_more(now, logs);
            }
            Reading::Log => self.attach(now, slot, (join, r#ref), false, logs),
        }
    }

    fn join(&mut self, wish: &Subscribe, logs: &mut Logs) -> Option<u16> {
        let user = &self.person.as_ref()?.user.id;
        let slot = self.rooms.vacant();
        let reading = reading(wish);
        let (room, place) = logs.join(&wish.room, self.key, slot, user, reading);
        self.rooms.slots[usize::from(slot)] = Some(Joined {
            log: model::LogId::none(),
            cursor: 0,
            heard: 0,
            mark: 0,
            room,
            place,
            join: 0,
            incarnation: 0,
            data: None,
            recent: 0,
            rights: Rights::NONE,
            state: State::Joining,
            reading,
            is_ready: false,
            has_position: false,
            wants_presence: false,
        });
        Some(slot)
    }

    /// With a reference it is the request that is refused; without one the room is named.
    fn refuse_subscribe(
        &mut self,
        now: Now,
        r#ref: u32,
        room: &RoomName,
        retry_ms: Option<u64>,
        logs: &mut Logs,
    ) {
        if r#ref > 0 {
            let refusal = match retry_ms {
                Some(ms) => Refusal::new(RefusalCode::RateLimited).retry_after(ms),
                None => Refusal::new(RefusalCode::TooManyRooms),
            };
            return self.refuse(now, r#ref, refusal, logs);
        }
        let why = match retry_ms {
            Some(ms) => Unsubscribed::new(UnsubscribedCode::RateLimited).retry_after(ms),
            None => Unsubscribed::new(UnsubscribedCode::TooManyRooms),
        };
        self.say(now, 0, Says::Unsubscribed { room: room.to_string(), why }, logs);
        self.note_fault(now, logs);
    }

    pub(super) fn unsubscribe(&mut self, now: Now, r#ref: u32, room: &RoomName, logs: &mut Logs) {
        let slot = self.rooms.find(room, logs);
        let Some(slot) = slot.filter(|slot| !self.kick_if_ended(now, *slot, logs)) else {
            return self.refuse(now, r#ref, Refusal::new(RefusalCode::NotSubscribed), logs);
        };
        self.drop_room(now, slot, r#ref, Unsubscribed::new(UnsubscribedCode::Left), logs);
    }

    /// Ends a room: every subscribe that still waits is told why, then `ref`; the owner is told, and
    /// nothing of the room is sent from here on.
    pub(super) fn drop_room(
        &mut self,
        now: Now,
        slot: u16,
        r#ref: u32,
        why: Unsubscribed,
        logs: &mut Logs,
    ) {
        let Some(joined) = self.rooms.get(slot) else { return };
        let name = logs.room(joined.room).name().clone();
        let mut told: Vec<u32> = self.forget_attaches(slot);
        told.push(r#ref);
        self.leave(now, slot, true, logs);
        for r#ref in told {
            let says = Says::Unsubscribed { room: name.to_string(), why: why.clone() };
            self.say(now, r#ref, says, logs);
        }
        self.attach_more(now, logs);
    }

    /// Takes a room out of the session and the shard.
    fn leave(&mut self, now: Now, slot: u16, left: bool, logs: &mut Logs) {
        let Some(joined) = self.rooms.remove(slot) else { return };
        let name = logs.room(joined.room).name().clone();
        if joined.reading == Reading::Log && joined.state != State::Queued {
            self.detach(now, &name, left, logs);
        }
        logs.leave(joined.room, joined.place, joined.reading);
    }

    /// The end of the session: out of every room, with a grace if it was not on purpose.
    pub(super) fn leave_all(&mut self, now: Now, logs: &mut Logs) {
        for slot in self.rooms.slots() {
            self.leave(now, slot, false, logs);
        }
        self.rooms = Rooms::default();
    }

    fn attach(
        &mut self,
        now: Now,
        slot: u16,
        (join, r#ref): (u32, u32),
        is_wide: bool,
        logs: &mut Logs,
    ) {
        let Some(joined) = self.rooms.get_mut(slot) else { return };
        if joined.join == join {
            joined.state = State::Joining;
        }
        let kind = Kind::Attach { slot, join, is_wide };
        let recent = match u32::from(joined.recent) {
            0 => logs.limits().recent_default,
            recent => recent,
        };
        let body = AskBody::Attach { after: joined.position(), recent };
        let data = joined.data.as_deref().cloned();
        let name = logs.room(joined.room).name().clone();
        self.ask_with(now, name, body, data, Some((kind, r#ref)), logs);
    }

    /// Sends attaches that wait for their turn: a few at a time, and none while control is half full.
    pub(super) fn attach_more(&mut self, now: Now, logs: &mut Logs) {
        let half = logs.limits().control_bytes_max / 2;
        while self.control_bytes() <= half
            && let Some(work) = &mut self.work
            && work.wide_out() < WIDE_MAX
            && let Some((slot, join, r#ref)) = work.wide.pop_front()
        {
            self.attach(now, slot, (join, r#ref), true, logs);
        }
    }

    /// A later subscribe: the earlier ones that still wait for their turn are answered with it.
    fn overtake(&mut self, slot: u16) {
        let Some(work) = &mut self.work else { return };
        let waiting = work.wide.iter().filter(|wide| wide.0 == slot && wide.2 > 0);
        let overtaken: Vec<(u16, u32)> = waiting.map(|wide| (slot, wide.2)).collect();
        work.overtaken.extend(overtaken);
        work.wide.retain(|wide| wide.0 != slot);
    }

    fn refuse_overtaken(&mut self, now: Now, slot: u16, logs: &mut Logs) {
        for r#ref in self.take_overtaken(slot) {
            self.say(now, r#ref, Says::Refused(overtaken()), logs);
        }
    }

    /// The owner's answer to an attach.
    pub(super) fn attached(
        &mut self,
        now: Now,
        (slot, join, r#ref): (u16, u32, u32),
        subscription: Subscription,
        logs: &mut Logs,
    ) {
        let Some(joined) = self.rooms.get(slot) else { return };
        let is_last = joined.join == join && joined.state == State::Joining;
        if !is_last && !matches!(joined.state, State::Joining | State::Queued) {
            // The answer to a later one was here first: this position is of no use any more.
            return self.refuse_late(now, r#ref, overtaken(), logs);
        }
        let is_snapshot = matches!(subscription.catchup, Catchup::Snapshot(_));
        if is_last && is_snapshot && self.control_bytes() > logs.limits().control_bytes_max {
            self.rooms.at(slot).state = State::Queued;
            self.work.get_or_insert_default().wide.push_back((slot, join, r#ref));
            return;
        }
        let room = logs.room(joined.room);
        let (name, ring_next) = (room.name().clone(), room.ring_next());
        let rights = self.rights(&name);
        let presence = room.presence().filter(|_| rights.has(Right::Presence));
        let presence = presence.and_then(|p| p.current()).map(|(v, roster)| (v, roster.clone()));
        let told_rights = subscription.rights;
        let joined = self.rooms.at(slot);
        if is_last {
            joined.log = subscription.log.clone();
            joined.cursor = match subscription.catchup {
                Catchup::Snapshot(_) => subscription.head,
                Catchup::Resumed { missed } => subscription.head.saturating_sub(missed),
            };
            joined.has_position = true;
            joined.heard = ring_next;
            joined.wants_presence = false;
            joined.mark = subscription.mark.seq;
            joined.rights = rights;
            joined.incarnation = 0;
            joined.state = State::Live;
        }
        let subscription = Box::new(subscription);
        let says = Says::Subscribed { room: name.clone(), subscription, presence };
        let before = if is_last { self.take_overtaken(slot) } else { Vec::new() };
        for r#ref in before {
            self.say(now, r#ref, says.clone(), logs);
        }
        self.say(now, r#ref, says, logs);
        if told_rights != rights {
            self.say(now, 0, Says::Rights { room: name, rights }, logs);
        }
        if is_last {
            self.rooms.push_ready(slot);
        }
    }

    /// The owner's answer to a summary subscription.
    pub(super) fn summarized(
        &mut self,
        now: Now,
        (slot, join, r#ref): (u16, u32, u32),
        summary: Summary,
        logs: &mut Logs,
    ) {
        let Some(joined) = self.rooms.get_mut(slot) else { return };
        let key = joined.room;
        if joined.join == join && joined.state == State::Joining {
            joined.state = State::Glancing;
            joined.mark = summary.mark.map_or(0, |mark| mark.seq);
            joined.heard = logs.room(key).summary_version();
            logs.seed_summary(key, &summary);
            // What came while the question was under way is pushed once the interval is over; a
            // room that went on since then is looked at now.
            if logs.room(key).head() > summary.head {
                joined.heard = joined.heard.saturating_sub(1);
                self.rooms.push_ready(slot);
            }
        }
        let room = logs.room(key).name().clone();
        let says = Says::Summary { room, summary: Box::new(summary) };
        self.say(now, r#ref, says, logs);
    }

    /// The owner's answer to a question that was asked for all who read the summary.
    pub(super) fn refreshed(
        &mut self,
        now: Now,
        (slot, join): (u16, u32),
        summary: &Summary,
        logs: &mut Logs,
    ) {
        if let Some(joined) = self.rooms.get(slot)
            && joined.join == join
        {
            logs.refresh_summary(now, joined.room, summary);
        }
    }

    /// The owner says no to a subscribe.
    pub(super) fn not_attached(
        &mut self,
        now: Now,
        (slot, join, r#ref): (u16, u32, u32),
        why: Unsubscribed,
        logs: &mut Logs,
    ) {
        let Some(joined) = self.rooms.get(slot) else { return };
        if joined.join == join {
            return self.drop_room(now, slot, r#ref, why, logs);
        }
        // A later subscribe decides about the room; this is no to the request only.
        let refusal = super::requests::refused(why);
        self.refuse_late(now, r#ref, refusal, logs);
    }

    fn refuse_late(&mut self, now: Now, r#ref: u32, refusal: Refusal, logs: &mut Logs) {
        if r#ref > 0 {
            self.say(now, r#ref, Says::Refused(refusal), logs);
        }
    }

    /// A room has news for this session.
    ///
    /// Called for what [`Logs::poll_news`] answers; `poll_transmit` follows.
    pub fn handle_news(&mut self, now: Now, news: &News, logs: &mut Logs) {
        let slot = news.slot;
        match self.rooms.get(slot) {
            Some(joined) if joined.room == news.room && self.phase == Phase::Open => {}
            _ => return,
        }
        if self.kick_if_ended(now, slot, logs) {
            return;
        }
        if let Some((user, mark)) = &news.marked {
            if self.person.as_ref().is_some_and(|person| person.user.id == *user) {
                self.marked(now, slot, *mark, logs);
            }
            return;
        }
        if self.rooms.at(slot).state == State::Live && !self.agrees(now, slot, logs) {
            return;
        }
        let joined = self.rooms.at(slot);
        let is_behind = joined.is_behind(logs);
        if joined.state == State::Glancing && logs.take_stale_summary(joined.room) {
            let kind = Kind::Refresh { slot, join: joined.join };
            let name = logs.room(joined.room).name().clone();
            self.ask(now, name, AskBody::Summary, Some((kind, 0)), logs);
        }
        if is_behind {
            self.rooms.push_ready(slot);
        }
    }

    fn marked(&mut self, now: Now, slot: u16, mark: Mark, logs: &mut Logs) {
        let joined = self.rooms.at(slot);
        let is_open = matches!(joined.state, State::Live | State::Glancing);
        if !is_open || mark.seq <= joined.mark {
            return;
        }
        joined.mark = mark.seq;
        let room = logs.room(joined.room);
        let unread = room.ordinal().saturating_sub(mark.ordinal);
        let says = Says::Marked { room: room.name().clone(), seq: mark.seq, unread };
        self.say(now, 0, says, logs);
    }

    /// This session moved the mark itself: its own `marked` is the answer, not a push.
    pub(super) fn note_mark(&mut self, room: &RoomName, seq: u64, logs: &Logs) {
        if let Some(slot) = self.rooms.find(room, logs) {
            let joined = self.rooms.at(slot);
            joined.mark = joined.mark.max(seq);
        }
    }

    /// The owner ended the watch: the room is over. Answers whether that is so.
    fn kick_if_ended(&mut self, now: Now, slot: u16, logs: &mut Logs) -> bool {
        let joined = self.rooms.get(slot);
        let why = joined.and_then(|joined| logs.room(joined.room).ended().cloned());
        let is_ended = why.is_some();
        if let Some(why) = why {
            self.drop_room(now, slot, 0, why, logs);
        }
        is_ended
    }

    /// Whether the cursor speaks of the log that the shard holds. If it does not, the room is
    /// attached again with the position that was reached.
    pub(super) fn agrees(&mut self, now: Now, slot: u16, logs: &mut Logs) -> bool {
        let Some(joined) = self.rooms.get_mut(slot) else { return false };
        if joined.agrees(logs) {
            return true;
        }
        let room = logs.room(joined.room);
        if joined.state != State::Live || room.incarnation() == 0 || room.ended().is_some() {
            return false;
        }
        let is_unborn = joined.log.is_none() && joined.cursor == 0;
        if is_unborn || joined.log == *room.log() {
            joined.log = room.log().clone();
            joined.incarnation = room.incarnation();
            return true;
        }
        // What was found equal once has changed since. What never was may be a race between the
        // answer and the watch.
        if joined.incarnation > 0 {
            self.attach_again(now, slot, logs);
        } else {
            joined.state = State::Disagreeing;
            self.work.get_or_insert_default().disagree_at(now.plus_ms(DISAGREE_MS));
        }
        false
    }

    /// Looks again at rooms whose answer and watch spoke of different logs.
    pub(super) fn settle_disagreements(&mut self, now: Now, logs: &mut Logs) {
        for slot in self.rooms.slots() {
            let Some(joined) = self.rooms.get_mut(slot) else { continue };
            if joined.state != State::Disagreeing {
                continue;
            }
            joined.state = State::Live;
            if joined.log == *logs.room(joined.room).log() {
                self.rooms.push_ready(slot);
            } else {
                self.attach_again(now, slot, logs);
            }
        }
    }

    fn attach_again(&mut self, now: Now, slot: u16, logs: &mut Logs) {
        self.next_join = self.next_join.wrapping_add(1);
        let joined = self.rooms.at(slot);
        let join = self.next_join;
        joined.join = join;
        self.attach(now, slot, (join, 0), false, logs);
    }

    /// New rights, of a new token: rooms that may not be read any more are left, changes are told.
    pub(super) fn apply_rights(&mut self, now: Now, logs: &mut Logs) {
        for slot in self.rooms.slots() {
            let Some(joined) = self.rooms.get(slot) else { continue };
            let room = logs.room(joined.room).name().clone();
            let (before, rights) = (joined.rights, self.rights(&room));
            if !rights.has(Right::Read) {
                let why = Unsubscribed::new(UnsubscribedCode::Forbidden);
                self.drop_room(now, slot, 0, why, logs);
            } else if rights != before {
                let joined = self.rooms.at(slot);
                joined.rights = rights;
                let sees_more = rights.has(Right::Presence) && !before.has(Right::Presence);
                joined.wants_presence = sees_more && joined.state == State::Live;
                // While joining, the answer states them.
                if matches!(joined.state, State::Live | State::Glancing) {
                    self.rooms.push_ready(slot);
                    self.say(now, 0, Says::Rights { room, rights }, logs);
                }
            }
        }
    }
}

fn reading(wish: &Subscribe) -> Reading {
    if wish.summary { Reading::Summary } else { Reading::Log }
}

fn overtaken() -> Refusal {
    let why = "A later subscribe to the room replaced this one.";
    Refusal::because(RefusalCode::Unexpected, why)
}
