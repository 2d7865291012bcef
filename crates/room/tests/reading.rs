//! Attaching, watching, pages, summaries and marks.

mod common;

use common::*;
use model::{
    Answer, AskBody, Catchup, Fed, Generation, Limits, LogId, Mark, SessionId, SnapshotReason, Who,
};

fn world(posts: usize) -> (Store, Owner) {
    let mut store = Store::default();
    let limits = Limits { replay_max: 5, recent_default: 3, ..Limits::default() };
    let mut owner = Owner::open(&mut store, &limits, 0);
    for n in 0..posts {
        owner.say(&mut store, "ann", &format!("m{n}"), post(&format!("text {n}")));
    }
    (store, owner)
}

fn reason(catchup: &Catchup) -> Option<(SnapshotReason, usize, bool)> {
    match catchup {
        Catchup::Resumed { .. } => None,
        Catchup::Snapshot(snapshot) => {
            Some((snapshot.reason, snapshot.page.posts.len(), snapshot.page.more))
        }
    }
}

#[test]
fn a_reader_gets_a_replay_while_it_is_short_and_a_snapshot_otherwise() {
    let (mut store, mut owner) = world(10);
    for (seq, expected) in
        [(10, Catchup::Resumed { missed: 0 }), (5, Catchup::Resumed { missed: 5 })]
    {
        let position = since(&store, seq);
        assert_eq!(owner.attach(&mut store, ALICE, who("bob"), position).catchup, expected);
    }
    let position = since(&store, 4);
    let subscription = owner.attach(&mut store, ALICE, who("bob"), position);
    assert_eq!(reason(&subscription.catchup), Some((SnapshotReason::TooFar, 3, true)));
    assert_eq!((subscription.head, subscription.first, subscription.unread), (10, 1, 10));
    let subscription = owner.attach(&mut store, ALICE, who("bob"), None);
    assert_eq!(reason(&subscription.catchup), Some((SnapshotReason::New, 3, true)));
    let other = model::Position { log: LogId::new("other").expect("valid"), seq: 9 };
    let subscription = owner.attach(&mut store, ALICE, who("bob"), Some(other));
    assert_eq!(reason(&subscription.catchup), Some((SnapshotReason::LogChanged, 3, true)));
    assert_eq!(subscription.rights, who("bob").rights);
}

#[test]
fn live_starts_behind_the_snapshot_even_if_more_was_appended_meanwhile() {
    let (mut store, mut owner) = world(2);
    owner.watch(BOB, 1);
    let ask = owner.ask(BOB, who("bob"), AskBody::Attach { after: None, recent: 10 });
    let (ticket, read) = owner.reads.pop_front().expect("a page is read");
    let page = store.read(&read);
    owner.say(&mut store, "ann", "late", post("late"));
    owner.room.handle_read(owner.now, ticket, page);
    owner.poll();
    let subscription = owner.subscribed(BOB, ask).clone();
    assert_eq!((subscription.head, subscription.ordinal), (2, 2));
    let seqs: Vec<u64> = entries(&owner.take_fed(BOB)).iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [3]);
}

#[test]
fn a_watch_is_fed_once_and_by_generation() {
    let (mut store, mut owner) = world(1);
    owner.watch(ALICE, 1);
    owner.watch(BOB, 1);
    owner.watch(BOB, 3);
    owner.room.handle_unwatch(owner.now, BOB, 1);
    owner.room.handle_unwatch(owner.now, ALICE, 1);
    owner.watch(BOB, 2);
    owner.take_fed(BOB);
    owner.take_fed(ALICE);
    owner.say(&mut store, "ann", "live", post("live"));
    let fed = owner.take_fed(BOB);
    let [Fed::Entries { watch: 3, entries, .. }] = &fed[..] else { panic!("{fed:?}") };
    assert_eq!(text(&entries[0].payload), "2/2 ann: live");
    assert_eq!(owner.take_fed(ALICE), []);
}

