//! What may be written, by whom, and what it is answered.

mod common;

use common::*;
use model::limits::{EDITS_PER_POST_MAX, REACTION_KEYS_PER_POST_MAX};
use model::{
    Answer, AppendError, AskBody, ContentKind, Fed, Limits, Position, Publish, RefusalCode, Right,
    Rights, Who,
};

fn world() -> (Store, Owner) {
    let mut store = Store::default();
    let owner = Owner::open(&mut store, &Limits::default(), 0);
    (store, owner)
}

#[test]
fn the_same_id_with_other_content_is_a_conflict_and_with_the_same_a_duplicate() {
    let (mut store, mut owner) = world();
    let first = owner.send(ALICE, who("ann"), publish("m1", post("one")));
    let copy = owner.send(BOB, who("ann"), publish("m1", post("one")));
    let other = owner.send(BOB, who("ann"), publish("m1", post("two")));
    let namesake = owner.send(BOB, who("bob"), publish("m1", post("two")));
    assert!(!owner.is_answered(BOB, copy), "the first is not committed yet");
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, first), (1, false));
    assert_eq!(owner.published(BOB, copy), (1, true));
    assert_eq!(owner.code(BOB, other), RefusalCode::IdConflict);
    assert_eq!(owner.published(BOB, namesake), (2, false));
}

#[test]
fn a_copy_in_the_same_append_shares_the_fate_of_the_first() {
    let (mut store, mut owner) = world();
    owner.send(BOB, who("bob"), publish("b", post("blocker")));
    let first = owner.send(ALICE, who("ann"), publish("m1", post("one")));
    let copy = owner.send(BOB, who("ann"), publish("m1", post("one")));
    owner.append(&mut store);
    assert_eq!(owner.batch.as_ref().map(|batch| batch.records.len()), Some(1));
    owner.appended(Err(AppendError::NoSpace));
    assert_eq!(owner.code(ALICE, first), RefusalCode::StorageFull);
    assert_eq!(owner.code(BOB, copy), RefusalCode::StorageFull);
}

#[test]
fn a_publish_without_an_id_is_written_each_time() {
    let (mut store, mut owner) = world();
    let unary = Who { session: None, ..who("bot") };
    let publish = Publish { id: None, ..publish("unused", post("ping")) };
    for seq in 1..=3 {
        let ask = owner.send(ALICE, unary.clone(), publish.clone());
        owner.settle(&mut store);
        assert_eq!(owner.published(ALICE, ask), (seq, false));
    }
    assert_eq!(store.records[0].session, None);
    let mut ids: Vec<_> = store.records.iter().map(|record| record.id.clone()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn without_since_the_last_thousand_are_checked() {
    let (mut store, mut owner) = world();
    for n in 0..1_100 {
        owner.send(ALICE, who("ann"), publish(&format!("{n}"), post("x")));
        owner.settle(&mut store);
    }
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let within = owner.send(ALICE, who("ann"), publish("101", post("x")));
    let beyond = owner.send(ALICE, who("ann"), publish("99", post("x")));
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, within), (102, true));
    assert_eq!(owner.published(ALICE, beyond), (1_101, false));
}

#[test]
fn only_its_author_edits_a_post_and_only_the_author_or_a_moderator_redacts_it() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    let foreign_edit = owner.send(BOB, moderator("mod"), publish("b1", edit(1, "mine now")));
    let foreign_redact = owner.send(BOB, who("bob"), publish("b2", redact(1)));
    let own_edit = owner.send(ALICE, who("ann"), publish("m2", edit(1, "uno")));
    let moderated = owner.send(BOB, moderator("mod"), publish("b3", redact(1)));
    let late = owner.send(ALICE, who("ann"), publish("m3", edit(1, "dos")));
    let react = owner.send(ALICE, who("ann"), publish("m4", react(1, "+")));
    owner.settle(&mut store);
    assert_eq!(owner.code(BOB, foreign_edit), RefusalCode::NotAuthor);
    assert_eq!(owner.code(BOB, foreign_redact), RefusalCode::NotAuthor);
    assert_eq!(owner.published(ALICE, own_edit), (2, false));
    assert_eq!(owner.published(BOB, moderated), (3, false));
    assert_eq!(owner.code(ALICE, late), RefusalCode::TargetRedacted);
    assert_eq!(owner.code(ALICE, react), RefusalCode::TargetRedacted);
    assert_eq!(text(&store.records[1].payload), "redacted by mod: because");
}

