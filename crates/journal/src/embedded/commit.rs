//! The committer: one thread that turns everything that waits into one transaction and one fsync.
//!
//! A commit that fails leaves the engine poisoned and its own outcome unknown. The committer then
//! drops every claim, closes the database, opens it anew on the same files and writes all memtables
//! out, so that what the next owner reads is durable whatever the failed fsync left behind.
//!
//! # Invariants
//! - Nothing is answered "committed" before its fsync.
//! - A transaction holds at most one job a slot, so that no job depends on another one's rows.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::format;
use crate::judge::Judge;
use crate::keys;
use crate::store::{Space, View as _, Write};

use super::engine::Engine;
use super::faults::CommitFault;
use super::job::{Aftermath, Answer, Job, Refusal};
use super::mark::Mark;
use super::shared::Shared;
use super::space::Room;

/// Jobs of one transaction: a slot each, at the default number of slots.
const JOBS_MAX: usize = 1_024;
/// Bytes of one transaction, beyond which it is closed; keeps one fsync short.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deleted rows after which the store is rewritten, so that their space returns.
const ROWS_SWEPT_MAX: usize = 200_000;
/// How long the engine may be behind with its own work before appends are refused.
const STRAIN_MAX: Duration = Duration::from_secs(5);
/// How often a closed engine is tried again.
const REOPEN_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Committer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    judge: Judge,
    mark: Mark,
    commits: u64,
    /// Rows deleted by trims since the store was last rewritten for them.
    rows_swept: usize,
    /// Whether the store says that erased bytes may be in the engine's files.
    erasing: bool,
    /// Came too late for a transaction that has a job of its slot.
    held: Option<Job>,
    broken: Option<Broken>,
}

