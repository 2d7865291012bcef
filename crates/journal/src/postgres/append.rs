//! The writers: each takes whatever appends wait, and writes them as one transaction.
//!
//! While all writers are busy appends of many slots gather; the next writer that is free takes them
//! together. So a connection carries one append at once when nothing waits, and one transaction for
//! dozens of slots under load.

use std::sync::Arc;

use model::{AppendError, Batch, Fence, SlotNo};
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc, oneshot};

use super::claim;
use super::claims::Draft;
use super::conn::Conn;
use super::holder;
use super::outcome::Failure;
use super::rows::{at, get, room_columns, room_row, slot_number};
use super::shared::Shared;
use super::statement::Columns;

type Results = Vec<Result<(), AppendError>>;

/// An append that waits.
pub(super) struct Job {
    pub(super) slot: SlotNo,
    pub(super) fence: Fence,
    pub(super) batch: Batch,
    pub(super) reply: oneshot::Sender<Results>,
    /// Held until it is answered: bounds the queue.
    pub(super) _place: OwnedSemaphorePermit,
}

impl Job {
    fn bytes(&self) -> usize {
        let records = self.batch.rooms.iter().flat_map(|part| &part.records);
        records.map(|record| record.payload.len()).sum()
    }

    fn answer(self, results: Results) {
        // Whoever asked may have gone; what was written is written.
        let _ = self.reply.send(results);
    }

    fn fail(self, error: &AppendError) {
        let results = self.batch.rooms.iter().map(|_| Err(error.clone())).collect();
        self.answer(results);
    }
}

/// Rooms together with the fence of the slot that asks: what is read under it is where it left them.
const ROOMS: &str = concat!(
    "SELECT a.number, s.fence, s.nonce, ",
    room_columns!(),
    " FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS a(slot, room, number)
    JOIN parlour_slot s ON s.slot = a.slot
    LEFT JOIN parlour_room r ON r.room = a.room ORDER BY a.number"
);
const FENCE: &str = "SELECT 1 FROM parlour_slot WHERE slot = $1 AND fence = $2 AND nonce = $3";

/// Where the writers find their jobs.
pub(super) type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Job>>>;

/// Writes until the queue is closed and empty.
pub(super) async fn run(shared: Arc<Shared>, queue: Queue) {
    loop {
        let (group, rest) = {
            let mut waiting = queue.lock().await;
            match waiting.recv().await {
                Some(first) => gather(&shared, first, &mut waiting),
                None => return,
            }
        };
        write(&shared, group).await;
        // A second append of a slot in one gathering: its duty is the caller's, its order is ours.
        for job in rest {
            write(&shared, vec![job]).await;
        }
    }
}

/// Whatever waits, each slot once, within the bounds of a group.
fn gather(
    shared: &Shared,
    first: Job,
    waiting: &mut mpsc::UnboundedReceiver<Job>,
) -> (Vec<Job>, Vec<Job>) {
    let mut bytes = first.bytes();
    let (mut group, mut rest) = (vec![first], Vec::new());
    while group.len() + rest.len() < shared.settings.group_max
        && bytes < shared.settings.group_bytes_max
    {
        let Ok(job) = waiting.try_recv() else { break };
        bytes += job.bytes();
        if group.iter().any(|other| other.slot == job.slot) {
            rest.push(job);
        } else {
            group.push(job);
        }
    }
    (group, rest)
}

async fn write(shared: &Shared, jobs: Vec<Job>) {
    let jobs = held(shared, jobs);
    if jobs.is_empty() {
        return;
    }
    if let Some(failure) = shared.condition.refusal() {
        return fail(shared, jobs, &failure);
    }
    let conn = match shared.appends.take().await {
        Ok(conn) => conn,
        Err(failure) => return fail(shared, jobs, &failure),
    };
    if let Err(failure) = learn(shared, &conn, &jobs).await {
        // Nothing was written yet.
        let why = failure.to_string();
        return fail(shared, jobs, &Failure::Unconnected(why));
    }
    let mut drafts = Vec::with_capacity(jobs.len());
    for job in jobs {
        let draft = shared.claims().judge(job.slot, job.fence, &job.batch);
        match draft {
            None => job.fail(&AppendError::Fenced),
            // Nothing to write, but whether it may be refused for what it says is still to be asked.
            Some(draft) if draft.is_empty() && draft.results.iter().any(Result::is_err) => {
                refuse(shared, &conn, job, draft).await;
            }
            Some(draft) => drafts.push((job, draft)),
        }
    }
    drafts.sort_by_key(|(_, draft)| draft.slot);
    commit(shared, &conn, drafts).await;
}

/// Those whose slot is held; the others are answered.
fn held(shared: &Shared, jobs: Vec<Job>) -> Vec<Job> {
    let (held, others): (Vec<_>, Vec<_>) =
        jobs.into_iter().partition(|job| shared.claims().holds(job.slot, job.fence));
    others.into_iter().for_each(|job| job.fail(&AppendError::Fenced));
    held
}

fn fail(shared: &Shared, jobs: Vec<Job>, failure: &Failure) {
    shared.condition.failed(failure);
    let error = failure.append_error();
    jobs.into_iter().for_each(|job| job.fail(&error));
}

