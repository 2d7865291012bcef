//! The engine of a cluster: PostgreSQL, 15 or newer, one primary with or without standbys.
//!
//! One row a slot holds epoch, nonce, fence and last place. Appends of many slots share transactions
//! (`append`, `statement`); what may be appended is judged here, over what this process knows under its
//! claims (`claims`), and the database checks that the slot is still where it was judged to be. A claim
//! ends whoever holds the row and does not move (`claim`). Reads have connections of their own. All
//! of it runs on a small runtime of its own, so that a full one elsewhere delays no answer.
//!
//! # Invariants
//! - "Committed" is said only after a success without a warning, within the time, on a whole connection.
//! - Nothing is ever cancelled: what is not answered in time is unknown, and its connection closed.
//! - A slot's row is locked by updates only, so that whoever holds it can be named, and ended.
//!
//! Rows of the slots are made by [`Postgres::init`] alone. After a failover to a standby that had not
//! received everything, a slot is behind what its owner knows: the append is not written, is answered
//! `Unknown`, and the next claim reads what is there. To lose nothing, set `synchronous_standby_names`.
//!
//! Look elsewhere for: failover itself (Patroni or the like), TLS (not spoken), a pooler between (the
//! connections must be the server's own: session state and names matter).

mod append;
mod claim;
mod claims;
mod condition;
mod conn;
mod holder;
mod open_error;
mod outcome;
mod pages;
mod pool;
mod reads;
mod rows;
mod schema;
mod settings;
mod shared;
mod statement;
mod trim;

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use model::{
    AppendError, Batch, Epoch, Fence, HistoryAnchor, Record, RoomName, Seq, SlotNo, StateKey,
    UserId,
};
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc, oneshot};

use crate::{
    ClaimError, Claimed, Health, IdRow, Journal, PageRead, ReadError, RoomEntry, RoomHead,
};

use append::Job;
use conn::{Connector, Kind};
use pool::{Leased, Pool};
use shared::Shared;

pub use open_error::OpenError;
pub use schema::RECORD_FORMAT;
pub use settings::Settings;

/// Threads of the engine's runtime: one serialises while the other waits for sockets.
const THREADS: usize = 2;

/// The engine. Dropping it lets what was handed over finish, in the background.
pub struct Postgres {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedSender<Job>,
    handle: Handle,
    /// Dropped with the engine: then its runtime ends.
    _stop: oneshot::Sender<()>,
}

impl Postgres {
    /// Makes tables, constants and slots in an empty database; where they are, checks that they are the
    /// same. Blocks.
    ///
    /// # Errors
    /// An [`OpenError`] that names the database and what to do.
    pub fn init(settings: &Settings) -> Result<(), OpenError> {
        let settings = settings.clone();
        let connector = Connector::new(&settings, settings.config()?, 0);
        // A thread of its own: whoever calls may be inside a runtime.
        let done = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| no_threads(&error))?.block_on(async {
                let conn = connect(&settings, &connector).await?;
                schema::init(&conn, &settings).await
            })
        });
        done.join().unwrap_or_else(|_| Err(OpenError::Settings { why: "it stopped".into() }))
    }

    /// Connects, and checks that the database was made for this cluster. `nonce` names this process in
    /// the database. Blocks for as long as that takes.
    ///
    /// # Errors
    /// An [`OpenError`] that names the database and what to do.
    pub fn open(settings: Settings, nonce: u64) -> Result<Postgres, OpenError> {
        let connector = Connector::new(&settings, settings.config()?, nonce);
        let (jobs, waiting) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (opened, answer) = std::sync::mpsc::channel();
        let run = move || match start(settings, connector) {
            Err(error) => drop(opened.send(Err(error))),
            Ok((runtime, shared)) => {
                let handle = runtime.handle().clone();
                if opened.send(Ok((Arc::clone(&shared), handle))).is_ok() {
                    runtime.block_on(serve(shared, waiting, stopped));
                }
                runtime.shutdown_background();
            }
        };
        let thread = thread::Builder::new().name("journal-postgres".into()).spawn(run);
        thread.map_err(|error| no_threads(&error))?;
        let stopped = || OpenError::Settings { why: "the engine stopped".into() };
        let (shared, handle) = answer.recv().map_err(|_| stopped())??;
        Ok(Postgres { shared, jobs, handle, _stop: stop })
    }

    /// Runs something in the engine's runtime, where it goes on even if nobody waits for it.
    fn spawn<F>(&self, task: F) -> impl Future<Output = Option<F::Output>> + Send + use<F>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let task = self.handle.spawn(task);
        async move { task.await.ok() }
    }

    /// A place in the queue of writes.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.places).acquire_owned().await.ok()
    }

    fn read<T, F, R>(&self, read: F) -> BoxFuture<'_, Result<T, ReadError>>
    where
        T: Send + 'static,
        F: FnOnce(Leased) -> R + Send + 'static,
        R: Future<Output = Result<T, ReadError>> + Send + 'static,
    {
        self.read_through(Arc::clone(&self.shared.readers), read)
    }

    fn read_through<T, F, R>(&self, pool: Arc<Pool>, read: F) -> BoxFuture<'_, Result<T, ReadError>>
    where
        T: Send + 'static,
        F: FnOnce(Leased) -> R + Send + 'static,
        R: Future<Output = Result<T, ReadError>> + Send + 'static,
    {
        let answer = self.spawn(async move {
            match pool.take().await {
                Ok(conn) => read(conn).await,
                Err(failure) => Err(failure.read_error()),
            }
        });
        async { answer.await.unwrap_or_else(|| Err(ReadError::Unavailable(CLOSED.into()))) }.boxed()
    }
}

const CLOSED: &str = "the journal is being closed";

