//! The inner database: the only file that names its types. (`files` and `rebuild` look at single files
//! of the store that is under it.)
//!
//! # Invariants
//! - No handle of the database leaves [`Engine`], so that dropping it closes the database and a new
//!   one can be opened on the same files.

use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode, Readable,
    Snapshot,
};

use super::files::{self, Fault};
use super::open_error::OpenError;
use super::settings::Settings;
use crate::ReadError;
use crate::store::{Row, Space, View, Write};

/// Open files of tables.
const FILES_MAX: usize = 512;
/// Memory of the filler's keyspace; see [`Engine::fill`].
const FILLER_MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;
/// The engine stops writers by sleeping at 4 memtables that wait and 30 runs, and sleeps for ever if
/// its workers are gone. We wait before that, where we can give up.
const MEMTABLES_WAITING_MAX: usize = 3;
const TABLES_WAITING_MAX: usize = 24;
/// Memtables that are written out take less, if anything works.
const FLUSH_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Engine {
    db: Database,
    spaces: [Keyspace; Space::ALL.len()],
    filler: Keyspace,
    dir: PathBuf,
}

impl Engine {
    /// Keyspaces of a database, but for the one that names the others.
    pub(super) const KEYSPACES: usize = Space::ALL.len() + 1;

    /// Opens or makes the database.
    pub(super) fn open(settings: &Settings) -> Result<Engine, OpenError> {
        let dir = settings.engine_dir();
        remove_unfinished(&dir).map_err(|error| OpenError::io(&dir, &error))?;
        match files::unsound(&dir) {
            Some(Fault { file, why }) => Err(OpenError::Damaged { files: vec![file], why }),
            None => Engine::make(settings),
        }
    }

