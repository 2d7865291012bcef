//! Looking at a folder, and copying out of a damaged one what can be read.
//!
//! The engine's own files are not parsed: a copy of them is mended and cut shorter until the engine
//! opens it, and then every row speaks for itself through its checksum.
//!
//! # Invariants
//! - The damaged folder is not changed.
//! - A room's numbers stay what they were. Where entries at the end of a room are lost, or may be, its
//!   log gets a new name: nobody's position is taken for one in the new entries under old numbers.

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};

use model::{ContentState as _, LogId, Mark, RoomName, Seed, SlotNo, StateKey};

use super::commit;
use super::engine::Engine;
use super::lock::DirLock;
use super::mark;
use super::mend::Bench;
use super::open_error::OpenError;
use super::report::{Damage, Renamed, Report};
use super::settings::{Format, Settings, engine_dir};
use super::survey::{self, Run, Survey};
use crate::format::{self, RoomRow, SlotRow};
use crate::store::{Space, View, Write};
use crate::{RoomHead, judge, keys, read};

/// What this program makes folders with.
pub struct Layout<'a> {
    /// Number of slots.
    pub slots: SlotNo,
    /// Name of the algorithm that maps rooms to slots.
    pub slot_hash: &'a str,
    /// That algorithm, for rooms whose rows are lost.
    pub slot_of: &'a dyn Fn(&RoomName) -> SlotNo,
}

/// Rows of one transaction of the copy.
const ROWS_MAX: usize = 4_096;

/// Reads everything in a folder that nobody has open. A torn end of the engine's journal is cut, as at
/// any start.
///
/// # Errors
/// The folder is in use, or is none.
pub fn check(dir: &Path, layout: &Layout<'_>) -> Result<Report, OpenError> {
    let _lock = DirLock::take(&existing(dir)?)?;
    let format = layout.format();
    let mut report = Report { broken: unlike(dir, &format)?, ..Report::default() };
    match Engine::open(&settings(dir, &format)) {
        Err(error) => report.broken = Some(error.to_string()),
        Ok(engine) => {
            report.broken = report.broken.or_else(|| short_of_mark(&engine, dir));
            let view = engine.view();
            for room in survey::rooms(&view) {
                survey::survey(&view, &room, &mut report);
                let _ = survey::states(&view, &room, &mut report, |_, _, _| Ok(()));
            }
        }
    }
    Ok(report)
}

/// Copies what can be read of `dir` into the new folder `new_dir`. Of a room with a hole the longest
/// run of entries is kept.
///
/// # Errors
/// The folder is in use, is none, or holds nothing that opens; the new one cannot be written.
pub fn salvage(dir: &Path, new_dir: &Path, layout: &Layout<'_>) -> Result<Report, OpenError> {
    must_lie_apart(&existing(dir)?, new_dir)?;
    let _lock = DirLock::take(dir)?;
    let format = layout.format();
    let mut report = Report::default();
    report.mended.extend(unlike(dir, &format)?);
    let fault = |error: std::io::Error| OpenError::io(new_dir, &error);
    fs::create_dir_all(new_dir).map_err(fault)?;
    if fs::read_dir(new_dir).map_err(fault)?.next().is_some() {
        let why = "the folder for the copy is not empty".into();
        return Err(OpenError::Io { path: new_dir.to_owned(), why });
    }
    let work = new_dir.join("work");
    let bench = Bench {
        source: engine_dir(dir),
        settings: settings(&work.join("copy"), &format),
        work: work.clone(),
    };
    let old = bench.open(&mut report).inspect_err(|_| {
        let _ = fs::remove_dir_all(&work);
    })?;
    let short = short_of_mark(&old, dir);
    let ends_lost = !report.cut.is_empty() || short.is_some();
    report.broken = report.broken.or(short);
    Format::establish(new_dir, &format)?;
    let new = Engine::open(&settings(new_dir, &format))?;
    let failed = |why| OpenError::Io { path: new_dir.to_owned(), why };
    let mut sheet = Sheet { new: &new, rows: Vec::new() };
    let mut slots = HashMap::new();
    let view = old.view();
    for room in survey::rooms(&view) {
        let survey = survey::survey(&view, &room, &mut report);
        copy_room(&view, survey, ends_lost, layout.slot_of, &mut slots, &mut report, &mut sheet)
            .map_err(failed)?;
    }
    copy_slots(&view, slots, &mut sheet).map_err(failed)?;
    sheet.flush().map_err(failed)?;
    drop(view);
    drop(old);
    fs::remove_dir_all(&work).map_err(fault)?;
    Ok(report)
}

