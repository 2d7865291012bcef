//! Each kind of file, damaged: nothing is lost in silence, and what is whole is copied.

use std::collections::BTreeMap;

use model::{Record, Seed};

use super::damage::flip;
use super::salvaging::{LAYOUT, salvaged};
use super::*;
use crate::ReadError;
use crate::embedded::{Report, check};

/// Posts of each room: those in a first table, in a second one, and in the engine's journal.
const POSTS: [usize; 3] = [20, 12, 5];
const ENTRIES: usize = 3 * (20 + 12 + 5);

/// A folder with all kinds of files. The journal's part that is in tables is not in the journal, as it
/// is once the engine has begun a new one.
async fn made() -> Folder {
    let folder = Folder::new();
    for (round, posts) in POSTS.into_iter().enumerate() {
        let embedded = Arc::new(Embedded::open(folder.settings()).expect("it opens"));
        let journal: Arc<dyn Journal> = Arc::clone(&embedded) as Arc<dyn Journal>;
        write_posts(&journal, round as u64 + 1, posts).await;
        if round + 1 < POSTS.len() {
            embedded.shared.read_engine().as_ref().expect("open").flush().expect("flushed");
            drop((journal, embedded));
            let (path, _) = written_journal(folder.path());
            let file = std::fs::File::options().write(true).open(path).expect("open");
            file.set_len(0).expect("emptied");
        }
    }
    folder
}

async fn entries(journal: &Arc<dyn Journal>) -> Result<BTreeMap<(RoomName, u64), Record>, String> {
    let mut all = BTreeMap::new();
    for name in names() {
        let head = journal.head(&name).await.map_err(|error| format!("{error:?}"))?;
        let Some(head) = head else { continue };
        let records = journal.range(&name, head.first, ALL, ALL).await;
        let records = records.map_err(|error: ReadError| format!("{error:?}"))?;
        if records.len() as u64 != head.head + 1 - head.first {
            return Err(format!("{name}: {} entries", records.len()));
        }
        all.extend(records.into_iter().map(|record| ((name.clone(), record.seq), record)));
    }
    Ok(all)
}

/// Flips a byte in the middle and at a seeded place of each of these files, each in a folder of its
/// own, and hands over what then became of it: what the start said, how many entries were salvaged,
/// and the report.
async fn each_damaged(
    kind: impl Fn(&str) -> bool,
    mut judge: impl FnMut(&str, Option<String>, usize, &Report),
) {
    let mut folder = made().await;
    let whole = entries(&folder.open()).await.expect("whole");
    assert_eq!(whole.len(), ENTRIES);
    let mut files = Vec::new();
    collect(folder.path(), folder.path(), &mut files);
    files.retain(|file| kind(file));
    assert!(!files.is_empty(), "there are such files");
    let mut seed = Seed::new(17);
    for file in &files {
        let (journal, written) = written_journal(folder.path());
        let path = folder.path().join(file);
        let length = if path == journal { written } else { path.metadata().expect("there").len() };
        if length == 0 {
            continue;
        }
        for at in [length / 2, seed.below(length)] {
            let bad = folder.copy();
            let path = bad.path().join(file);
            // The copy shares the tables.
            if file.contains("/tables/") {
                let bytes = std::fs::read(&path).expect("readable");
                std::fs::remove_file(&path).expect("removed");
                std::fs::write(&path, bytes).expect("written");
            }
            flip(&path, at);
            let place = bad.path().display().to_string();
            let (refused, kept, report) = outcome(bad, &whole).await;
            let case = format!("{file} at {at} of {length}");
            if let Some(error) = &refused {
                assert!(error.contains(&place), "{case}: {error}");
            }
            assert!(kept == ENTRIES || !report.is_clean(), "{case}: {kept} kept: {report}");
            assert!(refused.is_none() || !report.is_clean(), "{case}: {refused:?}, but {report}");
            judge(&case, refused, kept, &report);
        }
    }
}

