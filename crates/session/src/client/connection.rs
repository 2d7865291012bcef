//! How connections come and go: dialling, greeting, losing, coming back, ending.

use model::{EndCode, Now, Seed};

use super::{Action, Client, Event, NotPublished, backoff};

/// Where the client stands with its connection. Times are monotonic microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The shell was told to dial.
    Dialing { until_us: u64 },
    /// Hello may be sent; no welcome yet.
    Greeting { until_us: u64 },
    /// Welcomed.
    Up { since_us: u64 },
    /// To be dialled again.
    Waiting { until_us: u64 },
    /// To be dialled again with a fresh token.
    AwaitingToken,
    /// Ended for good.
    Over,
}

/// Close codes that say: not with this token.
const TOKEN_CODES: [u16; 2] = [EndCode::TokenInvalid as u16, EndCode::TokenExpired as u16];
/// Close codes that say: do not come back, or not like this.
const FINAL_CODES: std::ops::RangeInclusive<u16> = 4500..=4999;

impl Client {
    /// The dial succeeded: hello goes first.
    pub fn handle_connected(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Dialing { .. }) {
            return;
        }
        (self.now_us, self.heard_us) = (now.mono_us, now.mono_us);
        self.phase =
            Phase::Greeting { until_us: later(now, self.options.limits.welcome_within_ms) };
        self.hello_due = true;
        self.authenticate_due = false;
        self.greet_rooms();
        self.asks.queue_all();
    }

    /// The dial failed, or the connection is gone; with the close code if there was one.
    pub fn handle_closed(&mut self, now: Now, code: Option<u16>) {
        let connected = self.is_connected() || matches!(self.phase, Phase::Dialing { .. });
        match code {
            _ if !connected => {}
            Some(code) if TOKEN_CODES.contains(&code) => {
                self.await_token(now, u32::from(code), "The token was not taken.".to_owned());
            }
            Some(code) if FINAL_CODES.contains(&code) => {
                self.end(u32::from(code), "The server closed the connection for good.".to_owned());
            }
            _ => self.come_back(now, None),
        }
    }

    /// Something came that cannot be read.
    pub fn handle_unreadable(&mut self, now: Now, why: &str) {
        if self.is_connected() {
            self.violated(now, format!("unreadable frame: {why}"));
        }
    }

    /// Whether frames may go out.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. } | Phase::Up { .. })
    }

    pub(super) fn dial(&mut self, now: Now) {
        self.phase = Phase::Dialing { until_us: later(now, self.options.limits.dial_within_ms) };
        let url = self.moved_to.take().unwrap_or_else(|| self.options.url.clone());
        self.actions.push_back(Action::Dial { url });
    }

    /// The server broke a rule: nothing of this connection is believed any more.
    pub(super) fn violated(&mut self, now: Now, what: String) {
        self.counters.violations += 1;
        self.events.push_back(Event::Violation(what));
        self.hang_up(now, None);
    }

    /// Closes from this side, then comes back.
    pub(super) fn hang_up(&mut self, now: Now, retry_after_ms: Option<u64>) {
        self.actions.push_back(Action::Close);
        self.come_back(now, retry_after_ms);
    }

    /// The connection is gone. Dials again after the server's word, else after a back-off.
    fn come_back(&mut self, now: Now, retry_after_ms: Option<u64>) {
        self.lose_connection(now);
        let again_in_ms = self.pause_ms(retry_after_ms);
        self.attempts = self.attempts.saturating_add(1);
        self.events.push_back(Event::Disconnected { again_in_ms });
        match again_in_ms {
            0 => self.dial(now),
            ms => self.phase = Phase::Waiting { until_us: later(now, ms) },
        }
    }

    /// A server that says "at once" again and again is not taken at its word.
    fn pause_ms(&mut self, retry_after_ms: Option<u64>) -> u64 {
        let seed: &mut Seed = &mut self.seed;
        match retry_after_ms {
            Some(ms) if self.attempts < 2 => ms.saturating_add(seed.below(ms / 2 + 1)),
            Some(ms) => ms.max(backoff::redial_ms(seed, self.attempts)),
            None => backoff::redial_ms(seed, self.attempts),
        }
    }

    /// Forgets what was true of this connection only.
    fn lose_connection(&mut self, now: Now) {
        if let Phase::Up { since_us } = self.phase {
            let stable_us = self.options.limits.stable_after_ms * 1_000;
            if now.mono_us.saturating_sub(since_us) >= stable_us {
                self.attempts = 0;
            }
        }
        self.expected.clear();
        self.controls.clear();
        self.to_publish.clear();
        self.publishes_out = 0;
        self.renew_us = None;
        (self.hello_due, self.heartbeat_due, self.authenticate_due) = (false, false, false);
        self.asks.lose_connection();
        for room in self.rooms.values_mut() {
            room.lose_connection();
            room.listed = false;
        }
    }

    /// The token is not good any more: waits for a fresh one if there will be one.
    pub(super) fn await_token(&mut self, now: Now, code: u32, message: String) {
        if !self.options.renews_token {
            self.actions.push_back(Action::Close);
            return self.end(code, message);
        }
        self.lose_connection(now);
        self.actions.push_back(Action::Close);
        self.phase = Phase::AwaitingToken;
        self.want_token();
    }

    /// Asks for a fresh token, once until one comes.
    pub(super) fn want_token(&mut self) {
        if !std::mem::replace(&mut self.token_wanted, true) {
            self.events.push_back(Event::NeedToken);
        }
    }

    /// Ends for good: what was not acknowledged is given back.
    pub(super) fn end(&mut self, code: u32, message: String) {
        self.phase = Phase::Over;
        self.give_up_publishes();
        self.events.push_back(Event::Ended { code, message });
        self.rooms.clear();
        self.to_publish.clear();
        self.controls.clear();
        self.expected.clear();
        self.asks = super::Asks::default();
        (self.hello_due, self.heartbeat_due, self.authenticate_due) = (false, false, false);
        (self.renew_us, self.timer_us) = (None, None);
    }

    fn give_up_publishes(&mut self) {
        for (name, room) in &mut self.rooms {
            for item in room.chain.drain() {
                let may_have_been_sent = item.may_have_been_sent();
                self.events.push_back(Event::NotPublished(NotPublished {
                    room: name.clone(),
                    id: item.id,
                    refusal: None,
                    may_have_been_sent,
                }));
            }
        }
        self.unacknowledged = 0;
    }
}

/// `ms` after `now`, in monotonic microseconds.
pub(super) fn later(now: Now, ms: u64) -> u64 {
    now.plus_ms(ms).mono_us
}
