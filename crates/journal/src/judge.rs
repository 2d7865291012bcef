//! The rules of writing: what is refused, and which rows a claim, an append or a trim writes.
//!
//! Owned by the one who commits. A judgement changes the tables at once, as if it were committed
//! already; whoever cannot commit it calls [`Judge::forget`].
//!
//! # Invariants
//! - An append passes only under the fence of the last claim made through this judge: after
//!   `forget`, every owner has to claim again.
//! - A refused part writes no row and changes no table.
//! - Of two writes to one key the later one counts: engines drop the earlier one.

use std::collections::HashMap;

use model::{
    AppendError, Batch, ContentKind, Digest, Epoch, Erasure, Fence, Record, RoomBatch, RoomName,
    Seq, SlotNo,
};

use crate::format::{self, RoomRow, SlotRow};
use crate::recent::Recent;
use crate::store::{Space, View, Write};
use crate::{ClaimError, Claimed, ReadError, RoomHead, keys, read};

/// Rooms whose heads are kept at hand; more are read again, at some microseconds each.
const ROOMS_KEPT: usize = 16_384;

/// Rows that one trim deletes in one transaction.
pub(crate) const TRIM_ROWS_MAX: usize = 8_192;

/// See the module.
pub(crate) struct Judge {
    /// Number of slots; a claim beyond is a mistake in the settings.
    slots: SlotNo,
    /// Bytes of one room's part.
    bytes_max: usize,
    claims: HashMap<SlotNo, SlotRow>,
    rooms: Recent<RoomName, Option<RoomRow>>,
}

/// What an append came to.
pub(crate) struct Appended {
    /// One for each room of the batch.
    pub(crate) results: Vec<Result<(), AppendError>>,
    /// Whether something was blanked, so that old bytes have to leave the disk.
    pub(crate) erases: bool,
}

impl Judge {
    pub(crate) fn new(slots: SlotNo, bytes_max: usize) -> Judge {
        Judge { slots, bytes_max, claims: HashMap::new(), rooms: Recent::new(ROOMS_KEPT) }
    }

    /// Drops every claim and everything that was judged but may not have been committed.
    pub(crate) fn forget(&mut self) {
        self.claims.clear();
        self.rooms.clear();
    }

    pub(crate) fn claim(
        &mut self,
        view: &dyn View,
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
        out: &mut Vec<Write>,
    ) -> Result<Claimed, ClaimError> {
        if slot >= self.slots {
            return Err(ClaimError::Unavailable(format!(
                "slot {slot} does not exist; this journal was made for {} slots",
                self.slots
            )));
        }
        let row = match self.claims.get(&slot) {
            Some(row) => *row,
            None => read::slot_row(view, slot).map_err(claim_unread)?.unwrap_or_default(),
        };
        if epoch < row.epoch || (row.fence > 0 && epoch == row.epoch && nonce != row.nonce) {
            return Err(ClaimError::Refused { epoch: row.epoch });
        }
        let claimed = SlotRow { epoch, nonce, fence: row.fence + 1, ..row };
        self.put_slot(slot, claimed, out);
        Ok(Claimed { old_fence: row.fence, fence: claimed.fence, slot_pos: row.slot_pos })
    }

    pub(crate) fn append(
        &mut self,
        view: &dyn View,
        slot: SlotNo,
        fence: Fence,
        batch: &Batch,
        out: &mut Vec<Write>,
    ) -> Appended {
        let Some(mut row) = self.claimed(slot, fence) else {
            let results = batch.rooms.iter().map(|_| Err(AppendError::Fenced)).collect();
            return Appended { results, erases: false };
        };
        let mut erases = false;
        let before = row.slot_pos;
        let results = batch
            .rooms
            .iter()
            .map(|part| {
                let start = out.len();
                let result = self.append_room(view, slot, &mut row.slot_pos, part, out);
                match result {
                    Ok(()) => erases |= !part.erasures.is_empty(),
                    Err(_) => out.truncate(start),
                }
                result
            })
            .collect();
        if row.slot_pos != before {
            self.put_slot(slot, row, out);
        }
        Appended { results, erases }
    }

    /// The rows that make `first` the first kept entry; deleting the rows below is for [`sweep`].
    pub(crate) fn trim(
        &mut self,
        view: &dyn View,
        slot: SlotNo,
        fence: Fence,
        room: &RoomName,
        first: Seq,
        out: &mut Vec<Write>,
    ) -> Result<(), AppendError> {
        if self.claimed(slot, fence).is_none() {
            return Err(AppendError::Fenced);
        }
        let Some(mut row) = self.room(view, room)? else {
            return Ok(());
        };
        if row.slot != slot {
            return Err(misplaced(room, row.slot, slot));
        }
        let Some(first) = trimmed(&row.head, first) else {
            return Ok(());
        };
        row.head.first_ordinal =
            read::header(view, room, first - 1).map_err(append_unread)?.ordinal;
        row.head.first = first;
        self.put_room(room, row, out);
        Ok(())
    }

