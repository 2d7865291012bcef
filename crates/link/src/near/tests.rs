use bytes::Bytes;
use model::{
    Catchup, Content, ContentKind, Digest, Entry, Fed, LogId, Mark, MessageId, Position,
    PresenceChange, Publish, Rights, RoomInfo, Roster, Subscription, User, UserId, Who,
};

use super::*;

fn at(ms: u64) -> Now {
    Now { mono_us: 1_000, wall_ms: 1_000 }.plus_ms(ms)
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("valid")
}

fn user(id: &str) -> User {
    User { id: UserId::new(id).expect("valid"), name: id.to_owned(), data: Bytes::new() }
}

fn ask(name: &str, session: Option<&str>, body: AskBody) -> Ask {
    let who = Who {
        user: user("ann"),
        session: session.map(|s| SessionId::new(s).expect("valid")),
        generation: model::Generation { counter: 1, random: 0 },
        rights: Rights::FULL,
    };
    Ask { room: room(name), who, body }
}

fn attach() -> AskBody {
    AskBody::Attach { after: None, recent: 10 }
}

fn publish(name: &str, id: Option<&str>) -> AskBody {
    let content = Content {
        kind: ContentKind::Post,
        target: 0,
        key: String::new(),
        remove: false,
        digest: Digest::default(),
        body: Bytes::from_static(b"text"),
    };
    let id = id.map(|id| MessageId::new(id).expect("valid"));
    AskBody::Publish(Publish { room: room(name), id, since: None, after: None, content })
}

fn entry(seq: u64) -> Entry {
    Entry { seq, ordinal: seq, kind: ContentKind::Post, payload: Bytes::new() }
}

fn log() -> LogId {
    LogId::new("k3v9").expect("valid")
}

fn info(head: u64) -> RoomInfo {
    RoomInfo { log: log(), first: 1, head, ordinal: head }
}

