//! The slot machine: from "somebody should own this slot" to "this process serves it", and back.
//!
//! It decides; the slot's task acts. Whatever the order in which records, replies and time-outs come
//! in, it asks the task to serve only after a claim that committed cleanly and a tail read after it.
//!
//! # Life
//! ```text
//!          TakeOver           swapped            claimed          tail read
//!   Idle ───────────> Swapping ──────> Claiming ─────────> Tailing ────────> Serving
//!     ^                  ^               │  ^                 │                │ │ │
//!     │                  └─ refused: E+1 ┘  ├── unknown, ─────┴────────────────┘ │ │ Give
//!     │                                     ├── not flushed ───── Freezing <─────┼─┘
//!     │                                     │                        │ flushed   │
//!     │                                     └── failed: thaw ── Transferring     │
//!     │                                                              │           │
//!     └───────── fenced, released, lost to another, given away ──────┴───────────┘
//! ```
//!
//! # Invariants
//! - One step is out at a time: the next is only given after the reply to the last, or not at all.
//! - A reply that belongs to no step that is out changes nothing.
//! - `Serve` is preceded by `Claimed` and `TailRead` of the same claim.
//! - Nothing is appended under a claim from `Transfer` on: a thaw is another claim.
//! - Whoever finds that the registry has moved on to another owner leaves the slot to it; only an order
//!   that is given in knowledge of that owner takes it over. Only a registry that went back is
//!   overwritten.
//! - Retries are spaced by [`RETRY_MS_MIN`] to [`RETRY_MS_MAX`]: two owners cannot steal from each other in
//!   a tight circle.

use model::{Epoch, Fence, NodeId, Now};

use crate::SlotRecord;

mod handoff;
#[cfg(test)]
mod tests;
mod words;

pub use words::{DropReason, Order, Reply, Step};

/// First wait before a step that failed is tried again, in milliseconds.
pub const RETRY_MS_MIN: u64 = 20;
/// Longest wait before a step that failed is tried again, in milliseconds: a journal that comes back
/// is noticed within a second.
pub const RETRY_MS_MAX: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Swapping { epoch: Epoch },
    Claiming { epoch: Epoch },
    Tailing { epoch: Epoch, fence: Fence, old: Fence },
    Serving { epoch: Epoch, fence: Fence },
    Freezing { epoch: Epoch, fence: Fence },
    Transferring { epoch: Epoch, fence: Fence },
}

/// The slot machine of one node. Owned by the slot's task.
///
/// Any `handle_*`, then [`Slot::poll_step`] until it is empty; [`Slot::poll_timeout`] says when to call
/// [`Slot::handle_timeout`] next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    me: NodeId,
    record: Option<SlotRecord>,
    wanted: bool,
    phase: Phase,
    /// The current phase's step, not yet given to the task.
    step_due: bool,
    /// The current phase's step failed and is given again then.
    retry_at: Option<Now>,
    retry_ms: u64,
    /// One more claim is wanted after the one that is under way.
    reclaim: bool,
    /// The registry's record must be at least at this epoch before a claim.
    epoch_min: Epoch,
    dropped: Option<DropReason>,
    served: Option<(Fence, Fence)>,
    /// The step that was given and not replied to.
    out: Option<StepKind>,
    /// The reply to `out` is of no use any more; the next step waits for it all the same.
    stale: bool,
    /// This node was fenced: it comes back only if the registry still names it.
    fenced: bool,
    /// To whom the slot goes, while it is frozen or transferred.
    taker: Option<NodeId>,
    /// This node leaves: it takes nothing over.
    draining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StepKind {
    Cas,
    Claim,
    ReadTail,
    Freeze,
    Transfer,
}

impl Reply {
    /// The step that this replies to; `None` of a verdict that comes by itself.
    fn step(&self) -> Option<StepKind> {
        match self {
            Reply::Swapped(_) | Reply::SwapLost => Some(StepKind::Cas),
            Reply::Claimed { .. } | Reply::ClaimRefused { .. } | Reply::ClaimLost => {
                Some(StepKind::Claim)
            }
            Reply::TailRead | Reply::TailLost => Some(StepKind::ReadTail),
            Reply::Flushed => Some(StepKind::Freeze),
            Reply::Transferred { .. } | Reply::TransferFailed => Some(StepKind::Transfer),
            Reply::Fenced { .. } => None,
        }
    }
}

impl Slot {
    /// The machine of node `me`, which wants nothing yet.
    #[must_use]
    pub fn new(me: NodeId) -> Slot {
        Slot {
            me,
            record: None,
            wanted: false,
            phase: Phase::Idle,
            step_due: false,
            retry_at: None,
            retry_ms: RETRY_MS_MIN,
            reclaim: false,
            epoch_min: 0,
            dropped: None,
            served: None,
            out: None,
            stale: false,
            fenced: false,
            taker: None,
            draining: false,
        }
    }

