//! Which owner a slot is asked at, and how it gets there.

use cluster::rank;
use model::{Epoch, NodeId, RoomName, SlotNo};

use super::Lane;

impl Lane {
    /// Where `room` is asked, after its slot was given a place if it had none.
    pub(super) fn place(&mut self, room: &RoomName) -> Option<NodeId> {
        let slot = self.slot_of(room);
        if self.slots.at(slot).is_none() {
            self.settle(slot);
        }
        self.slots.at(slot).cloned()
    }

    /// Where a slot should be asked.
    pub(super) fn wanted(&self, slot: SlotNo) -> Option<NodeId> {
        let owner = self.slots.owner(slot).filter(|owner| self.is_live(owner));
        if let Some(owner) = owner
            && !self.is_lost(owner)
        {
            return Some(owner.clone());
        }
        let ranked = rank(slot, &self.candidates);
        let reachable = ranked.iter().find(|candidate| !self.is_lost(&candidate.id));
        // With nobody better, the one that is lost may come back; and one that has left the registry
        // and nothing else is left in peace.
        reachable
            .map(|candidate| &candidate.id)
            .or(owner)
            .or_else(|| ranked.first().map(|candidate| &candidate.id))
            .or_else(|| self.slots.at(slot).filter(|at| !self.is_lost(at)))
            .cloned()
    }

    /// Brings a slot to where it should be asked, unless it has to wait.
    pub(super) fn settle(&mut self, slot: SlotNo) {
        if self.slots.is_waiting(slot) {
            return;
        }
        let wanted = self.wanted(slot);
        if self.slots.at(slot) != wanted.as_ref() {
            self.carry(slot, wanted);
        }
    }

    /// An owner says whose a slot is.
    pub(super) fn moved(&mut self, from: &NodeId, slot: SlotNo, epoch: Epoch, to: NodeId) {
        if slot >= self.slots.count() {
            return;
        }
        let is_news = self.slots.learn(slot, epoch, to.clone());
        if self.slots.at(slot) != Some(from) {
            // Somebody who is not asked; what was learned holds.
            if is_news {
                self.slots.end_wait(slot);
                self.settle(slot);
            }
            return;
        }
        let is_restless = self.slots.hop(self.now, slot);
        // What was asked there will not be answered: it is asked again, wherever that is.
        if is_news && !is_restless && to != *from && self.wanted(slot).as_ref() == Some(&to) {
            self.carry(slot, Some(to));
        } else {
            self.wait(slot);
        }
    }

    /// The owner of a slot is not to be believed: it is asked again later, by then perhaps elsewhere.
    pub(super) fn bounced(&mut self, slot: SlotNo) {
        self.slots.hop(self.now, slot);
        self.wait(slot);
    }

    fn wait(&mut self, slot: SlotNo) {
        self.counts.bounced += 1;
        self.slots.wait(self.now, slot, &mut self.seed);
        self.carry(slot, None);
    }

    /// A node was lost, or heard again: its slots go elsewhere, or come back.
    pub(super) fn reachability_changed(&mut self, node: &NodeId, is_lost: bool) {
        self.counts.lost += u64::from(is_lost);
        for slot in self.slots.of(node) {
            if !is_lost {
                self.slots.end_wait(slot);
            }
            if self.slots.at(slot).is_some() || self.parked.holds(slot) {
                self.settle(slot);
            }
        }
    }

    /// Carries all that is held of a slot to another owner's half, or to nobody's.
    fn carry(&mut self, slot: SlotNo, to: Option<NodeId>) {
        let from = self.slots.at(slot).cloned();
        self.slots.set_at(slot, to.clone());
        let now = self.now;
        let Some(near) = self.existing(from.as_ref()) else {
            return;
        };
        let parted = near.part(now, slot);
        self.touched(from.as_ref());
        if parted.is_empty() {
            return;
        }
        self.counts.moved += u64::from(to.is_some());
        self.near(to.as_ref()).adopt(now, parted);
        self.touched(to.as_ref());
    }
}
