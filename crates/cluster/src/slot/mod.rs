//! The slot machine: from "somebody should own this slot" to "this process serves it", and back.
//!
//! It decides; the slot's task acts. Whatever the order in which records, replies and time-outs come
//! in, it asks the task to serve only after a claim that committed cleanly and a tail read after it.
//!
//! # Life
//! ```text
//!          TakeOver           swapped            claimed          tail read
//!   Idle ───────────> Swapping ──────> Claiming ─────────> Tailing ────────> Serving
//!     ^                  ^               │  ^                 │                │ │
//!     │                  └─ refused: E+1 ┘  └── unknown, ─────┴────────────────┘ │
//!     └──────────────────────── fenced, released, lost to another ───────────────┘
//! ```
//! A handoff will add `Freezing` and `Transferring` between `Serving` and `Idle`; a thaw is a claim.
//!
//! # Invariants
//! - One step is out at a time: the next is only given after the reply to the last, or not at all.
//! - A reply that belongs to no step that is out changes nothing.
//! - `Serve` is preceded by `Claimed` and `TailRead` of the same claim.
//! - Retries are spaced by [`RETRY_MS_MIN`] to [`RETRY_MS_MAX`]: two owners cannot steal from each other in
//!   a tight circle.

use model::{Epoch, Fence, NodeId, Now};

use crate::SlotRecord;

#[cfg(test)]
mod tests;

/// First wait before a step that failed is tried again, in milliseconds.
pub const RETRY_MS_MIN: u64 = 20;
/// Longest wait before a step that failed is tried again, in milliseconds: a journal that comes back
/// is noticed within a second.
pub const RETRY_MS_MAX: u64 = 1_000;

/// What the process wants of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Own it.
    TakeOver,
    /// Give it up: nothing of it is wanted here any more.
    Release,
    /// What was served may be outdated (an append without an answer, a position above head): claim
    /// again and read the tail.
    Reclaim,
}

/// What became of a step, or of an append or a check under the current claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `Cas`: done, or somebody else's record stands there.
    Swapped(Option<SlotRecord>),
    /// To `Cas`: no answer; it may have been done.
    SwapLost,
    /// To `Claim`: committed.
    Claimed {
        /// The fence before.
        old: Fence,
        /// Ours.
        fence: Fence,
    },
    /// To `Claim`: the journal holds this epoch, claimed by somebody else.
    ClaimRefused {
        /// The stored epoch.
        stored: Epoch,
    },
    /// To `Claim`: no answer, or not now.
    ClaimLost,
    /// To `ReadTail`: every open room stands on what the journal holds.
    TailRead,
    /// To `ReadTail`: not now.
    TailLost,
    /// Somebody claimed after us.
    Fenced {
        /// The fence that was checked; an older claim's verdict is ignored.
        fence: Fence,
    },
}

/// What the slot's task shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Swap the registry's record: this node, `epoch`, if its revision is still `expected`.
    Cas {
        /// Revision of the record that is replaced; 0 for none.
        expected: u64,
        /// The epoch to write.
        epoch: Epoch,
    },
    /// Stop appending and claim the slot in the journal with this process's nonce.
    Claim {
        /// The epoch to claim.
        epoch: Epoch,
    },
    /// Read what the journal holds behind what is known, under the new claim.
    ReadTail {
        /// The claim's fence.
        fence: Fence,
    },
    /// Answer and append from here on.
    Serve {
        /// Appends are checked against it.
        fence: Fence,
        /// The fence before the claim: whether a transfer's hints count.
        old: Fence,
    },
    /// Forget the slot's rooms and detach their subscribers.
    Drop(DropReason),
}

/// Why a slot's rooms are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Somebody claimed after us.
    Fenced,
    /// It is given up on purpose.
    Released,
    /// The registry names another owner.
    Moved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Swapping { epoch: Epoch },
    Claiming { epoch: Epoch },
    Tailing { epoch: Epoch, fence: Fence, old: Fence },
    Serving { epoch: Epoch, fence: Fence },
}