    /// The fence under which words are answered; `None` while the slot is not served.
    #[must_use]
    pub fn serving(&self) -> Option<Fence> {
        match self.phase {
            Phase::Serving { fence, .. } => Some(fence),
            _ => None,
        }
    }

    /// The fence to append under: while the slot is served, and while what was taken is flushed.
    #[must_use]
    pub fn appending(&self) -> Option<Fence> {
        self.serving().or(self.flushing())
    }

    /// The registry's record of the slot, whenever it is read or changes.
    pub fn handle_record(&mut self, _now: Now, record: Option<SlotRecord>) {
        let newer = |known: &SlotRecord, told: &SlotRecord| told.revision > known.revision;
        let known = self.known_epoch();
        match (&self.record, &record) {
            (Some(known), Some(told)) if !newer(known, told) => return,
            _ => self.record.clone_from(&record),
        }
        let Some(record) = record.filter(|record| record.owner != self.me) else {
            return;
        };
        match self.phase {
            Phase::Idle => {}
            Phase::Swapping { .. } if record.epoch <= known => {}
            Phase::Transferring { epoch, .. } if record.epoch > epoch => self.overtaken(&record),
            Phase::Swapping { .. } => self.moved(),
            Phase::Claiming { epoch }
            | Phase::Tailing { epoch, .. }
            | Phase::Serving { epoch, .. }
            | Phase::Freezing { epoch, .. }
            | Phase::Transferring { epoch, .. } => {
                if record.epoch > epoch {
                    self.moved();
                }
            }
        }
    }

    /// This node leaves: from now on it takes over nothing that the registry does not give to it.
    pub fn handle_drain(&mut self, _now: Now) {
        self.draining = true;
    }

    /// What the process wants.
    pub fn handle_order(&mut self, _now: Now, order: Order) {
        match order {
            Order::TakeOver if self.draining && !self.is_ours() => {}
            Order::TakeOver => {
                self.wanted = true;
                if self.phase == Phase::Idle && self.retry_at.is_none() {
                    self.start();
                }
            }
            Order::Release => {
                self.wanted = false;
                self.drop_rooms(DropReason::Released);
            }
            Order::Reclaim => self.claim_again(),
            Order::Give { to } => self.give(to),
        }
    }

    /// What became of a step, an append or a check.
    pub fn handle_reply(&mut self, now: Now, reply: Reply) {
        if let Some(step) = reply.step() {
            if self.out != Some(step) {
                return;
            }
            self.out = None;
            if std::mem::take(&mut self.stale) {
                return;
            }
        }
        match (self.phase, reply) {
            (_, Reply::Fenced { fence }) => self.fenced(now, fence),
            (Phase::Swapping { epoch }, Reply::Swapped(record)) => self.swapped(now, epoch, record),
            (Phase::Swapping { .. }, Reply::SwapLost)
            | (Phase::Claiming { .. }, Reply::ClaimLost)
            | (Phase::Tailing { .. }, Reply::TailLost) => self.retry_later(now),
            (Phase::Claiming { epoch }, Reply::Claimed { old, fence }) => {
                self.enter(Phase::Tailing { epoch, fence, old });
            }
            (Phase::Claiming { .. }, Reply::ClaimRefused { stored }) => {
                self.epoch_min = stored + 1;
                if self.is_ours() { self.start() } else { self.moved() }
            }
            (Phase::Tailing { epoch, fence, old }, Reply::TailRead) => {
                self.phase = Phase::Serving { epoch, fence };
                self.served = Some((fence, old));
                self.retry_ms = RETRY_MS_MIN;
                // Not before the task could append once: claims must not starve appends.
                self.retry_at = self.reclaim.then_some(now);
            }
            (Phase::Freezing { epoch, fence }, Reply::Flushed) => {
                self.enter(Phase::Transferring { epoch, fence });
            }
            (Phase::Transferring { epoch, .. }, Reply::Transferred { epoch: reached }) => {
                self.transferred(epoch, reached);
            }
            (Phase::Transferring { epoch, .. }, Reply::TransferFailed) => self.thaw(epoch),
            _ => {}
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.retry_at.is_some_and(|at| now.reached(at)) {
            self.retry_at = None;
            match self.phase {
                Phase::Idle if self.wanted => self.start_again(),
                Phase::Serving { epoch, .. } if std::mem::take(&mut self.reclaim) => {
                    self.enter(Phase::Claiming { epoch });
                }
                Phase::Idle | Phase::Serving { .. } => {}
                _ => self.step_due = true,
            }
        }
    }

    /// When to call [`Slot::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        self.retry_at
    }

