//! Each interleaving that a plausible room gets wrong, by name. The numbers are those of the list
//! that the rules of the contract were made for.

mod common;

use common::*;
use model::{
    Answer, AppendError, AskBody, Catchup, ContentKind, Fed, Generation, HistoryAnchor, HistoryAsk,
    Limits, LogId, Mark, Now, Position, PresenceChange, RefusalCode, Roster, SnapshotReason,
    StateKey,
};
use room::Read;

fn world() -> (Store, Owner) {
    let mut store = Store::default();
    let owner = Owner::open(&mut store, &Limits::default(), 0);
    (store, owner)
}

/// 1: the owner is full and refuses p1, then has room and gets p2.
#[test]
fn a_publish_whose_predecessor_was_refused_is_not_admitted_before_it() {
    let mut store = Store::default();
    let limits = Limits { room_queue_max: 1, ..Limits::default() };
    let mut owner = Owner::open(&mut store, &limits, 0);
    let other = owner.send(BOB, who("bob"), publish("b0", post("in flight")));
    let waits = owner.send(BOB, who("bob"), publish("b1", post("fills the queue")));
    let p1 = owner.send(ALICE, who("ann"), publish("p1", post("one")));
    assert_eq!(owner.code(ALICE, p1), RefusalCode::Busy);
    owner.settle(&mut store);
    assert!(owner.is_answered(BOB, other) && owner.is_answered(BOB, waits));

    let second = model::Publish { after: Some(id("p1")), ..publish("p2", post("two")) };
    let p2 = owner.send(ALICE, who("ann"), second.clone());
    owner.settle(&mut store);
    let refusal = owner.refused(ALICE, p2);
    assert_eq!((refusal.code, refusal.retry_after_ms), (RefusalCode::PredecessorMissing, Some(0)));

    let p1 = owner.send(ALICE, who("ann"), publish("p1", post("one")));
    let p2 = owner.send(ALICE, who("ann"), second);
    owner.settle(&mut store);
    assert_eq!((owner.published(ALICE, p1), owner.published(ALICE, p2)), ((3, false), (4, false)));
}

/// 1: p1 dies with owner A, and p2 is the first thing that B sees.
#[test]
fn a_new_owner_does_not_admit_a_publish_whose_predecessor_died_with_the_old_one() {
    let (mut store, mut a) = world();
    a.send(ALICE, who("ann"), publish("p1", post("one")));
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    let second = model::Publish { after: Some(id("p1")), ..publish("p2", post("two")) };
    let p2 = b.send(ALICE, who("ann"), second);
    b.settle(&mut store);
    assert_eq!(b.code(ALICE, p2), RefusalCode::PredecessorMissing);
    a.append(&mut store);
    assert!(store.records.is_empty(), "the old owner is fenced");
}

/// 1: an edit waits for a read, and the next post must not overtake it.
#[test]
fn what_waits_for_a_read_keeps_its_place_while_later_reads_are_out_already() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    let mut owner = Owner::open(&mut store, &Limits::default(), 10);
    let first = owner.send(ALICE, who("ann"), publish("m2", edit(1, "uno")));
    let next = owner.send(ALICE, who("ann"), publish("m3", post("two")));
    let react = owner.send(ALICE, who("ann"), publish("m4", react(1, "+")));
    assert!(owner.batch.is_none(), "the post waits behind the edit");
    assert_eq!(owner.reads.len(), 2, "the post of both, and the reaction's state");
    while !owner.reads.is_empty() {
        let last = owner.reads.len() - 1;
        owner.read(&store, last);
    }
    owner.settle(&mut store);
    let seqs = [first, next, react].map(|ask| owner.published(ALICE, ask).0);
    assert_eq!(seqs, [2, 3, 4]);
}

/// 1: when a queued entry fails, what is chained to it fails; what is not goes on.
#[test]
fn what_is_chained_to_a_failed_publish_fails_and_what_is_not_goes_on() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    let bad = owner.send(BOB, who("bob"), publish("b1", edit(1, "not mine")));
    let chained = model::Publish { after: Some(id("b1")), ..publish("b2", post("chained")) };
    let chained = owner.send(BOB, who("bob"), chained);
    let free = owner.send(ALICE, who("ann"), publish("m2", post("free")));
    owner.settle(&mut store);
    assert_eq!(owner.code(BOB, bad), RefusalCode::NotAuthor);
    assert_eq!(owner.code(BOB, chained), RefusalCode::PredecessorMissing);
    assert_eq!(owner.published(ALICE, free), (2, false));
}

