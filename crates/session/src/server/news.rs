//! What happens in a session's rooms without its asking: entries, marks, other logs, other rights.

use model::{AskBody, Mark, Now, Right, RoomName, Says, Unsubscribed, UnsubscribedCode};

use super::asks::Kind;
use super::joined::State;
use super::{Phase, Session};
use crate::log::{Logs, News};

/// Milliseconds before a room whose answer and watch speak of different logs is attached again: one
/// of the two is normally behind by less than a round trip.
const DISAGREE_MS: u64 = 1_000;

impl Session {
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
        if joined.state == State::Glancing && logs.asks_summary(joined.room) {
            let kind = Kind::Refresh { slot, join: joined.join };
            let name = logs.room(joined.room).name().clone();
            self.ask(now, name, AskBody::Summary, Some((kind, 0)), logs);
        }
        if is_behind {
            self.rooms.push_ready(slot);
        }
    }

    pub(super) fn marked(&mut self, now: Now, slot: u16, mark: Mark, logs: &mut Logs) {
        let joined = self.rooms.at(slot);
        let is_open = matches!(joined.state, State::Live | State::Glancing);
        if !is_open || mark.seq <= joined.mark {
            return;
        }
        let room = logs.room(joined.room);
        if self.work.as_mut().is_some_and(|work| work.keep_mark(room.name(), mark)) {
            return;
        }
        let joined = self.rooms.at(slot);
        joined.mark = mark.seq;
        let unread = room.ordinal().saturating_sub(mark.ordinal);
        let says = Says::Marked { room: room.name().clone(), seq: mark.seq, unread };
        self.say(now, 0, says, logs);
    }

    /// This session moved the mark itself, by `mark` or by a post: the answer says so, not a push.
    pub(super) fn note_mark(&mut self, room: &RoomName, seq: u64, logs: &Logs) {
        if let Some(slot) = self.rooms.find(room, logs) {
            let joined = self.rooms.at(slot);
            joined.mark = joined.mark.max(seq);
        }
    }

    /// The owner ended the watch: the room is over. Answers whether that is so.
    pub(super) fn kick_if_ended(&mut self, now: Now, slot: u16, logs: &mut Logs) -> bool {
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
        let Some(joined) = self.rooms.get_mut(slot) else {
            return false;
        };
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
            let Some(joined) = self.rooms.get_mut(slot) else {
                continue;
            };
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
            let Some(joined) = self.rooms.get(slot) else {
                continue;
            };
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
