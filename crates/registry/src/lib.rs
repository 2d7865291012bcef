//! Registries behind the `cluster::Registry` port: the one of a single process.
//!
//! They stand apart from `cluster` so that neither the port nor its machines know how a registry is
//! reached. etcd's will live beside this one.
//!
//! # Invariants
//! - A swap succeeds against the revision that it names and no other; revisions only grow.
//! - Only a node that is registered can swap.
//! - What is held here is never what makes writing safe: it is empty after a restart, and the journal's
//!   stored epoch, told by a refused claim, sets it right.

mod in_process;

pub use in_process::InProcess;
