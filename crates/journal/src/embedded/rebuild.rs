//! A keyspace that does not open, made anew from those of its tables that do.
//!
//! # Invariants
//! - Of each key the newest row counts, as it would for the engine. The new keyspace is older than
//!   everything in the engine's journal, so what still stands there is written over it once more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use bytes::Bytes;
use lsm_tree::{Config, InternalValue, SequenceNumberCounter, Table};

use super::files::{describe, guarded, open_table, tables};

/// One row of a table; `None` is a deletion. Ordered by key, the newest first.
type Row = (Bytes, Reverse<u64>, Option<Bytes>);

/// Makes the keyspace `to` out of the tables of `from`; `lost` is told what could not be read.
pub(super) fn rebuild(from: &Path, to: &Path, mut lost: impl FnMut(String)) -> Result<(), String> {
    let mut sources = Vec::new();
    for file in tables(from) {
        match guarded(|| Rows::open(&file)) {
            Ok(rows) => sources.push(rows),
            Err(why) => lost(format!("{} is left out ({why})", file.display())),
        }
    }
    guarded(|| write(to, &mut sources))?;
    sources.into_iter().filter_map(|rows| rows.lost).for_each(lost);
    Ok(())
}

fn write(to: &Path, sources: &mut [Rows]) -> Result<(), String> {
    let counter = SequenceNumberCounter::default;
    let tree = Config::new(to, counter(), counter()).open().map_err(describe)?;
    let mut heap = BinaryHeap::new();
    for (index, source) in sources.iter_mut().enumerate() {
        heap.extend(source.next().map(|row| Reverse((row, index))));
    }
    let mut ingestion = None;
    let mut before = None;
    while let Some(Reverse(((key, _, value), index))) = heap.pop() {
        heap.extend(sources[index].next().map(|row| Reverse((row, index))));
        if before.as_ref() == Some(&key) {
            continue;
        }
        if let Some(value) = value {
            let ingestion = match &mut ingestion {
                Some(ingestion) => ingestion,
                none => none.insert(tree.ingestion().map_err(describe)?),
            };
            ingestion.write(&key[..], &value[..]).map_err(describe)?;
        }
        before = Some(key);
    }
    ingestion.map_or(Ok(()), |ingestion| ingestion.finish().map_err(describe))
}

/// The rows of one table. Where a block cannot be read, those behind the damage are read from the end.
struct Rows {
    name: String,
    table: Table,
    ahead: Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>>>,
    /// Once the damage was met.
    behind: Option<std::vec::IntoIter<Row>>,
    last: Option<(Bytes, Reverse<u64>)>,
    lost: Option<String>,
}

impl Rows {
    fn open(file: &Path) -> Result<Rows, String> {
        let table = open_table(file, false)?;
        // The index is read when the first row is.
        table.iter().next().transpose().map(drop).or_else(|error| {
            table.iter().next_back().transpose().map(drop).map_err(|_| describe(error))
        })?;
        let ahead = Box::new(table.iter());
        let name = file.display().to_string();
        Ok(Rows { name, table, ahead, behind: None, last: None, lost: None })
    }

    fn next(&mut self) -> Option<Row> {
        if let Some(behind) = &mut self.behind {
            return behind.next();
        }
        let why = match guarded(|| self.ahead.next().transpose().map_err(describe)) {
            Ok(None) => return None,
            Ok(Some(found)) => {
                let row = row(&found);
                self.last = Some((row.0.clone(), row.1));
                return Some(row);
            }
            Err(why) => why,
        };
        let mut rows = Vec::new();
        let _ = guarded(|| {
            for found in self.table.iter().rev() {
                let row = row(&found.map_err(describe)?);
                if self.last.as_ref().is_some_and(|last| (&row.0, row.1) <= (&last.0, last.1)) {
                    break;
                }
                rows.push(row);
            }
            Ok(())
        });
        rows.reverse();
        self.lost = Some(format!("some rows of {} are left out ({why})", self.name));
        self.behind = Some(rows.into_iter());
        self.next()
    }
}

fn row(found: &InternalValue) -> Row {
    let value = (!found.is_tombstone()).then(|| Bytes::copy_from_slice(&found.value));
    (Bytes::copy_from_slice(&found.key.user_key), Reverse(found.key.seqno), value)
}

#[cfg(test)]
mod tests {
    use lsm_tree::AbstractTree as _;

    use super::*;

    fn tree(dir: &Path) -> lsm_tree::AnyTree {
        let counter = SequenceNumberCounter::default;
        Config::new(dir, counter(), counter()).open().expect("it opens")
    }

    #[test]
    fn of_each_key_the_newest_row_counts_and_a_deletion_is_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let made = tree(&old);
        for (key, value) in [("a", "1"), ("b", "1"), ("c", "1")] {
            made.insert(key, value, 0);
        }
        made.flush_active_memtable(0).expect("written");
        made.insert("a", "2", 1);
        made.remove("b", 2);
        made.flush_active_memtable(0).expect("written");
        drop(made);
        // Which tables there were is forgotten.
        std::fs::remove_file(old.join("current")).expect("removed");

        rebuild(&old, &new, |lost| panic!("{lost}")).expect("rebuilt");
        let made = tree(&new);
        let get = |key: &str| {
            let value = made.get(key, u64::MAX).expect("readable");
            value.map(|value| String::from_utf8_lossy(&value).into_owned())
        };
        assert_eq!(["a", "b", "c"].map(get), [Some("2".into()), None, Some("1".into())]);
        drop(made);

        std::fs::write(old.join("tables").join("1"), "no table").expect("written");
        let mut lost = Vec::new();
        let third = dir.path().join("third");
        rebuild(&old, &third, |file| lost.push(file)).expect("rebuilt");
        assert!(lost.len() == 1 && lost[0].contains("tables/1"), "{lost:?}");
        let value = tree(&third).get("a", u64::MAX).expect("readable").expect("there");
        assert_eq!(&value[..], b"1");
    }

    #[test]
    fn rows_behind_a_damaged_block_are_read_from_the_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let made = tree(&old);
        let mut seed = model::Seed::new(3);
        for number in 0..2_000 {
            made.insert(format!("{number:05}"), seed.letters(50), 0);
        }
        made.flush_active_memtable(0).expect("written");
        drop(made);
        let table = old.join("tables").join("0");
        let mut bytes = std::fs::read(&table).expect("readable");
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
        std::fs::write(&table, bytes).expect("written");

        let mut lost = Vec::new();
        rebuild(&old, &new, |file| lost.push(file)).expect("rebuilt");
        assert!(lost.len() == 1 && lost[0].contains("tables/0"), "{lost:?}");
        let kept = tree(&new).len(u64::MAX, None).expect("readable");
        assert!((1_800..2_000).contains(&kept), "{kept}");
    }
}
