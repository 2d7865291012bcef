//! The task of one slot: it owns the slot's machine and all its rooms, and carries out what they decide.
//!
//! # How it turns
//! ```text
//! inbox ─┐                      ┌─> streams (bounded, never waited for)
//! timers ┼─> machines ─> pump ──┼─> one append at a time ─┐
//! work ──┘                      └─> claims, reads ────────┤
//!   ^                                                     │
//!   └─────────────────────────────────────────────────────┘
//! ```
//! Everything that takes time is spawned and comes back as [`Done`]; the task itself waits for nothing
//! else. A room's words wait in order while the slot is claimed and the room is opened.
//!
//! # Invariants
//! - At most one append of the slot is in flight; the next is made after its answer. A claim waits
//!   for it, too: an append is never cancelled.
//! - Nothing is appended and no room is opened unless the slot machine serves.
//! - A room is dropped only after it has answered everything that it was asked; when the slot is another
//!   node's, its streams are told so instead ([`moved`]).
//! - While the slot is handed over ([`handoff`]), words wait, and from the transfer on nothing is said.
//! - A word of a stream comes to a room before the end of that stream.

mod append;
mod claim;
mod dispatch;
mod handoff;
mod moved;
mod open;
mod output;
mod place;
mod read;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use journal::{ClaimError, Claimed, ReadError};
use link::FromOwner;
use model::{AppendError, Epoch, Fence, NodeId, Now, Record, RoomName, Seed, SlotNo};
use room::{Head, ReadDone, ReadFailed, Ticket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::slots::{GiveReply, Shared, ToSlot};
use crate::stream::{Peer, StreamNo};
use handoff::{Hints, Taking};
use moved::{Elsewhere, Farewell};
use place::{OpenRoom, Place};

/// Words taken from the inbox before the machines are polled again.
const INBOX_BATCH: usize = 256;
/// Words that may wait while the slot is claimed; more are refused as busy.
const WAITING_MAX: usize = 16_384;
/// A timer that is not wanted.
const NEVER: Duration = Duration::from_secs(3_600);

/// What comes back from what was spawned.
pub(super) enum Done {
    Swapped(Result<cluster::Swap, cluster::RegistryError>),
    Claimed(Result<Claimed, ClaimError>),
    /// The ends of logs, for rooms that wanted to know.
    Tails {
        fence: Fence,
        tails: Vec<(RoomName, Tail)>,
    },
    Appended(Vec<Result<(), AppendError>>),
    Opened {
        room: RoomName,
        attempt: u64,
        read: Tail,
    },
    Read {
        room: RoomName,
        opened: u64,
        ticket: Ticket,
        result: Result<ReadDone, ReadFailed>,
    },
    /// The way to the taker of the slot is ready.
    Warmed {
        to: NodeId,
    },
    /// What it said.
    Given {
        to: NodeId,
        result: Result<Epoch, String>,
    },
    Trimmed {
        room: RoomName,
        fence: Fence,
        result: Result<(), AppendError>,
        /// Where the room begins now.
        head: Option<Head>,
        reply: oneshot::Sender<bool>,
    },
}

/// An append that is in flight.
struct Appending {
    fence: Fence,
    /// The rooms, each with the attempt that opened it.
    rooms: Vec<(RoomName, u64)>,
    entries: u64,
    /// Rooms of it that were dropped meanwhile: the journal's answer is still theirs.
    orphans: BTreeMap<RoomName, Box<OpenRoom>>,
}

/// See the module.
pub(crate) struct SlotTask {
    no: SlotNo,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<ToSlot>,
    machine: cluster::Slot,
    seed: Seed,
    /// The last place given to an entry of this slot.
    slot_pos: u64,
    /// The slot's last fence, as the last claim or drop left it; 0 if what is open cannot be built upon.
    built_on: Fence,
    /// Whether edges may hold attachments that this owner has not heard of: the slot was another
    /// node's, its rooms were dropped, or this process has only begun.
    may_be_watched: bool,
    /// Until then, rooms that are opened collect presence in silence.
    collect_until: Option<Now>,
    rooms: BTreeMap<RoomName, Place>,
    peers: BTreeMap<StreamNo, Peer>,
    /// Words that came while the slot was not served, or while it was being handed over.
    waiting: VecDeque<ToSlot>,
    /// Whether this node serves the slot or is on the way to.
    owning: bool,
    /// Whether the steward was told that somebody asks for the slot.
    told_wanted: bool,
    /// How many rooms the steward was told of; `None`: not even that it is served.
    told_rooms: Option<usize>,
    /// The epoch of the last claim.
    epoch: Epoch,
    /// To whom the slot was handed over, until the registry says so too.
    given_to: Option<Elsewhere>,
    /// How much stands still while the slot is being handed over.
    hold: Hold,
    /// What came back meanwhile.
    late: Vec<Done>,
    /// Who ordered that it be handed over.
    giving: Option<GiveReply>,
    /// Who hands it over to this node, and what it told.
    taking: Option<Taking>,
    /// Rooms as their former owner knew them.
    hints: Hints,
    /// What dropped rooms say at this moment.
    parting: Option<Vec<(Peer, FromOwner)>>,
    /// What they said, until it is known where their streams go on.
    farewell: Option<Farewell>,
    /// When streams were last told where the slot is, and at which epoch.
    moved_told: BTreeMap<StreamNo, (Now, Epoch)>,
    /// Rooms whose output is to be taken.
    dirty: VecDeque<RoomName>,
    /// Rooms that may have something to append.
    ready: VecDeque<RoomName>,
    appending: Option<Appending>,
    /// Claims that were begun.
    claims: u64,
    /// A claim that waits for the append in flight.
    claim_due: Option<Epoch>,
    work: JoinSet<Done>,
    timers: BTreeSet<(u64, RoomName)>,
    attempts: u64,
    /// Whether the fences were verified lately.
    verified: bool,
    draining: bool,
    drained: Vec<oneshot::Sender<()>>,
    swept_at: Now,
}

/// Where a room stands and the end of its log, as far as it was asked for.
type Tail = Result<(Option<Head>, Vec<Record>), ReadError>;

/// How much stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Nothing,
    /// New words wait; what was taken is flushed.
    Words {
        /// When that began.
        since: Now,
    },
    /// Nothing is answered: another node may serve the slot at any moment.
    Everything,
}

