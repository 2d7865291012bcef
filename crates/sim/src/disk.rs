//! The cluster's journal, on a machine of its own: `journal::Memory`, asked over a network that loses
//! questions and answers, by a disk that is slow or full.
//!
//! # Invariants
//! - What was handed over runs on when whoever asked is gone.
//! - An append that was carried out stood under the slot's last fence ([`Ledger`]).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use journal::{
    ClaimError, Claimed, Health, IdRow, Journal, Memory, PageRead, ReadError, RoomEntry, RoomHead,
};
use model::{
    AppendError, Batch, Epoch, Fence, HistoryAnchor, Record, RoomName, Seed, Seq, SlotNo, StateKey,
    UserId,
};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::net::Net;
use crate::time::Time;
use crate::trace::{Trace, note};

/// The machine that it runs on.
pub(crate) const DISK: &str = "disk";
/// Who waits for longer has lost the connection.
const PATIENCE_US: u64 = 2_000_000;
/// What is still under way then is lost.
const FORGOTTEN_US: u64 = 4_000_000;

/// The journal. Clones share it.
#[derive(Clone)]
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    memory: Memory,
    /// Where the memory's own futures run.
    runtime: Arc<Runtime>,
    net: Net,
    time: Time,
    trace: Trace,
}

struct State {
    seed: Seed,
    requests: VecDeque<Request>,
    /// Microseconds that a question takes at most to be carried out, and its answer to come back.
    delay_us: u64,
    /// One write of so many fails; 0 for none.
    fails_one_in: u64,
    is_full: bool,
    ledger: Ledger,
    counts: Counts,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) appends: u64,
    pub(crate) fenced: u64,
    pub(crate) unknown_applied: u64,
    pub(crate) unknown_lost: u64,
    /// Carried out, or fenced, after they were answered "unknown".
    pub(crate) unknown_late: u64,
    pub(crate) claims: u64,
    pub(crate) claims_refused: u64,
}

/// Holds against the engine what an engine promises.
#[derive(Default)]
struct Ledger {
    /// The last fence of each slot.
    fences: BTreeMap<SlotNo, Fence>,
    /// Who has an append in flight.
    in_flight: Vec<(SlotNo, Fence)>,
    /// Claims that ended with an unknown outcome: nothing may pass under them but what was lost itself.
    ended: Vec<(SlotNo, Fence)>,
}

struct Request {
    from: String,
    asked_us: u64,
    due_us: u64,
    /// How long the answer takes.
    back_us: u64,
    job: Job,
    fate: Fate,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    /// Never carried out; answered "unknown".
    Lost,
    /// Carried out; answered "unknown".
    Applied,
    /// Carried out some time after it was answered "unknown".
    Late,
    Unavailable,
}

type Appended = Vec<Result<(), AppendError>>;
type ClaimReply = Option<oneshot::Sender<Result<Claimed, ClaimError>>>;
type Read = Box<dyn FnOnce(Option<&Memory>) + Send>;

