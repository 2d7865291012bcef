//! Requests, their answers and their limits; subscribes and unsubscribes that race.

use model::limits::PAGE_BYTES_MAX;
use model::*;
use session::log::{SessionKey, WireKind};

use crate::shard::*;

fn publish_of(n: u32) -> ClientSays {
    ClientSays::Publish(publish("r", &format!("id-{n:05}")))
}

fn published(seq: Seq) -> Answer {
    Answer::Published { log: log_id("L"), seq, at_ms: 1, duplicate: false }
}

/// `ann` reads `r` live at 10.
fn live() -> (Shard, SessionKey) {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![subscribe("r", None)]);
    shard.fed("r", watching(1, info("L", 1, 10), None));
    shard.attached(ann, snapshot("L", 10, SnapshotReason::New));
    shard.reads(ann);
    (shard, ann)
}

#[test]
fn a_publish_is_answered_under_its_reference_and_carries_who_asks() {
    let (mut shard, ann) = live();
    shard.say(ann, 5, publish_of(1));
    let (_, no, ask) = shard.asks.pop_front().unwrap();
    assert_eq!(ask.who.user, user("ann"));
    assert_eq!((ask.who.session.unwrap().as_str(), ask.who.rights), ("sann", Rights::OPEN));
    shard.answer(ann, no, published(11));
    shard.answer(ann, no, published(12));
    assert_eq!(shard.reads(ann), ["published r 11 false 5"]);
    // Without a reference only no is told.
    shard.say(ann, 0, publish_of(2));
    shard.say(ann, 0, publish_of(3));
    shard.reply(ann, |_| Some(published(13)));
    shard.reply(ann, |_| Some(Answer::Refused(Refusal::new(RefusalCode::Forbidden))));
    assert_eq!(shard.reads(ann), ["refused forbidden - 0"]);
}

#[test]
fn a_publish_whose_owner_is_silent_is_refused_as_retryable() {
    let (mut shard, ann) = live();
    shard.say(ann, 5, publish_of(1));
    let (_, no, _) = shard.asks.pop_front().unwrap();
    shard.after_ms(12_000);
    shard.answer(ann, no, published(11));
    assert_eq!(shard.reads(ann), ["refused deadline_exceeded 1000 5"]);
}

#[test]
fn too_many_publishes_are_refused_with_the_time_to_come_back() {
    let (mut shard, ann) = live();
    (1..=51).for_each(|n| shard.say(ann, n, publish_of(n)));
    assert_eq!(shard.reads(ann), ["refused rate_limited 20 51"]);
    shard.after_ms(20);
    shard.say(ann, 52, publish_of(52));
    assert!(shard.reads(ann).is_empty());
    assert_eq!(shard.asks.len(), 51);
}

#[test]
fn no_more_than_256_requests_are_under_way() {
    let (mut shard, ann) = live();
    for n in 1..=257 {
        shard.now = shard.now.plus_ms(20);
        shard.say(ann, n, publish_of(n));
    }
    assert_eq!(shard.reads(ann), ["refused busy 1000 257"]);
    shard.reply(ann, |_| Some(published(11)));
    shard.say(ann, 258, publish_of(258));
    assert_eq!(shard.reads(ann), ["published r 11 false 1"]);
}

#[test]
fn one_page_at_a_time() {
    let (mut shard, ann) = live();
    let ask = HistoryAsk { anchor: HistoryAnchor::Newest, limit: 0 };
    let history = || ClientSays::History { room: room("r"), ask };
    shard.say(ann, 2, history());
    shard.say(ann, 3, history());
    shard.say(ann, 4, ClientSays::Summaries { rooms: vec![room("r")] });
    let page = Page { as_of: 10, ..Page::default() };
    shard.reply(ann, |_| Some(Answer::History { log: log_id("L"), page: page.clone() }));
    let want = ["refused page_in_progress 0 3", "refused page_in_progress 0 4", "history r 10 2"];
    assert_eq!(shard.reads(ann), want);
    let summary = Summary { log: log_id("L"), head: 10, ordinal: 9, mark: None, last: None };
    shard.say(ann, 5, ClientSays::Summaries { rooms: vec![room("r"), room("q")] });
    shard.reply(ann, |_| Some(Answer::Summary(summary.clone())));
    shard.reply(ann, |_| Some(Answer::Refused(Refusal::new(RefusalCode::Forbidden))));
    shard.say(ann, 6, ClientSays::Summaries { rooms: vec![] });
    assert_eq!(shard.reads(ann), ["summaries 1 1 5", "summaries 0 0 6"]);
}

