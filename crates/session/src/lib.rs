//! Both ends of the client protocol, and an edge's log of a room, as pure machines.

pub mod client;
pub mod log;
pub mod server;
