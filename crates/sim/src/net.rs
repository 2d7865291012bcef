//! The network: pipes between machines, which a seed delays and which faults cut, hold up and refuse.
//!
//! It is not turmoil, because a process must be stopped while its peers' time goes on, a partition must
//! hold bytes back instead of losing them (that is what TCP does), and both must be had again from a seed;
//! what is left of a network is then this file.
//!
//! # Invariants
//! - Bytes of one direction of one connection keep their order; nothing else does.
//! - Nothing arrives in the tick in which it was sent.
//! - A partition holds everything back, the news that the other end is gone included; when it is mended,
//!   what was held back arrives.

mod dial;
mod pipe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use model::Seed;

use crate::time::Time;
pub(crate) use dial::{Dialling, channel};
pub(crate) use pipe::Pipe;

/// Bytes that one direction of a connection holds: a kernel's buffers.
const WIRE_BYTES: usize = 256 * 1024;

/// The network. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    state: Arc<Mutex<State>>,
    time: Time,
}

/// How it is out there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Microseconds that a usual segment takes at most.
    pub(crate) delay_us: u64,
    /// One segment of so many takes far longer.
    pub(crate) late_one_in: u64,
    /// Microseconds that such a one takes at most.
    pub(crate) late_us: u64,
}

#[derive(Debug)]
struct State {
    seed: Seed,
    weather: Weather,
    listeners: BTreeMap<String, Waiting>,
    wires: BTreeMap<u64, Wire>,
    dials: BTreeMap<u64, Dialled>,
    /// Numbers of wires and dials.
    last: u64,
    /// From which machine to which nothing gets through.
    blocked: BTreeSet<(String, String)>,
}

/// Connections that wait to be taken up, by the wire that their owner reads.
#[derive(Debug, Default)]
struct Waiting {
    connections: VecDeque<Ends>,
    waker: Option<Waker>,
}

/// One end of a connection: the wires that it reads and writes.
#[derive(Clone, Copy, Debug)]
struct Ends {
    reads: u64,
    writes: u64,
}

#[derive(Debug)]
struct Dialled {
    from: String,
    to: String,
    due_us: u64,
    /// `Err`: nobody listens there.
    outcome: Option<Result<Ends, ()>>,
    waker: Option<Waker>,
}

/// One direction of a connection.
#[derive(Debug)]
struct Wire {
    from: String,
    to: String,
    /// What is under way, and when it arrives; `None` is the end.
    under_way: VecDeque<(u64, Option<Bytes>)>,
    arrived: VecDeque<Bytes>,
    /// Of what is under way and what has arrived.
    bytes: usize,
    has_ended: bool,
    is_reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    is_reader_gone: bool,
    is_writer_gone: bool,
}

/// The machine that a host runs on: `r1-3` is the third process on `r1`.
pub(crate) fn machine(host: &str) -> &str {
    host.split('-').next().unwrap_or(host)
}