#[test]
fn marks_are_answered_and_pushed_to_the_users_other_sessions() {
    let (mut shard, ann) = live();
    let other = shard.open("ann", vec![subscribe("r", None)]);
    let bob = shard.open("bob", vec![subscribe("r", None)]);
    for key in [other, bob] {
        shard.attached(key, snapshot("L", 10, SnapshotReason::New));
        shard.reads(key);
    }
    shard.say(ann, 2, ClientSays::Mark { room: room("r"), seq: 8 });
    let mark = Mark { seq: 8, ordinal: 7 };
    shard.reply(ann, |_| Some(Answer::Marked { mark, unread: 3 }));
    shard.fed("r", Fed::Marked { watch: 1, user: UserId::new("ann").unwrap(), mark });
    assert_eq!(shard.reads(ann), ["marked r 8 3 2"]);
    assert_eq!(shard.reads(other), ["marked r 8 3 0"]);
    assert!(shard.reads(bob).is_empty());
}

#[test]
fn two_subscribes_at_once_are_answered_each_and_the_later_position_decides() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![]);
    shard.say(ann, 2, ClientSays::Subscribe(subscribe("r", Some(("L", 2)))));
    shard.say(ann, 3, ClientSays::Subscribe(subscribe("r", Some(("L", 8)))));
    shard.fed("r", watching(1, info("L", 1, 10), None));
    shard.attached(ann, resumed("L", 10, 8));
    shard.fed("r", entries("r", "L", 11..=11));
    shard.attached(ann, resumed("L", 11, 3));
    shard.serve(11);
    let reads = shard.reads(ann);
    let answers = ["subscribed r L/10 resumed 8 - 2", "subscribed r L/11 resumed 3 - 3"];
    assert_eq!(reads[1..3], answers);
    assert_eq!(seqs(&reads, "r"), [9, 10, 11]);
}

#[test]
fn a_room_that_is_subscribed_again_is_silent_until_the_answer() {
    let (mut shard, ann) = live();
    shard.say(ann, 2, ClientSays::Subscribe(subscribe("r", Some(("L", 9)))));
    shard.fed("r", entries("r", "L", 11..=12));
    assert!(shard.reads(ann).is_empty());
    shard.attached(ann, resumed("L", 12, 3));
    shard.serve(12);
    let reads = shard.reads(ann);
    assert_eq!(reads[0], "subscribed r L/12 resumed 3 - 2");
    assert_eq!(seqs(&reads, "r"), [10, 11, 12]);
}

#[test]
fn nothing_of_a_room_comes_behind_unsubscribed() {
    let (mut shard, ann) = live();
    shard.peers.get_mut(&ann).unwrap().socket.window = 5;
    shard.fed("r", entries("r", "L", 11..=20));
    shard.say(ann, 2, ClientSays::Unsubscribe { room: room("r") });
    shard.peers.get_mut(&ann).unwrap().socket.window = usize::MAX;
    shard.fed("r", entries("r", "L", 21..=21));
    // The half-written message is finished; the rest of what waited is gone.
    assert_eq!(shard.reads(ann), ["message r L 11 text", "unsubscribed r left 2"]);
    shard.say(ann, 3, ClientSays::Unsubscribe { room: room("r") });
    assert_eq!(shard.reads(ann), ["refused not_subscribed - 3"]);
}

#[test]
fn an_answer_to_a_subscribe_that_was_taken_back_is_inert() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![]);
    shard.say(ann, 2, ClientSays::Subscribe(subscribe("r", Some(("L", 2)))));
    shard.say(ann, 3, ClientSays::Unsubscribe { room: room("r") });
    shard.say(ann, 4, ClientSays::Subscribe(subscribe("q", Some(("L", 2)))));
    shard.fed("q", watching(1, info("L", 1, 10), None));
    shard.attached(ann, resumed("L", 10, 8));
    let want = ["welcome ann 1", "unsubscribed r left 2", "unsubscribed r left 3"];
    assert_eq!(shard.reads(ann), want);
    assert!(shard.reply(ann, |ask| {
        let is_attach = matches!(ask.body, AskBody::Attach { .. });
        (is_attach && ask.room == room("q")).then(|| resumed("L", 10, 0))
    }));
    assert_eq!(shard.reads(ann), ["subscribed q L/10 resumed 0 - 4"]);
}

#[test]
fn a_subscribe_that_nobody_answers_is_told_to_try_later() {
    let mut shard = Shard::new(Limits::default());
    let ann = shard.open("ann", vec![subscribe("r", None)]);
    shard.after_ms(12_000);
    assert_eq!(shard.reads(ann), ["welcome ann 1", "unsubscribed r unavailable 0"]);
    assert_eq!(shard.logs.rooms(), 0);
}

