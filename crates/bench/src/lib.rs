//! Load generator, replay of real conversations, and the checker of what was seen.

pub mod conversation;
pub mod history;