/// Reads where rooms stand that this process has not met under its claims.
async fn learn(shared: &Shared, conn: &Conn, jobs: &[Job]) -> Result<(), Failure> {
    let mut wanted = Vec::new();
    for job in jobs {
        let unread = shared.claims().unread(job.slot, job.fence, &job.batch);
        wanted.extend(unread.into_iter().map(|room| (room, job.slot, job.fence)));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let slots: Vec<i32> = wanted.iter().map(|(_, slot, _)| slot_number(*slot)).collect();
    let names: Vec<&str> = wanted.iter().map(|(room, ..)| room.as_str()).collect();
    let rows = conn.query(ROOMS, &[&slots, &names]).await?;
    for ((room, slot, fence), row) in wanted.iter().zip(&rows) {
        let unreadable = |error| Failure::Lost(format!("{error:?}"));
        let stored = get::<i64>(row, 1).map_err(unreadable)?;
        let nonce = get::<i64>(row, 2).map_err(unreadable)?;
        let known = room_row(row, 3).map_err(unreadable)?;
        let mut claims = shared.claims();
        if stored == at(*fence) && claims.nonce(*slot, *fence) == Some(nonce as u64) {
            claims.learn(*slot, *fence, room.clone(), known);
        } else {
            claims.end(*slot, *fence);
        }
    }
    Ok(())
}

/// Writes drafts of different slots in one transaction, and answers them.
async fn commit(shared: &Shared, conn: &Conn, mut drafts: Vec<(Job, Draft)>) {
    if drafts.is_empty() {
        return;
    }
    let mut sent = send(conn, &drafts).await;
    for _ in 1..claim::TRIES {
        match sent {
            Err(failure) if failure.is_locked() => {
                sent = match end_holders(conn, &drafts).await {
                    Ok(()) => send(conn, &drafts).await,
                    Err(failure) => Err(failure),
                }
            }
            _ => break,
        }
    }
    match sent {
        Ok(held) => {
            shared.condition.worked();
            for (job, draft) in drafts {
                settle(shared, conn, job, draft, &held).await;
            }
        }
        Err(failure) if failure.may_be_of_one() && drafts.len() > 1 => {
            // One of them is to blame; the others shall not fail with it.
            tracing::warn!(%failure, "a group of appends was rolled back; each goes alone now");
            for one in drafts.drain(..) {
                Box::pin(commit(shared, conn, vec![one])).await;
            }
        }
        Err(failure) => {
            let error = failure.append_error();
            shared.condition.failed(&failure);
            for (job, draft) in drafts {
                if matches!(error, AppendError::Unknown(_)) {
                    shared.claims().end(draft.slot, draft.fence);
                }
                job.answer(draft.fail(&error));
            }
        }
    }
}

/// Ends whoever kept these appends from their slots' rows.
async fn end_holders(conn: &Conn, drafts: &[(Job, Draft)]) -> Result<(), Failure> {
    for (_, draft) in drafts {
        holder::end(conn, draft.slot, Some((draft.fence, draft.nonce))).await?;
    }
    Ok(())
}

/// The slots whose drafts were written.
async fn send(conn: &Conn, drafts: &[(Job, Draft)]) -> Result<Vec<i32>, Failure> {
    let of: Vec<&Draft> = drafts.iter().map(|(_, draft)| draft).collect();
    let columns = Columns::of(&of);
    let (sql, params) = columns.statement();
    let row = conn.query_opt(sql, &params).await?;
    let row = row.ok_or_else(|| Failure::Lost("an append answered nothing".into()))?;
    let unreadable = |error| Failure::Lost(format!("{error:?}"));
    let held: Vec<i32> = get(&row, 0).map_err(unreadable)?;
    let moved: i64 = get(&row, 1).map_err(unreadable)?;
    if held.len() == drafts.len() && moved != columns.rooms() as i64 {
        // The slot was where it should be, a room of it was not: somebody else wrote the table.
        return Err(Failure::Lost(format!(
            "{moved} rooms were moved where {} were to be",
            columns.rooms()
        )));
    }
    Ok(held)
}

async fn settle(shared: &Shared, conn: &Conn, job: Job, draft: Draft, held: &[i32]) {
    if held.contains(&slot_number(draft.slot)) {
        shared.claims().committed(&draft);
        return job.answer(draft.results);
    }
    shared.claims().end(draft.slot, draft.fence);
    let error = match fence(conn, &draft).await {
        // Its last place is another: entries were lost, by a failover to a standby that had not
        // received them.
        Ok(true) => {
            let why = format!("slot {} is not where it was left; entries were lost", draft.slot);
            tracing::error!(why, "the journal went back: look at the last failover");
            AppendError::Unknown(why)
        }
        Ok(false) => return job.fail(&AppendError::Fenced),
        Err(failure) => failure.append_error(),
    };
    job.answer(draft.fail(&error));
}

/// Answers an append of which no part may be written. A superseded owner is told that it is one: what
/// it says of its rooms was true of somebody else's.
async fn refuse(shared: &Shared, conn: &Conn, job: Job, draft: Draft) {
    match fence(conn, &draft).await {
        Ok(true) => job.answer(draft.results),
        Ok(false) => {
            shared.claims().end(draft.slot, draft.fence);
            job.fail(&AppendError::Fenced);
        }
        Err(failure) => {
            let error = AppendError::Unavailable(failure.to_string());
            job.answer(draft.results.into_iter().map(|_| Err(error.clone())).collect());
        }
    }
}

/// Whether the slot's claim is still the one of the draft.
async fn fence(conn: &Conn, draft: &Draft) -> Result<bool, Failure> {
    let (fence, nonce) = (at(draft.fence), draft.nonce as i64);
    let row = conn.query_opt(FENCE, &[&slot_number(draft.slot), &fence, &nonce]).await?;
    Ok(row.is_some())
}
