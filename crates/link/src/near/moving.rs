//! Rooms of one slot on their way from one owner to the next.

use std::collections::BTreeMap;

use model::{AskBody, Now, RefusalCode, RoomName, SlotNo};

use super::outbox::Pending;
use super::room::Room;
use super::{Near, no};

/// What an edge holds of a slot: its rooms with their readers and attachments, and what was asked and
/// not answered, in order.
#[derive(Debug, Default)]
pub(crate) struct Parted {
    rooms: Vec<(RoomName, Room)>,
    asks: Vec<(u64, Pending)>,
}

impl Parted {
    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.asks.is_empty()
    }
}

impl Near {
    /// Whether this owner has anything of the slot.
    pub(crate) fn holds(&self, slot: SlotNo) -> bool {
        self.rooms.holds(slot) || self.outbox.holds(slot)
    }

    /// Gives everything of a slot away. The owner is told nothing: it knows better whose the slot is,
    /// and what it still says of these rooms is inert. As at a cut, what it may have seen and the next
    /// owner must not see again is refused.
    pub(crate) fn part(&mut self, now: Now, slot: SlotNo) -> Parted {
        self.now = now;
        let mut rooms = self.rooms.part(slot);
        for (name, room) in &mut rooms {
            if let Some(due) = room.not_before {
                self.waiting.remove(&(due, name.clone()));
            }
            room.forget_stream();
            room.attached.values_mut().for_each(|attachment| attachment.told = 0);
        }
        let parts = |name: &RoomName| self.rooms.slot_of(name) == slot;
        self.retelling.retain(|_, (name, _)| !parts(name));
        self.queue.retain(|name| !parts(name));
        if self.telling.as_ref().is_some_and(|(name, _)| parts(name)) {
            self.telling = None;
        }
        let (lost, asks) =
            self.outbox.part(slot).into_iter().partition(|(_, pending)| pending.is_lost());
        let lost: Vec<(u64, Pending)> = lost;
        lost.into_iter().for_each(|(_, pending)| self.refuse_lost(pending));
        rooms.retain(|(_, room)| !room.is_unused());
        Parted { rooms, asks }
    }

    /// Takes over what another owner's half gave away. The rooms are watched and their attachments told
    /// before anything is asked.
    pub(crate) fn adopt(&mut self, now: Now, parted: Parted) {
        self.now = now;
        let mut renamed = BTreeMap::new();
        for (former, pending) in parted.asks {
            // A fresh id: the former may be open on this very stream, where the slot was before.
            let id = self.next_ask;
            self.next_ask += 1;
            self.counts.resent += u64::from(pending.sent);
            renamed.insert(former, id);
            self.outbox.insert(id, pending);
        }
        for (name, mut room) in parted.rooms {
            for attachment in room.attached.values_mut().filter(|attachment| !attachment.stands) {
                // An attach that is open stands in the outbox, so that its id was renamed.
                attachment.ask = renamed.get(&attachment.ask).copied().unwrap_or_default();
            }
            self.rooms.insert(name.clone(), room);
            self.enqueue(&name);
        }
    }

    /// Answers what must not be sent once more.
    pub(super) fn refuse_lost(&mut self, lost: Pending) {
        let (code, retry) = match &lost.ask.body {
            AskBody::Publish(_) => (RefusalCode::DeadlineExceeded, None),
            _ => (RefusalCode::Unavailable, Some(0)),
        };
        if let Some(local) = lost.local {
            self.answer(local, no(&lost.ask, code, retry));
        }
    }
}
