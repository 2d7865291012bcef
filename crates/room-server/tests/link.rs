//! What an edge sees of a room server, over a pipe.

mod common;

use common::{Edge, Owner, attach, config, content, person, post, room};
use journal::Memory;
use link::FromOwner;
use model::{
    Answer, AskBody, ContentState, Fed, Mark, RefusalCode, StateKey, UnsubscribedCode, UserId,
};
use room_server::{Config, RetentionRule};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn a_publish_is_fed_to_all_edges_and_answered_to_one() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let (mut one, mut two) = (owner.edge("e1").await, owner.edge("e2").await);
    let room = room("team:ops");
    assert_eq!(one.watching(&room).await.head, 0);
    assert_eq!(two.watching(&room).await.head, 0);

    assert_eq!(one.published(&room, "first-one", "hello").await, 1);
    for edge in [&mut one, &mut two] {
        let entries = edge.entries(1).await;
        assert_eq!((entries[0].seq, entries[0].ordinal), (1, 1));
    }
    let again = one.publish(&room, "first-one", "hello").await;
    assert!(matches!(again, Answer::Published { seq: 1, duplicate: true, .. }), "{again:?}");
    let counts = owner.server.counts();
    assert_eq!((counts.entries, counts.streams, counts.rooms_open), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_in_one_go_keeps_its_order_and_shares_appends() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let rooms = [room("a"), room("b"), room("c")];
    let held = journal.hold_appends().await;
    let mut asked = Vec::new();
    for number in 0..100 {
        for room in &rooms {
            let body = post(room, &format!("message-{number}"), "text");
            asked.push((number + 1, edge.ask(room, person("ann"), body).await));
        }
    }
    drop(held);
    for (seq, id) in asked {
        let answer = edge.answer(id).await;
        assert!(matches!(answer, Answer::Published { seq: s, .. } if s == seq), "{answer:?}");
    }
    let counts = owner.server.counts();
    assert_eq!(counts.entries, 300);
    assert!(counts.appends < 30, "{} appends", counts.appends);
}

