//! Looking at damaged folders and copying out of them.

use bytes::Bytes;
use model::{ContentState as _, Mark, StateKey};

use super::damage::flip;
use super::*;
use crate::conformance::owner::user;
use crate::embedded::{Layout, Report, check, salvage};

/// That of [`settings`].
pub(super) const LAYOUT: Layout<'_> = Layout { slots: 16, slot_hash: "test", slot_of: &|_| 0 };

pub(super) fn salvaged(folder: &Folder) -> (Folder, Report) {
    let new = Folder::new();
    let report = salvage(folder.path(), new.path(), &LAYOUT).expect("salvaged");
    (new, report)
}

#[tokio::test]
async fn a_healthy_folder_is_clean_and_its_copy_is_the_same() {
    let mut folder = Folder::new();
    let journal = folder.open();
    write_posts(&journal, 1, 10).await;
    let held = check(folder.path(), &LAYOUT).expect_err("in use");
    assert!(matches!(held, OpenError::Locked { .. }));
    let heads = journal.rooms(None, None, 10).await;
    drop(journal);
    let report = check(folder.path(), &LAYOUT).expect("looked at");
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.rooms, report.entries), (3, 30));
    let (mut new, report) = salvaged(&folder);
    assert!(report.is_clean() && report.renamed.is_empty(), "{report}");
    let journal = new.open();
    assert_eq!(journal.rooms(None, None, 10).await, heads);
    assert!(journal.claim(0, 1, 9).await.is_err(), "the claim is there");
    write_posts(&journal, 2, 1).await;
    assert_eq!(lengths(&journal).await, [11, 11, 11]);
}

#[tokio::test]
async fn a_damaged_journal_is_cut_before_the_damage_and_every_log_gets_a_new_name() {
    let mut folder = Folder::new();
    let journal = folder.open();
    write_posts(&journal, 1, 40).await;
    let mut owner = Owner::claim(&journal, 0, 2, 2).await;
    let mut part = owner.part(&room("a"), Vec::new()).await;
    let mark = Mark { seq: 40, ordinal: 40 };
    part.states.push((StateKey::Mark(user("ann")), Some(mark.to_bytes())));
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    let before = journal.rooms(None, None, 10).await.expect("readable");
    drop((owner, journal));
    let (path, written) = written_journal(folder.path());
    flip(&path, written / 2);
    assert!(Embedded::open(folder.settings()).is_err());
    assert!(check(folder.path(), &LAYOUT).expect("looked at").broken.is_some());
    let (mut new, report) = salvaged(&folder);
    assert!(!report.cut.is_empty() && report.renamed.len() == 3, "{report}");
    let journal = new.open();
    let lengths = lengths(&journal).await;
    assert!(lengths.iter().all(|length| (10..40).contains(length)), "{lengths:?}");
    let after = journal.rooms(None, None, 10).await.expect("readable");
    for (old, new) in before.iter().zip(&after) {
        assert_ne!(old.head.log, new.head.log);
    }
    write_posts(&journal, 3, 1).await;
}

