//! The numbers that one reader was told.

use std::collections::BTreeSet;

use model::Seq;

use super::log::Log;

/// Entries of a reader's history that are kept to be shown.
const RECENT_MAX: usize = 8;
/// Holes of one reader that are remembered one by one; beyond, an entry that comes late is not told from
/// one that comes again. No sound service leaves any.
const HOLES_MAX: usize = 65_536;

/// How an entry's number fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Next,
    /// Some before it have not come.
    Hole {
        /// What should have come.
        due: Seq,
    },
    /// It fills a hole, or lies before the reader's start.
    Late,
    Again,
}

/// Entries that a reader was never told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) count: u64,
    pub(crate) first: Option<Seq>,
}

#[derive(Debug)]
pub(crate) struct Reading {
    name: String,
    start: Seq,
    due: Seq,
    holes: BTreeSet<Seq>,
    /// Holes beyond [`HOLES_MAX`].
    more_holes: u64,
    /// The last entry that it must be told, once it wishes to go.
    last: Option<Seq>,
    left: bool,
    recent: [(Seq, Option<u32>); RECENT_MAX],
    received: usize,
}

impl Reading {
    pub(crate) fn new(name: &str, after: Seq) -> Reading {
        Reading {
            name: name.to_owned(),
            start: after,
            due: after + 1,
            holes: BTreeSet::new(),
            more_holes: 0,
            last: None,
            left: false,
            recent: [(0, None); RECENT_MAX],
            received: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The number that comes next.
    pub(crate) fn due(&self) -> Seq {
        self.due
    }

    pub(crate) fn arrive(&mut self, seq: Seq, message: Option<u32>) -> Arrival {
        self.recent[self.received % RECENT_MAX] = (seq, message);
        self.received += 1;
        if seq == self.due {
            self.due += 1;
            return Arrival::Next;
        }
        if seq > self.due {
            let due = self.due;
            let room = (HOLES_MAX - self.holes.len()) as u64;
            let remembered = due.saturating_add(room).min(seq);
            self.holes.extend(due..remembered);
            self.more_holes += seq - remembered;
            self.due = seq + 1;
            return Arrival::Hole { due };
        }
        if self.holes.remove(&seq) || seq <= self.start { Arrival::Late } else { Arrival::Again }
    }

    /// Moves behind `seq` by the service's explicit word. Answers how many entries were skipped so.
    pub(crate) fn jump_to(&mut self, seq: Seq) -> u64 {
        let skipped = (seq + 1).saturating_sub(self.due);
        self.due = seq + 1;
        self.start = seq;
        skipped
    }

    /// Entries below `first` are gone. Answers how many of them had not come yet.
    pub(crate) fn truncate(&mut self, first: Seq) -> u64 {
        match first > self.due {
            true => self.jump_to(first - 1),
            false => 0,
        }
    }

    /// Wishes to go when the log ends at `head`; the first wish counts.
    pub(crate) fn leave_at(&mut self, head: Seq) -> Seq {
        *self.last.get_or_insert(head)
    }

    /// Once: what is missing up to `head`, or to where it was when the reader wished to go.
    pub(crate) fn leave(&mut self, head: Seq) -> Missing {
        if std::mem::replace(&mut self.left, true) {
            return Missing::default();
        }
        let head = self.last.unwrap_or(head);
        let tail = (head + 1).saturating_sub(self.due);
        let first = self.holes.first().copied().or((tail > 0).then_some(self.due));
        let count = self.holes.len() as u64 + self.more_holes + tail;
        self.holes.clear();
        Missing { count, first }
    }

    /// The last entries, oldest first, for a person.
    pub(super) fn recent(&self, log: &Log) -> Vec<String> {
        let from = self.received.saturating_sub(RECENT_MAX);
        (from..self.received)
            .map(|nth| {
                let (seq, message) = self.recent[nth % RECENT_MAX];
                log.show(seq, message)
            })
            .collect()
    }
}
