//! One connection as a client keeps it. There are two while a session moves: the one that the
//! application speaks through, and the one that is to take its place.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Index, IndexMut};

use model::Welcome;

use super::connection::Phase;
use super::pace::Pace;
use super::{Control, Expected};

/// One dial and the connection that comes of it. A number is never given twice, so that what is said
/// of a connection that is gone changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketNo(pub u32);

/// Which of the two: neither is the first for good, they take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Side {
    #[default]
    Left,
    Right,
}

impl Side {
    pub(super) const BOTH: [Side; 2] = [Side::Left, Side::Right];

    pub(super) fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// Something of each side.
#[derive(Debug, Default)]
pub(super) struct Pair<T>([T; 2]);

impl<T> Pair<T> {
    pub(super) fn new(left: T, right: T) -> Pair<T> {
        Pair([left, right])
    }
}

impl<T> Index<Side> for Pair<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        &self.0[side as usize]
    }
}

impl<T> IndexMut<Side> for Pair<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        &mut self.0[side as usize]
    }
}

/// What is true of one connection only.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) socket: SocketNo,
    pub(super) phase: Phase,
    pub(super) heartbeat_ms: u64,
    /// When the last frame came, in monotonic microseconds.
    pub(super) heard_us: u64,
    /// When a fresh token is to be asked for, in monotonic microseconds.
    pub(super) renew_us: Option<u64>,
    /// What is owed an answer to.
    pub(super) expected: BTreeMap<u32, Expected>,
    pub(super) publishes_out: usize,
    pub(super) pace: Pace,
    pub(super) hello_due: bool,
    pub(super) heartbeat_due: bool,
    pub(super) authenticate_due: bool,
    pub(super) controls: VecDeque<Control>,
    /// The welcome of a connection that the application was not told of yet.
    pub(super) welcome: Option<Box<Welcome>>,
}

impl Line {
    pub(super) fn new(phase: Phase, pace: Pace) -> Line {
        Line {
            socket: SocketNo::default(),
            phase,
            heartbeat_ms: 0,
            heard_us: 0,
            renew_us: None,
            expected: BTreeMap::new(),
            publishes_out: 0,
            pace,
            hello_due: false,
            heartbeat_due: false,
            authenticate_due: false,
            controls: VecDeque::new(),
            welcome: None,
        }
    }

    /// Whether frames may go out.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. } | Phase::Up { .. })
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// Whether the shell dials it or holds it.
    pub(super) fn is_open(&self) -> bool {
        self.is_connected() || matches!(self.phase, Phase::Dialing { .. })
    }

    /// Forgets what was true of the connection.
    pub(super) fn clear(&mut self) {
        self.expected.clear();
        self.controls.clear();
        self.publishes_out = 0;
        self.renew_us = None;
        self.welcome = None;
        (self.hello_due, self.heartbeat_due, self.authenticate_due) = (false, false, false);
    }

    /// When the server must be taken for dead: two and a half of its heartbeats are missing.
    pub(super) fn silence_us(&self) -> Option<u64> {
        let patience_us = self.heartbeat_ms.saturating_mul(2_500);
        (patience_us > 0).then(|| self.heard_us.saturating_add(patience_us))
    }

    /// When the phase comes to its end by itself.
    pub(super) fn due_us(&self) -> Option<u64> {
        match self.phase {
            Phase::Idle | Phase::Over | Phase::AwaitingToken => None,
            Phase::Dialing { until_us }
            | Phase::Waiting { until_us }
            | Phase::Greeting { until_us } => Some(until_us),
            Phase::Up { .. } => self.silence_us(),
        }
    }
}
