//! `Near` against a scripted owner, under random schedules in which the stream is cut at any moment:
//! every ask is answered once, publishes are committed once and in the order in which they were asked,
//! every shard is fed without a hole, the owner ends up knowing exactly the attachments that stand,
//! and nothing is left behind.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use common::{ask, log, publish, room, session, take_fed, who};
use link::{
    Far, FarOp, FromOwner, LocalKey, Near, NearConfig, StreamEvent, StreamOp, ToOwner, ToShards,
};
use model::{
    Answer, Ask, AskBody, Catchup, ContentKind, Entry, Fed, Mark, MessageId, NodeId, Now, Rights,
    RoomInfo, RoomName, Roster, Seed, SessionId, Subscription,
};

const ROOMS: usize = 3;
const SHARDS: u32 = 3;

/// An owner: its rooms outlive streams, everything else goes with the stream.
#[derive(Default)]
struct Owner {
    logs: BTreeMap<RoomName, Vec<MessageId>>,
    far: Far,
    watches: BTreeMap<RoomName, (u64, u64)>,
    attached: BTreeSet<(RoomName, SessionId)>,
}

impl Owner {
    /// Takes one frame; what it says about it. A publish is answered now, its entry fed with `feed`.
    fn take(&mut self, frame: ToOwner) -> Vec<FromOwner> {
        match self.far.handle_frame(frame) {
            FarOp::Opened { .. } => vec![],
            FarOp::Watch { room, watch } => {
                let head = self.logs.get(&room).map_or(0, Vec::len) as u64;
                self.watches.insert(room.clone(), (watch, head));
                let info = RoomInfo { log: log(), first: 1, head, ordinal: head };
                let presence = Some(Roster::default());
                let fed = Fed::Watching { watch, fence: 1, info, presence };
                self.far.handle_fed(room, watch, fed).into_iter().collect()
            }
            FarOp::Unwatch { room, watch } => {
                if self.watches.get(&room).is_some_and(|(held, _)| *held == watch) {
                    self.watches.remove(&room);
                }
                vec![]
            }
            FarOp::Ask { id, ask } => {
                let answer = self.answer(ask);
                self.far.handle_answer(id, answer).into_iter().collect()
            }
            FarOp::Send(frame) => vec![frame],
            FarOp::Close(why) => panic!("the edge broke the protocol: {why}"),
        }
    }

