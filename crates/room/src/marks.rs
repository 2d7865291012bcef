//! How far people have read: greatest wins, written together once in a while.
//!
//! Apart from the log because a mark is never worth an append of its own: a thousand readers of a
//! busy room would write more than its authors.
//!
//! # Invariants
//! - A user's mark never goes back.
//! - A mark that the journal does not hold yet is never forgotten.

use std::collections::{BTreeMap, BTreeSet};

use model::{ContentKind, Mark, Now, UserId};

use crate::{Head, IdRow, Ticket};

/// Marks kept though the journal holds them, so that people who read on cost no read each time.
const CLEAN_KEPT: usize = 4_096;
/// Marks that wait to be written; with more, new ones are refused as retryable. They are written in
/// one transaction: about a megabyte.
const DIRTY_MAX: usize = 16_384;

/// The marks at hand.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    held: BTreeMap<UserId, Held>,
    dirty: BTreeSet<UserId>,
    /// What the log says that people have read, where the journal may not hold that as a mark yet.
    floors: BTreeMap<UserId, Mark>,
    written_at: Option<Now>,
    /// Whether they are due: from then on the clock is not asked again.
    ripe: bool,
}

#[derive(Debug)]
struct Held {
    mark: Mark,
    /// The ticket that was next when the journal had it: an older read may not show it.
    clean_at: Ticket,
}

impl Marks {
    pub(crate) fn get(&self, user: &UserId) -> Option<Mark> {
        self.held.get(user).map(|held| held.mark)
    }

    /// Moves the user's mark forward; whether it moved.
    pub(crate) fn advance(&mut self, user: &UserId, mark: Mark) -> bool {
        if self.get(user).is_some_and(|held| held.seq >= mark.seq) {
            return false;
        }
        self.floors.remove(user);
        self.held.insert(user.clone(), Held { mark, clean_at: Ticket::MAX });
        self.dirty.insert(user.clone());
        true
    }

    /// The author of an entry that was found in the log has read it.
    pub(crate) fn has_read(&mut self, row: &IdRow) {
        if row.kind == ContentKind::Post && self.floors.len() < CLEAN_KEPT {
            let mark = Mark { seq: row.seq, ordinal: row.ordinal };
            self.floors.insert(row.user.clone(), mark);
        }
    }

    /// Keeps what the journal holds, unless something greater is known.
    pub(crate) fn learn(&mut self, user: &UserId, mark: Mark, ticket: Ticket) {
        if let Some(floor) = self.floors.remove(user)
            && floor.seq > mark.seq
        {
            self.advance(user, floor);
        }
        if self.get(user).is_none_or(|held| held.seq < mark.seq) {
            self.dirty.remove(user);
            self.held.insert(user.clone(), Held { mark, clean_at: ticket });
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.dirty.len() >= DIRTY_MAX
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// When they become due; `None` if they are, or if there are none.
    pub(crate) fn timeout(&self, interval_ms: u64) -> Option<Now> {
        let after = |at: Now| at.plus_ms(interval_ms);
        (self.is_dirty() && !self.ripe).then(|| self.written_at.map_or(Now::default(), after))
    }

    /// Makes them due once it is time.
    pub(crate) fn ripen(&mut self, now: Now, interval_ms: u64) {
        self.ripe |= self.timeout(interval_ms).is_some_and(|due| now.reached(due));
    }

    /// Makes them due at once.
    pub(crate) fn hasten(&mut self) {
        self.ripe |= self.is_dirty();
    }

    /// Those to be written now; they count as clean until [`Marks::soil`].
    pub(crate) fn take(&mut self, now: Now) -> Vec<(UserId, Mark)> {
        if !self.ripe {
            return Vec::new();
        }
        self.ripe = false;
        self.written_at = Some(now);
        let users = std::mem::take(&mut self.dirty);
        users.into_iter().filter_map(|user| Some((user.clone(), self.get(&user)?))).collect()
    }

    /// They were written.
    pub(crate) fn wrote(&mut self, marks: &[(UserId, Mark)], ticket: Ticket) {
        for (user, mark) in marks {
            if let Some(held) = self.held.get_mut(user)
                && held.mark == *mark
            {
                held.clean_at = ticket;
            }
        }
    }

    /// They were not written.
    pub(crate) fn soil(&mut self, now: Now, marks: Vec<(UserId, Mark)>) {
        self.written_at = Some(now);
        self.dirty.extend(marks.into_iter().map(|(user, _)| user));
    }

    /// Forgets marks that the journal holds, while there are too many. `oldest` is the oldest read
    /// that is out: what became clean later is kept, since that read may answer an older value.
    pub(crate) fn shrink(&mut self, oldest: Ticket) {
        if self.held.len() > CLEAN_KEPT + self.dirty.len() {
            self.held.retain(|_, held| held.clean_at == Ticket::MAX || held.clean_at > oldest);
        }
    }
}

/// Posts above the mark. Below the first kept entry nothing is counted.
pub(crate) fn unread(head: &Head, mark: Mark) -> u64 {
    head.ordinal.saturating_sub(mark.ordinal.max(head.first_ordinal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> UserId {
        UserId::new(&format!("user{number}")).expect("valid")
    }

    fn mark(seq: u64) -> Mark {
        Mark { seq, ordinal: seq }
    }

    #[test]
    fn a_mark_never_goes_back() {
        let mut marks = Marks::default();
        assert!(marks.advance(&user(1), mark(5)));
        assert!(!marks.advance(&user(1), mark(4)));
        marks.learn(&user(1), mark(3), 1);
        assert_eq!(marks.get(&user(1)), Some(mark(5)));
        marks.learn(&user(1), mark(9), 1);
        assert_eq!(marks.get(&user(1)), Some(mark(9)));
    }

    #[test]
    fn what_the_journal_does_not_hold_yet_is_never_forgotten() {
        let mut marks = Marks::default();
        for number in 0..CLEAN_KEPT {
            marks.learn(&user(number), mark(1), 1);
        }
        // One is dirty, one is being written, one was written while an older read was out.
        marks.advance(&user(CLEAN_KEPT), mark(2));
        marks.ripen(Now::default(), 1_000);
        let written = marks.take(Now::default());
        marks.advance(&user(CLEAN_KEPT + 1), mark(2));
        marks.learn(&user(CLEAN_KEPT + 2), mark(2), 8);
        marks.shrink(7);
        assert_eq!(marks.held.len(), 3);
        marks.wrote(&written, 8);
        assert_eq!(marks.get(&user(CLEAN_KEPT)), Some(mark(2)));
    }

    #[test]
    fn marks_are_written_together_once_in_the_interval() {
        let mut marks = Marks::default();
        let now = Now::default();
        for (number, expected) in [(1, 1), (2, 0)] {
            marks.advance(&user(number), mark(2));
            marks.ripen(now, 1_000);
            assert_eq!(marks.take(now).len(), expected);
        }
        marks.advance(&user(3), mark(2));
        assert_eq!(marks.timeout(1_000), Some(now.plus_ms(1_000)));
        marks.ripen(now.plus_ms(1_000), 1_000);
        assert_eq!(marks.timeout(1_000), None, "from now on they wait for an append");
        assert_eq!(marks.take(now.plus_ms(1_000)).len(), 2);
    }
}
