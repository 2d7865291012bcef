//! "Once": the ids that a room knows, and what must be known before a publish can be judged.
//!
//! Apart from the queue because it is the part that grows with the log: a window at the log's end,
//! extended downwards from the journal when a publish was first sent long ago.
//!
//! # Invariants
//! - The window is dense and ends at the room's head: an id that is not in it was not committed in
//!   it.
//! - Nothing in the window is uncommitted.

use std::collections::{BTreeMap, VecDeque};

use model::limits::{DEDUP_DEFAULT_ENTRIES, DEDUP_ENTRIES_MAX};
use model::{ContentKind, Digest, MessageId, Position, Seq, UserId};

use crate::{Head, IdRow};

/// Publishes that were answered without an entry, remembered so that a publish that names one in
/// `after` is admitted, and so that they are not judged again. As many as one session may leave unacknowledged, for hundreds of sessions.
const ANSWERED_KEPT: usize = 4_096;

/// What identifies a publish within its room.
pub(crate) type Key = (UserId, MessageId);

/// The known ids at the end of the log.
#[derive(Debug, Default)]
pub(crate) struct Window {
    rows: VecDeque<IdRow>,
    seqs: BTreeMap<Key, Seq>,
}

impl Window {
    /// The lowest known entry; one above head when none is.
    pub(crate) fn low(&self, head: Seq) -> Seq {
        self.rows.front().map_or(head + 1, |row| row.seq)
    }

    pub(crate) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    pub(crate) fn at(&self, seq: Seq) -> Option<&IdRow> {
        let low = self.rows.front()?.seq;
        self.rows.get(usize::try_from(seq.checked_sub(low)?).ok()?)
    }

    pub(crate) fn find(&self, key: &Key) -> Option<&IdRow> {
        self.seqs.get(key).and_then(|seq| self.at(*seq))
    }

    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.seqs.contains_key(key)
    }

    /// Takes in the entry behind the last.
    pub(crate) fn push(&mut self, row: IdRow) {
        self.seqs.entry((row.user.clone(), row.id.clone())).or_insert(row.seq);
        self.rows.push_back(row);
    }

    /// Takes in older entries; `false` if they are not dense up to the window.
    #[must_use]
    pub(crate) fn extend(&mut self, older: Vec<IdRow>, head: Seq) -> bool {
        let mut expected = self.low(head);
        for row in older.into_iter().rev() {
            expected -= 1;
            if row.seq != expected {
                return false;
            }
            self.seqs.insert((row.user.clone(), row.id.clone()), row.seq);
            self.rows.push_front(row);
        }
        true
    }

    /// The newest entries, at most `max` of them, ascending.
    pub(crate) fn newest(&self, max: usize) -> Vec<IdRow> {
        let skipped = self.rows.len().saturating_sub(max);
        self.rows.iter().skip(skipped).cloned().collect()
    }

    /// The entry was redacted: from now on it equals any content.
    pub(crate) fn blank(&mut self, seq: Seq) {
        let Some(low) = self.rows.front().map(|row| row.seq) else {
            return;
        };
        let index = seq.checked_sub(low).and_then(|index| usize::try_from(index).ok());
        if let Some(row) = index.and_then(|index| self.rows.get_mut(index)) {
            row.kind = ContentKind::Tombstone;
            row.digest = Digest::default();
        }
    }

    /// Forgets the oldest until at most `keep` are left.
    pub(crate) fn shrink(&mut self, keep: u64) {
        while self.len() > keep {
            let Some(row) = self.rows.pop_front() else {
                return;
            };
            let key = (row.user, row.id);
            if self.seqs.get(&key) == Some(&row.seq) {
                self.seqs.remove(&key);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.seqs.clear();
    }
}

/// Which ids must be known to judge a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// All from this entry on.
    From(Seq),
    /// `since` lies above what this owner knows: only a claim tells who is right.
    Ahead,
    /// `since` is of another log.
    LogChanged,
    /// Too many, or trimmed.
    Undecidable,
}

/// The range in which a committed copy can lie, given what the client knew when it first sent.
pub(crate) fn range(head: &Head, since: Option<&Position>) -> Range {
    let Some(since) = since else {
        let low = (head.head + 1).saturating_sub(DEDUP_DEFAULT_ENTRIES);
        return Range::From(low.max(head.first).max(1));
    };
    if !since.speaks_of(&head.log) {
        // A room that looks unborn may have been born under another owner.
        return if head.log.is_none() { Range::Ahead } else { Range::LogChanged };
    }
    if since.seq > head.head {
        Range::Ahead
    } else if head.head - since.seq > DEDUP_ENTRIES_MAX || since.seq + 1 < head.first {
        Range::Undecidable
    } else {
        Range::From(since.seq + 1)
    }
}

