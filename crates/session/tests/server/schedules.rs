//! Random schedules: owners that append, redact, trim, change and are wiped, lanes and segment reads
//! that are late or fail, sockets that stall in the middle of a frame, clients that come and go in
//! rooms. Each reader's bytes are read back and must be n, n + 1, n + 2 … or say why not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use model::*;
use session::log::{Request, Segment, SegmentFault, SessionKey, WireKind};
use session::server::AskNo;

use crate::shard::*;

const ROOMS: [&str; 3] = ["a", "b", "c"];
const REPLAY_MAX: u64 = 200;

/// A room at its owner: the truth.
struct Owner {
    name: &'static str,
    log: String,
    first: Seq,
    entries: Vec<Entry>,
    erased: BTreeSet<(String, Seq)>,
    watch: u64,
    is_watched: bool,
    /// What is on its way to the shard, in order.
    lane: VecDeque<Way>,
}

enum Way {
    /// What is fed, and what is erased by then.
    Fed(Fed, Vec<Seq>),
    Answer(SessionKey, AskNo, Answer),
}

impl Owner {
    fn head(&self) -> Seq {
        self.entries.len() as u64
    }

    fn info(&self) -> RoomInfo {
        let ordinal = self.entries.last().map_or(0, |entry| entry.ordinal);
        let (log, head) = (log_id(&self.log), self.head());
        RoomInfo { log, first: if head == 0 { 0 } else { self.first }, head, ordinal }
    }

    fn feed(&mut self, fed: Fed) {
        if !self.is_watched {
            return;
        }
        let erased = match &fed {
            Fed::Erased { entries, .. } => entries.iter().map(|entry| entry.seq).collect(),
            Fed::Watching { .. } => self
                .erased
                .iter()
                .filter(|(log, _)| *log == self.log)
                .map(|(_, seq)| *seq)
                .collect(),
            _ => Vec::new(),
        };
        self.lane.push_back(Way::Fed(fed, erased));
    }

    fn append(&mut self, kind: ContentKind) {
        if self.log.is_empty() {
            self.log = format!("{}{}", self.name, self.watch);
            self.first = 1;
        }
        let (seq, before) = (self.head() + 1, self.info().ordinal);
        let ordinal = before + u64::from(kind == ContentKind::Post);
        let entry = entry_of(self.name, &self.log, seq, ordinal, kind, "text");
        self.entries.push(entry.clone());
        let (watch, log) = (self.watch, log_id(&self.log));
        self.feed(Fed::Entries { watch, log, entries: vec![entry] });
    }

    fn redact(&mut self, rng: &mut Rng) {
        if self.head() < self.first.max(1) {
            return;
        }
        let seq = rng.u64(self.first.max(1)..=self.head());
        self.append(ContentKind::Redact);
        let held = &mut self.entries[seq as usize - 1];
        let ordinal = held.ordinal;
        *held = entry_of(self.name, &self.log, seq, ordinal, ContentKind::Tombstone, "gone");
        let (watch, entries) = (self.watch, vec![held.clone()]);
        self.erased.insert((self.log.clone(), seq));
        self.feed(Fed::Erased { watch, entries });
    }

    fn trim(&mut self, rng: &mut Rng) {
        if self.head() > 0 {
            self.first = rng.u64(self.first..=self.head() + 1);
            let (watch, first) = (self.watch, self.first);
            self.feed(Fed::Trimmed { watch, first });
        }
    }

    /// Another process owns the room; what the old one had on its way may be lost.
    fn change(&mut self, rng: &mut Rng) {
        let lost = rng.usize(0..=self.lane.len());
        let mut keep = self.lane.len() - lost;
        self.lane.retain(|way| {
            keep = keep.saturating_sub(1);
            keep > 0 || matches!(way, Way::Answer(..))
        });
        let was_watched = std::mem::replace(&mut self.is_watched, false);
        (0..rng.u32(0..3)).for_each(|_| self.append(ContentKind::Post));
        self.watch += 1;
        self.is_watched = was_watched;
        self.watching();
    }

    fn wipe(&mut self) {
        self.lane.retain(|way| matches!(way, Way::Answer(..)));
        self.watch += 1;
        (self.log, self.first) = (String::new(), 0);
        self.entries.clear();
        self.watching();
    }

    fn watching(&mut self) {
        let fed = watching(self.watch, self.info(), None);
        self.feed(fed);
    }

