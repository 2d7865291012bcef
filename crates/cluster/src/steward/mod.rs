//! What one room server should own: which slots to take over, which to give away, and when.
//!
//! It decides for its own node alone, from the view and from what it is told; it asks nobody. Nothing
//! here is ever what makes writing safe: a decision on false evidence costs time, and the journal's
//! fence does the rest.
//!
//! - **A slot whose owner is dead** is taken over by the live node that ranks first for it; the one at
//!   rank i waits i × [`StewardSettings::rank_step_ms`]. Dead is who has left the registry (its lease is
//!   over), whose process is gone ([`Sign::Refused`]), or whom two observers find silent within
//!   [`StewardSettings::agree_ms`]. Without the first of these, the same slot is taken over again only
//!   after a wait that doubles.
//! - **A slot that nobody has owned** is left alone until somebody asks for it here; then it is taken
//!   over, the nodes waiting for each other by the same ranks. A new cluster so hands out its slots as
//!   rooms come to life: who claims all of them at the start is the first node to start.
//! - **Towards an even share** a node gives away what it owns beyond its cap, a few slots at a time, and
//!   rests for a while after anything that looks like trouble.
//! - **On leaving** a node gives away everything, the busiest slots first, many at a time; what one node
//!   cannot take goes to the next.

mod evidence;
mod moves;
mod takeover;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{NodeId, Now, SlotNo};

use crate::{Candidate, Order, SlotRecord, View, rank};
use evidence::Peers;
pub use evidence::Sign;
use moves::Moves;
use takeover::{Cause, Takeovers};
pub use takeover::{STEAL_MS_MAX, STEAL_MS_MIN};

/// How long a slot that was lost is left alone, in milliseconds, unless somebody asks for it: the view
/// shows its new owner by then.
const LOST_REST_MS: u64 = 250;

/// How a steward goes about it.
#[derive(Clone, Debug)]
pub struct StewardSettings {
    /// What a node waits for each one that ranks before it, in milliseconds: some round trips to the
    /// registry.
    pub rank_step_ms: u64,
    /// How close together two observers must find a node silent, in milliseconds.
    pub agree_ms: u64,
    /// Slots taken over at a time: more would only wait for each other in registry and journal.
    pub takeovers_parallel: usize,
    /// Slots given away at a time on leaving.
    pub gives_parallel: usize,
    /// Slots moved towards an even share in each interval.
    pub rebalance_slots: usize,
    /// That interval, in milliseconds.
    pub rebalance_interval_ms: u64,
    /// How long nothing is moved towards an even share after trouble, in milliseconds: longer than a
    /// restart takes.
    pub rest_ms: u64,
}

impl Default for StewardSettings {
    fn default() -> StewardSettings {
        StewardSettings {
            rank_step_ms: 30,
            agree_ms: 2_000,
            takeovers_parallel: 64,
            gives_parallel: 32,
            rebalance_slots: 4,
            rebalance_interval_ms: 1_000,
            rest_ms: 30_000,
        }
    }
}

/// What became of an order, or of a slot without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is not served here: another node has it, or it was fenced or released.
    Lost,
    /// It was given away.
    Given,
    /// It could not be given away, or was not to be had for giving.
    NotGiven,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    weight: u32,
    draining: bool,
}

/// The steward of one room server. Owned by the server's control task.
///
/// Any `handle_*(now, …)`, then [`Steward::poll_order`] and [`Steward::poll_suspect`] until they are
/// empty, then [`Steward::poll_timeout`] for when to call [`Steward::handle_timeout`].
///
/// - An order goes to the slot's task. Its outcome comes back by [`Steward::handle_served`] (a takeover
///   serves), or by [`Steward::handle_result`]. One that is never told is forgotten after a while.
/// - [`Steward::handle_served`] is called whenever a slot begins to be served, for whatever reason,
///   and whenever its load has changed much; [`Outcome::Lost`] whenever it is not served any more.
#[derive(Clone, Debug)]
pub struct Steward {
    me: NodeId,
    settings: StewardSettings,
    /// The room servers of the view.
    nodes: BTreeMap<NodeId, Known>,
    /// Who owns which, as the view says.
    slots: Vec<Option<NodeId>>,
    /// How many slots the view gives to each node.
    owned: BTreeMap<NodeId, u32>,
    peers: Peers,
    /// The slots that are served here, each with its load.
    served: BTreeMap<SlotNo, u64>,
    /// Slots that somebody asked for here, and that nobody serves as far as is known.
    wanted: BTreeSet<SlotNo>,
    takeovers: Takeovers,
    moves: Moves,
    orders: VecDeque<(SlotNo, Order)>,
    suspects: VecDeque<NodeId>,
}

