//! What is appended, and what is refused.

use bytes::Bytes;
use model::{AppendError, ContentKind, LogId, StateKey};

use super::Subject;
use super::owner::{ALL, Owner, about, post, record, room, user};

pub async fn a_conflict_in_one_room_leaves_the_other_rooms_appended(subject: &mut impl Subject) {
    let journal = subject.open();
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let (a, b, c) = (room("a"), room("b"), room("c"));
    owner.write(&b, vec![post("b1")]).await;
    let first = owner.part(&a, vec![post("a1")]).await;
    let mut wrong = owner.part(&b, vec![post("b2")]).await;
    wrong.records[0].seq = 9;
    let last = owner.part(&c, vec![post("c1"), post("c2")]).await;
    let results = owner.append(vec![first, wrong, last]).await;
    let conflict = Err(AppendError::SequenceConflict { expected: 2 });
    assert_eq!(results, vec![Ok(()), conflict, Ok(())]);
    for (name, head) in [(&a, 1), (&b, 1), (&c, 2)] {
        let stored = journal.head(name).await.expect("readable").expect("born");
        assert_eq!(stored.head, head, "{name}");
    }
}

pub async fn numbers_are_dense_and_a_gap_or_a_repeat_is_a_conflict(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, (0..5).map(|n| post(&n.to_string())).collect()).await;
    for seq in [0, 1, 5, 7, u64::MAX] {
        let mut part = owner.part(&lobby, vec![post("x")]).await;
        part.records[0].seq = seq;
        let conflict = AppendError::SequenceConflict { expected: 6 };
        assert_eq!(owner.append(vec![part]).await, vec![Err(conflict)], "seq {seq}");
    }
    let mut gap = owner.part(&lobby, vec![post("x"), post("y")]).await;
    gap.records[1].seq += 1;
    assert!(owner.append(vec![gap]).await[0].is_err());
    owner.write(&lobby, vec![post("six")]).await;
    let seqs: Vec<_> = journal.range(&lobby, 1, ALL, ALL).await.expect("readable");
    assert_eq!(seqs.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

pub async fn places_in_the_slot_only_rise_and_a_claim_tells_the_last(subject: &mut impl Subject) {
    let journal = subject.open();
    let (a, b) = (room("a"), room("b"));
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&a, vec![post("1"), post("2")]).await;
    owner.write(&b, vec![post("3")]).await;
    let mut stale = owner.part(&a, vec![post("4")]).await;
    stale.records[0].slot_pos = 3;
    let conflict = AppendError::SequenceConflict { expected: 3 };
    assert_eq!(owner.append(vec![stale]).await, vec![Err(conflict)]);
    assert_eq!(owner.claim_again().await.slot_pos, 3);
}

pub async fn a_log_is_born_with_its_first_entry_and_no_other_log_takes_its_place(
    subject: &mut impl Subject,
) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    assert_eq!(journal.head(&lobby).await, Ok(None));
    let mut part = owner.part(&lobby, vec![post("one")]).await;
    part.log = LogId::none();
    assert!(owner.append(vec![part.clone()]).await[0].is_err(), "a log has a name");
    part.log = LogId::new("first").expect("valid");
    assert_eq!(owner.append(vec![part.clone()]).await, vec![Ok(())]);
    let head = journal.head(&lobby).await.expect("readable").expect("born");
    assert_eq!((head.log.as_str(), head.first, head.head), ("first", 1, 1));
    let mut other = owner.part(&lobby, vec![post("two")]).await;
    other.log = LogId::new("second").expect("valid");
    let conflict = AppendError::SequenceConflict { expected: 2 };
    assert_eq!(owner.append(vec![other]).await, vec![Err(conflict)]);
}

pub async fn ordinals_count_posts_and_nothing_else(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, vec![post("one"), about(ContentKind::Edit, 1), post("two")]).await;
    let head = journal.head(&lobby).await.expect("readable").expect("born");
    assert_eq!((head.head, head.ordinal, head.first_ordinal), (3, 2, 0));
    for (kind, ordinal) in [
        (ContentKind::Post, 2),
        (ContentKind::Post, 4),
        (ContentKind::Edit, 3),
        (ContentKind::System, 3),
        (ContentKind::Reaction, 1),
    ] {
        let mut part = owner.part(&lobby, vec![about(kind, 0)]).await;
        part.records[0].ordinal = ordinal;
        assert!(owner.append(vec![part]).await[0].is_err(), "{kind:?} with ordinal {ordinal}");
    }
}

