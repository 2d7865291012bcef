//! Disks that are full, and commits that fail.

use bytes::Bytes;
use model::{AppendError, Batch, Erasure};

use super::*;
use crate::ClaimError;

#[tokio::test]
async fn a_disk_that_runs_full_refuses_appends_and_still_takes_what_recovers() {
    let mut folder = Folder::new();
    let journal = folder.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, vec![post("one"), post("two")]).await;
    folder.faults.pretend_free_bytes(Some(folder.settings().headroom_bytes / 2));
    let part = owner.part(&lobby, vec![post("three")]).await;
    assert_eq!(owner.append(vec![part]).await, vec![Err(AppendError::NoSpace)]);
    let health = journal.health();
    assert!(!health.writable && health.why.is_some());
    let mut erasure = owner.part(&lobby, Vec::new()).await;
    erasure.erasures.push(Erasure { seq: 1, payload: Bytes::new() });
    assert_eq!(owner.append(vec![erasure]).await, vec![Ok(())]);
    assert_eq!(journal.trim(0, owner.fence, &lobby, 2).await, Ok(()));
    owner.claim_again().await;
    folder.faults.pretend_free_bytes(Some(0));
    assert_eq!(journal.claim(0, 1, 1).await, Err(ClaimError::NoSpace));
    assert_eq!(journal.range(&lobby, 2, ALL, ALL).await.expect("readable").len(), 1);
    folder.faults.pretend_free_bytes(None);
    owner.write(&lobby, vec![post("three")]).await;
    assert!(journal.health().writable);
}

#[tokio::test]
async fn a_failed_commit_ends_every_claim_and_reads_go_on_until_there_is_space() {
    let mut folder = Folder::new();
    let journal = folder.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut other = Owner::claim(&journal, 1, 1, 1).await;
    owner.write(&lobby, vec![post("one")]).await;
    let part = owner.part(&lobby, vec![post("two")]).await;
    folder.break_next_commit(true);
    assert!(matches!(owner.append(vec![part]).await[..], [Err(AppendError::Unknown(_))]));
    folder.faults.pretend_free_bytes(Some(0));
    assert_eq!(journal.claim(0, 1, 1).await, Err(ClaimError::NoSpace));
    assert!(!journal.health().writable);
    let read = journal.range(&lobby, 1, ALL, ALL).await.expect("reads go on");
    folder.faults.pretend_free_bytes(None);
    let claimed = owner.claim_again().await;
    assert_eq!(claimed.slot_pos, read.len() as u64);
    owner.write(&lobby, vec![post("three")]).await;
    assert!(journal.health().writable);
    let part = other.part(&room("else"), vec![post("x")]).await;
    assert_eq!(other.append(vec![part]).await, vec![Err(AppendError::Fenced)]);
    assert_eq!(journal.verify(&[(0, owner.fence), (1, other.fence)]).await, Ok(vec![1]));
}

#[tokio::test]
async fn a_slot_beyond_the_last_is_not_claimed_and_not_appended_to() {
    let mut folder = Folder::new();
    let journal = folder.open();
    assert!(matches!(journal.claim(16, 1, 1).await, Err(ClaimError::Unavailable(_))));
    assert_eq!(journal.append(16, 1, Batch::default()).await, vec![]);
}
