//! A session's rooms as it holds them: a cursor each, and the list of those with something to send.

use std::collections::VecDeque;

use bytes::Bytes;
use model::{Position, Rights, RoomName};

use crate::log::{Logs, Reading, RoomKey};

/// What a session waits for in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// An attach waits for its turn.
    Queued,
    /// An attach or a summary is under way.
    Joining,
    /// The log is read.
    Live,
    /// Answer and watch spoke of different logs; looked at again later.
    Disagreeing,
    /// The summary is read.
    Glancing,
}

/// One room of one session, 72 bytes.
#[derive(Debug)]
pub(super) struct Joined {
    /// The log that `cursor` speaks of; while joining, of the wish.
    pub(super) log: model::LogId,
    /// The last entry that was sent; while joining, the wish.
    pub(super) cursor: u64,
    /// The next push beside the log; for a summary the last that was sent.
    pub(super) heard: u64,
    /// The user's mark as it was told last.
    pub(super) mark: u64,
    pub(super) room: RoomKey,
    pub(super) place: u32,
    /// Which subscribe: answers to older ones do not open the room.
    pub(super) join: u32,
    /// The room's incarnation that `log` was found equal to; 0 before.
    pub(super) incarnation: u32,
    /// This user's presence data here.
    pub(super) data: Option<Box<Bytes>>,
    pub(super) recent: u8,
    pub(super) rights: Rights,
    pub(super) state: State,
    pub(super) reading: Reading,
    is_ready: bool,
    pub(super) has_position: bool,
    /// The right to see presence came while the room was read.
    pub(super) wants_presence: bool,
}

impl Joined {
    /// A room that has just been joined in the shard and is not asked for yet.
    pub(super) fn new(room: RoomKey, place: u32, reading: Reading) -> Joined {
        Joined {
            log: model::LogId::none(),
            cursor: 0,
            heard: 0,
            mark: 0,
            room,
            place,
            join: 0,
            incarnation: 0,
            data: None,
            recent: 0,
            rights: Rights::NONE,
            state: State::Joining,
            reading,
            is_ready: false,
            has_position: false,
            wants_presence: false,
        }
    }

    /// Whether the cursor may be compared with what the shard holds.
    pub(super) fn agrees(&self, logs: &Logs) -> bool {
        self.state == State::Live && self.incarnation == logs.room(self.room).incarnation()
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.has_position.then(|| Position { log: self.log.clone(), seq: self.cursor })
    }

    /// Whether there may be something to send.
    pub(super) fn is_behind(&self, logs: &Logs) -> bool {
        let room = logs.room(self.room);
        match self.state {
            State::Live => {
                !self.agrees(logs)
                    || self.cursor < room.head()
                    || self.cursor + 1 < room.first()
                    || self.heard < room.ring_next()
                    || self.wants_presence
            }
            State::Glancing => self.heard < room.summary_version(),
            State::Queued | State::Joining | State::Disagreeing => false,
        }
    }
}

/// A session's rooms by slot, and those that have something to send.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    slots: Vec<Option<Joined>>,
    ready: VecDeque<u16>,
}

impl Rooms {
    pub(super) fn get(&self, slot: u16) -> Option<&Joined> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u16) -> Option<&mut Joined> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    /// A room that is known to be there.
    pub(super) fn at(&mut self, slot: u16) -> &mut Joined {
        self.get_mut(slot).expect("a ready room is joined")
    }

    pub(super) fn count(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// Whether a room has something that was not sent.
    pub(super) fn are_behind(&self, logs: &Logs) -> bool {
        self.slots.iter().flatten().any(|joined| joined.is_behind(logs))
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = u16> + use<> {
        0..self.slots.len() as u16
    }

    pub(super) fn find(&self, name: &RoomName, logs: &Logs) -> Option<u16> {
        let is_it: &dyn Fn(&Joined) -> bool = match logs.key(name) {
            Some(key) if self.slots.iter().flatten().any(|joined| joined.room == key) => {
                &move |joined| joined.room == key
            }
            // A room whose watch the owner just ended is no longer found by name.
            _ => &|joined| logs.room(joined.room).name() == name,
        };
        let slot = self.slots.iter().position(|joined| joined.as_ref().is_some_and(is_it))?;
        Some(slot as u16)
    }

    pub(super) fn vacant(&mut self) -> u16 {
        let vacant = self.slots.iter().position(Option::is_none);
        let slot = vacant.unwrap_or_else(|| {
            // One room is the usual number: no space is kept for more.
            self.slots.reserve_exact(if self.slots.is_empty() { 1 } else { self.slots.len() });
            self.slots.push(None);
            self.slots.len() - 1
        });
        slot as u16
    }

    pub(super) fn put(&mut self, slot: u16, joined: Joined) {
        self.slots[usize::from(slot)] = Some(joined);
    }

    pub(super) fn remove(&mut self, slot: u16) -> Option<Joined> {
        let joined = self.slots.get_mut(usize::from(slot))?.take();
        self.ready.retain(|ready| *ready != slot);
        joined
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = u16> {
        self.ready.iter().copied()
    }

    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn pop_ready(&mut self) -> Option<u16> {
        let slot = self.ready.pop_front()?;
        if let Some(joined) = self.get_mut(slot) {
            joined.is_ready = false;
        }
        Some(slot)
    }

    /// Answers whether the room was put on the list.
    pub(super) fn push_ready(&mut self, slot: u16) -> bool {
        let Some(joined) = self.get_mut(slot) else {
            return false;
        };
        let is_new = !std::mem::replace(&mut joined.is_ready, true);
        if is_new {
            self.ready.push_back(slot);
        }
        is_new
    }

    /// The last `count` of the list go first.
    pub(super) fn ready_last_to_front(&mut self, count: usize) {
        self.ready.rotate_right(count.min(self.ready.len()));
    }

    /// After a write: who has had all is taken from the list, the others go on in another order, so
    /// that no room keeps the rest waiting.
    pub(super) fn rotate_ready(&mut self, logs: &Logs) {
        for _ in 0..self.ready.len().min(super::SLICES_MAX) {
            let Some(slot) = self.pop_ready() else { break };
            if self.get(slot).is_some_and(|joined| joined.is_behind(logs)) {
                self.push_ready(slot);
            }
        }
        if self.ready.len() > 1 {
            self.ready.rotate_left(1);
        }
    }
}