    /// The row of a slot that was claimed through this judge under this fence.
    pub(crate) fn claimed(&self, slot: SlotNo, fence: Fence) -> Option<SlotRow> {
        self.claims.get(&slot).copied().filter(|row| row.fence == fence)
    }

    /// Every slot's fence.
    pub(crate) fn fences(&self) -> impl Iterator<Item = (SlotNo, Fence)> + '_ {
        self.claims.iter().map(|(slot, row)| (*slot, row.fence))
    }

    fn append_room(
        &mut self,
        view: &dyn View,
        slot: SlotNo,
        slot_pos: &mut u64,
        part: &RoomBatch,
        out: &mut Vec<Write>,
    ) -> Result<(), AppendError> {
        let start = out.len();
        let known = self.room(view, &part.room)?;
        let born = known.is_none() && !part.records.is_empty();
        let (row, last_pos) = advance(known.as_ref(), slot, *slot_pos, part)?;
        let mut ordinal = known.map_or(0, |row| row.head.ordinal);
        for record in &part.records {
            put_record(&part.room, record, ordinal, out);
            ordinal = record.ordinal;
        }
        for erasure in &part.erasures {
            erase(view, &part.room, &row, part, erasure, out)?;
        }
        for (key, value) in &part.states {
            let key = keys::state(&part.room, key);
            out.push(match value {
                Some(value) => {
                    let row = format::seal(&key, value);
                    Write::put(Space::State, key, row)
                }
                None => Write::delete(Space::State, key),
            });
        }
        if out[start..].iter().map(Write::bytes).sum::<usize>() > self.bytes_max {
            return Err(AppendError::TooLarge { bytes_max: self.bytes_max });
        }
        if born {
            let key = keys::slot_room(slot, &part.room);
            out.push(Write::put(Space::Meta, key, Vec::new()));
        }
        if !part.records.is_empty() {
            *slot_pos = last_pos;
            self.put_room(&part.room, row, out);
        }
        Ok(())
    }

    fn room(&mut self, view: &dyn View, room: &RoomName) -> Result<Option<RoomRow>, AppendError> {
        if let Some(row) = self.rooms.get(room) {
            return Ok(row.clone());
        }
        let row = read::room_row(view, room).map_err(append_unread)?;
        self.rooms.put(room.clone(), row.clone());
        Ok(row)
    }

    fn put_room(&mut self, room: &RoomName, row: RoomRow, out: &mut Vec<Write>) {
        let key = keys::room(room);
        let value = format::seal(&key, &row.encode());
        out.push(Write::put(Space::Meta, key, value));
        self.rooms.put(room.clone(), Some(row));
    }

    fn put_slot(&mut self, slot: SlotNo, row: SlotRow, out: &mut Vec<Write>) {
        let key = keys::slot(slot);
        let value = format::seal(&key, &row.encode());
        out.push(Write::put(Space::Meta, key, value));
        self.claims.insert(slot, row);
    }
}

/// The rows below a room's first entry, at most [`TRIM_ROWS_MAX`]; deleting them changes no answer.
pub(crate) fn sweep(view: &dyn View, room: &RoomName) -> Result<Vec<Write>, ReadError> {
    let Some(row) = read::room_row(view, room)? else {
        return Ok(Vec::new());
    };
    let RoomHead { first, first_ordinal, .. } = row.head;
    let ranges = [
        (Space::Log, keys::payloads(room, 0..first)),
        (Space::Index, keys::headers(room, 0..first)),
        (Space::Index, keys::ordinals(room, 0..first_ordinal + 1)),
        // An entry's target lies below it: this covers the entries that go, too.
        (Space::Index, keys::target(room, 1, 0)..keys::target(room, first, 0)),
        (Space::State, keys::folds(room, 0..first)),
        (Space::State, keys::reactions(room, 0..first)),
    ];
    ranges
        .into_iter()
        .flat_map(|(space, keys)| view.scan(space, keys).map(move |row| (space, row)))
        .take(TRIM_ROWS_MAX)
        .map(|(space, row)| Ok(Write::delete(space, row?.0.to_vec())))
        .collect()
}

/// The room behind a part, and the slot's last place then; or why the part is refused.
pub(crate) fn advance(
    known: Option<&RoomRow>,
    slot: SlotNo,
    slot_pos: u64,
    part: &RoomBatch,
) -> Result<(RoomRow, u64), AppendError> {
    if let Some(row) = known.filter(|row| row.slot != slot) {
        return Err(misplaced(&part.room, row.slot, slot));
    }
    let mut row = known.cloned().unwrap_or_else(|| unborn(slot, part));
    let last_pos = continues(&row, slot_pos, part)?;
    for record in &part.records {
        row.head.head = record.seq;
        row.head.ordinal = record.ordinal;
        row.head.at_ms = row.head.at_ms.max(record.at_ms);
    }
    Ok((row, last_pos))
}

