//! `Lane` against a scripted cluster, under random schedules in which slots are handed over and stolen,
//! nodes die, fall silent and come back, streams are cut, and views come late or never: every ask is
//! answered once, publishes are committed once and in the order in which they were asked, whoever the
//! owner is, every shard is fed without a hole and nothing that a superseded owner says, and in the end
//! each owner knows exactly the attachments that stand.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cluster::{Node, SlotRecord, View, slot_of};
use common::{ask, log, publish, room, session, take_fed, who};
use link::{
    Far, FarOp, FromOwner, Lane, LaneConfig, LocalKey, StreamEvent, StreamOp, ToOwner, ToShards,
};
use model::{
    Answer, Ask, AskBody, Catchup, ContentKind, Entry, Fed, Fence, Mark, MessageId, NodeId, Now,
    Rights, RoomInfo, RoomName, Roster, Seed, SessionId, SlotNo, Subscription, Unsubscribed,
    UnsubscribedCode,
};

const SLOTS: u32 = 4;
const ROOMS: usize = 6;
const SHARDS: u32 = 3;

fn node(number: usize) -> NodeId {
    NodeId::new(&format!("n{number}")).expect("valid")
}

/// The truth about a slot: what the journal and the registry hold.
#[derive(Default)]
struct Truth {
    fence: Fence,
    epoch: u64,
    owner: Option<usize>,
}

#[derive(Default)]
struct Journal {
    logs: BTreeMap<RoomName, Vec<MessageId>>,
    slots: Vec<Truth>,
}

impl Journal {
    fn head(&self, room: &RoomName) -> u64 {
        self.logs.get(room).map_or(0, Vec::len) as u64
    }

    fn of(&self, room: &RoomName) -> SlotNo {
        slot_of(room, SLOTS)
    }

    fn is_current(&self, slot: SlotNo, fence: Fence) -> bool {
        self.slots[slot as usize].fence == fence
    }

    fn claim(&mut self, slot: SlotNo, number: usize) -> Fence {
        let truth = &mut self.slots[slot as usize];
        truth.fence += 1;
        truth.epoch += 1;
        truth.owner = Some(number);
        truth.fence
    }

    fn moved(&self, slot: SlotNo) -> Option<FromOwner> {
        let truth = &self.slots[slot as usize];
        let owner = node(truth.owner?);
        Some(FromOwner::Moved { slot, epoch: truth.epoch, owner })
    }
}

/// A room server, with the edge's stream to it.
#[derive(Default)]
struct Server {
    number: usize,
    /// Dead: streams are refused. Silent: nothing comes out and nothing is read.
    is_dead: bool,
    is_silent: bool,
    /// The slots that it believes to own, and under which fence.
    serving: BTreeMap<SlotNo, Fence>,
    /// Where its rooms stood when it was superseded without noticing.
    heads: BTreeMap<RoomName, u64>,
    far: Far,
    is_open: bool,
    to_server: VecDeque<ToOwner>,
    to_edge: VecDeque<FromOwner>,
    watches: BTreeMap<RoomName, (u64, u64)>,
    attached: BTreeSet<(RoomName, SessionId)>,
}

impl Server {
    fn head(&self, journal: &Journal, room: &RoomName) -> u64 {
        let slot = journal.of(room);
        match self.serving.get(&slot) {
            Some(fence) if journal.is_current(slot, *fence) => journal.head(room),
            _ => self.heads.get(room).copied().unwrap_or_default(),
        }
    }

    /// It finds out that a slot is another's.
    fn drop_slot(&mut self, journal: &Journal, slot: SlotNo) {
        self.serving.remove(&slot);
        self.watches.retain(|room, _| journal.of(room) != slot);
        self.attached.retain(|(room, _)| journal.of(room) != slot);
        self.far.handle_moved(|room| journal.of(room) == slot);
    }

