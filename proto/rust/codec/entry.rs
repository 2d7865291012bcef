//! The entries of a log: written once, by the room that orders them.
//!
//! What stands here is journal payload, link payload and protobuf push at once, so it is written in one
//! pass into one allocation of the right size, with the content as the bytes received.

use bytes::Bytes;
use model::{Content, Encode, LogId, MessageId, RoomName, Seq, User, UserId};
use prost::encoding::{encoded_len_varint, key_len};

use super::contents::number_in_message;
use super::fields::{Fields, put_bytes, put_message, put_nonzero, put_number, put_text};

/// Numbers in `Message`.
const ROOM: u32 = 1;
const LOG: u32 = 2;
const SEQ: u32 = 3;
const ORDINAL: u32 = 4;
const ID: u32 = 5;
const AT_MS: u32 = 6;
const FROM: u32 = 7;
const TOMBSTONE: u32 = 13;
/// Numbers in `User`, `Tombstone` and `Redact`.
const USER_ID: u32 = 1;
const USER_NAME: u32 = 2;
const TOMBSTONE_BY: u32 = 1;
const TOMBSTONE_REASON: u32 = 2;
const REDACT_REASON: u32 = 2;

/// Encodes a log's entries as `parlour.v1.Message`, byte for byte as prost would.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codec;

impl Encode for Codec {
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
    ) -> Bytes {
        let log = log.map_or("", LogId::as_str);
        let user_bytes = text_len(from.id.as_str()) + text_len(&from.name);
        let number = number_in_message(content.kind);
        let bytes = text_len(room.as_str())
            + text_len(log)
            + nonzero_len(seq)
            + number_len(ordinal)
            + text_len(id.as_str())
            + nonzero_len(at_ms)
            + bytes_len(FROM, user_bytes)
            + bytes_len(number, content.body.len());

        let mut out = Vec::with_capacity(bytes);
        put_text(&mut out, ROOM, room.as_str());
        put_text(&mut out, LOG, log);
        put_nonzero(&mut out, SEQ, seq);
        put_number(&mut out, ORDINAL, ordinal);
        put_text(&mut out, ID, id.as_str());
        put_nonzero(&mut out, AT_MS, at_ms);
        put_message(&mut out, FROM, |out| {
            put_text(out, USER_ID, from.id.as_str());
            put_text(out, USER_NAME, &from.name);
        });
        put_bytes(&mut out, number, &content.body);
        debug_assert_eq!(out.len(), bytes, "one allocation, of the right size");
        out.into()
    }

    /// Keeps what tells the entry apart and nothing else: neither the content nor a field of a newer version
    /// that might hold some of it.
    fn tombstone(&self, payload: &Bytes, by: &UserId, reason: &str) -> Bytes {
        let mut out = Vec::with_capacity(payload.len());
        for field in Fields::of(payload).map_while(Result::ok) {
            if (ROOM..=FROM).contains(&field.number) {
                out.extend_from_slice(field.whole);
            }
        }
        put_message(&mut out, TOMBSTONE, |out| {
            put_text(out, TOMBSTONE_BY, by.as_str());
            put_text(out, TOMBSTONE_REASON, reason);
        });
        out.into()
    }

    fn redact_reason(&self, body: &Bytes) -> String {
        let fields = Fields::of(body).map_while(Result::ok);
        let reason = fields.filter(|field| field.number == REDACT_REASON).last();
        let reason = reason.and_then(|field| field.bytes).unwrap_or_default();
        String::from_utf8_lossy(reason).into_owned()
    }
}

/// Every number of `Message` is below 16: its key is one byte.
fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { bytes_len(ROOM, text.len()) }
}

fn bytes_len(number: u32, bytes: usize) -> usize {
    key_len(number) + encoded_len_varint(bytes as u64) + bytes
}

fn number_len(value: u64) -> usize {
    key_len(SEQ) + encoded_len_varint(value)
}

fn nonzero_len(value: u64) -> usize {
    if value > 0 { number_len(value) } else { 0 }
}
