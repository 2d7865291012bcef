//! How connections come and go: dialling, greeting, losing, coming back, ending.

use model::{EndCode, Now, Seed};

use super::line::{Side, SocketNo};
use super::{Action, Client, Event, NotPublished, backoff};

/// Where the client stands with a connection. Times are monotonic microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none, and none is wanted: the place of a second one.
    Idle,
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

/// Why a connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It is gone, or was left; the server's word about when to come back.
    Broken(Option<u64>),
    /// Not with this token.
    Token { code: u32, message: String },
    /// Not at all.
    Final { code: u32, message: String },
}

/// Close codes that say: not with this token.
const TOKEN_CODES: [u16; 2] = [EndCode::TokenInvalid as u16, EndCode::TokenExpired as u16];
/// Close codes that say: do not come back, or not like this.
const FINAL_CODES: std::ops::RangeInclusive<u16> = 4500..=4999;

impl Client {
    /// The dial succeeded: hello goes first.
    pub fn handle_connected(&mut self, now: Now, socket: SocketNo) {
        let Some(side) = self.side_of(socket) else {
            return;
        };
        let line = &mut self.lines[side];
        if !matches!(line.phase, Phase::Dialing { .. }) {
            return;
        }
        (self.now_us, line.heard_us) = (now.mono_us, now.mono_us);
        let within_ms = self.options.limits.welcome_within_ms;
        line.phase = Phase::Greeting { until_us: later(now, within_ms) };
        line.hello_due = true;
        line.authenticate_due = false;
        self.greet_rooms(side);
        if side == self.main {
            self.queue_publishes();
            self.asks.queue_all();
        }
    }

    /// The dial failed; with the server's word about when to try again, if there was one.
    pub fn handle_dial_failed(&mut self, now: Now, socket: SocketNo, retry_after_ms: Option<u64>) {
        if let Some(side) = self.side_of(socket) {
            self.lose(now, side, Loss::Broken(retry_after_ms));
        }
    }

    /// The dial failed, or the connection is gone; with the close code if there was one.
    pub fn handle_closed(&mut self, now: Now, socket: SocketNo, code: Option<u16>) {
        let Some(side) = self.side_of(socket) else {
            return;
        };
        let loss = match code {
            Some(code) if TOKEN_CODES.contains(&code) => {
                let message = "The token was not taken.".to_owned();
                Loss::Token { code: u32::from(code), message }
            }
            Some(code) if FINAL_CODES.contains(&code) => {
                let message = "The server closed the connection for good.".to_owned();
                Loss::Final { code: u32::from(code), message }
            }
            _ => Loss::Broken(None),
        };
        self.lose(now, side, loss);
    }

    /// Something came that cannot be read.
    pub fn handle_unreadable(&mut self, now: Now, socket: SocketNo, why: &str) {
        if let Some(side) = self.side_of(socket).filter(|side| self.lines[*side].is_connected()) {
            self.violated(now, side, format!("unreadable frame: {why}"));
        }
    }

    /// Whose connection it is, if the client still knows it.
    pub(super) fn side_of(&self, socket: SocketNo) -> Option<Side> {
        let is_it = |side: &Side| self.lines[*side].socket == socket && self.lines[*side].is_open();
        Side::BOTH.into_iter().find(is_it)
    }

    /// Whether frames of the application may go out.
    pub(super) fn is_connected(&self) -> bool {
        self.lines[self.main].is_connected()
    }

    /// Tells the shell to dial: where a move said, or as the application said.
    pub(super) fn dial(&mut self, now: Now, side: Side, moved_to: Option<String>) {
        self.last_socket += 1;
        let socket = SocketNo(self.last_socket);
        let within_ms = self.options.limits.dial_within_ms;
        let line = &mut self.lines[side];
        line.socket = socket;
        line.phase = Phase::Dialing { until_us: later(now, within_ms) };
        let is_moved = moved_to.is_some();
        let url = moved_to.unwrap_or_else(|| self.options.url.clone());
        self.actions.push_back(Action::Dial { socket, url, is_moved });
    }

    /// The server broke a rule: nothing of this connection is believed any more.
    pub(super) fn violated(&mut self, now: Now, side: Side, what: String) {
        self.counters.violations += 1;
        self.events.push_back(Event::Violation(what));
        self.leave(now, side, Loss::Broken(None));
    }

    /// Closes from this side.
    pub(super) fn leave(&mut self, now: Now, side: Side, loss: Loss) {
        self.close_line(side);
        self.lose(now, side, loss);
    }

    pub(super) fn close_line(&mut self, side: Side) {
        if self.lines[side].is_open() {
            self.actions.push_back(Action::Close { socket: self.lines[side].socket });
        }
    }

    /// A connection is of no use any more. Who moves goes on over the other one.
    fn lose(&mut self, now: Now, side: Side, loss: Loss) {
        if side != self.main {
            return self.lose_next(now, loss);
        }
        if self.moving.is_some() {
            return self.promote(now);
        }
        match loss {
            Loss::Broken(retry_after_ms) => self.come_back(now, retry_after_ms),
            Loss::Token { .. } if self.options.renews_token => {
                self.lose_main(now);
                self.lines[self.main].phase = Phase::AwaitingToken;
                self.want_token();
            }
            Loss::Token { code, message } | Loss::Final { code, message } => {
                self.end(code, message);
            }
        }
    }

    /// The connection is gone. Dials again after the server's word, else after a back-off.
    fn come_back(&mut self, now: Now, retry_after_ms: Option<u64>) {
        self.lose_main(now);
        let again_in_ms = self.pause_ms(retry_after_ms);
        self.attempts = self.attempts.saturating_add(1);
        self.events.push_back(Event::Disconnected { again_in_ms });
        match again_in_ms {
            0 => self.dial(now, self.main, None),
            ms => self.lines[self.main].phase = Phase::Waiting { until_us: later(now, ms) },
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

    /// Forgets what was true of the lost connection only.
    fn lose_main(&mut self, now: Now) {
        let side = self.main;
        if let Phase::Up { since_us } = self.lines[side].phase {
            let stable_us = self.options.limits.stable_after_ms * 1_000;
            if now.mono_us.saturating_sub(since_us) >= stable_us {
                self.attempts = 0;
            }
        }
        self.lines[side].clear();
        for room in self.rooms.values_mut() {
            room.lose_reader(side);
        }
        self.lose_sends();
    }

    /// What was sent may not have arrived: it waits for the next connection.
    pub(super) fn lose_sends(&mut self) {
        self.to_publish.clear();
        self.asks.lose_connection();
        for room in self.rooms.values_mut() {
            room.lose_sends();
            room.listed = false;
        }
    }

    /// Asks for a fresh token, once until one comes.
    pub(super) fn want_token(&mut self) {
        if !std::mem::replace(&mut self.token_wanted, true) {
            self.events.push_back(Event::NeedToken);
        }
    }

    /// Ends for good: what was not acknowledged is given back.
    pub(super) fn end(&mut self, code: u32, message: String) {
        for side in Side::BOTH {
            self.lines[side].clear();
            self.lines[side].phase = Phase::Idle;
        }
        self.lines[self.main].phase = Phase::Over;
        self.moving = None;
        self.give_up_publishes();
        self.events.push_back(Event::Ended { code, message });
        self.rooms.clear();
        self.to_publish.clear();
        self.asks = super::Asks::default();
        self.timer_us = None;
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
