//! What a lane knows of each slot: who should own it, where it is asked, whether it has to wait.

use std::collections::BTreeSet;

use cluster::SlotRecord;
use model::{Epoch, NodeId, Now, Seed, SlotNo};

/// First and longest wait of a slot that is sent in a circle, in milliseconds.
const WAIT_MS_MIN: u64 = 20;
const WAIT_MS_MAX: u64 = 1_000;
/// How often a slot may be sent on with news before it waits nevertheless: two nodes that disagree may
/// both raise epochs.
const HOPS_MAX: u32 = 4;
/// Milliseconds of quiet after which it is forgotten how often a slot was sent on.
const QUIET_MS: u64 = 10_000;

const _: () = assert!(QUIET_MS > 2 * WAIT_MS_MAX);

#[derive(Clone, Debug, Default)]
struct Slot {
    /// The greatest epoch that was heard of, and its owner.
    known: Option<(Epoch, NodeId)>,
    /// The epoch in the last view; 0 without a record.
    viewed: Epoch,
    /// Where it is asked.
    at: Option<NodeId>,
    /// Asked of nobody until then.
    wait_until: Option<Now>,
    /// How often it was sent on lately, and when last.
    hops: u32,
    hopped_at: Now,
}

/// All slots of the cluster.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Slots that wait, by the microsecond at which they are due.
    waiting: BTreeSet<(u64, SlotNo)>,
}

impl Slots {
    pub(super) fn new(count: u32) -> Slots {
        Slots { slots: vec![Slot::default(); count as usize], waiting: BTreeSet::new() }
    }

    pub(super) fn count(&self) -> u32 {
        self.slots.len() as u32
    }

    fn get(&self, slot: SlotNo) -> Option<&Slot> {
        self.slots.get(slot as usize)
    }

    fn get_mut(&mut self, slot: SlotNo) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
    }

    pub(super) fn at(&self, slot: SlotNo) -> Option<&NodeId> {
        self.get(slot)?.at.as_ref()
    }

    pub(super) fn set_at(&mut self, slot: SlotNo, at: Option<NodeId>) {
        if let Some(slot) = self.get_mut(slot) {
            slot.at = at;
        }
    }

    /// Who should own it.
    pub(super) fn owner(&self, slot: SlotNo) -> Option<&NodeId> {
        self.get(slot)?.known.as_ref().map(|(_, owner)| owner)
    }

    /// The slots that `node` should own, or that are asked of it.
    pub(super) fn of(&self, node: &NodeId) -> Vec<SlotNo> {
        let is_of = |slot: &Slot| {
            slot.at.as_ref() == Some(node)
                || slot.known.as_ref().is_some_and(|(_, owner)| owner == node)
        };
        (0..self.count()).filter(|slot| self.get(*slot).is_some_and(is_of)).collect()
    }

    /// A node is forgotten: nothing that is in use is asked of it.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.slots.iter_mut().filter(|slot| slot.at.as_ref() == Some(node)).for_each(|slot| {
            slot.at = None;
        });
    }

    /// What a view says; whether it is news. Where the registry itself went back (it was restored, say),
    /// it is believed: what was known came from a registry that is no more.
    pub(super) fn learn_view(&mut self, slot: SlotNo, record: Option<&SlotRecord>) -> bool {
        let Some(slot) = self.get_mut(slot) else {
            return false;
        };
        let viewed = record.map_or(0, |record| record.epoch);
        let went_back = viewed < std::mem::replace(&mut slot.viewed, viewed);
        let known = slot.known.as_ref().map_or(0, |(epoch, _)| *epoch);
        if !went_back && viewed < known {
            return false;
        }
        let said = record.map(|record| (record.epoch, record.owner.clone()));
        let is_news = said != slot.known;
        slot.known = said;
        is_news
    }

    /// What an owner says in band; whether it is news.
    pub(super) fn learn(&mut self, slot: SlotNo, epoch: Epoch, owner: NodeId) -> bool {
        let Some(slot) = self.get_mut(slot) else {
            return false;
        };
        let is_news = slot.known.as_ref().is_none_or(|(known, _)| epoch > *known);
        if is_news {
            slot.known = Some((epoch, owner));
        }
        is_news
    }

    /// The slot is sent on; whether that has happened too often lately.
    pub(super) fn hop(&mut self, now: Now, slot: SlotNo) -> bool {
        let Some(slot) = self.get_mut(slot) else {
            return false;
        };
        if now.reached(slot.hopped_at.plus_ms(QUIET_MS)) {
            slot.hops = 0;
        }
        slot.hops = slot.hops.saturating_add(1);
        slot.hopped_at = now;
        slot.hops > HOPS_MAX
    }

    pub(super) fn is_waiting(&self, slot: SlotNo) -> bool {
        self.get(slot).is_some_and(|slot| slot.wait_until.is_some())
    }

    /// The slot is asked of nobody for a while: the longer, the more often it was sent on.
    pub(super) fn wait(&mut self, now: Now, no: SlotNo, seed: &mut Seed) {
        self.end_wait(no);
        let Some(slot) = self.get_mut(no) else {
            return;
        };
        let doublings = slot.hops.saturating_sub(1).min(10);
        let wait_ms = (WAIT_MS_MIN << doublings).min(WAIT_MS_MAX);
        let until = now.plus_ms(wait_ms + seed.below(wait_ms / 2));
        slot.wait_until = Some(until);
        self.waiting.insert((until.mono_us, no));
    }

    pub(super) fn end_wait(&mut self, no: SlotNo) {
        if let Some(until) = self.get_mut(no).and_then(|slot| slot.wait_until.take()) {
            self.waiting.remove(&(until.mono_us, no));
        }
    }

    /// The next slot whose wait is over.
    pub(super) fn expire(&mut self, now: Now) -> Option<SlotNo> {
        let (due, no) = *self.waiting.first()?;
        if due > now.mono_us {
            return None;
        }
        self.end_wait(no);
        Some(no)
    }

    pub(super) fn poll_timeout(&self) -> Option<Now> {
        let (_, no) = self.waiting.first()?;
        self.get(*no)?.wait_until
    }
}
