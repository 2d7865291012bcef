//! The one stream to an owner: opening, signs of life, waiting before the next attempt.

use model::{Now, Seed};

/// Milliseconds without a word from the owner after which it is asked whether it lives, while a room is
/// watched or an ask is open: a silent owner shall be noticed in well under a second.
pub const HEARTBEAT_MS: u64 = 250;
/// Milliseconds without a word, a question among them, after which the stream is given up: more than
/// one question, and far more than a busy owner's stream takes to answer.
pub const SILENCE_MS: u64 = 700;
/// The same two while nobody needs the owner: cheap, yet a dead one is not met with the next ask.
pub const IDLE_HEARTBEAT_MS: u64 = 2_000;
/// See [`IDLE_HEARTBEAT_MS`].
pub const IDLE_SILENCE_MS: u64 = 7_000;
/// Milliseconds within which a stream must stand: a connection that is refused fails long before.
pub const OPENING_MS: u64 = 1_000;
/// First and longest wait before a stream is opened again, in milliseconds.
const RETRY_MS_MIN: u64 = 10;
const RETRY_MS_MAX: u64 = 1_000;
/// A stream that stood so long is opened again without a wait: whether the owner is dead or only the
/// stream shall be known at once. In milliseconds.
const STEADY_MS: u64 = 1_000;

/// An edge that looks so many milliseconds too late at a silence was held up itself: the owner is asked
/// once more before it is given up.
const HELD_UP_MS: u64 = 100;

const _: () = assert!(SILENCE_MS > 2 * HEARTBEAT_MS);
const _: () = assert!(IDLE_SILENCE_MS > 3 * IDLE_HEARTBEAT_MS);
const _: () = assert!(OPENING_MS > SILENCE_MS);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is no owner to open one to.
    Never,
    Down {
        retry_at: Now,
    },
    Opening {
        until: Now,
    },
    Up {
        since: Now,
    },
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
    /// When the owner was last asked whether it lives.
    beat_at: Now,
    /// The first such question since it was heard. Silence counts from here and not from the last word,
    /// so that an edge which was stopped itself does not blame its owners.
    unanswered_since: Option<Now>,
    /// Whether it was asked once more, as this edge was held up.
    is_asked_again: bool,
    close_due: bool,
    open_due: bool,
    hello_due: bool,
    heartbeat_due: bool,
    /// Whether the owner refused the last stream or was silent on it, and was not heard since.
    pub(crate) is_lost: bool,
    /// Counts streams that stood, so that what was told on one is known to be untold on the next.
    pub(crate) number: u64,
}

impl Stream {
    /// One that wants to be opened.
    pub(crate) fn new(now: Now, seed: Seed) -> Stream {
        let state = State::Opening { until: now.plus_ms(OPENING_MS) };
        Stream { open_due: true, ..Stream::idle(now, seed, state) }
    }

    /// One that never stands.
    pub(crate) fn never(now: Now, seed: Seed) -> Stream {
        Stream::idle(now, seed, State::Never)
    }

