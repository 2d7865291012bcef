//! Rows as the words: numbers, checksums, and the columns of an entry.
//!
//! # Invariants
//! - Numbers that are compared in the database fit into its signed ones; digests and nonces are
//!   only compared for equality and keep their bits.

use bytes::Bytes;
use model::{
    ContentKind, Digest, LogId, MessageId, Record, RoomName, Seq, SessionId, SlotNo, StateKey,
    UserId,
};
use tokio_postgres::Row;

use crate::format::RoomRow;
use crate::{ReadError, RoomHead};

/// The columns that [`entry`] reads, of a table named `e`.
macro_rules! entry_columns {
    () => {
        "e.seq, e.ordinal, e.slot_pos, e.at_ms, e.author, e.session, e.id, e.kind, e.target, \
         e.key, e.remove, e.digest, e.fence, e.head_sum"
    };
}
/// The columns that [`room_row`] reads, of a table named `r`.
macro_rules! room_columns {
    () => {
        "r.slot, r.log, r.first, r.head, r.ordinal, r.at_ms, r.first_ordinal"
    };
}
pub(super) use {entry_columns, room_columns};

/// How many columns each of them is.
pub(super) const ENTRY_COLUMNS: usize = 14;
pub(super) const ROOM_COLUMNS: usize = 7;

