//! The words of `model` as JSON and protobuf, and back.
//!
//! It stands apart so that one place names generated types: sessions, rooms and links hold words that were
//! checked once, at the wall, and whoever sends a frame gets bytes that are ready to be written.
//!
//! | who | reads | writes |
//! |---|---|---|
//! | an edge, towards clients | [`decode_client`] | [`encode_server`], [`message_frame`] |
//! | a client | [`decode_server`], [`post`] | [`encode_client`], [`content`] |
//! | a room | | [`Codec`], which is `model::Encode` |
//! | both ends of a link | [`link`] | [`link`] |
//! | unary calls | [`decode_publish`] … | [`encode_unary`], [`refusal_status`] |
//!
//! # Invariants
//! - What [`decode_client`] returns obeys every limit of `model::limits`, or is a refusal that names the
//!   field. Bytes that cannot be read are an error and never a panic.
//! - A content travels as the bytes received: a field that this node does not know reaches readers that do.
//! - The frame of a committed message holds nothing of its reader: all readers get the same bytes.
//! - The same words encode to the same bytes. JSON and protobuf of one frame decode to equal words.
//!
//! Look elsewhere for: what frames mean (`session`, `room`), framing on a socket ([`crate::ws`]).

use std::fmt;

mod check;
mod client;
mod contents;
mod entry;
mod fault;
mod fields;
mod fold;
mod json;
pub mod link;
mod request;
mod server;
mod unary;
mod words;

pub use client::{decode_client, encode_client};
pub use contents::content;
pub use entry::Codec;
pub(crate) use json::Number;
pub use server::{decode_server, encode_server, message_frame, post};
pub use unary::{
    Unary, decode_get_room, decode_history, decode_presence, decode_publish, decode_summaries,
    encode_unary,
};
#[cfg(feature = "grpc")]
pub use unary::{end_status, refusal_of, refusal_status};

/// Bytes that hold no frame: where they stop making sense, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// One sentence of at most 200 bytes: a parser may quote what it did not expect.
    pub message: String,
}

impl Unreadable {
    /// Cuts `message` where it becomes too long.
    fn new(message: impl Into<String>) -> Unreadable {
        const BYTES_MAX: usize = 200;
        let mut message = message.into();
        if message.len() > BYTES_MAX {
            let mut end = BYTES_MAX - '…'.len_utf8();
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push('…');
        }
        Unreadable { message }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Unreadable {}

impl From<prost::DecodeError> for Unreadable {
    /// prost tells every message around the place, the innermost first: the first and the cause are kept.
    fn from(error: prost::DecodeError) -> Unreadable {
        let text = error.to_string();
        let text = text.strip_prefix("failed to decode Protobuf message: ").unwrap_or(&text);
        let is_place = |part: &&str| part.contains('.') && !part.contains(' ');
        let mut parts = text.split(": ");
        match parts.next().filter(is_place) {
            None => Unreadable::new(text),
            Some(place) => {
                let cause: Vec<&str> = parts.skip_while(is_place).collect();
                Unreadable::new(format!("{place}: {}", cause.join(": ")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
