//! Registries behind the `cluster::Registry` port: etcd's, and the one of a single process.
//!
//! They stand apart from `cluster` so that neither the port nor its machines know how a registry is
//! reached.
//!
//! # Invariants
//! - A swap succeeds against the revision that it names and no other; revisions only grow.
//! - Only a node that is registered can swap.
//! - What is held here is never what makes writing safe: it may be empty after a restart, or older than
//!   it was, and the journal's stored epoch, told by a refused claim, sets it right.

pub mod etcd;
mod in_process;

pub use in_process::InProcess;
