//! Reads that are out, and claims: everything that a room has to wait for beside an append.
//!
//! Apart from those who wait because both are counted here: tickets grow, so that the age of an
//! answer is known, and a claim counts for those who asked before it was made.
//!
//! # Invariants
//! - At most one read of ids is out, and one of each other [`Need`].
//! - At most one claim is out, and none while an append is.

use std::collections::{BTreeMap, BTreeSet};

use crate::publish::Need;
use crate::visit::Visit;
use crate::{Output, Read, Room, Ticket};

/// Whom a read is for.
#[derive(Debug)]
pub(crate) enum Pending {
    /// Publishes that wait.
    Need(Need),
    /// Somebody who asked for more than publishing.
    Visit(Box<Visit>),
}

/// The reads that are out.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    last: Ticket,
    out: BTreeMap<Ticket, Pending>,
    asked: BTreeSet<Need>,
}

impl Reads {
    /// Whether this is being read, or (for ids) anything of the kind.
    pub(crate) fn asked(&self, need: &Need) -> bool {
        match need {
            Need::Ids(_) => self.asks_ids(),
            need => self.asked.contains(need),
        }
    }

    /// Whether older ids are being read.
    pub(crate) fn asks_ids(&self) -> bool {
        self.asked.iter().any(|need| matches!(need, Need::Ids(_)))
    }

    pub(crate) fn start(&mut self, pending: Pending) -> Ticket {
        self.last += 1;
        if let Pending::Need(need) = &pending {
            self.asked.insert(need.clone());
        }
        self.out.insert(self.last, pending);
        self.last
    }

    pub(crate) fn finish(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.out.remove(&ticket)?;
        if let Pending::Need(need) = &pending {
            self.asked.remove(need);
        }
        Some(pending)
    }

    /// The results of these are of no interest any more: what they show may be out of date.
    pub(crate) fn forget(&mut self, stale: impl Fn(&Need) -> bool) {
        self.asked.retain(|need| !stale(need));
        self.out.retain(|_, pending| !matches!(pending, Pending::Need(need) if stale(need)));
    }

    /// Takes out everybody who waits for more than publishing.
    pub(crate) fn take_visits(&mut self) -> Vec<Visit> {
        let (needs, visits): (Vec<_>, Vec<_>) = std::mem::take(&mut self.out)
            .into_iter()
            .partition(|(_, pending)| matches!(pending, Pending::Need(_)));
        self.out = needs.into_iter().collect();
        visits
            .into_iter()
            .filter_map(|(_, pending)| match pending {
                Pending::Visit(visit) => Some(*visit),
                Pending::Need(_) => None,
            })
            .collect()
    }

    /// The oldest ticket that is out, or the next one.
    pub(crate) fn oldest(&self) -> Ticket {
        self.out.keys().next().copied().unwrap_or(self.last + 1)
    }

    /// The ticket of the next read.
    pub(crate) fn next(&self) -> Ticket {
        self.last + 1
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
}

/// Claims by number: a claim that is asked for now is one that was not handed out before.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    wanted: u64,
    issued: u64,
    done: u64,
}

impl Claims {
    /// Asks for a claim that starts after now; answers its number.
    pub(crate) fn want(&mut self) -> u64 {
        self.wanted = self.issued + 1;
        self.wanted
    }

    /// Whether a claim is out.
    pub(crate) fn is_out(&self) -> bool {
        self.issued > self.done
    }

    /// Hands out the next claim, if one is wanted and none is out.
    pub(crate) fn issue(&mut self) -> bool {
        let due = self.wanted > self.issued && !self.is_out();
        self.issued += u64::from(due);
        due
    }

    pub(crate) fn finish(&mut self) {
        self.done = self.issued;
    }

    pub(crate) fn is_done(&self, claim: u64) -> bool {
        self.done >= claim
    }

    /// Whether a claim is out or will be.
    pub(crate) fn is_pending(&self) -> bool {
        self.wanted > self.done
    }
}

impl Room {
    pub(crate) fn read(&mut self, read: Read, pending: Pending) {
        let ticket = self.reads.start(pending);
        self.outputs.push_back(Output::Read { ticket, read });
    }
}