    fn answer(&self, after: &Option<Position>) -> Answer {
        let (head, log) = (self.head(), log_id(&self.log));
        let reason = match after {
            None => Some(SnapshotReason::New),
            Some(after) if !after.speaks_of(&log) => Some(SnapshotReason::LogChanged),
            Some(after) if after.seq > head => Some(SnapshotReason::Ahead),
            Some(after) if head - after.seq > REPLAY_MAX => Some(SnapshotReason::TooFar),
            Some(after) if after.seq + 1 < self.first => Some(SnapshotReason::Trimmed),
            Some(_) => None,
        };
        match (reason, after) {
            (Some(reason), _) => snapshot(&self.log, head, reason),
            (None, after) => resumed(&self.log, head, head - after.as_ref().unwrap().seq),
        }
    }

    /// Reads a segment; `most` entries fit.
    fn read(&self, segment: &Segment, most: u64) -> Result<Vec<Entry>, SegmentFault> {
        if segment.log.as_str() != self.log {
            return Err(SegmentFault::LogChanged);
        }
        if segment.last() < self.first {
            return Err(SegmentFault::Trimmed { first: self.first });
        }
        let from = segment.first().max(self.first);
        let to = segment.last().min(self.head()).min(from + most - 1);
        if from > to {
            return Err(SegmentFault::Trimmed { first: self.first });
        }
        Ok(self.entries[from as usize - 1..to as usize].to_vec())
    }
}

/// What one client holds of one room.
#[derive(Default)]
struct View {
    log: String,
    next: Option<Seq>,
    held: Option<(String, Seq)>,
    /// Subscribes without an answer.
    pending: BTreeSet<u32>,
    /// Nothing of the room may begin from here on until they are answered.
    quiet_from: usize,
    is_wanted: bool,
}

/// A segment that was asked for, and what was read for it.
type Fetch = (Segment, Option<Result<Vec<Entry>, SegmentFault>>);

struct World {
    shard: Shard,
    rng: Rng,
    owners: Vec<Owner>,
    keys: Vec<SessionKey>,
    views: BTreeMap<(SessionKey, &'static str), View>,
    reads: Vec<Fetch>,
    /// From where in each stream an erased entry may not be seen any more.
    blank_from: BTreeMap<(SessionKey, String, Seq), usize>,
    messages: u64,
    next_ref: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let limits = Limits {
            log_entries_max: 20,
            subscribes_per_second: 1_000_000,
            idle_ms: u64::MAX / 4,
            heartbeat_ms: 1_000_000,
            ..Limits::default()
        };
        let mut shard = Shard::new(limits);
        let mut rng = Rng::with_seed(seed);
        let owner = |name| Owner {
            name,
            log: String::new(),
            first: 0,
            entries: Vec::new(),
            erased: BTreeSet::new(),
            watch: 1,
            is_watched: false,
            lane: VecDeque::new(),
        };
        let mut owners: Vec<Owner> = ROOMS.into_iter().map(owner).collect();
        for owner in &mut owners {
            (0..rng.u32(0..150)).for_each(|_| owner.append(ContentKind::Post));
        }
        let wires = [WireKind::WebSocketJson, WireKind::WebSocketProto];
        let keys = (0..6)
            .map(|n| {
                shard.open_with(wires[n % 2], identity(&format!("u{n}"), Roles::open()), vec![])
            })
            .collect();
        shard.is_manual = true;
        World {
            shard,
            rng,
            owners,
            keys,
            views: BTreeMap::new(),
            reads: Vec::new(),
            blank_from: BTreeMap::new(),
            messages: 0,
            next_ref: 10,
        }
    }

    fn step(&mut self) {
        let at = self.rng.usize(0..self.owners.len());
        let rng = &mut self.rng;
        let owner = &mut self.owners[at];
        match rng.u32(0..100) {
            0..20 => (0..rng.u32(1..6)).for_each(|_| owner.append(ContentKind::Post)),
            20..23 => owner.append(ContentKind::Reaction),
            23..27 => owner.redact(rng),
            27..28 => owner.trim(rng),
            28..31 => owner.change(rng),
            31 if rng.bool() => owner.wipe(),
            31 => {
                let (watch, from) = (owner.watch, user("bob"));
                let (kind, data) = ("typing".to_owned(), bytes::Bytes::new());
                owner.feed(Fed::Signal { watch, from, kind, data });
            }
            32..42 => self.subscribe(),
            42..46 => self.unsubscribe(),
            46..56 => {
                let key = self.keys[self.rng.usize(0..self.keys.len())];
                let window = if self.rng.bool() { usize::MAX } else { self.rng.usize(0..300) };
                self.shard.peers.get_mut(&key).unwrap().socket.window = window;
            }
            56..60 => {
                let ms = self.rng.u64(0..500);
                self.shard.after_ms(ms);
            }
            60..80 => self.deliver(at),
            80..90 => self.ask_owner(),
            _ => self.read(),
        }
        self.turn_some();
    }

