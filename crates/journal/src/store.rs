//! What the rules stand on: an ordered map in four spaces, read through snapshots and written in
//! transactions.
//!
//! Apart from the engines, so that fencing, density, folding and paging are written once and both
//! engines differ in durability alone.

use std::ops::Range;

use bytes::Bytes;

use crate::ReadError;

/// Where a row lives; an engine may keep each space in a structure of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    /// Payloads by room and seq.
    Log,
    /// Headers by room and seq; posts by ordinal; entries by target.
    Index,
    /// Small values by room.
    State,
    /// Slots and rooms.
    Meta,
}

impl Space {
    /// Every space.
    pub(crate) const ALL: [Space; 4] = [Space::Log, Space::Index, Space::State, Space::Meta];
}

/// A row as it was found.
pub(crate) type Row = Result<(Bytes, Bytes), ReadError>;

/// One consistent picture of the store.
pub(crate) trait View {
    /// The value of one key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// The rows of a range, readable from both ends.
    fn scan(
        &self,
        space: Space,
        range: Range<Vec<u8>>,
    ) -> Box<dyn DoubleEndedIterator<Item = Row> + '_>;
}

/// A row put (`Some`) or deleted (`None`).
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) space: Space,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Write {
    pub(crate) fn put(space: Space, key: Vec<u8>, value: Vec<u8>) -> Write {
        Write { space, key, value: Some(value) }
    }

    pub(crate) fn delete(space: Space, key: Vec<u8>) -> Write {
        Write { space, key, value: None }
    }

    /// How much it weighs in a transaction.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}
