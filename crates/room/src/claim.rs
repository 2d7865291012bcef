//! Claiming again, being superseded, and stopping for good.
//!
//! Apart from the append because these come from outside of it too: a reader that knows more than
//! this owner, a journal that says that somebody else is the owner.
//!
//! # Invariants
//! - After a claim the room holds what the journal holds: nothing that was assumed or read before
//!   outlives it.
//! - A room that is not open answers everything at once, and appends nothing.

use model::{Entry, Fence, Now, Record, Refusal, RefusalCode, Unsubscribed, UnsubscribedCode};

use crate::reads::Pending;
use crate::visit::denied;
use crate::{Head, IdRow, Output, ReadDone, ReadFailed, Room, State, Ticket};

impl Room {
    /// The slot was claimed again, as [`Output::Reclaim`] wished: where the room stands, and every
    /// entry above the one that it named.
    pub fn handle_reclaimed(
        &mut self,
        now: Now,
        fence: Fence,
        head: Option<Head>,
        tail: Vec<Record>,
    ) {
        self.claims.finish();
        self.fence = fence;
        if self.state == State::Damaged {
            return;
        }
        self.state = State::Open;
        self.targets.clear();
        self.reads.forget(|_| true);
        self.discard_held_pages();
        let before = self.head.head;
        let known = match head {
            None if self.head.log.is_none() => Ok(()),
            None => Err("the journal has lost the room's log".to_owned()),
            Some(head) => self.catch_up(head, tail),
        };
        match known {
            Ok(()) => self.settle(now, before),
            Err(what) => self.damage(now, what),
        }
        self.ask_for_all();
        self.release();
        self.pump(now);
    }

    /// The slot was claimed again for another room's sake: nothing was appended meanwhile.
    pub fn handle_fence(&mut self, fence: Fence) {
        self.fence = fence;
    }

    /// The journal says that somebody else claimed the slot, or cannot be asked for too long.
    pub fn handle_fenced(&mut self, now: Now) {
        if self.state == State::Open {
            self.close(now, State::Fenced);
        }
    }

    /// Retention moved the first kept entry; only `first` and `first_ordinal` are looked at.
    pub fn handle_trimmed(&mut self, now: Now, head: &Head) {
        self.head.first_ordinal = self.head.first_ordinal.max(head.first_ordinal);
        self.trim(head.first);
        self.ask_for_all();
        self.release();
        self.pump(now);
    }

    /// What a read found.
    pub fn handle_read(&mut self, now: Now, ticket: Ticket, result: Result<ReadDone, ReadFailed>) {
        let Some(pending) = self.reads.finish(ticket) else {
            return;
        };
        match (pending, result) {
            (Pending::Need(need), Ok(done)) => match self.know(&need, done) {
                Ok(()) => self.ask_for_more(&need),
                Err(what) => self.damage(now, what),
            },
            (Pending::Need(need), Err(ReadFailed::Trimmed { first })) if first > need.lowest() => {
                self.trim(first);
                self.ask_for_all();
            }
            (Pending::Visit(visit), Err(ReadFailed::Trimmed { first }))
                if first > self.head.first =>
            {
                self.trim(first);
                self.advance(*visit);
            }
            (Pending::Visit(visit), Err(ReadFailed::Trimmed { .. })) => self.advance(*visit),
            (Pending::Need(need), Err(ReadFailed::Trimmed { first })) => {
                self.damage(now, format!("{need:?} was trimmed, though {first} is kept"));
            }
            (Pending::Need(need), Err(ReadFailed::Unavailable(_))) => {
                self.refuse_needing(&need, &unavailable());
            }
            (Pending::Visit(visit), Ok(done)) => self.visit_read(now, *visit, ticket, done),
            (Pending::Visit(visit), Err(ReadFailed::Unavailable(_))) => {
                self.deny(now, *visit, unavailable());
            }
            (pending, Err(ReadFailed::Corrupt(what))) => {
                if let Pending::Visit(visit) = pending {
                    self.deny(now, *visit, Refusal::new(RefusalCode::RoomDamaged));
                }
                self.damage(now, what);
            }
        }
        self.pump(now);
    }

    /// Takes in what the journal holds beyond what was known.
    fn catch_up(&mut self, head: Head, tail: Vec<Record>) -> Result<(), String> {
        let born = !self.head.log.is_none();
        if born && head.log != self.head.log {
            self.start_over(head, tail);
            return Ok(());
        }
        if head.head < self.head.head {
            let (had, has) = (self.head.head, head.head);
            return Err(format!("the log ends at {has}; {had} entries were committed"));
        }
        let dense = tail.iter().zip(self.head.head + 1..).all(|(record, seq)| record.seq == seq);
        if !dense || self.head.head + tail.len() as u64 != head.head {
            self.start_over(head, tail);
            return Ok(());
        }
        self.head.log = head.log;
        for row in tail.iter().map(IdRow::from) {
            self.marks.has_read(&row);
            self.take_in(row);
        }
        let entries = tail.into_iter().map(|record| Entry {
            seq: record.seq,
            ordinal: record.ordinal,
            kind: record.kind,
            payload: record.payload,
        });
        self.feed_entries(entries.collect());
        self.head.first_ordinal = head.first_ordinal;
        self.head.ordinal = head.ordinal;
        self.trim(head.first);
        Ok(())
    }

    /// It is another log, or too much is missing: readers come again.
    fn start_over(&mut self, head: Head, tail: Vec<Record>) {
        self.unwatch_all(&Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(0));
        if head.log != self.head.log {
            self.marks = crate::marks::Marks::default();
        }
        self.window.clear();
        self.head = head;
        self.remember(tail.iter().map(IdRow::from).collect());
    }

    /// Nothing below `first` is kept any more.
    fn trim(&mut self, first: u64) {
        if first <= self.head.first {
            return;
        }
        if let Some(row) = self.window.at(first - 1) {
            self.head.first_ordinal = self.head.first_ordinal.max(row.ordinal);
        }
        self.head.first = first;
        self.targets.forget_below(first);
        self.feed(|watch| model::Fed::Trimmed { watch, first });
    }

    pub(crate) fn damage(&mut self, now: Now, what: String) {
        if self.state != State::Damaged {
            self.outputs.push_back(Output::Damaged(what));
            self.close(now, State::Damaged);
        }
    }

    /// Ends everything that waits. An append that is out is still answered by the journal.
    pub(crate) fn close(&mut self, now: Now, state: State) {
        self.state = state;
        if let Some(why) = self.unwatched() {
            self.unwatch_all(&why);
        }
        let refusal = self.closed();
        self.give_up_flight(now);
        for waiting in std::mem::take(&mut self.queue) {
            self.refuse(waiting.peer, waiting.ask, refusal.clone());
        }
        let mut visits = self.reads.take_visits();
        visits.append(&mut self.held);
        for visit in visits {
            self.deny(now, visit, refusal.clone());
        }
        self.reads.forget(|_| true);
    }

    /// What is told to those who ask a room that is not open.
    pub(crate) fn closed(&self) -> Refusal {
        match self.state {
            State::Damaged => Refusal::new(RefusalCode::RoomDamaged),
            State::Open | State::Fenced => Refusal::new(RefusalCode::Unavailable).retry_after(0),
        }
    }

    pub(crate) fn answer_closed(&mut self, peer: crate::Peer, id: crate::AskId, subscribes: bool) {
        let answer = denied(subscribes, self.closed());
        self.outputs.push_back(Output::Answer { peer, id, answer });
    }
}

fn unavailable() -> Refusal {
    Refusal::new(RefusalCode::Unavailable).retry_after(crate::publish::RETRY_MS)
}
