//! The registry and the journal as the model has them: what they mean, without how it is done.

use cluster::{Reply, SlotRecord};
use model::{Epoch, Fence, NodeId};

use crate::Flaw;

/// The registry's record of the one slot. A restored one has forgotten, and hands out revisions anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Registry {
    pub record: Option<SlotRecord>,
    revision: u64,
    backup: Option<(Option<SlotRecord>, u64)>,
}

impl Registry {
    pub fn swap(&mut self, by: &NodeId, expected: u64, epoch: Epoch) -> Reply {
        if self.record.as_ref().map_or(0, |record| record.revision) == expected {
            self.revision += 1;
            self.record = Some(SlotRecord { owner: by.clone(), epoch, revision: self.revision });
        }
        Reply::Swapped(self.record.clone())
    }

    pub fn back_up(&mut self) {
        self.backup = Some((self.record.clone(), self.revision));
    }

    pub fn can_restore(&self) -> bool {
        self.backup.as_ref().is_some_and(|(record, _)| *record != self.record)
    }

    pub fn restore(&mut self) {
        if let Some((record, revision)) = self.backup.take() {
            (self.record, self.revision) = (record, revision);
        }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Appended {
    Committed,
    Fenced,
}

/// The journal's part of the slot, with a room in it. Nothing but the fence protects it: an entry is
/// put where its owner says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Journal {
    epoch: Epoch,
    nonce: u8,
    pub fence: Fence,
    pub log: Vec<u8>,
    /// Two entries at one seq, or a hole.
    pub forked: bool,
}

impl Journal {
    pub fn claim(&mut self, flaw: Option<Flaw>, epoch: Epoch, nonce: u8) -> Reply {
        let knows_nonces = flaw != Some(Flaw::EpochWithoutNonce);
        let others = epoch == self.epoch && nonce != self.nonce && knows_nonces;
        if epoch < self.epoch || others {
            return Reply::ClaimRefused { stored: self.epoch };
        }
        let old = self.fence;
        (self.epoch, self.nonce) = (epoch, nonce);
        self.fence = if knows_nonces { old + 1 } else { epoch };
        Reply::Claimed { old, fence: self.fence }
    }

    pub fn append(&mut self, flaw: Option<Flaw>, fence: Fence, seq: usize, value: u8) -> Appended {
        if fence != self.fence && flaw != Some(Flaw::ClaimWithoutFencing) {
            return Appended::Fenced;
        }
        if seq == self.log.len() + 1 {
            self.log.push(value);
        } else {
            self.forked = true;
        }
        Appended::Committed
    }
}