#[test]
fn only_posts_are_targets() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    owner.say(&mut store, "ann", "m2", edit(1, "uno"));
    for (name, target) in [("an-edit", 2), ("nothing", 0), ("the-future", 50)] {
        let ask = owner.send(ALICE, who("ann"), publish(name, react(target, "+")));
        owner.settle(&mut store);
        assert_eq!(owner.code(ALICE, ask), RefusalCode::TargetMissing, "{name}");
    }
}

#[test]
fn a_post_takes_so_many_edits_and_kinds_of_reactions() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    let mut edits = Vec::new();
    for n in 0..=EDITS_PER_POST_MAX {
        edits.push(owner.send(
            ALICE,
            who("ann"),
            publish(&format!("e{n}"), edit(1, &format!("{n}"))),
        ));
    }
    let keys: Vec<_> = (0..=REACTION_KEYS_PER_POST_MAX)
        .map(|n| {
            owner.send(ALICE, who("ann"), publish(&format!("r{n}"), react(1, &format!("{n}"))))
        })
        .collect();
    let known = owner.send(BOB, who("bob"), publish("known", react(1, "0")));
    owner.settle(&mut store);
    let last = edits.pop().expect("one too many");
    assert_eq!(owner.code(ALICE, last), RefusalCode::TooManyChanges);
    assert!(edits.iter().all(|ask| !owner.published(ALICE, *ask).1));
    assert_eq!(owner.code(ALICE, *keys.last().expect("one too many")), RefusalCode::TooManyChanges);
    assert!(!owner.published(BOB, known).1);

    let redact = owner.send(ALICE, who("ann"), publish("gone", redact(1)));
    owner.settle(&mut store);
    owner.published(ALICE, redact);
    let tombstones = store.records.iter().filter(|r| r.kind == ContentKind::Tombstone).count();
    assert_eq!(tombstones as u32, EDITS_PER_POST_MAX + 1);
}

#[test]
fn a_reaction_that_changes_nothing_writes_nothing() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    let asks = [
        ("1", react(1, "+")),
        ("2", react(1, "+")),
        ("3", unreact(1, "+")),
        ("4", unreact(1, "+")),
    ]
    .map(|(name, content)| owner.send(BOB, who("bob"), publish(name, content)));
    owner.settle(&mut store);
    let answers = asks.map(|ask| owner.published(BOB, ask));
    assert_eq!(answers, [(2, false), (2, true), (3, false), (1, true)]);
    assert_eq!(store.records.len(), 3);
    assert!(store.fold(1).reactions.is_empty());
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    owner.say(&mut store, "bob", "5", react(1, "-"));
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let again = owner.send(BOB, who("bob"), publish("6", react(1, "-")));
    owner.settle(&mut store);
    assert_eq!(owner.published(BOB, again), (4, true));
}

