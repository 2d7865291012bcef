//! Every read, over one snapshot of a store.
//!
//! # Invariants
//! - What is returned is dense: a missing number between a room's first and last entry is
//!   [`ReadError::Corrupt`], never a shorter answer.

use bytes::Bytes;
use model::{Record, RoomName, Seq, SlotNo, StateKey};

use crate::format::{self, RoomRow, SlotRow};
use crate::keys;
use crate::store::{Space, View};
use crate::{IdRow, ReadError, RoomEntry, RoomHead};

type Read<T> = Result<T, ReadError>;

/// A room's row; `None` while it is unborn.
pub(crate) fn room_row(view: &dyn View, room: &RoomName) -> Read<Option<RoomRow>> {
    let key = keys::room(room);
    let Some(row) = view.get(Space::Meta, &key)? else {
        return Ok(None);
    };
    let body = format::open(&key, &row)?;
    RoomRow::decode(&body).map(Some).ok_or_else(|| format::unreadable(&key))
}

/// A slot's row; `None` if it was never claimed.
pub(crate) fn slot_row(view: &dyn View, slot: SlotNo) -> Read<Option<SlotRow>> {
    let key = keys::slot(slot);
    let Some(row) = view.get(Space::Meta, &key)? else {
        return Ok(None);
    };
    let body = format::open(&key, &row)?;
    SlotRow::decode(&body).map(Some).ok_or_else(|| format::unreadable(&key))
}

pub(crate) fn head(view: &dyn View, room: &RoomName) -> Read<Option<RoomHead>> {
    Ok(room_row(view, room)?.map(|row| row.head))
}

/// One entry without its payload.
pub(crate) fn header(view: &dyn View, room: &RoomName, seq: Seq) -> Read<Record> {
    let key = keys::header(room, seq);
    let row = view.get(Space::Index, &key)?.ok_or_else(|| hole(room, seq))?;
    let body = format::open(&key, &row)?;
    format::decode_header(seq, &body).ok_or_else(|| format::unreadable(&key))
}

/// One entry.
pub(crate) fn record(view: &dyn View, room: &RoomName, seq: Seq) -> Read<Record> {
    let header = header(view, room, seq)?;
    let key = keys::payload(room, seq);
    let row = view.get(Space::Log, &key)?.ok_or_else(|| hole(room, seq))?;
    Ok(Record { payload: format::open(&key, &row)?, ..header })
}

pub(crate) fn hole(room: &RoomName, seq: Seq) -> ReadError {
    ReadError::Corrupt(format!("{room}: entry {seq} is missing"))
}

pub(crate) fn range(
    view: &dyn View,
    room: &RoomName,
    from: Seq,
    limit: usize,
    bytes_max: usize,
) -> Read<Vec<Record>> {
    let Some(head) = head(view, room)? else {
        return Ok(Vec::new());
    };
    let from = from.max(1);
    if from < head.first {
        return Err(ReadError::Trimmed { first: head.first });
    }
    let to = head.head.min(from.saturating_add(limit as u64 - u64::from(limit > 0)));
    if from > to || limit == 0 {
        return Ok(Vec::new());
    }
    let mut budget = Budget::new(bytes_max);
    let mut payloads = view.scan(Space::Log, keys::payloads(room, from..to + 1));
    let mut headers = view.scan(Space::Index, keys::headers(room, from..to + 1));
    let mut records = Vec::new();
    for seq in from..=to {
        let record = next_record(room, seq, headers.next(), payloads.next())?;
        if !budget.takes(record.payload.len()) {
            break;
        }
        records.push(record);
    }
    Ok(records)
}

pub(crate) fn range_back(
    view: &dyn View,
    room: &RoomName,
    before: Seq,
    limit: usize,
    bytes_max: usize,
) -> Read<Vec<Record>> {
    let Some(head) = head(view, room)? else {
        return Ok(Vec::new());
    };
    let before = before.min(head.head + 1);
    if before < head.first {
        return Err(ReadError::Trimmed { first: head.first });
    }
    let from = head.first.max(before.saturating_sub(limit as u64)).max(1);
    if from >= before {
        return Ok(Vec::new());
    }
    let mut budget = Budget::new(bytes_max);
    let mut payloads = view.scan(Space::Log, keys::payloads(room, from..before)).rev();
    let mut headers = view.scan(Space::Index, keys::headers(room, from..before)).rev();
    let mut records = Vec::new();
    for seq in (from..before).rev() {
        let record = next_record(room, seq, headers.next(), payloads.next())?;
        if !budget.takes(record.payload.len()) {
            break;
        }
        records.push(record);
    }
    records.reverse();
    Ok(records)
}

