//! A slot goes from one room server to another while people talk.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::nodes::Cluster;
use common::talker::Talker;
use common::{person, post, room};
use journal::{Journal as _, Memory, ReadError};
use wire::link::MoveRequest;

const SLOTS: u32 = 4;

/// Two nodes, of which `a` owns the room's slot.
async fn pair(journal: &Memory) -> Cluster {
    let mut cluster = Cluster::new(SLOTS);
    cluster.start("a", Arc::new(journal.clone()), 1);
    cluster.start("b", Arc::new(journal.clone()), 2);
    cluster
}

async fn give(cluster: &Cluster, room: &model::RoomName, from: &str, to: &str) -> u64 {
    let request = MoveRequest { slot: cluster.slot_of(room), to: to.to_owned() };
    let reply = cluster.operator(from).r#move(request).await.expect("given");
    reply.into_inner().epoch
}

/// A handoff that comes to nothing; why.
async fn refused(cluster: &Cluster, room: &model::RoomName, to: &str) -> String {
    let request = MoveRequest { slot: cluster.slot_of(room), to: to.to_owned() };
    let reply = cluster.operator("a").r#move(request).await;
    reply.expect_err("nobody took it").message().to_owned()
}

/// What the journal holds: every id that was answered, at its seq, once, and each talker's in order.
async fn check(journal: &Memory, room: &model::RoomName, talkers: &[Talker]) {
    let head = journal.head(room).await.expect("readable").expect("born").head;
    let rows = journal.ids(room, 1, head).await.expect("readable");
    let total: usize = talkers.iter().map(|talker| talker.answered.len()).sum();
    assert_eq!(rows.len(), total, "every message once");
    for talker in talkers {
        for (id, seq) in &talker.answered {
            assert_eq!(rows[*seq as usize - 1].id.as_str(), id, "it stays where it was answered");
        }
        let seqs: Vec<u64> = talker.answered.iter().map(|(_, seq)| *seq).collect();
        assert!(seqs.is_sorted(), "one session's messages keep their order");
        assert_eq!(talker.seen, head, "everybody sees everything");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_goes_back_and_forth_while_people_talk_and_nothing_is_lost_or_refused() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = pair(&journal).await;
    let room = room("team:ops");
    let mut talkers = Vec::new();
    for name in ["ann", "bob", "cleo"] {
        talkers.push(Talker::join(&cluster, "a", name, &room).await);
    }
    let talk = async {
        let talking = talkers.iter_mut().map(|talker| async {
            while talker.moves < 10 {
                talker.talk(&cluster, 50).await;
            }
        });
        futures_util::future::join_all(talking).await;
    };
    let moving = async {
        for (from, to) in [("a", "b"), ("b", "a")].into_iter().cycle() {
            give(&cluster, &room, from, to).await;
            // The clock stands still while anybody talks.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        () = talk => {}
        () = moving => unreachable!("it goes on for ever"),
    }
    let total = talkers.iter().map(|talker| talker.answered.len() as u64).sum();
    for talker in &mut talkers {
        talker.listen(&cluster, total).await;
        assert_eq!(talker.refused, 0);
    }
    check(&journal, &room, &talkers).await;
    let (a, b) = (cluster.server("a").counts(), cluster.server("b").counts());
    assert!(a.given + b.given >= 10, "{a:?} {b:?}");
    assert_eq!(a.given_failed + b.given_failed + a.fenced + b.fenced, 0);
    assert_eq!(a.rooms_hinted + b.rooms_hinted, a.taken + b.taken, "{a:?} {b:?}");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_was_handed_over_is_opened_without_the_journal() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = pair(&journal).await;
    let room = room("team:ops");
    let mut ann = Talker::join(&cluster, "a", "ann", &room).await;
    ann.talk(&cluster, 10).await;
    journal.fail_reads(Some(ReadError::Unavailable("as ordered".into())));
    give(&cluster, &room, "a", "b").await;
    ann.talk(&cluster, 10).await;
    assert_eq!((ann.at.as_str(), ann.refused, ann.answered.len()), ("b", 0, 20));
    assert_eq!(cluster.server("b").counts().rooms_hinted, 1);
    journal.fail_reads(None);
}

#[tokio::test(start_paused = true)]
async fn presence_does_not_flap_when_a_slot_is_handed_over() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = pair(&journal).await;
    let room = room("team:ops");
    let mut talkers = Vec::new();
    for name in ["ann", "bob", "cleo"] {
        talkers.push(Talker::join(&cluster, "a", name, &room).await);
    }
    let mut watcher = Talker::join(&cluster, "a", "dan", &room).await;
    watcher.talk(&cluster, 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    watcher.talk(&cluster, 1).await;
    watcher.rosters.clear();
    watcher.changes.clear();
    give(&cluster, &room, "a", "b").await;
    for talker in talkers.iter_mut().chain([&mut watcher]) {
        talker.talk(&cluster, 1).await;
        assert_eq!(talker.at, "b");
    }
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        watcher.talk(&cluster, 1).await;
        for talker in &talkers {
            talker.live().await;
        }
    }
    assert_eq!(watcher.rosters.len(), 1, "{:?}", watcher.rosters);
    assert_eq!(watcher.rosters[0].count, 4, "everybody is there from the start");
    assert_eq!(watcher.changes, [], "and nobody comes or goes");
}

#[tokio::test(start_paused = true)]
async fn a_handoff_to_a_node_that_is_dead_or_silent_comes_to_nothing_and_nothing_is_lost() {
    let journal = Memory::with_slots(SLOTS);
    let mut cluster = pair(&journal).await;
    let room = room("team:ops");
    let mut ann = Talker::join(&cluster, "a", "ann", &room).await;
    ann.talk(&cluster, 10).await;

    cluster.net.flow("b", false);
    let giving = refused(&cluster, &room, "b");
    let talking = async {
        for _ in 0..100 {
            ann.talk(&cluster, 1).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (why, ()) = tokio::join!(giving, talking);
    assert!(why.contains("no answer"), "{why}");
    assert_eq!((ann.moves, ann.refused), (0, 0), "words are held and go on");

    cluster.kill("b");
    let why = refused(&cluster, &room, "b").await;
    ann.talk(&cluster, 10).await;
    assert_eq!((ann.seen, ann.moves, ann.refused), (120, 0, 0), "{why}");
    let why = refused(&cluster, &room, "nobody").await;
    assert!(why.contains("not there"), "{why}");
    let a = cluster.server("a").counts();
    assert_eq!((a.given, a.given_failed, a.claims, a.slots_serving), (0, 2, 3, 1), "{a:?}");
    check(&journal, &room, &[ann]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_takes_nothing() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = pair(&journal).await;
    let room = room("team:ops");
    let mut ann = Talker::join(&cluster, "a", "ann", &room).await;
    ann.talk(&cluster, 3).await;
    assert!(cluster.server("b").drain(Duration::from_secs(5)).await);
    let why = refused(&cluster, &room, "b").await;
    assert!(why.contains("leaving"), "{why}");
    ann.talk(&cluster, 3).await;
    assert_eq!((ann.moves, ann.refused), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_taker_that_could_not_answer_in_time_serves_what_it_claimed() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = pair(&journal).await;
    let room = room("team:ops");
    let slot = cluster.slot_of(&room);
    let mut ann = Talker::join(&cluster, "a", "ann", &room).await;
    ann.talk(&cluster, 10).await;
    // The taker hears everything, and its answers are late.
    cluster.net.answer("b", false);
    let epoch = give(&cluster, &room, "a", "b").await;
    assert_eq!(cluster.record(slot).expect("owned").epoch, epoch, "the registry told it");
    cluster.net.answer("b", true);
    ann.talk(&cluster, 10).await;
    assert_eq!((ann.at.as_str(), ann.seen, ann.refused), ("b", 20, 0));
    assert_eq!(cluster.server("a").counts().slots_serving, 0);
    check(&journal, &room, &[ann]).await;
}

#[tokio::test(start_paused = true)]
async fn hints_that_somebody_overtook_do_not_count() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = pair(&journal).await;
    let room = room("team:ops");
    let slot = cluster.slot_of(&room);
    let mut ann = Talker::join(&cluster, "a", "ann", &room).await;
    ann.talk(&cluster, 3).await;
    let epoch = cluster.record(slot).expect("owned").epoch;
    // Someone tells of a fence that is not the last one.
    let request = wire::link::TransferRequest {
        slot,
        from: "a".to_owned(),
        epoch,
        fence: 77,
        rooms: vec![wire::link::RoomHints {
            room: room.as_str().to_owned(),
            log: "lies".to_owned(),
            head: 900,
            first: 1,
            ordinal: 900,
            ..wire::link::RoomHints::default()
        }],
        partial: false,
    };
    let reply = cluster.operator("b").transfer(request).await.expect("answered").into_inner();
    assert!(reply.outcome.is_some());
    ann.talk(&cluster, 3).await;
    assert_eq!((ann.at.as_str(), ann.seen), ("b", 6));
    assert_eq!(cluster.server("b").counts().rooms_hinted, 0);
    check(&journal, &room, &[ann]).await;
}

#[tokio::test(start_paused = true)]
async fn drain_gives_every_slot_away_while_people_talk() {
    let journal = Memory::with_slots(SLOTS);
    let mut cluster = pair(&journal).await;
    cluster.start("c", Arc::new(journal.clone()), 3);
    let mut talkers = Vec::new();
    for number in 0..40 {
        let room = room(&format!("room-{number}"));
        let mut talker = Talker::join(&cluster, "a", "ann", &room).await;
        talker.talk(&cluster, 5).await;
        talkers.push((room, talker));
    }
    assert_eq!(cluster.server("a").counts().slots_serving, u64::from(SLOTS));
    let drained = async { cluster.server("a").drain(Duration::from_secs(5)).await };
    let talking = talkers.iter_mut().map(|(_, talker)| async {
        while talker.moves == 0 {
            talker.talk(&cluster, 5).await;
        }
    });
    let (drained, _) = tokio::join!(drained, futures_util::future::join_all(talking));
    assert!(drained, "{:?}", cluster.server("a").counts());
    for (room, talker) in talkers {
        assert_eq!(talker.refused, 0);
        assert_ne!(talker.at, "a");
        check(&journal, &room, &[talker]).await;
    }
    let a = cluster.server("a").counts();
    assert_eq!((a.given, a.given_failed, a.slots_serving, a.rooms_open), (4, 0, 0, 0), "{a:?}");
    let view = cluster::Registry::view(&cluster.registry);
    assert!(view.nodes[&model::NodeId::new("a").expect("valid")].draining, "and says so");
}

#[tokio::test(start_paused = true)]
async fn operators_see_the_busiest_rooms_first() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = pair(&journal).await;
    let (busy, quiet) = (room("busy"), room("quiet"));
    for name in ["ann", "bob", "cleo"] {
        Talker::join(&cluster, "a", name, &busy).await.talk(&cluster, 1).await;
    }
    let mut held = Vec::new();
    for name in ["ann", "bob"] {
        held.push(Talker::join(&cluster, "a", name, &busy).await);
    }
    held.push(Talker::join(&cluster, "a", "ann", &quiet).await);
    let request = wire::link::RoomsRequest { limit: 1 };
    let rooms = cluster.operator("a").rooms(request).await.expect("told").into_inner().rooms;
    assert_eq!(rooms.len(), 1);
    assert_eq!((rooms[0].room.as_str(), rooms[0].head), ("busy", 3));
    assert_eq!((rooms[0].present, rooms[0].edges >= 2), (3, true));
}

/// The simulation's seed 7: a slot was to be given away while the journal was slow. Once the flush had taken
/// its hundred milliseconds, its timer lay in the past, and the slot's task span until the append ended.
#[tokio::test(start_paused = true)]
async fn a_handoff_that_waits_for_a_slow_append_waits_without_spinning() {
    let journal = Memory::with_slots(SLOTS);
    let cluster = pair(&journal).await;
    let room = room("team:ops");
    let mut ann = cluster.edge("a", "e1").await;
    ann.published(&room, "first-message", "one").await;
    let slow = journal.hold_appends().await;
    let id = ann.ask(&room, person("ann"), post(&room, "second-message", "two")).await;
    while journal.appends_in_flight() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let request = MoveRequest { slot: cluster.slot_of(&room), to: "b".to_owned() };
    let mut operator = cluster.operator("a");
    let moving = tokio::spawn(async move { operator.r#move(request).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::advance(Duration::from_millis(200)).await;
    let turn = || async {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    };
    turn().await;
    let before = cluster.looks.load(Ordering::Relaxed);
    turn().await;
    let looks = cluster.looks.load(Ordering::Relaxed) - before;
    assert!(looks < 100, "{looks} looks at the clock while nothing happened");
    drop(slow);
    moving.await.expect("runs").expect("given");
    assert!(matches!(ann.answer(id).await, model::Answer::Published { seq: 2, .. }));
}