fn no_threads(error: &std::io::Error) -> OpenError {
    OpenError::Settings { why: format!("the system gives no thread: {error}") }
}

async fn connect(settings: &Settings, connector: &Connector) -> Result<conn::Conn, OpenError> {
    let conn = connector.connect(Kind::Upkeep).await;
    conn.map_err(|failure| OpenError::Unreachable {
        place: settings.place(),
        why: failure.to_string(),
    })
}

fn start(settings: Settings, connector: Connector) -> Result<(Runtime, Arc<Shared>), OpenError> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("journal-postgres")
        .enable_all()
        .build()
        .map_err(|error| no_threads(&error))?;
    runtime.block_on(async {
        let conn = connect(&settings, &connector).await?;
        schema::check(&conn, &settings).await
    })?;
    Ok((runtime, Arc::new(Shared::new(settings, connector))))
}

/// Writes until the engine is dropped, then lets what was handed over finish.
async fn serve(
    shared: Arc<Shared>,
    waiting: mpsc::UnboundedReceiver<Job>,
    stopped: oneshot::Receiver<()>,
) {
    let queue = Arc::new(Mutex::new(waiting));
    for _ in 0..shared.settings.writers.max(1) {
        tokio::spawn(append::run(Arc::clone(&shared), Arc::clone(&queue)));
    }
    let probe = tokio::spawn(condition::probe(Arc::clone(&shared)));
    // Nothing is ever sent: this ends when the engine is dropped.
    let _ = stopped.await;
    probe.abort();
    let all = shared.settings.queue_max.max(1) as u32;
    let finished = shared.places.acquire_many(all);
    let _ = tokio::time::timeout(shared.settings.answer_within * 2, finished).await;
}

impl Journal for Postgres {
    fn claim(
        &self,
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
    ) -> BoxFuture<'_, Result<Claimed, ClaimError>> {
        async move {
            let closed = || Err(ClaimError::Unavailable(CLOSED.into()));
            let Some(place) = self.place().await else { return closed() };
            let shared = Arc::clone(&self.shared);
            let claimed = self.spawn(async move {
                let _place = place;
                claim::claim(&shared, slot, epoch, nonce).await
            });
            claimed.await.unwrap_or_else(|| Err(ClaimError::Unknown(CLOSED.into())))
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
            let parts = batch.rooms.len();
            let all = |error: AppendError| vec![Err(error); parts];
            let closed = || AppendError::Unavailable(CLOSED.into());
            let Some(place) = self.place().await else { return all(closed()) };
            let (reply, answer) = oneshot::channel();
            if self.jobs.send(Job { slot, fence, batch, reply, _place: place }).is_err() {
                return all(closed());
            }
            answer.await.unwrap_or_else(|_| all(AppendError::Unknown(CLOSED.into())))
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
            let closed = || Err(AppendError::Unavailable(CLOSED.into()));
            let Some(place) = self.place().await else { return closed() };
            let shared = Arc::clone(&self.shared);
            let trimmed = self.spawn(async move {
                let _place = place;
                trim::trim(&shared, slot, fence, room, first).await
            });
            trimmed.await.unwrap_or_else(|| Err(AppendError::Unknown(CLOSED.into())))
        }
        .boxed()
    }

    fn head(&self, room: &RoomName) -> BoxFuture<'_, Result<Option<RoomHead>, ReadError>> {
        let room = room.clone();
        self.read(move |conn| async move { reads::head(&conn, &room).await })
    }

    fn range(
        &self,
        room: &RoomName,
        from: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(
            move |conn| async move { reads::range(&conn, &room, from, limit, bytes_max).await },
        )
    }

    fn range_back(
        &self,
        room: &RoomName,
        before: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |conn| async move {
            reads::range_back(&conn, &room, before, limit, bytes_max).await
        })
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
        self.read(move |conn| async move {
            pages::page(&conn, &room, anchor, limit, bytes_max, user.as_ref()).await
        })
    }

    fn by_target(
        &self,
        room: &RoomName,
        target: Seq,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(
            move |conn| async move { reads::by_target(&conn, &room, target, after, limit).await },
        )
    }

    fn ids(
        &self,
        room: &RoomName,
        from: Seq,
        to: Seq,
    ) -> BoxFuture<'_, Result<Vec<IdRow>, ReadError>> {
        let room = room.clone();
        self.read(move |conn| async move { reads::ids(&conn, &room, from, to).await })
    }

    fn states(
        &self,
        room: &RoomName,
        keys: Vec<StateKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, ReadError>> {
        let room = room.clone();
        self.read(move |conn| async move { reads::states(&conn, &room, &keys).await })
    }

    fn verify(&self, fences: &[(SlotNo, Fence)]) -> BoxFuture<'_, Result<Vec<SlotNo>, ReadError>> {
        let (mut held, mut superseded) = (Vec::new(), Vec::new());
        for (slot, fence) in fences {
            match self.shared.claims().nonce(*slot, *fence) {
                Some(nonce) => held.push((*slot, *fence, nonce)),
                None => superseded.push(*slot),
            }
        }
        let pool = Arc::clone(&self.shared.verifier);
        self.read_through(pool, move |conn| async move {
            superseded.extend(reads::verify(&conn, &held).await?);
            superseded.sort_unstable();
            Ok(superseded)
        })
    }

    fn rooms(
        &self,
        slot: Option<SlotNo>,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RoomEntry>, ReadError>> {
        let after = after.cloned();
        self.read(move |conn| async move { reads::rooms(&conn, slot, after.as_ref(), limit).await })
    }

    /// What the database's disk has left is not known here.
    fn health(&self) -> Health {
        let why = self.shared.condition.why();
        Health { writable: why.is_none(), why, free_bytes: u64::MAX }
    }
}
