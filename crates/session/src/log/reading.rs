//! What sessions ask of their rooms: to join and leave them, and what to read next.

use std::sync::Arc;

use model::{Now, RoomName, Seq, Summary, UserId};

use super::ephemeral::Shared;
use super::frame::{Frame, Frames};
use super::members::{Member, SessionKey};
use super::{Logs, Request, RoomKey, RoomLog};

/// How a member reads a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Its log and what travels beside it.
    Log,
    /// Its summary only.
    Summary,
}

impl Logs {
    pub(crate) fn frames(&self) -> &dyn Frames {
        &*self.frames
    }

    pub(crate) fn key(&self, room: &RoomName) -> Option<RoomKey> {
        self.by_name.get(room).copied()
    }

    /// A member's room.
    pub(crate) fn room(&self, key: RoomKey) -> &RoomLog {
        self.rooms[key.0 as usize].as_ref().expect("a room is kept while it has members")
    }

    pub(super) fn room_mut(&mut self, key: RoomKey) -> &mut RoomLog {
        self.rooms[key.0 as usize].as_mut().expect("a room is kept while it has members")
    }

    /// A session reads this room from now on.
    pub(crate) fn join(
        &mut self,
        name: &RoomName,
        session: SessionKey,
        slot: u16,
        user: &UserId,
        reading: Reading,
    ) -> (RoomKey, u32) {
        let key = match self.key(name) {
            Some(key) => key,
            None => self.open(name),
        };
        let room = self.room_mut(key);
        if reading == Reading::Summary {
            room.glance_mut().join();
        }
        (key, room.members.join(Member::new(session, slot, user)))
    }

    /// It reads the room in another way.
    pub(crate) fn change(&mut self, now: Now, key: RoomKey, from: Reading, to: Reading) {
        match (from, to) {
            (Reading::Log, Reading::Summary) => {
                self.room_mut(key).glance_mut().join();
            }
            (Reading::Summary, Reading::Log) => self.leave_summary(now, key),
            (Reading::Summary, Reading::Summary) => {
                self.with_glance(key, |glance| glance.asker_left(now.mono_us / 1_000));
            }
            (Reading::Log, Reading::Log) => {}
        }
    }

    /// It reads the room no more.
    pub(crate) fn leave(&mut self, now: Now, key: RoomKey, place: u32, reading: Reading) {
        self.change(now, key, reading, Reading::Log);
        self.shelf.leave(key, place);
        let room = self.room_mut(key);
        room.members.leave(place);
        if room.members.count() == 0 {
            self.close(key);
        }
    }

    /// An entry that is in memory.
    pub(crate) fn entry(&self, key: RoomKey, seq: Seq) -> Option<&Arc<Frame>> {
        self.room(key).tail_get(seq).or_else(|| self.shelf.get(key, seq))
    }

    /// A member reads on at `seq`: whether that is in memory. If not, it is fetched, and the member
    /// is told by news.
    pub(crate) fn need(&mut self, now: Now, key: RoomKey, seq: Seq, place: u32) -> bool {
        if self.room(key).tail_get(seq).is_some() {
            return true;
        }
        if self.shelf.get(key, seq).is_some() {
            self.shelf.touch(now, key, seq);
            return true;
        }
        if self.shelf.want(key, seq, place) {
            self.fetch(key, seq / model::limits::SEGMENT_ENTRIES);
        }
        false
    }

    /// Everybody who is present, for a member that skipped changes.
    pub(crate) fn full_presence(&mut self, key: RoomKey) -> Option<Arc<Shared>> {
        let room = self.room_mut(key);
        room.presence.as_mut()?.full(&room.name)
    }

    /// The owner's answer to a member that reads the summary.
    pub(crate) fn seed_summary(&mut self, now: Now, key: RoomKey, summary: &Summary) {
        let room = self.room_mut(key);
        let (log, head) = (room.log().clone(), room.head());
        let Some(glance) = &mut room.glance else { return };
        let was_stale = glance.is_stale();
        glance.seed(summary, &log, head);
        if was_stale && !glance.is_stale() {
            self.schedule_summary(now, key);
        }
    }

    /// The answer that was asked for on behalf of all who read the summary; `None` if the owner said no.
    pub(crate) fn refresh_summary(&mut self, now: Now, key: RoomKey, summary: Option<&Summary>) {
        let (now_ms, interval_ms) = (now.mono_us / 1_000, self.limits.summary_interval_ms);
        let room = self.room(key);
        let (log, head) = (room.log().clone(), room.head());
        let pushes = self.with_glance(key, |glance| {
            let is_told = summary.is_some_and(|summary| glance.seed(summary, &log, head));
            glance.answered(now_ms, interval_ms) && is_told
        });
        if pushes == Some(true) {
            self.push_summary(now_ms, key);
        }
    }

    /// Whether this member has to ask for the summary, on behalf of all who read it.
    pub(crate) fn asks_summary(&mut self, key: RoomKey) -> bool {
        self.with_glance(key, |glance| glance.take_asking()).unwrap_or_default()
    }
}

impl Logs {
    fn open(&mut self, name: &RoomName) -> RoomKey {
        let room = Some(RoomLog::new(name.clone()));
        let key = match self.vacant.pop() {
            Some(key) => {
                self.rooms[key.0 as usize] = room;
                key
            }
            None => {
                self.rooms.push(room);
                RoomKey((self.rooms.len() - 1) as u32)
            }
        };
        self.by_name.insert(name.clone(), key);
        self.requests.push_back(Request::Watch { room: name.clone() });
        key
    }

    fn close(&mut self, key: RoomKey) {
        self.shelf.forget(key);
        let Some(room) = self.rooms[key.0 as usize].take() else {
            return;
        };
        // A room whose watch the owner ended has left the index; its name may be another's by now.
        if room.ended.is_none() {
            self.by_name.remove(&room.name);
            self.requests.push_back(Request::Unwatch { room: room.name });
        }
        self.vacant.push(key);
    }

    fn leave_summary(&mut self, now: Now, key: RoomKey) {
        let is_last = self.with_glance(key, |glance| glance.leave(now.mono_us / 1_000));
        if is_last == Some(true) {
            let glance = self.room_mut(key).glance.take();
            let due_ms = glance.and_then(|glance| glance.due_ms());
            due_ms.map(|due_ms| self.glances_due.remove(&(due_ms, key)));
        }
    }
}
