//! What was asked and not answered, in the order in which it was asked.

use std::collections::BTreeMap;

use model::{Ask, AskBody, Now, RoomName};

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
}

/// Ids grow, and so do the deadlines: the first entry is the oldest and the first to expire.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pending: BTreeMap<u64, Pending>,
    /// Everything from this id on has yet to be sent on the current stream.
    unsent_from: u64,
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
        self.pending.insert(id, pending);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.bytes -= weight(&pending.ask);
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
        let (id, pending) = self.pending.range_mut(self.unsent_from..).next()?;
        pending.sent = true;
        self.unsent_from = id + 1;
        Some((*id, pending.ask.clone()))
    }

    /// The stream is gone: everything will be sent again, but for what must not be, which is returned.
    pub(crate) fn rewind(&mut self) -> Vec<Pending> {
        self.unsent_from = 0;
        let lost = |(id, pending): (&u64, &Pending)| {
            (pending.sent && !pending.may_repeat()).then_some(*id)
        };
        let lost: Vec<u64> = self.pending.iter().filter_map(lost).collect();
        lost.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// The oldest ask, if its time is over.
    pub(crate) fn expire(&mut self, now: Now) -> Option<(u64, Pending)> {
        let (id, pending) = self.pending.first_key_value()?;
        let id = *id;
        if now.reached(pending.deadline) { Some((id, self.remove(id)?)) } else { None }
    }

    pub(crate) fn deadline(&self) -> Option<Now> {
        self.pending.first_key_value().map(|(_, pending)| pending.deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
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
