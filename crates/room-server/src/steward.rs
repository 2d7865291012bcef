//! The task around [`cluster::Steward`]: it hears of the registry, of the other room servers and of this
//! one's slots, and passes on what is to be taken over and given away.
//!
//! It waits for nobody: what takes time is a task of its own, and slots carry out their orders by
//! themselves. A takeover of many slots reads no room.
//!
//! # Invariants
//! - A node that is dialled is in the view; when it leaves the view, its beats are not heard any more.
//! - Slots hear that their record, or the life of its owner, has changed before they hear of an order that
//!   was made of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cluster::{Node, Order, Outcome, Registry, Sign, Steward, StewardSettings, View};
use model::{NodeId, SlotNo};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use wire::link::SuspectRequest;

use crate::peers::{self, Peers, SILENCE_MS};
use crate::slots::{Slots, ToSlot};

/// Words that may wait for the steward beside those of slots.
const WORDS_MAX: usize = 1_024;
/// Words of one slot that may wait: it begins to be served, is lost, is given, all before it is heard.
const WORDS_PER_SLOT: usize = 4;
/// Signs that may wait.
const SIGNS_MAX: usize = 1_024;
/// Words of suspicion that may be under way; there are more with the next beat that is missed.
const TELLING_MAX: usize = 256;
/// Milliseconds that the registry has to hear that this node leaves.
const ANNOUNCE_MS: u64 = 2_000;
/// A timer that is not wanted.
const NEVER: Duration = Duration::from_secs(3_600);

/// What the steward is told.
#[derive(Debug)]
pub(crate) enum ToSteward {
    /// A node finds another one silent.
    Suspected { observer: NodeId, node: NodeId },
    /// Somebody asks here for a slot that nobody serves.
    Wanted { slot: SlotNo },
    /// A slot is served here, with so many open rooms.
    Served { slot: SlotNo, rooms: usize },
    /// What became of an order, or of a slot without one.
    Ended { slot: SlotNo, outcome: Outcome },
    /// Give everything away; how many slots were left in the end.
    Drain { reply: oneshot::Sender<usize> },
}

/// How many words may wait for the steward of so many slots.
pub(crate) fn words_max(slots: u32) -> usize {
    WORDS_MAX + WORDS_PER_SLOT * slots as usize
}

/// Runs until the server is gone. A server without peers has nothing to take over or to give.
pub(crate) async fn run(slots: Weak<Slots>, words: mpsc::Receiver<ToSteward>) {
    let Some(shared) = slots.upgrade().map(|slots| Arc::clone(&slots.shared)) else {
        return;
    };
    if shared.peers.is_none() {
        return alone(words, || shared.fences().len()).await;
    }
    let (signs_in, signs) = mpsc::channel(SIGNS_MAX);
    let steward = Steward::new(shared.config.node.clone(), StewardSettings::default());
    let task = Task {
        registry: Arc::clone(&shared.registry),
        view: Arc::new(View::default()),
        slots,
        steward,
        words,
        signs,
        signs_in,
        watched: BTreeMap::new(),
        telling: JoinSet::new(),
        drains: Vec::new(),
    };
    drop(shared);
    task.run().await;
}

async fn alone(mut words: mpsc::Receiver<ToSteward>, served: impl Fn() -> usize) {
    while let Some(word) = words.recv().await {
        if let ToSteward::Drain { reply } = word {
            let _ = reply.send(served());
        }
    }
}

struct Task {
    slots: Weak<Slots>,
    registry: Arc<dyn Registry>,
    view: Arc<View>,
    steward: Steward,
    words: mpsc::Receiver<ToSteward>,
    signs: mpsc::Receiver<(NodeId, Sign)>,
    signs_in: mpsc::Sender<(NodeId, Sign)>,
    /// The nodes whose beats are heard, and where.
    watched: BTreeMap<NodeId, (String, AbortHandle)>,
    telling: JoinSet<()>,
    drains: Vec<oneshot::Sender<usize>>,
}

enum Event {
    View(Arc<View>),
    Sign(NodeId, Sign),
    Word(ToSteward),
    Other,
}

impl Task {
    async fn run(mut self) {
        loop {
            let Some(wake_at) = self.wake_at() else { return };
            let event = tokio::select! {
                biased;
                view = self.registry.changed(self.view.version) => Event::View(view),
                word = self.words.recv() => match word {
                    Some(word) => Event::Word(word),
                    None => return,
                },
                Some((node, sign)) = self.signs.recv() => Event::Sign(node, sign),
                Some(_) = self.telling.join_next() => Event::Other,
                () = sleep_until(wake_at) => Event::Other,
            };
            let Some(slots) = self.slots.upgrade() else { return };
            self.handle(&slots, event).await;
            self.pump(&slots).await;
        }
    }

    /// `None` once the server is gone.
    fn wake_at(&self) -> Option<Instant> {
        let clock = &self.slots.upgrade()?.shared.clock;
        let due = self.steward.poll_timeout();
        Some(due.map_or_else(|| Instant::now() + NEVER, |at| clock.instant(at)))
    }