    /// The next thing to do.
    pub fn poll_step(&mut self) -> Option<Step> {
        if let Some(reason) = self.dropped.take() {
            return Some(Step::Drop(reason));
        }
        if let Some((fence, old)) = self.served.take() {
            return Some(Step::Serve { fence, old });
        }
        if self.out.is_some() || !std::mem::take(&mut self.step_due) {
            return None;
        }
        let (kind, step) = match self.phase {
            Phase::Idle | Phase::Serving { .. } => return None,
            Phase::Swapping { epoch } => {
                let expected = self.record.as_ref().map_or(0, |record| record.revision);
                (StepKind::Cas, Step::Cas { expected, epoch })
            }
            Phase::Claiming { epoch } => (StepKind::Claim, Step::Claim { epoch }),
            Phase::Tailing { fence, .. } => (StepKind::ReadTail, Step::ReadTail { fence }),
            Phase::Freezing { .. } => (StepKind::Freeze, Step::Freeze),
            Phase::Transferring { epoch, fence } => {
                let to = self.taker.clone().expect("set when the handoff began");
                (StepKind::Transfer, Step::Transfer { to, epoch, fence })
            }
        };
        self.out = Some(kind);
        Some(step)
    }

    /// Whether the registry names this node, as far as is known.
    fn is_ours(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.owner == self.me)
    }

    fn known_epoch(&self) -> Epoch {
        self.record.as_ref().map_or(0, |record| record.epoch)
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.step_due = true;
        self.retry_at = None;
        self.forget_out();
    }

    /// The reply to what is out is of no use any more. Nothing waits for a flush: it may never end.
    fn forget_out(&mut self) {
        self.out = self.out.filter(|step| *step != StepKind::Freeze);
        self.stale = self.out.is_some();
    }

    /// After a failure: not against an owner that the registry names meanwhile.
    fn start_again(&mut self) {
        if (self.fenced || self.draining) && !self.is_ours() {
            self.wanted = false;
            self.dropped = Some(DropReason::Moved);
        } else {
            self.start();
        }
    }

    /// Towards a claim: straight to it when the registry names this node at a sufficient epoch, else
    /// through a swap.
    fn start(&mut self) {
        self.reclaim = false;
        self.fenced = false;
        match &self.record {
            Some(record) if record.owner == self.me && record.epoch >= self.epoch_min => {
                let epoch = record.epoch;
                self.enter(Phase::Claiming { epoch });
            }
            record => {
                let next = record.as_ref().map_or(1, |record| record.epoch + 1);
                self.enter(Phase::Swapping { epoch: next.max(self.epoch_min) });
            }
        }
    }

    /// A swap answered with what stands in the registry now. A swap whose reply was lost shows up here
    /// as a conflict with this node's own record, which is as good as done.
    fn swapped(&mut self, now: Now, epoch: Epoch, record: Option<SlotRecord>) {
        let known = self.known_epoch();
        self.record = record;
        let stands = self.known_epoch();
        match self.is_ours() {
            true if stands >= epoch => self.start(),
            false if stands >= epoch || stands > known => self.moved(),
            // The registry went back in time.
            _ => {
                self.phase = Phase::Idle;
                self.retry_later(now);
            }
        }
    }

    /// Claims again under the current epoch, after whatever prompted it.
    fn claim_again(&mut self) {
        match self.phase {
            Phase::Serving { epoch, .. } | Phase::Freezing { epoch, .. } => {
                self.served = None;
                self.reclaim = false;
                self.enter(Phase::Claiming { epoch });
            }
            // If it comes to nothing, a claim follows.
            Phase::Transferring { .. } => {}
            // The claim that is out, or that the tail is read for, may have been made before.
            Phase::Tailing { .. } => self.reclaim = true,
            Phase::Claiming { .. } => self.reclaim |= self.out.is_some(),
            Phase::Idle | Phase::Swapping { .. } => {}
        }
    }

    fn fenced(&mut self, now: Now, checked: Fence) {
        let current = match self.phase {
            Phase::Tailing { fence, .. }
            | Phase::Serving { fence, .. }
            | Phase::Freezing { fence, .. } => fence,
            // The taker has claimed, most likely: there is nothing to come back for.
            Phase::Transferring { fence, .. } if checked == fence => {
                self.wanted = false;
                fence
            }
            _ => return,
        };
        if checked == current {
            self.drop_rooms(DropReason::Fenced);
            self.fenced = true;
            if self.wanted {
                self.retry_later(now);
            }
        }
    }

    /// The registry names somebody else.
    fn moved(&mut self) {
        self.wanted = false;
        self.drop_rooms(DropReason::Moved);
    }

    fn drop_rooms(&mut self, reason: DropReason) {
        if self.phase != Phase::Idle {
            self.dropped = Some(reason);
        }
        self.phase = Phase::Idle;
        self.step_due = false;
        self.served = None;
        self.reclaim = false;
        self.retry_at = None;
        self.forget_out();
    }

    fn retry_later(&mut self, now: Now) {
        self.retry_at = Some(now.plus_ms(self.retry_ms));
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MS_MAX);
    }
}