fn subscribed(head: u64) -> Answer {
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

struct Lane {
    near: Near,
    now: Now,
}

impl Lane {
    fn new() -> Lane {
        let config = NearConfig {
            edge: NodeId::new("e1").expect("valid"),
            lane: 0,
            owner: Some(NodeId::new("n1").expect("valid")),
            slots: 16,
            ask_wait_ms: 10_000,
        };
        let mut near = Near::new(at(0), config, Seed::new(1));
        assert!(matches!(near.poll_stream(), Some(StreamOp::Open { .. })));
        Lane { near, now: at(0) }
    }

    fn up() -> Lane {
        let mut lane = Lane::new();
        lane.event(StreamEvent::Up);
        assert!(matches!(lane.sent()[..], [ToOwner::Open { .. }]));
        lane
    }

    fn event(&mut self, event: StreamEvent) {
        self.near.handle_stream(self.now, event);
    }

    fn ask(&mut self, local: u64, ask: Ask) {
        self.near.handle_ask(self.now, LocalKey(local), ask);
    }

    fn answer(&mut self, id: u64, answer: Answer) {
        self.event(StreamEvent::Frame(FromOwner::Answer { id, answer }));
    }

    fn fed(&mut self, fed: Fed) {
        self.event(StreamEvent::Frame(FromOwner::Fed { room: room("r"), fed }));
    }

    fn watching(&mut self, watch: u64, fence: u64, head: u64) {
        let presence = Some(Roster { count: 1, users: vec![user("ann")] });
        self.fed(Fed::Watching { watch, fence, info: info(head), presence });
    }

    fn entries(&mut self, watch: u64, seqs: std::ops::RangeInclusive<u64>) {
        self.fed(Fed::Entries { watch, log: log(), entries: seqs.map(entry).collect() });
    }

    fn sent(&mut self) -> Vec<ToOwner> {
        std::iter::from_fn(|| self.near.poll_stream())
            .map(|op| match op {
                StreamOp::Send(frame) => frame,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn shards(&mut self) -> Vec<ToShards> {
        std::iter::from_fn(|| self.near.poll_shards()).collect()
    }

    /// Cuts the stream and brings the next one up; what is sent on it, without `Open`.
    fn cut(&mut self) -> Vec<ToOwner> {
        self.event(StreamEvent::Down);
        self.now = self.now.plus_ms(2_000);
        self.near.handle_timeout(self.now);
        assert!(matches!(self.near.poll_stream(), Some(StreamOp::Open { .. })));
        self.event(StreamEvent::Up);
        let mut sent = self.sent();
        assert!(matches!(sent.remove(0), ToOwner::Open { .. }));
        sent
    }

    /// Shard 0 watches "r"; the generation.
    fn watch(&mut self, head: u64) -> u64 {
        self.near.handle_watch(self.now, 0, &room("r"));
        let sent = self.sent();
        let [ToOwner::Watch { watch, .. }] = sent[..] else { panic!("{sent:?}") };
        self.watching(watch, 1, head);
        assert!(matches!(self.shards()[..], [ToShards::Fed { .. }]));
        watch
    }
}

fn seqs(told: &[ToShards]) -> Vec<u64> {
    let entries = told.iter().filter_map(|t| match t {
        ToShards::Fed { fed: Fed::Entries { entries, .. }, .. } => Some(entries),
        _ => None,
    });
    entries.flatten().map(|entry| entry.seq).collect()
}

#[test]
fn one_watch_serves_all_shards_and_a_late_one_is_told_where_the_feed_stands() {
    let mut lane = Lane::up();
    let watch = lane.watch(7);
    lane.entries(watch, 8..=9);
    let departed = vec![UserId::new("ann").expect("valid")];
    let change = PresenceChange::Delta { count: 1, arrived: vec![user("bob")], departed };
    lane.fed(Fed::Presence { watch, change });
    lane.shards();

    lane.near.handle_watch(lane.now, 5, &room("r"));
    assert_eq!(lane.sent(), []);
    let told = lane.shards();
    let [ToShards::Fed { shards, fed: Fed::Watching { info, presence, .. }, .. }] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(*shards, ShardSet::one(5));
    assert_eq!(info.head, 9);
    assert_eq!(presence.as_ref().map(|p| p.users.clone()), Some(vec![user("bob")]));

    lane.entries(watch, 10..=10);
    let told = lane.shards();
    let [ToShards::Fed { shards, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(shards.iter().collect::<Vec<_>>(), [0, 5]);

    lane.near.handle_unwatch(lane.now, 0, &room("r"));
    assert_eq!(lane.sent(), []);
    lane.near.handle_unwatch(lane.now, 5, &room("r"));
    assert_eq!(lane.sent(), [ToOwner::Unwatch { room: room("r"), watch }]);
    assert_eq!(lane.near.rooms(), 0);
}

#[test]
fn entries_are_dense_a_known_one_is_dropped_and_a_gap_watches_anew() {
    let mut lane = Lane::up();
    let watch = lane.watch(7);
    lane.entries(watch, 6..=8);
    assert_eq!(seqs(&lane.shards()), [8]);
    lane.entries(watch, 7..=8);
    assert_eq!(lane.shards(), []);
    lane.entries(watch, 10..=11);
    assert_eq!(lane.shards(), []);
    let sent = lane.sent();
    let [ToOwner::Watch { watch: next, .. }] = sent[..] else { panic!("{sent:?}") };
    assert!(next > watch);
    lane.entries(watch, 9..=9);
    assert_eq!(lane.shards(), [], "of the former generation");
    lane.watching(next, 1, 11);
    lane.entries(next, 12..=12);
    assert_eq!(seqs(&lane.shards()), [12]);
    assert_eq!(lane.near.counts().gaps, 1);
}

#[test]
fn a_cut_is_made_good_in_the_order_watch_attachments_asks() {
    let mut lane = Lane::up();
    lane.watch(7);
    lane.ask(1, ask("r", Some("s1"), attach()));
    let sent = lane.sent();
    let [ToOwner::Ask { id, .. }] = sent[..] else { panic!("{sent:?}") };
    lane.answer(id, subscribed(7));
    lane.ask(2, ask("r", Some("s1"), publish("r", Some("first-id"))));
    lane.ask(3, ask("r", Some("s1"), publish("r", Some("second-id"))));
    let asked = lane.sent();
    assert_eq!(asked.len(), 2);
    lane.shards();

    let sent = lane.cut();
    let [ToOwner::Watch { watch, .. }, ToOwner::Ask { id: told, ask: again }, rest @ ..] =
        &sent[..]
    else {
        panic!("{sent:?}")
    };
    let after = Some(Position { log: log(), seq: 7 });
    assert_eq!(again.body, AskBody::Attach { after, recent: 0 });
    assert_eq!(rest, &asked[..], "the same ids, in the same order");
    let (watch, told) = (*watch, *told);

    lane.watching(watch, 1, 8);
    lane.answer(told, subscribed(8));
    let fed = lane.shards();
    assert!(
        matches!(&fed[..], [ToShards::Fed { fed: Fed::Watching { .. }, .. }]),
        "the session was answered once already: {fed:?}"
    );
}

#[test]
fn an_attachment_that_is_not_taken_again_ends_at_its_session() {
    let mut lane = Lane::up();
    lane.watch(7);
    lane.ask(1, ask("r", Some("s1"), attach()));
    let sent = lane.sent();
    let [ToOwner::Ask { id, .. }] = sent[..] else { panic!("{sent:?}") };
    lane.answer(id, subscribed(7));
    lane.shards();
    let sent = lane.cut();
    let [_, ToOwner::Ask { id, .. }] = sent[..] else { panic!("{sent:?}") };
    let why = Unsubscribed::new(UnsubscribedCode::Forbidden);
    lane.answer(id, Answer::Unsubscribed(why.clone()));
    let told = lane.shards();
    let [ToShards::Detached { local: LocalKey(1), why: said, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(*said, why);
    assert_eq!(lane.cut().len(), 1, "only the watch");
}

#[test]
fn a_detached_session_is_not_told_again_and_a_late_attach_answer_does_not_bring_it_back() {
    let mut lane = Lane::up();
    lane.watch(7);
    lane.ask(1, ask("r", Some("s1"), attach()));
    lane.ask(2, ask("r", Some("s1"), AskBody::Detach { left: true }));
    let sent = lane.sent();
    let [ToOwner::Ask { id: attached, .. }, ToOwner::Ask { id: detached, .. }] = sent[..] else {
        panic!("{sent:?}")
    };
    lane.answer(attached, subscribed(7));
    lane.answer(detached, Answer::Done);
    assert_eq!(lane.shards().len(), 2);
    assert_eq!(lane.cut().len(), 1, "only the watch");

    lane.ask(3, ask("r", Some("s9"), AskBody::Detach { left: true }));
    assert_eq!(lane.sent(), [], "it was never attached");
    assert_eq!(lane.shards(), [ToShards::Answer { local: LocalKey(3), answer: Answer::Done }]);
}

#[test]
fn what_must_not_be_sent_twice_is_refused_at_the_cut_if_it_was_sent() {
    let mut lane = Lane::up();
    let signal = AskBody::Signal { kind: "typing".into(), data: Bytes::new() };
    lane.ask(1, ask("r", Some("s1"), signal.clone()));
    lane.ask(2, ask("r", None, publish("r", None)));
    lane.sent();
    lane.event(StreamEvent::Down);
    lane.ask(3, ask("r", None, publish("r", None)));
    let told = lane.shards();
    let [
        ToShards::Answer { local: LocalKey(1), answer: Answer::Refused(signal) },
        ToShards::Answer { local: LocalKey(2), answer: Answer::Refused(publish) },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert!(signal.is_retryable());
    assert_eq!((publish.code, publish.is_retryable()), (RefusalCode::DeadlineExceeded, false));
    assert_eq!(lane.near.unanswered(), 1, "the one that was not sent waits");
}

#[test]
fn an_ask_whose_time_is_over_is_answered_in_the_scope_of_its_kind() {
    let mut lane = Lane::new();
    lane.ask(1, ask("r", Some("s1"), attach()));
    lane.ask(2, ask("r", Some("s1"), publish("r", Some("some-id-1"))));
    lane.ask(3, ask("r", None, AskBody::Room));
    lane.near.handle_timeout(at(9_999));
    assert_eq!(lane.shards(), []);
    lane.near.handle_timeout(at(10_000));
    let told = lane.shards();
    let [
        ToShards::Answer { answer: Answer::Unsubscribed(attach), .. },
        ToShards::Answer { answer: Answer::Refused(publish), .. },
        ToShards::Answer { answer: Answer::Refused(info), .. },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert!(attach.retry_after_ms.is_some() && publish.is_retryable() && info.is_retryable());
    assert_eq!(publish.code, RefusalCode::DeadlineExceeded);
    assert_eq!(info.code, RefusalCode::Unavailable);
    assert_eq!((lane.near.unanswered(), lane.near.rooms()), (0, 0));
}

#[test]
fn an_attach_that_may_be_carried_out_late_is_taken_back() {
    let mut lane = Lane::up();
    lane.ask(1, ask("r", Some("s1"), attach()));
    assert_eq!(lane.sent().len(), 1);
    for ms in [2_000, 4_000, 6_000, 8_000, 10_000] {
        lane.now = at(ms);
        lane.event(StreamEvent::Frame(FromOwner::Heartbeat));
        lane.near.handle_timeout(lane.now);
    }
    let sent = lane.sent();
    let detach = sent.iter().find(|frame| {
        matches!(frame, ToOwner::Ask { ask: Ask { body: AskBody::Detach { .. }, .. }, .. })
    });
    assert!(detach.is_some(), "{sent:?}");
}

#[test]
fn a_full_outbox_refuses_as_busy_but_never_a_detach() {
    let mut lane = Lane::new();
    lane.ask(0, ask("r", Some("s1"), attach()));
    for local in 1..OUTBOX_ROOM_ASKS_MAX as u64 {
        lane.ask(local, ask("r", None, AskBody::Room));
    }
    assert_eq!(lane.shards(), []);
    lane.ask(99_999, ask("r", None, AskBody::Room));
    let told = lane.shards();
    let [ToShards::Answer { local: LocalKey(99_999), answer: Answer::Refused(no) }] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((no.code, no.is_retryable()), (RefusalCode::Busy, true));
    lane.ask(100_000, ask("r", Some("s1"), AskBody::Detach { left: true }));
    lane.ask(100_001, ask("other", None, AskBody::Room));
    assert_eq!(lane.shards(), [], "another room has its own share");
}

#[test]
fn an_owner_that_has_to_go_is_replaced_silently_and_a_final_end_is_passed_on() {
    let mut lane = Lane::up();
    let watch = lane.watch(7);
    lane.ask(1, ask("r", Some("s1"), attach()));
    let sent = lane.sent();
    let [ToOwner::Ask { id, .. }] = sent[..] else { panic!("{sent:?}") };
    lane.answer(id, subscribed(7));
    lane.shards();

    let why = Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(200);
    lane.fed(Fed::Unwatched { watch, why });
    assert_eq!((lane.shards(), lane.sent()), (vec![], vec![]));
    lane.now = at(200);
    lane.near.handle_timeout(lane.now);
    let sent = lane.sent();
    let [ToOwner::Watch { watch, .. }, ToOwner::Ask { .. }] = sent[..] else { panic!("{sent:?}") };
    lane.watching(watch, 1, 7);
    lane.shards();

    let why = Unsubscribed::new(UnsubscribedCode::RoomDamaged);
    lane.fed(Fed::Unwatched { watch, why });
    assert!(matches!(&lane.shards()[..], [ToShards::Fed { fed: Fed::Unwatched { .. }, .. }]));
    assert_eq!(lane.near.rooms(), 0);
}

#[test]
fn a_superseded_owner_is_not_believed() {
    let mut lane = Lane::up();
    let watch = lane.watch(7);
    lane.entries(watch, 8..=8);
    let sent = lane.cut();
    let [ToOwner::Watch { watch, .. }] = sent[..] else { panic!("{sent:?}") };
    lane.watching(watch, 5, 8);
    lane.shards();
    let sent = lane.cut();
    let [ToOwner::Watch { watch, .. }] = sent[..] else { panic!("{sent:?}") };
    lane.watching(watch, 4, 6);
    assert_eq!(lane.shards(), []);
    lane.now = lane.now.plus_ms(REWATCH_MS);
    lane.near.handle_timeout(lane.now);
    assert!(matches!(lane.sent()[..], [ToOwner::Watch { .. }]));
}

/// Goes from timer to timer until the stream is given up; how often it asked for a sign of life.
fn run_until_given_up(lane: &mut Lane) -> usize {
    let mut beats = 0;
    let mut polled = 0;
    while lane.near.is_up() {
        lane.now = lane.near.poll_timeout().expect("a stream always has a time");
        lane.near.handle_timeout(lane.now);
        if lane.near.is_up() {
            beats += lane.sent().iter().filter(|frame| **frame == ToOwner::Heartbeat).count();
        }
        polled += 1;
        assert!(polled < 10, "no tight circle");
    }
    beats
}

#[test]
fn a_silent_owner_that_is_needed_is_given_up_in_well_under_a_second() {
    let mut lane = Lane::up();
    lane.watch(7);
    assert_eq!(run_until_given_up(&mut lane), 2);
    assert_eq!(lane.now, at(SILENCE_MS));
    assert!(lane.near.is_lost());
    assert_eq!(lane.near.poll_stream(), Some(StreamOp::Close));
    assert_eq!(lane.near.poll_stream(), None);
    lane.now = lane.near.poll_timeout().expect("it tries again");
    lane.near.handle_timeout(lane.now);
    assert!(matches!(lane.near.poll_stream(), Some(StreamOp::Open { .. })));
    lane.event(StreamEvent::Up);
    assert!(lane.near.is_lost() && lane.sent().contains(&ToOwner::Heartbeat));
    lane.event(StreamEvent::Frame(FromOwner::Heartbeat));
    assert!(!lane.near.is_lost(), "it was heard again");
}

#[test]
fn an_owner_that_nobody_needs_is_asked_rarely() {
    let mut lane = Lane::up();
    assert!(run_until_given_up(&mut lane) <= 3);
    assert_eq!(lane.now, at(IDLE_SILENCE_MS));
}

#[test]
fn an_edge_that_says_much_and_hears_nothing_asks_for_a_sign_of_life() {
    let mut lane = Lane::up();
    lane.watch(7);
    let mut beats = 0;
    for ms in (100..2_000).step_by(100) {
        lane.now = at(ms);
        lane.near.handle_timeout(lane.now);
        lane.ask(ms, ask("r", None, publish("r", Some("some-id-1"))));
        let sent = lane.sent();
        assert!(matches!(sent.last(), Some(ToOwner::Ask { .. })));
        if sent.contains(&ToOwner::Heartbeat) {
            beats += 1;
            lane.event(StreamEvent::Frame(FromOwner::Heartbeat));
        }
    }
    assert!(lane.near.is_up() && beats > 5, "{beats}");
}

/// The edge's process was stopped for a minute: what the owner said meanwhile has yet to be read.
#[test]
fn an_edge_that_was_stopped_itself_asks_before_it_blames_its_owner() {
    let mut lane = Lane::up();
    lane.watch(7);
    lane.now = at(60_000);
    lane.near.handle_timeout(lane.now);
    assert!(lane.near.is_up());
    assert_eq!(lane.sent(), [ToOwner::Heartbeat]);
    lane.event(StreamEvent::Frame(FromOwner::Heartbeat));
    lane.now = at(60_200);
    lane.near.handle_timeout(lane.now);
    assert!(lane.near.is_up() && !lane.near.is_lost());
}

#[test]
fn an_edge_that_was_stopped_behind_its_question_asks_once_more() {
    let mut lane = Lane::up();
    lane.watch(7);
    for (ms, is_up) in [(250, true), (60_000, true), (60_449, true), (60_450, false)] {
        lane.now = at(ms);
        lane.near.handle_timeout(lane.now);
        assert_eq!(lane.near.is_up(), is_up, "{ms}");
        if ms <= 60_000 {
            assert_eq!(lane.sent(), [ToOwner::Heartbeat], "{ms}");
        }
    }
}

#[test]
fn a_stream_that_stood_for_long_is_opened_again_at_once_and_a_short_one_later() {
    let mut lane = Lane::up();
    lane.event(StreamEvent::Down);
    assert!(lane.near.poll_timeout().expect("it tries again") > lane.now);
    assert!(!lane.near.is_lost(), "it was cut and not refused");
    lane.cut();
    lane.now = lane.now.plus_ms(1_000);
    lane.event(StreamEvent::Down);
    assert_eq!(lane.near.poll_timeout(), Some(lane.now));
    lane.near.handle_timeout(lane.now);
    lane.event(StreamEvent::Down);
    assert!(lane.near.is_lost(), "it was refused");
}
