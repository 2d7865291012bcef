//! What travels beside the log: presence, signals, summaries.

use bytes::Bytes;
use model::*;
use session::log::{SessionKey, WireKind};

use crate::shard::*;

fn roster(ids: &[&str]) -> Roster {
    Roster { count: ids.len() as u64, users: ids.iter().map(|id| user(id)).collect() }
}

fn arrival(id: &str, count: u64) -> Fed {
    let change = PresenceChange::Delta { count, arrived: vec![user(id)], departed: vec![] };
    Fed::Presence { watch: 1, change }
}

fn signal(kind: &str) -> Fed {
    Fed::Signal { watch: 1, from: user("bob"), kind: kind.into(), data: Bytes::new() }
}

fn reader(shard: &mut Shard, id: &str, rights: Rights) -> SessionKey {
    let identity = identity(id, Roles(vec![("*".into(), rights)]));
    let key = shard.open_with(WireKind::WebSocketJson, identity, vec![subscribe("r", None)]);
    shard.attached(key, snapshot("L", 10, SnapshotReason::New));
    key
}

#[test]
fn subscribed_states_who_is_present_and_changes_count_on_from_there() {
    let mut shard = Shard::new(Limits::default());
    let ann = reader(&mut shard, "ann", Rights::OPEN);
    shard.fed("r", watching(1, info("L", 1, 10), Some(roster(&["ann"]))));
    shard.fed("r", arrival("bob", 2));
    let bob = reader(&mut shard, "bob", Rights::OPEN);
    shard.fed("r", arrival("cid", 3));
    let reads = shard.reads(ann);
    assert_eq!(reads[1], "subscribed r L/10 snapshot new - 0", "while collecting it is left out");
    let pushes = [
        "presence r 1 full 1 [ann] 0",
        "presence r 2 delta 2 [bob] [] 0",
        "presence r 3 delta 3 [cid] [] 0",
    ];
    assert_eq!(reads[2..], pushes);
    let reads = shard.reads(bob);
    assert_eq!(reads[1], "subscribed r L/10 snapshot new 2:2:[ann,bob] 0");
    assert_eq!(reads[2..], pushes[2..]);
}

#[test]
fn presence_is_for_those_who_may_see_it_and_signals_for_all_readers() {
    let mut shard = Shard::new(Limits::default());
    let read = Rights::NONE.with(Right::Read);
    let ann = reader(&mut shard, "ann", read);
    shard.fed("r", watching(1, info("L", 1, 10), Some(roster(&["ann"]))));
    shard.reads(ann);
    shard.fed("r", arrival("bob", 2));
    shard.fed("r", signal("typing"));
    assert_eq!(shard.reads(ann), ["signal r bob typing 0"]);
    // With the right comes the whole roster.
    shard.say(ann, 2, ClientSays::Authenticate { token: "x".into() });
    shard.identify(ann, Ok(identity("ann", Roles::open())));
    let want = ["authenticated None 2", "rights r 15 0", "presence r 2 full 2 [ann,bob] 0"];
    assert_eq!(shard.reads(ann), want);
}

#[test]
fn who_falls_behind_the_ring_gets_one_full_roster_and_the_signals_are_gone() {
    let mut shard = Shard::new(Limits::default());
    let ann = reader(&mut shard, "ann", Rights::OPEN);
    shard.fed("r", watching(1, info("L", 1, 10), Some(roster(&["ann"]))));
    shard.reads(ann);
    shard.peers.get_mut(&ann).unwrap().socket.window = 0;
    shard.fed("r", arrival("bob", 2));
    (0..100).for_each(|_| shard.fed("r", signal("typing")));
    shard.fed("r", entries("r", "L", 11..=11));
    shard.peers.get_mut(&ann).unwrap().socket.window = usize::MAX;
    shard.turn();
    let want = ["presence r 2 full 2 [ann,bob] 0", "message r L 11 text"];
    assert_eq!(shard.reads(ann), want);
    shard.fed("r", arrival("cid", 3));
    assert_eq!(shard.reads(ann), ["presence r 3 delta 3 [cid] [] 0"]);
}