    /// It takes over a slot that was its own once, and has not noticed that it was not: what is open
    /// cannot be built upon, and whoever is fed from it begins anew.
    fn begin_anew(&mut self, journal: &Journal, slot: SlotNo) {
        let watched = self.watches.iter().filter(|(room, _)| journal.of(room) == slot);
        let watched: Vec<_> = watched.map(|(room, (watch, _))| (room.clone(), *watch)).collect();
        for (room, watch) in watched {
            self.watches.remove(&room);
            let why = Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(200);
            let fed = Fed::Unwatched { watch, why };
            self.to_edge.extend(self.far.handle_fed(room, watch, fed));
        }
        self.attached.retain(|(room, _)| journal.of(room) != slot);
    }

    fn lose_stream(&mut self) {
        self.far = Far::new();
        self.watches.clear();
        self.attached.clear();
        self.to_edge.clear();
        self.to_server.clear();
        self.is_open = false;
    }

    fn take(&mut self, journal: &mut Journal, frame: ToOwner) {
        match self.far.handle_frame(frame) {
            FarOp::Opened { .. } => {}
            FarOp::Send(frame) => self.to_edge.push_back(frame),
            FarOp::Close(why) => panic!("the edge broke the protocol: {why}"),
            FarOp::Watch { room, watch } => {
                let Some(fence) = self.own(journal, &room) else {
                    return;
                };
                let head = self.head(journal, &room);
                self.watches.insert(room.clone(), (watch, head));
                let info = RoomInfo { log: log(), first: 1, head, ordinal: head };
                let presence = Some(Roster::default());
                let fed = Fed::Watching { watch, fence, info, presence };
                self.to_edge.extend(self.far.handle_fed(room, watch, fed));
            }
            FarOp::Unwatch { room, watch } => {
                if self.watches.get(&room).is_some_and(|(held, _)| *held == watch) {
                    self.watches.remove(&room);
                }
            }
            FarOp::Ask { id, ask } => {
                if self.own(journal, &ask.room).is_some()
                    && let Some(answer) = self.answer(journal, ask)
                {
                    self.to_edge.extend(self.far.handle_answer(id, answer));
                }
            }
        }
    }

    /// The fence under which it serves the room; else it says whose the room is, or claims it.
    fn own(&mut self, journal: &mut Journal, room: &RoomName) -> Option<Fence> {
        let slot = journal.of(room);
        if let Some(fence) = self.serving.get(&slot) {
            return Some(*fence);
        }
        let is_ours = journal.slots[slot as usize].owner == Some(self.number);
        match journal.moved(slot).filter(|_| !is_ours) {
            Some(moved) => {
                self.drop_slot(journal, slot);
                self.to_edge.push_back(moved);
                None
            }
            None => {
                let fence = journal.claim(slot, self.number);
                self.serving.insert(slot, fence);
                Some(fence)
            }
        }
    }

    /// `None`: the journal fenced it, and it has said so.
    fn answer(&mut self, journal: &mut Journal, ask: Ask) -> Option<Answer> {
        let head = self.head(journal, &ask.room);
        Some(match ask.body {
            AskBody::Publish(publish) => {
                let slot = journal.of(&ask.room);
                if !journal.is_current(slot, self.serving[&slot]) {
                    self.drop_slot(journal, slot);
                    self.to_edge.extend(journal.moved(slot));
                    return None;
                }
                let id = publish.id.expect("all have one");
                let ids = journal.logs.entry(ask.room).or_default();
                let known = ids.iter().position(|held| *held == id);
                if known.is_none() {
                    ids.push(id);
                }
                let seq = known.map_or(ids.len(), |at| at + 1) as u64;
                Answer::Published { log: log(), seq, at_ms: 0, duplicate: known.is_some() }
            }
            AskBody::Attach { .. } => {
                self.attached.insert((ask.room, ask.who.session.expect("attached")));
                Answer::Subscribed(Subscription {
                    log: log(),
                    first: 1,
                    head,
                    ordinal: head,
                    mark: Mark::default(),
                    unread: 0,
                    rights: Rights::FULL,
                    catchup: Catchup::Resumed { missed: 0 },
                })
            }
            AskBody::Detach { .. } => {
                self.attached.remove(&(ask.room, ask.who.session.expect("attached")));
                Answer::Done
            }
            _ => Answer::Done,
        })
    }

