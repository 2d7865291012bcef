//! What the journal is asked, with whoever waits for the answer.

use journal::{ClaimError, Claimed, Memory};
use model::{AppendError, Batch, Epoch, Fence, SlotNo};
use tokio::sync::oneshot;

pub(super) type Appended = Vec<Result<(), AppendError>>;
pub(super) type ClaimReply = Option<oneshot::Sender<Result<Claimed, ClaimError>>>;
pub(super) type Read = Box<dyn FnOnce(Option<&Memory>) + Send>;

pub(super) enum Job {
    Append {
        slot: SlotNo,
        fence: Fence,
        batch: Batch,
        outcome: Option<Appended>,
        reply: Option<oneshot::Sender<Appended>>,
    },
    Claim {
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
        outcome: Option<Result<Claimed, ClaimError>>,
        reply: ClaimReply,
    },
    /// `None`: cannot be reached.
    Read(Option<Read>),
}

impl Job {
    pub(super) fn is_carried_out(&self) -> bool {
        match self {
            Job::Append { outcome, .. } => outcome.is_some(),
            Job::Claim { outcome, .. } => outcome.is_some(),
            Job::Read(read) => read.is_none(),
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        match self {
            Job::Append { reply, .. } => reply.is_none(),
            Job::Claim { reply, .. } => reply.is_none(),
            Job::Read(read) => read.is_none(),
        }
    }

    pub(super) fn answer(&mut self) {
        // Who asked may be gone.
        match self {
            Job::Append { outcome: Some(outcome), reply, .. } => {
                reply.take().into_iter().for_each(|reply| _ = reply.send(outcome.clone()));
            }
            Job::Claim { outcome: Some(outcome), reply, .. } => {
                reply.take().into_iter().for_each(|reply| _ = reply.send(outcome.clone()));
            }
            _ => {}
        }
    }

    /// As if it had been carried out.
    pub(super) fn lie(&mut self) {
        if let Job::Append { batch, outcome, .. } = self {
            *outcome = Some(vec![Ok(()); batch.rooms.len()]);
        }
    }

    pub(super) fn unavailable(&mut self) {
        let why = || "no connection".to_owned();
        match self {
            Job::Append { batch, reply, .. } => {
                let results = vec![Err(AppendError::Unavailable(why())); batch.rooms.len()];
                reply.take().into_iter().for_each(|reply| _ = reply.send(results.clone()));
            }
            Job::Claim { reply, .. } => {
                let error = ClaimError::Unavailable(why());
                reply.take().into_iter().for_each(|reply| _ = reply.send(Err(error.clone())));
            }
            Job::Read(read) => read.take().into_iter().for_each(|read| read(None)),
        }
    }
}
