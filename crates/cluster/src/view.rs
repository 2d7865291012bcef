//! A snapshot of the nodes and of who should own which slot.
//!
//! There is one view per process, replaced as a whole; readers hold an `Arc` of it and never see half
//! a change.

use std::collections::BTreeMap;

use model::{Epoch, NodeId, RoomName, SlotNo};

use crate::slot_of;

/// A room server, as it announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id: one process.
    pub id: NodeId,
    /// Where its link service listens; empty when it can be reached in this process only.
    pub endpoint: String,
    /// Its share of the slots relative to others'; 0 takes none.
    pub weight: u32,
    /// Whether it is leaving on purpose: it gets no new slots.
    pub draining: bool,
}

/// What the registry holds of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRecord {
    /// Who should own it.
    pub owner: NodeId,
    /// The slot's number of owners so far.
    pub epoch: Epoch,
    /// The registry's revision of this record: a swap names the one it expects.
    pub revision: u64,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Grows with each change that this process saw; no other meaning.
    pub version: u64,
    /// The room servers that are thought to live.
    pub nodes: BTreeMap<NodeId, Node>,
    /// One entry per slot; `None` for a slot that nobody has owned yet.
    pub slots: Vec<Option<SlotRecord>>,
}

impl View {
    /// A view without nodes, of a cluster with `slots` slots.
    #[must_use]
    pub fn empty(slots: u32) -> View {
        View { version: 0, nodes: BTreeMap::new(), slots: vec![None; slots as usize] }
    }

    /// How many slots the cluster has.
    #[must_use]
    pub fn slot_count(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The record of a slot.
    #[must_use]
    pub fn slot(&self, slot: SlotNo) -> Option<&SlotRecord> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Where to look for `room`: its slot, and the node that should own it, if that node lives.
    #[must_use]
    pub fn route(&self, room: &RoomName) -> (SlotNo, Option<&Node>) {
        let slot = slot_of(room, self.slot_count());
        (slot, self.slot(slot).and_then(|record| self.nodes.get(&record.owner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_routed_to_the_live_owner_of_its_slot() {
        let room = RoomName::new("team:ops").expect("valid");
        let owner = NodeId::new("n1").expect("valid");
        let mut view = View::empty(16);
        assert_eq!(view.route(&room).1, None, "nobody has owned it");

        let slot = view.route(&room).0;
        view.slots[slot as usize] =
            Some(SlotRecord { owner: owner.clone(), epoch: 1, revision: 1 });
        assert_eq!(view.route(&room).1, None, "its owner is not alive");

        let node = Node { id: owner.clone(), endpoint: String::new(), weight: 1, draining: false };
        view.nodes.insert(owner, node.clone());
        assert_eq!(view.route(&room), (slot, Some(&node)));
    }
}