    fn answer(&mut self, ask: Ask) -> Answer {
        let head = self.logs.get(&ask.room).map_or(0, Vec::len) as u64;
        match ask.body {
            AskBody::Publish(publish) => {
                let id = publish.id.expect("all have one");
                let log_ids = self.logs.entry(ask.room).or_default();
                let known = log_ids.iter().position(|held| *held == id);
                if known.is_none() {
                    log_ids.push(id);
                }
                let seq = known.map_or(log_ids.len(), |at| at + 1) as u64;
                let duplicate = known.is_some();
                Answer::Published { log: log(), seq, at_ms: 0, duplicate }
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
        }
    }

    /// Feeds what was committed since the last time.
    fn feed(&mut self) -> Vec<FromOwner> {
        let mut out = Vec::new();
        for (room, (watch, fed)) in &mut self.watches {
            let head = self.logs.get(room).map_or(0, Vec::len) as u64;
            if head > *fed {
                let kind = ContentKind::Post;
                let entry = |seq| Entry { seq, ordinal: seq, kind, payload: Bytes::new() };
                let entries = (*fed + 1..=head).map(entry).collect();
                *fed = head;
                let news = Fed::Entries { watch: *watch, log: log(), entries };
                out.extend(self.far.handle_fed(room.clone(), *watch, news));
            }
        }
        out
    }

    fn lose_stream(&mut self) {
        self.far = Far::new();
        self.watches.clear();
        self.attached.clear();
    }
}

/// An edge with its lane, and the wire to the owner.
struct World {
    random: fastrand::Rng,
    now: Now,
    near: Near,
    owner: Owner,
    open: bool,
    to_owner: VecDeque<ToOwner>,
    to_edge: VecDeque<FromOwner>,
    asked: BTreeMap<LocalKey, Ask>,
    next: u64,
    /// What each shard has of each room it watches: its head, once it is told.
    held: BTreeMap<(u32, RoomName), Option<u64>>,
    published: BTreeMap<RoomName, Vec<MessageId>>,
    /// Whether an attach is under way (`None`), or the session is attached.
    sessions: BTreeMap<(RoomName, SessionId), Option<bool>>,
}

impl World {
    fn new(seed: u64) -> World {
        let config = NearConfig {
            edge: NodeId::new("e1").expect("valid"),
            lane: 0,
            owner: Some(NodeId::new("n1").expect("valid")),
            slots: 16,
            ask_wait_ms: 3_600_000,
        };
        let now = Now { mono_us: 1, wall_ms: 1 };
        World {
            random: fastrand::Rng::with_seed(seed),
            now,
            near: Near::new(now, config, Seed::new(seed)),
            owner: Owner::default(),
            open: false,
            to_owner: VecDeque::new(),
            to_edge: VecDeque::new(),
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
        self.near.handle_ask(self.now, local, ask);
    }

    fn act(&mut self) {
        let number = self.random.usize(0..ROOMS);
        let shard = self.random.u32(0..SHARDS);
        match self.random.u32(0..100) {
            0..30 => {
                self.next += 1;
                let ask = publish(number, self.next);
                let AskBody::Publish(publish) = &ask.body else { unreachable!() };
                let id = publish.id.clone().expect("all have one");
                self.published.entry(ask.room.clone()).or_default().push(id);
                self.ask(ask);
            }
            30..38 => {
                self.held.entry((shard, room(number))).or_insert(None);
                self.near.handle_watch(self.now, shard, &room(number));
            }
            38..42 => {
                self.held.remove(&(shard, room(number)));
                self.near.handle_unwatch(self.now, shard, &room(number));
            }
            42..52 => self.attach_or_detach(number),
            52..57 => self.ask(ask(number, None, AskBody::Room)),
            57..62 => {
                let fed = self.owner.feed();
                self.to_edge.extend(fed);
            }
            62..65 => self.cut(),
            65..80 => self.pass_time(5),
            _ => self.move_frames(),
        }
        self.pump();
    }

    fn attach_or_detach(&mut self, number: usize) {
        let session = session(self.random.u64(0..4));
        let key = (room(number), session.clone());
        match self.sessions.get(&key) {
            None => {
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

    fn cut(&mut self) {
        self.to_owner.clear();
        self.to_edge.clear();
        self.owner.lose_stream();
        if self.open {
            self.open = false;
            self.near.handle_stream(self.now, StreamEvent::Down);
        }
    }

    fn pass_time(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.near.handle_timeout(self.now);
    }

    fn move_frames(&mut self) {
        for _ in 0..self.random.usize(0..8) {
            if let Some(frame) = self.to_owner.pop_front() {
                let said = self.owner.take(frame);
                self.to_edge.extend(said);
            }
        }
        for _ in 0..self.random.usize(0..8) {
            if let Some(frame) = self.to_edge.pop_front() {
                self.near.handle_stream(self.now, StreamEvent::Frame(frame));
                self.pump();
            }
        }
    }

    fn pump(&mut self) {
        loop {
            while let Some(told) = self.near.poll_shards() {
                self.told(told);
            }
            // A narrow wire: what does not fit stays in the machine.
            if self.to_owner.len() >= 16 {
                return;
            }
            match self.near.poll_stream() {
                None => return,
                Some(StreamOp::Send(frame)) => {
                    assert!(self.open, "it sends on a stream that stands");
                    self.to_owner.push_back(frame);
                }
                Some(StreamOp::Close) => self.cut(),
                Some(StreamOp::Open { .. }) if self.random.u32(0..4) == 0 => {
                    self.near.handle_stream(self.now, StreamEvent::Down);
                }
                Some(StreamOp::Open { .. }) => {
                    self.open = true;
                    self.near.handle_stream(self.now, StreamEvent::Up);
                }
            }
        }
    }

    fn told(&mut self, told: ToShards) {
        match told {
            ToShards::Answer { local, answer } => {
                let ask = self.asked.remove(&local).expect("asked, and not answered before");
                if let (AskBody::Attach { .. }, Some(session)) = (&ask.body, &ask.who.session) {
                    assert!(matches!(answer, Answer::Subscribed(_)), "{answer:?}");
                    if let Some(state) = self.sessions.get_mut(&(ask.room.clone(), session.clone()))
                    {
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
            ToShards::Detached { .. } => panic!("the owner takes everybody"),
        }
    }

    /// No more cuts: everything comes to rest.
    fn settle(&mut self) {
        for _ in 0..400 {
            self.pass_time(50);
            self.pump();
            let fed = self.owner.feed();
            self.to_edge.extend(fed);
            self.move_frames();
            self.pump();
        }
    }

    fn check(&self, seed: u64) {
        assert!(self.asked.is_empty(), "seed {seed}: unanswered {:?}", self.asked);
        assert_eq!(self.near.unanswered(), 0, "seed {seed}");
        for (room, published) in &self.published {
            assert_eq!(self.owner.logs.get(room), Some(published), "seed {seed}: {room}");
        }
        for ((shard, room), held) in &self.held {
            let head = self.owner.logs.get(room).map_or(0, Vec::len) as u64;
            assert_eq!(*held, Some(head), "seed {seed}: shard {shard} of {room}");
        }
        let expected: BTreeSet<_> = self.sessions.keys().cloned().collect();
        assert_eq!(self.owner.attached, expected, "seed {seed}");
        let watched: BTreeSet<_> = self.held.keys().map(|(_, room)| room.clone()).collect();
        assert_eq!(self.owner.watches.keys().cloned().collect::<BTreeSet<_>>(), watched);
    }
}

#[test]
fn whatever_is_cut_asks_are_answered_once_publishes_keep_their_order_and_feeds_have_no_hole() {
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.act();
        }
        world.settle();
        world.check(seed);
    }
}

#[test]
fn when_all_have_left_nothing_is_left_behind() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.act();
        }
        world.settle();
        let watched: Vec<_> = world.held.keys().cloned().collect();
        for (shard, room) in watched {
            world.held.remove(&(shard, room.clone()));
            world.near.handle_unwatch(world.now, shard, &room);
        }
        let attached: Vec<_> = world.sessions.keys().cloned().collect();
        for (room, session) in attached {
            world.sessions.remove(&(room.clone(), session.clone()));
            let body = AskBody::Detach { left: true };
            world.ask(Ask { room, who: who(Some(session)), body });
        }
        world.settle();
        world.check(seed);
        assert_eq!(world.near.rooms(), 0, "seed {seed}");
    }
}