impl Steward {
    /// The steward of node `me`, which knows nothing yet.
    #[must_use]
    pub fn new(me: NodeId, settings: StewardSettings) -> Steward {
        Steward {
            me,
            peers: Peers::new(settings.agree_ms),
            settings,
            nodes: BTreeMap::new(),
            slots: Vec::new(),
            owned: BTreeMap::new(),
            served: BTreeMap::new(),
            wanted: BTreeSet::new(),
            takeovers: Takeovers::default(),
            moves: Moves::default(),
            orders: VecDeque::new(),
            suspects: VecDeque::new(),
        }
    }

    /// The newest view.
    pub fn handle_view(&mut self, now: Now, view: &View) {
        let nodes: BTreeMap<NodeId, Known> = view
            .room_servers()
            .map(|node| {
                let known = Known { weight: node.weight, draining: node.draining };
                (node.id.clone(), known)
            })
            .collect();
        if !nodes.keys().eq(self.nodes.keys()) {
            self.trouble(now);
            self.peers.keep(nodes.keys());
        }
        self.nodes = nodes;
        self.slots.resize(view.slots.len(), None);
        for (slot, record) in view.slots.iter().enumerate() {
            self.note(slot, record.as_ref());
        }
        self.survey(now);
    }

    /// Keeps who owns the slot, and the counts with it.
    fn note(&mut self, slot: usize, record: Option<&SlotRecord>) {
        let held = &mut self.slots[slot];
        let owner = record.map(|record| &record.owner);
        if held.as_ref() == owner {
            return;
        }
        if let Some(owner) = owner {
            *self.owned.entry(owner.clone()).or_default() += 1;
        }
        if let Some(before) = std::mem::replace(held, owner.cloned())
            && let Some(count) = self.owned.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(&before);
            }
        }
    }

    /// What this node observes of another room server: when it changes, or again and again.
    pub fn handle_peer(&mut self, now: Now, node: &NodeId, sign: Sign) {
        let was_dead = self.peers.is_dead(node);
        if self.peers.misses_any() {
            // Whoever comes back has yet to settle.
            self.trouble(now);
        }
        self.peers.observe(now, node, sign);
        self.weigh(now, node, was_dead);
    }

    /// Another node, of whatever role, finds a room server silent.
    pub fn handle_suspicion(&mut self, now: Now, observer: NodeId, node: &NodeId) {
        if observer != self.me && self.nodes.contains_key(node) {
            let was_dead = self.peers.is_dead(node);
            self.trouble(now);
            self.peers.suspect(now, observer, node);
            self.weigh(now, node, was_dead);
        }
    }

    fn weigh(&mut self, now: Now, node: &NodeId, was_dead: bool) {
        if self.peers.is_dead(node) == was_dead {
            self.pump(now);
        } else {
            self.survey(now);
        }
    }

    /// Somebody asks here for a slot that is not served here.
    pub fn handle_wanted(&mut self, now: Now, slot: SlotNo) {
        if (slot as usize) < self.slots.len() && !self.served.contains_key(&slot) {
            self.wanted.insert(slot);
            self.survey_slot(now, slot, 0);
            self.takeovers.prefer(now, slot);
            self.pump(now);
        }
    }

    /// The slot is served here, with this load (in any unit: it is only compared).
    pub fn handle_served(&mut self, now: Now, slot: SlotNo, load: u64) {
        self.wanted.remove(&slot);
        self.takeovers.forget(slot);
        if self.served.insert(slot, load).is_none() {
            self.pump(now);
        }
    }

    /// What became of an order; or a slot that was served is not any more.
    pub fn handle_result(&mut self, now: Now, slot: SlotNo, outcome: Outcome) {
        match outcome {
            Outcome::Lost | Outcome::Given => {
                self.served.remove(&slot);
                self.wanted.remove(&slot);
                self.takeovers.forget(slot);
                self.moves.gone(slot);
                // The view is most likely about to say who has it.
                self.survey_slot(now, slot, LOST_REST_MS);
            }
            Outcome::NotGiven => {
                self.moves.failed(slot);
                self.trouble(now);
            }
        }
        self.pump(now);
    }

    /// This node leaves.
    pub fn handle_drain(&mut self, now: Now) {
        self.moves.draining = true;
        // What was not given out yet is not begun any more.
        for (slot, order) in std::mem::take(&mut self.orders) {
            match order {
                Order::TakeOver => self.takeovers.forget(slot),
                order => self.orders.push_back((slot, order)),
            }
        }
        self.survey(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        for slot in self.takeovers.expired(now) {
            self.survey_slot(now, slot, 0);
        }
        for slot in self.moves.expired(now) {
            self.moves.failed(slot);
            self.trouble(now);
        }
        self.pump(now);
    }

    /// When to call [`Steward::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        let takeovers = self.takeovers.timeout(self.settings.takeovers_parallel);
        let moves = self.moves.timeout(self.settings.gives_parallel);
        let all = [takeovers, moves, self.peers.timeout()];
        all.into_iter().flatten().min_by_key(|at| at.mono_us)
    }

    /// The next order to a slot's task: [`Order::TakeOver`] or [`Order::Give`].
    pub fn poll_order(&mut self) -> Option<(SlotNo, Order)> {
        self.orders.pop_front()
    }

    /// The next node of which the others are to be told that it is silent.
    pub fn poll_suspect(&mut self) -> Option<NodeId> {
        self.suspects.pop_front()
    }

    /// Whether the drain is done, and how many slots are left for want of somebody to take them.
    #[must_use]
    pub fn drained(&self) -> Option<usize> {
        let at_rest = self.moves.is_empty() && self.takeovers.is_empty();
        let left = self.served.len();
        let done = self.moves.draining && at_rest && (left == 0 || self.others().is_empty());
        done.then_some(left)
    }

    /// Whether this node thinks that another is dead.
    #[must_use]
    pub fn is_dead(&self, node: &NodeId) -> bool {
        !self.nodes.contains_key(node) || self.peers.is_dead(node)
    }

    /// Looks at every slot: something has changed that speaks of many.
    fn survey(&mut self, now: Now) {
        let candidates = self.candidates();
        for slot in 0..self.slots.len() as SlotNo {
            self.survey_among(now, slot, 0, &candidates);
        }
        self.pump(now);
    }

    fn survey_slot(&mut self, now: Now, slot: SlotNo, rest_ms: u64) {
        let candidates = self.candidates();
        self.survey_among(now, slot, rest_ms, &candidates);
    }

    fn survey_among(&mut self, now: Now, slot: SlotNo, rest_ms: u64, candidates: &[Candidate]) {
        match self.cause(slot) {
            Some(cause) if self.takeovers.is_planned(slot, cause) => {}
            Some(cause) => {
                if let Some(rank) = self.my_rank(slot, candidates) {
                    let wait_ms = (rank as u64 * self.settings.rank_step_ms).max(rest_ms);
                    self.takeovers.schedule(slot, now.plus_ms(wait_ms), cause);
                }
            }
            // What is under way comes to its end.
            None if self.moves.draining => self.takeovers.unschedule(slot),
            None => self.takeovers.forget(slot),
        }
    }

    /// Why this node should think of taking the slot over, if it should.
    fn cause(&mut self, slot: SlotNo) -> Option<Cause> {
        let here = self.nodes.get(&self.me);
        if self.moves.draining || here.is_none() || self.served.contains_key(&slot) {
            return None;
        }
        let wanted = self.wanted.contains(&slot);
        match self.slots.get(slot as usize)? {
            None => wanted.then_some(Cause::Asked),
            Some(owner) if *owner == self.me => wanted.then_some(Cause::Asked),
            Some(owner) if !self.nodes.contains_key(owner) => Some(Cause::Lost),
            Some(owner) if self.peers.is_dead(owner) => Some(Cause::Suspected),
            Some(_) => {
                self.wanted.remove(&slot);
                None
            }
        }
    }

    /// How many nodes are to take the slot before this one; `None` if this one never is.
    fn my_rank(&self, slot: SlotNo, candidates: &[Candidate]) -> Option<usize> {
        if self.slots.get(slot as usize)?.as_ref() == Some(&self.me) {
            return Some(0);
        }
        rank(slot, candidates).iter().position(|candidate| candidate.id == self.me)
    }

    /// Does what is due.
    fn pump(&mut self, now: Now) {
        while let Some((slot, cause)) = self.takeovers.next(now, self.settings.takeovers_parallel) {
            if cause != Cause::Asked {
                self.trouble(now);
            }
            self.orders.push_back((slot, Order::TakeOver));
        }
        self.drain(now);
        self.plan_rebalance(now);
        self.rebalance(now);
        self.plan_rebalance(now);
        self.suspects.extend(self.peers.take_due(now));
    }

    fn trouble(&mut self, now: Now) {
        self.moves.trouble(now.plus_ms(self.settings.rest_ms));
    }
}