    async fn handle(&mut self, slots: &Arc<Slots>, event: Event) {
        let now = slots.shared.clock.now();
        match event {
            Event::View(view) => self.see(slots, view).await,
            Event::Sign(node, sign) => {
                if sign != Sign::Heard && !self.steward.is_dead(&node) {
                    tracing::debug!(%node, ?sign, "a room server does not beat");
                }
                self.steward.handle_peer(now, &node, sign);
            }
            Event::Word(ToSteward::Suspected { observer, node }) => {
                self.steward.handle_suspicion(now, observer, &node);
            }
            Event::Word(ToSteward::Wanted { slot }) => self.steward.handle_wanted(now, slot),
            Event::Word(ToSteward::Served { slot, rooms }) => {
                self.steward.handle_served(now, slot, rooms as u64);
            }
            Event::Word(ToSteward::Ended { slot, outcome }) => {
                self.steward.handle_result(now, slot, outcome);
            }
            Event::Word(ToSteward::Drain { reply }) => {
                self.drains.push(reply);
                self.leave(slots);
                self.steward.handle_drain(now);
                self.tell_slots(slots, |_| true).await;
            }
            Event::Other => self.steward.handle_timeout(now),
        }
    }

    /// The registry has something new.
    async fn see(&mut self, slots: &Arc<Slots>, view: Arc<View>) {
        let before = std::mem::replace(&mut self.view, Arc::clone(&view));
        let same_nodes = before.nodes.keys().eq(view.nodes.keys());
        self.tell_slots(slots, |slot| !same_nodes || before.slot(slot) != view.slot(slot)).await;
        self.steward.handle_view(slots.shared.clock.now(), &view);
        if before.nodes != view.nodes {
            self.watch_nodes(slots, &view);
        }
    }

    async fn tell_slots(&self, slots: &Arc<Slots>, concerns: impl Fn(SlotNo) -> bool) {
        for (slot, inbox) in slots.started() {
            if concerns(slot) {
                let _ = inbox.send(ToSlot::Record).await;
            }
        }
    }

    /// Listens to the beats of all other room servers, and to nobody else's.
    fn watch_nodes(&mut self, slots: &Arc<Slots>, view: &View) {
        let Some(peers) = &slots.shared.peers else { return };
        let me = &slots.shared.config.node;
        let others: BTreeMap<&NodeId, &Node> = view
            .room_servers()
            .filter(|node| node.id != *me)
            .map(|node| (&node.id, node))
            .collect();
        self.watched.retain(|id, (link, beats)| {
            let stays = others.get(id).is_some_and(|node| node.link == *link);
            if !stays {
                beats.abort();
            }
            stays
        });
        peers.retain(|id| self.watched.contains_key(id));
        for (id, node) in others {
            if !self.watched.contains_key(id) {
                let signs = self.signs_in.clone();
                let beats = peers::watch(me.clone(), node.clone(), peers.dial(), signs);
                let beats = tokio::spawn(beats).abort_handle();
                self.watched.insert(id.clone(), (node.link.clone(), beats));
            }
        }
    }

    /// Tells the registry that this node leaves: nobody gives it anything any more.
    fn leave(&mut self, slots: &Arc<Slots>) {
        let Some(me) = self.view.nodes.get(&slots.shared.config.node) else { return };
        let leaving = Node { draining: true, ..me.clone() };
        let registry = Arc::clone(&self.registry);
        self.telling.spawn(async move {
            let said =
                timeout(Duration::from_millis(ANNOUNCE_MS), registry.announce(leaving)).await;
            if !matches!(said, Ok(Ok(()))) {
                tracing::info!(?said, "the registry did not hear that this node leaves");
            }
        });
    }

    /// Passes on what the steward wants.
    async fn pump(&mut self, slots: &Arc<Slots>) {
        while let Some((slot, order)) = self.steward.poll_order() {
            let word = match order {
                Order::TakeOver => ToSlot::Own,
                Order::Give { to } => {
                    // How it ends the slot tells by itself.
                    let (reply, _) = oneshot::channel();
                    ToSlot::Give { to, reply }
                }
                Order::Release | Order::Reclaim => continue,
            };
            let _ = slots.inbox(slot).send(word).await;
        }
        while let Some(node) = self.steward.poll_suspect() {
            self.tell_others(slots, &node);
        }
        if let Some(left) = self.steward.drained() {
            self.drains.drain(..).for_each(|reply| _ = reply.send(left));
        }
    }

    /// Tells all others that a node is silent.
    fn tell_others(&mut self, slots: &Arc<Slots>, silent: &NodeId) {
        let me = &slots.shared.config.node;
        for node in self.view.room_servers().filter(|node| node.id != *me && node.id != *silent) {
            if self.telling.len() >= TELLING_MAX {
                return;
            }
            let request = SuspectRequest {
                observer: me.as_str().to_owned(),
                node: silent.as_str().to_owned(),
                silent_ms: SILENCE_MS,
            };
            let (shared, node) = (Arc::clone(&slots.shared), node.clone());
            self.telling.spawn(async move {
                if let Some(peers) = &shared.peers {
                    Peers::suspect(peers, &node, request).await;
                }
            });
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.watched.values().for_each(|(_, beats)| beats.abort());
    }
}