/// 2: sent again after an hour, to an owner that has forgotten, and to one that never knew.
#[test]
fn a_copy_is_found_however_late_it_is_sent_again() {
    let mut store = Store::default();
    let limits = Limits { dedup_window: 10, batch_entries_max: 100, ..Limits::default() };
    let mut owner = Owner::open(&mut store, &limits, 0);
    owner.say(&mut store, "ann", "late", post("once"));
    for n in 0..3_000 {
        owner.send(BOB, who("bob"), publish(&format!("{n}"), post("later")));
        owner.settle(&mut store);
    }
    let resend =
        model::Publish { since: Some(Position::origin()), ..publish("late", post("once")) };
    let ask = owner.send(ALICE, who("ann"), resend.clone());
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, ask), (1, true));

    let mut owner = Owner::open(&mut store, &limits, 5);
    let ask = owner.send(ALICE, who("ann"), resend);
    assert_eq!(owner.reads.len(), 1);
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, ask), (1, true));
}

/// 2: beyond the bound, or where it was trimmed, nobody guesses.
#[test]
fn what_cannot_be_known_is_undecidable() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    let like = store.records[0].clone();
    for seq in 2..=65_538 {
        let id = model::MessageId::new(&format!("filler-{seq}")).expect("valid");
        store.records.push(model::Record { seq, id, ordinal: seq, ..like.clone() });
    }
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let decidable = since(&store, 2);
    let ask = model::Publish { since: decidable, ..publish("m2", post("two")) };
    let ask = owner.send(ALICE, who("ann"), ask);
    let beyond = model::Publish { since: since(&store, 1), ..publish("m3", post("three")) };
    let beyond = owner.send(ALICE, who("ann"), beyond);
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, ask), (65_539, false));
    assert_eq!(owner.code(ALICE, beyond), RefusalCode::Undecidable);
    assert!(!owner.refused(ALICE, beyond).is_retryable());

    store.trim(65_500);
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let at_edge = model::Publish { since: since(&store, 65_499), ..publish("m4", post("four")) };
    let at_edge = owner.send(ALICE, who("ann"), at_edge);
    let below = model::Publish { since: since(&store, 65_498), ..publish("m5", post("five")) };
    let below = owner.send(ALICE, who("ann"), below);
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, at_edge), (65_540, false));
    assert_eq!(owner.code(ALICE, below), RefusalCode::Undecidable);
}

/// 3: an append whose outcome is unknown did commit.
#[test]
fn an_unknown_append_that_committed_is_answered_only_after_the_claim() {
    let (mut store, mut owner) = world();
    owner.watch(BOB, 1);
    let ask = owner.send(ALICE, who("ann"), publish("m1", post("one")));
    owner.lose_append(&mut store);
    store.arrive();
    assert!(!owner.is_answered(ALICE, ask) && entries(&owner.fed[&BOB]).is_empty());
    let behind = owner.send(ALICE, who("ann"), publish("m2", post("two")));
    assert!(owner.batch.is_none(), "nothing is appended before the claim");
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, ask), (1, false));
    assert_eq!(owner.published(ALICE, behind), (2, false));
    assert_eq!(entries(&owner.fed[&BOB]).len(), 2);
}

/// 3: the lost append arrives after the tail was read; the claim keeps it out.
#[test]
fn an_unknown_append_that_did_not_commit_is_refused_and_cannot_come_later() {
    let (mut store, mut owner) = world();
    owner.watch(BOB, 1);
    let ask = owner.send(ALICE, who("ann"), publish("m1", post("one")));
    owner.lose_append(&mut store);
    owner.settle(&mut store);
    store.arrive();
    assert!(store.records.is_empty());
    assert_eq!(owner.code(ALICE, ask), RefusalCode::Unavailable);
    assert_eq!(owner.refused(ALICE, ask).retry_after_ms, Some(0));
    assert!(entries(&owner.fed[&BOB]).is_empty());
    let again = owner.send(ALICE, who("ann"), publish("m1", post("one")));
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, again), (1, false));
}