    /// Feeds what was committed since the last time, as far as it knows.
    fn feed(&mut self, journal: &Journal) {
        let rooms: Vec<RoomName> = self.watches.keys().cloned().collect();
        for room in rooms {
            let head = self.head(journal, &room);
            let Some((watch, fed)) = self.watches.get_mut(&room) else {
                continue;
            };
            if head > *fed {
                let kind = ContentKind::Post;
                let entry = |seq| Entry { seq, ordinal: seq, kind, payload: Bytes::new() };
                let entries = (*fed + 1..=head).map(entry).collect();
                *fed = head;
                let (watch, news) = (*watch, Fed::Entries { watch: *watch, log: log(), entries });
                self.to_edge.extend(self.far.handle_fed(room, watch, news));
            }
        }
    }
}

/// An edge's lane, and the cluster.
struct World {
    random: fastrand::Rng,
    now: Now,
    lane: Lane,
    servers: Vec<Server>,
    journal: Journal,
    version: u64,
    /// Whether the registry ever says anything again.
    has_views: bool,
    asked: BTreeMap<LocalKey, Ask>,
    next: u64,
    held: BTreeMap<(u32, RoomName), Option<u64>>,
    published: BTreeMap<RoomName, Vec<MessageId>>,
    sessions: BTreeMap<(RoomName, SessionId), Option<bool>>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(2..5);
        let server = |number| Server { number, ..Server::default() };
        let servers: Vec<Server> = (0..count).map(server).collect();
        let mut journal = Journal::default();
        journal.slots.resize_with(SLOTS as usize, Truth::default);
        let has_views = random.u32(0..4) > 0;
        let config =
            LaneConfig { edge: NodeId::new("e1").expect("valid"), lane: 0, ask_wait_ms: 3_600_000 };
        let now = Now { mono_us: 1, wall_ms: 1 };
        let view = Arc::new(view_of(&journal, &servers, 0));
        World {
            random,
            now,
            lane: Lane::new(now, config, view, Seed::new(seed)),
            servers,
            journal,
            version: 0,
            has_views,
            asked: BTreeMap::new(),
            next: 0,
            held: BTreeMap::new(),
            published: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.next += 1;
        let local = LocalKey(self.next);
        self.asked.insert(local, ask.clone());
        self.lane.handle_ask(self.now, local, ask);
    }

    fn act(&mut self) {
        let number = self.random.usize(0..ROOMS);
        let shard = self.random.u32(0..SHARDS);
        let server = self.random.usize(0..self.servers.len());
        match self.random.u32(0..100) {
            0..25 => {
                self.next += 1;
                let ask = publish(number, self.next);
                let AskBody::Publish(publish) = &ask.body else { unreachable!() };
                let id = publish.id.clone().expect("all have one");
                self.published.entry(ask.room.clone()).or_default().push(id);
                self.ask(ask);
            }
            25..33 => self.watch(shard, number),
            33..36 if !self.is_attended(number) => {
                self.held.remove(&(shard, room(number)));
                self.lane.handle_unwatch(self.now, shard, &room(number));
            }
            36..44 => self.attach_or_detach(number),
            44..48 => self.ask(ask(number, None, AskBody::Room)),
            48..54 => self.servers[server].feed(&self.journal),
            54..56 => self.cut(server),
            56..60 => self.give(server),
            60..62 => self.steal(server),
            62..63 => self.kill(server),
            63..64 => self.servers[server].is_silent ^= true,
            64..66 => self.servers[server].is_dead = false,
            66..70 => self.show_view(),
            70..80 => self.pass_time(5),
            80..82 => self.pass_time(100),
            _ => self.move_frames(),
        }
        self.pump();
    }

