//! What happens because time has passed.

use model::Now;

use super::connection::Phase;
use super::room::Stage;
use super::{Client, Control};

impl Client {
    /// When [`handle_timeout`](Client::handle_timeout) is due; only its monotonic part counts.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        let phase_us = match self.phase {
            Phase::Over | Phase::AwaitingToken => return None,
            Phase::Dialing { until_us } | Phase::Waiting { until_us } => {
                return Some(Now { mono_us: until_us, wall_ms: 0 });
            }
            Phase::Greeting { until_us } => Some(until_us),
            Phase::Up { .. } => self.silence_us(),
        };
        let mono_us = [phase_us, self.renew_us, self.timer_us].into_iter().flatten().min()?;
        Some(Now { mono_us, wall_ms: 0 })
    }

    /// The time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now_us = now.mono_us;
        let due = |at_us: u64| at_us <= now.mono_us;
        match self.phase {
            Phase::Over | Phase::AwaitingToken => {}
            Phase::Dialing { until_us } | Phase::Greeting { until_us } if due(until_us) => {
                self.hang_up(now, None);
            }
            Phase::Waiting { until_us } if due(until_us) => self.dial(now),
            Phase::Up { .. } if self.silence_us().is_some_and(due) => self.hang_up(now, None),
            Phase::Dialing { .. } | Phase::Waiting { .. } => {}
            Phase::Greeting { .. } | Phase::Up { .. } => self.handle_due(now),
        }
    }

    /// When the server must be taken for dead: two and a half of its heartbeats are missing.
    fn silence_us(&self) -> Option<u64> {
        let patience_us = self.heartbeat_ms.saturating_mul(2_500);
        (patience_us > 0).then(|| self.heard_us.saturating_add(patience_us))
    }

    fn handle_due(&mut self, now: Now) {
        if self.renew_us.take_if(|at| *at <= now.mono_us).is_some() {
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
        for (name, room) in &mut self.rooms {
            match room.stage {
                Stage::Again(at) if at <= now.mono_us => {
                    room.stage = Stage::Asked;
                    self.controls.push_back(Control::Subscribe(name.clone()));
                }
                Stage::Again(at) => later(at),
                _ => {}
            }
            match room.mark_again {
                Some(at) if at <= now.mono_us => {
                    room.mark_again = None;
                    room.mark_due = true;
                    self.controls.push_back(Control::Mark(name.clone()));
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