/// Its answer was lost, and what came behind it has changed the post since: it would be written last.
#[test]
fn a_reaction_that_changed_nothing_is_not_judged_again_when_it_is_sent_again() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    owner.say(&mut store, "ann", "m2", react(1, "+"));
    // One alone, and one behind another publish of the same append.
    for (unchanged, ahead, undo) in [("a1", "a2", "a3"), ("b1", "b2", "b3")] {
        if unchanged == "b1" {
            owner.say(&mut store, "ann", "redo", react(1, "+"));
            owner.send(BOB, who("bob"), publish("blocker", post("x")));
            owner.send(BOB, who("bob"), publish(ahead, post("ahead in the same append")));
        }
        owner.send(ALICE, who("ann"), publish(unchanged, react(1, "+")));
        let chained = Publish { after: Some(id(unchanged)), ..publish(undo, unreact(1, "+")) };
        let undone = owner.send(ALICE, who("ann"), chained.clone());
        owner.settle(&mut store);
        let undone = owner.published(ALICE, undone);
        assert!(!undone.1, "a publish may follow one that has no entry");
        let again = owner.send(ALICE, who("ann"), publish(unchanged, react(1, "+")));
        let chained = owner.send(ALICE, who("ann"), chained);
        owner.settle(&mut store);
        assert!(owner.published(ALICE, again).1);
        assert_eq!(owner.published(ALICE, chained), (undone.0, true));
    }
}

/// Edits are read for a redaction while one of them is being appended, and another append fails.
#[test]
fn a_redaction_finds_edits_that_were_committed_while_it_was_reading() {
    let mut store = Store::default();
    let limits = Limits { batch_entries_max: 1, ..Limits::default() };
    let mut owner = Owner::open(&mut store, &limits, 0);
    owner.say(&mut store, "ann", "m1", post("one"));
    owner.say(&mut store, "ann", "e1", edit(1, "uno"));
    let mut owner = Owner::open(&mut store, &limits, 10);
    owner.send(ALICE, who("ann"), publish("e2", edit(1, "ein")));
    owner.send(BOB, who("bob"), publish("r1", react(1, "+")));
    let redact = owner.send(ALICE, who("ann"), publish("gone", redact(1)));
    while let Some(index) =
        owner.reads.iter().position(|(_, r)| !matches!(r, room::Read::Changes { .. }))
    {
        owner.read(&store, index);
    }
    let (ticket, read) = owner.reads.pop_front().expect("edits are being read");
    let stale = store.read(&read);
    owner.append(&mut store);
    owner.appended(Err(AppendError::NoSpace));
    while let Some(index) =
        owner.reads.iter().position(|(_, r)| matches!(r, room::Read::Target { .. }))
    {
        owner.read(&store, index);
    }
    owner.room.handle_read(owner.now, ticket, stale);
    owner.poll();
    owner.settle(&mut store);
    assert_eq!(owner.damaged, None);
    assert_eq!(owner.published(ALICE, redact), (4, false));
    assert!(store.records[..3].iter().all(|record| record.kind == ContentKind::Tombstone));
}

#[test]
fn every_ask_takes_its_right() {
    let (_, mut owner) = world();
    let without = |right: Right| {
        let rights = Right::ALL.into_iter().filter(|r| *r != right);
        Who { rights: rights.fold(Rights::NONE, Rights::with), ..who("ann") }
    };
    let system = publish("m1", content(ContentKind::System, 0, "", false, "notice"));
    let signal = AskBody::Signal { kind: "typing".into(), data: bytes::Bytes::new() };
    for (who, body) in [
        (without(Right::Publish), AskBody::Publish(publish("m1", post("x")))),
        (Who { rights: Rights::FULL, ..who("ann") }, AskBody::Publish(system)),
        (without(Right::Signal), signal),
        (without(Right::Presence), AskBody::Presence),
        (without(Right::Read), AskBody::Room),
        (without(Right::Read), AskBody::Mark { seq: 1 }),
    ] {
        let ask = owner.ask(ALICE, who, body);
        assert_eq!(owner.code(ALICE, ask), RefusalCode::Forbidden);
    }
    for body in [AskBody::Summary, AskBody::Attach { after: None, recent: 1 }] {
        let ask = owner.ask(ALICE, without(Right::Read), body);
        assert!(matches!(owner.answer(ALICE, ask), Answer::Unsubscribed(_)));
    }
    let ask = owner.ask(BOB, who("bob"), AskBody::Presence);
    let Answer::Presence(roster) = owner.answer(BOB, ask) else { panic!("no roster") };
    assert_eq!(roster.count, 0, "who may not read is not present");
}

