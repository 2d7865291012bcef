//! What the outcome of an append means for those who wait.
//!
//! Apart from the assembling because it is the only place that tells what was committed.
//!
//! # Invariants
//! - Nothing of an append is answered or fed before the journal said that it is committed.
//! - What fails is refused in the order in which it came, and leaves no trace.

use bytes::Bytes;
use model::{Answer, AppendError, ContentKind, Entry, Fed, Mark, Now, Refusal, RefusalCode, Seq};

use crate::dedup::Standing;
use crate::draft::{Admitted, Draft};
use crate::publish::{RETRY_MS, Waiting};
use crate::{IdRow, Output, Room, State};

/// A full disk is not emptied in a moment.
const STORAGE_RETRY_MS: u64 = 5_000;
/// Ids beyond the window before it is cut: cutting looks at the whole queue.
const SHRINK_STEP: u64 = 256;

impl Room {
    /// The outcome of the append that is out.
    pub fn handle_appended(&mut self, now: Now, result: Result<(), AppendError>) {
        self.active = now;
        let Some(mut draft) = self.flight.take() else {
            return self.damage(now, "an append was answered that was not out".to_owned());
        };
        let unavailable = Refusal::new(RefusalCode::Unavailable);
        match result {
            Ok(()) => self.commit(draft),
            Err(AppendError::Unknown(_) | AppendError::SequenceConflict { .. }) => {
                draft.uncertain = true;
                self.flight = Some(draft);
                if self.state == State::Open {
                    self.claims.want();
                } else {
                    self.give_up_flight(now);
                }
            }
            Err(AppendError::Fenced) => {
                self.fail(now, draft, &unavailable.retry_after(0));
                self.close(now, State::Fenced);
            }
            Err(AppendError::Unavailable(_) | AppendError::Poisoned(_)) => {
                self.fail(now, draft, &unavailable.retry_after(RETRY_MS));
            }
            Err(AppendError::NoSpace) => {
                let full = Refusal::new(RefusalCode::StorageFull).retry_after(STORAGE_RETRY_MS);
                self.fail(now, draft, &full);
            }
            Err(AppendError::TooLarge { bytes_max }) => self.split(now, draft, bytes_max),
            Err(AppendError::Corrupt(what)) => {
                self.fail(now, draft, &Refusal::new(RefusalCode::RoomDamaged));
                self.damage(now, what);
            }
        }
        self.pump(now);
    }

    fn commit(&mut self, draft: Draft) {
        let before = self.head.head;
        if self.head.log.is_none() && !draft.written.is_empty() {
            self.head.log = draft.log.clone();
            self.head.first = 1;
        }
        let entries = draft.entries();
        for (row, _) in &draft.written {
            self.take_in(row.clone());
        }
        self.feed_entries(entries);
        self.feed_erased(draft.erased_before(before));
        for seq in draft.erased.keys() {
            self.window.blank(*seq);
        }
        for Admitted { waiting, seq, at_ms, duplicate } in &draft.admitted {
            if *duplicate {
                self.remember_unchanged(waiting, *seq, *at_ms);
            } else if waiting.publish.content.kind == ContentKind::Post {
                let ordinal = self.window.at(*seq).map_or(self.head.ordinal, |row| row.ordinal);
                let mark = Mark { seq: *seq, ordinal };
                self.move_mark(&waiting.who.user.id, waiting.who.session.as_ref(), mark);
            }
            self.published(waiting, *seq, *at_ms, *duplicate);
        }
        self.marks.wrote(&draft.marks, self.reads.next());
        self.batch_max = self.limits.batch_entries_max;
        self.shrink();
        self.release();
    }

    /// The log has grown by this entry.
    pub(crate) fn take_in(&mut self, row: IdRow) {
        self.head.head = row.seq;
        self.head.ordinal = row.ordinal;
        self.head.at_ms = row.at_ms;
        self.window.push(row);
    }

    /// Nothing of it was applied: its numbers are free again, and everybody is told in order.
    fn fail(&mut self, now: Now, draft: Draft, refusal: &Refusal) {
        for seq in &draft.targets {
            self.forget_target(*seq);
        }
        for Admitted { waiting, .. } in draft.admitted {
            self.refuse(waiting.peer, waiting.ask, refusal.clone());
        }
        self.marks.soil(now, draft.marks);
        self.ask_for_all();
        self.release();
    }

