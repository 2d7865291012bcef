//! Interleavings of two owners: one that is superseded and does not know it yet goes on to read, and
//! must claim before it says anything that only an owner can know. Numbers as in `interleavings.rs`.

mod common;

use common::*;
use model::{
    Answer, AppendError, AskBody, Catchup, Fed, Limits, LogId, Position, RefusalCode,
    SnapshotReason, UnsubscribedCode,
};

fn world() -> (Store, Owner) {
    let mut store = Store::default();
    let owner = Owner::open(&mut store, &Limits::default(), 0);
    (store, owner)
}

/// 7: a client that knows more than its owner is not told that it is ahead.
#[test]
fn ahead_is_said_only_after_another_claim() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m2", post("two"));
    let position = since(&store, 2);

    // The superseded owner has to claim; if it gets the slot, it reads on.
    let ask = a.ask(ALICE, who("ann"), AskBody::Attach { after: position, recent: 0 });
    assert!(!a.is_answered(ALICE, ask) && a.reclaim == Some(1));
    a.settle(&mut store);
    let subscription = a.subscribed(ALICE, ask);
    assert_eq!((subscription.head, &subscription.catchup), (2, &Catchup::Resumed { missed: 0 }));

    // Only the one that is up to date can say it.
    let ahead = since(&store, 9);
    let ask = a.ask(ALICE, who("ann"), AskBody::Attach { after: ahead, recent: 0 });
    a.settle(&mut store);
    let Catchup::Snapshot(snapshot) = &a.subscribed(ALICE, ask).catchup else { panic!("resumed") };
    assert_eq!(snapshot.reason, SnapshotReason::Ahead);
}

/// 7: an owner that learns that it is superseded ends its watches, and says no at once.
#[test]
fn a_superseded_owner_ends_its_watches_and_refuses_for_now() {
    let (mut store, mut a) = world();
    a.watch(BOB, 1);
    let ask = a.send(ALICE, who("ann"), publish("m1", post("one")));
    let queued = a.send(ALICE, who("ann"), publish("m2", post("two")));
    let _b = Owner::open(&mut store, &Limits::default(), 0);
    a.append(&mut store);
    for ask in [ask, queued] {
        let refusal = a.refused(ALICE, ask);
        assert_eq!((refusal.code, refusal.retry_after_ms), (RefusalCode::Unavailable, Some(0)));
    }
    let fed = a.take_fed(BOB);
    let Some(Fed::Unwatched { why, .. }) = fed.last() else { panic!("{fed:?}") };
    assert_eq!((why.code, why.retry_after_ms), (UnsubscribedCode::Unavailable, Some(0)));
    let attach = a.ask(ALICE, who("ann"), AskBody::Attach { after: None, recent: 0 });
    assert!(matches!(a.answer(ALICE, attach), Answer::Unsubscribed(_)));
}

/// 7: `since` above head: the owner claims before it judges.
#[test]
fn a_publish_that_knows_more_than_the_owner_waits_for_another_claim() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m2", post("two"));
    let sent = model::Publish { since: since(&store, 2), ..publish("m3", post("three")) };
    let ask = a.send(ALICE, who("ann"), sent);
    assert_eq!(a.reclaim, Some(1));
    a.settle(&mut store);
    assert_eq!(a.published(ALICE, ask), (3, false));

    let ahead = model::Publish { since: since(&store, 99), ..publish("m4", post("four")) };
    let ask = a.send(ALICE, who("ann"), ahead);
    a.settle(&mut store);
    assert_eq!(a.code(ALICE, ask), RefusalCode::LogChanged);
}

/// 7: a target that the owner does not know may have been written by another one.
#[test]
fn an_owner_claims_before_it_says_that_there_is_no_such_post() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m2", post("two"));
    let known = a.send(ALICE, who("ann"), publish("m3", edit(2, "dos")));
    let unknown = a.send(ALICE, who("ann"), publish("m4", edit(99, "?")));
    assert_eq!(a.reclaim, Some(1));
    a.settle(&mut store);
    assert_eq!(a.published(ALICE, known), (3, false));
    assert_eq!(a.code(ALICE, unknown), RefusalCode::TargetMissing);
}

