//! A slot goes from one room server to another while people talk.

mod common;

use std::sync::Arc;

use common::nodes::Cluster;
use common::room;
use common::talker::Talker;
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
