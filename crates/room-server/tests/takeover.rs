//! The owner of a slot dies, falls silent, or comes back when nobody waits for it any more.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::nodes::Cluster;
use common::talker::Talker;
use common::{person, post, room};
use journal::{Journal as _, Memory};
use model::{Answer, Fed, RoomName};
use tokio::time::{Instant, sleep};
use wire::link::MoveRequest;

const SLOTS: u32 = 16;

fn cluster(journal: &Memory, nodes: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(SLOTS);
    for (seed, id) in (1..).zip(nodes) {
        cluster.start(id, Arc::new(journal.clone()), seed);
    }
    cluster
}

/// Beats flow between all nodes.
async fn settle() {
    sleep(Duration::from_millis(1_000)).await;
}

/// Rooms of so many different slots.
fn rooms(count: usize) -> Vec<RoomName> {
    let mut rooms: Vec<RoomName> = Vec::new();
    for number in 0.. {
        let name = room(&format!("room-{number}"));
        let slot = |room: &RoomName| cluster::slot_of(room, SLOTS);
        if rooms.iter().all(|other| slot(other) != slot(&name)) {
            rooms.push(name);
        }
        if rooms.len() == count {
            break;
        }
    }
    rooms
}

#[tokio::test(start_paused = true)]
async fn a_dead_owners_slots_are_taken_over_within_milliseconds_by_those_who_are_left() {
    let journal = Memory::with_slots(SLOTS);
    let mut cluster = cluster(&journal, &["a", "b", "c"]);
    let rooms = rooms(12);
    for room in &rooms {
        Talker::join(&cluster, "a", "ann", room).await.talk(&cluster, 3).await;
    }
    settle().await;
    let killed_at = Instant::now();
    cluster.kill("a");
    let mut owners = Vec::new();
    for room in &rooms {
        let slot = cluster.slot_of(room);
        let (b, c) = (cluster.owned_by(slot, "b"), cluster.owned_by(slot, "c"));
        let owner = tokio::select! { _ = b => "b", _ = c => "c" };
        let took = killed_at.elapsed();
        assert!(took < Duration::from_millis(200), "{took:?}");
        let mut bob = Talker::join(&cluster, owner, "bob", room).await;
        bob.listen(&cluster, 3).await;
        bob.talk(&cluster, 1).await;
        assert_eq!(bob.answered[0].1, 4);
        owners.push(owner);
    }
    assert!(owners.contains(&"b") && owners.contains(&"c"), "{owners:?}");
    assert_eq!(cluster.server("b").counts().fenced + cluster.server("c").counts().fenced, 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_owner_is_replaced_when_two_find_it_silent_and_lives_on_when_it_comes_back() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = cluster(&journal, &["a", "b", "c"]);
    let room = &rooms(1)[0];
    let slot = cluster.slot_of(room);
    let mut ann = Talker::join(&cluster, "a", "ann", room).await;
    ann.talk(&cluster, 3).await;
    settle().await;
    let silent_at = Instant::now();
    cluster.net.flow("a", false);
    let (b, c) = (cluster.owned_by(slot, "b"), cluster.owned_by(slot, "c"));
    let owner = tokio::select! { _ = b => "b", _ = c => "c" };
    let took = silent_at.elapsed();
    assert!((500..1_200).contains(&took.as_millis()), "{took:?}");
    let mut bob = Talker::join(&cluster, owner, "bob", room).await;
    bob.talk(&cluster, 4).await;

    // It speaks again, and is told by the journal; whoever is there is told where to go.
    cluster.net.flow("a", true);
    while ann.at == "a" {
        ann.turn(&cluster).await;
    }
    assert_eq!(ann.at, owner);
    ann.listen(&cluster, 7).await;
    ann.talk(&cluster, 2).await;
    assert_eq!((ann.seen, ann.refused), (9, 0));
    settle().await;
    let a = cluster.server("a").counts();
    assert_eq!((a.slots_serving, a.rooms_open, a.given), (0, 0, 0), "{a:?}");
    assert_eq!(
        cluster.record(slot).map(|record| record.owner.as_str().to_owned()),
        Some(owner.to_owned()),
        "it does not steal back"
    );
    let slot_given = MoveRequest { slot, to: "a".to_owned() };
    cluster.operator(owner).r#move(slot_given).await.expect("it takes slots again");
    bob.talk(&cluster, 1).await;
    assert_eq!((bob.at.as_str(), bob.seen), ("a", 10));
}

#[tokio::test(start_paused = true)]
async fn one_node_alone_does_not_take_over_from_one_that_it_does_not_hear() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = cluster(&journal, &["a", "b", "c"]);
    let room = &rooms(1)[0];
    let slot = cluster.slot_of(room);
    let mut ann = Talker::join(&cluster, "a", "ann", room).await;
    ann.talk(&cluster, 1).await;
    settle().await;
    // It is the observer that is cut off.
    cluster.net.flow("b", false);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.record(slot).expect("owned").owner.as_str(), "a");
    ann.talk(&cluster, 1).await;
    assert_eq!((ann.moves, ann.seen), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_the_wrong_node_is_told_the_right_one() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = cluster(&journal, &["a", "b"]);
    let room = &rooms(1)[0];
    Talker::join(&cluster, "a", "ann", room).await.talk(&cluster, 3).await;
    let mut edge = cluster.edge("b", "e1").await;
    for _ in 0..3 {
        edge.ask(room, person("bob"), post(room, "some-message", "text")).await;
    }
    let expected = (cluster.slot_of(room), 1, "a".to_owned());
    for _ in 0..3 {
        let (slot, epoch, owner) = edge.moved().await;
        assert_eq!((slot, epoch, owner.as_str().to_owned()), expected, "each ask is answered");
    }
    for _ in 0..100 {
        edge.watch(room).await;
    }
    edge.heartbeat().await;
    let mut told = 0;
    while !matches!(edge.next().await.expect("it stands"), link::FromOwner::Heartbeat) {
        told += 1;
    }
    assert!(told <= 1, "watches are answered once: {told}");
    let counts = cluster.server("b").counts();
    assert_eq!((counts.asks_moved, counts.asks_refused, counts.rooms_open), (3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_takeover_of_many_rooms_opens_none() {
    let journal = Memory::with_slots(SLOTS);
    let mut cluster = cluster(&journal, &["a", "b"]);
    let mut edge = cluster.edge("a", "e1").await;
    let mut asked = Vec::new();
    for number in 0..10_000 {
        let room = room(&format!("r{number}"));
        asked.push(edge.ask(&room, person("ann"), post(&room, "first-one", "text")).await);
        if asked.len() == 500 {
            for id in asked.drain(..) {
                assert!(matches!(edge.answer(id).await, Answer::Published { seq: 1, .. }));
            }
        }
    }
    assert_eq!(cluster.server("a").counts().rooms_open, 10_000);
    settle().await;
    let reads = journal.rows_read();
    cluster.kill("a");
    for slot in 0..SLOTS {
        cluster.owned_by(slot, "b").await;
    }
    while cluster.server("b").counts().slots_serving < u64::from(SLOTS) {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(cluster.server("b").counts().rooms_open, 0);
    journal.head(&room("none")).await.expect("readable");
    let reads = journal.rows_read() - reads;
    assert!(reads < 1_000, "{reads} rows were read");
    let mut edge = cluster.edge("b", "e1").await;
    assert_eq!(edge.watching(&room("r77")).await.head, 1);
    assert_eq!(cluster.server("b").counts().rooms_open, 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_takeover_presence_is_collected_in_silence() {
    let journal = Memory::with_slots(SLOTS);
    let mut cluster = cluster(&journal, &["a", "b"]);
    let room = &rooms(1)[0];
    let slot = cluster.slot_of(room);
    Talker::join(&cluster, "a", "ann", room).await.talk(&cluster, 1).await;
    settle().await;
    cluster.kill("a");
    cluster.owned_by(slot, "b").await;
    let mut edge = cluster.edge("b", "e1").await;
    edge.watch(room).await;
    let watching = edge.fed(|fed| matches!(fed, Fed::Watching { .. })).await;
    assert!(matches!(watching, Fed::Watching { presence: None, .. }), "{watching:?}");
}
