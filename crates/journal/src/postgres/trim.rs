//! Retention: a room's first entry moves at once, the rows below go in small steps afterwards.

use std::sync::Arc;

use model::{AppendError, Fence, RoomName, Seq, SlotNo};

use super::outcome::Failure;
use super::rows::{at, get, room_columns, room_row, slot_number};
use super::shared::Shared;
use crate::judge;

/// Rows that one step deletes: some hundred milliseconds, so that it holds up nobody.
const SWEEP_ROWS_MAX: i64 = 8_192;

/// Under the slot's row, like an append. An append that is committed while this waits may go unseen:
/// then less is trimmed than could be, by that append's entries.
const TRIM: &str = concat!(
    "WITH held AS MATERIALIZED (
        SELECT slot FROM parlour_slot WHERE slot = $1 AND fence = $2 AND nonce = $5
        FOR NO KEY UPDATE
    ), below AS (
        SELECT r.room, e.seq, e.ordinal FROM held
        JOIN parlour_room r ON r.room = $3 AND r.slot = held.slot
        JOIN parlour_entry e ON e.slot = r.slot AND e.room = r.room
            AND e.seq = least($4, r.head + 1) - 1
    ), moved AS (
        UPDATE parlour_room r SET first = below.seq + 1, first_ordinal = below.ordinal
        FROM below WHERE r.room = below.room AND r.first <= below.seq
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM moved), ",
    room_columns!(),
    " FROM (SELECT 1) AS one LEFT JOIN parlour_room r ON r.room = $3"
);

const SWEEP_ENTRIES: &str = "
    DELETE FROM parlour_entry WHERE ctid = ANY(ARRAY(
        SELECT e.ctid FROM parlour_room r
        JOIN parlour_entry e ON e.slot = r.slot AND e.room = r.room AND e.seq < r.first
        WHERE r.room = $1 LIMIT $2))
    RETURNING 1";
/// Folds and reactions; a mark speaks of no entry.
const SWEEP_STATES: &str = "
    DELETE FROM parlour_state WHERE ctid = ANY(ARRAY(
        SELECT s.ctid FROM parlour_room r
        JOIN parlour_state s ON s.slot = r.slot AND s.room = r.room AND s.kind IN (2, 3)
            AND s.seq < r.first
        WHERE r.room = $1 LIMIT $2))
    RETURNING 1";

pub(super) async fn trim(
    shared: &Arc<Shared>,
    slot: SlotNo,
    fence: Fence,
    room: RoomName,
    first: Seq,
) -> Result<(), AppendError> {
    let Some(nonce) = shared.claims().nonce(slot, fence) else {
        return Err(AppendError::Fenced);
    };
    if let Some(failure) = shared.condition.refusal() {
        return Err(failure.append_error());
    }
    let trimmed = try_trim(shared, (slot, fence, nonce), &room, first).await;
    shared.claims().forget_room(&room);
    match trimmed {
        Ok(result) => {
            if result.is_ok() {
                tokio::spawn(sweep(Arc::clone(shared), room));
            }
            result
        }
        Err(failure) => {
            shared.condition.failed(&failure);
            let error = failure.append_error();
            if matches!(error, AppendError::Unknown(_)) {
                shared.claims().end(slot, fence);
            }
            Err(error)
        }
    }
}

async fn try_trim(
    shared: &Shared,
    (slot, fence, nonce): (SlotNo, Fence, u64),
    room: &RoomName,
    first: Seq,
) -> Result<Result<(), AppendError>, Failure> {
    let conn = shared.upkeep.take().await?;
    let unreadable = |error| Failure::Lost(format!("{error:?}"));
    let mut hole = String::new();
    // A second trim of the room may move it in between; then the next look finds nothing to do.
    for _ in 0..2 {
        let (name, slot_no) = (room.as_str(), slot_number(slot));
        let (fence, first_no, nonce) = (at(fence), at(first), nonce as i64);
        let row = conn.query_opt(TRIM, &[&slot_no, &fence, &name, &first_no, &nonce]).await?;
        let row = row.ok_or_else(|| Failure::Lost("a trim answered nothing".into()))?;
        let count = |column| get::<i64>(&row, column).map_err(unreadable);
        if count(0)? == 0 {
            return Ok(Err(AppendError::Fenced));
        }
        let Some(known) = room_row(&row, 2).map_err(unreadable)? else {
            return Ok(Ok(()));
        };
        if known.slot != slot {
            return Ok(Err(judge::misplaced(room, known.slot, slot)));
        }
        match judge::trimmed(&known.head, first) {
            Some(first) if count(1)? == 0 => hole = format!("entry {} is missing", first - 1),
            _ => return Ok(Ok(())),
        }
    }
    Ok(Err(AppendError::Corrupt(format!("{room}: {hole}"))))
}

/// Deletes what lies below a room's first entry. What is left when this ends early goes with the next
/// trim of the room.
async fn sweep(shared: Arc<Shared>, room: RoomName) {
    let _alone = shared.sweeping.lock().await;
    for sql in [SWEEP_ENTRIES, SWEEP_STATES] {
        loop {
            let step = async {
                let conn = shared.upkeep.take().await?;
                conn.query(sql, &[&room.as_str(), &SWEEP_ROWS_MAX]).await
            };
            match step.await {
                Ok(gone) if gone.len() as i64 == SWEEP_ROWS_MAX => {}
                Ok(_) => break,
                Err(failure) => {
                    return tracing::warn!(%room, %failure, "what was trimmed is deleted later");
                }
            }
        }
    }
}