    fn watch(&mut self, shard: u32, number: usize) {
        self.held.entry((shard, room(number))).or_insert(None);
        self.lane.handle_watch(self.now, shard, &room(number));
    }

    fn is_attended(&self, number: usize) -> bool {
        self.sessions.keys().any(|(of, _)| *of == room(number))
    }

    fn attach_or_detach(&mut self, number: usize) {
        let session = session(self.random.u64(0..4));
        let key = (room(number), session.clone());
        match self.sessions.get(&key) {
            None => {
                self.watch(0, number);
                self.sessions.insert(key, None);
                let body = AskBody::Attach { after: None, recent: 1 };
                self.ask(ask(number, Some(session), body));
            }
            Some(None) => {}
            Some(Some(_)) => {
                self.sessions.remove(&key);
                self.ask(ask(number, Some(session), AskBody::Detach { left: true }));
            }
        }
    }

    /// The stream breaks. What was under way may still be read, but is not answered.
    fn cut(&mut self, number: usize) {
        let server = &mut self.servers[number];
        let was_open = server.is_open;
        if !server.is_dead && self.random.bool() {
            for _ in 0..self.random.usize(0..8) {
                if let Some(frame) = server.to_server.pop_front() {
                    server.take(&mut self.journal, frame);
                }
            }
        }
        server.lose_stream();
        if was_open {
            self.lane.handle_stream(self.now, &node(number), StreamEvent::Down);
        }
    }

    /// Whether words of this slot are under way to a node. A node does not take a slot over meanwhile:
    /// it may have sent a publish away that comes before them, which is what `after` is for.
    fn is_quiet(&self, number: usize, slot: SlotNo) -> bool {
        self.servers[number].to_server.iter().all(|frame| match frame {
            ToOwner::Ask { ask, .. } => self.journal.of(&ask.room) != slot,
            _ => true,
        })
    }

    /// A slot's owner hands it over in order.
    fn give(&mut self, to: usize) {
        let slot = self.random.u32(0..SLOTS);
        let Some(from) = self.journal.slots[slot as usize].owner else {
            return;
        };
        let is_able = |server: &Server| !server.is_dead && !server.is_silent;
        if from == to
            || !is_able(&self.servers[from])
            || !is_able(&self.servers[to])
            || !self.is_quiet(to, slot)
        {
            return;
        }
        self.servers[from].feed(&self.journal);
        let fence = self.journal.claim(slot, to);
        self.servers[to].serving.insert(slot, fence);
        self.servers[to].begin_anew(&self.journal, slot);
        self.servers[from].drop_slot(&self.journal, slot);
        let moved = self.journal.moved(slot);
        self.servers[from].to_edge.extend(moved);
    }

    /// A slot is taken from an owner that is dead, silent, or only slow to notice.
    fn steal(&mut self, to: usize) {
        let slot = self.random.u32(0..SLOTS);
        let Some(from) = self.journal.slots[slot as usize].owner else {
            return;
        };
        let server = &self.servers[to];
        if from == to || server.is_dead || server.is_silent || !self.is_quiet(to, slot) {
            return;
        }
        for (room, ids) in &self.journal.logs {
            if self.journal.of(room) == slot {
                self.servers[from].heads.insert(room.clone(), ids.len() as u64);
            }
        }
        let fence = self.journal.claim(slot, to);
        self.servers[to].serving.insert(slot, fence);
        self.servers[to].begin_anew(&self.journal, slot);
    }

    fn kill(&mut self, number: usize) {
        self.cut(number);
        let server = &mut self.servers[number];
        server.serving.clear();
        server.is_dead = true;
        server.is_silent = false;
    }

    fn show_view(&mut self) {
        if self.has_views {
            self.version += 1;
            let view = view_of(&self.journal, &self.servers, self.version);
            self.lane.handle_view(self.now, Arc::new(view));
        }
    }

    fn pass_time(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.lane.handle_timeout(self.now);
    }

