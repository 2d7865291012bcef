//! Parlour's contract: its messages as Rust, and the ways between bytes, JSON and the words of `model`.
//!
//! The `.proto` files beside this folder are the contract and its manual; `build.rs` makes [`v1`] and
//! [`link`] of them. This stands apart so that one place speaks protobuf and JSON: everybody else holds
//! the words of `model`, or bytes that are passed on as they came.
//!
//! # Invariants
//! - Generated types are named here and in service impls, nowhere else.
//! - Every 64-bit number is written to JSON as a number, and read as a number or a string.
//! - The same message always encodes to the same bytes and the same text.
//!
//! Look elsewhere for: what frames mean (`session`, `room`, `link`) and for sockets (`edge`, `client`).

/// What browsers, native clients and grpcurl speak: package `parlour.v1`.
#[allow(clippy::all, clippy::unwrap_used, missing_docs, unreachable_pub)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/parlour.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/parlour.v1.serde.rs"));
}

/// What an edge and a room server say to each other: package `parlour.link.v1`.
#[allow(clippy::all, clippy::unwrap_used, missing_docs, unreachable_pub)]
pub mod link {
    include!(concat!(env!("OUT_DIR"), "/link/parlour.link.v1.rs"));
}

pub mod codec;
mod structure;
pub mod ws;

pub use structure::{Kind, ListValue, Struct, Value};

/// Package `parlour.v1` with its imports and comments, as gRPC reflection serves it.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/parlour.v1.fds.bin"));