/// Whether a publish with this digest repeats what is stored.
pub(crate) fn repeats(kind: ContentKind, stored: Digest, sent: Digest) -> bool {
    kind == ContentKind::Tombstone || stored == sent
}

/// What a publish was answered that changed nothing: the entry that stands for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) seq: Seq,
    pub(crate) at_ms: u64,
    pub(crate) digest: Digest,
}

/// Publishes that were answered without an entry (a reaction that changed nothing, a redaction of
/// what was redacted). One that is sent again gets the same answer, whatever has changed since.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    order: VecDeque<Key>,
    standing: BTreeMap<Key, Standing>,
}

impl Answered {
    pub(crate) fn remember(&mut self, key: Key, standing: Standing) {
        if self.standing.insert(key.clone(), standing).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > ANSWERED_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.standing.remove(&oldest);
        }
    }

    /// All of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, Standing)> {
        self.order.iter().filter_map(|key| Some((key, *self.standing.get(key)?)))
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Standing> {
        self.standing.get(key).copied()
    }

    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.standing.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use model::LogId;

    use super::*;

    fn row(seq: Seq) -> IdRow {
        IdRow {
            seq,
            ordinal: seq,
            at_ms: 0,
            user: UserId::new("ann").expect("valid"),
            id: MessageId::new(&format!("message{seq}")).expect("valid"),
            kind: ContentKind::Post,
            digest: Digest(seq),
        }
    }

    fn key(seq: Seq) -> Key {
        (row(seq).user, row(seq).id)
    }

    #[test]
    fn a_window_grows_at_both_ends_and_shrinks_at_the_old_one() {
        let mut window = Window::default();
        assert_eq!(window.low(9), 10);
        (7..=9).for_each(|seq| window.push(row(seq)));
        assert!(window.extend((4..=6).map(row).collect(), 9));
        assert_eq!((window.low(9), window.find(&key(4)).map(|row| row.seq)), (4, Some(4)));
        window.shrink(2);
        assert_eq!((window.low(9), window.holds(&key(7)), window.holds(&key(8))), (8, false, true));
        assert!(!window.extend((4..=6).map(row).collect(), 9), "7 is missing");
    }

    #[test]
    fn what_was_redacted_equals_anything() {
        let mut window = Window::default();
        window.push(row(1));
        window.blank(1);
        window.blank(9);
        let found = window.at(1).expect("known");
        assert!(repeats(found.kind, found.digest, Digest(77)));
        assert!(!repeats(ContentKind::Post, Digest(1), Digest(77)));
    }

    #[test]
    fn a_position_says_which_ids_must_be_known() {
        let log = LogId::new("log").expect("valid");
        let head = Head {
            log: log.clone(),
            first: 5,
            head: 100_000,
            ordinal: 0,
            at_ms: 0,
            first_ordinal: 0,
        };
        let at = |seq| Some(Position { log: log.clone(), seq });
        for (since, expected) in [
            (None, Range::From(99_001)),
            (at(100_000), Range::From(100_001)),
            (at(100_001), Range::Ahead),
            (at(34_464), Range::From(34_465)),
            (at(34_463), Range::Undecidable),
            (Some(Position::origin()), Range::Undecidable),
            (Some(Position { log: LogId::new("x").expect("valid"), seq: 1 }), Range::LogChanged),
        ] {
            assert_eq!(range(&head, since.as_ref()), expected, "{since:?}");
        }
        let short = Head { head: 9, ..head };
        assert_eq!(range(&short, at(4).as_ref()), Range::From(5));
        assert_eq!(range(&short, at(3).as_ref()), Range::Undecidable);
    }

    #[test]
    fn what_was_answered_without_an_entry_is_remembered_within_a_bound() {
        let mut answered = Answered::default();
        let standing = Standing { seq: 1, at_ms: 2, digest: Digest(3) };
        for seq in 0..=ANSWERED_KEPT as u64 {
            answered.remember(key(seq), standing);
            answered.remember(key(seq), standing);
        }
        assert!(!answered.holds(&key(0)) && answered.holds(&key(1)));
        assert_eq!(answered.order.len(), ANSWERED_KEPT);
    }
}