/// Where a trim makes a room begin; `None` if that changes nothing.
pub(crate) fn trimmed(head: &RoomHead, first: Seq) -> Option<Seq> {
    let first = first.min(head.head + 1);
    (first > head.first).then_some(first)
}

fn unborn(slot: SlotNo, part: &RoomBatch) -> RoomRow {
    let head = RoomHead {
        log: part.log.clone(),
        first: 1,
        head: 0,
        ordinal: 0,
        at_ms: 0,
        first_ordinal: 0,
    };
    RoomRow { slot, head }
}

/// Whether the part goes on where the room and the slot stand; answers the slot's new last place.
fn continues(row: &RoomRow, slot_pos: u64, part: &RoomBatch) -> Result<u64, AppendError> {
    let conflict = || AppendError::SequenceConflict { expected: row.head.head + 1 };
    let (mut seq, mut ordinal, mut pos) = (row.head.head, row.head.ordinal, slot_pos);
    let unnamed = part.log.is_none() && !part.records.is_empty();
    if part.log != row.head.log || unnamed {
        return Err(conflict());
    }
    for record in &part.records {
        let posts = record.ordinal.checked_sub(ordinal).ok_or_else(conflict)?;
        let counts = match record.kind {
            ContentKind::Post => posts == 1,
            // What was redacted once may be written as such, by a copy of a log.
            ContentKind::Tombstone => posts <= 1,
            _ => posts == 0,
        };
        if record.seq != seq + 1 || record.slot_pos <= pos || !counts {
            return Err(conflict());
        }
        (seq, ordinal, pos) = (record.seq, record.ordinal, record.slot_pos);
    }
    if part.erasures.iter().any(|erasure| erasure.seq > seq || erasure.seq == 0) {
        return Err(conflict());
    }
    Ok(pos)
}

/// The rows of a new entry, where so many posts lie before it.
pub(crate) fn put_record(
    room: &RoomName,
    record: &Record,
    ordinal_before: u64,
    out: &mut Vec<Write>,
) {
    put_entry(room, record, out);
    if record.ordinal > ordinal_before {
        let key = keys::ordinal(room, record.ordinal);
        let mut body = Vec::new();
        format::put_number(&mut body, record.seq);
        let row = format::seal(&key, &body);
        out.push(Write::put(Space::Index, key, row));
    }
    if record.target > 0 {
        let key = keys::target(room, record.target, record.seq);
        out.push(Write::put(Space::Index, key, Vec::new()));
    }
}

fn put_entry(room: &RoomName, record: &Record, out: &mut Vec<Write>) {
    let key = keys::header(room, record.seq);
    let row = format::seal(&key, &format::encode_header(record));
    out.push(Write::put(Space::Index, key, row));
    let key = keys::payload(room, record.seq);
    let row = format::seal(&key, &record.payload);
    out.push(Write::put(Space::Log, key, row));
}

fn erase(
    view: &dyn View,
    room: &RoomName,
    row: &RoomRow,
    part: &RoomBatch,
    erasure: &Erasure,
    out: &mut Vec<Write>,
) -> Result<(), AppendError> {
    if erasure.seq < row.head.first {
        return Ok(());
    }
    let record = match part.records.iter().find(|record| record.seq == erasure.seq) {
        Some(record) => record.clone(),
        None => read::header(view, room, erasure.seq).map_err(append_unread)?,
    };
    let tombstone = Record {
        kind: ContentKind::Tombstone,
        digest: Digest::default(),
        payload: erasure.payload.clone(),
        ..record
    };
    put_entry(room, &tombstone, out);
    Ok(())
}

pub(crate) fn misplaced(room: &RoomName, stored: SlotNo, asked: SlotNo) -> AppendError {
    AppendError::Corrupt(format!("{room} was born in slot {stored}, not in slot {asked}"))
}

fn append_unread(error: ReadError) -> AppendError {
    match error {
        ReadError::Unavailable(why) => AppendError::Unavailable(why),
        ReadError::Corrupt(what) => AppendError::Corrupt(what),
        ReadError::Trimmed { first } => AppendError::Corrupt(format!("trimmed up to {first}")),
    }
}

fn claim_unread(error: ReadError) -> ClaimError {
    match error {
        ReadError::Unavailable(why) => ClaimError::Unavailable(why),
        other => ClaimError::Poisoned(format!("the slot's row cannot be read: {other:?}")),
    }
}
