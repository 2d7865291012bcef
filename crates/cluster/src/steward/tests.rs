use super::*;
use crate::{Node, Role};

const SLOTS: u32 = 48;

fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("valid")
}

fn at(ms: u64) -> Now {
    Now::default().plus_ms(ms)
}

/// A cluster in which registry, slots and handoffs work at once, or not at all.
struct Cluster {
    ms: u64,
    view: View,
    stewards: BTreeMap<NodeId, Steward>,
    /// Nodes that neither take a slot nor do anything else.
    down: BTreeSet<NodeId>,
    /// When which node took which slot over, in order.
    taken: Vec<(u64, NodeId, SlotNo)>,
    given: Vec<(u64, NodeId, SlotNo, NodeId)>,
    suspects: BTreeMap<NodeId, Vec<(u64, NodeId)>>,
    /// How many slots were being given by one node at most.
    giving_most: usize,
    /// How long a handoff takes.
    give_ms: u64,
    underway: Vec<(u64, NodeId, SlotNo, NodeId)>,
}

impl Cluster {
    fn new(names: &[&str]) -> Cluster {
        let mut cluster = Cluster {
            ms: 0,
            view: View::empty(SLOTS),
            stewards: BTreeMap::new(),
            down: BTreeSet::new(),
            taken: Vec::new(),
            given: Vec::new(),
            suspects: BTreeMap::new(),
            giving_most: 0,
            give_ms: 3,
            underway: Vec::new(),
        };
        names.iter().for_each(|name| cluster.join(name));
        cluster
    }

    /// Every slot is owned by the node that ranks first for it.
    fn owned(names: &[&str]) -> Cluster {
        let mut cluster = Cluster::new(names);
        for slot in 0..SLOTS {
            let candidates = cluster.stewards[&id(names[0])].candidates();
            let owner = rank(slot, &candidates)[0].id.clone();
            cluster.put(slot, &owner);
        }
        cluster
    }

    fn join(&mut self, name: &str) {
        let steward = Steward::new(id(name), StewardSettings::default());
        self.stewards.insert(id(name), steward);
        self.view.nodes.insert(id(name), Node::in_process(id(name)));
        self.seen();
    }

    fn seen(&mut self) {
        self.view.version += 1;
        let now = at(self.ms);
        for steward in self.stewards.values_mut() {
            steward.handle_view(now, &self.view);
        }
        self.run();
    }

    fn put(&mut self, slot: SlotNo, owner: &NodeId) {
        let before = self.view.slots[slot as usize].take();
        let epoch = before.as_ref().map_or(1, |record| record.epoch + 1);
        self.view.version += 1;
        let revision = self.view.version;
        let record = SlotRecord { owner: owner.clone(), epoch, revision };
        self.view.slots[slot as usize] = Some(record);
        let now = at(self.ms);
        if let Some(before) = before.filter(|before| before.owner != *owner)
            && let Some(steward) = self.stewards.get_mut(&before.owner)
        {
            steward.handle_result(now, slot, Outcome::Lost);
        }
        let load = u64::from(slot);
        self.stewards.get_mut(owner).expect("known").handle_served(now, slot, load);
        self.seen();
    }

