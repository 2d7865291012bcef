//! The one stream of a lane: opening, signs of life, waiting before the next attempt.

use model::{Now, Seed};

/// Milliseconds of silence after which a side says that it lives.
pub const HEARTBEAT_MS: u64 = 2_000;
/// Milliseconds without a word from the owner after which the stream is given up: several heartbeats.
pub const SILENCE_MS: u64 = 7_000;
/// Milliseconds within which a stream must stand.
pub const OPENING_MS: u64 = 3_000;
/// First and longest wait before a stream is opened again, in milliseconds.
const RETRY_MS_MIN: u64 = 10;
const RETRY_MS_MAX: u64 = 1_000;

const _: () = assert!(SILENCE_MS > 3 * HEARTBEAT_MS);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down { retry_at: Now },
    Opening { until: Now },
    Up,
}

/// What the lane's shell has yet to be told about the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Close,
    Open,
    Hello,
    Heartbeat,
}

#[derive(Debug)]
pub(crate) struct Stream {
    state: State,
    seed: Seed,
    retry_ms: u64,
    heard_at: Now,
    said_at: Now,
    close_due: bool,
    open_due: bool,
    hello_due: bool,
    heartbeat_due: bool,
    /// Counts streams that stood, so that what was told on one is known to be untold on the next.
    pub(crate) number: u64,
}

impl Stream {
    pub(crate) fn new(now: Now, seed: Seed) -> Stream {
        Stream {
            state: State::Opening { until: now.plus_ms(OPENING_MS) },
            seed,
            retry_ms: RETRY_MS_MIN,
            heard_at: now,
            said_at: now,
            close_due: false,
            open_due: true,
            hello_due: false,
            heartbeat_due: false,
            number: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// It stands; `false` if nobody asked for it.
    pub(crate) fn up(&mut self, now: Now) -> bool {
        if !matches!(self.state, State::Opening { .. }) {
            return false;
        }
        self.state = State::Up;
        self.number += 1;
        self.hello_due = true;
        self.heard_at = now;
        self.said_at = now;
        true
    }

    /// It is gone; `false` if it was gone before.
    pub(crate) fn down(&mut self, now: Now) -> bool {
        if matches!(self.state, State::Down { .. }) {
            return false;
        }
        let jitter = self.seed.below(self.retry_ms / 2 + 1);
        self.state = State::Down { retry_at: now.plus_ms(self.retry_ms + jitter) };
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MS_MAX);
        self.hello_due = false;
        self.heartbeat_due = false;
        self.open_due = false;
        true
    }

    /// A word from the owner: it lives, and the next attempt need not wait long.
    pub(crate) fn heard(&mut self, now: Now) {
        self.heard_at = now;
        self.retry_ms = RETRY_MS_MIN;
    }

    pub(crate) fn said(&mut self, now: Now) {
        self.said_at = now;
    }

    /// Whether the stream has to be given up.
    pub(crate) fn handle_timeout(&mut self, now: Now) -> bool {
        match self.state {
            State::Down { retry_at } => {
                if now.reached(retry_at) {
                    self.state = State::Opening { until: now.plus_ms(OPENING_MS) };
                    self.open_due = true;
                }
                false
            }
            State::Opening { until } => now.reached(until) && self.give_up(),
            State::Up => {
                self.heartbeat_due = now.reached(self.said_at.plus_ms(HEARTBEAT_MS));
                now.reached(self.heard_at.plus_ms(SILENCE_MS)) && self.give_up()
            }
        }
    }

    fn give_up(&mut self) -> bool {
        self.close_due = true;
        true
    }

    pub(crate) fn poll_timeout(&self) -> Now {
        match self.state {
            State::Down { retry_at } => retry_at,
            State::Opening { until } => until,
            // A heartbeat that is due waits for the shell to take it, not for the time.
            State::Up if self.heartbeat_due => self.heard_at.plus_ms(SILENCE_MS),
            State::Up => self.said_at.plus_ms(HEARTBEAT_MS).min(self.heard_at.plus_ms(SILENCE_MS)),
        }
    }

    /// What comes before everything else.
    pub(crate) fn poll_first(&mut self) -> Option<Due> {
        if std::mem::take(&mut self.close_due) {
            return Some(Due::Close);
        }
        if std::mem::take(&mut self.open_due) {
            return Some(Due::Open);
        }
        std::mem::take(&mut self.hello_due).then_some(Due::Hello)
    }

    /// What is only sent when there is nothing else to send.
    pub(crate) fn poll_last(&mut self) -> Option<Due> {
        (std::mem::take(&mut self.heartbeat_due) && self.is_up()).then_some(Due::Heartbeat)
    }
}