/// 3 and 7: a page shows what the journal has committed but the owner does not know yet.
#[test]
fn a_page_waits_for_the_append_that_it_already_shows() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    owner.send(ALICE, who("ann"), publish("m2", post("two")));
    let body = AskBody::Attach { after: None, recent: 0 };
    let attach = owner.ask(BOB, who("bob"), body.clone());
    let batch = owner.batch.clone().expect("an append is out");
    store.append(owner.fence, batch).expect("committed");
    owner.read(&store, 0);
    assert!(!owner.is_answered(BOB, attach), "the append is not settled");
    owner.appended(Ok(()));
    assert_eq!(owner.subscribed(BOB, attach).head, 2);

    // The owner that is told nothing finds out by a claim.
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m3", post("three"));
    let attach = owner.ask(BOB, who("bob"), body);
    owner.read(&store, 0);
    assert!(!owner.is_answered(BOB, attach) && owner.reclaim == Some(2));
    owner.settle(&mut store);
    assert_eq!(owner.subscribed(BOB, attach).head, 3);
}

/// 5 and 7: the target was being appended, and is not any more.
#[test]
fn a_target_whose_append_failed_is_looked_for_by_a_claim() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    owner.send(ALICE, who("ann"), publish("m2", post("two")));
    let react = owner.send(BOB, who("bob"), publish("b1", react(2, "+")));
    assert!(!owner.is_answered(BOB, react));
    owner.appended(Err(AppendError::NoSpace));
    assert!(!owner.is_answered(BOB, react) && owner.reclaim == Some(1));
    owner.settle(&mut store);
    assert_eq!(owner.code(BOB, react), RefusalCode::TargetMissing);
}

/// 7: what the owner knew of a post is of the time before the claim.
#[test]
fn a_post_that_was_redacted_elsewhere_is_read_again_after_a_claim() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    a.say(&mut store, "ann", "m2", edit(1, "uno"));
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m3", redact(1));
    let late = model::Publish { since: since(&store, 3), ..publish("m4", edit(1, "dos")) };
    let late = a.send(ALICE, who("ann"), late);
    a.settle(&mut store);
    assert_eq!(a.code(ALICE, late), RefusalCode::TargetRedacted);
}

/// 7: between two of the owner's reads another one redacts.
#[test]
fn edits_that_another_owner_has_blanked_do_not_look_like_damage() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    a.say(&mut store, "ann", "m2", edit(1, "uno"));
    let mut a = Owner::open(&mut store, &Limits::default(), 10);
    let again = a.send(ALICE, who("ann"), publish("m3", redact(1)));
    a.read(&store, 0);
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m4", redact(1));
    a.settle(&mut store);
    assert_eq!(a.damaged, None);
    assert_eq!(a.published(ALICE, again), (3, true));
}

/// 7: a claim counts for those who had asked before it was made.
#[test]
fn a_claim_that_is_out_already_does_not_count_for_who_asks_now() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    let attach = |seq, store: &Store| AskBody::Attach { after: since(store, seq), recent: 0 };
    a.ask(BOB, who("bob"), attach(9, &store));
    let after = a.reclaim.take().expect("a claim is wanted");
    let (fence, head, tail) = (store.claim(), store.head(), store.tail(after));
    // The claim is made; before its answer comes, somebody else is the owner and writes.
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m2", post("two"));
    let ask = a.ask(ALICE, who("ann"), attach(2, &store));
    a.room.handle_reclaimed(a.now, fence, head, tail);
    a.poll();
    assert!(!a.is_answered(ALICE, ask) && a.reclaim.is_some());
    a.settle(&mut store);
    assert_eq!(a.subscribed(ALICE, ask).catchup, Catchup::Resumed { missed: 0 });
}

/// 12 and 7: who looks unborn may have been superseded.
#[test]
fn an_owner_of_an_unborn_room_claims_before_it_calls_a_log_another_one() {
    let (mut store, mut a) = world();
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m1", post("one"));
    let position = since(&store, 1);
    let subscription = a.attach(&mut store, ALICE, who("ann"), position);
    assert_eq!(subscription.catchup, Catchup::Resumed { missed: 0 });

    let other = Some(Position { log: LogId::new("other").expect("valid"), seq: 1 });
    let subscription = a.attach(&mut store, ALICE, who("ann"), other.clone());
    let Catchup::Snapshot(snapshot) = subscription.catchup else { panic!("resumed") };
    assert_eq!(snapshot.reason, SnapshotReason::LogChanged);
    let sent = model::Publish { since: other, ..publish("m2", post("two")) };
    let ask = a.send(ALICE, who("ann"), sent);
    a.settle(&mut store);
    assert_eq!(a.code(ALICE, ask), RefusalCode::LogChanged);
}