fn existing(dir: &Path) -> Result<PathBuf, OpenError> {
    if dir.is_dir() { Ok(dir.to_owned()) } else { Err(OpenError::Absent { dir: dir.to_owned() }) }
}

impl Layout<'_> {
    fn format(&self) -> Format {
        Format { slots: self.slots, slot_hash: self.slot_hash.to_owned() }
    }
}

/// What a folder says it was made with, if this program makes none like that: then it is the file that
/// is damaged.
fn unlike(dir: &Path, made: &Format) -> Result<Option<String>, OpenError> {
    let stored = match Format::read(dir) {
        Err(error @ OpenError::Io { .. }) => return Err(error),
        Err(error) => return Ok(Some(error.to_string())),
        Ok(Some(stored)) => stored,
        Ok(None) if engine_dir(dir).is_dir() => {
            return Ok(Some(format!("{}: the file FORMAT is missing", dir.display())));
        }
        Ok(None) => return Err(OpenError::Absent { dir: dir.to_owned() }),
    };
    Ok(stored.must_equal(dir, made).err().map(|error| error.to_string()))
}

/// A copy inside of the folder would change it.
fn must_lie_apart(dir: &Path, new_dir: &Path) -> Result<(), OpenError> {
    let fault = |error: std::io::Error| OpenError::io(new_dir, &error);
    let dir = dir.canonicalize().map_err(fault)?;
    let new = std::path::absolute(new_dir).map_err(fault)?;
    // What is not there yet will lie in the nearest folder that is.
    let above = new.ancestors().find_map(|folder| folder.canonicalize().ok());
    if above.is_some_and(|above| above.starts_with(&dir)) {
        let why = format!("it lies in {}, which salvage does not change", dir.display());
        return Err(OpenError::Io { path: new_dir.to_owned(), why });
    }
    Ok(())
}

fn settings(dir: &Path, format: &Format) -> Settings {
    Settings::new(dir, format.slots, &format.slot_hash)
}

fn short_of_mark(engine: &Engine, dir: &Path) -> Option<String> {
    let marked = mark::read(dir);
    match commit::stored_commits(engine) {
        Ok(commits) if commits >= marked => None,
        Ok(commits) => {
            Some(format!("it ends at transaction {commits}, but {marked} were acknowledged"))
        }
        Err(why) => Some(why),
    }
}

/// Collects rows into transactions.
struct Sheet<'a> {
    new: &'a Engine,
    rows: Vec<Write>,
}

impl Sheet<'_> {
    fn put(&mut self, space: Space, key: Vec<u8>, body: &[u8]) -> Result<(), String> {
        let row = format::seal(&key, body);
        self.rows.push(Write::put(space, key, row));
        if self.rows.len() >= ROWS_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.new.strained().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.new.commit(std::mem::take(&mut self.rows))
    }
}

