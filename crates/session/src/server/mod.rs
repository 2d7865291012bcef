//! One connection of a client as a machine: what a session may ask, what it is told, and where it
//! stands in each of its rooms.
//!
//! It stands apart from sockets and encodings so that the same machine serves WebSocket and gRPC, runs
//! under simulation and is tested without either. A [`Session`] is owned by one shard, beside the
//! shard's [`Logs`], from which it borrows what it writes: it keeps cursors, no copies.
//!
//! # How a shard drives it
//! ```text
//! let session = Session::new(now, key, wire, seed, &logs);      key: its place in the shard's slab
//!
//! in:   handle_frame(now, Ok(frame) | Err(fault), &mut logs)    while wants_read(), see below
//!       handle_identity(now, result, &mut logs)                 after Action::Authenticate
//!       handle_answer(now, no, answer, &mut logs)               after Action::Ask
//!       handle_news(now, &news, &mut logs)                      what Logs::poll_news names
//!       handle_drain(now, Drain::End(end) | Drain::Move(to), &mut logs)
//!       handle_timeout(now, &mut logs)                          when poll_timeout(&logs) says so
//!       handle_closed(now, &mut logs)                           the connection is gone: always last
//! out, after any of these, each until it is empty:
//!       logs.poll_request()                                     to lanes
//!       poll_transmit(now, &mut logs, &mut slices) -> Next      only while the socket takes bytes
//!         └─ write_vectored(slices.as_io()), drop the slices, then handle_written(n, &logs)
//!       poll_action() -> Authenticate | Ask | Close
//! ```
//! - **Reading.** While [`Session::wants_read`] is false the shard neither reads nor decodes: TCP
//!   holds the client back. It is false while answers wait that the client does not read, while
//!   frames before the identity pile up, and after `end`.
//! - **Writing.** [`Next::Bytes`] is followed by `handle_written` before anything else happens to the
//!   session or the logs. A partial write is fine: the session keeps what is left of that one
//!   frame. Over gRPC every slice is one message without prefix, and `n` is the sum of whole slices.
//!   [`Next::Waiting`] and [`Next::Idle`] both mean: wait for news.
//! - **Asks** go to the lane of their room in the order in which they come; an answer carries the
//!   [`AskNo`] back. `Detach` has no answer that matters.
//! - **Authenticate.** A hello over gRPC may have its token in the metadata: the shard adds it when
//!   `token` and `name` are absent. The answer to a renewal (an `Authenticate` of an open session)
//!   keeps session and generation.
//! - **Close** comes once: write the close frame with that code (gRPC: the mapped status), close. Then
//!   `handle_closed`, the last `poll_action`s, and the slab's place is free.
//!
//! # Memory
//! A session is below 400 bytes, and its identity some 150 beside it ([`Session`]'s test prints the
//! figures); a room takes 80 in the session and 8 in the room's member list. What is
//! under way (asks, control bytes, a half-written frame) is boxed and exists only meanwhile.
//!
//! # Invariants
//! - `end` is the last frame; between a room's `unsubscribed` and its next `subscribed` no frame of
//!   that room is sent.
//! - A reader of a log is sent n, n + 1, n + 2 … from what `subscribed` states, or `truncated` first.
//! - Every request with a reference has one answer, `signal` excepted, whose only answer is no.
//! - An answer to what was given up changes nothing.
//! - Bounded: rooms, asks, kept frames, control bytes, slices and bytes of a write.
//!
//! Look elsewhere for: rooms and bytes ([`crate::log`]), rights (owners enforce them), tokens (`edge`).

mod asks;
mod hello;
mod joined;
mod limits;
mod news;
mod outside;
mod requests;
mod rooms;
mod timers;
mod transmit;

use model::{Ask, ClientFrame, End, EndCode, Limits, MoveTo, Now, Says, Seed};

pub use hello::{Identity, IdentityFault};
pub use timers::{CLOSE_WITHIN_MS, TOKEN_GRACE_MS};
pub use transmit::{Next, SLICES_MAX, Slices, WRITE_BYTES_MAX};

use crate::log::{Logs, SessionKey, WireKind};
use asks::Work;
use hello::{Greeting, Person};
use joined::Rooms;
use limits::{Bucket, Faults};