impl Net {
    pub(crate) fn new(time: Time, seed: Seed, weather: Weather) -> Net {
        let state = State {
            seed,
            weather,
            listeners: BTreeMap::new(),
            wires: BTreeMap::new(),
            dials: BTreeMap::new(),
            last: 0,
            blocked: BTreeSet::new(),
        };
        Net { state: Arc::new(Mutex::new(state)), time }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing gets through from one machine to another, or everything does again.
    pub(crate) fn set_blocked(&self, from: &str, to: &str, blocked: bool) {
        let way = (from.to_owned(), to.to_owned());
        let blocks = &mut self.lock().blocked;
        match blocked {
            true => _ = blocks.insert(way),
            false => _ = blocks.remove(&way),
        }
    }

    /// Whether anything gets through.
    pub(crate) fn is_blocked(&self, from: &str, to: &str) -> bool {
        self.lock().is_blocked(machine(from), machine(to))
    }

    /// Every partition ends.
    pub(crate) fn heal(&self) {
        self.lock().blocked.clear();
    }

    /// Every connection between two machines breaks; how many there were.
    pub(crate) fn cut(&self, a: &str, b: &str) -> usize {
        let mut count = 0;
        for wire in self.lock().wires.values_mut() {
            let ends = (wire.from.as_str(), wire.to.as_str());
            if ends == (a, b) || ends == (b, a) {
                wire.reset();
                count += 1;
            }
        }
        count / 2
    }

    /// What is due arrives.
    pub(crate) fn step(&self) {
        let now_us = self.time.now_us();
        let mut state = self.lock();
        let State { wires, blocked, .. } = &mut *state;
        wires.retain(|_, wire| {
            let is_held =
                !blocked.is_empty() && blocked.contains(&(wire.from.clone(), wire.to.clone()));
            if !is_held {
                wire.arrive(now_us);
            }
            !(wire.is_reader_gone && wire.is_writer_gone)
        });
        state.answer_dials(now_us);
    }
}

impl State {
    fn is_blocked(&self, from: &str, to: &str) -> bool {
        !self.blocked.is_empty() && self.blocked.contains(&(from.to_owned(), to.to_owned()))
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn delay_us(&mut self) -> u64 {
        let Weather { delay_us, late_one_in, late_us } = self.weather;
        match self.seed.below(late_one_in) {
            0 => self.seed.below(late_us),
            _ => self.seed.below(delay_us),
        }
    }

    /// Both ends of a new connection: the dialler's, and the other's.
    fn connect(&mut self, from: &str, to: &str) -> (Ends, Ends) {
        let (there, back) = (self.number(), self.number());
        self.wires.insert(there, Wire::new(from, to));
        self.wires.insert(back, Wire::new(to, from));
        (Ends { reads: back, writes: there }, Ends { reads: there, writes: back })
    }

    /// One end is gone: what it sent still arrives, and the end behind it.
    fn leave(&mut self, ends: Ends, now_us: u64) {
        self.end(ends, now_us);
        if let Some(wire) = self.wires.get_mut(&ends.writes) {
            wire.is_writer_gone = true;
        }
        if let Some(wire) = self.wires.get_mut(&ends.reads) {
            wire.is_reader_gone = true;
            wire.wake_writer();
        }
    }

    /// Nothing more will be written.
    fn end(&mut self, ends: Ends, now_us: u64) {
        let due_us = now_us + self.delay_us();
        if let Some(wire) = self.wires.get_mut(&ends.writes) {
            wire.send(due_us, None);
        }
    }
}

impl Wire {
    fn new(from: &str, to: &str) -> Wire {
        Wire {
            from: from.to_owned(),
            to: to.to_owned(),
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
            bytes: 0,
            has_ended: false,
            is_reset: false,
            reader: None,
            writer: None,
            is_reader_gone: false,
            is_writer_gone: false,
        }
    }

    fn send(&mut self, due_us: u64, bytes: Option<Bytes>) {
        let after_us = self.under_way.back().map_or(0, |(due_us, _)| *due_us);
        self.bytes += bytes.as_ref().map_or(0, Bytes::len);
        self.under_way.push_back((due_us.max(after_us), bytes));
    }

    fn arrive(&mut self, now_us: u64) {
        while self.under_way.front().is_some_and(|(due_us, _)| *due_us <= now_us) {
            let Some((_, bytes)) = self.under_way.pop_front() else { break };
            match bytes {
                Some(bytes) if self.is_reader_gone => self.bytes -= bytes.len(),
                Some(bytes) => self.arrived.push_back(bytes),
                None => self.has_ended = true,
            }
            self.wake_reader();
        }
    }

    fn reset(&mut self) {
        self.is_reset = true;
        self.under_way.clear();
        self.arrived.clear();
        self.wake_reader();
        self.wake_writer();
    }

    fn wake_reader(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn wake_writer(&mut self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}
