//! Raw reads.

use model::{ContentKind, HistoryAnchor};

use super::Subject;
use super::owner::{ALL, Owner, about, post, room, user};
use crate::IdRow;

pub async fn ranges_are_dense_within_their_bounds_in_both_directions(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&room("lobby+"), vec![post("a neighbour")]).await;
    let all = owner.write(&lobby, (0..20).map(|_| post("ten bytes.")).collect()).await;
    owner.write(&room("lobb"), vec![post("another")]).await;
    let range = |from, limit, bytes| journal.range(&lobby, from, limit, bytes);
    assert_eq!(range(1, ALL, ALL).await, Ok(all.clone()));
    assert_eq!(range(0, 3, ALL).await, Ok(all[..3].to_vec()));
    assert_eq!(range(5, 3, ALL).await, Ok(all[4..7].to_vec()));
    assert_eq!(range(5, ALL, 30).await, Ok(all[4..7].to_vec()));
    assert_eq!(range(5, ALL, 0).await, Ok(all[4..5].to_vec()), "at least one");
    assert_eq!(range(20, ALL, ALL).await, Ok(all[19..].to_vec()));
    assert_eq!(range(21, ALL, ALL).await, Ok(vec![]));
    assert_eq!(range(u64::MAX, ALL, ALL).await, Ok(vec![]));
    assert_eq!(range(5, 0, ALL).await, Ok(vec![]));
    let back = |before, limit, bytes| journal.range_back(&lobby, before, limit, bytes);
    assert_eq!(back(u64::MAX, ALL, ALL).await, Ok(all.clone()));
    assert_eq!(back(21, 3, ALL).await, Ok(all[17..].to_vec()));
    assert_eq!(back(8, 3, ALL).await, Ok(all[4..7].to_vec()));
    assert_eq!(back(8, ALL, 39).await, Ok(all[4..7].to_vec()));
    assert_eq!(back(8, ALL, 1).await, Ok(all[6..7].to_vec()));
    assert_eq!(back(1, ALL, ALL).await, Ok(vec![]));
    assert_eq!(back(8, 0, ALL).await, Ok(vec![]));
}

pub async fn entries_are_found_by_the_post_they_speak_of(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut all = owner.write(&lobby, vec![post("one"), post("two")]).await;
    for kind in [ContentKind::Edit, ContentKind::Reaction, ContentKind::Redact] {
        all.extend(owner.write(&lobby, vec![about(kind, 1), about(kind, 2)]).await);
    }
    let of = |target| all.iter().filter(move |entry| entry.target == target).cloned();
    let by = |target, after, limit| journal.by_target(&lobby, target, after, limit);
    assert_eq!(by(1, 0, ALL).await, Ok(of(1).collect()));
    assert_eq!(by(2, 0, 2).await, Ok(of(2).take(2).collect()));
    assert_eq!(by(2, 4, ALL).await, Ok(of(2).filter(|entry| entry.seq > 4).collect()));
    assert_eq!(by(3, 0, ALL).await, Ok(vec![]));
}

pub async fn ids_tell_everything_but_the_payload(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut all = owner.write(&lobby, (0..9).map(|n| post(&n.to_string())).collect()).await;
    all.extend(owner.write(&lobby, vec![about(ContentKind::Edit, 3)]).await);
    let rows: Vec<IdRow> = all.iter().cloned().map(IdRow::from).collect();
    assert_eq!(journal.ids(&lobby, 1, u64::MAX).await, Ok(rows.clone()));
    assert_eq!(journal.ids(&lobby, 4, 6).await, Ok(rows[3..6].to_vec()));
    assert_eq!(journal.ids(&lobby, 6, 5).await, Ok(vec![]));
    assert_eq!((rows[9].target, rows[9].kind, rows[9].seq), (3, ContentKind::Edit, 10));
    assert_eq!(rows[9].user, all[9].user);
}

pub async fn rooms_are_walked_in_pages_by_slot_or_all(subject: &mut impl Subject) {
    let journal = subject.open();
    let mut one = Owner::claim(&journal, 1, 1, 1).await;
    let mut two = Owner::claim(&journal, 2, 1, 1).await;
    for name in ["c", "a", "e"] {
        one.write(&room(name), vec![post("x")]).await;
    }
    for name in ["b", "d"] {
        two.write(&room(name), vec![post("x"), post("y")]).await;
    }
    let mut walked = Vec::new();
    let mut after = None;
    loop {
        let rooms = journal.rooms(None, after.as_ref(), 2).await.expect("readable");
        let Some(last) = rooms.last() else { break };
        after = Some(last.room.clone());
        walked.extend(rooms);
    }
    let names: Vec<_> = walked.iter().map(|entry| (entry.room.as_str(), entry.slot)).collect();
    assert_eq!(names, [("a", 1), ("b", 2), ("c", 1), ("d", 2), ("e", 1)]);
    assert_eq!(walked[3].head.head, 2);
    let of_one = journal.rooms(Some(1), Some(&room("a")), 10).await.expect("readable");
    let names: Vec<_> = of_one.iter().map(|entry| entry.room.as_str()).collect();
    assert_eq!(names, ["c", "e"]);
    assert_eq!(journal.rooms(Some(3), None, 10).await, Ok(vec![]));
}

pub async fn an_unborn_room_reads_as_nothing(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    assert_eq!(journal.head(&lobby).await, Ok(None));
    assert_eq!(journal.range(&lobby, 1, ALL, ALL).await, Ok(vec![]));
    assert_eq!(journal.range_back(&lobby, 1, ALL, ALL).await, Ok(vec![]));
    assert_eq!(journal.ids(&lobby, 1, 9).await, Ok(vec![]));
    assert_eq!(journal.by_target(&lobby, 1, 0, 9).await, Ok(vec![]));
    let page = journal.page(&lobby, HistoryAnchor::Newest, 9, ALL, Some(&user("ann"))).await;
    assert_eq!(page, Ok(None));
    assert!(journal.health().writable, "{:?}", journal.health());
}
