//! Handing the slot to another node, and being handed one.
//!
//! The giver holds new words back, flushes what was taken, tells the taker what its rooms are, and says
//! nothing more until it knows what became of it. The taker claims the slot as it would a dead owner's;
//! what it was told counts only if that claim follows the giver's own.
//!
//! # Invariants
//! - From the transfer on nothing is answered, fed or appended here, unless the slot is served again.
//! - Words that were held back are taken in their order, or their edges are told where to go.
//! - Hints are used once, under the claim that they were handed over for.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::{DropReason, Order, Outcome, Reply};
use model::{Epoch, Fence, NodeId, Now, RoomName};

use super::moved::Elsewhere;
use super::place::Place;
use super::{Done, Hold, SlotTask, open};
use crate::peers::WARM_ROOMS_MAX;
use crate::peers::convert::{self, HINTS_BYTES_MAX};
use crate::slots::{GiveReply, Transfer};

/// Milliseconds that publishes which wait for a read may hold up a handoff: beyond that their edges send
/// them to the next owner.
const FLUSH_MS: u64 = 100;
/// Ids that a room hands over: what most publishes are checked against.
const IDS_MAX: usize = 256;
/// Ids that each of many rooms hands over: what is being sent again at this moment.
const IDS_MIN: usize = 8;
/// Bytes of an id with what belongs to it, about.
const ID_BYTES: usize = 128;

/// A slot on its way to this node.
pub(super) struct Taking {
    transfer: Transfer,
    reply: GiveReply,
}

/// What rooms' former owner knew of them, until they are opened.
#[derive(Default)]
pub(super) struct Hints {
    rooms: BTreeMap<RoomName, room::Hints>,
    /// Rooms that were open there are missing here.
    partial: bool,
    /// Until then they are kept: whoever was there has come by then.
    due: Option<Now>,
}

impl Hints {
    pub(super) fn take(&mut self, room: &RoomName) -> Option<room::Hints> {
        self.rooms.remove(room)
    }

    /// Whether there may be people in a room of which nothing is known here.
    pub(super) fn are_partial(&self) -> bool {
        self.partial
    }

    pub(super) fn due(&self) -> Option<Now> {
        self.due
    }

    pub(super) fn handle_timeout(&mut self, now: Now) {
        if self.due.is_some_and(|due| now.reached(due)) {
            *self = Hints::default();
        }
    }
}

impl SlotTask {
    /// Hands the slot to another node: first the way there is made ready.
    pub(super) fn give(&mut self, to: NodeId, reply: GiveReply) {
        let view = self.shared.registry.view();
        let refusal = match (&self.shared.peers, view.nodes.get(&to)) {
            (None, _) => Some("this server has no peers".to_owned()),
            (_, None) => Some(format!("{to} is not there")),
            _ if self.machine.serving().is_none() => Some("it is not served here".to_owned()),
            _ if self.giving.is_some() => Some("it is being handed over already".to_owned()),
            _ => None,
        };
        let Some(taker) = view.nodes.get(&to).filter(|_| refusal.is_none()).cloned() else {
            // What is not served and not on its way either is not the steward's to give.
            let lost = self.machine.serving().is_none() && self.giving.is_none();
            self.tell_ended(if lost { Outcome::Lost } else { Outcome::NotGiven });
            let _ = reply.send(Err(refusal.unwrap_or_default()));
            return;
        };
        self.giving = Some(reply);
        let (shared, slot) = (Arc::clone(&self.shared), self.no);
        let rooms: Vec<RoomName> = self.rooms.keys().take(WARM_ROOMS_MAX).cloned().collect();
        self.spawn(async move {
            if let Some(peers) = &shared.peers {
                peers.warm(&taker, slot, &rooms).await;
            }
            Done::Warmed { to }
        });
    }

    pub(super) fn warmed(&mut self, now: Now, to: NodeId) {
        self.machine.handle_order(now, Order::Give { to });
        if self.machine.giving().is_none() {
            self.tell_ended(Outcome::NotGiven);
            self.answer_giving(Err("it is being claimed again at this moment".to_owned()));
        }
    }

    /// Holds new words back and flushes what was taken.
    pub(super) fn freeze(&mut self, now: Now) {
        self.hold = Hold::Words { since: now };
        let names: Vec<RoomName> = self.rooms.keys().cloned().collect();
        for name in names {
            if let Some(open) = open(&mut self.rooms, &name) {
                open.room.handle_freeze(now);
                self.touch(&name);
            }
        }
    }

    /// When the flush is looked at again though nothing happened.
    pub(super) fn flush_due(&self) -> Option<Now> {
        match self.hold {
            Hold::Words { since } if self.is_freezing() => Some(since.plus_ms(FLUSH_MS)),
            _ => None,
        }
    }

    /// Goes on with the handoff once what was taken is flushed; whether it is.
    pub(super) fn finish_freeze(&mut self, now: Now) -> bool {
        let Some(due) = self.flush_due() else {
            return false;
        };
        if self.appending.is_some() || !self.ready.is_empty() {
            return false;
        }
        let late = now.reached(due);
        let flushed = self.rooms.values().all(|place| match place {
            Place::Open(open) => late || open.room.is_flushed(),
            // What waits there goes on at the next owner.
            Place::Opening(_) => true,
        });
        if flushed {
            self.machine.handle_reply(now, Reply::Flushed);
        }
        flushed
    }