    fn move_frames(&mut self) {
        for number in 0..self.servers.len() {
            if self.servers[number].is_silent {
                continue;
            }
            for _ in 0..self.random.usize(0..8) {
                let server = &mut self.servers[number];
                if let Some(frame) = server.to_server.pop_front() {
                    server.take(&mut self.journal, frame);
                }
            }
            for _ in 0..self.random.usize(0..8) {
                if let Some(frame) = self.servers[number].to_edge.pop_front() {
                    let event = StreamEvent::Frame(frame);
                    self.lane.handle_stream(self.now, &node(number), event);
                    self.pump();
                }
            }
        }
    }

    fn pump(&mut self) {
        while let Some(told) = self.lane.poll_shards() {
            self.told(told);
        }
        for number in 0..self.servers.len() {
            self.serve(number);
        }
        while self.lane.poll_busy().is_some() {}
        while let Some(told) = self.lane.poll_shards() {
            self.told(told);
        }
        while self.lane.poll_suspect().is_some() {}
        while self.lane.poll_gone().is_some() {}
    }

    fn serve(&mut self, number: usize) {
        while let Some(op) = self.lane.poll_steer(&node(number)) {
            match op {
                StreamOp::Send(_) => panic!("a frame is no steering"),
                StreamOp::Close => {
                    self.servers[number].is_open = false;
                    self.cut(number);
                }
                StreamOp::Open { node: to } => {
                    assert_eq!(to, node(number));
                    self.servers[number].lose_stream();
                    if self.servers[number].is_dead || self.random.u32(0..8) == 0 {
                        self.lane.handle_stream(self.now, &to, StreamEvent::Down);
                    } else if !self.servers[number].is_silent {
                        self.servers[number].is_open = true;
                        self.lane.handle_stream(self.now, &to, StreamEvent::Up);
                    }
                }
            }
        }
        // A narrow wire: what does not fit stays in the machine.
        while self.servers[number].is_open && self.servers[number].to_server.len() < 16 {
            match self.lane.poll_stream(&node(number)) {
                None => return,
                Some(StreamOp::Send(frame)) => self.servers[number].to_server.push_back(frame),
                Some(op) => panic!("steered before: {op:?}"),
            }
        }
    }

    fn told(&mut self, told: ToShards) {
        match told {
            ToShards::Answer { local, answer } => {
                let ask = self.asked.remove(&local).expect("asked, and not answered before");
                if let (AskBody::Attach { .. }, Some(session)) = (&ask.body, &ask.who.session) {
                    let Answer::Subscribed(subscription) = &answer else { panic!("{answer:?}") };
                    let held =
                        (0..SHARDS).filter_map(|shard| self.held.get(&(shard, ask.room.clone())));
                    let newest = held.copied().flatten().max().unwrap_or_default();
                    assert!(subscription.head >= newest, "a superseded owner was believed");
                    let key = (ask.room.clone(), session.clone());
                    if let Some(state) = self.sessions.get_mut(&key) {
                        *state = Some(true);
                    }
                }
                assert!(!matches!(answer, Answer::Refused(_)), "{answer:?}");
            }
            ToShards::Fed { shards, room, fed } => {
                for shard in shards.iter() {
                    let held = self.held.get_mut(&(shard, room.clone())).expect("it watches");
                    take_fed(held, &fed);
                }
            }
            ToShards::Detached { .. } => panic!("an owner takes everybody"),
        }
    }

    /// Everybody lives and knows what is true: everything comes to rest.
    fn settle(&mut self) {
        for number in 0..self.servers.len() {
            self.servers[number].is_dead = false;
            self.servers[number].is_silent = false;
            for slot in 0..SLOTS {
                let serving = self.servers[number].serving.get(&slot).copied();
                if serving.is_some_and(|fence| !self.journal.is_current(slot, fence)) {
                    self.servers[number].drop_slot(&self.journal, slot);
                    let moved = self.journal.moved(slot);
                    self.servers[number].to_edge.extend(moved);
                }
            }
        }
        for _ in 0..400 {
            self.pass_time(50);
            self.show_view();
            self.pump();
            for number in 0..self.servers.len() {
                self.servers[number].feed(&self.journal);
                self.revive(number);
            }
            self.move_frames();
            self.pump();
        }
    }

