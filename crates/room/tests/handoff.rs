//! A room that goes from one owner to the next with what the first one knew: nobody is seen to leave
//! or to come, nothing is written twice, and a hint that does not count changes nothing.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use model::{
    Answer, AppendError, AskBody, Fed, Generation, Limits, PresenceChange, RefusalCode, Roster,
    Seed, StateKey, User, Who,
};
use room::{Hints, Peer};

const WATCHER: Peer = Peer(9);

fn world() -> (Store, Owner) {
    let mut store = Store::default();
    let owner = Owner::open(&mut store, &Limits::default(), 0);
    (store, owner)
}

/// Hands over; the hints must count.
fn hand_over(store: &mut Store, giver: &mut Owner) -> Owner {
    let hints = giver.freeze(store);
    let (taker, counts) = Owner::take(store, &Limits::default(), giver.now, giver.fence, hints);
    assert!(counts);
    taker
}

fn generation(counter: u64) -> Generation {
    Generation { counter, random: 0 }
}

fn attach(owner: &mut Owner, peer: Peer, who: Who) {
    owner.ask(peer, who, AskBody::Attach { after: None, recent: 0 });
}

/// The ids of those who are said to be here when a watch begins.
fn present(owner: &mut Owner) -> Option<Vec<String>> {
    owner.watch(WATCHER, 1);
    match &owner.take_fed(WATCHER)[..] {
        [Fed::Watching { presence, .. }] => presence.as_ref().map(ids),
        other => panic!("{other:?}"),
    }
}

fn ids(roster: &Roster) -> Vec<String> {
    roster.users.iter().map(|user| user.id.to_string()).collect()
}

#[test]
fn the_next_owner_knows_the_log_and_its_ids_without_a_read() {
    let (mut store, mut a) = world();
    let position = since(&store, 0);
    for (msg, text) in [("m1", "one"), ("m2", "two")] {
        a.say(&mut store, "ann", msg, post(text));
    }
    let mut b = hand_over(&mut store, &mut a);
    assert_eq!(b.room.head(), a.room.head());
    let again = model::Publish { since: position, ..publish("m2", post("two")) };
    let again = b.send(BOB, who("ann"), again);
    let next = b.send(BOB, who("ann"), publish("m3", post("three")));
    assert!(b.reads.is_empty());
    b.settle(&mut store);
    assert_eq!((b.published(BOB, again), b.published(BOB, next)), ((2, true), (3, false)));
}

#[test]
fn a_room_that_is_not_born_is_handed_over_with_those_who_wait_in_it() {
    let (mut store, mut a) = world();
    attach(&mut a, ALICE, who("ann"));
    let mut b = hand_over(&mut store, &mut a);
    assert_eq!(present(&mut b), Some(vec!["ann".to_owned()]));
    assert_eq!(b.say(&mut store, "ann", "m1", post("one")), 1);
}

#[test]
fn ids_are_handed_over_down_to_a_bound_and_older_ones_are_read() {
    let (mut store, mut a) = world();
    for n in 1..=4 {
        a.say(&mut store, "ann", &format!("m{n}"), post("text"));
    }
    let hints = a.room.export(a.now, 2).expect("settled");
    assert_eq!(hints.ids.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 4]);
    let (mut b, _) = Owner::take(&mut store, &Limits::default(), a.now, a.fence, hints);
    let old = model::Publish { since: since(&store, 0), ..publish("m1", post("text")) };
    let old = b.send(BOB, who("ann"), old);
    assert!(!b.is_answered(BOB, old));
    b.settle(&mut store);
    assert_eq!(b.published(BOB, old), (1, true));
}

#[test]
fn marks_are_written_before_the_room_is_handed_over() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    a.say(&mut store, "ann", "m2", post("two"));
    let ask = a.ask(BOB, who("bob"), AskBody::Mark { seq: 1 });
    a.settle(&mut store);
    assert!(matches!(a.answer(BOB, ask), Answer::Marked { .. }));
    let key = StateKey::Mark(user("bob").id);
    assert!(!store.states.contains_key(&key) && !a.room.is_flushed(), "its second has not come");
    let mut b = hand_over(&mut store, &mut a);
    assert!(store.states.contains_key(&key));
    assert_eq!(b.attach(&mut store, BOB, who("bob"), None).mark.seq, 1);
}

#[test]
fn nothing_is_exported_while_an_append_is_out_or_its_outcome_unknown() {
    let (mut store, mut a) = world();
    a.send(ALICE, who("ann"), publish("m1", post("one")));
    assert_eq!(a.room.export(a.now, 9), None);
    assert!(!a.room.is_flushed());
    a.lose_append(&mut store);
    assert_eq!(a.room.export(a.now, 9), None, "it may still arrive");
    a.settle(&mut store);
    assert!(a.room.export(a.now, 9).is_some());
    a.room.handle_fenced(a.now);
    assert_eq!(a.room.export(a.now, 9), None, "somebody else knows better");
}

