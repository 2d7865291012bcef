//! Erased bytes leave the disk: the thread that makes the engine rewrite its files.
//!
//! A row that was replaced stays in the engine's journal until that file is full and all its rows are
//! in tables, and in a table until a compaction happens to meet it. Both are forced here: filler makes
//! the engine begin a new journal file, all memtables are written out, which lets the engine delete
//! the old files, and the spaces that held the bytes are rewritten. That costs a rewrite of the whole
//! store, so erasures are collected for half of the time in which they must be gone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Space;

use super::engine::Engine;
use super::shared::Shared;
use super::space::Room;

/// Filler is written in pieces, so that commits wait for one of them at most.
const FILLER_BYTES: usize = 512 * 1024;
/// The engine begins a new journal file at 64 MB; twice as much means that it does not.
const FILLER_PIECES_MAX: usize = 256;
/// The spaces that hold what people wrote.
const WRITTEN_BY_PEOPLE: [Space; 3] = [Space::Log, Space::Index, Space::State];
/// What failed is tried again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long the engine may take to delete files that it no longer needs.
const DELETE_WITHIN: Duration = Duration::from_secs(60);

/// When to work, and whether somebody does.
pub(super) struct Eraser {
    /// Held while the store is rewritten.
    pub(super) working: Mutex<()>,
    plan: Mutex<Plan>,
    changed: Condvar,
    collect_for: Duration,
}

#[derive(Default)]
struct Plan {
    due: Option<Instant>,
    /// The last transaction that erased something.
    erased: u64,
    /// Everything erased up to this transaction is gone.
    gone: u64,
    stop: bool,
}

impl Eraser {
    pub(super) fn new(erase_within: Duration) -> Eraser {
        Eraser {
            working: Mutex::default(),
            plan: Mutex::default(),
            changed: Condvar::new(),
            collect_for: erase_within / 2,
        }
    }

    /// A transaction erased something.
    pub(super) fn erased(&self, transaction: u64) {
        let mut plan = self.plan();
        plan.erased = plan.erased.max(transaction);
        plan.due.get_or_insert_with(|| Instant::now() + self.collect_for);
        self.changed.notify_all();
    }

    /// Whether all that was erased is gone.
    pub(super) fn is_done(&self) -> bool {
        let plan = self.plan();
        plan.gone >= plan.erased
    }

    pub(super) fn stop(&self) {
        self.plan().stop = true;
        self.changed.notify_all();
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.plan().stop
    }

    /// Waits until work is due; `None` means stop.
    fn next(&self) -> Option<u64> {
        let mut plan = self.plan();
        loop {
            if plan.stop {
                return None;
            }
            let wait = match plan.due {
                None => Duration::from_secs(3_600),
                Some(due) => due.saturating_duration_since(Instant::now()),
            };
            if plan.due.is_some() && wait.is_zero() {
                plan.due = None;
                return Some(plan.erased);
            }
            plan = match self.changed.wait_timeout(plan, wait) {
                Ok((plan, _)) => plan,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// The eraser's thread.
pub(super) fn run(shared: &Shared) {
    while let Some(transaction) = shared.eraser.next() {
        let working = shared.eraser.working.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = purge(shared);
        drop(working);
        let mut plan = shared.eraser.plan();
        match outcome {
            Ok(()) => plan.gone = transaction,
            Err(why) => {
                tracing::warn!(why, "erased messages are still in the journal's files");
                plan.due = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }
}

/// Makes the engine let go of every row that was replaced or deleted before.
fn purge(shared: &Shared) -> Result<(), String> {
    if shared.headroom.room() < Room::Enough {
        return Err("the disk has too little free space to rewrite the journal".into());
    }
    let guard = shared.read_engine();
    let engine = guard.as_ref().ok_or("the engine is closed")?;
    let version = engine.version();
    let old_files = engine.journal_files();
    next_journal_file(shared, engine, &old_files)?;
    engine.flush()?;
    await_that(shared, engine, "reads to end", || engine.droppable_version() > version)?;
    for space in WRITTEN_BY_PEOPLE {
        go_on(shared)?;
        engine.compact(space)?;
    }
    engine.compact_filler()?;
    await_that(shared, engine, "old journal files to go", || {
        engine.journal_files().iter().all(|file| !old_files.contains(file))
    })
}

/// Whether others wait for the engine: who closes it, or who has to reopen it.
fn go_on(shared: &Shared) -> Result<(), String> {
    if shared.eraser.stopped() {
        return Err("the journal is being closed".into());
    }
    shared.broken().map_or(Ok(()), Err)
}

fn next_journal_file(shared: &Shared, engine: &Engine, old: &[u64]) -> Result<(), String> {
    for _ in 0..FILLER_PIECES_MAX {
        go_on(shared)?;
        if engine.journal_files().iter().any(|file| !old.contains(file)) {
            return Ok(());
        }
        engine.fill(FILLER_BYTES)?;
        // Leaves the disk and the journal's lock to commits for a while.
        std::thread::sleep(Duration::from_millis(2));
    }
    Err("the engine did not begin a new journal file".into())
}

/// The engine looks after its old files whenever a memtable is written out: so that is done.
fn await_that(
    shared: &Shared,
    engine: &Engine,
    what: &str,
    happened: impl Fn() -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + DELETE_WITHIN;
    loop {
        engine.fill(1)?;
        engine.tend()?;
        engine.flush()?;
        if happened() {
            return Ok(());
        }
        go_on(shared)?;
        if Instant::now() > deadline {
            return Err(format!("waited in vain for {what}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