fn list(shard: &mut Shard, id: &str) -> SessionKey {
    let wish = Subscribe { summary: true, ..subscribe("r", None) };
    shard.open(id, vec![wish])
}

fn last(seq: Seq, text: &str) -> FoldedPost {
    let payload = entry_of("r", "L", seq, seq, ContentKind::Post, text).payload;
    FoldedPost { payload, edit: None, reactions: vec![] }
}

fn summary(head: Seq) -> Answer {
    let mark = Some(Mark { seq: 4, ordinal: 4 });
    let last = Some(last(head, "text"));
    Answer::Summary(Summary { log: log_id("L"), head, ordinal: head, mark, last })
}

#[test]
fn a_list_is_told_of_a_room_at_most_once_a_second() {
    let mut shard = Shard::new(Limits::default());
    let readers: Vec<_> = (0..10).map(|n| list(&mut shard, &format!("u{n}"))).collect();
    shard.fed("r", watching(1, info("L", 1, 10), None));
    for reader in &readers {
        assert!(shard.reply(*reader, |_| Some(summary(10))));
        assert_eq!(shard.reads(*reader)[1], "summary r 10 10 r_L_10_text 0");
    }
    for seq in 11..=50 {
        shard.fed("r", entries("r", "L", seq..=seq));
        shard.now = shard.now.plus_ms(10);
    }
    shard.after_ms(1_000);
    for reader in &readers {
        let want = ["summary r 11 11 r_L_11_text 0", "summary r 50 50 r_L_50_text 0"];
        assert_eq!(shard.reads(*reader), want);
    }
    let asks = shard.asks.iter().filter(|(.., ask)| matches!(ask.body, AskBody::Attach { .. }));
    assert_eq!(asks.count(), 0, "nobody became present");
}

/// What else than a post there may be, at `seq`, behind ten posts.
fn change(seq: Seq, kind: ContentKind) -> Fed {
    Fed::Entries {
        watch: 1,
        log: log_id("L"),
        entries: vec![entry_of("r", "L", seq, 10, kind, "x")],
    }
}

fn told(head: Seq, text: &str) -> Answer {
    let last = Some(last(10, text));
    Answer::Summary(Summary { log: log_id("L"), head, ordinal: 10, mark: None, last })
}

/// Three who list `r`, which is at 10.
fn listeners(shard: &mut Shard) -> Vec<SessionKey> {
    let readers: Vec<_> = (0..3).map(|n| list(shard, &format!("u{n}"))).collect();
    shard.fed("r", watching(1, info("L", 1, 10), None));
    for reader in &readers {
        shard.reply(*reader, |_| Some(summary(10)));
        shard.reads(*reader);
    }
    readers
}

/// The push after an edit told the new head beside the old text, for as long as nobody posted: only
/// posts were taken from the log, and nobody asked the owner what an edit made of the newest one.
#[test]
fn a_change_of_the_newest_post_is_told_as_the_owner_folds_it() {
    for kind in [ContentKind::Edit, ContentKind::Reaction, ContentKind::Redact] {
        let mut shard = Shard::new(Limits::default());
        let readers = listeners(&mut shard);
        shard.fed("r", change(11, kind));
        let (asking, no, ask) = shard.asks.pop_front().expect("one asks");
        assert_eq!((&ask.body, shard.asks.len()), (&AskBody::Summary, 0), "{kind:?}");
        assert!(shard.reads(readers[0]).is_empty(), "{kind:?}: nothing is told before it is known");
        shard.answer(asking, no, told(11, "new"));
        for reader in &readers {
            assert_eq!(shard.reads(*reader), ["summary r 11 10 r_L_10_new 0"], "{kind:?}");
        }
    }
}

