//! The slot machine's steps: swap, claim, tail, serve, drop.

use std::sync::Arc;

use cluster::{DropReason, Order, RegistryError, Reply, Step, Swap};
use journal::{ClaimError, Claimed, ReadError};
use model::{Fence, Now, RoomName};

use super::place::{No, Place, Waiting};
use super::{Done, SlotTask, Tail, open, read};

impl SlotTask {
    pub(super) fn step(&mut self, now: Now, step: Step) {
        match step {
            Step::Cas { expected, epoch } => {
                let (shared, slot) = (Arc::clone(&self.shared), self.no);
                self.spawn(async move {
                    Done::Swapped(shared.registry.swap(slot, expected, epoch).await)
                });
            }
            Step::Claim { epoch } => {
                self.shared.set_fence(self.no, None);
                self.claim_due = Some(epoch);
                self.claim_if_quiet();
            }
            Step::ReadTail { fence } => self.read_tails(fence),
            Step::Serve { fence, old } => self.serve(now, fence, old),
            // Nobody orders a handoff here yet; one that were asked for would come to nothing.
            Step::Freeze => self.machine.handle_reply(now, Reply::Flushed),
            Step::Transfer { .. } => self.machine.handle_reply(now, Reply::TransferFailed),
            Step::Drop(reason) => self.drop_rooms(now, reason),
        }
    }

    /// Whether this node should own the slot: nobody else does who lives.
    pub(super) fn want(&mut self, now: Now) -> bool {
        let view = self.shared.registry.view();
        let record = view.slot(self.no);
        self.machine.handle_record(now, record.cloned());
        let other = record.filter(|record| record.owner != self.shared.config.node);
        self.may_be_watched |= other.is_some();
        let others = other.is_some_and(|record| view.nodes.contains_key(&record.owner));
        if !others {
            self.machine.handle_order(now, Order::TakeOver);
        }
        !others
    }

    /// Claims as soon as no append is in flight.
    pub(super) fn claim_if_quiet(&mut self) {
        if self.appending.is_some() {
            return;
        }
        let Some(epoch) = self.claim_due.take() else {
            return;
        };
        self.claims += 1;
        let (shared, slot) = (Arc::clone(&self.shared), self.no);
        let nonce = shared.nonce;
        self.spawn(async move { Done::Claimed(shared.journal.claim(slot, epoch, nonce).await) });
    }

    pub(super) fn swapped(&mut self, now: Now, result: Result<Swap, RegistryError>) {
        let reply = match result {
            Ok(Swap::Done(record)) => Reply::Swapped(Some(record)),
            Ok(Swap::Conflict(record)) => Reply::Swapped(record),
            Err(why) => {
                tracing::warn!(slot = self.no, %why, "the registry did not answer");
                Reply::SwapLost
            }
        };
        self.machine.handle_reply(now, reply);
    }

    pub(super) fn claimed(&mut self, now: Now, result: Result<Claimed, ClaimError>) {
        let reply = match result {
            Ok(Claimed { old_fence, fence, slot_pos }) => {
                self.shared.counters.claims.add(1);
                self.slot_pos = self.slot_pos.max(slot_pos);
                Reply::Claimed { old: old_fence, fence }
            }
            Err(ClaimError::Refused { epoch }) => {
                tracing::debug!(slot = self.no, stored = epoch, "the journal knows a higher epoch");
                Reply::ClaimRefused { stored: epoch }
            }
            Err(ClaimError::NoSpace) => {
                // Nobody is served until there is space: who waits may as well know.
                self.refuse_waiting(No::StorageFull);
                Reply::ClaimLost
            }
            Err(
                ClaimError::Unknown(why) | ClaimError::Unavailable(why) | ClaimError::Poisoned(why),
            ) => {
                tracing::warn!(slot = self.no, why, "the slot could not be claimed; trying again");
                Reply::ClaimLost
            }
        };
        self.machine.handle_reply(now, reply);
    }

