//! Retention.

use bytes::Bytes;
use model::{AppendError, Batch, ContentKind, HistoryAnchor, StateKey};

use super::Subject;
use super::owner::{ALL, Owner, about, post, room, user};
use crate::ReadError;

pub async fn a_trim_moves_the_first_entry_and_drops_what_speaks_of_the_rest(
    subject: &mut impl Subject,
) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut part = owner.part(&lobby, (1..=10).map(|n| post(&n.to_string())).collect()).await;
    let reaction = |seq| StateKey::Reaction(seq, user("ann"), "👍".into());
    let mark = StateKey::Mark(user("ann"));
    let keys = vec![StateKey::Fold(4), reaction(4), mark, StateKey::Fold(6), reaction(6)];
    part.states = keys.iter().map(|key| (key.clone(), Some(Bytes::from_static(b"x")))).collect();
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    owner.write(&lobby, vec![about(ContentKind::Edit, 4), about(ContentKind::Edit, 6)]).await;
    assert_eq!(journal.trim(0, owner.fence, &lobby, 6).await, Ok(()));

    let head = journal.head(&lobby).await.expect("readable").expect("born");
    assert_eq!((head.first, head.first_ordinal, head.head, head.ordinal), (6, 5, 12, 10));
    let trimmed = Err(ReadError::Trimmed { first: 6 });
    assert_eq!(journal.range(&lobby, 5, ALL, ALL).await, trimmed);
    assert_eq!(journal.range_back(&lobby, 5, ALL, ALL).await, trimmed);
    assert_eq!(journal.range_back(&lobby, 6, ALL, ALL).await, Ok(vec![]));
    assert_eq!(journal.ids(&lobby, 5, 9).await, Err(ReadError::Trimmed { first: 6 }));
    assert_eq!(journal.range(&lobby, 6, ALL, ALL).await.expect("readable").len(), 7);
    let states = journal.states(&lobby, keys).await.expect("readable");
    let kept: Vec<_> = states.iter().map(Option::is_some).collect();
    assert_eq!(kept, [false, false, true, true, true]);
    assert_eq!(journal.by_target(&lobby, 4, 0, ALL).await, Ok(vec![]));
    assert_eq!(journal.by_target(&lobby, 6, 0, ALL).await.expect("readable").len(), 1);
    let page = journal.page(&lobby, HistoryAnchor::Before(8), 5, ALL, None).await;
    let page = page.expect("readable").expect("born");
    let seqs: Vec<_> = page.posts.iter().map(|(post, _)| post.seq).collect();
    assert_eq!((seqs, page.more), (vec![6, 7], false));
}

pub async fn a_trim_is_idempotent_fenced_and_may_take_all(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    assert_eq!(journal.trim(0, owner.fence, &lobby, 5).await, Ok(()), "an unborn room");
    owner.write(&lobby, (1..=6).map(|n| post(&n.to_string())).collect()).await;
    assert_eq!(journal.trim(0, owner.fence, &lobby, 4).await, Ok(()));
    assert_eq!(journal.trim(0, owner.fence, &lobby, 4).await, Ok(()));
    assert_eq!(journal.trim(0, owner.fence, &lobby, 2).await, Ok(()), "never back");
    let head = journal.head(&lobby).await.expect("readable").expect("born");
    assert_eq!((head.first, head.first_ordinal), (4, 3));
    assert_eq!(journal.trim(0, owner.fence, &lobby, 99).await, Ok(()));
    let head = journal.head(&lobby).await.expect("readable").expect("born");
    assert_eq!((head.first, head.head, head.first_ordinal, head.ordinal), (7, 6, 6, 6));
    assert_eq!(journal.range(&lobby, 7, ALL, ALL).await, Ok(vec![]));
    let page = journal.page(&lobby, HistoryAnchor::Newest, 5, ALL, None).await;
    assert!(page.expect("readable").expect("born").posts.is_empty());
    let next = Owner::claim(&journal, 0, 2, 2).await;
    let late = journal.trim(0, owner.fence, &lobby, 7).await;
    assert_eq!(late, Err(AppendError::Fenced));
    assert_eq!(journal.trim(0, next.fence, &lobby, 7).await, Ok(()));
}

pub async fn a_trimmed_room_goes_on_counting(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, (1..=6).map(|n| post(&n.to_string())).collect()).await;
    assert_eq!(journal.trim(0, owner.fence, &lobby, 7).await, Ok(()));
    owner.write(&lobby, vec![post("seven")]).await;
    let mut erasure = owner.part(&lobby, Vec::new()).await;
    erasure.erasures.push(model::Erasure { seq: 3, payload: Bytes::new() });
    assert_eq!(owner.append(vec![erasure]).await, vec![Ok(())], "what is gone needs no erasure");
    drop((owner, journal));
    let journal = subject.open();
    let head = journal.head(&lobby).await.expect("readable").expect("born");
    assert_eq!((head.first, head.head, head.first_ordinal, head.ordinal), (7, 7, 6, 7));
    let page = journal.page(&lobby, HistoryAnchor::Newest, 5, ALL, None).await;
    assert_eq!(page.expect("readable").expect("born").posts.len(), 1);
}

pub async fn a_trim_beside_an_append_sees_it_or_not_but_never_a_part(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, vec![post("first")]).await;
    for number in 1..30 {
        let part = owner.part(&lobby, vec![post("x"), post("y")]).await;
        let last = part.records[1].seq;
        let batch = Batch { rooms: vec![part] };
        // While the claim is made durable the other two wait together.
        let (claimed, appended, trimmed) = tokio::join!(
            journal.claim(1, number, 1),
            journal.append(0, owner.fence, batch),
            journal.trim(0, owner.fence, &lobby, last),
        );
        assert!(claimed.is_ok(), "{claimed:?}");
        assert_eq!((appended, trimmed), (vec![Ok(())], Ok(())));
        let head = journal.head(&lobby).await.expect("readable").expect("born");
        assert_eq!((head.head, head.ordinal), (last, last));
        assert_eq!(head.first_ordinal + 1, head.first);
    }
}
