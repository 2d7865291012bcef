//! The whole cluster in one thread, from a seed: room servers, edges and clients as they are, on a network,
//! a registry and a journal that fail, with the checker of `parlour verify` watching.
//!
//! Every process is a runtime of its own with a clock of its own ([`mod@host`] in the source), which the
//! world lets run for a millisecond at a time, in an order that the seed draws. So a process can be killed
//! with everything it holds, or stopped while its peers' time goes on. Edges and room servers are the very
//! types that the program builds; an edge's shards are tasks here instead of threads.
//!
//! # What is not here
//! - Between a client and its edge there is no WebSocket and no HTTP/2: its frames go through the pipe that
//!   lies behind a gRPC stream. Between edges and owners everything is as it is in the program, but for
//!   TCP and the proof of the cluster's key.
//! - The registry's and the journal's own clients (`registry::etcd`, `journal::postgres`): their promises
//!   are simulated, and tests against the real services hold the engines to them.
//!
//! # A seed that is bad
//! `--seed N --trace` shows it; `RUST_LOG` adds what the nodes say. What N draws changes with every change
//! here, so a bug that a seed has found is kept as a test beside the code that it was in, with its story.
//!
//! # Determinism
//! A run is one process (`parlour-sim --seed N`), because tokio draws from a counter of the process, and
//! hash maps and session ids from the system: the binary answers `getrandom` from the seed. One seed's two
//! runs have the same hash of everything that happened.

mod disk;
mod etcd;
mod host;
mod net;
mod nodes;
mod people;
mod person;
mod record;
mod seeds;
mod time;
mod trace;
mod trouble;
mod verdict;
mod world;

pub use seeds::{Ran, each, many, one, together};
pub use verdict::{COVERED, Coverage};
pub use world::{Options, Outcome, run};
