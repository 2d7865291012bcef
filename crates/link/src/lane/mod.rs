//! The edge's half of the links of one lane to all owners: [`Lane`].
//!
//! # How a lane's task uses it
//! ```text
//!             handle_view <── the registry
//!                  │
//! shards ──> handle_watch, handle_unwatch, handle_ask
//!                  ▼
//!   <── poll_shards ── [ Lane: a Near per owner ] ── poll_busy, poll_stream ──> Open, Send, Close
//!                  ▲
//!                  └── handle_stream(node, …) <── Up, Frame, Down
//! ```
//! After any `handle_*`: [`Lane::poll_shards`] until it is empty; for each node of [`Lane::poll_busy`],
//! [`Lane::poll_steer`] and [`Lane::poll_stream`] until they are empty, the latter only while the node's
//! stream has room (then again when it has);
//! [`Lane::poll_gone`] and [`Lane::poll_suspect`] until they are empty; then one timer for
//! [`Lane::poll_timeout`], which calls [`Lane::handle_timeout`]. The lane of a room is
//! `slot_of(room, lanes)`, so that all frames of a room share one stream. What shards get is told at
//! [`crate::Near`]; they do not notice who owns a room.
//!
//! # Where a slot's rooms are asked
//! - At its owner, by the newest of the view's record and what owners said in band
//!   ([`FromOwner::Moved`]): the greater epoch wins.
//! - Without a record, or when the owner is not among the live nodes: at the first in rank of the live
//!   room servers that are not leaving, which claims the slot when it is asked.
//! - An owner that refused the last stream, or was silent on it, is *lost* to this edge: until it is
//!   heard again, its slots are asked at the next in rank, and it is reported ([`Lane::poll_suspect`]).
//!   Whether that means a takeover is for the room servers to say; a node that finds the owner alive
//!   answers `Moved`.
//! - Nobody is there: asks wait, at most until their deadlines, and readers keep what they have.
//!
//! # When a slot moves
//! Its rooms leave one [`Near`] and are adopted by another: watches first, then attachments by position,
//! then what was not answered, in the order of asking. What an owner may have seen and must not see
//! twice is refused, as at a cut. A slot that is sent on without news (to where it was, or to whom this
//! edge cannot reach) waits before it is asked again, twice as long each time.
//!
//! # Invariants
//! - All that is held of a slot is held by one [`Near`].
//! - Every ask is answered once; generations of watches grow over the lane's life, whoever the owner is.
//! - Routing accepts only greater epochs, but for a registry that went back as a whole.

mod moving;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cluster::{Candidate, Role, View, slot_of};
use model::{Ask, AskBody, NodeId, Now, RoomName, Seed, SlotNo};

use crate::near::{OUTBOX_ASKS_MAX, OUTBOX_BYTES_MAX};
use crate::{
    FromOwner, LocalKey, Near, NearConfig, NearCounts, StreamEvent, StreamOp, Suspect, ToShards,
};
use slots::Slots;

/// Milliseconds between two reports of the same node.
pub const SUSPECT_MS: u64 = 1_000;

/// What a lane is made with.
#[derive(Clone, Debug)]
pub struct LaneConfig {
    /// This edge.
    pub edge: NodeId,
    /// The lane's number.
    pub lane: u32,
    /// See [`model::Limits::publish_wait_ms`]; holds for every ask.
    pub ask_wait_ms: u64,
}

/// What a lane has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Of all owners together.
    pub near: NearCounts,
    /// Slots in use that went to another owner.
    pub moved: u64,
    /// Slots that were sent on without news, and had to wait.
    pub bounced: u64,
    /// Owners that were lost.
    pub lost: u64,
    /// Views of another number of slots, which were not followed.
    pub foreign_views: u64,
}

/// An owner that this lane needs or needed.
#[derive(Debug)]
struct Owner {
    near: Near,
    /// As of the last look.
    is_lost: bool,
    /// When it is to be reported (again).
    report_at: Option<Now>,
}