pub async fn a_part_is_all_or_nothing(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, vec![post("one")]).await;
    let mut part = owner.part(&lobby, vec![post("two"), post("three"), post("four")]).await;
    part.states.push((StateKey::Mark(user("ann")), Some(Bytes::from_static(b"mark"))));
    part.records[2].seq = 9;
    assert!(owner.append(vec![part]).await[0].is_err());
    assert_eq!(journal.range(&lobby, 1, ALL, ALL).await.expect("readable").len(), 1);
    let keys = vec![StateKey::Mark(user("ann"))];
    assert_eq!(journal.states(&lobby, keys).await, Ok(vec![None]));
}

pub async fn a_part_that_is_too_large_is_refused_and_the_rest_is_not(subject: &mut impl Subject) {
    let journal = subject.open();
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut huge = owner.part(&room("huge"), vec![post(&"x".repeat(9 * 1024 * 1024))]).await;
    let mark = StateKey::Mark(user("ann"));
    huge.states.push((mark.clone(), Some(Bytes::from_static(b"mark"))));
    let small = owner.part(&room("small"), vec![post("x")]).await;
    let results = owner.append(vec![huge, small]).await;
    assert!(matches!(results[0], Err(AppendError::TooLarge { .. })), "{results:?}");
    assert_eq!(results[1], Ok(()));
    assert_eq!(journal.head(&room("huge")).await, Ok(None));
    assert_eq!(journal.states(&room("huge"), vec![mark]).await, Ok(vec![None]));
}

pub async fn a_room_belongs_to_one_slot(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    Owner::claim(&journal, 0, 1, 1).await.write(&lobby, vec![post("one")]).await;
    let mut other = Owner::claim(&journal, 1, 1, 1).await;
    let part = other.part(&lobby, vec![post("two")]).await;
    let results = other.append(vec![part]).await;
    assert!(matches!(results[0], Err(AppendError::Corrupt(_))), "{results:?}");
}

pub async fn states_are_put_and_deleted_with_the_entries_that_change_them(
    subject: &mut impl Subject,
) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mark = StateKey::Mark(user("ann"));
    let fold = StateKey::Fold(1);
    let reaction = StateKey::Reaction(1, user("ann"), "👍".into());
    let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let mut part = owner.part(&lobby, vec![post("one")]).await;
    part.states = vec![
        (mark.clone(), value("m")),
        (fold.clone(), value("early")),
        (reaction.clone(), value("r")),
        (fold.clone(), value("late")),
    ];
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    let keys = vec![fold.clone(), mark.clone(), StateKey::Fold(2), reaction.clone()];
    let stored = journal.states(&lobby, keys.clone()).await;
    assert_eq!(stored, Ok(vec![value("late"), value("m"), None, value("r")]));
    let mut part = owner.part(&lobby, Vec::new()).await;
    part.states = vec![(reaction, None), (mark, value(""))];
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    let stored = journal.states(&lobby, keys).await;
    assert_eq!(stored, Ok(vec![value("late"), value(""), None, None]));
    assert_eq!(journal.states(&room("else"), vec![fold]).await, Ok(vec![None]));
}

pub async fn everything_is_there_again_after_reopening(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 5, 3, 1).await;
    let written = owner.write(&lobby, (0..40).map(|n| post(&format!("text {n}"))).collect()).await;
    let mut part = owner.part(&lobby, Vec::new()).await;
    let mark = StateKey::Mark(user("ann"));
    part.states.push((mark.clone(), Some(Bytes::from_static(b"mark"))));
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    let head = journal.head(&lobby).await;
    let fence = owner.fence;
    drop((owner, journal));
    let journal = subject.open();
    assert_eq!(journal.range(&lobby, 1, ALL, ALL).await, Ok(written));
    assert_eq!(journal.head(&lobby).await, head);
    let stored = journal.states(&lobby, vec![mark]).await;
    assert_eq!(stored, Ok(vec![Some(Bytes::from_static(b"mark"))]));
    assert!(journal.claim(5, 2, 9).await.is_err(), "the claim was durable");
    let claimed = journal.claim(5, 4, 9).await.expect("a higher epoch");
    assert_eq!((claimed.old_fence, claimed.slot_pos), (fence, 40));
    let record = record(41, 41, 41, claimed.fence, post("next"));
    let head = head.expect("readable").expect("born");
    let part = model::RoomBatch {
        room: lobby.clone(),
        log: head.log,
        records: vec![record],
        erasures: Vec::new(),
        states: Vec::new(),
    };
    let batch = model::Batch { rooms: vec![part] };
    assert_eq!(journal.append(5, claimed.fence, batch).await, vec![Ok(())]);
}