/// The entry `seq`, which must be what both scans yielded next.
fn next_record(
    room: &RoomName,
    seq: Seq,
    header: Option<crate::store::Row>,
    payload: Option<crate::store::Row>,
) -> Read<Record> {
    let header = next_header(room, seq, header)?;
    let (key, row) = payload.ok_or_else(|| hole(room, seq))??;
    if keys::last_number(&key) != Some(seq) {
        return Err(hole(room, seq));
    }
    Ok(Record { payload: format::open(&key, &row)?, ..header })
}

fn next_header(room: &RoomName, seq: Seq, row: Option<crate::store::Row>) -> Read<Record> {
    let (key, row) = row.ok_or_else(|| hole(room, seq))??;
    if keys::last_number(&key) != Some(seq) {
        return Err(hole(room, seq));
    }
    let body = format::open(&key, &row)?;
    format::decode_header(seq, &body).ok_or_else(|| format::unreadable(&key))
}

pub(crate) fn ids(view: &dyn View, room: &RoomName, from: Seq, to: Seq) -> Read<Vec<IdRow>> {
    let Some(head) = head(view, room)? else {
        return Ok(Vec::new());
    };
    let from = from.max(1);
    if from < head.first {
        return Err(ReadError::Trimmed { first: head.first });
    }
    let to = to.min(head.head);
    if from > to {
        return Ok(Vec::new());
    }
    let mut headers = view.scan(Space::Index, keys::headers(room, from..to + 1));
    (from..=to).map(|seq| Ok(next_header(room, seq, headers.next())?.into())).collect()
}

pub(crate) fn by_target(
    view: &dyn View,
    room: &RoomName,
    target: Seq,
    after: Seq,
    limit: usize,
) -> Read<Vec<Record>> {
    let Some(head) = head(view, room)? else {
        return Ok(Vec::new());
    };
    let from = after.saturating_add(1).max(head.first);
    let keys = keys::target(room, target, from)..keys::target(room, target, Seq::MAX);
    view.scan(Space::Index, keys)
        .take(limit)
        .map(|row| {
            let (key, _) = row?;
            let seq = keys::last_number(&key).ok_or_else(|| format::unreadable(&key))?;
            record(view, room, seq)
        })
        .collect()
}

pub(crate) fn state(view: &dyn View, room: &RoomName, key: &StateKey) -> Read<Option<Bytes>> {
    let key = keys::state(room, key);
    view.get(Space::State, &key)?.map(|row| format::open(&key, &row)).transpose()
}

pub(crate) fn states(
    view: &dyn View,
    room: &RoomName,
    keys: &[StateKey],
) -> Read<Vec<Option<Bytes>>> {
    keys.iter().map(|key| state(view, room, key)).collect()
}

pub(crate) fn rooms(
    view: &dyn View,
    slot: Option<SlotNo>,
    after: Option<&RoomName>,
    limit: usize,
) -> Read<Vec<RoomEntry>> {
    let (keys, prefix) = match slot {
        Some(slot) => (keys::slot_rooms(slot, after), keys::SLOT_ROOM_PREFIX),
        None => (keys::rooms(after), keys::ROOM_PREFIX),
    };
    let entry = |row: crate::store::Row| {
        let (key, _) = row?;
        let room = keys::room_behind(&key, prefix).ok_or_else(|| format::unreadable(&key))?;
        let row = room_row(view, &room)?.ok_or_else(|| format::unreadable(&key))?;
        Ok(RoomEntry { room, slot: row.slot, head: row.head })
    };
    view.scan(Space::Meta, keys)
        .map(entry)
        .filter(|entry| match entry {
            Err(ReadError::Corrupt(why)) => {
                tracing::error!(why, "a damaged room is left out of a walk over all rooms");
                false
            }
            _ => true,
        })
        .take(limit)
        .collect()
}

/// Bytes of payload that an answer may hold; the first entry always fits.
pub(crate) struct Budget {
    left: Option<usize>,
    bytes_max: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Budget {
        Budget { left: None, bytes_max }
    }

    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        match self.left {
            None => self.left = Some(self.bytes_max.saturating_sub(bytes)),
            Some(left) if bytes <= left => self.left = Some(left - bytes),
            Some(_) => return false,
        }
        true
    }
}