    /// Carries out what was ordered, until nobody orders anything.
    fn run(&mut self) {
        let mut orders = VecDeque::new();
        for (name, steward) in &mut self.stewards {
            while let Some(node) = steward.poll_suspect() {
                self.suspects.entry(name.clone()).or_default().push((self.ms, node));
            }
            while let Some((slot, order)) = steward.poll_order() {
                if !self.down.contains(name) {
                    orders.push_back((name.clone(), slot, order));
                }
            }
        }
        for (node, slot, order) in orders {
            match order {
                Order::TakeOver => {
                    self.taken.push((self.ms, node.clone(), slot));
                    self.put(slot, &node);
                }
                Order::Give { to } => {
                    self.underway.push((self.ms + self.give_ms, node.clone(), slot, to));
                    let giving = self.underway.iter().filter(|(_, from, ..)| *from == node);
                    self.giving_most = self.giving_most.max(giving.count());
                }
                order => panic!("{order:?}"),
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.ms + ms;
        loop {
            let live = self.stewards.iter().filter(|(name, _)| !self.down.contains(*name));
            let timers = live.filter_map(|(_, steward)| steward.poll_timeout());
            let timers = timers.map(|at| at.mono_us.div_ceil(1_000));
            let next = timers.chain(self.underway.iter().map(|(at, ..)| *at)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.ms = self.ms.max(next);
            self.turn();
        }
        self.ms = end;
    }

    fn turn(&mut self) {
        let done: Vec<_> = self.underway.extract_if(.., |(at, ..)| *at <= self.ms).collect();
        for (_, from, slot, to) in done {
            self.finish_give(&from, slot, &to);
        }
        let now = at(self.ms);
        for (name, steward) in &mut self.stewards {
            if !self.down.contains(name) && steward.poll_timeout().is_some_and(|at| now.reached(at))
            {
                steward.handle_timeout(now);
                let again = steward.poll_timeout().is_some_and(|at| now.reached(at));
                assert!(!again, "{name} has nothing left to do now");
            }
        }
        self.run();
    }

    fn finish_give(&mut self, from: &NodeId, slot: SlotNo, to: &NodeId) {
        let taken = !self.down.contains(to) && self.view.nodes.contains_key(to);
        let outcome = if taken { Outcome::Given } else { Outcome::NotGiven };
        if taken {
            self.given.push((self.ms, from.clone(), slot, to.clone()));
            self.put(slot, to);
        }
        let giver = self.stewards.get_mut(from).expect("known");
        giver.handle_result(at(self.ms), slot, outcome);
        self.run();
    }

    /// The lease is over.
    fn leave(&mut self, name: &str) {
        self.down.insert(id(name));
        self.view.nodes.remove(&id(name));
        self.seen();
    }

    fn peer(&mut self, of: &str, node: &str, sign: Sign) {
        let now = at(self.ms);
        self.stewards.get_mut(&id(of)).expect("known").handle_peer(now, &id(node), sign);
        self.run();
    }

    fn suspicion(&mut self, of: &str, observer: &str, node: &str) {
        let now = at(self.ms);
        let steward = self.stewards.get_mut(&id(of)).expect("known");
        steward.handle_suspicion(now, id(observer), &id(node));
        self.run();
    }

    fn wanted(&mut self, of: &str, slot: SlotNo) {
        let now = at(self.ms);
        self.stewards.get_mut(&id(of)).expect("known").handle_wanted(now, slot);
        self.run();
    }

    fn drain(&mut self, name: &str) {
        self.view.nodes.get_mut(&id(name)).expect("known").draining = true;
        self.stewards.get_mut(&id(name)).expect("known").handle_drain(at(self.ms));
        self.seen();
    }

    fn drained(&self, name: &str) -> Option<usize> {
        self.stewards[&id(name)].drained()
    }

    fn slots_of(&self, name: &str) -> Vec<SlotNo> {
        let owns =
            |slot: &SlotNo| self.view.slot(*slot).is_some_and(|record| record.owner == id(name));
        (0..SLOTS).filter(owns).collect()
    }

    /// The nodes in the order of their rank for the slot, but for these.
    fn ranked(&self, slot: SlotNo, but: Option<&str>) -> Vec<NodeId> {
        let node = |id: &NodeId| Candidate { id: id.clone(), weight: 1, slots_owned: 0 };
        let candidates: Vec<Candidate> =
            self.stewards.keys().filter(|name| but != Some(name.as_str())).map(node).collect();
        rank(slot, &candidates).into_iter().map(|candidate| candidate.id.clone()).collect()
    }
}

#[test]
fn the_slots_of_a_node_that_has_left_the_registry_go_at_once_to_those_who_rank_first() {
    let mut cluster = Cluster::owned(&["a", "b", "c"]);
    let lost = cluster.slots_of("a");
    assert!(!lost.is_empty());
    cluster.pass(10);
    cluster.leave("a");
    assert_eq!(cluster.taken.len(), lost.len());
    for (ms, node, slot) in cluster.taken.clone() {
        assert_eq!((ms, &node), (10, &cluster.ranked(slot, Some("a"))[0]), "slot {slot}");
    }
    cluster.pass(200);
    assert_eq!(cluster.taken.len(), lost.len(), "nobody takes what has an owner");
}

#[test]
fn whoever_ranks_behind_waits_for_each_before_it() {
    let mut cluster = Cluster::owned(&["a", "b", "c", "d"]);
    let slot = cluster.slots_of("a")[0];
    let ranked = cluster.ranked(slot, Some("a"));
    // The first two are down without anybody knowing it.
    cluster.down.extend(ranked[..2].iter().cloned());
    cluster.leave("a");
    cluster.pass(59);
    assert!(!cluster.taken.iter().any(|(_, _, taken)| *taken == slot));
    cluster.pass(1);
    assert!(cluster.taken.contains(&(60, ranked[2].clone(), slot)));
}

#[test]
fn a_refused_connection_is_enough_and_silence_takes_two_observers() {
    let mut cluster = Cluster::owned(&["a", "b", "c"]);
    let lost = cluster.slots_of("a").len();
    cluster.peer("b", "a", Sign::Silent);
    cluster.pass(50);
    assert_eq!(cluster.taken, [], "one observer may be cut off itself");
    assert_eq!(cluster.suspects[&id("b")], [(0, id("a"))]);
    cluster.suspicion("b", "b", "a");
    cluster.suspicion("b", "a", "a");
    cluster.pass(50);
    assert_eq!(cluster.taken, [], "neither itself nor the suspect is a second one");
    cluster.suspicion("b", "c", "a");
    cluster.pass(100);
    assert_eq!(cluster.taken.len(), lost, "b takes its own at once, c's a little later");
    assert!(cluster.taken.iter().all(|(_, node, _)| *node == id("b")));

    let mut cluster = Cluster::owned(&["a", "b", "c"]);
    cluster.peer("b", "a", Sign::Refused);
    cluster.peer("c", "a", Sign::Refused);
    assert_eq!((cluster.taken.len(), cluster.ms), (lost, 0));
}

#[test]
fn observers_must_agree_within_the_time_and_whoever_is_heard_is_not_dead() {
    let mut cluster = Cluster::owned(&["a", "b", "c"]);
    cluster.suspicion("b", "c", "a");
    cluster.pass(2_000);
    cluster.peer("b", "a", Sign::Silent);
    assert_eq!(cluster.taken, [], "that was long ago");
    cluster.peer("b", "a", Sign::Heard);
    cluster.suspicion("b", "c", "a");
    cluster.suspicion("b", "edge", "a");
    cluster.pass(100);
    assert_eq!(cluster.taken, [], "b hears it");
    cluster.peer("b", "a", Sign::Silent);
    cluster.pass(100);
    assert!(!cluster.taken.is_empty(), "an edge is an observer, too");
}

#[test]
fn silence_is_told_again_until_the_node_is_heard_or_gone() {
    let mut cluster = Cluster::owned(&["a", "b", "c"]);
    cluster.peer("b", "a", Sign::Silent);
    cluster.pass(2_500);
    let told: Vec<u64> = cluster.suspects[&id("b")].iter().map(|(ms, _)| *ms).collect();
    assert_eq!(told, [0, 1_000, 2_000]);
    cluster.peer("b", "a", Sign::Heard);
    cluster.pass(5_000);
    assert_eq!(cluster.suspects[&id("b")].len(), 3);
}

#[test]
fn on_suspicion_a_slot_is_stolen_again_only_after_a_growing_wait() {
    // Each is sure that the other is dead, and both are wrong.
    let mut cluster = Cluster::owned(&["a", "b"]);
    cluster.peer("a", "b", Sign::Refused);
    cluster.peer("b", "a", Sign::Refused);
    cluster.pass(30_000);
    for slot in 0..SLOTS {
        let steals = cluster.taken.iter().filter(|(_, _, taken)| *taken == slot).count();
        assert!((2..=11).contains(&steals), "slot {slot} was stolen {steals} times in 30 s");
    }
    // On a lost lease nobody waits.
    cluster.leave("a");
    assert_eq!(cluster.slots_of("b").len(), SLOTS as usize);
}

#[test]
fn a_slot_that_nobody_owned_is_left_until_it_is_asked_for() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.pass(1_000);
    assert_eq!(cluster.taken, []);
    let ranked = cluster.ranked(7, None);
    cluster.wanted(ranked[0].as_str(), 7);
    assert_eq!(cluster.taken, [(1_000, ranked[0].clone(), 7)]);
    // Asked elsewhere, it has its owner.
    cluster.wanted(ranked[1].as_str(), 7);
    cluster.pass(1_000);
    assert_eq!(cluster.taken.len(), 1);
    // The one that is asked ranks last: the others would come first, but are not asked.
    let ranked = cluster.ranked(8, None);
    cluster.wanted(ranked[2].as_str(), 8);
    cluster.pass(60);
    assert_eq!(cluster.taken[1], (2_060, ranked[2].clone(), 8));
}

#[test]
fn a_slot_of_ones_own_that_is_not_served_is_taken_when_asked_for() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.view.slots[3] = Some(SlotRecord { owner: id("a"), epoch: 4, revision: 9 });
    cluster.seen();
    cluster.pass(100);
    assert_eq!(cluster.taken, []);
    cluster.wanted("a", 3);
    cluster.wanted("b", 3);
    cluster.pass(100);
    assert_eq!(cluster.taken, [(100, id("a"), 3)]);
}

#[test]
fn a_slot_that_is_asked_for_goes_before_others_that_are_due() {
    let settings = StewardSettings { takeovers_parallel: 1, ..StewardSettings::default() };
    let mut steward = Steward::new(id("b"), settings);
    let mut view = View::empty(SLOTS);
    view.nodes.insert(id("b"), Node::in_process(id("b")));
    for slot in view.slots.iter_mut() {
        *slot = Some(SlotRecord { owner: id("dead"), epoch: 1, revision: 1 });
    }
    steward.handle_view(at(0), &view);
    assert_eq!(steward.poll_order(), Some((0, Order::TakeOver)));
    assert_eq!(steward.poll_order(), None, "one at a time");
    steward.handle_wanted(at(1), 40);
    steward.handle_served(at(2), 0, 0);
    assert_eq!(steward.poll_order(), Some((40, Order::TakeOver)));
    // One that does not end makes room after a while.
    assert_eq!(steward.poll_order(), None);
    steward.handle_timeout(steward.poll_timeout().expect("it is waited for"));
    assert_eq!(steward.poll_order(), Some((1, Order::TakeOver)));
}

#[test]
fn a_takeover_that_was_lost_is_not_tried_again_before_the_view_can_know() {
    let mut steward = Steward::new(id("b"), StewardSettings::default());
    let mut view = View::empty(1);
    view.nodes.insert(id("b"), Node::in_process(id("b")));
    view.slots[0] = Some(SlotRecord { owner: id("dead"), epoch: 1, revision: 1 });
    steward.handle_view(at(0), &view);
    assert_eq!(steward.poll_order(), Some((0, Order::TakeOver)));
    steward.handle_result(at(1), 0, Outcome::Lost);
    assert_eq!(steward.poll_order(), None);
    assert_eq!(steward.poll_timeout().map(|at| at.mono_us), Some((1 + LOST_REST_MS) * 1_000));
}

#[test]
fn whoever_is_not_registered_takes_nothing_over() {
    let mut cluster = Cluster::owned(&["a", "b", "c"]);
    // b's lease is over, though it lives; then a's.
    cluster.view.nodes.remove(&id("b"));
    cluster.seen();
    cluster.taken.clear();
    cluster.leave("a");
    cluster.pass(1_000);
    assert!(!cluster.taken.is_empty());
    assert!(cluster.taken.iter().all(|(_, node, _)| *node == id("c")));
}

#[test]
fn an_edge_is_no_candidate() {
    let mut cluster = Cluster::owned(&["a", "b"]);
    let edge = Node { role: Role::Edge, ..Node::in_process(id("e")) };
    cluster.view.nodes.insert(id("e"), edge);
    cluster.leave("a");
    cluster.pass(100);
    assert_eq!(cluster.slots_of("b").len(), SLOTS as usize);
}

#[test]
fn whoever_leaves_gives_away_everything_the_busiest_slots_first() {
    let mut cluster = Cluster::owned(&["a", "b", "c"]);
    let mut slots = cluster.slots_of("a");
    let settings = StewardSettings { gives_parallel: 4, ..StewardSettings::default() };
    cluster.stewards.get_mut(&id("a")).expect("known").settings = settings;
    assert_eq!(cluster.drained("a"), None);
    cluster.drain("a");
    assert_eq!(cluster.drained("a"), None);
    cluster.pass(200);
    assert_eq!((cluster.drained("a"), cluster.giving_most), (Some(0), 4));
    slots.reverse();
    let order: Vec<SlotNo> = cluster.given.iter().map(|(_, _, slot, _)| *slot).collect();
    assert_eq!(order, slots, "the load is the slot's number here");
    let (b, c) = (cluster.slots_of("b").len(), cluster.slots_of("c").len());
    assert!(b.abs_diff(c) <= 12 && b + c == SLOTS as usize, "{b} and {c}");
    assert_eq!(cluster.taken, []);
    // It takes nothing any more.
    cluster.leave("b");
    cluster.wanted("a", slots[0]);
    cluster.pass(1_000);
    assert_eq!(cluster.slots_of("c").len(), SLOTS as usize);
}

#[test]
fn what_one_node_cannot_take_goes_to_the_next_and_then_round_again() {
    let mut cluster = Cluster::owned(&["a", "b", "c"]);
    cluster.down.insert(id("b"));
    cluster.drain("a");
    cluster.pass(500);
    assert_eq!(cluster.drained("a"), Some(0));
    assert!(cluster.given.iter().all(|(_, _, _, to)| *to == id("c")));

    let mut cluster = Cluster::owned(&["a", "b"]);
    cluster.down.insert(id("b"));
    cluster.drain("a");
    cluster.pass(2_000);
    assert_eq!(cluster.drained("a"), None, "b is asked again and again");
    cluster.down.clear();
    cluster.pass(1_000);
    assert_eq!(cluster.drained("a"), Some(0));
}

#[test]
fn a_drain_with_nobody_to_give_to_is_done_and_says_what_is_left() {
    let mut cluster = Cluster::owned(&["a"]);
    cluster.drain("a");
    assert_eq!(cluster.drained("a"), Some(SLOTS as usize));
}

#[test]
fn a_takeover_that_is_under_way_at_the_drain_is_given_away_when_it_serves() {
    let mut steward = Steward::new(id("a"), StewardSettings::default());
    let mut view = View::empty(2);
    for name in ["a", "b"] {
        view.nodes.insert(id(name), Node::in_process(id(name)));
    }
    view.slots[1] = Some(SlotRecord { owner: id("a"), epoch: 1, revision: 1 });
    steward.handle_view(at(0), &view);
    steward.handle_wanted(at(0), 1);
    assert_eq!(steward.poll_order(), Some((1, Order::TakeOver)));
    steward.handle_drain(at(1));
    assert_eq!(steward.drained(), None);
    steward.handle_served(at(2), 1, 0);
    assert_eq!(steward.poll_order(), Some((1, Order::Give { to: id("b") })));
    steward.handle_result(at(3), 1, Outcome::Given);
    assert_eq!(steward.drained(), Some(0));
}

#[test]
fn a_newcomer_gets_slots_slowly_until_nobody_is_above_the_cap() {
    let mut cluster = Cluster::owned(&["a", "b"]);
    cluster.pass(40_000);
    let settled = cluster.given.len();
    cluster.join("c");
    let rest = StewardSettings::default().rest_ms;
    cluster.pass(rest - 1);
    assert_eq!(cluster.given.len(), settled, "it may be gone again in a moment");
    cluster.pass(2_500);
    let few = cluster.given.len() - settled;
    assert!((1..=24).contains(&few), "{few} moves in the first three intervals");
    cluster.pass(60_000);
    for name in ["a", "b"] {
        assert_eq!(cluster.slots_of(name).len(), 20, "48 / 3 and a quarter");
    }
    assert_eq!(cluster.slots_of("c").len(), 8);
    assert!(cluster.given[settled..].iter().all(|(_, _, _, to)| *to == id("c")));
    let moves = cluster.given.len();
    cluster.pass(60_000);
    assert_eq!(cluster.given.len(), moves, "and then it rests");
    assert_eq!(cluster.taken, []);
}

#[test]
fn nothing_is_evened_out_while_there_is_trouble() {
    let disturbances: [fn(&mut Cluster); 4] = [
        |cluster| cluster.peer("a", "b", Sign::Silent),
        |cluster| cluster.suspicion("a", "b", "c"),
        |cluster| cluster.join("d"),
        |cluster| cluster.drain("b"),
    ];
    for (number, disturb) in disturbances.into_iter().enumerate() {
        let mut cluster = Cluster::new(&["a", "b", "c"]);
        (0..SLOTS).for_each(|slot| cluster.put(slot, &id("a")));
        cluster.pass(StewardSettings::default().rest_ms - 100);
        disturb(&mut cluster);
        cluster.pass(10_000);
        assert_eq!(cluster.given, [], "disturbance {number}");
    }
}

#[test]
fn nothing_is_evened_out_while_a_node_is_silent_nor_right_after() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.peer("a", "b", Sign::Silent);
    (0..SLOTS).for_each(|slot| cluster.put(slot, &id("a")));
    let rest = StewardSettings::default().rest_ms;
    cluster.pass(3 * rest);
    cluster.peer("a", "b", Sign::Heard);
    cluster.pass(rest - 1);
    assert_eq!(cluster.given, []);
    cluster.peer("a", "b", Sign::Heard);
    cluster.pass(1_000);
    assert!(!cluster.given.is_empty());
}

