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
mod events;
mod node;
mod port;
mod postgres;
mod process;
mod proxy;
mod steps;
mod strike;
mod verify;

pub use cluster::{Cluster, Plan};
pub use etcd::Etcd;
pub use events::Events;
pub use node::{Kind, Node, Wires};
pub use port::free_port;
pub use postgres::{Postgres, Server as PostgresServer};
pub use process::{Fault, Process, Signal, find_program};
pub use proxy::{Proxy, Way};
pub use steps::{kill_all, kill_etcd_leader, kill_primary, redeploy_all};
pub use strike::{Strike, carry_out, draw};
pub use verify::{Load, Verify};