async fn outcome(
    mut bad: Folder,
    whole: &BTreeMap<(RoomName, u64), Record>,
) -> (Option<String>, usize, Report) {
    let checked = check(bad.path(), &LAYOUT).expect("looked at");
    let refused = match Embedded::open(bad.settings()) {
        Err(error) => Some(error.to_string()),
        Ok(journal) => {
            drop(journal);
            let read = entries(&bad.open()).await;
            let intact = read.as_ref() == Ok(whole);
            assert!(intact || (read.is_err() && !checked.is_clean()), "{read:?}: {checked}");
            None
        }
    };
    let (mut new, report) = salvaged(&bad);
    let kept = entries(&new.open()).await.expect("the copy is whole");
    for (place, record) in &kept {
        assert_eq!(Some(record), whole.get(place), "nothing is made up");
    }
    assert!(check(new.path(), &LAYOUT).expect("looked at").is_clean());
    (refused, kept.len(), report)
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let path = path.strip_prefix(root).expect("under it");
            files.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
    files.sort();
}

#[tokio::test]
async fn damage_to_the_names_of_the_keyspaces_costs_no_entry() {
    let mut named = 0;
    let names = |file: &str| file.starts_with("engine/keyspaces/0/");
    each_damaged(names, |case, refused, kept, report| {
        assert_eq!(kept, ENTRIES, "{case}: {report}");
        assert!(report.renamed.is_empty(), "{case}: {report}");
        named += u32::from(refused.is_some_and(|why| why.contains("keyspaces/0/")));
    })
    .await;
    assert!(named > 5, "{named} were named");
}

#[tokio::test]
async fn damage_to_a_manifest_costs_no_entry() {
    let manifests = |file: &str| {
        // The log's keyspace, and that of the rooms' rows.
        ["engine/keyspaces/1/", "engine/keyspaces/4/"].iter().any(|dir| file.starts_with(dir))
            && !file.contains("/tables/")
    };
    each_damaged(manifests, |case, refused, kept, report| {
        assert_eq!(kept, ENTRIES, "{case}: {report}");
        let refused = refused.unwrap_or_default();
        assert!(refused.contains("/keyspaces/"), "{case}: {refused}");
    })
    .await;
}

#[tokio::test]
async fn damage_to_a_small_file_costs_no_entry() {
    let small = |file: &str| !file.contains("keyspaces") && !file.ends_with(".jnl");
    each_damaged(small, |case, _, kept, report| {
        assert_eq!(kept, ENTRIES, "{case}: {report}");
    })
    .await;
}

#[tokio::test]
async fn damage_to_a_table_costs_what_is_in_it() {
    let tables = |file: &str| file.contains("/tables/") && !file.contains("keyspaces/0/");
    each_damaged(tables, |case, refused, kept, report| {
        if let Some(refused) = refused {
            let file = case.split(' ').next().unwrap_or_default();
            assert!(refused.contains(file), "{case}: {refused}");
        }
        // The shorter of two tables of posts.
        assert!(kept >= 3 * POSTS[1], "{case}: {kept}: {report}");
    })
    .await;
}

#[tokio::test]
async fn damage_to_the_engines_journal_costs_what_follows_it() {
    let journals = |file: &str| file.ends_with(".jnl");
    each_damaged(journals, |case, _, kept, report| {
        assert!(kept >= 3 * (POSTS[0] + POSTS[1]), "{case}: {kept}: {report}");
    })
    .await;
}

#[test]
fn a_copy_may_not_lie_in_the_folder_that_is_copied() {
    let mut folder = Folder::new();
    drop(folder.open());
    for inside in ["", "sub", "sub/../deeper", "engine/copy"] {
        let new = folder.path().join(inside);
        let error = crate::embedded::salvage(folder.path(), &new, &LAYOUT).expect_err("inside");
        assert!(error.to_string().contains("which salvage does not change"), "{error}");
    }
    assert!(!folder.path().join("sub").exists());
}
