//! Where something stands in a log, and who may write there.

use crate::LogId;

/// A sequence number: 1, 2, 3 … without a hole in each room; 0 is "before the first".
pub type Seq = u64;

/// The journal's own counter of a slot, raised by each claim; appends are checked against it.
pub type Fence = u64;

/// A slot's number of owners so far, as the registry counts them.
pub type Epoch = u64;

/// The number of a slot, `hash(room) mod slots`.
pub type SlotNo = u32;

/// A place in a room's log. The log's name guards against a wiped and recreated room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log; empty before the room is born.
    pub log: LogId,
    /// The last entry that is known; 0 for none.
    pub seq: Seq,
}

impl Position {
    /// The position before the first entry of a room, valid against any log.
    #[must_use]
    pub fn origin() -> Position {
        Position::default()
    }

    /// Whether this position may be compared with numbers of `log`.
    #[must_use]
    pub fn speaks_of(&self, log: &LogId) -> bool {
        (self.log.is_none() && self.seq == 0) || self.log == *log
    }
}