#[test]
fn subscribes_are_limited_by_number_and_rate() {
    let limits = Limits { rooms_per_session_max: 2, subscribes_per_second: 3, ..Limits::default() };
    let mut shard = Shard::new(limits);
    let ann = shard.open("ann", vec![subscribe("a", None), subscribe("b", None)]);
    shard.say(ann, 2, ClientSays::Subscribe(subscribe("c", None)));
    shard.say(ann, 0, ClientSays::Subscribe(subscribe("d", None)));
    shard.say(ann, 3, ClientSays::Subscribe(subscribe("a", None)));
    shard.say(ann, 4, ClientSays::Subscribe(subscribe("a", None)));
    shard.say(ann, 0, ClientSays::Subscribe(subscribe("a", None)));
    let want = [
        "welcome ann 1",
        "refused too_many_rooms - 2",
        "unsubscribed d too_many_rooms 0",
        "refused rate_limited 334 4",
        "unsubscribed a rate_limited 0",
    ];
    assert_eq!(shard.reads(ann), want);
}

/// A snapshot of `bytes` of payload. The text encoding does not write it, so the tests of bounds
/// below use a reason that is long instead.
fn wide_attaches(shard: &Shard) -> usize {
    shard.asks.iter().filter(|(.., ask)| matches!(ask.body, AskBody::Attach { .. })).count()
}

#[test]
fn rooms_without_a_position_are_attached_a_few_at_a_time() {
    let mut shard = Shard::new(Limits::default());
    let names: Vec<String> = (0..20).map(|n| format!("r{n}")).collect();
    let ann = shard.open("ann", names.iter().map(|name| subscribe(name, None)).collect());
    let mut answered = 0;
    while wide_attaches(&shard) > 0 {
        assert!(wide_attaches(&shard) <= 4);
        shard.attached(ann, snapshot("L", 10, SnapshotReason::New));
        answered += 1;
    }
    assert_eq!(answered, 20);
    assert_eq!(shard.reads(ann).len(), 21);
}

#[test]
fn attaches_wait_while_control_is_half_full_and_a_snapshot_that_finds_it_full_is_asked_again() {
    let limits = Limits { control_bytes_max: 2 * PAGE_BYTES_MAX, ..Limits::default() };
    let mut shard = Shard::new(limits);
    let ann = shard.open("ann", vec![]);
    shard.peers.get_mut(&ann).unwrap().socket.window = 0;
    shard.say(ann, 2, ClientSays::Subscribe(subscribe("late", Some(("L", 1)))));
    // Answers to what was asked before fill the control beyond its limit.
    let mut n = 10;
    while shard.peers[&ann].session.control_bytes() <= 2 * PAGE_BYTES_MAX {
        shard.now = shard.now.plus_ms(20);
        n += 1;
        shard.say(ann, n, ClientSays::Publish(publish(&"x".repeat(128), "id-00001")));
        shard.reply(ann, |ask| matches!(ask.body, AskBody::Publish(_)).then(|| published(7)));
        shard.peers.get_mut(&ann).unwrap().session.handle_frame(
            shard.now,
            Ok(ClientFrame { r#ref: 0, says: ClientSays::Heartbeat }),
            &mut shard.logs,
        );
    }
    assert!(!shard.peers[&ann].session.wants_read(&shard.logs));
    shard.attached(ann, snapshot("L", 10, SnapshotReason::TooFar));
    shard.say(ann, 3, ClientSays::Subscribe(subscribe("new", None)));
    assert_eq!(wide_attaches(&shard), 0);
    shard.peers.get_mut(&ann).unwrap().socket.window = usize::MAX;
    shard.turn();
    assert_eq!(wide_attaches(&shard), 2);
    shard.attached(ann, snapshot("L", 10, SnapshotReason::TooFar));
    shard.attached(ann, snapshot("L", 10, SnapshotReason::New));
    let reads = shard.reads(ann);
    let last =
        ["subscribed late L/10 snapshot too_far - 2", "subscribed new L/10 snapshot new - 3"];
    assert_eq!(reads[reads.len() - 2..], last);
}

#[test]
fn over_grpc_a_session_is_told_the_same() {
    let mut shard = Shard::new(Limits::default());
    let wires = [WireKind::WebSocketJson, WireKind::WebSocketProto, WireKind::Grpc];
    let heard = wires.map(|wire| {
        let identity = identity("ann", Roles::open());
        let key = shard.open_with(wire, identity, vec![subscribe("r", Some(("L", 5)))]);
        shard.fed("r", watching(1, info("L", 1, 10), None));
        shard.attached(key, resumed("L", 10, 5));
        shard.serve(10);
        shard.say(key, 2, publish_of(1));
        shard.reply(key, |ask| matches!(ask.body, AskBody::Publish(_)).then(|| published(11)));
        shard.say(key, 3, ClientSays::Unsubscribe { room: room("r") });
        shard.reads(key)
    });
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[0], heard[2]);
    assert_eq!(seqs(&heard[0], "r"), [6, 7, 8, 9, 10]);
}