#[test]
fn a_room_that_has_stopped_holds_up_no_handoff() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    a.ask(BOB, who("bob"), AskBody::Mark { seq: 1 });
    let ahead = since(&store, 9);
    a.ask(BOB, who("bob"), AskBody::Attach { after: ahead, recent: 0 });
    assert!(!a.room.is_flushed(), "it wants a claim");
    let (ticket, _) = a.reads.pop_front().expect("bob's mark is read");
    let corrupt = Err(room::ReadFailed::Corrupt("bits".to_owned()));
    a.room.handle_read(a.now, ticket, corrupt);
    a.poll();
    assert!(a.damaged.is_some() && a.room.is_flushed());
    assert_eq!(a.room.export(a.now, 9), None);
}

#[test]
fn hints_of_another_fence_are_of_no_account() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    attach(&mut a, ALICE, who("ann"));
    let hints = a.freeze(&mut store);
    let named = a.fence;
    // The giver thaws, or somebody else was faster: what the giver knew is the past.
    let mut c = Owner::open(&mut store, &Limits::default(), 0);
    c.say(&mut store, "ann", "m2", post("two"));
    let (mut b, counts) = Owner::take(&mut store, &Limits::default(), a.now, named, hints);
    assert!(!counts);
    assert_eq!((b.room.head().head, present(&mut b)), (2, None), "presence is collected");
}

#[test]
fn hints_with_a_hole_are_no_ids() {
    let (mut store, mut a) = world();
    for n in 1..=3 {
        a.say(&mut store, "ann", &format!("m{n}"), post("text"));
    }
    let mut hints = a.freeze(&mut store);
    hints.ids.remove(1);
    let (mut b, _) = Owner::take(&mut store, &Limits::default(), a.now, a.fence, hints);
    let again = model::Publish { since: since(&store, 0), ..publish("m2", post("text")) };
    let again = b.send(BOB, who("ann"), again);
    b.settle(&mut store);
    assert_eq!(b.published(BOB, again), (2, true), "the journal knows it");
}

#[test]
fn a_publish_that_changed_nothing_gets_the_same_answer_from_the_next_owner() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    a.say(&mut store, "ann", "r1", react(1, "+"));
    let nothing = a.send(ALICE, who("ann"), publish("r2", react(1, "+")));
    a.settle(&mut store);
    assert_eq!(a.published(ALICE, nothing), (2, true));
    a.say(&mut store, "ann", "r3", unreact(1, "+"));
    let mut b = hand_over(&mut store, &mut a);
    let again = b.send(BOB, who("ann"), publish("r2", react(1, "+")));
    b.settle(&mut store);
    assert_eq!(b.published(BOB, again), (2, true));
    assert_eq!(store.records.len(), 3);
}

#[test]
fn what_the_giver_could_not_append_is_refused_as_retryable_and_written_once_by_the_taker() {
    let (mut store, mut a) = world();
    a.frozen = true;
    let late = a.send(ALICE, who("ann"), publish("m1", post("one")));
    let hints = a.room.export(a.now, 9).expect("nothing is out");
    a.room.handle_fenced(a.now);
    a.poll();
    let refusal = a.refused(ALICE, late);
    assert_eq!((refusal.code, refusal.retry_after_ms), (RefusalCode::Unavailable, Some(0)));
    let (mut b, _) = Owner::take(&mut store, &Limits::default(), a.now, a.fence, hints);
    assert_eq!(b.say(&mut store, "ann", "m1", post("one")), 1);
}

#[test]
fn presence_stands_at_once_and_whoever_is_told_again_never_left() {
    let (mut store, mut a) = world();
    for name in ["ann", "bob"] {
        attach(&mut a, ALICE, who(name));
    }
    let mut b = hand_over(&mut store, &mut a);
    assert_eq!(present(&mut b), Some(vec!["ann".to_owned(), "bob".to_owned()]));
    b.pass(14_000);
    attach(&mut b, BOB, who("ann"));
    b.pass(10_000);
    // Bob's edge never came.
    let fed = b.take_fed(WATCHER);
    let [Fed::Presence { change: PresenceChange::Delta { count: 1, arrived, departed }, .. }] =
        &fed[..]
    else {
        panic!("{fed:?}")
    };
    assert_eq!((arrived.len(), departed[0].as_str()), (0, "bob"));
}

