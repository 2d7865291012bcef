//! Subscribing and leaving: wishes and what owners answer to them.
//!
//! A room is read in one way at a time, its log or its summary: the last subscribe decides. Each
//! subscribe is answered by a `subscribed` of its own, in their order, and from the moment in which
//! one is received until the answer to the last of them nothing of the room is sent. An unsubscribe is
//! answered at once, for the subscribes before it too; what an owner answers to those afterwards is
//! inert.

use model::{
    AskBody, Catchup, Now, Refusal, RefusalCode, Right, RoomName, Says, Subscribe, Subscription,
    Summary, Unsubscribed, UnsubscribedCode,
};

use super::Session;
use super::asks::Kind;
use super::joined::{Joined, Rooms, State};
use crate::log::{Logs, Reading};

/// Attaches without a position that are under way at once. Each may bring a snapshot of
/// `PAGE_BYTES_MAX`, so that four of them are what control holds at most beside what waits there.
/// Attaches with a position are not counted: 500 rooms come back in one round trip, and a snapshot
/// among their answers that finds control full is dropped and asked for once more in this window.
const WIDE_MAX: usize = 4;

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
        logs.change(now, room, before, reading);
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
        self.rooms.put(slot, Joined::new(room, place, reading));
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
        let Some(joined) = self.rooms.get(slot) else {
            return;
        };
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
        let Some(joined) = self.rooms.remove(slot) else {
            return;
        };
        let name = logs.room(joined.room).name().clone();
        if joined.reading == Reading::Log && joined.state != State::Queued {
            self.detach(now, &name, left, logs);
        }
        logs.leave(now, joined.room, joined.place, joined.reading);
    }

    /// The end of the session: out of every room, with a grace if it was not on purpose.
    pub(super) fn leave_all(&mut self, now: Now, logs: &mut Logs) {
        for slot in self.rooms.slots() {
            self.leave(now, slot, false, logs);
        }
        self.rooms = Rooms::default();
    }

    pub(super) fn attach(
        &mut self,
        now: Now,
        slot: u16,
        (join, r#ref): (u32, u32),
        is_wide: bool,
        logs: &mut Logs,
    ) {
        let Some(joined) = self.rooms.get_mut(slot) else {
            return;
        };
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
        let Some(joined) = self.rooms.get(slot) else {
            return;
        };
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
        let Some(joined) = self.rooms.get_mut(slot) else {
            return;
        };
        let key = joined.room;
        if joined.join == join && joined.state == State::Joining {
            joined.state = State::Glancing;
            joined.mark = summary.mark.map_or(0, |mark| mark.seq);
            joined.heard = logs.room(key).summary_version();
            logs.seed_summary(now, key, &summary);
            // What was pushed while the question was under way may say more than the answer.
            if logs.room(key).summary_head() > summary.head {
                joined.heard = joined.heard.saturating_sub(1);
                self.rooms.push_ready(slot);
            }
        }
        let room = logs.room(key).name().clone();
        let says = Says::Summary { room, summary: Box::new(summary) };
        self.say(now, r#ref, says, logs);
    }

    /// The owner's answer to a question that was asked for all who read the summary; `None` if it was no.
    pub(super) fn refreshed(
        &mut self,
        now: Now,
        (slot, join): (u16, u32),
        summary: Option<&Summary>,
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
        let Some(joined) = self.rooms.get(slot) else {
            return;
        };
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
}

fn reading(wish: &Subscribe) -> Reading {
    if wish.summary { Reading::Summary } else { Reading::Log }
}

fn overtaken() -> Refusal {
    let why = "A later subscribe to the room replaced this one.";
    Refusal::because(RefusalCode::Unexpected, why)
}