enum Job {
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

impl Disk {
    pub(crate) fn new(slots: u32, net: Net, time: Time, trace: Trace, seed: Seed) -> Disk {
        let state = State {
            seed,
            requests: VecDeque::new(),
            delay_us: 2_000,
            fails_one_in: 0,
            is_full: false,
            ledger: Ledger::default(),
            counts: Counts::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Disk {
            state: Arc::new(Mutex::new(state)),
            memory: Memory::with_slots(slots),
            runtime: Arc::new(runtime.expect("a runtime without drivers is built")),
            net,
            time,
            trace,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handle(&self, host: &str) -> Arc<dyn Journal> {
        Arc::new(Handle { host: host.to_owned(), disk: self.clone() })
    }

    pub(crate) fn set_delay_us(&self, delay_us: u64) {
        self.lock().delay_us = delay_us;
    }

    pub(crate) fn set_fails(&self, one_in: u64) {
        self.lock().fails_one_in = one_in;
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        (state.delay_us, state.fails_one_in, state.is_full) = (2_000, 0, false);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Everything that is stored of a room.
    pub(crate) fn records(&self, room: &RoomName) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let from = records.last().map_or(1, |record| record.seq + 1);
            let page = self.memory.range(room, from, 1_000, usize::MAX).now_or_never();
            let page = page.expect("memory is there at once").expect("what is stored is whole");
            if page.is_empty() {
                return records;
            }
            records.extend(page);
        }
    }

    /// Where a room stands.
    pub(crate) fn head(&self, room: &RoomName) -> Seq {
        let head = self.memory.head(room).now_or_never().expect("memory is there at once");
        head.expect("what is stored is whole").map_or(0, |head| head.head)
    }

    fn submit(&self, from: &str, job: Job) {
        let asked_us = self.time.now_us();
        let mut state = self.lock();
        let delay_us = state.delay_us.max(1);
        let due_us = asked_us + state.seed.below(delay_us);
        let back_us = state.seed.below(delay_us);
        let is_write = !matches!(job, Job::Read(_));
        let fate = if is_write { state.fate() } else { Fate::Fine };
        let from = from.to_owned();
        state.requests.push_back(Request {
            from,
            asked_us,
            due_us,
            back_us,
            job,
            fate,
        });
    }

    /// Time goes on.
    pub(crate) fn step(&self) {
        let now_us = self.time.now_us();
        let mut requests = std::mem::take(&mut self.lock().requests);
        requests.retain_mut(|request| self.advance(request, now_us));
        let mut state = self.lock();
        // Nothing asks while the world steps.
        debug_assert!(state.requests.is_empty());
        state.requests = requests;
    }

    /// Whether the request goes on.
    fn advance(&self, request: &mut Request, now_us: u64) -> bool {
        let (to, from) = (
            self.net.is_blocked(&request.from, DISK),
            self.net.is_blocked(DISK, &request.from),
        );
        let waited_us = now_us - request.asked_us;
        let is_carried_out = request.job.is_carried_out();
        if !is_carried_out && request.due_us <= now_us && !to {
            match request.fate {
                Fate::Lost | Fate::Unavailable => {}
                Fate::Late if !request.job.is_answered() => {}
                _ => self.carry_out(request),
            }
        }
        let is_done = request.job.is_carried_out() || matches!(request.fate, Fate::Lost | Fate::Unavailable);
        let answered_us = request.due_us + request.back_us;
        if !request.job.is_answered() {
            let is_fine = request.fate == Fate::Fine;
            if is_fine && is_done && answered_us <= now_us && !from {
                request.job.answer();
            } else if request.fate == Fate::Unavailable && answered_us <= now_us && !to && !from {
                request.job.unavailable();
            } else if !is_fine && answered_us <= now_us && !to && !from || waited_us > PATIENCE_US {
                self.unknown(request);
                // What is late comes some time after that.
                let mut state = self.lock();
                request.due_us = now_us + state.seed.below(300_000);
            }
        }
        if !request.job.is_answered() {
            return true;
        }
        // What is under way may still be carried out.
        !(request.job.is_carried_out()
            || matches!(request.fate, Fate::Lost | Fate::Unavailable)
            || waited_us > FORGOTTEN_US)
    }

    fn carry_out(&self, request: &mut Request) {
        let is_late = request.job.is_answered();
        match &mut request.job {
            Job::Append { slot, fence, batch, outcome, .. } => {
                let batch = std::mem::take(batch);
                let state = self.lock();
                if state.is_full {
                    *outcome = Some(vec![Err(AppendError::NoSpace); batch.rooms.len()]);
                    return;
                }
                let is_ended = !is_late && state.ledger.ended.contains(&(*slot, *fence));
                drop(state);
                let rooms = batch.rooms.len();
                let results = match is_ended {
                    true => vec![Err(AppendError::Fenced); rooms],
                    false => {
                        let append = async { self.memory.append(*slot, *fence, batch).await };
                        self.runtime.block_on(append)
                    }
                };
                note!(self.trace, DISK, "append {slot} under {fence}: {results:?}, late: {is_late}");
                let mut state = self.lock();
                state.ledger.appended(*slot, *fence, &results);
                state.counts.appends += 1;
                state.counts.unknown_late += u64::from(is_late);
                let is_fenced = results.iter().any(|result| *result == Err(AppendError::Fenced));
                state.counts.fenced += u64::from(is_fenced);
                *outcome = Some(results);
            }
            Job::Claim { slot, epoch, nonce, outcome, .. } => {
                if self.lock().is_full {
                    *outcome = Some(Err(ClaimError::NoSpace));
                    return;
                }
                let claimed = self.memory.claim(*slot, *epoch, *nonce).now_or_never();
                let claimed = claimed.expect("memory is there at once");
                note!(self.trace, DISK, "{} claims {slot} at {epoch}: {claimed:?}", request.from);
                let mut state = self.lock();
                match &claimed {
                    Ok(claimed) => {
                        state.ledger.claimed(*slot, *claimed);
                        state.counts.claims += 1;
                    }
                    Err(_) => state.counts.claims_refused += 1,
                }
                *outcome = Some(claimed);
            }
            Job::Read(_) => {}
        }
        if let Job::Read(read) = &mut request.job {
            // The answer's way back is not drawn apart: what a read says is as old either way.
            let read = read.take();
            read.into_iter().for_each(|read| read(Some(&self.memory)));
        }
    }

    /// Whoever asked has lost the connection, or was told that the outcome is not known.
    fn unknown(&self, request: &mut Request) {
        let mut state = self.lock();
        match &mut request.job {
            Job::Append { slot, fence, outcome, reply, batch } => {
                let rooms = outcome.as_ref().map_or(batch.rooms.len(), Vec::len);
                let why = || Err(AppendError::Unknown("the connection was lost".to_owned()));
                state.ledger.in_flight.retain(|append| *append != (*slot, *fence));
                state.ledger.ended.push((*slot, *fence));
                match (request.fate, outcome.is_some()) {
                    (_, true) => state.counts.unknown_applied += 1,
                    (Fate::Lost, _) => state.counts.unknown_lost += 1,
                    _ => {}
                }
                note!(self.trace, DISK, "append {slot} under {fence}: unknown");
                reply.take().into_iter().for_each(|reply| _ = reply.send(vec![why(); rooms]));
            }
            Job::Claim { reply, slot, .. } => {
                note!(self.trace, DISK, "claim of {slot} by {}: unknown", request.from);
                let why = ClaimError::Unknown("the connection was lost".to_owned());
                reply.take().into_iter().for_each(|reply| _ = reply.send(Err(why.clone())));
            }
            Job::Read(read) => read.take().into_iter().for_each(|read| read(None)),
        }
    }
}

impl State {
    fn fate(&mut self) -> Fate {
        let one_in = self.fails_one_in;
        if one_in == 0 || self.seed.below(one_in) > 0 {
            return Fate::Fine;
        }
        [Fate::Lost, Fate::Applied, Fate::Late, Fate::Unavailable][self.seed.below(4) as usize]
    }
}

impl Ledger {
    fn handed_over(&mut self, slot: SlotNo, fence: Fence) {
        let append = (slot, fence);
        assert!(!self.in_flight.contains(&append), "slot {slot}: two appends in flight");
        self.in_flight.push(append);
    }

    fn claimed(&mut self, slot: SlotNo, claimed: Claimed) {
        let before = self.fences.insert(slot, claimed.fence).unwrap_or(0);
        assert!(
            claimed.fence > before && claimed.old_fence == before,
            "slot {slot}: {claimed:?} after {before}"
        );
    }

    fn appended(&mut self, slot: SlotNo, fence: Fence, results: &Appended) {
        let last = self.fences.get(&slot).copied().unwrap_or(0);
        assert!(
            fence == last || results.iter().all(Result::is_err),
            "slot {slot}: appended under {fence} after {last} was claimed"
        );
    }
}

impl Job {
    fn is_carried_out(&self) -> bool {
        match self {
            Job::Append { outcome, .. } => outcome.is_some(),
            Job::Claim { outcome, .. } => outcome.is_some(),
            Job::Read(read) => read.is_none(),
        }
    }

    fn is_answered(&self) -> bool {
        match self {
            Job::Append { reply, .. } => reply.is_none(),
            Job::Claim { reply, .. } => reply.is_none(),
            Job::Read(read) => read.is_none(),
        }
    }

    fn answer(&mut self) {
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

    fn unavailable(&mut self) {
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

/// One host's way to the journal.
struct Handle {
    host: String,
    disk: Disk,
}

impl Handle {
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Memory) -> BoxFuture<'_, Result<T, ReadError>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadError>> {
        let (reply, answer) = oneshot::channel();
        let job: Read = Box::new(move |memory| {
            let unreachable = || Err(ReadError::Unavailable("no connection".to_owned()));
            let read = memory.map_or_else(unreachable, |memory| {
                read(memory).now_or_never().expect("memory is there at once")
            });
            let _ = reply.send(read);
        });
        self.disk.submit(&self.host, Job::Read(Some(job)));
        let gone = || Err(ReadError::Unavailable("the journal is gone".to_owned()));
        async move { answer.await.unwrap_or_else(|_| gone()) }.boxed()
    }
}

impl Journal for Handle {
    fn claim(
        &self,
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
    ) -> BoxFuture<'_, Result<Claimed, ClaimError>> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Claim { slot, epoch, nonce, outcome: None, reply: Some(reply) };
        self.disk.submit(&self.host, job);
        let gone = || Err(ClaimError::Unknown("the journal is gone".to_owned()));
        async move { answer.await.unwrap_or_else(|_| gone()) }.boxed()
    }

    fn append(
        &self,
        slot: SlotNo,
        fence: Fence,
        batch: Batch,
    ) -> BoxFuture<'_, Vec<Result<(), AppendError>>> {
        let (reply, answer) = oneshot::channel();
        let rooms = batch.rooms.len();
        self.disk.lock().ledger.handed_over(slot, fence);
        self.disk.submit(
            &self.host,
            Job::Append { slot, fence, batch, outcome: None, reply: Some(reply) },
        );
        let disk = self.disk.clone();
        async move {
            let gone = || Err(AppendError::Unknown("the journal is gone".to_owned()));
            let results = answer.await.unwrap_or_else(|_| vec![gone(); rooms]);
            disk.lock().ledger.in_flight.retain(|append| *append != (slot, fence));
            results
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
        async move { self.disk.memory.trim(slot, fence, &room, first).await }.boxed()
    }

    fn head(&self, room: &RoomName) -> BoxFuture<'_, Result<Option<RoomHead>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.head(&room))
    }

    fn range(
        &self,
        room: &RoomName,
        from: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.range(&room, from, limit, bytes_max))
    }