/// 3: what an unknown append erased is told to watchers once it is known.
#[test]
fn an_unknown_redaction_that_committed_is_fed_after_the_claim() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("secret"));
    owner.watch(BOB, 1);
    let ask = owner.send(ALICE, who("ann"), publish("m2", redact(1)));
    owner.read(&store, 0);
    owner.lose_append(&mut store);
    store.arrive();
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, ask), (2, false));
    let fed = owner.take_fed(BOB);
    assert!(
        fed.iter().any(|fed| matches!(fed, Fed::Erased { entries, .. } if entries[0].seq == 1))
    );
    let late = owner.send(ALICE, who("ann"), publish("m3", edit(1, "again")));
    owner.settle(&mut store);
    assert_eq!(owner.code(ALICE, late), RefusalCode::TargetRedacted);
}

/// 5: one append at a time; after a failure every number is free again.
#[test]
fn a_failed_append_leaves_no_hole_and_refuses_in_order() {
    for (error, code) in [
        (AppendError::Unavailable("down".into()), RefusalCode::Unavailable),
        (AppendError::NoSpace, RefusalCode::StorageFull),
        (AppendError::Poisoned("broken".into()), RefusalCode::Unavailable),
    ] {
        let (mut store, mut owner) = world();
        let one = owner.send(ALICE, who("ann"), publish("m1", post("one")));
        let second = model::Publish { after: Some(id("m1")), ..publish("m2", post("two")) };
        let two = owner.send(ALICE, who("ann"), second);
        let three = owner.send(BOB, who("bob"), publish("m3", post("three")));
        assert_eq!(owner.batch.as_ref().map(|b| b.records.len()), Some(1), "one append at a time");
        owner.appended(Err(error));
        assert_eq!(owner.code(ALICE, one), code);
        assert!(owner.refused(ALICE, one).is_retryable());
        owner.settle(&mut store);
        assert_eq!(owner.code(ALICE, two), RefusalCode::PredecessorMissing);
        assert_eq!(owner.published(BOB, three), (1, false));
        assert!(owner.order.windows(2).all(|w| w[0] < w[1]), "answered in order");
    }
}

/// 3: what was read before a claim may be out of date after it.
#[test]
fn what_is_read_across_a_claim_is_read_again() {
    let (mut store, mut a) = world();
    a.say(&mut store, "ann", "m1", post("one"));
    let mut a = Owner::open(&mut store, &Limits::default(), 0);
    let waits = a.send(ALICE, who("ann"), publish("m2", edit(1, "uno")));
    let (ticket, read) = a
        .reads
        .iter()
        .find(|(_, read)| matches!(read, Read::Target { .. }))
        .cloned()
        .expect("the post is read");
    let stale = store.read(&read);
    a.room.handle_read(a.now, 0, stale.clone());
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    let redact = b.send(ALICE, who("ann"), publish("m3", redact(1)));
    b.settle(&mut store);
    assert_eq!(b.published(ALICE, redact), (2, false));
    let ahead = model::Publish { since: since(&store, 2), ..publish("m4", post("ahead")) };
    a.send(ALICE, who("ann"), ahead);
    a.claim(&mut store);
    a.room.handle_read(a.now, ticket, stale);
    a.poll();
    a.settle(&mut store);
    assert_eq!(a.code(ALICE, waits), RefusalCode::TargetRedacted);
}

/// 3: a page showed an append of unknown outcome that did not last.
#[test]
fn a_page_that_was_read_before_a_claim_is_read_again() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    let lost = owner.send(ALICE, who("ann"), publish("m2", post("lost")));
    let attach = owner.ask(BOB, who("bob"), AskBody::Attach { after: None, recent: 0 });
    let mut primary = store.clone();
    let batch = owner.batch.clone().expect("an append is out");
    primary.append(owner.fence, batch).expect("seen, but never confirmed");
    owner.read(&primary, 0);
    owner.appended(Err(AppendError::Unknown("the standby took over".into())));
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    b.say(&mut store, "ann", "m3", post("another"));
    owner.settle(&mut store);
    assert_eq!(owner.code(ALICE, lost), RefusalCode::Unavailable);
    let Catchup::Snapshot(snapshot) = &owner.subscribed(BOB, attach).catchup else {
        panic!("resumed")
    };
    let texts: Vec<String> = snapshot.page.posts.iter().map(|post| text(&post.payload)).collect();
    assert!(!texts.contains(&"2/2 ann: lost".to_owned()), "{texts:?}");
}

/// 9 and 3: retention moved on while somebody else was the owner.
#[test]
fn a_claim_tells_what_was_trimmed_meanwhile() {
    let (mut store, mut owner) = world();
    for n in 0..5 {
        owner.say(&mut store, "ann", &format!("m{n}"), post("x"));
    }
    owner.watch(BOB, 1);
    store.trim(4);
    let position = since(&store, 9);
    let subscription = owner.attach(&mut store, ALICE, who("bob"), position);
    assert_eq!((subscription.first, subscription.unread), (4, 2));
    assert!(owner.take_fed(BOB).contains(&Fed::Trimmed { watch: 1, first: 4 }));
}

