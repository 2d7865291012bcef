//! `parlour verify`: is every promise kept, while operators do what they do?
//!
//! Clients read rooms that nobody else knows, and half of them publish in turn at a fixed rate. Each keeps
//! its own history of what it sent, what it was answered and what it was told ([`record`]). In the end
//! somebody new reads every room's log, and the checker ([`mod@check`]) compares it all.
//!
//! It stands apart from `bench`, which measures what a server can do: here the load is modest, and every
//! single message is accounted for. It may run for hours beside a rollout.
//!
//! # Invariants
//! - A history is what a client was told, before anything believed it: the checker takes nobody's word,
//!   the client's own machine included (what that one found by itself is counted as well).
//! - Latency counts from when a message was meant to be sent.
//! - Memory: forty bytes a message sent, at most thirty-two a message and thread that reads it.
//!
//! Look elsewhere for: a real conversation that is checked while it runs (`replay`), load (`load`).

pub mod body;
pub mod check;
mod cli;
pub mod draw;
mod driver;
mod judge;
mod member;
mod plan;
pub mod record;
mod report;
mod run;
mod tally;
mod timeline;

pub use cli::{VerifyArgs, VerifyCommand, run as run_args};
pub use report::{Report, Service, Worst};
pub use run::{VerifyOptions, verify};
pub use timeline::Line;
