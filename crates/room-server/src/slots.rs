//! The table of slot tasks, and what all of them share.
//!
//! A slot's task starts with the first word for the slot and stays: without rooms it is a kilobyte, and
//! so what one stream says can never be split between a task that is ending and the next.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::Registry;
use journal::Journal;
use model::{Ask, Encode, Epoch, Fence, NodeId, RoomInfo, RoomName, Seq, SlotNo};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::Clock;
use crate::complaint::Complaint;
use crate::config::Config;
use crate::counters::Counters;
use crate::peers::{Dial, Peers};
use crate::slot::SlotTask;
use crate::steward::ToSteward;
use crate::stream::{Peer, StreamNo};

/// Words that may wait for a slot's task, which never waits itself: a burst of a busy slot.
const INBOX_MAX: usize = 4_096;

/// What a slot's task is told.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "most words are asks; each is moved twice")]
pub(crate) enum ToSlot {
    /// A stream wants to be fed a room.
    Watch { peer: Peer, room: RoomName, watch: u64 },
    /// It does not want that any more.
    Unwatch { peer: StreamNo, room: RoomName, watch: u64 },
    /// A stream asks.
    Ask { peer: Peer, id: u64, ask: Ask },
    /// A stream has ended.
    Gone { peer: StreamNo },
    /// Where does the room stand? Dropped unanswered when that cannot be told.
    Info { room: RoomName, reply: oneshot::Sender<RoomInfo> },
    /// Nothing below `first` shall be kept. Answers whether that is so now.
    Trim { room: RoomName, first: Seq, reply: oneshot::Sender<bool> },
    /// The journal says that somebody claimed the slot after this fence.
    Fenced { fence: Fence },
    /// The fences could not be verified for too long (or can be again): nobody may read here.
    Verified(bool),
    /// Take nothing more in, finish what was begun, then answer.
    Drain { done: oneshot::Sender<()> },
    /// The registry's record of the slot, or the life of its owner, has changed.
    Record,
    /// Take the slot over, whoever owns it.
    Own,
    /// Hand the slot to another node; under which epoch it serves it then, or why it does not.
    Give { to: NodeId, reply: GiveReply },
    /// Another node hands the slot over.
    TakeOn { transfer: Box<Transfer>, reply: GiveReply },
    /// What is open?
    Rooms { reply: oneshot::Sender<Vec<RoomState>> },
}

/// How a handoff ended: under which epoch the taker serves the slot, or a sentence.
pub(crate) type GiveReply = oneshot::Sender<Result<Epoch, String>>;

/// A slot that is handed over, with what its giver knew. Only a claim that follows the giver's own makes
/// that more than a rumour.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) from: NodeId,
    /// The giver's epoch.
    pub(crate) epoch: Epoch,
    /// The giver's fence.
    pub(crate) fence: Fence,
    pub(crate) rooms: BTreeMap<RoomName, room::Hints>,
    /// Whether rooms that were open there are missing here.
    pub(crate) partial: bool,
}

/// An open room, for operators.
#[derive(Clone, Debug)]
pub(crate) struct RoomState {
    pub(crate) room: RoomName,
    pub(crate) slot: SlotNo,
    pub(crate) head: Seq,
    pub(crate) ordinal: u64,
    pub(crate) present: u64,
    /// Streams that are fed.
    pub(crate) edges: usize,
}

