//! A move: the session goes on over another connection, and the old one stays until it does.
//!
//! # Invariants
//! - Wishes go out over one connection, the main one; the other one reads.
//! - The old connection is left when every room has been answered for on the new one and has come as
//!   far there as it had here, or when it ends by itself: then the new one takes over as it stands.
//! - A new connection that fails changes nothing but the time that is left.

use std::collections::BTreeSet;

use model::{MoveTo, Now, RoomName, Unsubscribed, UnsubscribedCode};

use super::connection::{Loss, Phase, later};
use super::room::Stage;
use super::{Client, Control, Event, backoff};

/// Servers that are leaving too, and say where to go, that are followed at once.
const FOLLOWED_MAX: u32 = 2;

/// A move that is under way.
#[derive(Debug)]
pub(super) struct Moving {
    /// When the old connection ends, in monotonic microseconds.
    until_us: u64,
    /// Dials in a row that led nowhere.
    attempts: u32,
    /// Rooms that have not come as far on the new connection as on the old one. Each leaves once.
    behind: BTreeSet<RoomName>,
}

impl Moving {
    /// Notes that the new connection was asked for a room.
    pub(super) fn note_behind(&mut self, name: &RoomName) {
        self.behind.insert(name.clone());
    }
}

impl Client {
    /// The server wants the session elsewhere: a second connection is dialled, this one stays.
    pub(super) fn handle_move(&mut self, now: Now, to: MoveTo) {
        self.resume_token = Some(to.resume_token);
        let until_us = later(now, to.within_ms);
        if let Some(moving) = &mut self.moving {
            // Said again: the first word stands, but for the time.
            moving.until_us = until_us;
            return;
        }
        self.moving = Some(Moving { until_us, attempts: 0, behind: BTreeSet::new() });
        self.dial(now, self.main.other(), to.url);
    }

    /// The server behind the new connection is leaving too: on to the next one. Servers that go on
    /// sending the client to each other are not followed at once.
    pub(super) fn handle_move_of_next(&mut self, now: Now, to: MoveTo) {
        self.resume_token = Some(to.resume_token);
        let side = self.main.other();
        self.close_line(side);
        if self.moving.as_ref().is_some_and(|moving| moving.attempts >= FOLLOWED_MAX) {
            return self.lose_next(now, Loss::Broken(None));
        }
        self.forget_next();
        if let Some(moving) = &mut self.moving {
            moving.attempts += 1;
        }
        self.dial(now, side, to.url);
    }

    /// Asks for a room on the new connection too, if there is one that has been greeted.
    pub(super) fn ask_next(&mut self, name: &RoomName) {
        let next = self.main.other();
        if self.moving.is_none() || !self.lines[next].is_connected() {
            return;
        }
        if let Some(room) = self.rooms.get_mut(name) {
            room.readers[next].ask();
        }
        self.lines[next].controls.push_back(Control::Subscribe(name.clone()));
        if let Some(moving) = &mut self.moving {
            moving.note_behind(name);
        }
    }

    /// Something was told of a room: it may have caught up with the old connection.
    pub(super) fn note_level(&mut self, name: &RoomName) {
        let next = self.main.other();
        let Some(moving) = &mut self.moving else {
            return;
        };
        if self.rooms.get(name).is_none_or(|room| room.is_level(next)) {
            moving.behind.remove(name);
        }
    }

    /// Moves on if nothing is left to wait for.
    pub(super) fn promote_if_level(&mut self, now: Now) {
        let is_level = self.moving.as_ref().is_some_and(|moving| moving.behind.is_empty());
        if is_level && self.lines[self.main.other()].is_up() {
            self.close_line(self.main);
            self.promote(now);
        }
    }

