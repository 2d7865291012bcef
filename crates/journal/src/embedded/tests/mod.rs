//! The embedded engine passes the suite, and holds what only it promises.

mod damage;
mod erasing;
mod killed;
mod kinds;
mod salvaging;
mod space;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::RoomName;
use tempfile::TempDir;

use super::copy::{Cut, copy};
use super::engine::journal_files;
use super::settings::engine_dir;
use super::{Embedded, Faults, OpenError, Settings, mark};
use crate::conformance::Subject;
use crate::conformance::owner::{ALL, Owner, post, room};
use crate::{Journal, conformance_suite};

/// A journal's folder, and what it is opened with.
struct Folder {
    dir: TempDir,
    faults: Faults,
}

impl Folder {
    fn new() -> Folder {
        Folder { dir: tempfile::tempdir().expect("a folder"), faults: Faults::default() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn settings(&self) -> Settings {
        let faults = self.faults.clone();
        Settings { faults, ..settings(self.path()) }
    }

    /// Another folder with the same files.
    fn copy(&self) -> Folder {
        let other = Folder::new();
        copy(self.path(), other.path(), &Cut::default()).expect("copied");
        other
    }
}

impl Subject for Folder {
    fn open(&mut self) -> Arc<dyn Journal> {
        Arc::new(Embedded::open(self.settings()).expect("it opens"))
    }

    fn break_next_commit(&mut self, applied: bool) {
        self.faults.fail_next_commit(applied);
    }
}

fn settings(dir: &Path) -> Settings {
    Settings::new(dir, 16, "test")
}

/// The engine's journal file that is written to, and how much of it is.
fn written_journal(dir: &Path) -> (PathBuf, u64) {
    let (_, path) = journal_files(&engine_dir(dir)).pop().expect("there is always one");
    let bytes = std::fs::read(&path).expect("readable");
    // By blocks, as the file is mostly zeros.
    let mut blocks = bytes.chunks(4_096);
    let written =
        blocks.rposition(|block| *block != [0; 4_096][..block.len()]).map_or(0, |index| {
            let end = bytes.len().min((index + 1) * 4_096);
            bytes[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
        });
    (path, written)
}

fn names() -> Vec<RoomName> {
    ["a", "b", "c"].map(room).to_vec()
}

/// Writes `count` posts into each of three rooms, one transaction each.
async fn write_posts(journal: &Arc<dyn Journal>, epoch: u64, count: usize) {
    let mut owner = Owner::claim(journal, 0, epoch, epoch).await;
    for number in 0..count {
        for name in names() {
            owner.write(&name, vec![post(&format!("post {number} of {name}"))]).await;
        }
    }
}

/// How many entries each room has; every read must be dense.
async fn lengths(journal: &Arc<dyn Journal>) -> Vec<usize> {
    let mut lengths = Vec::new();
    for name in names() {
        let entries = journal.range(&name, 1, ALL, ALL).await.expect("dense");
        let head = journal.head(&name).await.expect("readable").map_or(0, |head| head.head);
        assert_eq!(entries.len() as u64, head, "{name}");
        lengths.push(entries.len());
    }
    lengths
}

conformance_suite!(Folder::new());

#[tokio::test]
async fn a_folder_in_use_is_refused_by_the_name_of_its_user() {
    let mut folder = Folder::new();
    let journal = folder.open();
    let error = Embedded::open(folder.settings()).map(drop).expect_err("in use");
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(journal);
    drop(folder.open());
}

#[tokio::test]
async fn a_folder_made_for_other_slots_or_another_hash_is_refused() {
    let mut folder = Folder::new();
    drop(folder.open());
    let slots = Settings { slots: 17, ..folder.settings() };
    let error = Embedded::open(slots).map(drop).expect_err("other slots").to_string();
    assert!(error.contains("slots 16") && error.contains("slots 17"), "{error}");
    let hash = Settings { slot_hash: "other".into(), ..folder.settings() };
    let error = Embedded::open(hash).map(drop).expect_err("another hash").to_string();
    assert!(error.contains("slot_hash test") && error.contains("slot_hash other"), "{error}");
}

#[tokio::test]
async fn a_folder_that_was_not_finished_is_made_anew() {
    let mut folder = Folder::new();
    let engine = engine_dir(folder.path());
    std::fs::create_dir_all(engine.join("keyspaces")).expect("made");
    std::fs::write(engine.join("0.jnl"), [0; 64]).expect("written");
    std::fs::write(engine.join("lock"), []).expect("written");
    write_posts(&folder.open(), 1, 1).await;
    assert_eq!(lengths(&folder.open()).await, [1, 1, 1]);
}

#[tokio::test]
async fn appends_that_wait_share_a_transaction() {
    let mut folder = Folder::new();
    let journal = folder.open();
    let mut owners = Vec::new();
    for slot in 0..16 {
        owners.push(Owner::claim(&journal, slot, 1, 1).await);
    }
    let before = mark::read(folder.path());
    let mut tasks = Vec::new();
    for mut owner in owners {
        tasks.push(tokio::spawn(async move {
            let name = room(&format!("room-{}", owner.slot));
            for _ in 0..20 {
                owner.write(&name, vec![post("x")]).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("appended");
    }
    let transactions = mark::read(folder.path()) - before;
    assert!(transactions < 200, "{transactions} transactions for 320 appends");
}