fn copy_room(
    view: &dyn View,
    survey: Survey,
    ends_lost: bool,
    slot_of: &dyn Fn(&RoomName) -> SlotNo,
    slots: &mut HashMap<SlotNo, SlotRow>,
    report: &mut Report,
    sheet: &mut Sheet<'_>,
) -> Result<(), String> {
    let Survey { room, row, runs } = survey;
    let longest = runs.iter().max_by_key(|run| (run.len(), run.last)).cloned();
    let head = row.as_ref().map(|row| row.head.clone());
    let run = match (longest, &head) {
        (Some(run), _) => run,
        // All was trimmed: the numbers go on where they were.
        (None, Some(head)) if head.first > head.head => {
            Run { first: head.first, last: head.head, first_ordinal: head.first_ordinal }
        }
        (None, _) => return Ok(()),
    };
    for other in runs.iter().filter(|other| **other != run) {
        let why = "it lies behind a hole and the longer part was kept".to_owned();
        let (from, to) = (other.first, other.last);
        report.damage.push(Damage { room: room.clone(), from, to, why });
    }
    let slot = row.map_or_else(|| slot_of(&room), |row| row.slot);
    let ended_at = head.as_ref().map_or(u64::MAX, |head| head.head);
    let log = match &head {
        Some(head) if !ends_lost && run.last >= ended_at => head.log.clone(),
        _ => {
            let from = head.map_or_else(LogId::none, |head| head.log);
            let to = new_log();
            report.renamed.push(Renamed { room: room.clone(), from, to: to.clone() });
            to
        }
    };
    let mut copied = RoomRow {
        slot,
        head: RoomHead {
            log,
            first: run.first,
            head: run.last,
            ordinal: run.first_ordinal,
            at_ms: 0,
            first_ordinal: run.first_ordinal,
        },
    };
    let place = slots.entry(slot).or_default();
    for seq in run.first..=run.last {
        let record = read::record(view, &room, seq).map_err(|error| format!("{error:?}"))?;
        judge::put_record(&room, &record, copied.head.ordinal, &mut sheet.rows);
        copied.head.ordinal = record.ordinal;
        copied.head.at_ms = copied.head.at_ms.max(record.at_ms);
        place.slot_pos = place.slot_pos.max(record.slot_pos);
        place.fence = place.fence.max(record.fence);
        if sheet.rows.len() >= ROWS_MAX {
            sheet.flush()?;
        }
    }
    copy_states(view, &room, &copied.head, report, sheet)?;
    sheet.rows.push(Write::put(Space::Meta, keys::slot_room(slot, &room), Vec::new()));
    sheet.put(Space::Meta, keys::room(&room), &copied.encode())
}

/// Marks do not point above the new end; what belongs to entries that are gone is left out.
fn copy_states(
    view: &dyn View,
    room: &RoomName,
    head: &RoomHead,
    report: &mut Report,
    sheet: &mut Sheet<'_>,
) -> Result<(), String> {
    let kept = head.first..=head.head;
    survey::states(view, room, report, |key, state, body| {
        let body = match state {
            StateKey::Mark(_) => clamped(&body, head),
            StateKey::Fold(seq) | StateKey::Reaction(seq, ..) if kept.contains(&seq) => body,
            _ => return Ok(()),
        };
        sheet.put(Space::State, key.to_vec(), &body)
    })
}

fn clamped(body: &bytes::Bytes, head: &RoomHead) -> bytes::Bytes {
    match Mark::from_bytes(body) {
        Some(mark) if mark.seq > head.head => {
            Mark { seq: head.head, ordinal: head.ordinal }.to_bytes()
        }
        _ => body.clone(),
    }
}

/// Claims as they were, but never below what the entries show.
fn copy_slots(
    view: &dyn View,
    mut slots: HashMap<SlotNo, SlotRow>,
    sheet: &mut Sheet<'_>,
) -> Result<(), String> {
    for (key, _) in view.scan(Space::Meta, keys::slots()).map_while(Result::ok) {
        let Some(slot) = keys::slot_of(&key) else {
            continue;
        };
        if let Ok(Some(stored)) = read::slot_row(view, slot) {
            let seen = slots.entry(slot).or_default();
            seen.epoch = stored.epoch;
            seen.nonce = stored.nonce;
            seen.fence = seen.fence.max(stored.fence);
            seen.slot_pos = seen.slot_pos.max(stored.slot_pos);
        }
    }
    for (slot, row) in slots {
        sheet.put(Space::Meta, keys::slot(slot), &row.encode())?;
    }
    Ok(())
}

fn new_log() -> LogId {
    let mut seed = Seed::new(RandomState::new().hash_one("log"));
    LogId::new(&seed.letters(12)).expect("letters are a log's id")
}