    /// The new connection takes over as it stands. What was sent over the old one and not answered is
    /// sent again, word for word.
    pub(super) fn promote(&mut self, now: Now) {
        let (old, new) = (self.main, self.main.other());
        self.moving = None;
        self.main = new;
        self.attempts = 0;
        let is_signal = |control: &Control| matches!(control, Control::Signal(_));
        let signals: Vec<_> = self.lines[old].controls.drain(..).filter(is_signal).collect();
        let marks: Vec<_> = self.rooms.iter().filter(|(_, r)| r.is_mark_under_way()).collect();
        let marks: Vec<RoomName> = marks.into_iter().map(|(name, _)| name.clone()).collect();
        self.lines[old].clear();
        self.lines[old].phase = Phase::Idle;
        self.lose_sends();
        for (name, room) in &mut self.rooms {
            let left = room.readers[old].leaving > 0 && room.readers[new].leaving == 0;
            let again = room.wish.is_some();
            room.lose_reader(old);
            room.lead = new;
            if left {
                let why = Unsubscribed::new(UnsubscribedCode::Left);
                self.events.push_back(Event::Unsubscribed { room: name.clone(), why, again });
            }
        }
        match self.lines[new].phase {
            Phase::Up { .. } => {
                self.counters.moves += 1;
                let welcome = self.lines[new].welcome.take();
                self.events.extend(welcome.map(Event::Moved));
            }
            Phase::Waiting { until_us } => {
                let again_in_ms = until_us.saturating_sub(now.mono_us) / 1_000;
                self.events.push_back(Event::Disconnected { again_in_ms });
            }
            _ => self.events.push_back(Event::Disconnected { again_in_ms: 0 }),
        }
        if self.lines[new].is_connected() {
            self.lines[new].controls.extend(signals);
            self.repeat_marks(marks);
            self.queue_publishes();
            self.asks.queue_all();
        }
    }

    /// The new connection failed: another try, while the old one stands.
    pub(super) fn lose_next(&mut self, now: Now, loss: Loss) {
        self.forget_next();
        let next = self.main.other();
        let Some(moving) = &mut self.moving else {
            return;
        };
        match loss {
            Loss::Broken(retry_after_ms) => {
                let pause_ms = match retry_after_ms {
                    Some(ms) => backoff::retry_ms(&mut self.seed, ms, moving.attempts),
                    None => backoff::redial_ms(&mut self.seed, moving.attempts),
                };
                moving.attempts = moving.attempts.saturating_add(1);
                let until_us = later(now, pause_ms);
                self.lines[next].phase = Phase::Waiting { until_us };
                if until_us >= moving.until_us {
                    // Too late for the move; the old connection's end says when to come back.
                    self.stay();
                }
            }
            Loss::Token { .. } if self.options.renews_token => {
                self.lines[next].phase = Phase::AwaitingToken;
                self.want_token();
            }
            // The end of the old connection decides what that means.
            Loss::Token { .. } | Loss::Final { .. } => self.stay(),
        }
    }

    /// Gives the move up.
    fn stay(&mut self) {
        self.moving = None;
        self.lines[self.main.other()].phase = Phase::Idle;
    }

    /// What the new connection told beside entries is told anew by the old one.
    fn forget_next(&mut self) {
        let (main, next) = (self.main, self.main.other());
        self.lines[next].clear();
        self.lines[next].phase = Phase::Idle;
        let connected = self.lines[main].is_connected();
        for (name, room) in &mut self.rooms {
            let was_lead = std::mem::replace(&mut room.lead, main) == next;
            room.lose_reader(next);
            if was_lead && connected && room.wish.is_some() {
                room.readers[main].ask();
                self.lines[main].controls.push_back(Control::Subscribe(name.clone()));
            }
        }
        if let Some(moving) = &mut self.moving {
            moving.behind.clear();
        }
    }

    /// Marks that the old connection did not answer. A room that is not read yet is told its mark when
    /// it is.
    fn repeat_marks(&mut self, rooms: Vec<RoomName>) {
        for name in rooms {
            if let Some(room) = self.rooms.get_mut(&name)
                && room.readers[self.main].stage == Stage::Live
            {
                room.mark_due = true;
                self.lines[self.main].controls.push_back(Control::Mark(name));
            }
        }
    }
}