/// The edge's half of all links of one lane. Owned by the lane's task.
///
/// Any `handle_*`, then every `poll_*` until it is empty; see the module's documentation.
#[derive(Debug)]
pub struct Lane {
    config: LaneConfig,
    now: Now,
    seed: Seed,
    view: Arc<View>,
    /// The live room servers that are not leaving.
    candidates: Vec<Candidate>,
    slots: Slots,
    owners: BTreeMap<NodeId, Owner>,
    /// Holds the slots that are asked of nobody now.
    parked: Near,
    next_watch: u64,
    to_shards: VecDeque<ToShards>,
    busy: BTreeSet<NodeId>,
    suspects: VecDeque<Suspect>,
    gone: VecDeque<NodeId>,
    counts: LaneCounts,
}

impl Lane {
    /// A lane that knows the cluster as `view` shows it, and has called nobody yet.
    #[must_use]
    pub fn new(now: Now, config: LaneConfig, view: Arc<View>, mut seed: Seed) -> Lane {
        let slots = view.slot_count();
        let parked = NearConfig {
            edge: config.edge.clone(),
            lane: config.lane,
            owner: None,
            slots,
            ask_wait_ms: config.ask_wait_ms,
        };
        let parked = Near::new(now, parked, Seed::new(seed.next_u64()));
        let mut lane = Lane {
            now,
            seed,
            candidates: Vec::new(),
            slots: Slots::new(slots),
            owners: BTreeMap::new(),
            next_watch: parked.next_watch(),
            parked,
            to_shards: VecDeque::new(),
            busy: BTreeSet::new(),
            suspects: VecDeque::new(),
            gone: VecDeque::new(),
            counts: LaneCounts::default(),
            view: Arc::clone(&view),
            config,
        };
        lane.handle_view(now, view);
        lane
    }

    /// How many owners can be reached at this moment.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.owners.values().filter(|owner| owner.near.is_up()).count()
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> LaneCounts {
        let near = self.nears().fold(self.counts.near, |all, near| all.plus(near.counts()));
        LaneCounts { near, ..self.counts }
    }

