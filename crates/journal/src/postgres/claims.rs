//! What this process owns, and what it may append there.
//!
//! Under a claim this process is the only writer of the slot's rooms, so where they stand is known here
//! and needs no reading. The database checks the fence *and* the slot's last place in the transaction
//! that writes: whatever was judged here over something else than what is stored is not written.
//!
//! # Invariants
//! - What is known of a room was read or written under the slot's present fence.
//! - After an outcome that is not known the claim is gone.
//! - A claim is fence *and* nonce: after a failover that lost a claim the same fence may be given again.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use model::{
    AppendError, Batch, ContentKind, Digest, Fence, Record, RoomBatch, RoomName, Seq, SlotNo,
    StateKey,
};

use crate::Claimed;
use crate::format::RoomRow;
use crate::judge;
use crate::recent::Recent;

/// Rooms whose heads are kept at hand; more are read again, at one round trip.
const ROOMS_KEPT: usize = 65_536;

/// What a row costs beside its payload, about.
const ROW_BYTES: usize = 256;

/// Owned by the engine, behind one short lock.
pub(super) struct Claims {
    part_bytes_max: usize,
    slots: HashMap<SlotNo, Held>,
    rooms: Recent<RoomName, Known>,
}

#[derive(Clone, Copy)]
struct Held {
    fence: Fence,
    nonce: u64,
    slot_pos: u64,
}

struct Known {
    fence: Fence,
    slot: SlotNo,
    row: Option<RoomRow>,
}

/// A new entry.
pub(super) struct Entry {
    pub(super) room: RoomName,
    pub(super) record: Record,
    /// Whether its ordinal is its own.
    pub(super) post: bool,
}

/// What one append writes, if the slot is where it was judged to be.
pub(super) struct Draft {
    pub(super) slot: SlotNo,
    pub(super) fence: Fence,
    pub(super) nonce: u64,
    pub(super) old_pos: u64,
    pub(super) new_pos: u64,
    pub(super) rooms: BTreeMap<RoomName, RoomRow>,
    pub(super) entries: Vec<Entry>,
    pub(super) erasures: BTreeMap<(RoomName, Seq), Bytes>,
    pub(super) states: BTreeMap<(RoomName, StateKey), Option<Bytes>>,
    /// One for each part; those that were refused stay so whatever the database says.
    pub(super) results: Vec<Result<(), AppendError>>,
}

impl Claims {
    pub(super) fn new(part_bytes_max: usize) -> Claims {
        Claims { part_bytes_max, slots: HashMap::new(), rooms: Recent::new(ROOMS_KEPT) }
    }

    /// A claim was made.
    pub(super) fn put(&mut self, slot: SlotNo, nonce: u64, claimed: Claimed) {
        // Answers of two claims may overtake each other.
        if self.slots.get(&slot).is_none_or(|held| held.fence < claimed.fence) {
            let held = Held { fence: claimed.fence, nonce, slot_pos: claimed.slot_pos };
            self.slots.insert(slot, held);
        }
    }

    /// The claim under this fence, or an older one, has ended.
    pub(super) fn end(&mut self, slot: SlotNo, fence: Fence) {
        if self.slots.get(&slot).is_some_and(|held| held.fence <= fence) {
            self.slots.remove(&slot);
        }
    }

    /// The nonce of the claim under this fence, if it has not ended here.
    pub(super) fn nonce(&self, slot: SlotNo, fence: Fence) -> Option<u64> {
        self.slots.get(&slot).filter(|held| held.fence == fence).map(|held| held.nonce)
    }

    /// Whether the slot was claimed through this engine under this fence, and may be still.
    pub(super) fn holds(&self, slot: SlotNo, fence: Fence) -> bool {
        self.slots.get(&slot).is_some_and(|held| held.fence == fence)
    }

    /// Rooms of a batch that have to be read before it can be judged.
    pub(super) fn unread(&mut self, slot: SlotNo, fence: Fence, batch: &Batch) -> Vec<RoomName> {
        let names = batch.rooms.iter().map(|part| &part.room);
        names.filter(|name| self.known(slot, fence, name).is_none()).cloned().collect()
    }

    /// A room was read under this fence.
    pub(super) fn learn(
        &mut self,
        slot: SlotNo,
        fence: Fence,
        room: RoomName,
        row: Option<RoomRow>,
    ) {
        if self.holds(slot, fence) {
            self.rooms.put(room, Known { fence, slot, row });
        }
    }