#[test]
fn an_attachment_without_a_stream_is_taken_by_whoever_names_its_generation() {
    for (counter, left, stays) in [(2, true, false), (1, true, true), (3, true, true)] {
        let (mut store, mut a) = world();
        attach(&mut a, ALICE, Who { generation: generation(2), ..who("ann") });
        let mut b = hand_over(&mut store, &mut a);
        let leaves = Who { generation: generation(counter), ..who("ann") };
        b.ask(BOB, leaves, AskBody::Detach { left });
        assert_eq!(present(&mut b), Some(if stays { vec!["ann".to_owned()] } else { vec![] }));
    }
    // A newer connection takes its place; the older one's late word is inert.
    let (mut store, mut a) = world();
    attach(&mut a, ALICE, Who { generation: generation(2), ..who("ann") });
    let mut b = hand_over(&mut store, &mut a);
    attach(&mut b, BOB, Who { generation: generation(3), ..who("ann") });
    b.ask(ALICE, Who { generation: generation(2), ..who("ann") }, AskBody::Detach { left: true });
    b.pass(60_000);
    assert_eq!(present(&mut b), Some(vec!["ann".to_owned()]));
}

#[test]
fn a_grace_that_runs_is_not_begun_anew_by_each_owner() {
    let (mut store, mut a) = world();
    attach(&mut a, ALICE, who("ann"));
    a.room.handle_peer_lost(a.now, ALICE);
    a.pass(10_000);
    let mut b = hand_over(&mut store, &mut a);
    b.pass(4_999);
    assert_eq!(present(&mut b), Some(vec!["ann".to_owned()]));
    b.pass(1);
    b.take_fed(WATCHER);
    assert_eq!(present(&mut b), Some(vec![]));
}

#[test]
fn what_is_being_collected_goes_on_being_collected() {
    let (mut store, a) = world();
    let (limits, start) = (Limits::default(), a.now);
    let mut b = Owner::open_at(&mut store, &limits, 0, start, true);
    attach(&mut b, ALICE, who("ann"));
    b.pass(10_000);
    let mut c = hand_over(&mut store, &mut b);
    assert_eq!(present(&mut c), None);
    attach(&mut c, ALICE, who("ann"));
    attach(&mut c, ALICE, who("bob"));
    c.pass(4_999);
    assert!(c.take_fed(WATCHER).is_empty());
    c.pass(1);
    let fed = c.take_fed(WATCHER);
    let [Fed::Presence { change: PresenceChange::Full(roster), .. }] = &fed[..] else {
        panic!("{fed:?}")
    };
    assert_eq!(ids(roster), ["ann", "bob"]);
}

#[test]
fn who_is_shown_by_which_connection_survives_the_order_in_which_edges_come_back() {
    let with = |session: &str, data: &'static str| {
        let mut who = who("ann");
        who.session = Some(model::SessionId::new(session).expect("valid"));
        who.user.data = bytes::Bytes::from_static(data.as_bytes());
        who
    };
    let (mut store, mut a) = world();
    attach(&mut a, ALICE, with("laptop", "busy"));
    attach(&mut a, ALICE, with("phone", "away"));
    let mut b = hand_over(&mut store, &mut a);
    present(&mut b);
    for (session, data) in [("phone", "away"), ("laptop", "busy")] {
        attach(&mut b, BOB, with(session, data));
        b.pass(1_000);
    }
    assert_eq!(b.take_fed(WATCHER), []);
}

#[test]
fn an_append_that_the_journal_fences_ends_the_giver_as_ever() {
    let (mut store, mut a) = world();
    let ask = a.send(ALICE, who("ann"), publish("m1", post("one")));
    let _taker = Owner::open(&mut store, &Limits::default(), 0);
    a.appended(Err(AppendError::Fenced));
    assert_eq!(a.code(ALICE, ask), RefusalCode::Unavailable);
    assert_eq!(a.room.export(a.now, 9), None);
}

/// One edge's connections to a room, over many owners.
struct Edge {
    peer: Peer,
    /// The users whose sessions it holds, and their generations.
    sessions: BTreeMap<String, u64>,
    /// Those of whom some owner was told.
    known: BTreeSet<String>,
    /// When it comes to the present owner; `None` if it is there.
    comes_at: Option<u64>,
}

struct Crowd {
    store: Store,
    owner: Owner,
    seed: Seed,
    edges: Vec<Edge>,
    peers: u64,
    /// What a watching edge holds, over all owners.
    held: BTreeSet<String>,
    handoffs: usize,
    ms: u64,
}

impl Crowd {
    fn step(&mut self) {
        let (edge, name) = (self.pick(3), format!("user{}", self.pick(5)));
        match self.seed.below(10) {
            0..3 => self.come(edge, name),
            3 | 4 => self.go(edge, &name),
            5 => self.reconnect(edge),
            6 => self.hand_over(),
            _ => self.pass(),
        }
        self.watch();
    }

    fn pick(&mut self, among: u64) -> usize {
        self.seed.below(among) as usize
    }

    fn who(name: &str, edge: usize, counter: u64) -> Who {
        let session = model::SessionId::new(&format!("{name}x{edge}")).expect("valid");
        Who { session: Some(session), generation: generation(counter), ..who(name) }
    }