#[test]
fn a_signal_reaches_all_watchers_and_no_log() {
    let (store, mut owner) = world(1);
    owner.watch(ALICE, 1);
    owner.watch(BOB, 1);
    let body = AskBody::Signal { kind: "typing".into(), data: bytes::Bytes::new() };
    let ask = owner.ask(ALICE, who("ann"), body);
    assert_eq!(owner.answer(ALICE, ask), &Answer::Done);
    for peer in [ALICE, BOB] {
        let fed = owner.take_fed(peer);
        assert!(matches!(&fed[..], [.., Fed::Signal { kind, .. }] if kind == "typing"), "{fed:?}");
    }
    assert_eq!(store.records.len(), 1);
}

#[test]
fn a_summary_shows_the_newest_post_folded_and_makes_nobody_present() {
    let (mut store, mut owner) = world(2);
    owner.say(&mut store, "ann", "e", edit(2, "edited"));
    let ask = owner.ask(BOB, who("bob"), AskBody::Summary);
    owner.settle(&mut store);
    let Answer::Summary(summary) = owner.answer(BOB, ask) else { panic!("no summary") };
    assert_eq!((summary.head, summary.ordinal, summary.mark), (3, 2, Some(Mark::default())));
    let last = summary.last.as_ref().expect("a post");
    assert_eq!(text(&last.payload), "2/2 ann: text 1");
    assert_eq!(last.edit.as_ref().map(|(_, body)| text(body)), Some("edited".into()));
    let ask = owner.ask(BOB, who("bob"), AskBody::Presence);
    assert!(matches!(owner.answer(BOB, ask), Answer::Presence(roster) if roster.count == 0));
}

#[test]
fn an_unborn_room_answers_without_reading() {
    let mut store = Store::default();
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let history = model::HistoryAsk { anchor: model::HistoryAnchor::Newest, limit: 0 };
    for body in [
        AskBody::Attach { after: None, recent: 0 },
        AskBody::Summary,
        AskBody::Mark { seq: 7 },
        AskBody::History(history),
        AskBody::Room,
    ] {
        let ask = owner.ask(ALICE, who("ann"), body);
        assert!(owner.is_answered(ALICE, ask));
    }
    assert!(owner.reads.is_empty() && owner.batch.is_none());
}

#[test]
fn ones_own_post_is_read_and_the_users_other_sessions_hear_of_marks() {
    let (mut store, mut owner) = world(3);
    let phone = Who { session: Some(SessionId::new("phone").expect("valid")), ..who("bob") };
    owner.watch(ALICE, 1);
    owner.watch(BOB, 1);
    owner.attach(&mut store, ALICE, who("bob"), None);
    owner.attach(&mut store, BOB, phone, None);
    owner.take_fed(BOB);
    owner.take_fed(ALICE);
    let ask = owner.ask(ALICE, who("bob"), AskBody::Mark { seq: 2 });
    owner.settle(&mut store);
    let mark = Mark { seq: 2, ordinal: 2 };
    assert_eq!(owner.answer(ALICE, ask), &Answer::Marked { mark, unread: 1 });
    let user = user("bob").id;
    assert_eq!(owner.take_fed(BOB), [Fed::Marked { watch: 1, user, mark }]);
    assert_eq!(owner.take_fed(ALICE), []);

    owner.say(&mut store, "bob", "mine", post("mine"));
    let fed = owner.take_fed(BOB);
    let moved = |fed: &Fed| matches!(fed, Fed::Marked { mark: Mark { seq: 4, .. }, .. });
    assert!(fed.iter().any(moved), "{fed:?}");
    let subscription = owner.attach(&mut store, ALICE, who("bob"), None);
    assert_eq!((subscription.mark.seq, subscription.unread), (4, 0));
}