#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Event {
    Done(Done),
    Words(usize),
    Time,
}

impl SlotTask {
    pub(crate) fn new(no: SlotNo, shared: Arc<Shared>, inbox: mpsc::Receiver<ToSlot>) -> SlotTask {
        let now = shared.clock.now();
        SlotTask {
            machine: cluster::Slot::new(shared.config.node.clone()),
            seed: Seed::new(shared.next_seed()),
            no,
            inbox,
            slot_pos: 0,
            built_on: 0,
            may_be_watched: now.mono_us < shared.config.limits.presence_grace_ms * 1_000,
            collect_until: None,
            rooms: BTreeMap::new(),
            peers: BTreeMap::new(),
            waiting: VecDeque::new(),
            owning: false,
            told_wanted: false,
            told_rooms: None,
            epoch: 0,
            given_to: None,
            hold: Hold::Nothing,
            late: Vec::new(),
            giving: None,
            taking: None,
            hints: Hints::default(),
            parting: None,
            farewell: None,
            moved_told: BTreeMap::new(),
            dirty: VecDeque::new(),
            ready: VecDeque::new(),
            appending: None,
            claims: 0,
            claim_due: None,
            work: JoinSet::new(),
            timers: BTreeSet::new(),
            attempts: 0,
            verified: true,
            draining: false,
            drained: Vec::new(),
            swept_at: now,
            shared,
        }
    }

