//! Sessions of a shard against a scripted owner, on a clock that the tests move.

mod asking;
mod beginning;
mod beside;
mod reading;
mod schedules;
mod shard;