    fn range_back(
        &self,
        room: &RoomName,
        before: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.range_back(&room, before, limit, bytes_max))
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
        self.read(move |memory| memory.page(&room, anchor, limit, bytes_max, user.as_ref()))
    }

    fn by_target(
        &self,
        room: &RoomName,
        target: Seq,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.by_target(&room, target, after, limit))
    }

    fn ids(
        &self,
        room: &RoomName,
        from: Seq,
        to: Seq,
    ) -> BoxFuture<'_, Result<Vec<IdRow>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.ids(&room, from, to))
    }

    fn states(
        &self,
        room: &RoomName,
        keys: Vec<StateKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.states(&room, keys))
    }

    fn verify(&self, fences: &[(SlotNo, Fence)]) -> BoxFuture<'_, Result<Vec<SlotNo>, ReadError>> {
        let fences = fences.to_vec();
        self.read(move |memory| memory.verify(&fences))
    }

    fn rooms(
        &self,
        slot: Option<SlotNo>,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RoomEntry>, ReadError>> {
        let after = after.cloned();
        self.read(move |memory| memory.rooms(slot, after.as_ref(), limit))
    }

    fn health(&self) -> Health {
        let is_full = self.disk.lock().is_full;
        Health {
            writable: !is_full,
            why: is_full.then(|| "the disk is full".to_owned()),
            free_bytes: if is_full { 0 } else { u64::MAX },
        }
    }
}
