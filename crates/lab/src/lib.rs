//! A whole cluster of real processes on this machine: etcd, PostgreSQL, room servers and edges, each of
//! which can be stopped, killed, paused, cut off and started again.
//!
//! It stands apart from the program because it knows only what an operator knows: commands, addresses and
//! signals. `make cluster` and `make demo` show it, tests and attacks drive it.
//!
//! # Invariants
//! - Everything listens on loopback, on ports that were free, and keeps its files in one folder.
//! - What it started ends with it, also when it is killed.
//! - Nothing is ever signalled by name.
//!
//! Look elsewhere for: what was lost or not (`bench`), and for the processes themselves (`parlour`).

mod cluster;
mod etcd;
mod node;
mod port;
mod postgres;
mod process;
mod proxy;

pub use cluster::{Cluster, Plan};
pub use etcd::Etcd;
pub use node::{Kind, Node, Wires};
pub use port::free_port;
pub use postgres::{Postgres, Server as PostgresServer};
pub use process::{Fault, Process, Signal, find_program};
pub use proxy::{Proxy, Way};
