//! Slots that are given away: on leaving all of them, else a few at a time towards an even share.
//!
//! Apart from takeovers because nothing here is urgent: whatever looks like trouble comes first.
//!
//! # Invariants
//! - A slot is given to one node at a time, and on leaving not twice to one that could not take it before
//!   the others were asked.
//! - At most so many are being given at a time.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, Now, SlotNo};

use super::Steward;
use crate::placement::cap;
use crate::{Candidate, Order, place, rank};

/// How long a give counts as under way, in milliseconds: longer than any transfer waits.
const GIVING_MS: u64 = 10_000;
/// How long a slot rests that no other node could take, in milliseconds.
const GIVE_RETRY_MS: u64 = 500;

/// What is being given away.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    giving: BTreeMap<SlotNo, (NodeId, Now)>,
    /// Who could not take the slot.
    failed: BTreeMap<SlotNo, BTreeSet<NodeId>>,
    /// Slots that rest after everybody was asked.
    resting: BTreeMap<SlotNo, Now>,
    pub(super) draining: bool,
    /// When the next few are moved towards an even share, if there are any.
    pub(super) rebalance_at: Option<Now>,
    rebalanced_at: Option<Now>,
    /// Until then nothing is moved towards an even share.
    trouble_until: Option<Now>,
}

impl Moves {
    /// It was given, or is not here any more.
    pub(super) fn gone(&mut self, slot: SlotNo) {
        self.giving.remove(&slot);
        self.failed.remove(&slot);
        self.resting.remove(&slot);
    }

    /// It could not be given.
    pub(super) fn failed(&mut self, slot: SlotNo) {
        if let Some((to, _)) = self.giving.remove(&slot) {
            self.failed.entry(slot).or_default().insert(to);
        }
    }

    pub(super) fn trouble(&mut self, until: Now) {
        self.trouble_until = Some(until);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.giving.is_empty()
    }

    /// Those whose outcome nobody told.
    pub(super) fn expired(&mut self, now: Now) -> Vec<SlotNo> {
        let late = self.giving.iter().filter(|(_, (_, until))| now.reached(*until));
        late.map(|(slot, _)| *slot).collect()
    }

    fn begin(&mut self, now: Now, slot: SlotNo, to: NodeId) {
        self.giving.insert(slot, (to, now.plus_ms(GIVING_MS)));
    }

    fn rests(&self, now: Now, slot: SlotNo) -> bool {
        self.resting.get(&slot).is_some_and(|until| !now.reached(*until))
    }

    pub(super) fn timeout(&self, parallel: usize) -> Option<Now> {
        let giving = self.giving.values().map(|(_, until)| *until);
        let rested = self.draining && self.giving.len() < parallel;
        let resting = self.resting.values().filter(|_| rested).copied();
        giving.chain(resting).chain(self.rebalance_at).min_by_key(|at| at.mono_us)
    }
}

