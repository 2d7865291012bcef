//! The engine that needs nothing installed: one process, one folder, an embedded database.
//!
//! One thread commits (`commit`), a bounded pool reads, one thread makes erased bytes leave the disk
//! (`erase`). The database itself is behind `engine`, which can be closed and opened again without
//! anybody noticing more than a pause.
//!
//! # Invariants
//! - Readers never wait for a commit, and a commit never waits for a reader.
//! - What was acknowledged is there when the folder is opened again, or it does not open.

mod commit;
mod copy;
mod engine;
mod erase;
mod faults;
mod files;
mod job;
mod lock;
mod mark;
mod mend;
mod open_error;
mod rebuild;
mod report;
mod salvage;
mod settings;
mod shared;
mod space;
mod survey;
#[cfg(test)]
mod tests;

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use model::{
    AppendError, Batch, Epoch, Fence, HistoryAnchor, Record, RoomName, Seq, SlotNo, StateKey,
    UserId,
};
use tokio::sync::oneshot;

use crate::store::View;
use crate::{
    ClaimError, Claimed, Health, IdRow, Journal, PageRead, ReadError, RoomEntry, RoomHead, judge,
    page, read,
};

use commit::Committer;
use engine::Engine;
use job::{Job, Order};
use lock::DirLock;
use mark::Mark;
use settings::Format;
use shared::Shared;
use space::Headroom;

pub use faults::Faults;
pub use open_error::OpenError;
pub use report::{Damage, Renamed, Report};
pub use salvage::{Layout, check, salvage};
pub use settings::Settings;

/// The engine. Dropping it waits for what was handed over, then closes the folder.
pub struct Embedded {
    shared: Arc<Shared>,
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    /// Appends that are not answered yet; only kept where assertions are checked.
    in_flight: Arc<Mutex<Vec<(SlotNo, Fence)>>>,
    /// Dropped last.
    _lock: DirLock,
}

impl Embedded {
    /// Opens a folder, or makes it. Blocks for as long as it takes to read the last memtables again.
    ///
    /// # Errors
    /// An [`OpenError`] that names the file and what to do.
    pub fn open(settings: Settings) -> Result<Embedded, OpenError> {
        let dir = settings.dir.clone();
        let fault = |error: std::io::Error| OpenError::io(&dir, &error);
        std::fs::create_dir_all(&dir).map_err(fault)?;
        let lock = DirLock::take(&dir)?;
        let format = Format { slots: settings.slots, slot_hash: settings.slot_hash.clone() };
        Format::establish(&dir, &format)?;
        let engine = Engine::open(&settings)?;
        let damaged = |why: String| OpenError::Damaged { files: vec![settings.engine_dir()], why };
        let commits = commit::stored_commits(&engine).map_err(damaged)?;
        let marked = mark::read(&dir);
        if commits < marked {
            return Err(damaged(format!(
                "it ends at transaction {commits}, but {marked} were acknowledged"
            )));
        }
        let erasing = commit::stored_erasing(&engine).map_err(damaged)?;
        let mark = Mark::open(&dir).map_err(fault)?;
        let headroom = Headroom::new(dir.clone(), settings.headroom_bytes, settings.faults.clone());
        tracing::info!(
            headroom_bytes = headroom.bytes(),
            "publishes are refused below this free space"
        );
        let (jobs, waiting) = mpsc::sync_channel(settings.queue_max.max(1));
        let shared = Arc::new(Shared::new(settings, headroom, engine));
        if erasing > 0 {
            shared.eraser.erased(erasing);
        }
        let committer = Committer::new(Arc::clone(&shared), waiting, mark, commits, erasing > 0);
        let eraser = Arc::clone(&shared);
        let threads = vec![
            thread("journal-commit", move || committer.run()).map_err(fault)?,
            thread("journal-erase", move || erase::run(&eraser)).map_err(fault)?,
        ];
        let in_flight = Arc::default();
        Ok(Embedded { shared, jobs: Some(jobs), threads, in_flight, _lock: lock })
    }

    /// Whether everything that was erased or trimmed so far is gone from the engine's files.
    #[must_use]
    pub fn is_purged(&self) -> bool {
        self.shared.eraser.is_done()
    }

