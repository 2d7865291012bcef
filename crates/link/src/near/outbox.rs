//! What was asked and not answered, in the order in which it was asked.

use std::collections::{BTreeMap, BTreeSet};

use model::{Ask, AskBody, Now, RoomName, SlotNo};

use crate::LocalKey;

/// Asks of one lane that may be unanswered: ten seconds at 6,500 a second.
pub const OUTBOX_ASKS_MAX: usize = 65_536;
/// Asks of one room among them: a quarter, so that one stuck room leaves space for the others; four
/// times what a room itself queues.
pub const OUTBOX_ROOM_ASKS_MAX: usize = 16_384;
/// Bytes of one lane's unanswered asks: a thousand of the largest.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(OUTBOX_ROOM_ASKS_MAX <= OUTBOX_ASKS_MAX / 4);
const _: () = assert!(OUTBOX_BYTES_MAX >= 1_000 * model::limits::FRAME_BYTES_MAX);

/// What an ask takes beside its variable parts.
const ASK_BYTES: usize = 512;

/// An ask that was not answered.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Where the answer goes; `None` if nobody waits for it.
    pub(crate) local: Option<LocalKey>,
    pub(crate) ask: Ask,
    /// The slot of the ask's room.
    pub(crate) slot: SlotNo,
    pub(crate) deadline: Now,
    /// Whether an owner may have seen it.
    pub(crate) sent: bool,
}

impl Pending {
    /// Whether it may be sent to an owner that may have seen it already. A publish without an id has
    /// no protection against a second copy, and a signal is worth nothing later.
    fn may_repeat(&self) -> bool {
        match &self.ask.body {
            AskBody::Publish(publish) => publish.id.is_some(),
            AskBody::Signal { .. } => false,
            _ => true,
        }
    }

    /// Whether it cannot be sent once more: an owner may have seen it, and must not see it again.
    pub(crate) fn is_lost(&self) -> bool {
        self.sent && !self.may_repeat()
    }
}

/// Ids grow in the order of asking, in each room.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pending: BTreeMap<u64, Pending>,
    /// What has yet to be sent on the current stream.
    unsent: BTreeSet<u64>,
    /// Deadlines in microseconds. What was taken over from another owner's outbox has a later id than
    /// deadline.
    deadlines: BTreeSet<(u64, u64)>,
    slots: BTreeMap<SlotNo, BTreeSet<u64>>,
    bytes: usize,
    rooms: BTreeMap<RoomName, usize>,
}

impl Outbox {
    /// Whether one more ask of this room fits.
    pub(crate) fn has_room_for(&self, room: &RoomName) -> bool {
        self.pending.len() < OUTBOX_ASKS_MAX
            && self.bytes < OUTBOX_BYTES_MAX
            && self.rooms.get(room).is_none_or(|count| *count < OUTBOX_ROOM_ASKS_MAX)
    }

    pub(crate) fn insert(&mut self, id: u64, pending: Pending) {
        self.bytes += weight(&pending.ask);
        *self.rooms.entry(pending.ask.room.clone()).or_default() += 1;
        self.slots.entry(pending.slot).or_default().insert(id);
        self.deadlines.insert((pending.deadline.mono_us, id));
        self.unsent.insert(id);
        self.pending.insert(id, pending);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.unsent.remove(&id);
        self.deadlines.remove(&(pending.deadline.mono_us, id));
        self.bytes -= weight(&pending.ask);
        if let Some(ids) = self.slots.get_mut(&pending.slot) {
            ids.remove(&id);
            if ids.is_empty() {
                self.slots.remove(&pending.slot);
            }
        }
        if let Some(count) = self.rooms.get_mut(&pending.ask.room) {
            *count -= 1;
            if *count == 0 {
                self.rooms.remove(&pending.ask.room);
            }
        }
        Some(pending)
    }

    /// The next ask that the current stream has not carried.
    pub(crate) fn next_unsent(&mut self) -> Option<(u64, Ask)> {
        let id = self.unsent.pop_first()?;
        let pending = self.pending.get_mut(&id)?;
        pending.sent = true;
        Some((id, pending.ask.clone()))
    }

    /// The stream is gone: everything will be sent again, but for what must not be, which is returned.
    pub(crate) fn rewind(&mut self) -> Vec<Pending> {
        let lost = |(id, pending): (&u64, &Pending)| pending.is_lost().then_some(*id);
        let lost: Vec<u64> = self.pending.iter().filter_map(lost).collect();
        let lost = lost.into_iter().filter_map(|id| self.remove(id)).collect();
        self.unsent = self.pending.keys().copied().collect();
        lost
    }

    /// Takes out all asks of a slot's rooms, in their order.
    pub(crate) fn part(&mut self, slot: SlotNo) -> Vec<(u64, Pending)> {
        let ids = self.slots.get(&slot).cloned().unwrap_or_default();
        ids.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    /// The next ask whose time is over.
    pub(crate) fn expire(&mut self, now: Now) -> Option<(u64, Pending)> {
        let (due_us, id) = *self.deadlines.first()?;
        if due_us <= now.mono_us { Some((id, self.remove(id)?)) } else { None }
    }

    pub(crate) fn deadline(&self) -> Option<Now> {
        let (_, id) = self.deadlines.first()?;
        self.pending.get(id).map(|pending| pending.deadline)
    }

    pub(crate) fn holds(&self, slot: SlotNo) -> bool {
        self.slots.contains_key(&slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn weight(ask: &Ask) -> usize {
    let body = match &ask.body {
        AskBody::Publish(publish) => publish.content.body.len(),
        AskBody::Signal { data, .. } => data.len(),
        _ => 0,
    };
    ASK_BYTES + ask.who.user.data.len() + body
}
