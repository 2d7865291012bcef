//! What waits for the committer, and how it is answered.

use model::{AppendError, Batch, Epoch, Fence, RoomName, Seq, SlotNo};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::judge::Judge;
use crate::store::{View, Write};
use crate::{ClaimError, Claimed};

use super::space::Room;

/// Something to be committed, with its place in the bounded queue.
pub(super) struct Job {
    pub(super) slot: SlotNo,
    pub(super) order: Order,
    pub(super) _place: OwnedSemaphorePermit,
}

pub(super) enum Order {
    Claim {
        epoch: Epoch,
        nonce: u64,
        reply: oneshot::Sender<Result<Claimed, ClaimError>>,
    },
    Append {
        fence: Fence,
        batch: Batch,
        reply: oneshot::Sender<Vec<Result<(), AppendError>>>,
    },
    Trim {
        fence: Fence,
        room: RoomName,
        first: Seq,
        reply: oneshot::Sender<Result<(), AppendError>>,
    },
    /// Deletes rows that no answer shows any more.
    Sweep {
        rows: Vec<Write>,
        reply: oneshot::Sender<Result<(), AppendError>>,
    },
}

/// An answer that waits for its transaction.
pub(super) enum Answer {
    Claim(oneshot::Sender<Result<Claimed, ClaimError>>, Result<Claimed, ClaimError>),
    Append(oneshot::Sender<Vec<Result<(), AppendError>>>, Vec<Result<(), AppendError>>),
    Row(oneshot::Sender<Result<(), AppendError>>, Result<(), AppendError>),
}

/// Why a job was not even tried.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    NoSpace,
    Unavailable(String),
}

impl Refusal {
    fn of_append(self) -> AppendError {
        match self {
            Refusal::NoSpace => AppendError::NoSpace,
            Refusal::Unavailable(why) => AppendError::Unavailable(why),
        }
    }

    fn of_claim(self) -> ClaimError {
        match self {
            Refusal::NoSpace => ClaimError::NoSpace,
            Refusal::Unavailable(why) => ClaimError::Unavailable(why),
        }
    }
}

impl Order {
    /// How much it weighs in a transaction, roughly.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Order::Append { batch, .. } => {
                let records = batch.rooms.iter().flat_map(|part| &part.records);
                records.map(|record| record.payload.len()).sum()
            }
            Order::Sweep { rows, .. } => rows.iter().map(Write::bytes).sum(),
            Order::Claim { .. } | Order::Trim { .. } => 0,
        }
    }

    /// How much space must be left for it: what adds nothing may use the reserve.
    pub(super) fn needs(&self) -> Room {
        match self {
            Order::Append { batch, .. }
                if batch.rooms.iter().any(|part| !part.records.is_empty()) =>
            {
                Room::Enough
            }
            _ => Room::Reserve,
        }
    }

    /// The answer without a try.
    pub(super) fn refuse(self, refusal: Refusal) -> Answer {
        match self {
            Order::Claim { reply, .. } => Answer::Claim(reply, Err(refusal.of_claim())),
            Order::Append { reply, batch, .. } => {
                Answer::Append(reply, vec![Err(refusal.of_append()); batch.rooms.len()])
            }
            Order::Trim { reply, .. } | Order::Sweep { reply, .. } => {
                Answer::Row(reply, Err(refusal.of_append()))
            }
        }
    }

    /// The answer if the transaction succeeds; its rows go to `out`, what follows from it to `after`.
    pub(super) fn judge(
        self,
        slot: SlotNo,
        judge: &mut Judge,
        view: &dyn View,
        out: &mut Vec<Write>,
        after: &mut Aftermath,
    ) -> Answer {
        match self {
            Order::Claim { epoch, nonce, reply } => {
                after.claims = true;
                Answer::Claim(reply, judge.claim(view, slot, epoch, nonce, out))
            }
            Order::Append { fence, batch, reply } => {
                let appended = judge.append(view, slot, fence, &batch, out);
                after.erases |= appended.erases;
                Answer::Append(reply, appended.results)
            }
            Order::Trim { fence, room, first, reply } => {
                Answer::Row(reply, judge.trim(view, slot, fence, &room, first, out))
            }
            Order::Sweep { rows, reply } => {
                after.rows_swept += rows.len();
                out.extend(rows);
                Answer::Row(reply, Ok(()))
            }
        }
    }
}

/// What follows from a transaction once it is durable.
#[derive(Default)]
pub(super) struct Aftermath {
    /// Somebody claims.
    pub(super) claims: bool,
    /// Bytes that must leave the disk are still in the engine's files.
    pub(super) erases: bool,
    /// Rows that were deleted only for their space.
    pub(super) rows_swept: usize,
}

impl Answer {
    /// The transaction is durable. Whoever asked may be gone; then nobody is told.
    pub(super) fn committed(self) {
        match self {
            Answer::Claim(reply, result) => drop(reply.send(result)),
            Answer::Append(reply, results) => drop(reply.send(results)),
            Answer::Row(reply, result) => drop(reply.send(result)),
        }
    }

    /// Whether the transaction is durable is not known.
    pub(super) fn unknown(self, why: &str) {
        let unknown = || AppendError::Unknown(why.to_owned());
        match self {
            Answer::Claim(reply, result) => {
                drop(reply.send(result.and(Err(ClaimError::Unknown(why.to_owned())))));
            }
            Answer::Append(reply, results) => {
                let results = results.into_iter().map(|result| result.and(Err(unknown())));
                drop(reply.send(results.collect()));
            }
            Answer::Row(reply, result) => drop(reply.send(result.and(Err(unknown())))),
        }
    }
}