/// The slot machine of one node. Owned by the slot's task.
///
/// Any `handle_*`, then [`Slot::poll_step`] until it is empty; [`Slot::poll_timeout`] says when to call
/// [`Slot::handle_timeout`] next.
#[derive(Clone, Debug)]
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepKind {
    Cas,
    Claim,
    ReadTail,
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
        }
    }

    /// The fence to append under; `None` while the slot is not served.
    #[must_use]
    pub fn serving(&self) -> Option<Fence> {
        match self.phase {
            Phase::Serving { fence, .. } => Some(fence),
            _ => None,
        }
    }

    /// The registry's record of the slot, whenever it is read or changes.
    pub fn handle_record(&mut self, _now: Now, record: Option<SlotRecord>) {
        let newer = |known: &SlotRecord, told: &SlotRecord| told.revision > known.revision;
        match (&self.record, &record) {
            (Some(known), Some(told)) if !newer(known, told) => return,
            _ => self.record = record,
        }
        let Some(record) = &self.record else { return };
        let lost =
            record.owner != self.me && self.epoch().is_some_and(|epoch| record.epoch > epoch);
        if lost && !matches!(self.phase, Phase::Idle | Phase::Swapping { .. }) {
            self.wanted = false;
            self.drop_rooms(DropReason::Moved);
        }
    }

    /// What the process wants.
    pub fn handle_order(&mut self, _now: Now, order: Order) {
        match order {
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
                self.start();
            }
            (Phase::Tailing { epoch, fence, old }, Reply::TailRead) => {
                self.phase = Phase::Serving { epoch, fence };
                self.served = Some((fence, old));
                self.retry_ms = RETRY_MS_MIN;
                // Not before the task could append once: claims must not starve appends.
                self.retry_at = self.reclaim.then_some(now);
            }
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
        };
        self.out = Some(kind);
        Some(step)
    }

    fn epoch(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Idle => None,
            Phase::Swapping { epoch }
            | Phase::Claiming { epoch }
            | Phase::Tailing { epoch, .. }
            | Phase::Serving { epoch, .. } => Some(epoch),
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.step_due = true;
        self.retry_at = None;
        self.stale = self.out.is_some();
    }

    /// After a failure: not against an owner that the registry names meanwhile.
    fn start_again(&mut self) {
        let ours = self.record.as_ref().is_some_and(|record| record.owner == self.me);
        if self.fenced && !ours {
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
        let reached = record.as_ref().is_some_and(|record| record.epoch >= epoch);
        let ours = record.as_ref().is_some_and(|record| record.owner == self.me);
        self.record = record;
        match (reached, ours) {
            (true, true) => self.start(),
            (true, false) => {
                self.wanted = false;
                self.drop_rooms(DropReason::Moved);
            }
            // The registry went back in time, or a third node swapped away from the record we knew.
            (false, _) => {
                self.phase = Phase::Idle;
                self.retry_later(now);
            }
        }
    }

    /// Claims again under the current epoch, after whatever prompted it.
    fn claim_again(&mut self) {
        match self.phase {
            Phase::Serving { epoch, .. } => {
                self.served = None;
                self.reclaim = false;
                self.enter(Phase::Claiming { epoch });
            }
            // The claim that is out, or that the tail is read for, may have been made before.
            Phase::Tailing { .. } => self.reclaim = true,
            Phase::Claiming { .. } => self.reclaim |= self.out.is_some(),
            Phase::Idle | Phase::Swapping { .. } => {}
        }
    }

    fn fenced(&mut self, now: Now, checked: Fence) {
        let current = match self.phase {
            Phase::Tailing { fence, .. } | Phase::Serving { fence, .. } => fence,
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

    fn drop_rooms(&mut self, reason: DropReason) {
        if self.phase != Phase::Idle {
            self.dropped = Some(reason);
        }
        self.phase = Phase::Idle;
        self.step_due = false;
        self.served = None;
        self.reclaim = false;
        self.retry_at = None;
        self.stale = self.out.is_some();
    }

    fn retry_later(&mut self, now: Now) {
        self.retry_at = Some(now.plus_ms(self.retry_ms));
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MS_MAX);
    }
}
