//! The cluster's journal, on a machine of its own: `journal::Memory`, asked over a network that loses
//! questions and answers, by a disk that is slow or full.
//!
//! # Invariants
//! - What was handed over runs on when whoever asked is gone.
//! - An append that was carried out stood under the slot's last fence ([`Ledger`]).

mod handle;
mod job;
mod ledger;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use journal::{ClaimError, Journal, Memory};
use model::{AppendError, Record, RoomName, Seed, Seq};
use tokio::runtime::Runtime;

use crate::net::Net;
use crate::time::Time;
use crate::trace::{Trace, note};
use job::Job;
use ledger::Ledger;

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
    /// One append of so many is lied about; 0 for none.
    lies_one_in: u64,
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
    /// Never carried out; answered "committed": no engine may, and the verdict must see it.
    Lied,
}

impl Disk {
    pub(crate) fn new(slots: u32, net: Net, time: Time, trace: Trace, seed: Seed) -> Disk {
        let state = State {
            seed,
            requests: VecDeque::new(),
            delay_us: 2_000,
            fails_one_in: 0,
            is_full: false,
            lies_one_in: 0,
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

    pub(crate) fn set_delay_us(&self, delay_us: u64) {
        self.lock().delay_us = delay_us;
    }

    pub(crate) fn set_fails(&self, one_in: u64) {
        self.lock().fails_one_in = one_in;
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    pub(crate) fn set_lies(&self, one_in: u64) {
        self.lock().lies_one_in = one_in;
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
        let mut fate = if is_write { state.fate() } else { Fate::Fine };
        let lies_one_in = state.lies_one_in;
        if lies_one_in > 0
            && matches!(job, Job::Append { .. })
            && state.seed.below(lies_one_in) == 0
        {
            fate = Fate::Lied;
        }
        let from = from.to_owned();
        state.requests.push_back(Request { from, asked_us, due_us, back_us, job, fate });
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
        let (to, from) =
            (self.net.is_blocked(&request.from, DISK), self.net.is_blocked(DISK, &request.from));
        let waited_us = now_us - request.asked_us;
        let is_carried_out = request.job.is_carried_out();
        if !is_carried_out && request.due_us <= now_us && !to {
            match request.fate {
                Fate::Lost | Fate::Unavailable => {}
                Fate::Lied => request.job.lie(),
                Fate::Late if !request.job.is_answered() => {}
                _ => self.carry_out(request),
            }
        }
        let is_done =
            request.job.is_carried_out() || matches!(request.fate, Fate::Lost | Fate::Unavailable);
        let answered_us = request.due_us + request.back_us;
        if !request.job.is_answered() {
            let is_fine = matches!(request.fate, Fate::Fine | Fate::Lied);
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
                note!(
                    self.trace,
                    DISK,
                    "append {slot} under {fence}: {results:?}, late: {is_late}"
                );
                let mut state = self.lock();
                state.ledger.appended(*slot, *fence, &results);
                state.counts.appends += 1;
                state.counts.unknown_late += u64::from(is_late);
                let is_fenced = results.contains(&Err(AppendError::Fenced));
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
