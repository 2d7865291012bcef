//! Handing a room over: flushing it, and what the next owner is told of it.
//!
//! Apart from claims because nothing here is owed: hints make a change of owner quick and quiet, and
//! without them a room is opened from the journal.
//!
//! # Invariants
//! - What is exported is committed, and no append is out whose outcome could change it.
//! - Whoever was present is present under the next owner, until its edge had the time to say so again.

use model::Now;

use crate::dedup::Standing;
use crate::{AnsweredHint, Hints, Room, State};

impl Room {
    /// The room is about to be handed over: marks are due at once. Nothing is told it any more, but
    /// for what it is owed (appends, reads and claims that are out).
    pub fn handle_freeze(&mut self, now: Now) {
        self.marks.hasten();
        self.pump(now);
    }

    /// Whether nothing is left to be appended or settled. A publish that waits for a read may hold
    /// this up for as long as the read takes: whoever does not wait for it has it refused as
    /// retryable by [`Room::handle_fenced`].
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        if self.state != State::Open {
            // It appends nothing any more.
            return self.flight.is_none();
        }
        self.is_settled() && self.queue.is_empty() && !self.marks.is_dirty()
    }

    /// What the next owner is told: at most `ids_max` of the newest ids. `None` if an append is out or
    /// not settled, or if the room is not open: then there is nothing to be relied on.
    #[must_use]
    pub fn export(&self, now: Now, ids_max: usize) -> Option<Hints> {
        if self.state != State::Open || !self.is_settled() {
            return None;
        }
        let answered = self.answered.iter().map(|((user, id), standing)| AnsweredHint {
            user: user.clone(),
            id: id.clone(),
            seq: standing.seq,
            at_ms: standing.at_ms,
            digest: standing.digest,
        });
        let (attachments, collecting_ms) = self.presence.export(now);
        Some(Hints {
            head: (!self.head.log.is_none()).then(|| self.head.clone()),
            ids: self.window.newest(ids_max),
            answered: answered.collect(),
            attachments,
            collecting_ms,
        })
    }

    /// Goes on where the former owner stopped.
    pub(crate) fn adopt(&mut self, now: Now, hints: Hints) {
        self.remember(hints.ids);
        for AnsweredHint { user, id, seq, at_ms, digest } in hints.answered {
            self.answered.remember((user, id), Standing { seq, at_ms, digest });
        }
        self.presence.adopt(now, &self.limits, hints.attachments, hints.collecting_ms);
    }

    fn is_settled(&self) -> bool {
        self.flight.is_none() && !self.claims.is_pending()
    }
}
