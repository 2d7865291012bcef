//! The unacknowledged publishes of one room, in the order in which they were wished.
//!
//! The owner's half of "in order and once" is a search for `after` and for earlier copies; it can
//! only be right if the client repeats itself word for word. This is where those words are kept.
//!
//! # Invariants
//! - An item's `since` and `after` are fixed when it is first sent; only the final refusal of its
//!   predecessor changes `after`, to that one's own.
//! - `since` is what was known when the oldest item that is still unacknowledged was first sent: a
//!   copy of any item, or of its predecessor, can only lie behind it.
//! - What stands before `next` is out on this connection, what stands from it on is not.
//! - An answer counts for the send that it answers: a refusal of an earlier send is inert, an
//!   acknowledgement of an earlier send is still true.

use std::collections::VecDeque;

use model::{Content, MessageId, Position, Publish, Refusal, RefusalCode, RoomName};

#[derive(Debug, Default)]
pub(super) struct Chain {
    items: VecDeque<Unacknowledged>,
    next: usize,
    /// Retryable refusals since the last acknowledgement.
    pub(super) refusals: u32,
    /// Monotonic microseconds; nothing is sent before. Cleared by the clock.
    pub(super) not_before: Option<u64>,
    /// Nothing is sent before a fresh token was taken.
    pub(super) needs_token: bool,
    /// The server's heartbeats since the last answer, while something was out.
    unanswered_heartbeats: u32,
}

/// A publish without an answer.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) id: MessageId,
    content: Content,
    /// What was known when it was first sent.
    known: Option<Position>,
    since: Option<Position>,
    after: Option<MessageId>,
    sent: bool,
    /// The ref under which it is out.
    pub(super) out: Option<u32>,
    /// A send of it may have arrived without its answer coming back.
    doubtful: bool,
}

impl Unacknowledged {
    /// Whether a copy may stand in the log although nothing acknowledges it.
    pub(super) fn may_have_been_sent(&self) -> bool {
        self.doubtful || self.out.is_some()
    }
}

/// What a refusal did to the chain.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It answered a send that does not count any more.
    Stale,
    /// It and all behind it will be sent again.
    Again,
    /// It is gone; its successor took over its `after`.
    Dropped(Unacknowledged),
}

impl Chain {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn push(&mut self, id: MessageId, content: Content) {
        self.items.push_back(Unacknowledged {
            id,
            content,
            known: None,
            since: None,
            after: None,
            sent: false,
            out: None,
            doubtful: false,
        });
    }

    /// Whether there is something to send now.
    pub(super) fn is_ready(&self) -> bool {
        self.next < self.items.len() && self.not_before.is_none() && !self.needs_token
    }

    /// The next publish, to go out under `ref`. `known` is the position that is known now.
    pub(super) fn send(
        &mut self,
        r#ref: u32,
        room: &RoomName,
        known: Option<&Position>,
    ) -> Option<Publish> {
        if !self.is_ready() {
            return None;
        }
        let oldest = self.items[0].known.clone();
        let predecessor = self.next.checked_sub(1).map(|at| self.items[at].id.clone());
        let first = self.next == 0;
        let item = &mut self.items[self.next];
        if !item.sent {
            item.sent = true;
            item.known = known.cloned();
            item.since = if first { item.known.clone() } else { oldest };
            item.after = predecessor;
        }
        item.out = Some(r#ref);
        let publish = Publish {
            room: room.clone(),
            id: Some(item.id.clone()),
            since: item.since.clone(),
            after: item.after.clone(),
            content: item.content.clone(),
        };
        self.next += 1;
        Some(publish)
    }

    /// It is done. A `duplicate` may stand nowhere in the log under its own id (a reaction that changes
    /// nothing writes no entry), so that a later owner would look for it in vain: whoever came after it
    /// comes after what it came after. Answers what was waited for, if it was.
    pub(super) fn acknowledge(
        &mut self,
        id: &MessageId,
        duplicate: bool,
    ) -> Option<Unacknowledged> {
        let at = self.items.iter().position(|item| item.id == *id)?;
        self.refusals = 0;
        self.unanswered_heartbeats = 0;
        let item = self.remove(at)?;
        if duplicate {
            self.inherit(at, &item);
        }
        Some(item)
    }

    /// A heartbeat of the server. Answers how many came in a row while a publish was out that is not
    /// answered: a server answers within a fraction of one, if only by a refusal.
    pub(super) fn handle_heartbeat(&mut self) -> u32 {
        let waits = self.items.iter().any(|item| item.out.is_some());
        self.unanswered_heartbeats = if waits { self.unanswered_heartbeats + 1 } else { 0 };
        self.unanswered_heartbeats
    }

    /// The send under `ref` of `id` was refused.
    pub(super) fn refuse(&mut self, r#ref: u32, id: &MessageId, refusal: &Refusal) -> Verdict {
        let Some(at) = self.items.iter().position(|i| i.id == *id && i.out == Some(r#ref)) else {
            return Verdict::Stale;
        };
        self.items[at].out = None;
        self.unanswered_heartbeats = 0;
        let wants_predecessor = refusal.code == RefusalCode::PredecessorMissing && at > 0;
        if refusal.needs_token || refusal.is_retryable() || wants_predecessor {
            self.items[at].doubtful |= refusal.code == RefusalCode::DeadlineExceeded;
            self.rewind(if wants_predecessor { at - 1 } else { at });
            self.needs_token |= refusal.needs_token;
            self.refusals = self.refusals.saturating_add(1);
            return Verdict::Again;
        }
        self.rewind(at);
        match self.remove(at) {
            Some(mut item) => {
                item.doubtful |= leaves_it_open(refusal.code);
                self.inherit(at, &item);
                Verdict::Dropped(item)
            }
            None => Verdict::Stale,
        }
    }

    /// Whoever named `gone` as its predecessor comes after what `gone` came after, or after nothing
    /// once that is acknowledged: then the order is settled.
    fn inherit(&mut self, at: usize, gone: &Unacknowledged) {
        let waited_for =
            gone.after.as_ref().filter(|id| self.items.iter().take(at).any(|i| i.id == **id));
        let after = waited_for.cloned();
        if let Some(heir) = self.items.get_mut(at).filter(|i| i.after.as_ref() == Some(&gone.id)) {
            heir.after = after;
        }
    }

    /// The connection is gone: everything has to be sent again, and may have arrived.
    pub(super) fn lose_connection(&mut self) {
        self.unanswered_heartbeats = 0;
        self.rewind(0);
    }

    /// Gives up on everything, oldest first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Unacknowledged> + '_ {
        self.next = 0;
        self.items.drain(..)
    }

    /// All from `at` on are to be sent again; answers to their earlier sends are stale.
    fn rewind(&mut self, at: usize) {
        for item in self.items.iter_mut().skip(at) {
            item.doubtful |= item.out.take().is_some();
        }
        self.next = self.next.min(at);
    }

    fn remove(&mut self, at: usize) -> Option<Unacknowledged> {
        let item = self.items.remove(at)?;
        if at < self.next {
            self.next -= 1;
        }
        Some(item)
    }
}

/// Refusals that do not say whether an earlier copy stands in the log.
fn leaves_it_open(code: RefusalCode) -> bool {
    use RefusalCode::{DeadlineExceeded, LogChanged, Undecidable};
    matches!(code, DeadlineExceeded | LogChanged | Undecidable)
}
