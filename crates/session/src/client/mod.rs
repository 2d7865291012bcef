//! A client's end of the protocol: one person's only truth about what was read and what was sent.
//!
//! It stands apart from the shells because what makes a chat trustworthy (resuming without a hole,
//! sending again without a second copy) is decided here and nowhere else, and must be tried against
//! thousands of badly timed cuts. It is not the link's near end: that one multiplexes many sessions,
//! this one speaks for one.
//!
//! # Invariants
//! - A room's entries are told in order, without a hole: whatever does not fit drops the connection.
//! - Each publish ends in exactly one [`Event::Published`] or [`Event::NotPublished`].
//! - Every queue is bounded by [`ClientLimits`]; a wish beyond is refused to the caller.
//!
//! Look elsewhere for: sockets, TLS, time (`parlour-client`), JSON and protobuf (`wire::codec`), what
//! an application shows (folding, rosters).

mod asks;
mod backoff;
mod chain;
mod connection;
mod event;
mod inbound;
mod options;
mod outbound;
mod pace;
mod publishing;
mod room;
mod timer;
mod wishes;

use std::collections::{BTreeMap, VecDeque};

use model::{ClientFrame, MessageId, Now, RoomName, Seed, UserId};

pub use event::{Action, Event, NotPublished, Published, Ticket, WishError};
pub use options::{ClientLimits, Options, Reading};

use asks::Asks;
use connection::Phase;
use pace::Pace;
use room::Room;

/// The client's machine.
///
/// Owned by the one task that owns the connection. After any wish (`publish`, `subscribe`, …) and any
/// `handle_*`, call [`poll_transmit`](Client::poll_transmit), [`poll_action`](Client::poll_action) and
/// [`poll_event`](Client::poll_event) until each is empty, then wait for a frame or until
/// [`poll_timeout`](Client::poll_timeout).
///
/// ```text
/// in    handle_connected        the dial succeeded
///       handle_frame            a frame came
///       handle_unreadable       something came that is not a frame
///       handle_closed           the dial failed, or the connection is gone
///       handle_timeout          the time of poll_timeout has come
/// out   poll_action             dial, close
///       poll_transmit           frames; an earlier connection's are never among them
///       poll_event              what the application is told
/// ```
#[derive(Debug)]
pub struct Client {
    options: Options,
    seed: Seed,
    phase: Phase,
    /// Dials in a row that led to no stable connection.
    attempts: u32,
    /// Where a `move` said to go; for the next dial only.
    moved_to: Option<String>,
    resume_token: Option<String>,
    user: Option<UserId>,
    heartbeat_ms: u64,
    /// The moment of the last input, in monotonic microseconds.
    now_us: u64,
    /// When the last frame came, in monotonic microseconds.
    heard_us: u64,
    /// When publishes were last checked for missing answers, in monotonic microseconds.
    checked_us: u64,
    /// When a fresh token is to be asked for, in monotonic microseconds.
    renew_us: Option<u64>,
    /// The earliest time at which a room or a request may want something; a lower bound.
    timer_us: Option<u64>,

    /// Boxed: a tree's node has space for eleven, and most clients have one room.
    rooms: BTreeMap<RoomName, Box<Room>>,
    /// Rooms that have something to publish, each once.
    to_publish: VecDeque<RoomName>,
    unacknowledged: usize,
    asks: Asks,

    last_ref: u32,
    /// What this connection owes an answer to.
    expected: BTreeMap<u32, Expected>,
    publishes_out: usize,
    pace: Pace,

    hello_due: bool,
    heartbeat_due: bool,
    authenticate_due: bool,
    /// Whether the application was asked for a fresh token and has not given one yet.
    token_wanted: bool,
    controls: VecDeque<Control>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    counters: Counters,
}

/// What a ref stands for.
#[derive(Debug)]
enum Expected {
    Hello,
    Authenticate,
    Subscribe(RoomName),
    Unsubscribe(RoomName),
    Publish(RoomName, MessageId),
    Mark(RoomName),
    Ask(Ticket),
}

/// A small frame that waits to be sent on this connection.
#[derive(Debug)]
enum Control {
    Subscribe(RoomName),
    Unsubscribe(RoomName),
    Mark(RoomName),
    Signal(Box<model::ClientSays>),
}

/// What happened so far, for whoever measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were welcomed.
    pub welcomes: u64,
    /// Publishes sent, each copy counted.
    pub publishes_sent: u64,
    /// Entries that had been told before, and were dropped.
    pub duplicates_dropped: u64,
    /// Rules that the server broke.
    pub violations: u64,
    /// Times that the server sent this client elsewhere.
    pub moves: u64,
}

impl Client {
    /// A client that wants to be connected: its first action is to dial.
    #[must_use]
    pub fn new(now: Now, options: Options, seed: Seed) -> Client {
        let pace = Pace::new(options.limits.publishes_out_max);
        let mut client = Client {
            options,
            seed,
            phase: Phase::Over,
            attempts: 0,
            moved_to: None,
            resume_token: None,
            user: None,
            heartbeat_ms: 0,
            now_us: now.mono_us,
            heard_us: now.mono_us,
            checked_us: now.mono_us,
            renew_us: None,
            timer_us: None,
            rooms: BTreeMap::new(),
            to_publish: VecDeque::new(),
            unacknowledged: 0,
            asks: Asks::default(),
            last_ref: 0,
            expected: BTreeMap::new(),
            publishes_out: 0,
            pace,
            hello_due: false,
            heartbeat_due: false,
            authenticate_due: false,
            token_wanted: false,
            controls: VecDeque::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        };
        client.dial(now);
        client
    }

    /// What the shell has to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What the application is told next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Publishes without an answer.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    /// Whether the session is over for good: nothing will happen any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Who the server takes this client for, once it has said so.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    /// What the application holds of a room, to be stated in a later run.
    #[must_use]
    pub fn position(&self, room: &RoomName) -> Option<model::Position> {
        self.rooms.get(room).and_then(|room| room.resume_from())
    }

    /// A frame with a ref of its own.
    fn frame(&mut self, says: model::ClientSays, expected: Expected) -> ClientFrame {
        let r#ref = self.next_ref();
        self.expected.insert(r#ref, expected);
        ClientFrame { r#ref, says }
    }

    fn next_ref(&mut self) -> u32 {
        self.last_ref = self.last_ref.checked_add(1).unwrap_or(1);
        self.last_ref
    }
}
