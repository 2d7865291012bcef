//! Who may write.

use std::sync::Arc;

use model::{AppendError, Batch};

use super::Subject;
use super::owner::{ALL, Owner, post, room};
use crate::{ClaimError, Claimed};

pub async fn a_slot_is_claimed_by_rising_epochs_and_by_one_nonce_each(subject: &mut impl Subject) {
    let journal = subject.open();
    let first = journal.claim(3, 7, 1).await;
    assert_eq!(first, Ok(Claimed { old_fence: 0, fence: 1, slot_pos: 0 }));
    for (epoch, nonce) in [(6, 1), (6, 2), (7, 2), (0, 0)] {
        let refused = journal.claim(3, epoch, nonce).await;
        assert_eq!(refused, Err(ClaimError::Refused { epoch: 7 }), "epoch {epoch} nonce {nonce}");
    }
    let second = journal.claim(3, 8, 2).await;
    assert_eq!(second, Ok(Claimed { old_fence: 1, fence: 2, slot_pos: 0 }));
    assert_eq!(journal.claim(3, 7, 1).await, Err(ClaimError::Refused { epoch: 8 }));
}

pub async fn a_second_claim_by_the_same_owner_raises_the_fence(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, vec![post("one")]).await;
    let old = owner.fence;
    let claimed = owner.claim_again().await;
    assert_eq!((claimed.old_fence, claimed.fence), (old, old + 1));
    let part = owner.part(&lobby, vec![post("two")]).await;
    let batch = Batch { rooms: vec![part.clone()] };
    let results = journal.append(0, old, batch).await;
    assert_eq!(results, vec![Err(AppendError::Fenced)]);
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
}

pub async fn claims_of_different_slots_do_not_touch_each_other(subject: &mut impl Subject) {
    let journal = subject.open();
    let mut one = Owner::claim(&journal, 1, 1, 1).await;
    let mut two = Owner::claim(&journal, 2, 9, 2).await;
    one.write(&room("a"), vec![post("a")]).await;
    two.write(&room("b"), vec![post("b")]).await;
    Owner::claim(&journal, 2, 10, 3).await;
    one.write(&room("a"), vec![post("a")]).await;
    let part = two.part(&room("b"), vec![post("b")]).await;
    assert_eq!(two.append(vec![part]).await, vec![Err(AppendError::Fenced)]);
}

pub async fn an_old_fence_appends_nothing_from_the_next_claim_on(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut old = Owner::claim(&journal, 0, 1, 1).await;
    old.write(&lobby, vec![post("one")]).await;
    let late = old.part(&lobby, vec![post("late")]).await;
    let mut new = Owner::claim(&journal, 0, 2, 2).await;
    assert_eq!(new.slot_pos, 1);
    assert_eq!(old.append(vec![late]).await, vec![Err(AppendError::Fenced)]);
    let states = old.part(&lobby, Vec::new()).await;
    assert_eq!(old.append(vec![states]).await, vec![Err(AppendError::Fenced)]);
    assert_eq!(journal.trim(0, old.fence, &lobby, 2).await, Err(AppendError::Fenced));
    new.write(&lobby, vec![post("two")]).await;
    let entries = journal.range(&lobby, 1, ALL, ALL).await.expect("readable");
    let texts: Vec<_> = entries.iter().map(|entry| &entry.payload[..]).collect();
    assert_eq!(texts, [b"one", b"two"]);
}

pub async fn owners_that_race_leave_no_entry_of_a_superseded_one(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut tasks = Vec::new();
    for nonce in 1..=4 {
        let (journal, lobby) = (Arc::clone(&journal), lobby.clone());
        tasks.push(tokio::spawn(async move {
            for turn in 0..25 {
                let epoch = turn * 4 + nonce;
                let Ok(claimed) = journal.claim(0, epoch, nonce).await else {
                    continue;
                };
                let mut owner = Owner::of(&journal, 0, (epoch, nonce), claimed);
                loop {
                    let part = owner.part(&lobby, vec![post("x")]).await;
                    if owner.append(vec![part]).await != vec![Ok(())] {
                        break;
                    }
                    tokio::task::yield_now().await;
                    if owner.slot_pos.is_multiple_of(5) {
                        break;
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no owner panics");
    }
    let entries = journal.range(&lobby, 1, ALL, ALL).await.expect("dense");
    assert!(!entries.is_empty());
    assert!(entries.windows(2).all(|two| two[0].fence <= two[1].fence), "fences only rise");
    assert!(entries.windows(2).all(|two| two[0].slot_pos < two[1].slot_pos));
}

pub async fn verify_names_the_slots_that_somebody_else_claimed(subject: &mut impl Subject) {
    let journal = subject.open();
    let mut mine = Vec::new();
    for slot in 0..4 {
        mine.push((slot, Owner::claim(&journal, slot, 1, 1).await.fence));
    }
    assert_eq!(journal.verify(&mine).await, Ok(vec![]));
    Owner::claim(&journal, 1, 2, 2).await;
    Owner::claim(&journal, 3, 1, 1).await;
    assert_eq!(journal.verify(&mine).await, Ok(vec![1, 3]));
}