use timers::Timers;
use transmit::Out;

/// The number of an ask within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskNo(pub u32);

/// Something that the shard does for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find out who this is, and answer by `handle_identity`.
    Authenticate {
        /// The JWT.
        token: Option<String>,
        /// The name of somebody who needs none.
        name: Option<String>,
        /// From a previous `welcome` or `move`.
        resume_token: Option<String>,
    },
    /// Ask a room's owner, and answer by `handle_answer`.
    Ask {
        /// To be given back with the answer.
        no: AskNo,
        /// What is asked.
        ask: Box<Ask>,
    },
    /// Close the connection.
    Close {
        /// Why, for the close frame.
        code: EndCode,
    },
}

/// Why a frame could not be read at all. What could be read but is not allowed is
/// [`model::ClientSays::Faulty`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFault {
    /// It is not a frame; the text says where.
    Unreadable(String),
    /// It is larger than the limit; the text names both.
    TooLarge(String),
}

/// What the edge wants of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drain {
    /// It ends now.
    End(End),
    /// It should go elsewhere; it ends `going_away` when `within_ms` is over.
    Move(MoveTo),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Hello has not come.
    Fresh,
    /// Hello came, the identity has not.
    Greeting,
    Open,
    /// `end` is queued.
    Ending,
    Closed,
}

#[derive(Debug, Default)]
struct Buckets {
    publishes: Bucket,
    subscribes: Bucket,
    requests: Bucket,
}

impl Buckets {
    fn publishes(&mut self, now: Now, limits: &Limits) -> Result<(), u64> {
        self.publishes.take(now.mono_us, limits.publishes_per_second)
    }

    fn subscribes(&mut self, now: Now, limits: &Limits) -> Result<(), u64> {
        self.subscribes.take(now.mono_us, limits.subscribes_per_second)
    }

    fn requests(&mut self, now: Now, limits: &Limits) -> Result<(), u64> {
        self.requests.take(now.mono_us, limits.requests_per_second)
    }
}

/// One connection of a client. See the module for how it is driven.
#[derive(Debug)]
pub struct Session {
    key: SessionKey,
    wire: WireKind,
    phase: Phase,
    end_code: EndCode,
    is_cut: bool,
    next_ask: u32,
    next_join: u32,
    seed: Seed,
    timers: Timers,
    buckets: Buckets,
    faults: Faults,
    rooms: Rooms,
    person: Option<Box<Person>>,
    greeting: Option<Box<Greeting>>,
    work: Option<Box<Work>>,
    out: Option<Box<Out>>,
}

impl Session {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(now: Now, key: SessionKey, wire: WireKind, mut seed: Seed, logs: &Logs) -> Session {
        // Somewhere in the lower half, so that a late answer to the former session of this place in
        // the slab is nobody's, and the numbers grow for two thousand million asks.
        let next_ask = (seed.next_u64() >> 33) as u32;
        Session {
            key,
            wire,
            phase: Phase::Fresh,
            end_code: EndCode::Internal,
            is_cut: false,
            next_ask,
            next_join: 0,
            seed,
            timers: Timers::new(now, logs.limits()),
            buckets: Buckets::default(),
            faults: Faults::default(),
            rooms: Rooms::default(),
            person: None,
            greeting: None,
            work: None,
            out: None,
        }
    }

    /// How its bytes travel.
    #[must_use]
    pub fn wire(&self) -> WireKind {
        self.wire
    }