/// 5: too many for one transaction: fewer are tried, in the same order.
#[test]
fn what_is_too_large_together_is_appended_in_parts_and_in_order() {
    let (mut store, mut owner) = world();
    let blocker = owner.send(BOB, who("bob"), publish("b", post("blocker")));
    let asks: Vec<_> = (0..8)
        .map(|n| owner.send(ALICE, who("ann"), publish(&format!("m{n}"), post("x"))))
        .collect();
    owner.append(&mut store);
    assert!(owner.is_answered(BOB, blocker));
    owner.appended(Err(AppendError::TooLarge { bytes_max: 10 }));
    assert_eq!(owner.batch.as_ref().map(|batch| batch.records.len()), Some(4));
    owner.appended(Err(AppendError::TooLarge { bytes_max: 10 }));
    assert_eq!(owner.batch.as_ref().map(|batch| batch.records.len()), Some(2));
    owner.settle(&mut store);
    let seqs: Vec<u64> = asks.iter().map(|ask| owner.published(ALICE, *ask).0).collect();
    assert_eq!(seqs, [2, 3, 4, 5, 6, 7, 8, 9]);

    let alone = owner.send(ALICE, who("ann"), publish("alone", post("x")));
    owner.appended(Err(AppendError::TooLarge { bytes_max: 10 }));
    assert_eq!(owner.code(ALICE, alone), RefusalCode::TooLarge);
    assert!(!owner.refused(ALICE, alone).is_retryable());
}

/// 9: trimmed while somebody replays.
#[test]
fn a_trim_is_told_and_positions_below_it_get_a_snapshot() {
    let (mut store, mut owner) = world();
    for n in 0..10 {
        owner.say(&mut store, "ann", &format!("m{n}"), post("x"));
    }
    owner.watch(BOB, 1);
    store.trim(6);
    let head = store.head().expect("born");
    owner.room.handle_trimmed(owner.now, &head);
    owner.poll();
    assert!(owner.take_fed(BOB).contains(&Fed::Trimmed { watch: 1, first: 6 }));
    let position = since(&store, 4);
    let subscription = owner.attach(&mut store, ALICE, who("bob"), position);
    let Catchup::Snapshot(snapshot) = subscription.catchup else { panic!("resumed") };
    assert_eq!((snapshot.reason, snapshot.page.posts.len()), (SnapshotReason::Trimmed, 5));
    assert_eq!(
        (subscription.first, subscription.unread),
        (6, 5),
        "marks count from the first kept"
    );
    let position = since(&store, 5);
    let subscription = owner.attach(&mut store, ALICE, who("bob"), position);
    assert_eq!(subscription.catchup, Catchup::Resumed { missed: 5 });
    let edit = owner.send(ALICE, who("ann"), publish("e", edit(5, "gone")));
    owner.settle(&mut store);
    assert_eq!(owner.code(ALICE, edit), RefusalCode::TargetMissing);
}

/// 9: the journal trims between the question and the answer.
#[test]
fn a_read_that_finds_its_range_trimmed_is_judged_again() {
    let (mut store, mut owner) = world();
    for n in 0..10 {
        owner.say(&mut store, "ann", &format!("m{n}"), post("x"));
    }
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let undecidable = model::Publish { since: since(&store, 2), ..publish("p", post("x")) };
    let undecidable = owner.send(ALICE, who("ann"), undecidable);
    let target = owner.send(ALICE, who("ann"), publish("q", react(3, "+")));
    let mark = owner.ask(ALICE, who("bob"), AskBody::Mark { seq: 3 });
    store.trim(6);
    owner.settle(&mut store);
    assert_eq!(owner.code(ALICE, undecidable), RefusalCode::Undecidable);
    assert_eq!(owner.code(ALICE, target), RefusalCode::TargetMissing);
    assert!(matches!(owner.answer(ALICE, mark), Answer::Marked { .. }));
    assert_eq!(owner.damaged, None);
}

