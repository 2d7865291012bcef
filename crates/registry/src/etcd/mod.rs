//! The registry in etcd.
//!
//! Under `/parlour/<cluster>/` lie `constants` (written once, by [`Etcd::init`]), `nodes/<id>` (on a
//! lease: a hint that the node lives) and `slots/<n>` (on none; changed by compare-and-swap only). Two
//! tasks per member of the cluster: one follows the keys and publishes views, the other keeps the node
//! on the list. Whoever calls asks etcd himself, through the same connections.
//!
//! # Invariants
//! - A swap passes only if the slot's record is of the revision that it names, and the node's own key is
//!   the one that this very process put there.
//! - While etcd is away, wiped or another one, the last view stands.
//! - Of one id at most one process is on the list; a second one that lives refuses to start.
//! - Every write is a comparison with what is known: one that hung somewhere and is carried out late
//!   changes nothing.
//!
//! Look elsewhere for: what a claim is worth (`journal`), placement (`cluster`).

mod error;
mod follow;
mod handle;
mod judge;
mod keys;
mod load;
mod members;
mod picture;
mod records;
mod registrar;
mod settings;
mod shared;
mod swap;

pub use error::OpenError;
pub use handle::Etcd;
pub use records::Constants;
pub use settings::{CALL_TIMEOUT_DEFAULT, LEASE_TTL_DEFAULT, Login, Secret, Settings, Tls};
