//! When a slot is taken over: not all at once, not by everybody, and on suspicion not again and again.
//!
//! Apart from the decision that a slot needs an owner because this is only about time.
//!
//! # Invariants
//! - A slot is scheduled, being taken over, or neither.
//! - At most so many are being taken over at a time; one that does not end makes room after a while.

use std::collections::{BTreeMap, BTreeSet};

use model::{Now, SlotNo};

/// How long a takeover counts as under way, in milliseconds; the slot's machine goes on beyond.
const TAKING_MS: u64 = 5_000;
/// First wait before the same slot is stolen again on suspicion, in milliseconds. It doubles.
pub const STEAL_MS_MIN: u64 = 1_000;
/// Longest such wait, in milliseconds.
pub const STEAL_MS_MAX: u64 = 60_000;

/// Why a slot needs an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody asks for it, and nobody owns it, or this node does and does not serve it.
    Asked,
    /// Its owner has left the registry.
    Lost,
    /// Its owner is thought to be dead.
    Suspected,
}

/// When a slot is to be taken over: what is waited for goes first, but is never waited for here before
/// its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Preferred,
    At(u64),
}

#[derive(Clone, Copy, Debug)]
struct Steal {
    not_before: Now,
    wait_ms: u64,
}

/// The takeovers of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Takeovers {
    due: BTreeSet<(Due, SlotNo)>,
    scheduled: BTreeMap<SlotNo, (Due, Cause)>,
    /// Those that were ordered, and until when they count.
    taking: BTreeMap<SlotNo, Now>,
    steals: BTreeMap<SlotNo, Steal>,
}

impl Takeovers {
    /// Not before `at`, and on suspicion not before it may be stolen again.
    pub(super) fn schedule(&mut self, slot: SlotNo, at: Now, cause: Cause) {
        let not_before = match (cause, self.steals.get(&slot)) {
            (Cause::Suspected, Some(steal)) => steal.not_before.mono_us,
            _ => 0,
        };
        self.put(slot, Due::At(at.mono_us.max(not_before)), cause);
    }

    /// Somebody waits for it: it goes before others that are due.
    pub(super) fn prefer(&mut self, now: Now, slot: SlotNo) {
        if let Some((due, cause)) = self.scheduled.get(&slot).copied()
            && due <= Due::At(now.mono_us)
        {
            self.put(slot, Due::Preferred, cause);
        }
    }

    fn put(&mut self, slot: SlotNo, due: Due, cause: Cause) {
        if let Some((due, _)) = self.scheduled.insert(slot, (due, cause)) {
            self.due.remove(&(due, slot));
        }
        self.due.insert((due, slot));
    }

    /// Whether it is being taken over, or will be for this cause.
    pub(super) fn is_planned(&self, slot: SlotNo, cause: Cause) -> bool {
        let scheduled = self.scheduled.get(&slot);
        scheduled.is_some_and(|(_, scheduled)| *scheduled == cause)
            || self.taking.contains_key(&slot)
    }

    /// It is not for this node.
    pub(super) fn unschedule(&mut self, slot: SlotNo) {
        if let Some((due, _)) = self.scheduled.remove(&slot) {
            self.due.remove(&(due, slot));
        }
    }

    /// It has an owner, or its takeover came to nothing.
    pub(super) fn forget(&mut self, slot: SlotNo) {
        self.unschedule(slot);
        self.taking.remove(&slot);
    }

    /// The next one to be ordered, and why.
    pub(super) fn next(&mut self, now: Now, parallel: usize) -> Option<(SlotNo, Cause)> {
        if self.taking.len() >= parallel {
            return None;
        }
        let (due, slot) = *self.due.first()?;
        if due > Due::At(now.mono_us) {
            return None;
        }
        self.due.pop_first();
        let (_, cause) = self.scheduled.remove(&slot)?;
        self.taking.insert(slot, now.plus_ms(TAKING_MS));
        if cause == Cause::Suspected {
            self.stolen(now, slot);
        }
        Some((slot, cause))
    }

    fn stolen(&mut self, now: Now, slot: SlotNo) {
        let calm = |steal: &Steal| now.reached(steal.not_before.plus_ms(steal.wait_ms));
        self.steals.retain(|_, steal| !calm(steal));
        let before = self.steals.get(&slot).map_or(STEAL_MS_MIN / 2, |steal| steal.wait_ms);
        let wait_ms = (before * 2).min(STEAL_MS_MAX);
        self.steals.insert(slot, Steal { not_before: now.plus_ms(wait_ms), wait_ms });
    }

    /// Those that did not end in time.
    pub(super) fn expired(&mut self, now: Now) -> Vec<SlotNo> {
        let late = |until: &Now| now.reached(*until);
        let slots: Vec<SlotNo> =
            self.taking.iter().filter(|(_, until)| late(until)).map(|(slot, _)| *slot).collect();
        slots.iter().for_each(|slot| self.forget(*slot));
        slots
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taking.is_empty()
    }

    pub(super) fn timeout(&self, parallel: usize) -> Option<Now> {
        let due = self.due.first().map(|(due, _)| match due {
            Due::Preferred => Now::default(),
            Due::At(mono_us) => Now { mono_us: *mono_us, wall_ms: 0 },
        });
        let due = due.filter(|_| self.taking.len() < parallel);
        due.into_iter().chain(self.taking.values().copied()).min_by_key(|at| at.mono_us)
    }
}