/// 10: entry, tombstones and the reset fold are one transaction.
#[test]
fn a_redaction_blanks_the_post_and_all_its_edits_in_the_same_append() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("secret"));
    owner.say(&mut store, "ann", "m2", edit(1, "secret too"));
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    owner.watch(BOB, 1);
    // Another edit and a reaction stand ahead of it in the same append.
    let blocker = owner.send(ALICE, who("ann"), publish("m3", post("blocker")));
    owner.read(&store, 0);
    let edit = owner.send(ALICE, who("ann"), publish("m4", edit(1, "secret again")));
    let react = owner.send(BOB, who("bob"), publish("m5", react(1, "+")));
    let redact = owner.send(ALICE, who("ann"), publish("m6", redact(1)));
    while !owner.reads.is_empty() {
        owner.read(&store, 0);
    }
    owner.append(&mut store);
    let batch = owner.batch.clone().expect("the rest in one append");
    assert_eq!(batch.records.len(), 3);
    assert_eq!(batch.erasures.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 4]);
    assert!(batch.states.contains(&(StateKey::Fold(1), None)));
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, blocker).0, 3);
    assert_eq!([edit, redact].map(|ask| owner.published(ALICE, ask).0), [4, 6]);
    assert_eq!(owner.published(BOB, react).0, 5);

    let fed = owner.take_fed(BOB);
    assert!(fed.iter().all(|fed| !format!("{fed:?}").contains("secret")), "{fed:?}");
    let erased: Vec<u64> = fed
        .iter()
        .filter_map(|fed| match fed {
            Fed::Erased { entries, .. } => Some(entries.iter().map(|e| e.seq)),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(erased, [1, 2]);
    let tombstone = &store.records[0];
    assert_eq!((tombstone.kind, tombstone.ordinal), (ContentKind::Tombstone, 1));
    assert_eq!(text(&tombstone.payload), "redacted by ann: because");
}

/// 10: twice.
#[test]
fn redacting_twice_answers_the_standing_redaction_also_after_a_takeover() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("secret"));
    let one = owner.send(ALICE, who("ann"), publish("m2", redact(1)));
    let two = owner.send(BOB, moderator("mod"), publish("m3", redact(1)));
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, one), (2, false));
    assert_eq!(owner.published(BOB, two), (2, true));
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let again = owner.send(ALICE, who("ann"), publish("m4", redact(1)));
    // Any content with the id of what was redacted is a duplicate of its tombstone.
    let copy = owner.send(ALICE, who("ann"), publish("m1", post("anything")));
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, again), (2, true));
    assert_eq!(owner.published(ALICE, copy), (1, true));
}

/// 11: E2 attaches session s, then E1's late detach comes.
#[test]
fn a_late_detach_of_an_older_connection_is_inert() {
    let (mut store, mut owner) = world();
    let (e1, e2) = (ALICE, BOB);
    let newer = model::Who { generation: Generation { counter: 2, random: 0 }, ..who("ann") };
    owner.attach(&mut store, e1, who("ann"), None);
    owner.attach(&mut store, e2, newer.clone(), None);
    owner.ask(e1, who("ann"), AskBody::Detach { left: true });
    owner.room.handle_peer_lost(owner.now, e1);
    owner.pass(60_000);
    assert_eq!(present(&mut owner), ["ann"]);
    // A late attach of the older connection does not take the newer one's place either.
    owner.attach(&mut store, e1, who("ann"), None);
    owner.ask(e1, who("ann"), AskBody::Detach { left: true });
    assert_eq!(present(&mut owner), ["ann"]);
    owner.ask(e2, newer, AskBody::Detach { left: true });
    assert_eq!(present(&mut owner), [""; 0]);
}

/// 11: after a takeover nothing is told until the grace is over, then everything once.
#[test]
fn a_takeover_is_collected_in_silence() {
    let mut store = Store::default();
    let limits = Limits::default();
    let mut owner = Owner::open_at(&mut store, &limits, 0, Now::default(), true);
    owner.watch(BOB, 1);
    assert!(matches!(&owner.take_fed(BOB)[..], [Fed::Watching { presence: None, .. }]));
    for name in ["ann", "bob", "cid"] {
        owner.attach(&mut store, ALICE, who(name), None);
        owner.pass(1_000);
    }
    let ask = owner.ask(ALICE, who("ann"), AskBody::Presence);
    let refusal = owner.refused(ALICE, ask);
    assert_eq!((refusal.code, refusal.retry_after_ms), (RefusalCode::Collecting, Some(12_000)));
    assert_eq!(owner.take_fed(BOB), []);
    assert_eq!(owner.room.poll_timeout().map(|at| at.mono_us), Some(15_000_000));
    owner.pass(12_000);
    let fed = owner.take_fed(BOB);
    let [Fed::Presence { change: PresenceChange::Full(roster), .. }] = &fed[..] else {
        panic!("{fed:?}")
    };
    assert_eq!(roster.count, 3);
}

