//! Whoever holds a slot's row and does not move.
//!
//! A process that stops in the middle of a statement keeps the row for as long as it is stopped: before
//! a claim as the owner, and even after it, since a superseded append takes the newest row before it
//! looks whether it may. Nobody who has a right to the slot waits for it: its session is ended. Its
//! outcome was unknown anyway.

use model::{Fence, SlotNo};

use super::conn::{Conn, NAME_PREFIX};
use super::outcome::Failure;
use super::rows::{at, get, slot_number};

/// Ends the session whose transaction holds the slot's row, if it is one of ours (of any node) and the
/// claim is still that of who asks. A row that is being written names the transaction, and the
/// transaction its session.
const END: &str = "
    SELECT a.application_name, a.application_name LIKE $2 AND pg_terminate_backend(a.pid)
    FROM parlour_slot s JOIN pg_stat_activity a ON a.backend_xid = s.xmax
    WHERE s.slot = $1 AND a.pid <> pg_backend_pid() 
        AND ($3::bigint IS NULL OR (s.fence = $3 AND s.nonce = $4::bigint))";

/// Ends who holds the row, for a claim or for the owner by this fence and nonce; answers the name of a
/// stranger who holds it.
pub(super) async fn end(
    conn: &Conn,
    slot: SlotNo,
    owner: Option<(Fence, u64)>,
) -> Result<Option<String>, Failure> {
    let ours = format!("{NAME_PREFIX}%");
    let fence = owner.map(|(fence, _)| at(fence));
    let nonce = owner.map(|(_, nonce)| nonce as i64);
    let rows = conn.query(END, &[&slot_number(slot), &ours, &fence, &nonce]).await?;
    let mut stranger = None;
    for row in &rows {
        let name: &str = get(row, 0).unwrap_or("");
        if get(row, 1).unwrap_or(false) {
            tracing::warn!(slot, name, "a session that held a slot's row was ended");
        } else {
            stranger = Some(name.to_owned());
        }
    }
    Ok(stranger)
}