    /// Hands something to the committer; the answer comes through `reply`.
    async fn submit<T>(
        &self,
        slot: SlotNo,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Option<T> {
        let places = Arc::clone(&self.shared.places);
        let place = places.acquire_owned().await.ok()?;
        let (reply, answer) = oneshot::channel();
        let job = Job { slot, order: order(reply), _place: place };
        // The channel is as long as there are places: it is never full.
        self.jobs.as_ref()?.try_send(job).ok()?;
        answer.await.ok()
    }

    fn read<'a, T: Send + 'static>(
        &'a self,
        read: impl FnOnce(&dyn View) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, ReadError>> {
        async move {
            let closed = |_| ReadError::Unavailable("the journal is being closed".into());
            let readers = Arc::clone(&self.shared.readers);
            let place = readers.acquire_owned().await.map_err(closed)?;
            let shared = Arc::clone(&self.shared);
            let done = tokio::task::spawn_blocking(move || {
                let _place = place;
                match shared.read_engine().as_ref() {
                    Some(engine) => read(&engine.view()),
                    None => Err(ReadError::Unavailable(
                        shared.broken().unwrap_or_else(|| "the engine is closed".into()),
                    )),
                }
            });
            done.await.unwrap_or_else(|error| Err(ReadError::Unavailable(error.to_string())))
        }
        .boxed()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.eraser.stop();
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal stopped in the middle of its work");
            }
        }
        *self.shared.write_engine() = None;
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

const GONE: &str = "the journal's committer has stopped";

/// Tells when an owner breaks its duty of one append at a time.
struct InFlight {
    appends: Arc<Mutex<Vec<(SlotNo, Fence)>>>,
    append: (SlotNo, Fence),
}

impl InFlight {
    fn begin(appends: &Arc<Mutex<Vec<(SlotNo, Fence)>>>, append: (SlotNo, Fence)) -> Option<Self> {
        if !cfg!(debug_assertions) {
            return None;
        }
        let mut list = appends.lock().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(!list.contains(&append), "slot {}: two appends in flight", append.0);
        list.push(append);
        Some(InFlight { appends: Arc::clone(appends), append })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut list = self.appends.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|append| *append != self.append);
    }
}

impl Journal for Embedded {
    fn claim(
        &self,
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
    ) -> BoxFuture<'_, Result<Claimed, ClaimError>> {
        async move {
            self.submit(slot, |reply| Order::Claim { epoch, nonce, reply })
                .await
                .unwrap_or_else(|| Err(ClaimError::Poisoned(GONE.into())))
        }
        .boxed()
    }

    fn append(
        &self,
        slot: SlotNo,
        fence: Fence,
        batch: Batch,
    ) -> BoxFuture<'_, Vec<Result<(), AppendError>>> {
        async move {
            let _append = InFlight::begin(&self.in_flight, (slot, fence));
            let rooms = batch.rooms.len();
            self.submit(slot, |reply| Order::Append { fence, batch, reply })
                .await
                .unwrap_or_else(|| vec![Err(AppendError::Poisoned(GONE.into())); rooms])
        }
        .boxed()
    }

    fn trim(
        &self,
        slot: SlotNo,
        fence: Fence,
        room: &RoomName,
        first: Seq,
    ) -> BoxFuture<'_, Result<(), AppendError>> {
        let room = room.clone();
        async move {
            let gone = || Err(AppendError::Poisoned(GONE.into()));
            let trimmed = room.clone();
            self.submit(slot, |reply| Order::Trim { fence, room: trimmed, first, reply })
                .await
                .unwrap_or_else(gone)?;
            loop {
                let swept = room.clone();
                let rows = self.read(move |view| judge::sweep(view, &swept)).await;
                let rows = rows.map_err(|error| AppendError::Unavailable(format!("{error:?}")))?;
                if rows.is_empty() {
                    return Ok(());
                }
                self.submit(slot, |reply| Order::Sweep { rows, reply })
                    .await
                    .unwrap_or_else(gone)?;
            }
        }
        .boxed()
    }

    fn head(&self, room: &RoomName) -> BoxFuture<'_, Result<Option<RoomHead>, ReadError>> {
        let room = room.clone();
        self.read(move |view| read::head(view, &room))
    }

    fn range(
        &self,
        room: &RoomName,
        from: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |view| read::range(view, &room, from, limit, bytes_max))
    }

    fn range_back(
        &self,
        room: &RoomName,
        before: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |view| read::range_back(view, &room, before, limit, bytes_max))
    }

    fn page(
        &self,
        room: &RoomName,
        anchor: HistoryAnchor,
        limit: u32,
        bytes_max: usize,
        user: Option<&UserId>,
    ) -> BoxFuture<'_, Result<Option<PageRead>, ReadError>> {
        let (room, user) = (room.clone(), user.cloned());
        self.read(move |view| page::page(view, &room, anchor, limit, bytes_max, user.as_ref()))
    }

    fn by_target(
        &self,
        room: &RoomName,
        target: Seq,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |view| read::by_target(view, &room, target, after, limit))
    }

    fn ids(
        &self,
        room: &RoomName,
        from: Seq,
        to: Seq,
    ) -> BoxFuture<'_, Result<Vec<IdRow>, ReadError>> {
        let room = room.clone();
        self.read(move |view| read::ids(view, &room, from, to))
    }

    fn states(
        &self,
        room: &RoomName,
        keys: Vec<StateKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, ReadError>> {
        let room = room.clone();
        self.read(move |view| read::states(view, &room, &keys))
    }

    fn verify(&self, fences: &[(SlotNo, Fence)]) -> BoxFuture<'_, Result<Vec<SlotNo>, ReadError>> {
        std::future::ready(Ok(self.shared.superseded(fences))).boxed()
    }

    fn rooms(
        &self,
        slot: Option<SlotNo>,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RoomEntry>, ReadError>> {
        let after = after.cloned();
        self.read(move |view| read::rooms(view, slot, after.as_ref(), limit))
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}