    /// Whether hello was answered by `welcome`, and nothing has ended the session since.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether it was asked to go elsewhere, and its time is not over: a newer connection of the same
    /// session is then the one that it was asked for.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.phase == Phase::Open && self.timers.phase_ms != u64::MAX
    }

    /// Whether it is over: nothing is sent, nothing is taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Who it is, once it is known.
    #[must_use]
    pub fn user(&self) -> Option<&model::User> {
        self.person.as_ref().map(|person| &person.user)
    }

    /// The session's id and its connection's generation, once they are known.
    #[must_use]
    pub fn session(&self) -> Option<(&model::SessionId, model::Generation)> {
        self.person.as_ref().map(|person| (&person.session, person.generation))
    }

    /// Whether its token is a service's.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.person.as_ref().is_some_and(|person| person.service)
    }

    /// Rooms that it reads, their summaries included.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.rooms.count()
    }

    /// Whether another frame may be read and decoded now.
    #[must_use]
    pub fn wants_read(&self, logs: &Logs) -> bool {
        let has_space = self.control_bytes() <= logs.limits().control_bytes_max;
        match self.phase {
            Phase::Fresh | Phase::Open => has_space,
            Phase::Greeting => has_space && !self.greeting.as_ref().is_some_and(|g| g.is_full()),
            Phase::Ending | Phase::Closed => false,
        }
    }

    /// A frame came, or something that is none.
    pub fn handle_frame(
        &mut self,
        now: Now,
        frame: Result<ClientFrame, ReadFault>,
        logs: &mut Logs,
    ) {
        self.timers.heard(now);
        match (frame, self.phase) {
            (_, Phase::Ending | Phase::Closed) => {}
            (Err(ReadFault::Unreadable(why)), _) => {
                self.end(now, End::because(EndCode::Unreadable, why), logs);
            }
            (Err(ReadFault::TooLarge(why)), _) => {
                self.end(now, End::because(EndCode::TooLarge, why), logs);
            }
            (Ok(frame), Phase::Fresh) => self.greet(now, frame, logs),
            (Ok(frame), Phase::Greeting) => self.keep(now, frame, logs),
            (Ok(frame), Phase::Open) => self.request(now, frame, logs),
        }
    }

    /// The edge wants the session gone, or elsewhere.
    pub fn handle_drain(&mut self, now: Now, drain: Drain, logs: &mut Logs) {
        match (drain, self.phase) {
            (_, Phase::Ending | Phase::Closed) => {}
            (Drain::End(end), _) => self.end(now, end, logs),
            (Drain::Move(to), Phase::Open) => {
                self.timers.phase_within(now, to.within_ms);
                self.say(now, 0, Says::Move(to), logs);
            }
            // Nothing is lost with a session that has not begun.
            (Drain::Move(_), Phase::Fresh | Phase::Greeting) => {
                self.end(now, End::new(EndCode::GoingAway).retry_after(0), logs);
            }
        }
    }

    /// The connection is gone, whoever closed it. What is left are the detaches in `poll_action`.
    pub fn handle_closed(&mut self, now: Now, logs: &mut Logs) {
        self.phase = Phase::Closed;
        self.out = None;
        self.greeting = None;
        self.leave_all(now, logs);
        self.forget_asks();
    }

    /// The next thing to do for the session.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(action) = self.pop_action() {
            return Some(action);
        }
        if self.phase == Phase::Ending && self.out.is_none() {
            self.phase = Phase::Closed;
            return Some(Action::Close { code: self.end_code });
        }
        None
    }

    /// Whether [`Session::poll_transmit`] may have something to give: asking is dearer than this.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.out.is_some() || self.rooms.ready_count() > 0
    }

    /// Whether [`Session::poll_action`] has something to give.
    #[must_use]
    pub fn has_action(&self) -> bool {
        self.has_queued_action() || (self.phase == Phase::Ending && self.out.is_none())
    }

    /// Says `end` and leaves every room. A broken-off session is one whose user may come back.
    fn end(&mut self, now: Now, end: End, logs: &mut Logs) {
        if matches!(self.phase, Phase::Ending | Phase::Closed) {
            return;
        }
        self.end_code = end.code;
        self.greeting = None;
        self.say(now, 0, Says::End(end), logs);
        self.phase = Phase::Ending;
        self.timers.phase_within(now, CLOSE_WITHIN_MS);
        self.leave_all(now, logs);
        self.forget_asks();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_and_its_rooms_are_small() {
        let (session, room) = (size_of::<Session>(), size_of::<Option<joined::Joined>>());
        let identity = size_of::<Person>();
        println!("session {session}, room {room}, identity {identity} bytes");
        assert!(session <= 320, "a session is {session} bytes");
        assert!(room <= 80, "a room of a session is {room} bytes");
        assert!(identity <= 200, "an identity is {identity} bytes");
    }
}
