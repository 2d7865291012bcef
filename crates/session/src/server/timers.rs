//! What a session does by itself when time passes.

use model::{End, EndCode, Limits, Now, Says};

use super::{Phase, Session};
use crate::log::Logs;

/// Milliseconds by which a token may be over before the session ends: a renewal that is under way
/// is let through.
pub const TOKEN_GRACE_MS: u64 = 30_000;
/// Milliseconds that `end` may take to be written.
pub const CLOSE_WITHIN_MS: u64 = 5_000;

/// When what happens, in milliseconds of the clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    /// A frame was received.
    heard_ms: u64,
    /// The next heartbeat is sent.
    beat_ms: u64,
    /// The end of what the phase waits for: hello, a move, the last write. `u64::MAX` for nothing.
    pub(super) phase_ms: u64,
}

impl Timers {
    pub(super) fn new(now: Now, limits: &Limits) -> Timers {
        let now_ms = now.mono_us / 1_000;
        let phase_ms = now_ms + limits.hello_within_ms;
        Timers { heard_ms: now_ms, beat_ms: u64::MAX, phase_ms }
    }

    pub(super) fn heard(&mut self, now: Now) {
        self.heard_ms = now.mono_us / 1_000;
    }

    pub(super) fn phase_within(&mut self, now: Now, ms: u64) {
        self.phase_ms = (now.mono_us / 1_000).saturating_add(ms);
    }
}

impl Session {
    /// The session is open: hello is in, heartbeats begin.
    pub(super) fn start_timers(&mut self, now: Now, limits: &Limits) {
        self.timers.phase_ms = u64::MAX;
        self.plan_heartbeat(now, limits);
    }

    /// Between nine and ten tenths of the interval, so that sessions that came together spread.
    fn plan_heartbeat(&mut self, now: Now, limits: &Limits) {
        let jitter_ms = self.seed.below(limits.heartbeat_ms / 10 + 1);
        self.timers.beat_ms = now.mono_us / 1_000 + limits.heartbeat_ms - jitter_ms;
    }

    /// When [`Session::handle_timeout`] wants to be called. It moves on with every frame that is
    /// received: a shard may keep the older moment, and ask again when it has come.
    #[must_use]
    pub fn poll_timeout(&self, logs: &Logs) -> Option<Now> {
        let idle_ms = self.timers.heard_ms + logs.limits().idle_ms;
        let due_ms = match self.phase {
            Phase::Closed => return None,
            Phase::Fresh | Phase::Greeting | Phase::Ending => self.timers.phase_ms,
            Phase::Open => {
                let token = self.person.as_ref().and_then(|person| person.expires_ms);
                let token = token.map(|ms| ms.saturating_add(TOKEN_GRACE_MS));
                let asks = self.work.as_ref().and_then(|work| work.due_ms());
                let always = [idle_ms, self.timers.beat_ms, self.timers.phase_ms];
                always.into_iter().chain(token).chain(asks).min().unwrap_or(idle_ms)
            }
        };
        Some(Now { mono_us: due_ms.saturating_mul(1_000), wall_ms: 0 })
    }

    /// Time has come for what [`Session::poll_timeout`] named; too early is harmless.
    pub fn handle_timeout(&mut self, now: Now, logs: &mut Logs) {
        let now_ms = now.mono_us / 1_000;
        match self.phase {
            Phase::Fresh if now_ms >= self.timers.phase_ms => {
                self.end(now, End::new(EndCode::HelloLate), logs);
            }
            Phase::Greeting if now_ms >= self.timers.phase_ms => {
                self.end(now, End::new(EndCode::Overloaded), logs);
            }
            // What is left is not waited for any longer; the close follows.
            Phase::Ending if now_ms >= self.timers.phase_ms => self.drop_output(),
            Phase::Open => self.tick(now, now_ms, logs),
            Phase::Fresh | Phase::Greeting | Phase::Ending | Phase::Closed => {}
        }
    }

    fn tick(&mut self, now: Now, now_ms: u64, logs: &mut Logs) {
        if now_ms >= self.timers.heard_ms + logs.limits().idle_ms {
            return self.end(now, End::new(EndCode::TimedOut), logs);
        }
        if now_ms >= self.timers.phase_ms {
            // The client was asked to move and did not.
            return self.end(now, End::new(EndCode::GoingAway).retry_after(0), logs);
        }
        let expires_ms = self.person.as_ref().and_then(|person| person.expires_ms);
        if expires_ms.is_some_and(|ms| now_ms >= ms.saturating_add(TOKEN_GRACE_MS)) {
            return self.end(now, End::new(EndCode::TokenExpired), logs);
        }
        self.expire_asks(now, logs);
        if self.phase == Phase::Open && now_ms >= self.timers.beat_ms {
            // Bytes that already wait say the same to a client that reads, and the same nothing to
            // one that does not.
            if self.control_bytes() == 0 {
                self.say(now, 0, Says::Heartbeat, logs);
            }
            let limits = logs.limits();
            self.plan_heartbeat(now, limits);
        }
    }
}