    /// Asks that were not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.nears().map(Near::unanswered).sum()
    }

    /// Rooms that are watched or attached to.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.nears().map(Near::rooms).sum()
    }

    /// The node where `room` is asked at this moment, and its segments are fetched.
    #[must_use]
    pub fn route(&self, room: &RoomName) -> Option<NodeId> {
        let slot = self.slot_of(room);
        self.slots.at(slot).cloned().or_else(|| self.wanted(slot))
    }

    /// The cluster has changed. A view of another number of slots is another cluster's: it is not
    /// followed.
    pub fn handle_view(&mut self, now: Now, view: Arc<View>) {
        self.now = now;
        if view.slot_count() != self.slots.count() {
            self.counts.foreign_views += 1;
            return;
        }
        let before = std::mem::replace(&mut self.view, view);
        let candidate = |node: &cluster::Node| Candidate {
            id: node.id.clone(),
            weight: node.weight,
            slots_owned: 0,
        };
        let stays = |node: &&cluster::Node| !node.draining;
        self.candidates = self.view.room_servers().filter(stays).map(candidate).collect();
        for slot in 0..self.slots.count() {
            let is_news = self.slots.learn_view(slot, self.view.slot(slot));
            let owner = self.slots.owner(slot);
            let appeared = owner.is_some_and(|owner| {
                self.view.nodes.contains_key(owner) && !before.nodes.contains_key(owner)
            });
            if is_news || appeared {
                self.slots.end_wait(slot);
            }
            if self.slots.at(slot).is_some() || self.parked.holds(slot) {
                self.settle(slot);
            }
        }
        self.retire();
    }

    /// A shard has its first reader of `room`.
    pub fn handle_watch(&mut self, now: Now, shard: u32, room: &RoomName) {
        self.now = now;
        let at = self.place(room);
        self.near(at.as_ref()).handle_watch(now, shard, room);
        self.touched(at.as_ref());
    }

    /// A shard's last reader of `room` has gone.
    pub fn handle_unwatch(&mut self, now: Now, shard: u32, room: &RoomName) {
        self.now = now;
        let at = self.slots.at(self.slot_of(room)).cloned();
        if let Some(near) = self.existing(at.as_ref()) {
            near.handle_unwatch(now, shard, room);
            self.touched(at.as_ref());
        }
    }

    /// A session (or a unary call) asks something of a room; the answer will name `local`.
    pub fn handle_ask(&mut self, now: Now, local: LocalKey, ask: Ask) {
        self.now = now;
        let at = self.place(&ask.room);
        let has_room = self.unanswered() < OUTBOX_ASKS_MAX
            && self.nears().map(Near::unanswered_bytes).sum::<usize>() < OUTBOX_BYTES_MAX;
        let near = self.near(at.as_ref());
        if has_room || matches!(ask.body, AskBody::Detach { .. }) {
            near.handle_ask(now, local, ask);
        } else {
            near.refuse_busy(local, &ask);
        }
        self.touched(at.as_ref());
    }

    /// Something happened to the stream to `node`.
    pub fn handle_stream(&mut self, now: Now, node: &NodeId, event: StreamEvent) {
        self.now = now;
        let Some(owner) = self.owners.get_mut(node) else {
            return;
        };
        let moved = match &event {
            StreamEvent::Frame(FromOwner::Moved { slot, epoch, owner: to }) => {
                owner.near.is_up().then(|| (*slot, *epoch, to.clone()))
            }
            _ => None,
        };
        owner.near.handle_stream(now, event);
        self.touched(Some(node));
        if let Some((slot, epoch, to)) = moved {
            self.moved(node, slot, epoch, to);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        self.parked.handle_timeout(now);
        self.touched(None);
        let due = |owner: &Owner| owner.near.poll_timeout().is_some_and(|at| now.reached(at));
        let due = self.owners.iter().filter(|(_, owner)| due(owner));
        let due: Vec<NodeId> = due.map(|(node, _)| node.clone()).collect();
        for node in &due {
            self.near(Some(node)).handle_timeout(now);
            self.touched(Some(node));
        }
        while let Some(slot) = self.slots.expire(now) {
            self.settle(slot);
        }
        self.report();
        self.retire();
    }

    /// When to call [`Lane::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        let reports = self.owners.values().filter_map(|owner| owner.report_at);
        self.nears()
            .filter_map(Near::poll_timeout)
            .chain(reports)
            .chain(self.slots.poll_timeout())
            .min_by_key(|due| due.mono_us)
    }

    /// The next thing for the shards, in order.
    pub fn poll_shards(&mut self) -> Option<ToShards> {
        self.to_shards.pop_front()
    }

    /// The next node whose stream may have to be served.
    pub fn poll_busy(&mut self) -> Option<NodeId> {
        self.busy.pop_first()
    }

    /// The next [`StreamOp::Open`] or [`StreamOp::Close`] for `node`: a stream that is full can be closed.
    pub fn poll_steer(&mut self, node: &NodeId) -> Option<StreamOp> {
        self.owners.get_mut(node)?.near.poll_steer()
    }

    /// The next thing for the stream to `node`. To be called only while one more frame can be sent.
    pub fn poll_stream(&mut self, node: &NodeId) -> Option<StreamOp> {
        let near = &mut self.owners.get_mut(node)?.near;
        near.raise_next_watch(self.next_watch);
        let op = near.poll_stream();
        self.next_watch = near.next_watch();
        op
    }

    /// The next node that is needed no more: its stream is to be closed and its channels dropped.
    pub fn poll_gone(&mut self) -> Option<NodeId> {
        self.gone.pop_front()
    }

    /// The next node that is to be reported to the other room servers.
    pub fn poll_suspect(&mut self) -> Option<Suspect> {
        self.suspects.pop_front()
    }

    fn slot_of(&self, room: &RoomName) -> SlotNo {
        slot_of(room, self.slots.count())
    }

    fn nears(&self) -> impl Iterator<Item = &Near> {
        self.owners.values().map(|owner| &owner.near).chain([&self.parked])
    }

    /// The half that speaks to `node`, which is made if need be; the one of nobody without.
    fn near(&mut self, node: Option<&NodeId>) -> &mut Near {
        let Some(node) = node else {
            return &mut self.parked;
        };
        if !self.owners.contains_key(node) {
            let config = NearConfig {
                edge: self.config.edge.clone(),
                lane: self.config.lane,
                owner: Some(node.clone()),
                slots: self.slots.count(),
                ask_wait_ms: self.config.ask_wait_ms,
            };
            let near = Near::new(self.now, config, Seed::new(self.seed.next_u64()));
            let owner = Owner { near, is_lost: false, report_at: None };
            self.owners.insert(node.clone(), owner);
            self.busy.insert(node.clone());
            self.gone.retain(|gone| gone != node);
        }
        &mut self.owners.get_mut(node).expect("it was made if it was not there").near
    }

    /// The half that speaks to `node`, if there is one.
    fn existing(&mut self, node: Option<&NodeId>) -> Option<&mut Near> {
        match node {
            Some(node) => self.owners.get_mut(node).map(|owner| &mut owner.near),
            None => Some(&mut self.parked),
        }
    }

    /// Takes over what a half has for others after it was told something.
    fn touched(&mut self, node: Option<&NodeId>) {
        let Some(node) = node else {
            self.to_shards.extend(std::iter::from_fn(|| self.parked.poll_shards()));
            return;
        };
        let Some(owner) = self.owners.get_mut(node) else {
            return;
        };
        self.to_shards.extend(std::iter::from_fn(|| owner.near.poll_shards()));
        self.busy.insert(node.clone());
        let superseded: Vec<SlotNo> = std::iter::from_fn(|| owner.near.poll_superseded()).collect();
        let is_lost = owner.near.is_lost();
        if std::mem::replace(&mut owner.is_lost, is_lost) != is_lost {
            owner.report_at = is_lost.then_some(self.now);
            self.reachability_changed(node, is_lost);
        }
        for slot in superseded {
            if self.slots.at(slot) == Some(node) {
                self.bounced(slot);
            }
        }
    }

    /// Reports the nodes that are lost, each once in a while.
    fn report(&mut self) {
        for (node, owner) in &mut self.owners {
            if owner.report_at.is_some_and(|at| self.now.reached(at)) {
                owner.report_at = Some(self.now.plus_ms(SUSPECT_MS));
                if self.view.nodes.contains_key(node) {
                    let silent_ms = owner.near.silent_ms(self.now);
                    self.suspects.push_back(Suspect { node: node.clone(), silent_ms });
                }
            }
        }
    }

    /// Forgets the owners that are neither there nor needed.
    fn retire(&mut self) {
        let is_over = |node: &NodeId, owner: &Owner| {
            !self.view.nodes.contains_key(node)
                && owner.near.rooms() == 0
                && owner.near.unanswered() == 0
        };
        let over = self.owners.iter().filter(|(node, owner)| is_over(node, owner));
        let over: Vec<NodeId> = over.map(|(node, _)| node.clone()).collect();
        for node in over {
            if let Some(owner) = self.owners.remove(&node) {
                self.counts.near = self.counts.near.plus(owner.near.counts());
            }
            self.busy.remove(&node);
            self.slots.forget(&node);
            self.gone.push_back(node);
        }
    }

    fn is_live(&self, node: &NodeId) -> bool {
        self.view.nodes.get(node).is_some_and(|node| node.role == Role::Room)
    }

    fn is_lost(&self, node: &NodeId) -> bool {
        self.owners.get(node).is_some_and(|owner| owner.is_lost)
    }
}
