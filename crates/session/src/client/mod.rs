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
mod line;
mod moving;
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
pub use line::SocketNo;
pub use options::{ClientLimits, Options, Reading};

use asks::Asks;
use connection::Phase;
use line::{Line, Pair, Side};
use moving::Moving;
use pace::Pace;
use room::Room;

/// The client's machine.
///
/// Owned by the one task that owns the connections. There is one, and while the session moves a second
/// one: each has the number that its `Dial` gave it. After any wish (`publish`, `subscribe`, …) and any
/// `handle_*`, call [`poll_action`](Client::poll_action), [`poll_transmit`](Client::poll_transmit) for
/// each connection that takes frames, and [`poll_event`](Client::poll_event) until each is empty, then
/// wait for a frame or until [`poll_timeout`](Client::poll_timeout).
///
/// ```text
/// in    handle_connected        the dial succeeded
///       handle_dial_failed      it did not, and the server said when to come back
///       handle_frame            a frame came
///       handle_unreadable       something came that is not a frame
///       handle_closed           the dial failed, or the connection is gone
///       handle_timeout          the time of poll_timeout has come
/// out   poll_action             dial, close
///       poll_transmit           frames of one connection; an earlier one's are never among them
///       poll_event              what the application is told
/// ```
///
/// What is handed in for a connection that the client has closed, or never knew, changes nothing.
#[derive(Debug)]
pub struct Client {
    options: Options,
    seed: Seed,
    lines: Pair<Line>,
    /// Over which of them wishes go out. The other one is in use during a move only.
    main: Side,
    moving: Option<Moving>,
    last_socket: u32,
    /// Dials in a row that led to no stable connection.
    attempts: u32,
    resume_token: Option<String>,
    user: Option<UserId>,
    /// The moment of the last input, in monotonic microseconds.
    now_us: u64,
    /// When publishes were last checked for missing answers, in monotonic microseconds.
    checked_us: u64,
    /// The earliest time at which a room or a request may want something; a lower bound.
    timer_us: Option<u64>,

    /// Boxed: a tree's node has space for eleven, and most clients have one room.
    rooms: BTreeMap<RoomName, Box<Room>>,
    /// Rooms that have something to publish, each once.
    to_publish: VecDeque<RoomName>,
    unacknowledged: usize,
    asks: Asks,

    last_ref: u32,
    /// Whether the application was asked for a fresh token and has not given one yet.
    token_wanted: bool,
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
    /// Moves to another connection that came to their end while the old one stood.
    pub moves: u64,
    /// Publishes sent, each copy counted.
    pub publishes_sent: u64,
    /// Entries that had been told before, and were dropped.
    pub duplicates_dropped: u64,
    /// Rules that the server broke.
    pub violations: u64,
}

impl Client {
    /// A client that wants to be connected: its first action is to dial.
    #[must_use]
    pub fn new(now: Now, options: Options, seed: Seed) -> Client {
        let pace = || Pace::new(options.limits.publishes_out_max);
        let lines = Pair::new(Line::new(Phase::Idle, pace()), Line::new(Phase::Idle, pace()));
        let mut client = Client {
            options,
            seed,
            lines,
            main: Side::default(),
            moving: None,
            last_socket: 0,
            attempts: 0,
            resume_token: None,
            user: None,
            now_us: now.mono_us,
            checked_us: now.mono_us,
            timer_us: None,
            rooms: BTreeMap::new(),
            to_publish: VecDeque::new(),
            unacknowledged: 0,
            asks: Asks::default(),
            last_ref: 0,
            token_wanted: false,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        };
        client.dial(now, client.main, None);
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
        matches!(self.lines[self.main].phase, Phase::Over)
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

    /// What is known of a room, from now on.
    fn room_entry(&mut self, name: &RoomName) -> &mut Room {
        let main = self.main;
        let new = || Box::new(Room::led_by(main));
        self.rooms.entry(name.clone()).or_insert_with(new)
    }

    /// A frame with a ref of its own.
    fn frame(&mut self, side: Side, says: model::ClientSays, expected: Expected) -> ClientFrame {
        let r#ref = self.next_ref();
        self.lines[side].expected.insert(r#ref, expected);
        ClientFrame { r#ref, says }
    }

    fn next_ref(&mut self) -> u32 {
        self.last_ref = self.last_ref.checked_add(1).unwrap_or(1);
        self.last_ref
    }
}