#[test]
fn a_newest_post_that_changes_all_the_time_is_asked_for_and_told_once_a_second() {
    let mut shard = Shard::new(Limits::default());
    let readers = listeners(&mut shard);
    let mut asks = 0;
    for seq in 11..=60 {
        shard.fed("r", change(seq, ContentKind::Reaction));
        // An answer is always behind the log, and told with the head that it speaks of.
        if let Some((asking, no, _)) = shard.asks.pop_front() {
            asks += 1;
            shard.fed("r", change(seq + 50, ContentKind::Reaction));
            shard.answer(asking, no, told(seq, &format!("as-of-{seq}")));
        }
        shard.after_ms(100);
    }
    let reads = shard.reads(readers[0]);
    assert!((5..=6).contains(&asks) && reads.len() == asks, "{asks} asks: {reads:?}");
    let is_consistent = |read: &String| {
        let head = read.split(' ').nth(2).expect("a head");
        read.ends_with(&format!("as-of-{head} 0"))
    };
    assert!(reads.iter().all(is_consistent), "{reads:?}");
}

#[test]
fn a_question_whose_asker_left_or_was_refused_is_asked_again() {
    let mut shard = Shard::new(Limits::default());
    let readers = listeners(&mut shard);
    shard.fed("r", change(11, ContentKind::Edit));
    let (first, ..) = shard.asks.pop_front().expect("one asks");
    shard.say(first, 2, ClientSays::Unsubscribe { room: room("r") });
    shard.after_ms(1);
    let (second, no, _) = shard.asks.pop_front().expect("another one asks");
    assert_ne!(first, second);
    shard.answer(second, no, Answer::Refused(Refusal::new(RefusalCode::Busy)));
    shard.after_ms(1_000);
    let (third, no, _) = shard.asks.pop_front().expect("it is asked again");
    shard.answer(third, no, told(11, "new"));
    let left = readers.into_iter().filter(|reader| *reader != first);
    left.for_each(|reader| assert_eq!(shard.reads(reader), ["summary r 11 10 r_L_10_new 0"]));
}

#[test]
fn an_answer_from_before_an_erasure_is_not_told() {
    let mut shard = Shard::new(Limits::default());
    let readers = listeners(&mut shard);
    shard.fed("r", change(11, ContentKind::Reaction));
    let (asking, no, _) = shard.asks.pop_front().expect("one asks");
    shard.fed("r", change(12, ContentKind::Redact));
    let tombstone = entry_of("r", "L", 10, 10, ContentKind::Tombstone, "gone");
    shard.fed("r", Fed::Erased { watch: 1, entries: vec![tombstone] });
    shard.answer(asking, no, told(11, "secret"));
    shard.after_ms(1_000);
    let (asking, no, _) = shard.asks.pop_front().expect("it is asked again");
    shard.answer(asking, no, told(12, "gone"));
    let reads = shard.reads(readers[0]);
    assert!(!reads.iter().any(|read| read.contains("secret")), "{reads:?}");
    assert_eq!(reads.last().map(String::as_str), Some("summary r 12 10 r_L_10_gone 0"));
}

#[test]
fn an_erased_post_is_blank_in_the_list() {
    let mut shard = Shard::new(Limits::default());
    let ann = list(&mut shard, "ann");
    shard.fed("r", watching(1, info("L", 1, 10), None));
    shard.reply(ann, |_| Some(summary(10)));
    let tombstone = entry_of("r", "L", 10, 10, ContentKind::Tombstone, "gone");
    shard.fed("r", Fed::Erased { watch: 1, entries: vec![tombstone] });
    assert_eq!(shard.reads(ann)[2], "summary r 10 10 r_L_10_gone 0");
}

#[test]
fn after_a_new_owner_one_reader_asks_what_the_newest_post_is_and_all_are_told() {
    let mut shard = Shard::new(Limits::default());
    let readers: Vec<_> = (0..3).map(|n| list(&mut shard, &format!("u{n}"))).collect();
    shard.fed("r", watching(1, info("L", 1, 10), None));
    for reader in &readers {
        shard.reply(*reader, |_| Some(summary(10)));
        shard.reads(*reader);
    }
    shard.fed("r", watching(2, info("L", 1, 20), None));
    assert_eq!(shard.asks.len(), 1);
    let (asking, no, _) = shard.asks.pop_front().unwrap();
    shard.answer(asking, no, summary(20));
    for reader in readers {
        assert_eq!(shard.reads(reader), ["summary r 20 20 r_L_20_text 0"]);
    }
}

