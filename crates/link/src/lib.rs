//! Both ends of the link between an edge and the owners of rooms, as pure machines.
//!
//! [`Near`] is the edge's half towards one owner: one watch per room however many read it, an outbox of
//! what was not answered, and everything that a cut stream takes to be made good. [`Lane`] has one for
//! each owner, and carries slots from one to another when they move. [`Far`] is the owner's half: what
//! one stream may ask. They stand apart from gRPC so that they can be driven by a test through every
//! order of cuts, answers and time-outs.
//!
//! # Invariants
//! - Every ask is answered exactly once, whatever happens to streams and owners.
//! - The publishes of one lane to one room reach an owner in the order in which they were asked, each
//!   time that they are sent.
//! - What a shard is fed of a room is dense: head + 1 after head, or a fresh `Watching`.
//! - Nothing grows without a bound; the bounds stand beside the types that they bound.
//!
//! Look elsewhere for: sockets and tonic (`edge`, `room-server`), protobuf (`wire::codec`), what an ask
//! means (`room`).

mod far;
mod lane;
mod near;
mod words;

pub use far::{Far, FarOp, STREAM_ASKS_MAX, STREAM_WATCHES_MAX};
pub use lane::{Lane, LaneConfig, LaneCounts, SUSPECT_MS};
pub use near::{
    HEARTBEAT_MS, IDLE_HEARTBEAT_MS, IDLE_SILENCE_MS, Near, NearConfig, NearCounts, OPENING_MS,
    OUTBOX_ASKS_MAX, OUTBOX_BYTES_MAX, OUTBOX_ROOM_ASKS_MAX, SILENCE_MS,
};
pub use words::{
    FromOwner, LocalKey, SHARDS_MAX, ShardSet, StreamEvent, StreamOp, Suspect, ToOwner, ToShards,
};
