//! Entries that are blanked.

use bytes::Bytes;
use model::{ContentKind, Digest, Erasure, HistoryAnchor, Record};

use super::Subject;
use super::owner::{ALL, Owner, about, post, room};

fn blank(seq: u64) -> Erasure {
    Erasure { seq, payload: Bytes::from(format!("tombstone {seq}")) }
}

fn blanked(record: &Record) -> Record {
    Record {
        kind: ContentKind::Tombstone,
        digest: Digest::default(),
        payload: blank(record.seq).payload,
        ..record.clone()
    }
}

pub async fn an_erased_entry_keeps_everything_but_its_content(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let drafts = vec![post("secret"), about(ContentKind::Edit, 1), post("other")];
    let mut expected = owner.write(&lobby, drafts).await;
    let mut part = owner.part(&lobby, vec![about(ContentKind::Redact, 1)]).await;
    part.erasures = vec![blank(1), blank(2)];
    expected.extend(part.records.clone());
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    expected[0] = blanked(&expected[0]);
    expected[1] = blanked(&expected[1]);
    assert_eq!(journal.range(&lobby, 1, ALL, ALL).await, Ok(expected.clone()));
    let page = journal.page(&lobby, HistoryAnchor::Newest, 10, ALL, None).await;
    let posts = page.expect("readable").expect("born").posts;
    let listed: Vec<_> = posts.into_iter().map(|(post, _)| post).collect();
    assert_eq!(listed, [expected[0].clone(), expected[2].clone()], "the ordinal's entry stays");
    let spoken = journal.by_target(&lobby, 1, 0, ALL).await.expect("readable");
    assert_eq!(spoken, [expected[1].clone(), expected[3].clone()], "the target's entry stays");
}

pub async fn an_entry_may_be_erased_in_the_transaction_that_writes_it(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut part = owner.part(&lobby, vec![post("secret"), about(ContentKind::Redact, 1)]).await;
    part.erasures = vec![blank(1)];
    let expected = [blanked(&part.records[0]), part.records[1].clone()];
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    assert_eq!(journal.range(&lobby, 1, ALL, ALL).await.expect("readable"), expected);
    let mut only = owner.part(&lobby, Vec::new()).await;
    only.erasures = vec![blank(2)];
    assert_eq!(owner.append(vec![only]).await, vec![Ok(())], "a batch of erasures alone");
    let second = journal.range(&lobby, 2, 1, ALL).await.expect("readable");
    assert_eq!(second, [blanked(&expected[1])]);
}

pub async fn an_erasure_of_nothing_is_refused(subject: &mut impl Subject) {
    let journal = subject.open();
    let lobby = room("lobby");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    owner.write(&lobby, vec![post("one")]).await;
    for seq in [0, 2, u64::MAX] {
        let mut part = owner.part(&lobby, Vec::new()).await;
        part.erasures = vec![blank(seq)];
        assert!(owner.append(vec![part]).await[0].is_err(), "entry {seq}");
    }
}
