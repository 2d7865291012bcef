//! What a slot's machine and its task say to each other.
//!
//! Apart from the machine because the task, the steward and the model checker are written against
//! these words alone.

use model::{Epoch, Fence, NodeId};

use crate::SlotRecord;

/// What the process wants of the slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Own it. Ignored by a node that drains, unless the registry names it already.
    TakeOver,
    /// Give it up: nothing of it is wanted here any more.
    Release,
    /// What was served may be outdated (an append without an answer, a position above head): claim
    /// again and read the tail.
    Reclaim,
    /// Hand it over. Ignored unless the slot is served and no claim is wished for:
    /// [`super::Slot::giving`] tells whether it was taken up.
    Give {
        /// The taker.
        to: NodeId,
    },
}

/// What became of a step, or of an append or a check under the current claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// To `Freeze`: new words are held back, no append is in flight, and none is without an answer.
    /// Said only while `Freeze` is the last step that was given.
    Flushed,
    /// To `Transfer`: the taker serves the slot.
    Transferred {
        /// Under this epoch.
        epoch: Epoch,
    },
    /// To `Transfer`: refused, or not answered in time; it may have been heard all the same.
    TransferFailed,
    /// Somebody claimed after us.
    Fenced {
        /// The fence that was checked; an older claim's verdict is ignored.
        fence: Fence,
    },
}

/// What the slot's task shall do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    /// Answer and append from here on; words that were held back go on. After `Freeze`, it says that
    /// the handoff came to nothing.
    Serve {
        /// Appends are checked against it.
        fence: Fence,
        /// The fence before the claim: a transfer's hints count only if it is the fence that their
        /// giver named.
        old: Fence,
    },
    /// Hold new words back and flush what was taken: the rooms' queues and marks. Then `Flushed`.
    Freeze,
    /// Ask the taker to claim the slot, with hints of what its rooms are. Nothing is appended or
    /// answered from here on, unless the slot is served again.
    Transfer {
        /// The taker.
        to: NodeId,
        /// The giver's epoch.
        epoch: Epoch,
        /// The fence under which the hints are true.
        fence: Fence,
    },
    /// Forget the slot's rooms and detach their subscribers.
    Drop(DropReason),
}

/// Why a slot's rooms are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Somebody claimed after us.
    Fenced,
    /// It is given up on purpose.
    Released,
    /// The registry names another owner.
    Moved,
    /// It was handed over.
    Given {
        /// The new owner.
        to: NodeId,
        /// Its epoch.
        epoch: Epoch,
    },
}
