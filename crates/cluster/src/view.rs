//! A snapshot of the nodes and of who should own which slot.
//!
//! There is one view per process, replaced as a whole; readers hold an `Arc` of it and never see half
//! a change.

use std::collections::BTreeMap;

use model::{Epoch, NodeId, RoomName, SlotNo};

use crate::slot_of;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It owns rooms, and answers native clients for any room.
    Room,
    /// It holds clients' sockets and owns nothing.
    Edge,
}

/// How clients may speak to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket.
    WebSocket,
    /// gRPC.
    Grpc,
}

impl Transport {
    /// Its name in the gateway's answers and in the registry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::WebSocket => "websocket",
            Transport::Grpc => "grpc",
        }
    }
}

/// Where clients reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// How.
    pub transport: Transport,
    /// Such as `ws://10.0.0.7:8080/v1/ws` or `http://10.0.0.7:9090`.
    pub url: String,
}

/// How busy a node says that it is; a hint, some seconds old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions that it holds.
    pub sessions: u32,
    /// Sessions that it would hold at most.
    pub sessions_max: u32,
}

/// A process of the cluster, as it announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id: one process.
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// `host:port` of its internal listener (link, peers); empty when it can be reached in this
    /// process only.
    pub link: String,
    /// Where clients reach it, as they must dial it.
    pub fronts: Vec<Front>,
    /// Its share of the slots relative to others'; 0 takes none.
    pub weight: u32,
    /// How busy it is.
    pub load: Load,
    /// The program's version.
    pub version: String,
    /// Whether it is leaving on purpose: it gets no new slots and no new sessions.
    pub draining: bool,
}

impl Node {
    /// A room server of weight 1 that only this process reaches.
    #[must_use]
    pub fn in_process(id: NodeId) -> Node {
        Node {
            id,
            role: Role::Room,
            link: String::new(),
            fronts: Vec::new(),
            weight: 1,
            load: Load::default(),
            version: String::new(),
            draining: false,
        }
    }
}

/// What the registry holds of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// The nodes that are thought to live.
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

    /// The room servers among the nodes.
    pub fn room_servers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.role == Role::Room)
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

        let node = Node::in_process(owner.clone());
        view.nodes.insert(owner, node.clone());
        assert_eq!(view.route(&room), (slot, Some(&node)));
    }
}