#[test]
fn a_give_that_fails_is_trouble_too() {
    let mut cluster = Cluster::new(&["a", "b"]);
    (0..SLOTS).for_each(|slot| cluster.put(slot, &id("a")));
    cluster.down.insert(id("b"));
    let rest = StewardSettings::default().rest_ms;
    cluster.pass(rest + 100);
    cluster.down.clear();
    cluster.pass(rest - 200);
    assert_eq!(cluster.given, []);
    cluster.pass(1_000);
    assert!(!cluster.given.is_empty());
}

#[test]
fn a_node_of_weight_nothing_gives_its_slots_away() {
    let mut cluster = Cluster::owned(&["a", "b"]);
    cluster.view.nodes.get_mut(&id("a")).expect("known").weight = 0;
    cluster.seen();
    cluster.pass(120_000);
    assert_eq!(cluster.slots_of("a"), []);
}

/// Nodes come, die in every way and leave on purpose, in random order: in the end every slot that was
/// ever owned has a live owner, exactly one, and nothing goes on moving.
#[test]
fn whatever_happens_to_nodes_every_slot_ends_with_a_live_owner_and_nothing_moves_on() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cluster = Cluster::owned(&["n0", "n1", "n2"]);
        let mut names = 3;
        for _ in 0..20 {
            let live: Vec<NodeId> = cluster
                .view
                .nodes
                .keys()
                .filter(|id| !cluster.down.contains(*id))
                .cloned()
                .collect();
            let one = live[random.usize(0..live.len())].clone();
            match random.u32(0..6) {
                0 if live.len() > 2 => cluster.leave(one.as_str()),
                1 if live.len() > 2 => {
                    cluster.down.insert(one.clone());
                    for other in live.iter().filter(|other| **other != one) {
                        cluster.peer(other.as_str(), one.as_str(), Sign::Refused);
                    }
                }
                2 if live.len() > 2 && live.iter().all(|id| !cluster.view.nodes[id].draining) => {
                    cluster.drain(one.as_str());
                }
                3 => {
                    cluster.join(&format!("n{names}"));
                    names += 1;
                }
                4 => cluster.suspicion(one.as_str(), "edge", live[0].as_str()),
                _ => {}
            }
            cluster.pass(random.u64(0..2_000));
            for name in live {
                if cluster.drained(name.as_str()) == Some(0) {
                    cluster.leave(name.as_str());
                }
            }
        }
        cluster.pass(200_000);
        for slot in 0..SLOTS {
            let owner = &cluster.view.slot(slot).expect("owned").owner;
            assert!(!cluster.down.contains(owner), "seed {seed}: slot {slot} of {owner}");
            let serves = |(_, steward): &(&NodeId, &Steward)| steward.served.contains_key(&slot);
            let serving: Vec<&NodeId> = cluster
                .stewards
                .iter()
                .filter(serves)
                .map(|(name, _)| name)
                .filter(|name| !cluster.down.contains(*name))
                .collect();
            assert_eq!(serving, [owner], "seed {seed}: slot {slot}");
        }
        let (taken, given) = (cluster.taken.len(), cluster.given.len());
        cluster.pass(100_000);
        assert_eq!((cluster.taken.len(), cluster.given.len()), (taken, given), "seed {seed}");
    }
}