#[test]
fn what_waits_too_long_is_refused_but_not_what_is_being_appended() {
    let (mut store, mut owner) = world();
    let out = owner.send(ALICE, who("ann"), publish("m1", post("one")));
    let waits = owner.send(ALICE, who("ann"), publish("m2", post("two")));
    assert_eq!(owner.room.poll_timeout().map(|at| at.mono_us), Some(10_000_001));
    owner.pass(10_000);
    assert_eq!(owner.code(ALICE, waits), RefusalCode::DeadlineExceeded);
    assert!(!owner.is_answered(ALICE, out));
    owner.settle(&mut store);
    assert_eq!(owner.published(ALICE, out), (1, false));
}

#[test]
fn a_read_that_fails_refuses_those_who_need_it_and_no_others() {
    let (mut store, mut owner) = world();
    owner.say(&mut store, "ann", "m1", post("one"));
    let mut owner = Owner::open(&mut store, &Limits::default(), 5);
    let needs = owner.send(ALICE, who("ann"), publish("m2", edit(1, "uno")));
    let free = owner.send(BOB, who("bob"), publish("b1", post("free")));
    let (ticket, _) = owner.reads.pop_front().expect("the post is read");
    owner.room.handle_read(owner.now, ticket, Err(room::ReadFailed::Unavailable("slow".into())));
    owner.poll();
    owner.settle(&mut store);
    assert_eq!(owner.code(ALICE, needs), RefusalCode::Unavailable);
    assert_eq!(owner.published(BOB, free), (2, false));
}

#[test]
fn a_damaged_room_says_so_and_stops() {
    let (mut store, mut owner) = world();
    owner.watch(BOB, 1);
    let ask = owner.send(ALICE, who("ann"), publish("m1", post("one")));
    owner.appended(Err(AppendError::Corrupt("a bad checksum".into())));
    assert_eq!(owner.damaged.as_deref(), Some("a bad checksum"));
    assert_eq!(owner.code(ALICE, ask), RefusalCode::RoomDamaged);
    assert!(matches!(owner.take_fed(BOB).last(), Some(Fed::Unwatched { .. })));
    let ask = owner.send(ALICE, who("ann"), publish("m2", post("two")));
    assert_eq!(owner.code(ALICE, ask), RefusalCode::RoomDamaged);
    assert!(owner.batch.is_none());

    // An answer that cannot be right stops it as well.
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    owner.say(&mut store, "ann", "m1", post("one"));
    let mut owner = Owner::open(&mut store, &Limits::default(), 0);
    let ask = owner.send(ALICE, who("ann"), publish("m2", post("two")));
    let (ticket, _) = owner.reads.pop_front().expect("ids are read");
    owner.room.handle_read(owner.now, ticket, Ok(room::ReadDone::Ids(Vec::new())));
    owner.poll();
    assert!(owner.damaged.is_some());
    assert_eq!(owner.code(ALICE, ask), RefusalCode::RoomDamaged);
}

#[test]
fn ids_that_were_read_for_somebody_late_are_let_go_again() {
    let mut store = Store::default();
    let limits = Limits { dedup_window: 100, ..Limits::default() };
    let mut owner = Owner::open(&mut store, &limits, 0);
    for n in 0..2_000 {
        owner.send(ALICE, who("ann"), publish(&format!("{n}"), post("x")));
        owner.settle(&mut store);
    }
    let read = |owner: &mut Owner, store: &mut Store, name: &str| {
        let from_start = Publish { since: Some(Position::origin()), ..publish(name, post("x")) };
        let ask = owner.send(ALICE, who("ann"), from_start);
        let reads = owner.reads.len();
        owner.settle(store);
        owner.published(ALICE, ask);
        reads
    };
    assert_eq!(read(&mut owner, &mut store, "a"), 1);
    owner.say(&mut store, "ann", "b", post("x"));
    assert_eq!(read(&mut owner, &mut store, "c"), 1, "they were let go");
}