    fn is_freezing(&self) -> bool {
        self.machine.giving().is_some() && self.machine.appending().is_some()
    }

    /// Asks the taker to claim the slot.
    pub(super) fn transfer(&mut self, now: Now, to: NodeId, epoch: Epoch, fence: Fence) {
        self.hold = Hold::Everything;
        let ids = HINTS_BYTES_MAX / (ID_BYTES * self.rooms.len().max(1));
        let ids = ids.clamp(IDS_MIN, IDS_MAX);
        let (mut rooms, mut partial) = (Vec::new(), false);
        for (name, place) in &self.rooms {
            // One that is being opened is nobody's yet.
            let Place::Open(open) = place else { continue };
            match open.room.export(now, ids) {
                Some(hints) => rooms.push((name.clone(), hints)),
                None => partial = true,
            }
        }
        let me = &self.shared.config.node;
        let mut request = convert::encode(self.no, me, epoch, fence, rooms);
        request.partial |= partial;
        let shared = Arc::clone(&self.shared);
        self.spawn(async move {
            let view = shared.registry.view();
            let result = match (&shared.peers, view.nodes.get(&to)) {
                (Some(peers), Some(taker)) => peers.transfer(taker, request).await,
                _ => Err(format!("{to} is not there any more")),
            };
            Done::Given { to, result }
        });
    }

    /// What the taker said.
    pub(super) fn given(&mut self, now: Now, to: NodeId, result: Result<Epoch, String>) {
        let expected = self.machine.giving() == Some(&to);
        let reply = match &result {
            Ok(epoch) => Reply::Transferred { epoch: *epoch },
            Err(why) => {
                tracing::warn!(slot = self.no, %to, why, "the slot was not taken");
                self.tell_ended(Outcome::NotGiven);
                Reply::TransferFailed
            }
        };
        self.machine.handle_reply(now, reply);
        if let Ok(epoch) = result
            && !expected
            && !self.owning
            && epoch > self.epoch
        {
            // The registry or the journal was faster; perhaps without saying who it is.
            self.given_to = Some(Elsewhere { owner: to, epoch });
            self.part(now);
        }
        self.answer_giving(result);
    }

    fn answer_giving(&mut self, result: Result<Epoch, String>) {
        let counters = &self.shared.counters;
        if let Some(reply) = self.giving.take() {
            if result.is_ok() {
                counters.given.add(1)
            } else {
                counters.given_failed.add(1)
            }
            let _ = reply.send(result);
        }
    }

    /// Another node hands the slot over.
    pub(super) fn take_on(&mut self, now: Now, transfer: Transfer, reply: GiveReply) {
        if self.shared.is_leaving() {
            let _ = reply.send(Err("this node is leaving".to_owned()));
            return;
        }
        if self.machine.serving().is_some() && self.epoch > transfer.epoch {
            let _ = reply.send(Ok(self.epoch));
            return;
        }
        let view = self.shared.registry.view();
        let named = view
            .slot(self.no)
            .is_some_and(|record| record.owner == transfer.from && record.epoch == transfer.epoch);
        if !named {
            let _ = reply.send(Err(format!(
                "the registry does not name {} at epoch {}",
                transfer.from, transfer.epoch
            )));
            return;
        }
        self.answer_taken(Err("it was handed over once more".to_owned()));
        self.taking = Some(Taking { transfer, reply });
        self.own(now);
    }

    /// The slot is served, and continues `old`: whether what was told with it is true.
    pub(super) fn use_hints(&mut self, now: Now, old: Fence) -> bool {
        self.hints = Hints::default();
        let Some(taking) = &mut self.taking else {
            return false;
        };
        let Transfer { fence, rooms, partial, .. } = &mut taking.transfer;
        if *fence != old {
            tracing::info!(slot = self.no, "somebody wrote in between; rooms are opened cold");
            return false;
        }
        let due = Some(now.plus_ms(self.shared.config.limits.presence_grace_ms));
        self.hints = Hints { rooms: std::mem::take(rooms), partial: *partial, due };
        true
    }

    /// Tells the giver what became of it.
    pub(super) fn answer_taken(&mut self, result: Result<Epoch, String>) {
        if let Some(Taking { reply, .. }) = self.taking.take() {
            self.shared.counters.taken.add(u64::from(result.is_ok()));
            let _ = reply.send(result);
        }
    }

    /// The slot is served: what stood still moves again.
    pub(super) fn go_on(&mut self, now: Now) {
        self.hold = Hold::Nothing;
        for done in std::mem::take(&mut self.late) {
            self.done(now, done);
        }
    }

    /// The slot is lost: nothing of a handoff is left.
    pub(super) fn forget_handoff(&mut self, reason: &DropReason) {
        let asked = self.hold == Hold::Everything;
        self.hold = Hold::Nothing;
        self.late.clear();
        self.hints = Hints::default();
        self.answer_taken(Err("another node owns it".to_owned()));
        match reason {
            DropReason::Given { epoch, .. } => self.answer_giving(Ok(*epoch)),
            // The taker's answer is on its way: most likely it was the one.
            _ if asked => {}
            _ => self.answer_giving(Err("the slot was lost to another node".to_owned())),
        }
    }
}