    fn subscribe(&mut self) {
        let key = self.keys[self.rng.usize(0..self.keys.len())];
        let name = ROOMS[self.rng.usize(0..ROOMS.len())];
        let peer = &self.shard.peers[&key];
        let view = self.views.entry((key, name)).or_default();
        self.next_ref += 1;
        view.pending.insert(self.next_ref);
        view.quiet_from = peer.socket.written;
        view.is_wanted = true;
        let held = view.held.clone().filter(|_| self.rng.u32(0..4) > 0);
        let wish = subscribe(name, held.as_ref().map(|(log, seq)| (log.as_str(), *seq)));
        self.shard.say(key, self.next_ref, ClientSays::Subscribe(wish));
    }

    fn unsubscribe(&mut self) {
        let key = self.keys[self.rng.usize(0..self.keys.len())];
        let name = ROOMS[self.rng.usize(0..ROOMS.len())];
        self.next_ref += 1;
        self.views.entry((key, name)).or_default().is_wanted = false;
        let says = ClientSays::Unsubscribe { room: room(name) };
        self.shard.say(key, self.next_ref, says);
    }

    /// What is on its way arrives.
    fn deliver(&mut self, at: usize) {
        for _ in 0..self.rng.u32(1..6) {
            let owner = &mut self.owners[at];
            match owner.lane.pop_front() {
                None => return,
                Some(Way::Answer(key, no, answer)) => self.shard.answer(key, no, answer),
                Some(Way::Fed(fed, erased)) => {
                    let (key, log) = (room(owner.name), owner.log.clone());
                    self.shard.logs.handle_fed(self.shard.now, &key, fed);
                    self.blank(&log, &erased);
                }
            }
        }
    }

    fn blank(&mut self, log: &str, erased: &[Seq]) {
        for (seq, key) in erased.iter().flat_map(|seq| self.keys.iter().map(move |key| (seq, key)))
        {
            let written = self.shard.peers[key].socket.written;
            self.blank_from.entry((*key, log.to_owned(), *seq)).or_insert(written);
        }
    }

    fn ask_owner(&mut self) {
        let Some((key, no, ask)) = self.shard.asks.pop_front() else {
            return;
        };
        let owner = self.owners.iter_mut().find(|owner| room(owner.name) == ask.room).unwrap();
        let answer = match &ask.body {
            AskBody::Attach { after, .. } => owner.answer(after),
            _ => Answer::Done,
        };
        owner.lane.push_back(Way::Answer(key, no, answer));
    }