    /// Too many for one transaction: half as many next time; one alone is refused.
    fn split(&mut self, now: Now, mut draft: Draft, bytes_max: usize) {
        if draft.written.len() == 1 && draft.marks.is_empty() {
            let why = format!("the entry takes more than the {bytes_max} bytes of a transaction");
            return self.fail(now, draft, &Refusal::because(RefusalCode::TooLarge, why));
        }
        self.batch_max = (draft.written.len() / 2).max(1);
        for Admitted { waiting, .. } in std::mem::take(&mut draft.admitted).into_iter().rev() {
            self.queue.push_front(waiting);
        }
        self.fail(now, draft, &Refusal::new(RefusalCode::TooLarge));
    }

    /// The slot was claimed again: what of the uncertain append is in the log, is committed.
    pub(crate) fn settle(&mut self, now: Now, before: Seq) {
        let Some(draft) = self.flight.take() else {
            return;
        };
        let mut written = draft.written.iter();
        let stands = |(row, _): &(IdRow, Bytes)| {
            let key = (row.user.clone(), row.id.clone());
            self.window.find(&key).is_some_and(|found| found.seq == row.seq)
        };
        if draft.written.is_empty() || !written.all(stands) {
            return self.fail(now, draft, &Refusal::new(RefusalCode::Unavailable).retry_after(0));
        }
        self.feed_erased(draft.erased_before(before));
        for seq in draft.erased.keys() {
            self.window.blank(*seq);
        }
        for Admitted { waiting, seq, at_ms, duplicate } in &draft.admitted {
            if *duplicate {
                self.remember_unchanged(waiting, *seq, *at_ms);
            }
            self.published(waiting, *seq, *at_ms, *duplicate);
        }
        self.marks.soil(now, draft.marks);
    }

    /// Its outcome will not be learnt here: those who wait send again, to whoever owns the room.
    pub(crate) fn give_up_flight(&mut self, now: Now) {
        if let Some(draft) = self.flight.take_if(|draft| draft.uncertain) {
            self.fail(now, draft, &Refusal::new(RefusalCode::Unavailable).retry_after(0));
        }
    }

    /// The publish has no entry of its own: this one stands for it.
    pub(crate) fn remember_unchanged(&mut self, waiting: &Waiting, seq: Seq, at_ms: u64) {
        let digest = waiting.publish.content.digest;
        if !self.window.holds(&waiting.key()) {
            self.answered.remember(waiting.key(), Standing { seq, at_ms, digest });
        }
    }

    pub(crate) fn published(&mut self, waiting: &Waiting, seq: Seq, at_ms: u64, duplicate: bool) {
        let answer = Answer::Published { log: self.head.log.clone(), seq, at_ms, duplicate };
        let (peer, id) = (waiting.peer, waiting.ask);
        self.outputs.push_back(Output::Answer { peer, id, answer });
    }

    pub(crate) fn feed_entries(&mut self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            let log = self.head.log.clone();
            self.feed(|watch| Fed::Entries { watch, log: log.clone(), entries: entries.clone() });
        }
    }

    pub(crate) fn feed_erased(&mut self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.feed(|watch| Fed::Erased { watch, entries: entries.clone() });
        }
    }

    /// Lets go of ids and posts that nobody waits for, while there are too many.
    fn shrink(&mut self) {
        let keep = self.limits.dedup_window;
        if self.window.len() > keep + SHRINK_STEP && !self.reads.asks_ids() {
            let lows = self.queue.iter().filter_map(|waiting| self.low(waiting));
            let needed = lows.min().map_or(0, |low| (self.head.head + 1).saturating_sub(low));
            self.window.shrink(keep.max(needed));
        }
        if self.targets.is_large() {
            let pinned = self.queue.iter().map(|waiting| waiting.publish.content.target).collect();
            self.targets.shrink(&pinned);
        }
        self.marks.shrink(self.reads.oldest());
    }
}
