//! An append of one room: what was assumed, who waits, and what is told once it is committed.
//!
//! Apart from the machine because it outlives its assembling: it is kept until the journal has
//! spoken, and dropped whole if nothing of it was applied.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{Entry, LogId, Mark, Seq, UserId};

use crate::dedup::Key;
use crate::publish::Waiting;
use crate::{Head, IdRow};

/// An append that is being assembled, and then is out.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) log: LogId,
    /// The last number that it assigned.
    pub(crate) head: Seq,
    pub(crate) ordinal: u64,
    pub(crate) at_ms: u64,
    pub(crate) written: Vec<(IdRow, Bytes)>,
    /// Tombstones, of older entries and of its own.
    pub(crate) erased: BTreeMap<Seq, Entry>,
    /// Those who wait for it, in order.
    pub(crate) admitted: Vec<Admitted>,
    keys: BTreeMap<Key, usize>,
    pub(crate) marks: Vec<(UserId, Mark)>,
    /// Posts of which something was assumed that is true once this commits.
    pub(crate) targets: BTreeSet<Seq>,
    pub(crate) bytes: usize,
    /// Whether its outcome is unknown until the slot was claimed again.
    pub(crate) uncertain: bool,
}

/// A publish whose answer depends on the append.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) waiting: Waiting,
    pub(crate) seq: Seq,
    pub(crate) at_ms: u64,
    pub(crate) duplicate: bool,
}

impl Draft {
    pub(crate) fn new(head: &Head, log_if_born: &LogId) -> Draft {
        let log = if head.log.is_none() { log_if_born } else { &head.log };
        Draft {
            log: log.clone(),
            head: head.head,
            ordinal: head.ordinal,
            at_ms: head.at_ms,
            written: Vec::new(),
            erased: BTreeMap::new(),
            admitted: Vec::new(),
            keys: BTreeMap::new(),
            marks: Vec::new(),
            targets: BTreeSet::new(),
            bytes: 0,
            uncertain: false,
        }
    }

    /// The index of the one admitted with this key.
    pub(crate) fn find(&self, key: &Key) -> Option<usize> {
        self.keys.get(key).copied()
    }

    /// When the entry is written, if it is one of this append.
    pub(crate) fn at_ms_of(&self, seq: Seq) -> Option<u64> {
        self.written.iter().find(|(row, _)| row.seq == seq).map(|(row, _)| row.at_ms)
    }

    pub(crate) fn admit(&mut self, waiting: Waiting, seq: Seq, at_ms: u64, duplicate: bool) {
        self.keys.entry(waiting.key()).or_insert(self.admitted.len());
        self.admitted.push(Admitted { waiting, seq, at_ms, duplicate });
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |(row, payload): &(IdRow, Bytes)| Entry {
            seq: row.seq,
            ordinal: row.ordinal,
            kind: row.kind,
            payload: payload.clone(),
        };
        self.written
            .iter()
            .map(|written| {
                self.erased.get(&written.0.seq).cloned().unwrap_or_else(|| entry(written))
            })
            .collect()
    }

    /// Tombstones of entries that were there before.
    pub(crate) fn erased_before(&self, head: Seq) -> Vec<Entry> {
        self.erased.range(..=head).map(|(_, entry)| entry.clone()).collect()
    }
}