struct Broken {
    why: String,
    tried: Option<Instant>,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        jobs: Receiver<Job>,
        mark: Mark,
        commits: u64,
        erasing: bool,
    ) -> Self {
        let settings = &shared.settings;
        let judge = Judge::new(settings.slots, settings.part_bytes_max);
        Committer {
            shared,
            jobs,
            judge,
            mark,
            commits,
            rows_swept: 0,
            erasing,
            held: None,
            broken: None,
        }
    }

    /// Runs until nobody can hand over a job any more.
    pub(super) fn run(mut self) {
        loop {
            let first = match self.held.take() {
                Some(job) => job,
                None => match self.jobs.recv_timeout(REOPEN_EVERY) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => {
                        self.ready();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            let group = self.group(first);
            self.commit(group);
        }
    }

    /// What waits and fits into one transaction.
    fn group(&mut self, first: Job) -> Vec<Job> {
        let mut slots = HashSet::from([first.slot]);
        let mut bytes = first.order.bytes();
        let mut group = vec![first];
        while group.len() < JOBS_MAX && bytes < BYTES_MAX {
            match self.jobs.try_recv() {
                Ok(job) if slots.insert(job.slot) => {
                    bytes += job.order.bytes();
                    group.push(job);
                }
                Ok(job) => {
                    self.held = Some(job);
                    break;
                }
                Err(_) => break,
            }
        }
        group
    }

    fn commit(&mut self, group: Vec<Job>) {
        if let Some(why) = self.ready() {
            group.into_iter().for_each(|job| job.order.refuse(why.clone()).committed());
            return;
        }
        let shared = Arc::clone(&self.shared);
        let guard = shared.read_engine();
        let Some(engine) = guard.as_ref() else {
            let why = Refusal::Unavailable("the engine is closed".into());
            group.into_iter().for_each(|job| job.order.refuse(why.clone()).committed());
            return;
        };
        let room = self.room(engine);
        let mut writes = Vec::new();
        let mut after = Aftermath::default();
        let answers: Vec<Answer> = {
            let view = engine.view();
            group
                .into_iter()
                .map(|job| match &room {
                    Ok(room) if *room >= job.order.needs() => {
                        job.order.judge(job.slot, &mut self.judge, &view, &mut writes, &mut after)
                    }
                    Ok(_) => job.order.refuse(Refusal::NoSpace),
                    Err(why) => job.order.refuse(Refusal::Unavailable(why.clone())),
                })
                .collect()
        };
        let outcome = self.write(engine, writes, after);
        drop(guard);
        match outcome {
            Ok(()) => answers.into_iter().for_each(Answer::committed),
            Err(why) => {
                self.fail(&why);
                answers.into_iter().for_each(|answer| answer.unknown(&why));
            }
        }
    }

    /// How much may be written now; the error says what the engine has to finish first.
    fn room(&self, engine: &Engine) -> Result<Room, String> {
        let deadline = Instant::now() + STRAIN_MAX;
        while let Some(why) = engine.strained() {
            if engine.is_poisoned() || Instant::now() > deadline {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(self.shared.headroom.room())
    }

    fn write(
        &mut self,
        engine: &Engine,
        mut writes: Vec<Write>,
        after: Aftermath,
    ) -> Result<(), String> {
        if writes.is_empty() {
            return Ok(());
        }
        let commits = self.commits + 1;
        self.rows_swept += after.rows_swept;
        let erases = after.erases || self.rows_swept >= ROWS_SWEPT_MAX;
        writes.push(counter(keys::commits(), commits));
        if erases {
            writes.push(counter(keys::erasing(), commits));
        } else if self.erasing && self.shared.eraser.is_done() {
            writes.push(Write::delete(Space::Meta, keys::erasing()));
            self.erasing = false;
        }
        self.shared.commit_begins();
        let outcome = match self.shared.settings.faults.take_commit() {
            None => engine.commit(writes),
            Some(CommitFault::Lost) => Err("as ordered".into()),
            Some(CommitFault::Applied) => engine.commit(writes).and(Err("as ordered".into())),
        };
        self.shared.commit_ended();
        outcome?;
        self.commits = commits;
        if let Err(error) = self.mark.set(commits) {
            tracing::warn!(%error, "the mark of the journal's last transaction was not written");
        }
        if after.claims {
            self.shared.set_claims(self.judge.fences());
        }
        if erases {
            self.rows_swept = 0;
            self.erasing = true;
            self.shared.eraser.erased(commits);
        }
        Ok(())
    }

    /// After a commit whose outcome is not known: nobody owns anything any more.
    fn fail(&mut self, why: &str) {
        tracing::error!(
            why,
            "a journal commit failed; every claim ends and the engine is reopened"
        );
        self.judge.forget();
        self.shared.set_claims(std::iter::empty());
        self.shared.set_broken(Some(why.to_owned()));
        self.broken = Some(Broken { why: why.to_owned(), tried: None });
    }

    /// Answers why nothing can be committed, having tried to change that.
    fn ready(&mut self) -> Option<Refusal> {
        let poisoned = || self.shared.read_engine().as_ref().is_some_and(Engine::is_poisoned);
        if self.broken.is_none() && poisoned() {
            // The engine's own work failed. No commit is in doubt, so claims stay.
            let why = "the engine could not write its tables".to_owned();
            tracing::error!(why, "the journal's engine is reopened");
            self.shared.set_broken(Some(why.clone()));
            self.broken = Some(Broken { why, tried: None });
        }
        self.mend()
    }

    /// Reopens a broken engine when it may be tried.
    fn mend(&mut self) -> Option<Refusal> {
        let broken = self.broken.as_mut()?;
        let refusal = Refusal::Unavailable(broken.why.clone());
        // Reads go on over the poisoned engine until a new one can be written to.
        if self.shared.headroom.room() == Room::None {
            return Some(Refusal::NoSpace);
        }
        let tried = broken.tried.replace(Instant::now());
        if tried.is_some_and(|tried| tried.elapsed() < REOPEN_EVERY) {
            broken.tried = tried;
            return Some(refusal);
        }
        match self.reopen() {
            Ok(()) => {
                tracing::info!("the journal's engine was reopened");
                self.broken = None;
                self.shared.set_broken(None);
                None
            }
            Err(why) => {
                tracing::error!(why, "the journal's engine cannot be reopened");
                self.shared.set_broken(Some(why));
                Some(refusal)
            }
        }
    }

    fn reopen(&mut self) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        // A compaction may take minutes, and readers would queue behind us for as long.
        let Ok(_no_compaction) = shared.eraser.working.try_lock() else {
            return Err("a compaction has to end first".into());
        };
        let mut slot = shared.write_engine();
        *slot = None;
        let engine = Engine::open(&shared.settings).map_err(|error| error.to_string())?;
        let commits = stored_commits(&engine)?;
        let flushed = engine.flush();
        *slot = Some(engine);
        self.commits = self.commits.max(commits);
        flushed
    }
}

fn counter(key: Vec<u8>, number: u64) -> Write {
    let mut body = Vec::new();
    format::put_number(&mut body, number);
    let row = format::seal(&key, &body);
    Write::put(Space::Meta, key, row)
}

/// The number of transactions that the engine holds.
pub(super) fn stored_commits(engine: &Engine) -> Result<u64, String> {
    stored_counter(engine, keys::commits())
}

/// The transaction since which erased bytes may be in the engine's files; 0 if none are.
pub(super) fn stored_erasing(engine: &Engine) -> Result<u64, String> {
    stored_counter(engine, keys::erasing())
}

fn stored_counter(engine: &Engine, key: Vec<u8>) -> Result<u64, String> {
    let unread = |error| format!("{error:?}");
    let Some(row) = engine.view().get(Space::Meta, &key).map_err(unread)? else {
        return Ok(0);
    };
    let body = format::open(&key, &row).map_err(unread)?;
    format::number(&mut &body[..]).ok_or_else(|| "a counter cannot be read".into())
}
