//! The words of `model` as JSON and protobuf, and back.
//!
//! It stands apart so that one place names generated types: sessions, rooms and links hold words that were
//! checked once, at the wall, and whoever sends a frame gets bytes that are ready to be written.
//!
//! | who | reads | writes |
//! |---|---|---|
//! | an edge, towards clients | [`decode_client`] | [`encode_server`], [`message_frame`] |
//! | a client | [`decode_server`], [`message`], [`folded`] | [`encode_client`], [`content`] |
//! | a room | | [`Codec`], which is `model::Encode` |
//! | both ends of a link | [`link`] | [`link`] |
//! | unary calls | [`unary`] | [`unary`] |
//!
//! # Invariants
//! - What [`decode_client`] returns obeys every limit of `model::limits`, or is a refusal that names the
//!   field. Bytes that cannot be read are an error and never a panic.
//! - A content travels as the bytes received: a field that this node does not know reaches readers that do.
//! - The frame of a committed message holds nothing of its reader: all readers get the same bytes.
//! - The same words encode to the same bytes. JSON and protobuf of one frame decode to equal words.
//!
//! Look elsewhere for: what frames mean (`session`, `room`), framing on a socket ([`crate::ws`]).

mod check;
mod client;
mod contents;
mod entry;
mod fault;
mod fields;
mod fold;
mod json;
pub mod link;
mod peer;
mod request;
mod server;
mod speech;
#[cfg(feature = "grpc")]
pub mod unary;
mod words;

pub use client::decode_client;
pub use contents::content;
pub use entry::Codec;
pub(crate) use json::Number;
pub use peer::{decode_server, folded, message};
pub use server::{encode_server, message_frame};
pub use speech::encode_client;

/// Bytes that hold no frame: where they stop making sense, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// One sentence, at most [`Unreadable::BYTES_MAX`] bytes.
    pub message: String,
}
