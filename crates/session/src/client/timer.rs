//! What happens because time has passed.

use model::Now;

use super::connection::{Loss, Phase};
use super::line::Side;
use super::room::Stage;
use super::{Client, Control};

impl Client {
    /// When [`handle_timeout`](Client::handle_timeout) is due; only its monotonic part counts.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        if !self.is_connected() {
            return self.wake(self.lines[self.main].due_us(), false);
        }
        let lines = Side::BOTH.iter().filter_map(|side| self.lines[*side].due_us()).min();
        self.wake(lines, true)
    }

    fn wake(&self, lines_us: Option<u64>, is_connected: bool) -> Option<Now> {
        let main = &self.lines[self.main];
        let beside = [main.renew_us, self.timer_us];
        let beside = beside.into_iter().flatten().filter(|_| is_connected);
        let mono_us = lines_us.into_iter().chain(beside).min()?;
        Some(Now { mono_us, wall_ms: 0 })
    }

    /// The time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now_us = now.mono_us;
        // A move may end with the first of the two, and the other one is the main one then.
        for side in [self.main.other(), self.main] {
            self.handle_line_due(now, side);
        }
        if self.is_connected() {
            self.handle_due(now);
        }
    }

    fn handle_line_due(&mut self, now: Now, side: Side) {
        let line = &self.lines[side];
        if line.due_us().is_none_or(|at_us| at_us > now.mono_us) {
            return;
        }
        match line.phase {
            Phase::Waiting { .. } => self.dial(now, side, None),
            _ => self.leave(now, side, Loss::Broken(None)),
        }
    }

    fn handle_due(&mut self, now: Now) {
        let main = self.main;
        if self.lines[main].renew_us.take_if(|at| *at <= now.mono_us).is_some() {
            self.want_token();
        }
        if self.timer_us.is_some_and(|at| at <= now.mono_us) {
            self.timer_us = None;
            self.handle_due_rooms(now);
            if let Some(next_us) = self.asks.handle_due(now.mono_us) {
                self.wake_at(next_us);
            }
        }
    }

    fn handle_due_rooms(&mut self, now: Now) {
        let mut next: Option<u64> = None;
        let mut later = |at: u64| next = Some(next.map_or(at, |n| n.min(at)));
        let main = self.main;
        for (name, room) in &mut self.rooms {
            for side in Side::BOTH {
                match room.readers[side].stage {
                    Stage::Again(at) if at <= now.mono_us => {
                        room.readers[side].stage = Stage::Asked;
                        self.lines[side].controls.push_back(Control::Subscribe(name.clone()));
                    }
                    Stage::Again(at) => later(at),
                    _ => {}
                }
            }
            match room.mark_again {
                Some(at) if at <= now.mono_us => {
                    room.mark_again = None;
                    room.mark_due = true;
                    self.lines[main].controls.push_back(Control::Mark(name.clone()));
                }
                Some(at) => later(at),
                None => {}
            }
            match room.chain.not_before {
                Some(at) if at <= now.mono_us => room.chain.not_before = None,
                Some(at) => later(at),
                None => {}
            }
            if room.may_publish() && !std::mem::replace(&mut room.listed, true) {
                self.to_publish.push_back(name.clone());
            }
        }
        if let Some(at) = next {
            self.wake_at(at);
        }
    }

    /// A room or a request wants something at `at_us`.
    pub(super) fn wake_at(&mut self, at_us: u64) {
        self.timer_us = Some(self.timer_us.map_or(at_us, |timer| timer.min(at_us)));
    }
}
