//! Outcomes that are not known.

use model::AppendError;

use super::Subject;
use super::owner::{ALL, Owner, post, room};
use crate::ClaimError;

pub async fn an_unknown_append_that_was_lost_is_settled_by_claiming_again(
    subject: &mut impl Subject,
) {
    settled(subject, false).await;
}

pub async fn an_unknown_append_that_was_applied_is_settled_by_claiming_again(
    subject: &mut impl Subject,
) {
    settled(subject, true).await;
}

async fn settled(subject: &mut impl Subject, applied: bool) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, vec![post("one")]).await;
    let part = owner.part(&lobby, vec![post("two")]).await;
    subject.break_next_commit(applied);
    let results = owner.append(vec![part.clone()]).await;
    assert!(matches!(results[0], Err(AppendError::Unknown(_))), "{results:?}");
    // What the owner still believes counts for nothing before it has claimed again.
    assert_eq!(owner.append(vec![part]).await, vec![Err(AppendError::Fenced)]);
    assert_eq!(journal.verify(&[(0, owner.fence)]).await, Ok(vec![0]));
    let claimed = owner.claim_again().await;
    let entries = journal.range(&lobby, 1, ALL, ALL).await.expect("readable");
    assert_eq!(entries.len(), if applied { 2 } else { 1 });
    assert_eq!(claimed.slot_pos, if applied { 2 } else { 1 });
    owner.write(&lobby, vec![post("three")]).await;
    let journal_again = {
        drop((owner, journal));
        subject.open()
    };
    let again = journal_again.range(&lobby, 1, ALL, ALL).await.expect("readable");
    assert_eq!(again.len(), entries.len() + 1);
    assert_eq!(again[..entries.len()], entries[..]);
}

pub async fn an_unknown_claim_is_settled_by_claiming_again(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    for applied in [false, true] {
        let epoch = if applied { 2 } else { 1 };
        subject.break_next_commit(applied);
        let claim = journal.claim(0, epoch, 1).await;
        assert!(matches!(claim, Err(ClaimError::Unknown(_))), "{claim:?}");
        let mut owner = Owner::claim(&journal, 0, epoch, 1).await;
        owner.write(&lobby, vec![post("x")]).await;
        assert_eq!(journal.verify(&[(0, owner.fence)]).await, Ok(vec![]));
    }
}