#[tokio::test(start_paused = true)]
async fn an_append_of_unknown_outcome_is_settled_by_a_claim() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let room = room("team:ops");
    edge.watching(&room).await;
    edge.published(&room, "first-one", "1").await;

    journal.fail_next(journal::Fault::UnknownApplied);
    assert_eq!(edge.published(&room, "second-one", "2").await, 2);
    journal.fail_next(journal::Fault::UnknownLost);
    let lost = edge.publish(&room, "third-one", "3").await;
    assert!(matches!(&lost, Answer::Refused(no) if no.is_retryable()), "{lost:?}");
    assert_eq!(edge.published(&room, "third-one", "3").await, 3);

    let seqs: Vec<u64> = edge.entries(3).await.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
    let counts = owner.server.counts();
    assert_eq!((counts.appends_unknown, counts.claims, counts.fenced), (2, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fenced_owner_detaches_its_readers_and_comes_back_as_the_registry_still_names_it() {
    use journal::Journal as _;
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let room = room("team:ops");
    edge.watching(&room).await;
    edge.published(&room, "first-one", "1").await;

    let slot = cluster::slot_of(&room, 4);
    journal.claim(slot, 9, 77).await.expect("a higher epoch is taken");
    let refused = edge.publish(&room, "second-one", "2").await;
    assert!(matches!(&refused, Answer::Refused(no) if no.is_retryable()), "{refused:?}");
    let ended = edge.fed(|fed| matches!(fed, Fed::Unwatched { .. })).await;
    assert!(
        matches!(&ended, Fed::Unwatched { why, .. }
            if why.code == UnsubscribedCode::Unavailable && why.retry_after_ms.is_some()),
        "{ended:?}"
    );
    assert_eq!(edge.watching(&room).await.head, 1);
    assert_eq!(edge.published(&room, "second-one", "2").await, 2);
    assert_eq!(owner.server.counts().fenced, 1);
}

#[tokio::test(start_paused = true)]
async fn a_superseded_owner_is_found_out_within_a_second_though_nobody_publishes() {
    use journal::Journal as _;
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let room = room("team:ops");
    edge.watching(&room).await;
    let before = tokio::time::Instant::now();
    journal.claim(cluster::slot_of(&room, 4), 9, 77).await.expect("a higher epoch is taken");
    edge.fed(|fed| matches!(fed, Fed::Unwatched { .. })).await;
    assert!(before.elapsed() <= Duration::from_millis(1_100), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_verify_its_fences_for_three_seconds_detaches_its_readers() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let room = room("team:ops");
    edge.watching(&room).await;
    edge.published(&room, "first-one", "1").await;
    let before = tokio::time::Instant::now();
    journal.fail_reads(Some(journal::ReadError::Unavailable("as ordered".into())));
    edge.fed(|fed| matches!(fed, Fed::Unwatched { .. })).await;
    let took = before.elapsed();
    assert!(took >= Duration::from_secs(2) && took <= Duration::from_secs(5), "{took:?}");
    let refused = edge.publish(&room, "second-one", "2").await;
    assert!(matches!(&refused, Answer::Refused(no) if no.is_retryable()), "{refused:?}");

    journal.fail_reads(None);
    sleep(Duration::from_secs(2)).await;
    edge.heartbeat().await;
    assert_eq!(edge.watching(&room).await.head, 1);
    assert_eq!(edge.published(&room, "second-one", "2").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_publishes_serves_readers_and_recovers() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let room = room("team:ops");
    edge.watching(&room).await;
    edge.published(&room, "first-one", "1").await;
    journal.set_full(true);
    let refused = edge.publish(&room, "second-one", "2").await;
    assert!(
        matches!(&refused, Answer::Refused(no)
            if no.code == RefusalCode::StorageFull && no.is_retryable()),
        "{refused:?}"
    );
    let attached = edge.asked(&room, person("bob"), attach()).await;
    assert!(matches!(attached, Answer::Subscribed(_)), "{attached:?}");
    assert_eq!(edge.watching(&room).await.head, 1);
    journal.set_full(false);
    assert_eq!(edge.published(&room, "second-one", "2").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_cannot_be_claimed_for_want_of_space_says_so_and_recovers() {
    let journal = Memory::with_slots(4);
    journal.set_full(true);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let room = room("team:ops");
    let refused = edge.publish(&room, "first-one", "1").await;
    assert!(
        matches!(&refused, Answer::Refused(no) if no.code == RefusalCode::StorageFull),
        "{refused:?}"
    );
    journal.set_full(false);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(edge.published(&room, "first-one", "1").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_claims_past_the_epoch_of_its_former_self_and_knows_everything() {
    let journal = Memory::with_slots(4);
    let room = room("team:ops");
    for process in 1..=3 {
        let owner = Owner::start(&journal, config("n1"), process);
        let mut edge = owner.edge("e1").await;
        assert_eq!(edge.watching(&room).await.head, process - 1);
        let id = format!("message-{process}");
        assert_eq!(edge.published(&room, &id, "text").await, process);
        let again = edge.publish(&room, "message-1", "text").await;
        assert!(matches!(again, Answer::Published { seq: 1, duplicate: true, .. }), "{again:?}");
        journal.restart();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_of_a_node_that_lives_is_left_to_it_and_taken_over_when_it_has_left() {
    let journal = Memory::with_slots(4);
    let one = Owner::start(&journal, config("n1"), 1);
    let two = Owner::join(&journal, config("n2"), 2, one.registry.join(common::node("n2")));
    let room = room("team:ops");
    one.edge("e1").await.published(&room, "first-one", "1").await;
    let mut edge = two.edge("e2").await;
    edge.ask(&room, person("ann"), post(&room, "second-one", "2")).await;
    let (slot, _, owner) = edge.moved().await;
    assert_eq!((slot, owner.as_str()), (cluster::slot_of(&room, 4), "n1"));
    cluster::Registry::leave(&one.registry).await.expect("reachable");
    assert_eq!(edge.published(&room, "second-one", "2").await, 2);
    let mut old = one.edge("e3").await;
    old.ask(&room, person("ann"), post(&room, "third-one", "3")).await;
    let (_, epoch, owner) = old.moved().await;
    assert_eq!((epoch, owner.as_str()), (2, "n2"), "whoever was superseded says who is there now");
    assert_eq!((one.server.counts().fenced, one.server.counts().slots_serving), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn segments_end_at_head_and_name_the_log_they_are_of() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let room = room("team:ops");
    for number in 1..=100 {
        edge.published(&room, &format!("message-{number}"), "text").await;
    }
    let log = edge.watching(&room).await.log;
    let reply = edge.segment(&room, log.as_str(), 1).await.expect("served");
    let seqs: Vec<u64> = reply.entries.iter().map(|entry| entry.seq).collect();
    assert_eq!((reply.first, seqs), (1, (1..=64).collect()));
    let reply = edge.segment(&room, log.as_str(), 65).await.expect("served");
    assert_eq!(reply.entries.last().map(|entry| entry.seq), Some(100));
    let reply = edge.segment(&room, log.as_str(), 101).await.expect("served");
    assert!(reply.entries.is_empty());
    let status = edge.segment(&room, "another", 1).await.expect_err("refused");
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    let status = edge.segment(&room, log.as_str(), 1).await.err();
    assert!(status.is_none(), "the channel still stands");
}

#[tokio::test(start_paused = true)]
async fn retention_trims_under_a_reader_who_is_told() {
    let keep =
        |pattern: &str, rule: RetentionRule| RetentionRule { pattern: pattern.into(), ..rule };
    let retention = vec![
        keep("count:*", RetentionRule { entries_max: Some(10), ..RetentionRule::default() }),
        keep("age:*", RetentionRule { age_ms: Some(90_000), ..RetentionRule::default() }),
        keep("bytes:*", RetentionRule { bytes_max: Some(2_000), ..RetentionRule::default() }),
    ];
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, Config { retention, ..config("n1") }, 1);
    let mut edge = owner.edge("e1").await;
    let rooms = [room("count:a"), room("age:a"), room("bytes:a"), room("kept:a")];
    for name in &rooms {
        edge.watching(name).await;
        for number in 1..=20 {
            edge.published(name, &format!("message-{number}"), &"x".repeat(100)).await;
        }
    }
    for _ in 0..14 {
        sleep(Duration::from_secs(5)).await;
        edge.heartbeat().await;
    }
    for name in &rooms {
        edge.published(name, "message-21", &"x".repeat(100)).await;
    }
    for _ in 0..14 {
        sleep(Duration::from_secs(5)).await;
        edge.heartbeat().await;
    }
    let mut firsts = Vec::new();
    for name in &rooms {
        firsts.push(edge.watching(name).await.first);
    }
    assert_eq!((firsts[0], firsts[1], firsts[3]), (12, 21, 1));
    assert!((2..21).contains(&firsts[2]), "{firsts:?}");
    let trimmed = edge.fed(|fed| matches!(fed, Fed::Trimmed { .. })).await;
    assert!(matches!(trimmed, Fed::Trimmed { first, .. } if first > 1), "{trimmed:?}");

    let log = edge.watching(&rooms[0]).await.log;
    let reply = edge.segment(&rooms[0], log.as_str(), 1).await.expect("served");
    assert_eq!((reply.first, reply.entries.len()), (12, 0));
    assert_eq!(edge.published(&rooms[0], "message-22", "text").await, 22);
}

#[tokio::test]
async fn an_edge_that_does_not_read_loses_its_stream_and_the_others_go_on() {
    let journal = Memory::with_slots(4);
    let config = Config { stream_bytes_max: 1024 * 1024, ..config("n1") };
    let owner = Owner::start(&journal, config, 1);
    let (mut slow, mut fast) = (owner.edge("slow").await, owner.edge("fast").await);
    let room = room("team:ops");
    slow.watching(&room).await;
    fast.watching(&room).await;
    let text = "x".repeat(16 * 1024);
    let mut published = 0;
    while owner.server.counts().streams_overrun == 0 && published < 2_000 {
        published += 1;
        fast.published(&room, &format!("message-{published}"), &text).await;
        fast.entries(1).await;
        // The slow edge's connection notices once it is polled for more.
        if published > 200 {
            let _ = slow.next().await;
        }
    }
    assert_eq!(owner.server.counts().streams_overrun, 1);
    let end = slow.end().await.expect("it is told why");
    assert_eq!(end.code(), tonic::Code::ResourceExhausted);
    assert_eq!(fast.published(&room, "the-last-one", "text").await, published + 1);

    let mut again = owner.edge("slow").await;
    assert_eq!(again.watching(&room).await.head, published + 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_starts_its_readers_grace_and_a_new_one_ends_it() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let room = room("team:ops");
    let mut stays = owner.edge("e1").await;
    stays.watching(&room).await;
    let roster = |answer: Answer| match answer {
        Answer::Presence(roster) => roster.count,
        other => panic!("{other:?}"),
    };
    let mut leaves = owner.edge("e2").await;
    leaves.asked(&room, person("bob"), attach()).await;
    assert_eq!(roster(stays.asked(&room, person("ann"), AskBody::Presence).await), 1);
    drop(leaves);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(roster(stays.asked(&room, person("ann"), AskBody::Presence).await), 1);
    let mut back = owner.edge("e2").await;
    back.asked(&room, person("bob"), attach()).await;
    for _ in 0..4 {
        sleep(Duration::from_secs(5)).await;
        stays.heartbeat().await;
        back.heartbeat().await;
    }
    assert_eq!(roster(stays.asked(&room, person("ann"), AskBody::Presence).await), 1);
    drop(back);
    for _ in 0..4 {
        sleep(Duration::from_secs(5)).await;
        stays.heartbeat().await;
    }
    assert_eq!(roster(stays.asked(&room, person("ann"), AskBody::Presence).await), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_writes_marks_answers_what_was_taken_in_and_takes_in_nothing_more() {
    use journal::Journal as _;
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    let room = room("team:ops");
    edge.published(&room, "first-one", "1").await;
    edge.asked(&room, person("bob"), AskBody::Mark { seq: 1 }).await;
    let held = journal.hold_appends().await;
    let waiting = edge.ask(&room, person("ann"), post(&room, "second-one", "2")).await;
    while journal.appends_in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    let drained = owner.server.drain(Duration::from_secs(5));
    let ((), drained) = tokio::join!(async move { drop(held) }, drained);
    assert!(drained);
    let answer = edge.answer(waiting).await;
    assert!(matches!(answer, Answer::Published { seq: 2, .. }), "{answer:?}");
    let refused = edge.publish(&room, "third-one", "3").await;
    assert!(matches!(&refused, Answer::Refused(no) if no.is_retryable()), "{refused:?}");
    let key = StateKey::Mark(UserId::new("bob").expect("valid"));
    let states = journal.states(&room, vec![key]).await.expect("readable");
    let mark = states[0].as_ref().and_then(|bytes| Mark::from_bytes(bytes));
    assert_eq!(mark, Some(Mark { seq: 1, ordinal: 1 }));
}

#[tokio::test(start_paused = true)]
async fn rooms_that_nobody_uses_are_closed() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    for number in 0..50 {
        edge.published(&room(&format!("r{number}")), "first-one", "text").await;
    }
    assert_eq!(owner.server.counts().rooms_open, 50);
    edge.watching(&room("r7")).await;
    for _ in 0..30 {
        sleep(Duration::from_secs(5)).await;
        edge.heartbeat().await;
    }
    assert_eq!(owner.server.counts().rooms_open, 1);
    assert_eq!(edge.published(&room("r8"), "second-one", "text").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_the_order_of_frames_or_falls_silent_is_ended() {
    let journal = Memory::with_slots(4);
    let owner = Owner::start(&journal, config("n1"), 1);
    let mut rude = Edge::silent(owner.channel().await).await;
    rude.heartbeat().await;
    let status = rude.end().await.expect("it is told why");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);

    let mut silent = Edge::silent(owner.channel().await).await;
    let status = silent.end().await.expect("it is told why");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(owner.server.counts().streams, 0);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_answered() {
    let owner = Owner::start(&Memory::with_slots(4), config("n1"), 1);
    let mut edge = owner.edge("e1").await;
    edge.heartbeat().await;
    assert_eq!(edge.next().await.ok(), Some(FromOwner::Heartbeat));
    assert!(!content("text").body.is_empty());
}