    fn come(&mut self, edge: usize, name: String) {
        let counter = self.edges[edge].sessions.get(&name).copied().unwrap_or(self.ms) + 1;
        self.edges[edge].sessions.insert(name.clone(), counter);
        if self.edges[edge].comes_at.is_none() {
            self.tell(edge, name, counter);
        }
    }

    fn tell(&mut self, edge: usize, name: String, counter: u64) {
        attach(&mut self.owner, self.edges[edge].peer, Crowd::who(&name, edge, counter));
        self.edges[edge].known.insert(name);
    }

    fn go(&mut self, edge: usize, name: &str) {
        let there = self.edges[edge].comes_at.is_none();
        if there && let Some(counter) = self.edges[edge].sessions.remove(name) {
            let who = Crowd::who(name, edge, counter);
            self.owner.ask(self.edges[edge].peer, who, AskBody::Detach { left: true });
            self.edges[edge].known.remove(name);
        }
    }

    fn reconnect(&mut self, edge: usize) {
        if self.edges[edge].comes_at.is_none() {
            self.owner.room.handle_peer_lost(self.owner.now, self.edges[edge].peer);
            self.owner.poll();
        }
        self.later(edge);
    }

    fn later(&mut self, edge: usize) {
        let ms = self.seed.below(5_000);
        self.peers += 1;
        self.edges[edge].peer = Peer(self.peers);
        let comes_at = self.edges[edge].comes_at.unwrap_or(u64::MAX);
        self.edges[edge].comes_at = Some(comes_at.min(self.ms + ms));
    }

    fn hand_over(&mut self) {
        let hints: Hints = self.owner.freeze(&mut self.store);
        let (now, named) = (self.owner.now, self.owner.fence);
        let limits = Limits::default();
        let (taker, counts) = Owner::take(&mut self.store, &limits, now, named, hints);
        assert!(counts);
        self.owner = taker;
        self.handoffs += 1;
        (0..self.edges.len()).for_each(|edge| self.later(edge));
        self.owner.watch(WATCHER, 1);
    }

    fn pass(&mut self) {
        let ms = self.seed.below(1_500);
        self.ms += ms;
        self.owner.pass(ms);
        for edge in 0..self.edges.len() {
            if self.edges[edge].comes_at.is_some_and(|at| at <= self.ms) {
                self.edges[edge].comes_at = None;
                for (name, counter) in self.edges[edge].sessions.clone() {
                    self.tell(edge, name, counter);
                }
            }
        }
    }

    /// Who is at home at some edge is told to be here, once told, until it is not at home any more.
    fn watch(&mut self) {
        for fed in self.owner.take_fed(WATCHER) {
            let (arrived, departed): (Vec<User>, BTreeSet<String>) = match fed {
                Fed::Watching { presence: Some(roster), .. }
                | Fed::Presence { change: PresenceChange::Full(roster), .. } => {
                    let here: BTreeSet<String> = ids(&roster).into_iter().collect();
                    (roster.users, self.held.difference(&here).cloned().collect())
                }
                Fed::Presence {
                    change: PresenceChange::Delta { arrived, departed, .. }, ..
                } => (arrived, departed.iter().map(ToString::to_string).collect()),
                Fed::Watching { presence: None, .. } => panic!("nothing is collected"),
                _ => continue,
            };
            for name in &departed {
                let at_home = self.edges.iter().any(|edge| edge.known.contains(name));
                assert!(!at_home, "{name} has never left");
                self.held.remove(name);
            }
            self.held.extend(arrived.into_iter().map(|user| user.id.to_string()));
        }
    }
}

#[test]
fn whenever_a_room_is_handed_over_nobody_who_stays_is_seen_to_leave() {
    let mut handoffs = 0;
    for seed in 1..=100 {
        let (store, owner) = world();
        let edge = |n: u64| Edge {
            peer: Peer(100 + n),
            sessions: BTreeMap::new(),
            known: BTreeSet::new(),
            comes_at: None,
        };
        let mut crowd = Crowd {
            store,
            owner,
            seed: Seed::new(seed),
            edges: (0..3).map(edge).collect(),
            peers: 200,
            held: BTreeSet::new(),
            handoffs: 0,
            ms: 0,
        };
        crowd.owner.watch(WATCHER, 1);
        (0..400).for_each(|_| crowd.step());
        // In the end everybody who is told to be here is.
        for _ in 0..60 {
            crowd.pass();
        }
        crowd.watch();
        let home: BTreeSet<String> =
            crowd.edges.iter().flat_map(|edge| edge.sessions.keys().cloned()).collect();
        assert_eq!(crowd.held, home, "seed {seed}");
        handoffs += crowd.handoffs;
    }
    assert!(handoffs > 1_000, "{handoffs}");
}
