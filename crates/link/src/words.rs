//! What the two halves say to each other, and what the edge's half says to the shards.

use model::{Answer, Ask, Epoch, Fed, NodeId, RoomName, SessionId, SlotNo, Unsubscribed};

/// Where an answer goes on this edge; chosen and understood by the shell alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalKey(pub u64);

/// Most shards of an edge: a set of them is one word.
pub const SHARDS_MAX: u32 = 64;

/// Some of an edge's shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(u64);

impl ShardSet {
    /// The set of one; `shard` is below [`SHARDS_MAX`].
    #[must_use]
    pub fn one(shard: u32) -> ShardSet {
        debug_assert!(shard < SHARDS_MAX);
        ShardSet(1 << (shard % SHARDS_MAX))
    }

    /// Both sets united.
    #[must_use]
    pub fn union(self, other: ShardSet) -> ShardSet {
        ShardSet(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub fn without(self, other: ShardSet) -> ShardSet {
        ShardSet(self.0 & !other.0)
    }

    /// Whether all of the other are in this one.
    #[must_use]
    pub fn contains(self, other: ShardSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The shards, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..SHARDS_MAX).filter(move |shard| self.0 & (1 << shard) != 0)
    }
}

/// A frame from an edge to an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "most frames are asks; each is moved a few times")]
pub enum ToOwner {
    /// The first frame: who the edge is.
    Open {
        /// The edge.
        edge: NodeId,
        /// Which of its lanes.
        lane: u32,
    },
    /// Feed this room.
    Watch {
        /// The room.
        room: RoomName,
        /// A generation, greater than any before on this lane.
        watch: u64,
    },
    /// Stop, if `watch` is still the one.
    Unwatch {
        /// The room.
        room: RoomName,
        /// The generation.
        watch: u64,
    },
    /// Something asked of a room.
    Ask {
        /// Unique on this lane; the answer echoes it.
        id: u64,
        /// What.
        ask: Ask,
    },
    /// A sign of life; the owner sends one back.
    Heartbeat,
}

/// A frame from an owner to an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromOwner {
    /// To an ask.
    Answer {
        /// The ask.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// News of a watched room.
    Fed {
        /// The room.
        room: RoomName,
        /// The news.
        fed: Fed,
    },
    /// The rooms of this slot are another node's: what was not answered here is to be asked there.
    /// Comes after a handoff to everybody who watches or asks, and to whoever asks the wrong node.
    Moved {
        /// The slot.
        slot: SlotNo,
        /// The owner's epoch; whoever knows a greater one is not moved.
        epoch: Epoch,
        /// The owner.
        owner: NodeId,
    },
    /// A sign of life.
    Heartbeat,
}

/// What happened to the stream that the last [`StreamOp::Open`] asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// It stands.
    Up,
    /// The owner said something.
    Frame(FromOwner),
    /// It could not be opened, or it broke.
    Down,
}

/// What shall be done with the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all are `Send`; each is moved once")]
pub enum StreamOp {
    /// Open one to this node; answered by `Up` or `Down`.
    Open {
        /// The owner.
        node: NodeId,
    },
    /// Send this; the stream is up.
    Send(ToOwner),
    /// Give the stream up, whatever its state; nothing of it may come in any more.
    Close,
}

/// A room server that this edge finds dead or silent: the others shall know, as two observers make a
/// takeover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Whom.
    pub node: NodeId,
    /// Milliseconds since it was last heard.
    pub silent_ms: u64,
}

/// What shall be told to shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToShards {
    /// The answer to an ask.
    Answer {
        /// As given with the ask.
        local: LocalKey,
        /// The answer.
        answer: Answer,
    },
    /// News of a room for these shards.
    Fed {
        /// Which.
        shards: ShardSet,
        /// The room.
        room: RoomName,
        /// The news.
        fed: Fed,
    },
    /// An attachment that stood was not taken in again after a cut.
    Detached {
        /// As given with the `Attach`.
        local: LocalKey,
        /// The room.
        room: RoomName,
        /// The session.
        session: SessionId,
        /// Why.
        why: Unsubscribed,
    },
}