    fn idle(now: Now, seed: Seed, state: State) -> Stream {
        Stream {
            state,
            seed,
            retry_ms: RETRY_MS_MIN,
            heard_at: now,
            said_at: now,
            beat_at: now,
            unanswered_since: None,
            is_asked_again: false,
            close_due: false,
            open_due: false,
            hello_due: false,
            heartbeat_due: false,
            is_lost: false,
            number: 0,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Milliseconds since the owner was last heard.
    pub(crate) fn silent_ms(&self, now: Now) -> u64 {
        now.mono_us.saturating_sub(self.heard_at.mono_us) / 1_000
    }

    /// It stands; `false` if nobody asked for it.
    pub(crate) fn up(&mut self, now: Now) -> bool {
        if !matches!(self.state, State::Opening { .. }) {
            return false;
        }
        self.state = State::Up { since: now };
        self.number += 1;
        self.hello_due = true;
        self.heard_at = now;
        self.said_at = now;
        self.beat_at = now;
        // An owner that was lost is believed to live when it answers: that a stream was taken is not
        // yet a sign of whoever serves it.
        self.heartbeat_due = self.is_lost;
        self.unanswered_since = self.is_lost.then_some(now);
        self.is_asked_again = false;
        true
    }

    /// It is gone; `false` if it was gone before.
    pub(crate) fn down(&mut self, now: Now) -> bool {
        let wait_ms = match self.state {
            State::Never | State::Down { .. } => return false,
            State::Up { since } if now.reached(since.plus_ms(STEADY_MS)) => 0,
            State::Up { .. } | State::Opening { .. } => {
                let jitter_ms = self.seed.below(self.retry_ms / 2 + 1);
                let wait_ms = self.retry_ms + jitter_ms;
                self.retry_ms = (self.retry_ms * 2).min(RETRY_MS_MAX);
                wait_ms
            }
        };
        self.is_lost |= matches!(self.state, State::Opening { .. });
        self.state = State::Down { retry_at: now.plus_ms(wait_ms) };
        self.hello_due = false;
        self.heartbeat_due = false;
        self.open_due = false;
        true
    }

    /// A word from the owner: it lives, and the next attempt need not wait long.
    pub(crate) fn heard(&mut self, now: Now) {
        self.heard_at = now;
        self.unanswered_since = None;
        self.is_asked_again = false;
        self.is_lost = false;
        self.retry_ms = RETRY_MS_MIN;
    }

    pub(crate) fn said(&mut self, now: Now) {
        self.said_at = now;
    }

    /// Whether the stream has to be given up. `is_busy`: somebody needs the owner.
    pub(crate) fn handle_timeout(&mut self, now: Now, is_busy: bool) -> bool {
        match self.state {
            State::Never => false,
            State::Down { retry_at } => {
                if now.reached(retry_at) {
                    self.state = State::Opening { until: now.plus_ms(OPENING_MS) };
                    self.open_due = true;
                }
                false
            }
            State::Opening { until } => now.reached(until) && self.give_up(),
            State::Up { .. } => {
                if !self.heartbeat_due && now.reached(self.beat_due(is_busy)) {
                    self.heartbeat_due = true;
                    self.beat_at = now;
                    self.unanswered_since = self.unanswered_since.or(Some(now));
                }
                match self.silent_at(is_busy) {
                    Some(at) if now.reached(at.plus_ms(HELD_UP_MS)) && !self.is_asked_again => {
                        self.is_asked_again = true;
                        self.heartbeat_due = true;
                        self.beat_at = now;
                        self.unanswered_since = Some(now);
                        false
                    }
                    Some(at) => now.reached(at) && self.give_up(),
                    None => false,
                }
            }
        }
    }

    fn give_up(&mut self) -> bool {
        self.close_due = true;
        self.is_lost = true;
        true
    }

    /// When the owner is asked whether it lives; at the latest when it must hear that this edge does.
    fn beat_due(&self, is_busy: bool) -> Now {
        let beat_ms = if is_busy { HEARTBEAT_MS } else { IDLE_HEARTBEAT_MS };
        let since_word = self.heard_at.max(self.beat_at).plus_ms(beat_ms);
        since_word.min(self.said_at.max(self.beat_at).plus_ms(IDLE_HEARTBEAT_MS))
    }

    /// When an owner that was asked has been silent for too long.
    fn silent_at(&self, is_busy: bool) -> Option<Now> {
        let answer_ms = match is_busy {
            true => SILENCE_MS - HEARTBEAT_MS,
            false => IDLE_SILENCE_MS - IDLE_HEARTBEAT_MS,
        };
        self.unanswered_since.map(|since| since.plus_ms(answer_ms))
    }

    pub(crate) fn poll_timeout(&self, is_busy: bool) -> Option<Now> {
        match self.state {
            State::Never => None,
            State::Down { retry_at } => Some(retry_at),
            State::Opening { until } => Some(until),
            // A heartbeat that is due waits for the shell to take it, not for the time.
            State::Up { .. } if self.heartbeat_due => self.silent_at(is_busy),
            State::Up { .. } => {
                let beat = self.beat_due(is_busy);
                Some(self.silent_at(is_busy).map_or(beat, |silent| silent.min(beat)))
            }
        }
    }

    /// What shall become of the stream itself.
    pub(crate) fn poll_steer(&mut self) -> Option<Due> {
        if std::mem::take(&mut self.close_due) {
            Some(Due::Close)
        } else {
            std::mem::take(&mut self.open_due).then_some(Due::Open)
        }
    }

    /// What comes before all other frames. A heartbeat does: behind a thousand asks it would come too
    /// late to be answered in time.
    pub(crate) fn poll_first(&mut self) -> Option<Due> {
        if std::mem::take(&mut self.hello_due) {
            Some(Due::Hello)
        } else {
            std::mem::take(&mut self.heartbeat_due).then_some(Due::Heartbeat)
        }
    }
}
