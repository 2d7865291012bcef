//! The slot machine's steps: swap, claim, tail, serve, drop.

use std::sync::Arc;

use cluster::{DropReason, Order, Outcome, RegistryError, Reply, Step, Swap};
use journal::{ClaimError, Claimed, ReadError};
use model::{Fence, Now, RoomName};

use super::moved::Elsewhere;
use super::place::{No, Place, Waiting};
use super::{Done, SlotTask, Tail, open, read};
use crate::steward::ToSteward;

/// Rooms more or less that are not worth a word to the steward.
const LOAD_LEAST: usize = 16;

/// Whose a slot is, or shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// This node serves it, or is on the way to.
    Ours,
    /// A node that lives.
    Theirs(Elsewhere),
    /// Nobody's, and this node takes nothing over.
    Nobodys,
}

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
                self.epoch = epoch;
                self.claim_due = Some(epoch);
                self.claim_if_quiet();
            }
            Step::ReadTail { fence } => self.read_tails(fence),
            Step::Serve { fence, old } => self.serve(now, fence, old),
            Step::Freeze => self.freeze(now),
            Step::Transfer { to, epoch, fence } => self.transfer(now, to, epoch, fence),
            Step::Drop(reason) => self.drop_rooms(now, reason),
        }
    }

    /// Whose the slot is or shall be, as a word has come for it. A slot that nobody owns who lives is taken
    /// over, unless this node leaves.
    pub(super) fn want(&mut self, now: Now) -> Want {
        let view = self.shared.registry.view();
        self.machine.handle_record(now, view.slot(self.no).cloned());
        if self.owning {
            return Want::Ours;
        }
        if let Some(to) = self.elsewhere() {
            return Want::Theirs(to);
        }
        let named = view.slot(self.no).is_some_and(|it| it.owner == self.shared.config.node);
        if !named && self.shared.is_leaving() {
            return Want::Nobodys;
        }
        if self.shared.peers.is_some() && !self.shared.is_leaving() {
            // Others may want it too: the steward knows whose turn it is.
            self.told_wanted |= self.tell_wanted();
        } else {
            self.own(now);
        }
        Want::Ours
    }

    fn tell_wanted(&self) -> bool {
        !self.told_wanted && self.shared.tell_steward(ToSteward::Wanted { slot: self.no })
    }

    /// The slot shall be served here.
    pub(super) fn own(&mut self, now: Now) {
        let view = self.shared.registry.view();
        let record = view.slot(self.no);
        let me = &self.shared.config.node;
        self.may_be_watched |= record.is_some_and(|record| record.owner != *me);
        self.machine.handle_record(now, record.cloned());
        if self.shared.is_leaving() {
            self.machine.handle_drain(now);
            if record.is_none_or(|record| record.owner != *me) {
                return;
            }
        }
        self.owning = true;
        self.machine.handle_order(now, Order::TakeOver);
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
                if let Some(left_out) = self.shared.claims_fail.due(now) {
                    let slot = self.no;
                    tracing::warn!(
                        slot,
                        why,
                        left_out,
                        "a slot could not be claimed; trying again"
                    );
                }
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
        tracing::debug!(slot = self.no, epoch = self.epoch, fence, "serving");
        let continues = self.built_on != 0 && self.built_on == old;
        let hinted = self.use_hints(now, old);
        if !continues && !hinted && old != 0 && self.may_be_watched {
            self.collect(now);
        }
        self.may_be_watched = false;
        if !continues && !self.rooms.is_empty() {
            // Somebody else wrote in between: nothing in memory can be trusted.
            self.forget_rooms(now, No::Unavailable);
        }
        self.built_on = fence;
        self.given_to = None;
        self.shared.set_fence(self.no, Some(fence));
        for place in self.rooms.values_mut() {
            if let Place::Open(open) = place {
                open.room.handle_fence(fence);
            }
        }
        self.told_wanted = false;
        self.told_rooms = None;
        self.say_farewell();
        self.answer_taken(Ok(self.epoch));
        self.go_on(now);
        for word in std::mem::take(&mut self.waiting) {
            self.take(now, word);
        }
    }

    fn drop_rooms(&mut self, now: Now, reason: DropReason) {
        self.log_drop(&reason);
        if let DropReason::Given { to, epoch } = &reason {
            self.given_to = Some(Elsewhere { owner: to.clone(), epoch: *epoch });
        }
        self.shared.set_fence(self.no, None);
        self.built_on = 0;
        self.owning = false;
        self.told_wanted = false;
        self.told_rooms = None;
        let given = matches!(reason, DropReason::Given { .. });
        self.tell_ended(if given { Outcome::Given } else { Outcome::Lost });
        self.forget_handoff(&reason);
        self.begin_farewell();
        self.forget_rooms(now, No::Unavailable);
        // Who is fenced comes back unless the registry names another: only then does anybody wait here.
        if reason == DropReason::Released || self.want(now) != Want::Ours {
            self.refuse_waiting(No::Unavailable);
        }
        self.end_farewell(now);
    }

    pub(super) fn tell_ended(&self, outcome: Outcome) {
        if self.shared.peers.is_some() {
            self.shared.tell_steward(ToSteward::Ended { slot: self.no, outcome });
        }
    }

    /// Tells the steward that the slot is served, and again when it has grown or shrunk by much.
    pub(super) fn tell_load(&mut self) {
        if self.machine.serving().is_none() || self.shared.peers.is_none() {
            return;
        }
        let rooms = self.rooms.len();
        let told = self.told_rooms;
        if told.is_none_or(|told| rooms > 2 * told + LOAD_LEAST || told > 2 * rooms + LOAD_LEAST)
            && self.shared.tell_steward(ToSteward::Served { slot: self.no, rooms })
        {
            self.told_rooms = Some(rooms);
        }
    }

    /// Once, where rooms were served.
    fn log_drop(&self, reason: &DropReason) {
        let served = self.built_on != 0;
        match reason {
            DropReason::Given { to, epoch } => {
                tracing::debug!(slot = self.no, %to, epoch, rooms = self.rooms.len(), "the slot was handed over");
            }
            DropReason::Fenced | DropReason::Moved if served => {
                self.shared.counters.fenced.add(u64::from(*reason == DropReason::Fenced));
                tracing::warn!(
                    slot = self.no,
                    ?reason,
                    rooms = self.rooms.len(),
                    "the slot is not ours any more; its rooms are dropped"
                );
            }
            _ => tracing::debug!(slot = self.no, ?reason, "the slot is not ours"),
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
        // Nobody is left who has anything to append.
        self.ready.clear();
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
