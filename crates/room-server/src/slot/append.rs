//! One append at a time for all rooms of the slot.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::Reply;
use model::{AppendError, Batch, Fence, Now, RoomBatch, RoomName, Seq};
use room::Head;
use tokio::sync::oneshot;

use super::place::{No, Place, Waiting};
use super::{Appending, Done, SlotTask, open, read};

/// Entries of one append; a room gives at most `batch_entries_max` of them. More would only make the
/// first of them wait longer.
const APPEND_ENTRIES_MAX: usize = 2_048;
/// Payload of one append, in bytes, beyond which no further room is added.
const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;

impl SlotTask {
    /// Appends what rooms have, if nothing is in flight and the slot is served.
    pub(super) fn append(&mut self, now: Now) {
        let Some(fence) = self.machine.appending().filter(|_| self.appending.is_none()) else {
            return;
        };
        let (batch, rooms) = self.make_batch(now, fence);
        if batch.rooms.is_empty() {
            return;
        }
        let entries = batch.rooms.iter().map(|part| part.records.len() as u64).sum();
        self.appending = Some(Appending { fence, rooms, entries, orphans: BTreeMap::new() });
        self.shared.counters.appends.add(1);
        let (shared, slot) = (Arc::clone(&self.shared), self.no);
        self.spawn(async move { Done::Appended(shared.journal.append(slot, fence, batch).await) });
    }

    fn make_batch(&mut self, now: Now, fence: Fence) -> (Batch, Vec<(RoomName, u64)>) {
        let (mut entries, mut bytes) = (0, 0);
        let mut batch = Batch::default();
        let mut rooms = Vec::new();
        let encode = Arc::clone(&self.shared.encode);
        while entries < APPEND_ENTRIES_MAX && bytes < APPEND_BYTES_MAX {
            let Some(name) = self.ready.pop_front() else {
                break;
            };
            let Some(open) = open(&mut self.rooms, &name) else {
                continue;
            };
            open.ready = false;
            let part = open.room.poll_append(now, &*encode);
            let opened = open.opened;
            // Judging what is appended may have refused something.
            self.drain_outputs(now, &name);
            let Some(mut part) = part else { continue };
            for record in &mut part.records {
                self.slot_pos += 1;
                record.slot_pos = self.slot_pos;
                record.fence = fence;
            }
            entries += part.records.len();
            bytes += payload(&part);
            batch.rooms.push(part);
            rooms.push((name, opened));
        }
        (batch, rooms)
    }

    pub(super) fn appended(&mut self, now: Now, results: Vec<Result<(), AppendError>>) {
        let Some(mut appending) = self.appending.take() else {
            return;
        };
        self.count(now, &appending, &results);
        let fenced = results.contains(&Err(AppendError::Fenced));
        if fenced {
            self.begin_farewell();
        }
        for ((name, opened), result) in appending.rooms.iter().zip(results) {
            if let Some(mut orphan) = appending.orphans.remove(name) {
                orphan.room.handle_appended(now, result);
                while let Some(output) = orphan.room.poll_output() {
                    self.say(name, output);
                }
            } else if let Some(open) = open(&mut self.rooms, name)
                && open.opened == *opened
            {
                let is_fenced = result == Err(AppendError::Fenced);
                open.room.handle_appended(now, result);
                if is_fenced {
                    self.forget_room(now, name, No::Unavailable);
                } else {
                    // What it answers now is answered before the room may be dropped.
                    self.take_outputs(now, name);
                }
            }
        }
        if fenced {
            self.machine.handle_reply(now, Reply::Fenced { fence: appending.fence });
            self.end_farewell(now);
        }
        self.claim_if_quiet();
    }

    fn count(&self, now: Now, appending: &Appending, results: &[Result<(), AppendError>]) {
        let counters = &self.shared.counters;
        if results.iter().all(Result::is_ok) {
            counters.entries.add(appending.entries);
            return;
        }
        for ((room, _), result) in appending.rooms.iter().zip(results) {
            let Err(error) = result else { continue };
            match error {
                AppendError::Unknown(_) => counters.appends_unknown.add(1),
                _ => counters.appends_failed.add(1),
            }
            if let Some(left_out) = self.shared.appends_fail.due(now) {
                tracing::warn!(slot = self.no, %room, ?error, left_out, "an append failed");
            }
        }
    }

    /// Makes `first` the room's first kept entry.
    pub(super) fn trim(&mut self, room: RoomName, first: Seq, reply: oneshot::Sender<bool>) {
        let Some(fence) = self.machine.serving() else {
            return;
        };
        if let Some(Place::Opening(_)) = self.rooms.get(&room) {
            // Where it begins is being read at this moment; the next round of retention will do.
            return;
        }
        // What its former owner told of its beginning is over.
        drop(self.hints.take(&room));
        let (shared, slot) = (Arc::clone(&self.shared), self.no);
        self.spawn(async move {
            let result = shared.journal.trim(slot, fence, &room, first).await;
            let head = match &result {
                Ok(()) => shared.journal.head(&room).await.ok().flatten().map(read::head_of),
                Err(_) => None,
            };
            Done::Trimmed { room, fence, result, head, reply }
        });
    }

    pub(super) fn trimmed(
        &mut self,
        now: Now,
        room: &RoomName,
        fence: Fence,
        result: &Result<(), AppendError>,
        head: Option<Head>,
    ) {
        match result {
            Ok(()) => {
                let Some(head) = head else { return };
                match self.rooms.get_mut(room) {
                    Some(Place::Open(open)) => {
                        open.room.handle_trimmed(now, &head);
                        self.touch(room);
                    }
                    Some(Place::Opening(opening)) => opening.words.push(Waiting::Trimmed(head)),
                    None => {}
                }
            }
            Err(AppendError::Fenced) => self.machine.handle_reply(now, Reply::Fenced { fence }),
            Err(error) => tracing::warn!(%room, ?error, "a room could not be trimmed"),
        }
    }
}

fn payload(part: &RoomBatch) -> usize {
    let records: usize = part.records.iter().map(|record| record.payload.len()).sum();
    let erasures: usize = part.erasures.iter().map(|erasure| erasure.payload.len()).sum();
    records + erasures
}
