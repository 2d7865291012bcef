//! The writers: each takes whatever appends wait, and writes them as one transaction.
//!
//! While all writers are busy appends of many slots gather; the next writer that is free takes them
//! together. So a connection carries one append at once when nothing waits, and one transaction for
//! dozens of slots under load.

use std::sync::Arc;

use model::{AppendError, Batch, Fence, SlotNo};
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc, oneshot};

use super::claims::Draft;
use super::conn::Conn;
use super::outcome::Failure;
use super::rows::{self, get, room_columns, room_row};
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
    pub(super) place: OwnedSemaphorePermit,
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

const ROOMS: &str = concat!(
    "SELECT r.room, ",
    room_columns!(),
    " FROM parlour_room r WHERE r.room = ANY($1::text[])"
);
const FENCE: &str = "SELECT fence FROM parlour_slot WHERE slot = $1";

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
        match shared.claims().judge(job.slot, job.fence, &job.batch) {
            None => job.fail(&AppendError::Fenced),
            Some(draft) if draft.is_empty() && draft.results.iter().any(Result::is_err) => {
                job.answer(draft.results);
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
    let names: Vec<&str> = wanted.iter().map(|(room, ..)| room.as_str()).collect();
    let found = conn.query(ROOMS, &[&names]).await?;
    let mut rows = std::collections::HashMap::with_capacity(found.len());
    for row in &found {
        let unreadable = |error| Failure::Lost(format!("{error:?}"));
        let name: &str = get(row, 0).map_err(unreadable)?;
        rows.insert(name, room_row(row, 1).map_err(unreadable)?);
    }
    for (room, slot, fence) in wanted {
        let row = rows.get(room.as_str()).cloned().flatten();
        shared.claims().learn(slot, fence, room, row);
    }
    Ok(())
}

/// Writes drafts of different slots in one transaction, and answers them.
async fn commit(shared: &Shared, conn: &Conn, mut drafts: Vec<(Job, Draft)>) {
    if drafts.is_empty() {
        return;
    }
    match send(conn, &drafts).await {
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
    if held.contains(&rows::slot_number(draft.slot)) {
        shared.claims().committed(&draft);
        return job.answer(draft.results);
    }
    shared.claims().end(draft.slot, draft.fence);
    // Either somebody claimed the slot, or its last place is another: entries were lost, by a failover
    // to a standby that had not received them.
    let fence = conn.query_opt(FENCE, &[&rows::slot_number(draft.slot)]).await;
    let error = match fence.map(|row| row.and_then(|row| get::<i64>(&row, 0).ok())) {
        Ok(Some(fence)) if fence == rows::at(draft.fence) => {
            let why = format!("slot {} is not where it was left; entries were lost", draft.slot);
            tracing::error!(why, "the journal went back: look at the last failover");
            AppendError::Unknown(why)
        }
        Ok(_) => AppendError::Fenced,
        Err(failure) => failure.append_error(),
    };
    job.answer(draft.fail(&error));
}