#[test]
fn the_last_subscribe_decides_between_log_and_summary() {
    let mut shard = Shard::new(Limits::default());
    let ann = list(&mut shard, "ann");
    shard.fed("r", watching(1, info("L", 1, 10), None));
    shard.reply(ann, |_| Some(summary(10)));
    shard.say(ann, 2, ClientSays::Subscribe(subscribe("r", Some(("L", 10)))));
    shard.attached(ann, resumed("L", 10, 0));
    shard.fed("r", entries("r", "L", 11..=11));
    let reads = shard.reads(ann);
    assert_eq!(reads[2..], ["subscribed r L/10 resumed 0 - 2", "message r L 11 text"]);
    let wish = Subscribe { summary: true, ..subscribe("r", None) };
    shard.say(ann, 3, ClientSays::Subscribe(wish));
    assert!(shard.asks.iter().any(|(.., ask)| ask.body == AskBody::Detach { left: true }));
    shard.reply(ann, |ask| (ask.body == AskBody::Summary).then(|| summary(11)));
    shard.fed("r", entries("r", "L", 12..=12));
    let want = ["summary r 11 11 r_L_11_text 3", "summary r 12 12 r_L_12_text 0"];
    assert_eq!(shard.reads(ann), want);
}

fn post_of(id: &str) -> ClientSays {
    ClientSays::Publish(publish("r", id))
}

fn moved(seq: Seq) -> Fed {
    let user = user("ann").id;
    Fed::Marked { watch: 1, user, mark: Mark { seq, ordinal: seq } }
}

/// Whoever posted was told of its own mark too, as soon as the same person was there twice: the owner
/// names the person and the edge, and its word comes before the answer does.
#[test]
fn who_moves_a_mark_is_answered_and_only_the_persons_other_sessions_are_told() {
    let mut shard = Shard::new(Limits::default());
    let anns: Vec<_> = (0..2).map(|_| reader(&mut shard, "ann", Rights::OPEN)).collect();
    shard.fed("r", watching(1, info("L", 1, 10), None));
    anns.iter().for_each(|ann| _ = shard.reads(*ann));

    shard.say(anns[0], 2, post_of("01J9ZK5V8Q"));
    shard.fed("r", entries("r", "L", 11..=11));
    shard.fed("r", moved(11));
    let published = Answer::Published { log: log_id("L"), seq: 11, at_ms: 0, duplicate: false };
    assert!(shard.reply(anns[0], |_| Some(published.clone())));
    assert_eq!(shard.reads(anns[0]), ["message r L 11 text", "published r 11 false 2"]);
    assert_eq!(shard.reads(anns[1]), ["message r L 11 text", "marked r 11 0 0"]);

    shard.say(anns[1], 3, ClientSays::Mark { room: room("r"), seq: 12 });
    shard.fed("r", entries("r", "L", 12..=12));
    shard.fed("r", moved(12));
    let mark = Mark { seq: 12, ordinal: 12 };
    assert!(shard.reply(anns[1], |_| Some(Answer::Marked { mark, unread: 0 })));
    assert_eq!(shard.reads(anns[0]), ["message r L 12 text", "marked r 12 0 0"]);
    assert_eq!(shard.reads(anns[1]), ["message r L 12 text", "marked r 12 0 3"]);
}

#[test]
fn a_mark_that_another_session_moved_meanwhile_is_told_after_the_answer() {
    let mut shard = Shard::new(Limits::default());
    let ann = reader(&mut shard, "ann", Rights::OPEN);
    shard.fed("r", watching(1, info("L", 1, 10), None));
    shard.reads(ann);
    shard.say(ann, 2, post_of("01J9ZK5V8Q"));
    shard.fed("r", entries("r", "L", 11..=12));
    shard.fed("r", moved(12));
    shard.reads(ann);
    assert!(shard.reply(ann, |_| Some(Answer::Refused(Refusal::new(RefusalCode::Busy)))));
    assert_eq!(shard.reads(ann), ["refused busy - 2", "marked r 12 0 0"]);
}