    fn known(&mut self, slot: SlotNo, fence: Fence, room: &RoomName) -> Option<&Option<RoomRow>> {
        let known = self.rooms.get(room)?;
        (known.slot == slot && known.fence == fence).then_some(&known.row)
    }

    /// Judges an append; `None` if the slot is not held under this fence.
    pub(super) fn judge(&mut self, slot: SlotNo, fence: Fence, batch: &Batch) -> Option<Draft> {
        let held = self.slots.get(&slot).copied().filter(|held| held.fence == fence)?;
        let mut draft = Draft {
            slot,
            fence,
            nonce: held.nonce,
            old_pos: held.slot_pos,
            new_pos: held.slot_pos,
            rooms: BTreeMap::new(),
            entries: Vec::new(),
            erasures: BTreeMap::new(),
            states: BTreeMap::new(),
            results: Vec::with_capacity(batch.rooms.len()),
        };
        for part in &batch.rooms {
            let result = self.judge_part(part, &mut draft);
            draft.results.push(result);
        }
        Some(draft)
    }

    fn judge_part(&mut self, part: &RoomBatch, draft: &mut Draft) -> Result<(), AppendError> {
        let known = match draft.rooms.get(&part.room) {
            Some(row) => Some(row.clone()),
            None => match self.known(draft.slot, draft.fence, &part.room) {
                Some(row) => row.clone(),
                None => return Err(AppendError::Unavailable("the room was not read".into())),
            },
        };
        let (row, new_pos) = judge::advance(known.as_ref(), draft.slot, draft.new_pos, part)?;
        if bytes(part) > self.part_bytes_max {
            return Err(AppendError::TooLarge { bytes_max: self.part_bytes_max });
        }
        draft.take(part, known.map_or(0, |row| row.head.ordinal), row, new_pos);
        Ok(())
    }

    /// What was drafted is committed.
    pub(super) fn committed(&mut self, draft: &Draft) {
        let Some(held) = self.slots.get_mut(&draft.slot) else { return };
        if held.fence != draft.fence {
            return;
        }
        held.slot_pos = draft.new_pos;
        let Draft { fence, slot, .. } = *draft;
        for (room, row) in &draft.rooms {
            self.rooms.put(room.clone(), Known { fence, slot, row: Some(row.clone()) });
        }
    }

    /// A room was trimmed; where it begins is read again when it matters.
    pub(super) fn forget_room(&mut self, room: &RoomName) {
        if let Some(known) = self.rooms.get(room) {
            let gone = Known { fence: 0, slot: known.slot, row: None };
            self.rooms.put(room.clone(), gone);
        }
    }
}

impl Draft {
    fn take(&mut self, part: &RoomBatch, ordinal_before: u64, row: RoomRow, new_pos: u64) {
        let mut ordinal = ordinal_before;
        for record in &part.records {
            let post = record.ordinal > ordinal;
            ordinal = record.ordinal;
            self.entries.push(Entry { room: part.room.clone(), record: record.clone(), post });
        }
        for erasure in part.erasures.iter().filter(|erasure| erasure.seq >= row.head.first) {
            let new = self.entries.iter_mut().rev();
            let mut new = new.filter(|e| e.record.seq == erasure.seq && e.room == part.room);
            match new.next() {
                Some(entry) => {
                    entry.record.kind = ContentKind::Tombstone;
                    entry.record.digest = Digest::default();
                    entry.record.payload = erasure.payload.clone();
                }
                None => {
                    let key = (part.room.clone(), erasure.seq);
                    self.erasures.insert(key, erasure.payload.clone());
                }
            }
        }
        for (key, value) in &part.states {
            self.states.insert((part.room.clone(), key.clone()), value.clone());
        }
        self.new_pos = new_pos;
        if !part.records.is_empty() {
            self.rooms.insert(part.room.clone(), row);
        }
    }

    /// Whether there is anything to write.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.erasures.is_empty() && self.states.is_empty()
    }

    /// The answer, where the database did not take what was drafted.
    pub(super) fn fail(self, error: &AppendError) -> Vec<Result<(), AppendError>> {
        self.results.into_iter().map(|result| result.and(Err(error.clone()))).collect()
    }
}

fn bytes(part: &RoomBatch) -> usize {
    let records = part.records.iter().map(|record| ROW_BYTES + record.payload.len());
    let erasures = part.erasures.iter().map(|erasure| ROW_BYTES + erasure.payload.len());
    let states =
        part.states.iter().map(|(_, value)| ROW_BYTES + value.as_ref().map_or(0, Bytes::len));
    records.sum::<usize>() + erasures.sum::<usize>() + states.sum::<usize>()
}
