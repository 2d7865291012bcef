//! Which of the engine's files are damaged, as far as each can tell by itself.
//!
//! The engine writes a checksum of every manifest and never compares it, so a changed manifest may
//! open as a shorter store; and where it refuses a file, its error does not say which. Nothing here
//! changes a file.

use std::fs;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm_tree::checksum::ChecksummedWriter;
use lsm_tree::{Cache, Checksum, Config, SequenceNumberCounter, Table};

use super::engine::keyspace_dirs;

/// Tells the engine that a folder holds a database.
pub(super) const VERSION_FILE: &str = "version";
/// Tells which manifest of a keyspace is in force: its number, then its checksum.
const CURRENT_FILE: &str = "current";

/// A file, and what is wrong with it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) file: PathBuf,
    pub(super) why: String,
}

/// The folder of the keyspace in which the engine names the others.
pub(super) fn names_dir(engine_dir: &Path) -> PathBuf {
    engine_dir.join("keyspaces").join("0")
}

/// What the engine would not notice, or would take for a folder that nothing was written to: it
/// deletes keyspaces that nothing names.
pub(super) fn unsound(engine_dir: &Path) -> Option<Fault> {
    let keyspaces = keyspace_dirs(engine_dir);
    if keyspaces.is_empty() {
        return None;
    }
    let version = engine_dir.join(VERSION_FILE);
    if !version.exists() {
        return Some(missing(version));
    }
    let names = names_dir(engine_dir);
    if !names.join(CURRENT_FILE).exists() {
        return Some(missing(names.join(CURRENT_FILE)));
    }
    keyspaces.iter().chain([&names]).find_map(|keyspace| manifest_fault(keyspace))
}

/// What is wrong with a keyspace's manifest. What may not be read is for the engine to tell.
pub(super) fn manifest_fault(keyspace: &Path) -> Option<Fault> {
    let current = keyspace.join(CURRENT_FILE);
    let bytes = match fs::read(&current) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return None,
        Err(_) => return is_finished(keyspace).then(|| missing(current)),
    };
    let Some((number, checksum)) = parse_current(&bytes) else {
        return Some(Fault { file: current, why: "it is too short".into() });
    };
    let file = keyspace.join(format!("v{number}"));
    let manifest = match fs::read(&file) {
        Ok(manifest) => manifest,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return None,
        Err(_) => {
            return Some(Fault {
                file: current,
                why: format!("it names {}, which is missing", file.display()),
            });
        }
    };
    let mut sum = ChecksummedWriter::new(io::sink());
    match sum.write_all(&manifest) {
        Ok(()) if sum.checksum() == checksum => None,
        _ => {
            let why = format!("its checksum is not the one in {}", current.display());
            Some(Fault { file, why })
        }
    }
}

/// Whether a keyspace was ever used. They are made one after the other.
fn is_finished(keyspace: &Path) -> bool {
    let later = || {
        let siblings = fs::read_dir(keyspace.parent()?).ok()?;
        let own = number(keyspace)?;
        siblings.flatten().find(|sibling| number(&sibling.path()).is_some_and(|at| at > own))
    };
    !tables(keyspace).is_empty() || later().is_some()
}

/// The number that is a file's or a folder's name.
pub(super) fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

fn parse_current(bytes: &[u8]) -> Option<(u64, Checksum)> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (checksum, _) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), Checksum::from_raw(u128::from_le_bytes(*checksum))))
}

fn missing(file: PathBuf) -> Fault {
    Fault { file, why: "it is missing".into() }
}

/// Looks for files that keep the engine from opening, after it did not.
pub(super) fn faults(engine_dir: &Path) -> Vec<Fault> {
    let keyspaces = keyspace_dirs(engine_dir);
    let others = keyspaces.iter().flat_map(|keyspace| keyspace_faults(keyspace));
    names_faults(engine_dir).into_iter().chain(others).collect()
}

/// What is wrong with the keyspace that names the others. It is small: all of it is read.
pub(super) fn names_faults(engine_dir: &Path) -> Vec<Fault> {
    let names = names_dir(engine_dir);
    let unread = |file: PathBuf| {
        let read = guarded(|| {
            open_table(&file, false)?.iter().try_for_each(|row| row.map(drop)).map_err(describe)
        });
        read.err().map(|why| Fault { file, why })
    };
    let tables = tables(&names).into_iter().filter_map(unread);
    manifest_fault(&names).into_iter().chain(tables).collect()
}

/// What is wrong with another keyspace, as far as it keeps it from opening.
pub(super) fn keyspace_faults(keyspace: &Path) -> Vec<Fault> {
    let unopened = |file: PathBuf| match guarded(|| open_table(&file, true)) {
        Ok(_) => None,
        Err(why) => Some(Fault { file, why }),
    };
    let tables = tables(keyspace).into_iter().filter_map(unopened);
    manifest_fault(keyspace).into_iter().chain(tables).collect()
}

/// Whether a copy of a keyspace opens by itself. It may be changed by that.
pub(super) fn opens(keyspace: &Path) -> bool {
    let counter = SequenceNumberCounter::default;
    let opened = guarded(|| Config::new(keyspace, counter(), counter()).open().map_err(describe));
    opened.is_ok()
}

/// A keyspace's tables, oldest first.
pub(super) fn tables(keyspace: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(keyspace.join("tables")) else {
        return Vec::new();
    };
    let mut files: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((number(&path)?, path))
        })
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

/// Opens a table by itself. What the engine keeps in memory while a table is open is read as well if
/// `as_engine`; rows can be read without that.
pub(super) fn open_table(file: &Path, as_engine: bool) -> Result<Table, String> {
    let cache = Arc::new(Cache::with_capacity_bytes(0));
    let (sum, path) = (Checksum::from_raw(0), file.to_owned());
    Table::recover(path, sum, 0, 0, cache, None, as_engine, as_engine).map_err(describe)
}

/// The engine asserts what it reads of its own files.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("the engine stopped while it read it".into()))
}

pub(super) fn describe(error: lsm_tree::Error) -> String {
    error.to_string()
}