    /// A segment is read, or what was read arrives, or it fails.
    fn read(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.reads.len());
        let (segment, result) = &mut self.reads[at];
        if result.is_none() {
            let owner = self.owners.iter().find(|owner| room(owner.name) == segment.room).unwrap();
            let most = if self.rng.bool() { 64 } else { self.rng.u64(1..20) };
            *result = Some(owner.read(segment, most));
            return;
        }
        let (segment, result) = self.reads.swap_remove(at);
        let fails = self.rng.u32(0..4) == 0;
        let result = if fails { Err(SegmentFault::Unavailable) } else { result.unwrap() };
        self.shard.segment(&segment, result);
    }

    fn requests(&mut self) {
        while let Some(request) = self.shard.logs.poll_request() {
            let find = |owners: &mut Vec<Owner>, name: &RoomName| {
                owners.iter().position(|owner| room(owner.name) == *name).unwrap()
            };
            match request {
                Request::Watch { room } => {
                    let at = find(&mut self.owners, &room);
                    self.owners[at].is_watched = true;
                    self.owners[at].watching();
                }
                Request::Unwatch { room } => {
                    let at = find(&mut self.owners, &room);
                    self.owners[at].is_watched = false;
                }
                Request::Fetch(segment) => self.reads.push((segment, None)),
            }
        }
    }

    /// A shard's turn that is broken off anywhere.
    fn turn_some(&mut self) {
        for _ in 0..self.rng.u32(0..12) {
            self.requests();
            if self.rng.bool()
                && let Some(news) = self.shard.logs.poll_news()
            {
                let peer = self.shard.peers.get_mut(&news.session).unwrap();
                peer.session.handle_news(self.shard.now, &news, &mut self.shard.logs);
            }
            let key = self.keys[self.rng.usize(0..self.keys.len())];
            let most = if self.rng.bool() { usize::MAX } else { self.rng.usize(1..60) };
            let peer = self.shard.peers.get_mut(&key).unwrap();
            transmit(self.shard.now, peer, &mut self.shard.logs, most);
            act(key, peer, &mut self.shard.asks);
        }
        self.requests();
        self.check();
    }

    /// Everything heals, and everybody reads to the end.
    fn heal(&mut self) {
        for key in &self.keys {
            self.shard.peers.get_mut(key).unwrap().socket.window = usize::MAX;
        }
        for _ in 0..2_000 {
            self.shard.after_ms(100);
            self.requests();
            while !self.shard.asks.is_empty() {
                self.ask_owner();
            }
            (0..self.owners.len()).for_each(|at| self.deliver(at));
            let reads = std::mem::take(&mut self.reads);
            for (segment, _) in reads {
                let owner = self.owners.iter().find(|o| room(o.name) == segment.room).unwrap();
                let result = owner.read(&segment, 64);
                self.shard.segment(&segment, result);
            }
            self.shard.is_manual = false;
            self.shard.turn();
            self.shard.is_manual = true;
            while let Some(request) = self.shard.requests.pop_front() {
                match request {
                    Request::Fetch(segment) => self.reads.push((segment, None)),
                    other => panic!("nobody came or went: {other:?}"),
                }
            }
            self.check();
        }
        for ((key, name), view) in &self.views {
            let owner = self.owners.iter().find(|owner| owner.name == *name).unwrap();
            assert!(view.pending.is_empty(), "{key:?} waits for an answer in {name}");
            let next = view.is_wanted.then(|| owner.head() + 1);
            assert_eq!(view.next, next, "{key:?} in {name}");
        }
    }

    /// Holds what was read against the rules.
    fn check(&mut self) {
        for key in self.keys.clone() {
            let reads = std::mem::take(&mut self.shard.peers.get_mut(&key).unwrap().read);
            for read in reads {
                self.check_one(key, &read);
            }
        }
    }

    fn check_one(&mut self, key: SessionKey, read: &Read) {
        let text = read.text();
        let words: Vec<&str> = read.words.iter().map(String::as_str).collect();
        if words[0] == "welcome" {
            return;
        }
        let Some(name) = ROOMS.into_iter().find(|name| Some(name) == words.get(1)) else {
            assert_eq!(&words[..2], ["refused", "not_subscribed"], "{key:?} reads {text}");
            return;
        };
        let view = self.views.get_mut(&(key, name)).expect("a room that was asked for");
        let number = |at: usize| -> u64 { words[at].parse().unwrap() };
        let is_quiet = !view.pending.is_empty() && read.at >= view.quiet_from;
        match words[0] {
            "subscribed" => {
                let (log, head) = words[2].split_once('/').unwrap();
                let head: Seq = head.parse().unwrap();
                let missed = if words[3] == "resumed" { number(4) } else { 0 };
                view.log = log.to_owned();
                view.next = Some(head - missed + 1);
                view.held = Some((log.to_owned(), head - missed));
                view.pending.remove(&(number(words.len() - 1) as u32));
            }
            "unsubscribed" => {
                view.next = None;
                view.pending.remove(&(number(words.len() - 1) as u32));
            }
            "message" => {
                let (log, seq) = (words[2].to_owned(), number(3));
                assert!(!is_quiet, "{key:?} reads {text} while it joins");
                assert_eq!(view.next, Some(seq), "{key:?} reads {text}");
                if view.log.is_empty() {
                    view.log = log.clone();
                }
                assert_eq!(view.log, log, "{key:?} reads {text}");
                view.next = Some(seq + 1);
                view.held = Some((log.clone(), seq));
                let blank_from = self.blank_from.get(&(key, log, seq));
                let is_late = blank_from.is_some_and(|from| read.at > *from);
                assert!(!is_late || words[4] == "gone", "{key:?} reads {text} after it was erased");
                self.messages += 1;
            }
            "truncated" => {
                // It may have waited among answers since before the subscribe was received.
                assert!(view.next.unwrap() < number(2), "{key:?} reads {text} at {:?}", view.next);
                view.next = Some(number(2));
            }
            "signal" => assert!(!is_quiet && view.next.is_some(), "{key:?} reads {text}"),
            other => panic!("{key:?} reads {other} in {text}"),
        }
    }
}

#[test]
fn every_reader_reads_on_by_one_or_is_told_why_not_in_random_schedules() {
    let seeds = match std::env::var("PARLOUR_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("a number");
            seed..seed + 1
        }
        Err(_) => 0..300,
    };
    let mut messages = 0;
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..400).for_each(|_| world.step());
            world.heal();
            world.messages
        });
        match outcome {
            Ok(read) => messages += read,
            Err(_) => panic!("PARLOUR_SEED={seed} fails"),
        }
    }
    assert!(messages > 0);
    println!("{messages} messages were read");
}