    /// Reads the ends of the logs of the rooms that asked for it.
    fn read_tails(&mut self, fence: Fence) {
        let in_doubt: Vec<_> = self
            .rooms
            .iter()
            .filter_map(|(name, place)| match place {
                Place::Open(open) => {
                    let wish = open.reclaim.filter(|reclaim| reclaim.claims < self.claims)?;
                    Some((name.clone(), wish.after))
                }
                Place::Opening(_) => None,
            })
            .collect();
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            let mut tails = Vec::with_capacity(in_doubt.len());
            for (room, after) in in_doubt {
                let tail = read::tail(&*shared.journal, &room, after).await;
                tails.push((room, tail));
            }
            Done::Tails { fence, tails }
        });
    }

    pub(super) fn tails_read(&mut self, now: Now, fence: Fence, tails: Vec<(RoomName, Tail)>) {
        let mut lost = false;
        for (name, tail) in tails {
            let Some(open) = open(&mut self.rooms, &name) else {
                continue;
            };
            match tail {
                Ok((head, records)) => {
                    open.reclaim = None;
                    open.room.handle_reclaimed(now, fence, head, records);
                    self.touch(&name);
                }
                Err(ReadError::Corrupt(why)) => {
                    self.damaged(&name, &why);
                    self.forget_room(now, &name, No::Damaged);
                }
                Err(why) => {
                    tracing::warn!(room = %name, ?why, "the end of a log cannot be read; trying again");
                    lost = true;
                }
            }
        }
        self.machine.handle_reply(now, if lost { Reply::TailLost } else { Reply::TailRead });
    }

    fn serve(&mut self, now: Now, fence: Fence, old: Fence) {
        tracing::debug!(slot = self.no, fence, "serving");
        let continues = self.built_on != 0 && self.built_on == old;
        if !continues && old != 0 && self.may_be_watched {
            self.collect(now);
        }
        self.may_be_watched = false;
        if !continues && !self.rooms.is_empty() {
            // Somebody else wrote in between: nothing in memory can be trusted.
            self.forget_rooms(now, No::Unavailable);
        }
        self.built_on = fence;
        self.shared.set_fence(self.no, Some(fence));
        for place in self.rooms.values_mut() {
            if let Place::Open(open) = place {
                open.room.handle_fence(fence);
            }
        }
        for word in std::mem::take(&mut self.waiting) {
            self.take(now, word);
        }
    }

    fn drop_rooms(&mut self, now: Now, reason: DropReason) {
        if reason == DropReason::Fenced {
            self.shared.counters.fenced.add(1);
        }
        tracing::warn!(
            slot = self.no,
            ?reason,
            "the slot is not ours any more; its rooms are dropped"
        );
        self.shared.set_fence(self.no, None);
        self.built_on = 0;
        self.forget_rooms(now, No::Unavailable);
        if !self.want(now) {
            self.refuse_waiting(No::Unavailable);
        }
    }

    /// Rooms that are opened within the grace collect presence in silence: edges are coming back.
    pub(super) fn collect(&mut self, now: Now) {
        self.collect_until = Some(now.plus_ms(self.shared.config.limits.presence_grace_ms));
    }

    /// Drops all rooms.
    pub(super) fn forget_rooms(&mut self, now: Now, no: No) {
        self.may_be_watched = true;
        let names: Vec<RoomName> = self.rooms.keys().cloned().collect();
        names.iter().for_each(|name| self.forget_room(now, name, no));
    }

    /// Drops a room: it answers what it was asked and tells its watchers. If an append of it is in
    /// flight, the room stays with that.
    pub(super) fn forget_room(&mut self, now: Now, name: &RoomName, no: No) {
        if let Some(open) = open(&mut self.rooms, name) {
            open.room.handle_fenced(now);
        }
        self.take_outputs(now, name);
        match self.rooms.remove(name) {
            Some(Place::Opening(opening)) => {
                for word in opening.words {
                    if let Waiting::Word(word) = word {
                        self.refuse(word, no);
                    }
                }
            }
            Some(Place::Open(open)) => {
                self.shared.counters.rooms_open.sub(1);
                if let Some(due) = open.armed {
                    self.timers.remove(&(due, name.clone()));
                }
                let in_flight = (name.clone(), open.opened);
                if let Some(appending) = &mut self.appending
                    && appending.rooms.contains(&in_flight)
                {
                    appending.orphans.insert(name.clone(), open);
                }
            }
            None => {}
        }
    }
}
