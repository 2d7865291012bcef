//! Load generator, replay of real conversations, and the checker of what was seen.

mod error;
mod table;
mod target;
pub mod conversation;
pub mod crowd;
pub mod history;
pub mod measure;
pub mod replay;

pub use error::BenchError;