/// What all tasks of a server share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) encode: Arc<dyn Encode>,
    pub(crate) clock: Clock,
    /// Tells this process's claims from those of its former self.
    pub(crate) nonce: u64,
    /// Reads for rooms.
    pub(crate) reads: Arc<Semaphore>,
    /// Reads for laggards.
    pub(crate) segment_reads: Semaphore,
    pub(crate) counters: Counters,
    /// About appends, and about claims, that fail.
    pub(crate) appends_fail: Complaint,
    pub(crate) claims_fail: Complaint,
    /// The other room servers; `None` where this one is alone for good.
    pub(crate) peers: Option<Peers>,
    /// Whether this server gives everything away and takes nothing over.
    leaving: AtomicBool,
    steward: mpsc::Sender<ToSteward>,
    /// The fences under which slots are served.
    fences: Mutex<BTreeMap<SlotNo, Fence>>,
    seeds: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        journal: Arc<dyn Journal>,
        registry: Arc<dyn Registry>,
        clock: Clock,
        seed: u64,
        dial: Option<Dial>,
        steward: mpsc::Sender<ToSteward>,
    ) -> Shared {
        Shared {
            reads: Arc::new(Semaphore::new(config.reads_max)),
            segment_reads: Semaphore::new(config.segment_reads_max),
            config,
            journal,
            registry,
            encode: Arc::new(wire::codec::Codec),
            clock,
            nonce: seed,
            counters: Counters::default(),
            appends_fail: Complaint::default(),
            claims_fail: Complaint::default(),
            peers: dial.map(Peers::new),
            leaving: AtomicBool::new(false),
            steward,
            fences: Mutex::default(),
            seeds: AtomicU64::new(seed),
        }
    }

    /// A seed that no other part of this process got.
    pub(crate) fn next_seed(&self) -> u64 {
        let count = self.seeds.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        (count ^ (count >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
    }

    /// Tells the steward, unless it has too much to hear; whether it was told.
    pub(crate) fn tell_steward(&self, word: ToSteward) -> bool {
        let told = self.steward.try_send(word).is_ok();
        if !told {
            tracing::warn!("the steward does not keep up with what it is told");
        }
        told
    }

    /// The same, when it has the time.
    pub(crate) async fn tell_steward_later(&self, word: ToSteward) {
        // Without a steward the word, and with it whatever waits for an answer, ends here.
        let _ = self.steward.send(word).await;
    }

    /// From here on this server takes nothing over.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Notes under which fence a slot is served; `None`: not any more.
    pub(crate) fn set_fence(&self, slot: SlotNo, fence: Option<Fence>) {
        let mut fences = lock(&self.fences);
        let before = match fence {
            Some(fence) => fences.insert(slot, fence),
            None => fences.remove(&slot),
        };
        match (before, fence) {
            (None, Some(_)) => self.counters.slots_serving.add(1),
            (Some(_), None) => self.counters.slots_serving.sub(1),
            _ => {}
        }
    }

    /// Whether a slot is served.
    pub(crate) fn serves(&self, slot: SlotNo) -> bool {
        lock(&self.fences).contains_key(&slot)
    }

    /// All slots that are served, with their fences.
    pub(crate) fn fences(&self) -> Vec<(SlotNo, Fence)> {
        lock(&self.fences).iter().map(|(slot, fence)| (*slot, *fence)).collect()
    }
}

/// The table of slot tasks.
pub(crate) struct Slots {
    pub(crate) shared: Arc<Shared>,
    inboxes: Mutex<BTreeMap<SlotNo, mpsc::Sender<ToSlot>>>,
    streams: AtomicU64,
}

impl Slots {
    pub(crate) fn new(shared: Arc<Shared>) -> Slots {
        Slots { shared, inboxes: Mutex::default(), streams: AtomicU64::new(1) }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// A number for a stream.
    pub(crate) fn next_stream(&self) -> StreamNo {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn slot_of(&self, room: &RoomName) -> SlotNo {
        cluster::slot_of(room, self.shared.config.slots)
    }

    /// The inbox of a slot's task, which is started if need be.
    pub(crate) fn inbox(&self, slot: SlotNo) -> mpsc::Sender<ToSlot> {
        let start = || {
            let (sender, receiver) = mpsc::channel(INBOX_MAX);
            tokio::spawn(SlotTask::new(slot, Arc::clone(&self.shared), receiver).run());
            sender
        };
        let mut inboxes = lock(&self.inboxes);
        let inbox = inboxes.entry(slot).or_insert_with(start);
        if inbox.is_closed() {
            // A broken invariant ended the task: the next one starts from the journal.
            *inbox = start();
        }
        inbox.clone()
    }

    /// The inboxes of all tasks that were started.
    pub(crate) fn started(&self) -> Vec<(SlotNo, mpsc::Sender<ToSlot>)> {
        lock(&self.inboxes).iter().map(|(slot, inbox)| (*slot, inbox.clone())).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