impl Steward {
    /// The nodes that may own slots, each with what it owns and what it is being given.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let mut coming: BTreeMap<&NodeId, u32> = BTreeMap::new();
        for (to, _) in self.moves.giving.values() {
            *coming.entry(to).or_default() += 1;
        }
        let given = self.moves.giving.len() as u32;
        let live = self
            .nodes
            .iter()
            .filter(|(id, node)| !node.draining && node.weight > 0 && !self.peers.is_dead(id));
        live.map(|(id, node)| {
            let count = |counts: Option<&u32>| counts.copied().unwrap_or_default();
            let owned = count(self.owned.get(id)) + count(coming.get(id));
            let slots_owned = if *id == self.me { owned.saturating_sub(given) } else { owned };
            Candidate { id: id.clone(), weight: node.weight, slots_owned }
        })
        .collect()
    }

    /// Gives away what there is, the busiest first.
    pub(super) fn drain(&mut self, now: Now) {
        let free = self.settings.gives_parallel.saturating_sub(self.moves.giving.len());
        if !self.moves.draining || free == 0 {
            return;
        }
        let mut slots: Vec<(u64, SlotNo)> = self
            .served
            .iter()
            .filter(|(slot, _)| {
                !self.moves.giving.contains_key(slot) && !self.moves.rests(now, **slot)
            })
            .map(|(slot, load)| (*load, *slot))
            .collect();
        slots.sort_unstable_by(|a, b| b.cmp(a));
        let mut candidates = self.others();
        for (_, slot) in slots.into_iter().take(free) {
            self.drain_slot(now, slot, &mut candidates);
        }
    }

    /// Whether somebody else could take a slot.
    pub(super) fn others(&self) -> Vec<Candidate> {
        self.candidates().into_iter().filter(|candidate| candidate.id != self.me).collect()
    }

    fn drain_slot(&mut self, now: Now, slot: SlotNo, candidates: &mut [Candidate]) {
        self.moves.resting.remove(&slot);
        let failed = self.moves.failed.get(&slot);
        let asked = |candidate: &Candidate| failed.is_some_and(|to| to.contains(&candidate.id));
        let left: Vec<Candidate> =
            candidates.iter().filter(|candidate| !asked(candidate)).cloned().collect();
        match place(slot, self.slots.len() as u32, &left).cloned() {
            Some(to) => {
                count(candidates, &to);
                self.give(now, slot, to);
            }
            None if failed.is_some() => {
                self.moves.failed.remove(&slot);
                self.moves.resting.insert(slot, now.plus_ms(GIVE_RETRY_MS));
            }
            // Nobody is there to take it.
            None => {}
        }
    }

    /// Sets when a few slots are to be moved, if this node owns more than it should.
    pub(super) fn plan_rebalance(&mut self, now: Now) {
        let Settled { excess, .. } = self.settled();
        let moves = &mut self.moves;
        if moves.draining || excess == 0 || !moves.is_empty() {
            moves.rebalance_at = None;
            return;
        }
        let interval_ms = self.settings.rebalance_interval_ms;
        let next = moves.rebalanced_at.map(|at| at.plus_ms(interval_ms));
        let times = next.into_iter().chain(moves.trouble_until).chain([now]);
        moves.rebalance_at = times.max_by_key(|at| at.mono_us);
    }

    /// Moves a few slots, if it is time and all is well.
    pub(super) fn rebalance(&mut self, now: Now) {
        if !self.moves.rebalance_at.is_some_and(|at| now.reached(at)) {
            return;
        }
        self.moves.rebalanced_at = Some(now);
        let Settled { excess, mut candidates } = self.settled();
        let few = excess.min(self.settings.rebalance_slots);
        let mut slots: Vec<(std::cmp::Reverse<usize>, u64, SlotNo)> = self
            .served
            .iter()
            .map(|(slot, load)| {
                let ranked = rank(*slot, &candidates);
                let mine = ranked.iter().position(|candidate| candidate.id == self.me);
                (std::cmp::Reverse(mine.unwrap_or(usize::MAX)), *load, *slot)
            })
            .collect();
        // Those that belong elsewhere, the quietest of them.
        slots.sort_unstable();
        for (_, _, slot) in slots.into_iter().take(few) {
            let to = place(slot, self.slots.len() as u32, &candidates).cloned();
            if let Some(to) = to.filter(|to| *to != self.me) {
                count(&mut candidates, &to);
                self.give(now, slot, to);
            }
        }
    }

    /// By how many slots this node is above its cap, while the cluster is settled.
    fn settled(&self) -> Settled {
        let candidates = self.candidates();
        let leaving = self.nodes.values().any(|node| node.draining);
        let unsettled = leaving || self.peers.misses_any();
        let weights = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
        let mine = candidates.iter().find(|candidate| candidate.id == self.me);
        let (owned, weight) = match mine {
            Some(mine) => (mine.slots_owned, mine.weight),
            None => (self.served.len() as u32, 0),
        };
        let most = cap(self.slots.len() as u32, weight, weights);
        let alone = candidates.iter().all(|candidate| candidate.id == self.me);
        let known = self.nodes.contains_key(&self.me);
        let excess = if unsettled || alone || !known {
            0
        } else {
            u64::from(owned).saturating_sub(most) as usize
        };
        Settled { excess, candidates }
    }

    fn give(&mut self, now: Now, slot: SlotNo, to: NodeId) {
        self.moves.begin(now, slot, to.clone());
        self.orders.push_back((slot, Order::Give { to }));
    }
}

struct Settled {
    excess: usize,
    candidates: Vec<Candidate>,
}

fn count(candidates: &mut [Candidate], to: &NodeId) {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.id == *to) {
        candidate.slots_owned += 1;
    }
}