    /// Opens or makes the database without a look at what is there.
    pub(super) fn make(settings: &Settings) -> Result<Engine, OpenError> {
        let dir = settings.engine_dir();
        // The engine asserts what it reads of its own files.
        match catch_unwind(AssertUnwindSafe(|| Engine::try_open(&dir, settings))) {
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(error)) => Err(blame(&dir, &error)),
            Err(_) => Err(damaged(&dir, "the engine stopped while it read its files".into())),
        }
    }

    fn try_open(dir: &Path, settings: &Settings) -> fjall::Result<Engine> {
        let db = Database::builder(dir)
            .cache_size(settings.cache_bytes)
            .max_cached_files(Some(FILES_MAX))
            .worker_threads(2)
            // What is written is small and read back once, after a crash.
            .journal_compression(CompressionType::None)
            .open()?;
        let keyspace = |name: &str, memtable_bytes: u64| {
            db.keyspace(name, || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(memtable_bytes)
                    .compaction_strategy(std::sync::Arc::new(Leveled::default()))
            })
        };
        let spaces = [
            keyspace("log", settings.memtable_bytes)?,
            keyspace("index", settings.memtable_bytes)?,
            keyspace("state", settings.memtable_bytes)?,
            keyspace("meta", settings.memtable_bytes)?,
        ];
        let filler = keyspace("filler", FILLER_MEMTABLE_BYTES)?;
        Ok(Engine { db, spaces, filler, dir: dir.to_owned() })
    }

    /// One consistent picture.
    pub(super) fn view(&self) -> EngineView<'_> {
        EngineView { snapshot: self.db.snapshot(), engine: self }
    }

    /// Carries a transaction out and waits until it is durable.
    pub(super) fn commit(&self, writes: Vec<Write>) -> Result<(), String> {
        let attempt = catch_unwind(AssertUnwindSafe(|| self.try_commit(writes)));
        match attempt {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the engine stopped while it wrote".into()),
        }
    }

    fn try_commit(&self, writes: Vec<Write>) -> fjall::Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        // All writes of a transaction get one version, so each key may occur only once.
        let mut later = HashSet::with_capacity(writes.len());
        let last: Vec<bool> =
            writes.iter().rev().map(|write| later.insert((write.space, &write.key[..]))).collect();
        drop(later);
        for (write, last) in writes.into_iter().zip(last.into_iter().rev()) {
            let keyspace = &self.spaces[write.space as usize];
            match write.value {
                _ if !last => {}
                Some(value) => batch.insert(keyspace, write.key, value),
                None => batch.remove(keyspace, write.key),
            }
        }
        batch.commit()
    }

    /// Why a transaction would have to wait for the engine's own work, if it would.
    pub(super) fn strained(&self) -> Option<String> {
        self.spaces.iter().find_map(|space| {
            let (memtables, tables) = (space.sealed_memtable_count(), space.l0_table_count());
            (memtables >= MEMTABLES_WAITING_MAX || tables >= TABLES_WAITING_MAX).then(|| {
                format!("{memtables} memtables and {tables} tables of {} wait", &**space.name())
            })
        })
    }

    /// Whether the engine refuses writes, because one of them or its own work failed.
    pub(super) fn is_poisoned(&self) -> bool {
        self.db.persist(PersistMode::Buffer).is_err()
    }

    /// Writes all memtables to tables, so that what is readable is durable whatever became of the
    /// engine's journal.
    pub(super) fn flush(&self) -> Result<(), String> {
        for space in self.spaces.iter().chain([&self.filler]) {
            space.rotate_memtable().map_err(|error| error.to_string())?;
        }
        let deadline = Instant::now() + FLUSH_WITHIN;
        let waiting = |space: &Keyspace| space.sealed_memtable_count() > 0;
        while self.spaces.iter().chain([&self.filler]).any(waiting) {
            if self.is_poisoned() {
                return Err("memtables could not be written out".into());
            }
            if Instant::now() > deadline {
                return Err("memtables were not written out in time".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Rewrites all tables of a space; rows that were replaced or deleted are not in them any more.
    pub(super) fn compact(&self, space: Space) -> Result<(), String> {
        self.spaces[space as usize].major_compact().map_err(|error| error.to_string())
    }

    /// The same for what [`Engine::fill`] wrote.
    pub(super) fn compact_filler(&self) -> Result<(), String> {
        self.filler.major_compact().map_err(|error| error.to_string())
    }

    /// Writes bytes that mean nothing, so that the engine begins its next journal file.
    pub(super) fn fill(&self, bytes: usize) -> Result<(), String> {
        let mut batch = self.db.batch();
        batch.insert(&self.filler, "filler", vec![b'.'; bytes]);
        batch.commit().map_err(|error| error.to_string())
    }

    /// Writes the filler's memtable out, which makes the engine look after its old files.
    pub(super) fn tend(&self) -> Result<(), String> {
        self.filler.rotate_memtable().map(drop).map_err(|error| error.to_string())
    }

    /// A version of the database; transactions that are committed later have a higher one.
    pub(super) fn version(&self) -> u64 {
        self.db.visible_seqno()
    }

    /// Rows that were replaced before this version are dropped by a compaction.
    pub(super) fn droppable_version(&self) -> u64 {
        self.db.supervisor.snapshot_tracker.get_seqno_safe_to_gc()
    }

    /// The numbers of the engine's journal files.
    pub(super) fn journal_files(&self) -> Vec<u64> {
        journal_files(&self.dir).into_iter().map(|(number, _)| number).collect()
    }
}

/// A process that died while it made the folder left files that the engine neither opens nor
/// overwrites. Without a version and without a keyspace nothing can have been committed.
fn remove_unfinished(dir: &Path) -> std::io::Result<()> {
    let empty = keyspace_dirs(dir).is_empty() && !dir.join("version").exists();
    if empty && dir.exists() { std::fs::remove_dir_all(dir) } else { Ok(()) }
}

/// The engine's journal files, oldest first.
pub(super) fn journal_files(engine_dir: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(engine_dir) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    files.sort();
    files
}

/// The folders of the engine's keyspaces, but for the one that names the others.
pub(super) fn keyspace_dirs(engine_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(engine_dir.join("keyspaces")) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.is_dir() && path.file_name().is_some_and(|name| name != "0")).collect()
}

/// Says which file it is that does not open.
fn blame(dir: &Path, error: &fjall::Error) -> OpenError {
    let journals = || journal_files(dir).into_iter().map(|(_, path)| path).collect();
    match error {
        fjall::Error::Io(cause) | fjall::Error::Storage(LsmError::Io(cause)) => {
            // So a damaged file shows itself, too: by a length or a name that is wrong.
            if is_of_content(cause) {
                damaged(dir, error.to_string())
            } else {
                OpenError::io(dir, cause)
            }
        }
        fjall::Error::InvalidVersion(_) => {
            let files = vec![dir.join(files::VERSION_FILE)];
            OpenError::Damaged { files, why: error.to_string() }
        }
        fjall::Error::Locked => OpenError::Locked {
            dir: dir.to_owned(),
            holder: "another process (the engine's own lock)".into(),
        },
        fjall::Error::JournalRecovery(_) | fjall::Error::InvalidTag(_) => {
            OpenError::Damaged { files: journals(), why: error.to_string() }
        }
        _ => damaged(dir, error.to_string()),
    }
}

/// The engine says what it stumbled over, but not where.
fn damaged(dir: &Path, why: String) -> OpenError {
    let faults = files::faults(dir);
    match faults.first() {
        Some(fault) => {
            let why = fault.why.clone();
            OpenError::Damaged { files: faults.into_iter().map(|fault| fault.file).collect(), why }
        }
        None => OpenError::Damaged { files: vec![dir.to_owned()], why },
    }
}

fn is_of_content(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | NotFound | UnexpectedEof)
}

pub(super) struct EngineView<'a> {
    snapshot: Snapshot,
    engine: &'a Engine,
}

impl EngineView<'_> {
    fn space(&self, space: Space) -> &Keyspace {
        &self.engine.spaces[space as usize]
    }
}

impl View for EngineView<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        match self.snapshot.get(self.space(space), key) {
            Ok(value) => Ok(value.map(|value| Bytes::copy_from_slice(&value))),
            Err(error) => Err(unread(&error)),
        }
    }

    fn scan(
        &self,
        space: Space,
        range: Range<Vec<u8>>,
    ) -> Box<dyn DoubleEndedIterator<Item = Row> + '_> {
        if range.start >= range.end {
            return Box::new(std::iter::empty());
        }
        Box::new(self.snapshot.range(self.space(space), range).map(|guard| {
            let (key, value) = guard.into_inner().map_err(|error| unread(&error))?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        }))
    }
}

fn unread(error: &fjall::Error) -> ReadError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
            ReadError::Unavailable(error.to_string())
        }
        _ => ReadError::Corrupt(error.to_string()),
    }
}
