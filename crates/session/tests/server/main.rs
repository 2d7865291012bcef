//! Sessions of a shard against a scripted owner, on a clock that the tests move.

#![allow(clippy::unwrap_used, reason = "the whole crate is a test")]

mod asking;
mod beginning;
mod beside;
mod reading;
mod schedules;
mod shard;
mod writing;