/// 12: nothing is minted before there is something to keep.
#[test]
fn a_log_is_born_with_its_first_message_and_not_before() {
    let (mut store, mut a) = world();
    let subscription = a.attach(&mut store, ALICE, who("ann"), None);
    assert_eq!((subscription.log, subscription.first, subscription.head), (LogId::none(), 0, 0));
    let mut b = Owner::open(&mut store, &Limits::default(), 0);
    let subscription = b.attach(&mut store, ALICE, who("ann"), Some(Position::origin()));
    assert_eq!(subscription.catchup, Catchup::Resumed { missed: 0 });
    b.watch(BOB, 1);
    b.say(&mut store, "ann", "m1", post("one"));
    let fed = b.take_fed(BOB);
    assert!(
        fed.iter().any(|fed| matches!(fed, Fed::Entries { log, .. } if *log == store.log)),
        "{fed:?}"
    );
    let subscription = b.attach(&mut store, ALICE, who("ann"), Some(Position::origin()));
    assert_eq!(subscription.catchup, Catchup::Resumed { missed: 1 });
}

/// 13: a clock that goes back.
#[test]
fn time_in_a_log_never_goes_back() {
    let (mut store, mut owner) = world();
    owner.now.wall_ms = 50_000;
    owner.say(&mut store, "ann", "m1", post("one"));
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    owner.now.wall_ms = 10;
    owner.say(&mut store, "ann", "m2", post("two"));
    assert_eq!(store.records[1].at_ms, 50_000);
}

/// 16: marks of many are written together, at most once in the interval, and never go back.
#[test]
fn marks_are_written_together_and_the_greatest_wins() {
    let (mut store, mut owner) = world();
    for n in 0..20 {
        owner.say(&mut store, "ann", &format!("m{n}"), post("x"));
    }
    owner.pass(10_000);
    owner.settle(&mut store);
    let before = store.appends;
    for seq in 1..=20 {
        for reader in 0..50 {
            owner.ask(BOB, who(&format!("reader{reader}")), AskBody::Mark { seq });
            owner.settle(&mut store);
        }
    }
    let ask = owner.ask(BOB, who("reader7"), AskBody::Mark { seq: 3 });
    assert_eq!(
        owner.answer(BOB, ask),
        &Answer::Marked { mark: Mark { seq: 20, ordinal: 20 }, unread: 0 }
    );
    owner.pass(1_000);
    owner.settle(&mut store);
    assert!(store.appends - before <= 2, "{} appends", store.appends - before);
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let subscription = owner.attach(&mut store, ALICE, who("reader7"), None);
    assert_eq!((subscription.mark.seq, subscription.unread), (20, 0));
}

/// 19: a page of posts, whatever lies between, with the edit that lies far behind.
#[test]
fn history_counts_posts_and_shows_what_became_of_them() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    owner.say(&mut store, "ann", "m2", post("two"));
    for n in 0..60 {
        owner.say(&mut store, &format!("user{n}"), &format!("r{n}"), react(1, "+"));
    }
    owner.say(&mut store, "ann", "m3", edit(1, "uno"));
    let body = AskBody::History(HistoryAsk { anchor: HistoryAnchor::Newest, limit: 50 });
    let ask = owner.ask(ALICE, who("user3"), body);
    owner.settle(&mut store);
    let Answer::History { page, .. } = owner.answer(ALICE, ask) else { panic!("no page") };
    assert_eq!((page.posts.len(), page.as_of, page.more), (2, 63, false));
    let post = &page.posts[0];
    assert_eq!(post.edit.as_ref().map(|(_, body)| text(body)), Some("uno".to_owned()));
    assert_eq!((post.reactions[0].count, post.reactions[0].users.len()), (60, 10));
    assert_eq!(page.mine, [(1, vec!["+".to_owned()])]);
}

fn present(owner: &mut Owner) -> Vec<String> {
    let ask = owner.ask(ALICE, who("spy"), AskBody::Presence);
    let Answer::Presence(Roster { users, .. }) = owner.answer(ALICE, ask) else {
        panic!("{:?}", owner.answer(ALICE, ask))
    };
    users.iter().map(|user| user.id.to_string()).collect()
}
