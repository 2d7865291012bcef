//! The room server: one task a slot drives the slot's rooms, a gRPC service links edges to them, another
//! one moves slots between servers.
//!
//! It is the shell around `room::Room`, `cluster::Slot` and `cluster::Steward`: journal, clock, streams and
//! timers are here, decisions are there. It stands apart from the edge, which reaches it over a link only, inside one
//! process over a pipe.
//!
//! ```text
//! edge ──Attach──> stream::Conversation ──> slot::SlotTask ──> Journal
//!      <─────────  (bounded queue)     <──  rooms, appends, reads
//!      ──Segment─> service::LinkService ──────────────────────> Journal
//!
//! others ──Pulse──> steward ──Own, Give──> slot::SlotTask ──Transfer──> another server's
//! ```
//!
//! # Invariants
//! - A slot's task never waits for an edge, nor for the journal: an edge that does not read loses its
//!   stream and comes back by position.
//! - Nothing is answered or fed before the journal has committed it; an unknown outcome is settled by a
//!   fresh claim and the log's end behind it.
//! - Whoever speaks to rooms that another server owns is told which; nothing is refused because a slot
//!   has moved.
//! - Time enters through [`Clock`] and tokio's timers, randomness through one seed.
//!
//! Look elsewhere for: what an ask means (`room`), who should own a slot (`cluster`), durability
//! (`journal`).

mod clock;
mod complaint;
mod config;
mod counters;
mod operate;
mod peers;
mod retention;
mod server;
mod service;
mod slot;
mod slots;
mod steward;
mod stream;
mod verify;

pub use clock::Clock;
pub use config::{
    Config, READS_DEFAULT, RETENTION_INTERVAL_MS, RetentionRule, SEGMENT_READS_DEFAULT,
    STREAM_BYTES_DEFAULT,
};
pub use counters::Counts;
pub use peers::{Dial, PeerOwner, PeerService};
pub use server::{LINK_MESSAGE_BYTES_MAX, RoomServer};
pub use service::{LinkOwner, LinkService};