#[test]
fn a_mark_that_was_not_written_is_found_in_the_log_if_it_is_ones_own_post() {
    let (mut store, _) = world(3);
    assert!(store.states.len() <= 1, "marks are written later");
    store.states.clear();
    let mut owner = Owner::open(&mut store, &Limits::default(), 2);
    let subscription = owner.attach(&mut store, ALICE, who("ann"), None);
    assert_eq!((subscription.mark.seq, subscription.unread), (3, 0));
    owner.pass(2_000);
    owner.settle(&mut store);
    assert_eq!(store.states.len(), 1);
}

#[test]
fn a_mark_survives_a_failed_write() {
    let (mut store, mut owner) = world(3);
    owner.pass(5_000);
    owner.settle(&mut store);
    store.states.clear();
    owner.ask(BOB, who("bob"), AskBody::Mark { seq: 3 });
    while !owner.reads.is_empty() {
        owner.read(&store, 0);
    }
    owner.pass(1_000);
    assert!(owner.batch.as_ref().is_some_and(|batch| batch.records.is_empty()));
    owner.appended(Err(model::AppendError::Unavailable("down".into())));
    assert!(owner.batch.is_none(), "not at once");
    owner.pass(1_000);
    owner.settle(&mut store);
    assert_eq!(store.states.len(), 1);
}

#[test]
fn a_mark_above_head_is_clamped_and_one_below_the_first_kept_counts_from_it() {
    let (mut store, mut owner) = world(6);
    store.trim(4);
    let mut owner2 = Owner::open(&mut store, &Limits::default(), 0);
    std::mem::swap(&mut owner, &mut owner2);
    let ask = owner.ask(ALICE, who("bob"), AskBody::Mark { seq: 2 });
    owner.settle(&mut store);
    assert!(matches!(owner.answer(ALICE, ask), Answer::Marked { unread: 3, .. }));
    let ask = owner.ask(ALICE, who("bob"), AskBody::Mark { seq: 99 });
    owner.settle(&mut store);
    let mark = Mark { seq: 6, ordinal: 6 };
    assert_eq!(owner.answer(ALICE, ask), &Answer::Marked { mark, unread: 0 });
}

#[test]
fn an_idle_room_can_be_dropped_and_opened_again() {
    let (mut store, mut owner) = world(2);
    owner.watch(BOB, 1);
    owner.attach(&mut store, BOB, who("bob"), None);
    owner.pass(10_000);
    owner.settle(&mut store);
    let later = owner.now.plus_ms(10_000_000);
    assert!(!owner.room.is_idle(later), "it is watched");
    owner.room.handle_unwatch(owner.now, BOB, 1);
    assert!(!owner.room.is_idle(later), "somebody is here");
    owner.ask(BOB, who("bob"), AskBody::Detach { left: true });
    owner.poll();
    assert!(!owner.room.is_idle(owner.now) && owner.room.is_idle(later));
    assert_eq!(owner.room.poll_timeout(), None);
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let generation = Generation { counter: 9, random: 9 };
    let again = Who { generation, ..who("bob") };
    assert_eq!(owner.attach(&mut store, BOB, again, None).head, 2);
}

#[test]
fn an_attach_whose_read_fails_is_told_to_come_again_and_does_not_flap() {
    let (mut store, mut owner) = world(1);
    owner.watch(ALICE, 1);
    owner.attach(&mut store, BOB, who("bob"), None);
    owner.take_fed(ALICE);
    let ask = owner.ask(BOB, who("bob"), AskBody::Attach { after: None, recent: 0 });
    let (ticket, _) = owner.reads.pop_front().expect("a page is read");
    owner.room.handle_read(owner.now, ticket, Err(room::ReadFailed::Unavailable("slow".into())));
    owner.poll();
    let Answer::Unsubscribed(why) = owner.answer(BOB, ask) else { panic!("answered otherwise") };
    assert!(why.retry_after_ms.is_some());
    owner.pass(1_000);
    owner.attach(&mut store, BOB, who("bob"), None);
    owner.pass(60_000);
    assert_eq!(owner.take_fed(ALICE), []);
}
