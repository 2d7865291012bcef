//! The edge: sockets on one side, owners of rooms on the other.
//!
//! It keeps nothing that matters: what a session needs to go on, its client has. It stands apart from
//! the rooms so that either can be replaced while the other goes on; the two meet over the link only.
//!
//! # Invariants
//! - No task, channel, lock or buffer per WebSocket session; see [`mod@shard`] in the source.
//! - Nothing is dropped in silence: a client is answered, refused or ended.
//! - Every queue has a named bound.
//!
//! Look elsewhere for: what frames mean (`session`), routes and resending (`link`), bytes (`wire`).

mod clock;
mod config;
mod convert;
mod directory;
mod drain;
mod edge;
mod frames;
mod front;
mod identity;
mod lane;
mod shard;

pub use clock::Clock;
pub use config::{
    CONNECTS_PER_SECOND, Config, LINK_CONNECT_WITHIN, LINK_CONNECTION_WINDOW_BYTES,
    LINK_STREAM_WINDOW_BYTES, Owners, link_settings,
};
pub use edge::{Edge, Listeners, Readiness};
pub use frames::EdgeFrames;
pub use identity::{Credentials, Door, Secret, Unverified, Verified};
