//! What an engine promises, held against the one that is asked.

use std::collections::BTreeMap;

use journal::Claimed;
use model::{Fence, SlotNo};

use super::job::Appended;

/// Holds against the engine what an engine promises.
#[derive(Default)]
pub(super) struct Ledger {
    /// The last fence of each slot.
    fences: BTreeMap<SlotNo, Fence>,
    /// Who has an append in flight.
    pub(super) in_flight: Vec<(SlotNo, Fence)>,
    /// Claims that ended with an unknown outcome: nothing may pass under them but what was lost itself.
    pub(super) ended: Vec<(SlotNo, Fence)>,
}

impl Ledger {
    pub(super) fn handed_over(&mut self, slot: SlotNo, fence: Fence) {
        let append = (slot, fence);
        assert!(!self.in_flight.contains(&append), "slot {slot}: two appends in flight");
        self.in_flight.push(append);
    }

    pub(super) fn claimed(&mut self, slot: SlotNo, claimed: Claimed) {
        let before = self.fences.insert(slot, claimed.fence).unwrap_or(0);
        assert!(
            claimed.fence > before && claimed.old_fence == before,
            "slot {slot}: {claimed:?} after {before}"
        );
    }

    pub(super) fn appended(&mut self, slot: SlotNo, fence: Fence, results: &Appended) {
        let last = self.fences.get(&slot).copied().unwrap_or(0);
        assert!(
            fence == last || results.iter().all(Result::is_err),
            "slot {slot}: appended under {fence} after {last} was claimed"
        );
    }
}
