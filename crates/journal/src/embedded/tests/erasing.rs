//! What is erased leaves the files.

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::Erasure;

use super::*;

/// Random enough that no compression takes it apart.
const SECRET: &str = "k7Gq9ZpX2mVtR4bNw8sLfYh3";

fn open(folder: &Folder, erase_within: Duration) -> (Arc<Embedded>, Arc<dyn Journal>) {
    let settings = Settings { erase_within, ..folder.settings() };
    let embedded = Arc::new(Embedded::open(settings).expect("it opens"));
    (Arc::clone(&embedded), embedded)
}

/// Files under the folder that hold the text.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if String::from_utf8_lossy(&bytes).contains(text) {
                found.push(path);
            }
        }
    }
    found
}

async fn purged(embedded: &Embedded) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !embedded.is_purged() {
        assert!(Instant::now() < deadline, "it is not purged in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn write_secret(owner: &mut Owner, folder: &Folder) {
    let drafts = vec![post("before"), post(SECRET), post("after")];
    owner.write(&room("lobby"), drafts).await;
    assert!(!files_with(folder.path(), SECRET).is_empty(), "it was written");
}

async fn erase_secret(owner: &mut Owner) {
    let mut part = owner.part(&room("lobby"), Vec::new()).await;
    part.erasures.push(Erasure { seq: 2, payload: Bytes::from_static(b"tombstone") });
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
}

async fn write_secret_and_erase_it(journal: &Arc<dyn Journal>, folder: &Folder) {
    let mut owner = Owner::claim(journal, 0, 1, 1).await;
    write_secret(&mut owner, folder).await;
    erase_secret(&mut owner).await;
}

#[tokio::test]
async fn an_erased_text_is_gone_from_all_files_within_the_bound() {
    let folder = Folder::new();
    let (embedded, journal) = open(&folder, Duration::from_millis(200));
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    write_secret(&mut owner, &folder).await;
    // As time would: from the engine's memory into its tables.
    let flush = || embedded.shared.read_engine().as_ref().expect("open").flush();
    flush().expect("flushed");
    erase_secret(&mut owner).await;
    assert!(!embedded.is_purged());
    purged(&embedded).await;
    assert_eq!(files_with(folder.path(), SECRET), Vec::<PathBuf>::new());
    let entries = journal.range(&room("lobby"), 1, ALL, ALL).await.expect("dense");
    let texts: Vec<_> = entries.iter().map(|entry| &entry.payload[..]).collect();
    assert_eq!(texts, [&b"before"[..], b"tombstone", b"after"]);
}

#[tokio::test]
async fn a_text_that_is_erased_as_it_is_written_never_reaches_a_file() {
    let folder = Folder::new();
    let (_embedded, journal) = open(&folder, Duration::from_secs(3_600));
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut part = owner.part(&room("lobby"), vec![post("before"), post(SECRET)]).await;
    part.erasures.push(Erasure { seq: 2, payload: Bytes::from_static(b"tombstone") });
    assert_eq!(owner.append(vec![part]).await, vec![Ok(())]);
    assert_eq!(files_with(folder.path(), SECRET), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn an_erasure_that_was_due_is_made_up_for_after_a_restart() {
    let folder = Folder::new();
    let (embedded, journal) = open(&folder, Duration::from_secs(3_600));
    write_secret_and_erase_it(&journal, &folder).await;
    drop((embedded, journal));
    assert!(!files_with(folder.path(), SECRET).is_empty(), "it is still there");
    let (embedded, journal) = open(&folder, Duration::from_millis(200));
    purged(&embedded).await;
    assert_eq!(files_with(folder.path(), SECRET), Vec::<PathBuf>::new());
    // The next transaction notes that nothing is left to do.
    Owner::claim(&journal, 1, 1, 1).await;
    drop((embedded, journal));
    let (embedded, _journal) = open(&folder, Duration::from_millis(200));
    assert!(embedded.is_purged());
}

#[tokio::test]
async fn appends_and_reads_go_on_while_the_store_is_rewritten() {
    let folder = Folder::new();
    let (embedded, journal) = open(&folder, Duration::ZERO);
    write_secret_and_erase_it(&journal, &folder).await;
    let mut owner = Owner::claim(&journal, 1, 1, 1).await;
    let mut written = 0;
    while !embedded.is_purged() {
        owner.write(&room("busy"), vec![post("x")]).await;
        written += 1;
        let last = journal.range_back(&room("busy"), u64::MAX, 1, ALL).await.expect("dense");
        assert_eq!(last[0].seq, written);
    }
    assert!(written > 10, "{written} appends while the store was rewritten");
}

#[tokio::test]
async fn trimmed_entries_give_their_space_back() {
    let folder = Folder::new();
    let (embedded, journal) = open(&folder, Duration::ZERO);
    let big = room("big");
    let mut owner = Owner::claim(&journal, 0, 1, 1).await;
    let mut seed = model::Seed::new(3);
    for _ in 0..40 {
        let drafts = (0..50).map(|_| post(&seed.letters(2_000))).collect();
        owner.write(&big, drafts).await;
    }
    assert_eq!(journal.trim(0, owner.fence, &big, 1_991).await, Ok(()));
    // Few rows are swept lazily; an erasure asks for the same work at once.
    write_secret_and_erase_it(&Arc::clone(&journal), &folder).await;
    purged(&embedded).await;
    let tables: u64 = sizes(&folder.path().join("engine").join("keyspaces"));
    assert!(tables < 1_000_000, "{tables} bytes for ten posts of 2,000");
    assert_eq!(journal.range(&big, 1_991, ALL, ALL).await.expect("dense").len(), 10);
}

fn sizes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable"));
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => sizes(&path),
            path => path.metadata().map_or(0, |meta| meta.len()),
        })
        .sum()
}
