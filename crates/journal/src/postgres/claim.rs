//! Taking a slot over, also from somebody who holds its row and does not move.

use model::{Epoch, SlotNo};

use super::conn::Conn;
use super::holder;
use super::outcome::Failure;
use super::rows::{at, get, slot_number};
use super::shared::Shared;
use crate::{ClaimError, Claimed};

/// Times that the slot's row is tried. Each holder that is ended frees it within milliseconds; more
/// than a few in a row are not owners but something that hangs on the table.
pub(super) const TRIES: usize = 10;

const CLAIM: &str = "
    UPDATE parlour_slot SET epoch = $2, nonce = $3, fence = fence + 1
    WHERE slot = $1 AND (epoch < $2 OR (epoch = $2 AND (fence = 0 OR nonce = $3)))
    RETURNING fence, slot_pos";
const EPOCH: &str = "SELECT epoch FROM parlour_slot WHERE slot = $1";

/// Claims, and remembers the claim.
pub(super) async fn claim(
    shared: &Shared,
    slot: SlotNo,
    epoch: Epoch,
    nonce: u64,
) -> Result<Claimed, ClaimError> {
    if slot >= shared.settings.slots {
        return Err(ClaimError::Unavailable(format!(
            "slot {slot} does not exist; this journal was made for {} slots",
            shared.settings.slots
        )));
    }
    let failed = |failure: Failure| {
        shared.condition.failed(&failure);
        failure.claim_error()
    };
    let conn = shared.claimers.take().await.map_err(failed)?;
    if let Some(failure) = shared.condition.refusal() {
        return Err(failure.claim_error());
    }
    let mut stranger = String::new();
    for _ in 0..TRIES {
        match attempt(&conn, slot, epoch, nonce).await {
            Ok(Some(claimed)) => {
                shared.condition.worked();
                shared.claims().put(slot, nonce, claimed);
                return Ok(claimed);
            }
            Ok(None) => return refused(&conn, slot).await.map_err(failed)?,
            Err(failure) if failure.is_locked() => {
                let held_by = holder::end(&conn, slot, None).await.map_err(failed)?;
                stranger = held_by.unwrap_or(stranger);
            }
            Err(failure) => return Err(failed(failure)),
        }
    }
    Err(ClaimError::Unavailable(format!("slot {slot} is held by the session {stranger:?}")))
}

async fn attempt(
    conn: &Conn,
    slot: SlotNo,
    epoch: Epoch,
    nonce: u64,
) -> Result<Option<Claimed>, Failure> {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&slot_number(slot), &at(epoch), &(nonce as i64)];
    let Some(row) = conn.query_opt(CLAIM, &params).await? else {
        return Ok(None);
    };
    let number =
        |column| get::<i64>(&row, column).map_err(|error| Failure::Lost(format!("{error:?}")));
    let (fence, slot_pos) = (number(0)? as u64, number(1)? as u64);
    Ok(Some(Claimed { old_fence: fence - 1, fence, slot_pos }))
}

async fn refused(conn: &Conn, slot: SlotNo) -> Result<Result<Claimed, ClaimError>, Failure> {
    let row = conn.query_opt(EPOCH, &[&slot_number(slot)]).await?;
    let epoch = row.and_then(|row| get::<i64>(&row, 0).ok());
    Ok(Err(match epoch {
        Some(epoch) => ClaimError::Refused { epoch: epoch as u64 },
        None => ClaimError::Unavailable(format!("the row of slot {slot} is missing")),
    }))
}
