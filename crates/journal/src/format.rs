//! The bytes of all rows, version 1.
//!
//! A row is a version byte, a crc32c over its key and its body, and the body: a row that was damaged,
//! or that ended up under another key, reads as corrupt.

use bytes::Bytes;
use model::{
    ContentKind, Digest, Epoch, Fence, LogId, MessageId, Record, Seq, SessionId, SlotNo, UserId,
};

use crate::{IdRow, ReadError, RoomHead};

const VERSION: u8 = 1;
/// Version byte and checksum.
const ENVELOPE: usize = 5;

const HAS_SESSION: u8 = 1;
const REMOVES: u8 = 2;

/// A row's bytes.
pub(crate) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(ENVELOPE + body.len());
    row.push(VERSION);
    row.extend(checksum(key, body).to_le_bytes());
    row.extend(body);
    row
}

/// A row's body.
pub(crate) fn open(key: &[u8], row: &Bytes) -> Result<Bytes, ReadError> {
    let damaged = |what: &str| ReadError::Corrupt(format!("{} at {}", what, key.escape_ascii()));
    match row.first_chunk::<ENVELOPE>() {
        Some([VERSION, crc @ ..]) => {
            let body = row.slice(ENVELOPE..);
            if checksum(key, &body) == u32::from_le_bytes(*crc) {
                Ok(body)
            } else {
                Err(damaged("wrong checksum"))
            }
        }
        Some([version, ..]) => Err(damaged(&format!("unknown version {version}"))),
        None => Err(damaged("short row")),
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

/// The error of a row whose checksum is right but whose body cannot be read.
pub(crate) fn unreadable(key: &[u8]) -> ReadError {
    ReadError::Corrupt(format!("unreadable row at {}", key.escape_ascii()))
}

/// A slot's claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotRow {
    pub(crate) epoch: Epoch,
    pub(crate) nonce: u64,
    pub(crate) fence: Fence,
    pub(crate) slot_pos: u64,
}

impl SlotRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [self.epoch, self.nonce, self.fence, self.slot_pos] {
            put_number(&mut out, number);
        }
        out
    }

    pub(crate) fn decode(mut body: &[u8]) -> Option<SlotRow> {
        let rest = &mut body;
        Some(SlotRow {
            epoch: number(rest)?,
            nonce: number(rest)?,
            fence: number(rest)?,
            slot_pos: number(rest)?,
        })
    }
}

/// A born room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomRow {
    pub(crate) slot: SlotNo,
    pub(crate) head: RoomHead,
}

impl RoomRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let head = &self.head;
        let mut out = Vec::new();
        put_number(&mut out, u64::from(self.slot));
        for number in [head.first, head.head, head.ordinal, head.at_ms, head.first_ordinal] {
            put_number(&mut out, number);
        }
        put_text(&mut out, head.log.as_str());
        out
    }

    pub(crate) fn decode(mut body: &[u8]) -> Option<RoomRow> {
        let rest = &mut body;
        let slot = SlotNo::try_from(number(rest)?).ok()?;
        let first = number(rest)?;
        let head = number(rest)?;
        let ordinal = number(rest)?;
        let at_ms = number(rest)?;
        let first_ordinal = number(rest)?;
        let log = LogId::new(text(rest)?).ok()?;
        Some(RoomRow { slot, head: RoomHead { log, first, head, ordinal, at_ms, first_ordinal } })
    }
}

/// The header's body of an entry.
pub(crate) fn encode_header(record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    let mut flags = 0;
    if record.session.is_some() {
        flags |= HAS_SESSION;
    }
    if record.remove {
        flags |= REMOVES;
    }
    out.push(record.kind as u8);
    out.push(flags);
    for number in [record.ordinal, record.slot_pos, record.at_ms, record.fence, record.target] {
        put_number(&mut out, number);
    }
    out.extend(record.digest.0.to_le_bytes());
    put_text(&mut out, record.user.as_str());
    put_text(&mut out, record.id.as_str());
    if let Some(session) = &record.session {
        put_text(&mut out, session.as_str());
    }
    put_text(&mut out, &record.key);
    out
}

/// The entry again, with an empty payload.
pub(crate) fn decode_header(seq: Seq, mut body: &[u8]) -> Option<Record> {
    let rest = &mut body;
    let [kind, flags] = *take(rest, 2)? else {
        return None;
    };
    let kind = ContentKind::from_u8(kind)?;
    let ordinal = number(rest)?;
    let slot_pos = number(rest)?;
    let at_ms = number(rest)?;
    let fence = number(rest)?;
    let target = number(rest)?;
    let digest = Digest(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?));
    let user = UserId::new(text(rest)?).ok()?;
    let id = MessageId::new(text(rest)?).ok()?;
    let session = match flags & HAS_SESSION {
        0 => None,
        _ => Some(SessionId::new(text(rest)?).ok()?),
    };
    let key = text(rest)?.to_owned();
    let remove = flags & REMOVES != 0;
    let payload = Bytes::new();
    Some(Record {
        seq,
        ordinal,
        slot_pos,
        at_ms,
        user,
        session,
        id,
        kind,
        target,
        key,
        remove,
        digest,
        fence,
        payload,
    })
}

impl From<Record> for IdRow {
    fn from(record: Record) -> IdRow {
        IdRow {
            seq: record.seq,
            ordinal: record.ordinal,
            user: record.user,
            session: record.session,
            id: record.id,
            kind: record.kind,
            target: record.target,
            digest: record.digest,
            at_ms: record.at_ms,
        }
    }
}

/// Seven bits a byte, lowest first: most numbers of a row are small.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The number again.
pub(crate) fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend(text.as_bytes());
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(number(rest)?).ok()?;
    std::str::from_utf8(take(rest, length)?).ok()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            seq: 7,
            ordinal: 5,
            slot_pos: 900,
            at_ms: 1_760_000_000_123,
            user: UserId::new("ann").expect("valid"),
            session: Some(SessionId::new("s7").expect("valid")),
            id: MessageId::new("01J9ZKabc").expect("valid"),
            kind: ContentKind::Reaction,
            target: 3,
            key: "👍".into(),
            remove: true,
            digest: Digest(u64::MAX),
            fence: 12,
            payload: Bytes::new(),
        }
    }

    #[test]
    fn a_header_survives_its_bytes_and_no_prefix_of_them_reads_as_one() {
        let bytes = encode_header(&record());
        assert_eq!(decode_header(7, &bytes), Some(record()));
        assert!((0..bytes.len()).all(|cut| decode_header(7, &bytes[..cut]).is_none()));
    }

    #[test]
    fn a_flipped_bit_or_another_key_reads_as_corrupt() {
        let row = seal(b"key", b"body");
        assert_eq!(open(b"key", &row.clone().into()), Ok(Bytes::from_static(b"body")));
        assert!(open(b"kez", &row.clone().into()).is_err());
        for at in 0..row.len() {
            let mut bad = row.clone();
            bad[at] ^= 0x10;
            assert!(matches!(open(b"key", &bad.into()), Err(ReadError::Corrupt(_))), "byte {at}");
        }
    }

    #[test]
    fn numbers_and_rows_survive_their_bytes() {
        for value in [0, 1, 127, 128, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            assert_eq!(number(&mut &bytes[..]), Some(value));
        }
        let slot = SlotRow { epoch: 9, nonce: u64::MAX, fence: 3, slot_pos: 70_000 };
        assert_eq!(SlotRow::decode(&slot.encode()), Some(slot));
    }
}