    /// Runs until the server is gone.
    pub(crate) async fn run(mut self) {
        let mut words = Vec::with_capacity(INBOX_BATCH);
        loop {
            let wake_at = self.wake_at();
            let event = tokio::select! {
                biased;
                Some(done) = self.work.join_next(), if !self.work.is_empty() => match done {
                    Ok(done) => Event::Done(done),
                    // Only the end of the runtime ends what was spawned.
                    Err(error) if error.is_cancelled() => return,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                count = self.inbox.recv_many(&mut words, INBOX_BATCH) => Event::Words(count),
                () = sleep_until(wake_at) => Event::Time,
            };
            let now = self.shared.clock.now();
            match event {
                Event::Words(0) => return,
                Event::Words(_) => words.drain(..).for_each(|word| self.take(now, word)),
                Event::Done(done) => self.done(now, done),
                Event::Time => self.time(now),
            }
            self.pump(now);
        }
    }

    fn wake_at(&self) -> Instant {
        let machine = self.machine.poll_timeout().map(|at| at.mono_us);
        let farewell = self.farewell.as_ref().map(|farewell| farewell.due.mono_us);
        let moves = self.hold != Hold::Everything;
        let rooms = self.timers.first().map(|(due, _)| *due).filter(|_| moves);
        let sweep = (moves && !self.rooms.is_empty()).then(|| self.sweep_due().mono_us);
        let hints = self.hints.due().map(|at| at.mono_us);
        // Later only what comes to its end is looked at: a timer in the past would ring for ever.
        let now = self.shared.clock.now();
        let flush = self.flush_due().filter(|at| !now.reached(*at)).map(|at| at.mono_us);
        match [machine, farewell, rooms, sweep, hints, flush].into_iter().flatten().min() {
            Some(mono_us) => self.shared.clock.instant(Now { mono_us, wall_ms: 0 }),
            None => Instant::now() + NEVER,
        }
    }

    fn time(&mut self, now: Now) {
        self.machine.handle_timeout(now);
        self.part(now);
        self.hints.handle_timeout(now);
        if self.hold == Hold::Everything {
            return;
        }
        while self.timers.first().is_some_and(|(due, _)| *due <= now.mono_us) {
            let Some((_, name)) = self.timers.pop_first() else {
                break;
            };
            if let Some(open) = open(&mut self.rooms, &name) {
                open.armed = None;
                open.room.handle_timeout(now);
                self.touch(&name);
            }
        }
        if now.reached(self.sweep_due()) {
            self.sweep(now);
        }
    }

    fn done(&mut self, now: Now, done: Done) {
        if self.hold == Hold::Everything
            && matches!(done, Done::Opened { .. } | Done::Read { .. } | Done::Trimmed { .. })
        {
            return self.late.push(done);
        }
        match done {
            Done::Swapped(result) => self.swapped(now, result),
            Done::Claimed(result) => self.claimed(now, result),
            Done::Tails { fence, tails } => self.tails_read(now, fence, tails),
            Done::Appended(results) => self.appended(now, results),
            Done::Opened { room, attempt, read } => self.opened(now, room, attempt, read),
            Done::Read { room, opened, ticket, result } => {
                self.read_done(now, &room, opened, ticket, result);
            }
            Done::Warmed { to } => self.warmed(now, to),
            Done::Given { to, result } => self.given(now, to, result),
            Done::Trimmed { room, fence, result, head, reply } => {
                self.trimmed(now, &room, fence, &result, head);
                let _ = reply.send(result.is_ok());
            }
        }
    }

    /// Carries out everything that the machines want, until they want nothing more.
    fn pump(&mut self, now: Now) {
        self.steps(now);
        loop {
            while let Some(name) = self.dirty.pop_front() {
                self.take_outputs(now, &name);
            }
            self.append(now);
            // What rooms say may order a claim.
            if !self.steps(now) && self.dirty.is_empty() {
                break;
            }
        }
        if self.finish_freeze(now) {
            self.steps(now);
        }
        self.tell_load();
        self.finish_drain();
    }

    /// Answers whether there were any.
    fn steps(&mut self, now: Now) -> bool {
        let mut stepped = false;
        while let Some(step) = self.machine.poll_step() {
            self.step(now, step);
            stepped = true;
        }
        stepped
    }

    /// Whether new words wait, though the slot may be served.
    fn holds(&self) -> bool {
        self.hold != Hold::Nothing
    }

    /// The room may want something: its output is taken, and its timer armed, by the next pump.
    fn touch(&mut self, name: &RoomName) {
        if let Some(open) = open(&mut self.rooms, name)
            && !std::mem::replace(&mut open.dirty, true)
        {
            self.dirty.push_back(name.clone());
        }
    }

    fn spawn(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.work.spawn(work);
    }
}

/// The room, if it is open. A function of the map alone, so that the task's other parts stay free.
fn open<'a>(rooms: &'a mut BTreeMap<RoomName, Place>, name: &RoomName) -> Option<&'a mut OpenRoom> {
    match rooms.get_mut(name)? {
        Place::Open(open) => Some(open),
        Place::Opening(_) => None,
    }
}
