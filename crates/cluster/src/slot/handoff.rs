//! The giver's half of a handoff: freeze, transfer, and what becomes of it.
//!
//! Apart from the way to a claim because a taker does nothing that is new: it takes over. What a giver
//! has to know is when it must not go on: from `Transfer` to the next claim it answers nothing, since
//! the taker may serve at any moment.
//!
//! # Invariants
//! - A thaw is a claim, never a change of mind: if the taker's claim came first it is refused, and the
//!   swap that would follow finds the taker's record.
//! - However a transfer ends (answered, refused, lost, late, overtaken by the registry or by the
//!   journal), the rooms are dropped or claimed again, once.

use model::{Epoch, Fence, NodeId};

use super::{DropReason, Phase, Slot};
use crate::SlotRecord;

impl Slot {
    /// To whom the slot is being handed over, from the order until it is dropped or served again.
    #[must_use]
    pub fn giving(&self) -> Option<&NodeId> {
        match self.phase {
            Phase::Freezing { .. } | Phase::Transferring { .. } => self.taker.as_ref(),
            _ => None,
        }
    }

    pub(super) fn give(&mut self, to: NodeId) {
        let Phase::Serving { epoch, fence } = self.phase else {
            return;
        };
        // Before the task was told to serve there is nothing to give.
        if to == self.me || self.reclaim || self.served.is_some() {
            return;
        }
        self.taker = Some(to);
        self.enter(Phase::Freezing { epoch, fence });
    }

    /// The taker says that it serves; under an epoch that is not above ours nobody can.
    pub(super) fn transferred(&mut self, epoch: Epoch, reached: Epoch) {
        if reached > epoch { self.given(reached) } else { self.thaw(epoch) }
    }

    /// Whoever stands in the registry now, while the slot is being handed over.
    pub(super) fn overtaken(&mut self, record: &SlotRecord) {
        if self.giving() == Some(&record.owner) {
            self.given(record.epoch);
        } else {
            self.moved();
        }
    }

    /// Serves again, if the journal lets it.
    pub(super) fn thaw(&mut self, epoch: Epoch) {
        self.enter(Phase::Claiming { epoch });
    }

    /// Under which fence the rest of what was taken may be appended, if any.
    pub(super) fn flushing(&self) -> Option<Fence> {
        match self.phase {
            Phase::Freezing { fence, .. } => Some(fence),
            _ => None,
        }
    }

    fn given(&mut self, epoch: Epoch) {
        let Some(to) = self.taker.take() else {
            return;
        };
        self.wanted = false;
        self.drop_rooms(DropReason::Given { to, epoch });
    }
}