    /// A node that was killed serves again what the registry says is its own.
    fn revive(&mut self, number: usize) {
        for slot in 0..SLOTS {
            let is_ours = self.journal.slots[slot as usize].owner == Some(number);
            if is_ours && !self.servers[number].serving.contains_key(&slot) {
                let fence = self.journal.claim(slot, number);
                self.servers[number].serving.insert(slot, fence);
            }
        }
    }

    fn check(&self, seed: u64) {
        assert!(self.asked.is_empty(), "seed {seed}: unanswered {:?}", self.asked.keys());
        assert_eq!(self.lane.unanswered(), 0, "seed {seed}");
        for (room, published) in &self.published {
            assert_eq!(self.journal.logs.get(room), Some(published), "seed {seed}: {room}");
        }
        for ((shard, room), held) in &self.held {
            let head = self.journal.head(room);
            assert_eq!(*held, Some(head), "seed {seed}: shard {shard} of {room}");
        }
        let owned = |server: &Server, room: &RoomName| {
            self.journal.slots[self.journal.of(room) as usize].owner == Some(server.number)
        };
        let (mut attached, mut watched) = (BTreeSet::new(), BTreeSet::new());
        for server in &self.servers {
            attached
                .extend(server.attached.iter().filter(|(room, _)| owned(server, room)).cloned());
            watched.extend(server.watches.keys().filter(|room| owned(server, room)).cloned());
        }
        let expected: BTreeSet<_> = self.sessions.keys().cloned().collect();
        assert_eq!(attached, expected, "seed {seed}");
        let expected: BTreeSet<_> = self.held.keys().map(|(_, room)| room.clone()).collect();
        assert_eq!(watched, expected, "seed {seed}");
    }
}

/// What the registry shows: dead nodes have lost their leases.
fn view_of(journal: &Journal, servers: &[Server], version: u64) -> View {
    let mut view = View { version, ..View::empty(SLOTS) };
    for server in servers.iter().filter(|server| !server.is_dead) {
        view.nodes.insert(node(server.number), Node::in_process(node(server.number)));
    }
    for (slot, truth) in journal.slots.iter().enumerate() {
        view.slots[slot] = truth.owner.map(|owner| SlotRecord {
            owner: node(owner),
            epoch: truth.epoch,
            revision: truth.epoch,
        });
    }
    view
}

#[test]
fn whoever_owns_a_slot_asks_are_answered_once_publishes_keep_their_order_and_feeds_have_no_hole() {
    let (mut moved, mut bounced, mut lost, mut superseded) = (0, 0, 0, 0);
    for seed in 0..250 {
        let mut world = World::new(seed);
        for _ in 0..500 {
            world.act();
        }
        world.settle();
        world.check(seed);
        let counts = world.lane.counts();
        moved += counts.moved;
        bounced += counts.bounced;
        lost += counts.lost;
        superseded += counts.near.superseded;
    }
    let all = (moved, bounced, lost, superseded);
    assert!(moved > 500 && bounced > 500 && lost > 500 && superseded > 1, "{all:?}");
}

#[test]
fn when_all_have_left_nothing_is_left_behind() {
    for seed in 0..80 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.act();
        }
        world.settle();
        let watched: Vec<_> = world.held.keys().cloned().collect();
        for (shard, room) in watched {
            world.held.remove(&(shard, room.clone()));
            world.lane.handle_unwatch(world.now, shard, &room);
        }
        let attached: Vec<_> = world.sessions.keys().cloned().collect();
        for (room, session) in attached {
            world.sessions.remove(&(room.clone(), session.clone()));
            let body = AskBody::Detach { left: true };
            world.ask(Ask { room, who: who(Some(session)), body });
        }
        world.settle();
        world.check(seed);
        assert_eq!(world.lane.rooms(), 0, "seed {seed}");
    }
}
