//! The durable store of logs: the [`Journal`] trait, its engines, one conformance suite.
//!
//! Promises 1, 4 and 7 of the service rest here: what was answered "committed" survives the process,
//! stays at its number, and cannot be joined by what a superseded owner writes. The port stands apart
//! from the rooms so that rooms run over any engine, and apart from the engines so that fencing,
//! density and folding are written once (`judge`, `read`, `page`) and every engine passes one suite
//! (`conformance`).
//!
//! # Invariants
//! - An append passes only under the fence of the slot's last claim.
//! - A room's numbers have no hole; a hole that is read is [`ReadError::Corrupt`].
//! - An outcome that is not known is answered `Unknown` and ends the claim.
//!
//! Look elsewhere for: deduplication and folding (`room`), who may claim (`cluster`).

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod embedded;
mod format;
mod journal;
mod judge;
mod keys;
pub mod memory;
#[cfg(test)]
mod memory_tests;
mod page;
pub mod postgres;
mod read;
mod recent;
mod store;

pub use embedded::Embedded;
pub use journal::{
    ClaimError, Claimed, Health, IdRow, Journal, PageRead, ReadError, RoomEntry, RoomHead,
};
pub use memory::{Fault, Memory};
pub use postgres::Postgres;