#[tokio::test]
async fn a_damaged_table_costs_what_lies_in_the_damaged_block() {
    let mut folder = Folder::new();
    let embedded = Embedded::open(folder.settings()).expect("it opens");
    let embedded = Arc::new(embedded);
    let journal: Arc<dyn Journal> = Arc::clone(&embedded) as Arc<dyn Journal>;
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut seed = model::Seed::new(2);
    for name in names() {
        for _ in 0..4 {
            let drafts = (0..100).map(|_| post(&seed.letters(300))).collect();
            owner.write(&name, drafts).await;
        }
    }
    let mut part = owner.part(&room("b"), Vec::new()).await;
    part.states.push((StateKey::Fold(7), Some(Bytes::from_static(b"fold"))));
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    embedded.shared.read_engine().as_ref().expect("open").flush().expect("flushed");
    let logs: Vec<_> = journal.rooms(None, None, 9).await.expect("readable");
    drop((owner, journal, embedded));

    // The log's keyspace was made first.
    let tables = engine_dir(folder.path()).join("keyspaces").join("1").join("tables");
    let mut files: Vec<_> = std::fs::read_dir(tables).expect("tables").collect();
    let table = files.pop().expect("one").expect("readable").path();
    flip(&table, table.metadata().expect("readable").len() / 2);

    let report = check(folder.path(), &LAYOUT).expect("looked at");
    assert!(report.broken.is_none() && !report.damage.is_empty(), "{report}");
    assert!(report.entries > 1_100 && report.entries < 1_200, "{report}");
    let journal = folder.open();
    let whole = journal.range(&room("b"), 1, ALL, ALL).await;
    assert!(matches!(whole, Err(crate::ReadError::Corrupt(_))), "{whole:?}");
    assert_eq!(journal.range(&room("a"), 1, ALL, ALL).await.expect("untouched").len(), 400);
    drop(journal);

    let (mut new, report) = salvaged(&folder);
    assert!(report.cut.is_empty() && report.damage.len() == 2, "{report}");
    let journal = new.open();
    let kept = journal.rooms(None, None, 9).await.expect("readable");
    assert_eq!((&kept[0].head, &kept[2].head), (&logs[0].head, &logs[2].head));
    let head = &kept[1].head;
    let entries = journal.range(&room("b"), head.first, ALL, ALL).await.expect("dense");
    assert_eq!(entries.len() as u64, head.head + 1 - head.first);
    assert!(entries.len() >= 190, "the longer part: {}", entries.len());
    let lost_end = head.head < 400;
    assert_eq!(lost_end, head.log != logs[1].head.log, "a new name only where the end is lost");
    assert_eq!(lost_end, report.renamed.len() == 1);
    write_more(&journal, &logs[1].room).await;
}

async fn write_more(journal: &Arc<dyn Journal>, name: &RoomName) {
    let mut owner = Owner::claim(journal, 0, 2, 2).await;
    owner.write(name, vec![post("goes on")]).await;
}

#[tokio::test]
async fn where_acknowledged_entries_are_gone_every_log_gets_a_new_name() {
    let mut folder = Folder::new();
    write_posts(&folder.open(), 1, 20).await;
    let (path, written) = written_journal(folder.path());
    let file = std::fs::File::options().write(true).open(path).expect("open");
    file.set_len(written / 2).expect("cut");
    let report = check(folder.path(), &LAYOUT).expect("looked at");
    assert!(report.broken.is_some_and(|why| why.contains("were acknowledged")));
    let (mut new, report) = salvaged(&folder);
    assert!(report.cut.is_empty() && report.renamed.len() == 3, "{report}");
    write_posts(&new.open(), 2, 1).await;
}

#[tokio::test]
async fn a_keyspace_that_does_not_open_is_left_out() {
    let folder = Folder::new();
    let embedded = Arc::new(Embedded::open(folder.settings()).expect("it opens"));
    let journal: Arc<dyn Journal> = Arc::clone(&embedded) as Arc<dyn Journal>;
    write_posts(&journal, 1, 5).await;
    let mut owner = Owner::claim(&journal, 0, 2, 2).await;
    let mut part = owner.part(&room("a"), Vec::new()).await;
    part.states.push((StateKey::Fold(2), Some(Bytes::from_static(b"fold"))));
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    embedded.shared.read_engine().as_ref().expect("open").flush().expect("flushed");
    drop((owner, journal, embedded));
    // Small values are in the third keyspace.
    std::fs::remove_file(engine_dir(folder.path()).join("keyspaces/3/tables/0")).expect("removed");
    let error = Embedded::open(folder.settings()).map(drop).expect_err("a table is missing");
    assert!(error.to_string().contains("parlour journal salvage"), "{error}");
    let (mut new, report) = salvaged(&folder);
    assert!(report.cut[0].contains("keyspaces/3"), "{report}");
    assert_eq!(lengths(&new.open()).await, [5, 5, 5]);
}