/// A number as it is compared in the database: beyond its range lies nothing.
pub(super) fn at(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A slot's number; slots are fewer than the range holds.
pub(super) fn slot_number(slot: SlotNo) -> i32 {
    i32::try_from(slot).unwrap_or(i32::MAX)
}

/// Covers what never changes of an entry.
pub(super) fn head_sum(room: &RoomName, record: &Record) -> i32 {
    let numbers = [
        record.seq,
        record.ordinal,
        record.slot_pos,
        record.at_ms,
        record.target,
        record.fence,
        u64::from(record.remove),
        u64::from(record.session.is_some()),
    ];
    let session = record.session.as_ref().map_or("", |session| session.as_str());
    let texts = [room.as_str(), record.user.as_str(), record.id.as_str(), session, &record.key];
    let sum = numbers.iter().fold(0, |sum, number| append(sum, &number.to_le_bytes()));
    // A length before each text keeps neighbours apart.
    let sum = texts.iter().fold(sum, |sum, text| {
        append(append(sum, &(text.len() as u64).to_le_bytes()), text.as_bytes())
    });
    sum as i32
}

/// Covers what an erasure replaces.
pub(super) fn body_sum(
    room: &RoomName,
    seq: Seq,
    kind: ContentKind,
    digest: Digest,
    payload: &[u8],
) -> i32 {
    let sum = append(crc32c::crc32c(room.as_str().as_bytes()), &seq.to_le_bytes());
    let sum = append(append(sum, &[kind as u8]), &digest.0.to_le_bytes());
    append(sum, payload) as i32
}

/// Covers a small value.
pub(super) fn state_sum(room: &RoomName, key: &StateKey, value: &[u8]) -> i32 {
    append(crc32c::crc32c(&crate::keys::state(room, key)), value) as i32
}

fn append(sum: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(sum, bytes)
}

/// A small value's key as columns: kind, seq, who, key.
pub(super) fn state_columns(key: &StateKey) -> (i16, i64, &str, &[u8]) {
    match key {
        StateKey::Mark(user) => (MARK, 0, user.as_str(), b""),
        StateKey::Fold(seq) => (FOLD, at(*seq), "", b""),
        StateKey::Reaction(seq, user, key) => (REACTION, at(*seq), user.as_str(), key.as_bytes()),
    }
}

pub(super) const MARK: i16 = 1;
pub(super) const FOLD: i16 = 2;
pub(super) const REACTION: i16 = 3;

/// The room in seven columns from `start` on; `None` where the join found none.
pub(super) fn room_row(row: &Row, start: usize) -> Result<Option<RoomRow>, ReadError> {
    let Some(slot) = get::<Option<i32>>(row, start)? else {
        return Ok(None);
    };
    let number = |column| get::<i64>(row, start + column).map(|number| number as u64);
    let log = LogId::new(get(row, start + 1)?).map_err(|error| unreadable(&error.0))?;
    let head = RoomHead {
        log,
        first: number(2)?,
        head: number(3)?,
        ordinal: number(4)?,
        at_ms: number(5)?,
        first_ordinal: number(6)?,
    };
    Ok(Some(RoomRow { slot: slot as SlotNo, head }))
}

/// The entry in the columns from `start` on, with an empty payload. What an erasure replaces is not
/// covered by this checksum, see [`payload`].
pub(super) fn entry(room: &RoomName, row: &Row, start: usize) -> Result<Record, ReadError> {
    let number = |column| get::<i64>(row, start + column).map(|number| number as u64);
    let text = |column| get::<&str>(row, start + column);
    let key = std::str::from_utf8(get(row, start + 9)?);
    let session = get::<Option<&str>>(row, start + 5)?;
    let kind: i16 = get(row, start + 7)?;
    let kind = u8::try_from(kind).ok().and_then(ContentKind::from_u8);
    let record = Record {
        seq: number(0)?,
        ordinal: number(1)?,
        slot_pos: number(2)?,
        at_ms: number(3)?,
        user: UserId::new(text(4)?).map_err(|error| unreadable(&error.0))?,
        session: session.map(SessionId::new).transpose().map_err(|error| unreadable(&error.0))?,
        id: MessageId::new(text(6)?).map_err(|error| unreadable(&error.0))?,
        kind: kind.ok_or_else(|| unreadable("an unknown kind of content"))?,
        target: number(8)?,
        key: key.map_err(|_| unreadable("a key that is not text"))?.to_owned(),
        remove: get(row, start + 10)?,
        digest: Digest(number(11)?),
        fence: number(12)?,
        payload: Bytes::new(),
    };
    if head_sum(room, &record) != get::<i32>(row, start + 13)? {
        return Err(damaged(room, record.seq));
    }
    Ok(record)
}

/// Puts the payload and its checksum, in two columns, into an entry.
pub(super) fn payload(
    room: &RoomName,
    record: Record,
    row: &Row,
    column: usize,
) -> Result<Record, ReadError> {
    let bytes: &[u8] = get(row, column)?;
    let sum = body_sum(room, record.seq, record.kind, record.digest, bytes);
    if sum != get::<i32>(row, column + 1)? {
        return Err(damaged(room, record.seq));
    }
    Ok(Record { payload: Bytes::copy_from_slice(bytes), ..record })
}

/// A small value and its checksum in two columns; `None` where the join found none.
pub(super) fn state(
    room: &RoomName,
    key: &StateKey,
    row: &Row,
    column: usize,
) -> Result<Option<Bytes>, ReadError> {
    let Some(value) = get::<Option<&[u8]>>(row, column)? else {
        return Ok(None);
    };
    if state_sum(room, key, value) != get::<i32>(row, column + 1)? {
        return Err(ReadError::Corrupt(format!("{room}: wrong checksum of {key:?}")));
    }
    Ok(Some(Bytes::copy_from_slice(value)))
}

/// One column.
pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: usize,
) -> Result<T, ReadError> {
    row.try_get(column).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(why: &str) -> ReadError {
    ReadError::Corrupt(format!("a row cannot be read: {why}"))
}

fn damaged(room: &RoomName, seq: Seq) -> ReadError {
    ReadError::Corrupt(format!("{room}: wrong checksum of entry {seq}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::owner::{post, record, room};

    #[test]
    fn every_field_of_an_entry_is_under_a_checksum() {
        let lobby = room("lobby");
        let good = record(7, 5, 9, 3, post("text"));
        let sums = |name: &RoomName, r: &Record| {
            (head_sum(name, r), body_sum(name, r.seq, r.kind, r.digest, &r.payload))
        };
        let edits: [fn(&mut Record); 14] = [
            |r| r.seq += 1,
            |r| r.ordinal += 1,
            |r| r.slot_pos += 1,
            |r| r.at_ms += 1,
            |r| r.user = UserId::new("eve").expect("valid"),
            |r| r.session = None,
            |r| r.id = MessageId::new("another-id").expect("valid"),
            |r| r.kind = ContentKind::System,
            |r| r.target += 1,
            |r| r.key.push('x'),
            |r| r.remove = true,
            |r| r.digest.0 ^= 1,
            |r| r.fence += 1,
            |r| r.payload = Bytes::from_static(b"texu"),
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            let mut bad = good.clone();
            edit(&mut bad);
            assert_ne!(sums(&lobby, &bad), sums(&lobby, &good), "field {number}");
        }
        assert_ne!(sums(&room("lobbz"), &good).1, sums(&lobby, &good).1);
    }

    #[test]
    fn no_number_wraps_around_on_its_way() {
        assert_eq!((at(7), at(u64::MAX)), (7, i64::MAX));
        assert_eq!(slot_number(u32::MAX), i32::MAX);
    }
}
