//! Who owns which slot: the hash from rooms to slots, placement, the view, and the slot machine.
//!
//! Ownership stands apart from what it is ownership of: nothing here knows a room's contents, a
//! journal or a socket. The machine [`Slot`] is the very type that tests and model checkers run, the
//! machine [`Steward`] says which slots a node should take over or give away; the
//! [`Registry`] port is what etcd and the in-process registry implement.
//!
//! # Invariants
//! - Whatever the registry says is a hint about *who should* own a slot. Who *may write* is decided by
//!   the journal's fence alone, so that a stale view costs time and never a message.
//! - A [`Slot`] serves only behind a claim that committed cleanly and a tail read after that claim.
//! - Everything is a function of its arguments: no clock, no randomness, no I/O.
//!
//! Look elsewhere for: the claims themselves (`journal`), the tasks that carry out a slot's steps
//! (`room-server`), and etcd (`registry`).

mod hash;
mod placement;
mod registry;
pub mod slot;
pub mod steward;
mod view;

pub use hash::{SLOT_HASH, SLOTS_DEFAULT, SLOTS_MAX, slot_of};
pub use placement::{Candidate, LOAD_SLACK_PERCENT, place, rank};
pub use registry::{Registry, RegistryError, RegistryFuture, Swap};
pub use slot::{DropReason, Order, Reply, Slot, Step};
pub use steward::{Outcome, Sign, Steward, StewardSettings};
pub use view::{Front, Load, Node, Role, SlotRecord, Transport, View};
