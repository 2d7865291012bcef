//! Encoding as a port: machines decide what is said and when, `wire::codec` knows the bytes.

use bytes::Bytes;

use crate::{Content, LogId, MessageId, RoomName, Seq, User, UserId};

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `parlour.v1.json`
    Json,
    /// `parlour.v1.proto`, and gRPC
    Proto,
}

/// Makes the bytes of a log's entries; each entry is encoded once, by the room that orders it.
pub trait Encode: Send + Sync {
    /// The `parlour.v1.Message` of an entry. `log` is stated for the entry with seq 1 only.
    #[allow(clippy::too_many_arguments, reason = "the fields of one message, each of another type")]
    fn message(
        &self,
        room: &RoomName,
        log: Option<&LogId>,
        seq: Seq,
        ordinal: u64,
        id: &MessageId,
        at_ms: u64,
        from: &User,
        content: &Content,
    ) -> Bytes;

    /// The same entry with its content replaced by a tombstone: who redacted it and why.
    fn tombstone(&self, payload: &Bytes, by: &UserId, reason: &str) -> Bytes;

    /// The reason inside a `Redact`'s bytes.
    fn redact_reason(&self, body: &Bytes) -> String;
}
