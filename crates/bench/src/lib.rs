//! Load generator, replay of real conversations, and the checkers of what was seen: `history` judges while
//! it happens, `verify` all of it afterwards.
//!
//! It stands apart from the server because it must know nothing of it: it speaks the contract through
//! `parlour-client`, as anybody would, and its checker believes nobody but itself.
//!
//! # Invariants
//! - Whoever measures shares the machine with what is measured: thousands of clients live in one task
//!   ([`crowd`]).
//! - Latency counts from when something was meant to be sent, never from when the generator got to it.
//! - This process opens no more connections than were asked for, and never more than it may open files.
//!
//! Look elsewhere for: the subcommand's place in the program (`parlour`), tests that send what no client
//! would (`edge`).

pub mod bare;
mod cli;
pub mod conversation;
pub mod crowd;
mod error;
pub mod history;
pub mod load;
pub mod measure;
pub mod replay;
mod table;
mod target;
pub mod verify;

pub use cli::{BenchArgs, BenchCommand, run};
pub use error::BenchError;
pub use target::{Dialer, Format, Target};
pub use verify::VerifyArgs;
