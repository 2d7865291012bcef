//! Copies of the engine's files that are changed until the engine opens them.
//!
//! Three things can be done, each only where it is needed: a keyspace is made anew from its tables, the
//! names of the keyspaces are taken from a new database, and the engine's journal is cut short.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::copy::{Cut, copy};
use super::engine::{Engine, journal_files, keyspace_dirs};
use super::files::{self, VERSION_FILE};
use super::open_error::OpenError;
use super::rebuild::rebuild;
use super::report::Report;
use super::settings::{Settings, engine_dir};

/// Where the copies are made.
pub(super) struct Bench {
    /// The engine's files of the damaged folder.
    pub(super) source: PathBuf,
    /// A folder for the copies.
    pub(super) work: PathBuf,
    /// Opens what is in `work`.
    pub(super) settings: Settings,
}

impl Bench {
    /// Opens a copy that is changed as little as possible.
    pub(super) fn open(&self, report: &mut Report) -> Result<Engine, OpenError> {
        let error = match self.attempt(&self.source, &Cut::default()) {
            Ok(engine) => return Ok(engine),
            Err(error) => error.moved(&self.settings.engine_dir(), &self.source),
        };
        report.broken = Some(error.to_string());
        let opens = |base: &Path, cut: &Cut| self.attempt(base, cut).is_ok();
        let mut base = self.source.clone();
        if !opens(&base, &Cut::journals_from(0)) {
            base = self.mended(report)?;
        }
        let mut cut = Cut::default();
        if !opens(&base, &cut) {
            self.shorten_journals(&base, &mut cut, report);
        }
        self.attempt(&base, &cut)
    }

    fn attempt(&self, base: &Path, cut: &Cut) -> Result<Engine, OpenError> {
        let to = self.settings.engine_dir();
        copy(base, &to, cut).map_err(|error| OpenError::io(&to, &error))?;
        Engine::open(&self.settings)
    }

    /// Finds the first journal file with which the engine does not open, and the longest beginning of
    /// it with which it does.
    fn shorten_journals(&self, base: &Path, cut: &mut Cut, report: &mut Report) {
        let with = |from: u64, bytes: u64| Cut { journal: Some((from, bytes)) };
        let opens = |cut: &Cut| self.attempt(base, cut).is_ok();
        for (number, path) in journal_files(&self.source) {
            let length = fs::metadata(&path).map_or(0, |meta| meta.len());
            if opens(&with(number, length)) {
                continue;
            }
            let (mut good, mut bad) = (0, length);
            while bad - good > 1 {
                let middle = good + (bad - good) / 2;
                if opens(&with(number, middle)) { good = middle } else { bad = middle }
            }
            report.cut.push(format!("{} from byte {good} on, and all later ones", path.display()));
            *cut = with(number, good);
            return;
        }
    }

    /// A copy in which everything but the engine's journal is whole, as far as that can be.
    fn mended(&self, report: &mut Report) -> Result<PathBuf, OpenError> {
        let base = self.work.join("mended");
        let fault = |error: io::Error| OpenError::io(&base, &error);
        copy(&self.source, &base, &Cut::default()).map_err(fault)?;
        let keyspaces = keyspace_dirs(&self.source);
        let bad: Vec<_> = keyspaces.iter().filter(|keyspace| !self.holds(keyspace)).collect();
        for keyspace in &bad {
            self.rebuild(&base, keyspace, report)?;
        }
        let sound = |base: &Path| self.attempt(base, &Cut::journals_from(0)).is_ok();
        if !sound(&base) {
            self.rename_keyspaces(&base)?;
            let names = files::names_dir(&self.source);
            let found = files::names_faults(&self.source);
            let file = found.first().map_or(names, |fault| fault.file.clone());
            report.mended.push(format!("{}: the names of the keyspaces are new", file.display()));
        }
        if !sound(&base) {
            for keyspace in keyspaces.iter().filter(|keyspace| !bad.contains(keyspace)) {
                self.rebuild(&base, keyspace, report)?;
            }
        }
        Ok(base)
    }

    /// Whether a keyspace opens by itself.
    fn holds(&self, keyspace: &Path) -> bool {
        let alone = self.work.join("alone");
        let opened = files::manifest_fault(keyspace).is_none()
            && copy(keyspace, &alone, &Cut::default()).is_ok()
            && files::opens(&alone);
        let _ = fs::remove_dir_all(&alone);
        opened
    }

    fn rebuild(&self, base: &Path, keyspace: &Path, report: &mut Report) -> Result<(), OpenError> {
        let to = base.join("keyspaces").join(keyspace.file_name().unwrap_or_default());
        fs::remove_dir_all(&to).map_err(|error| OpenError::io(&to, &error))?;
        let faults = files::keyspace_faults(keyspace);
        let why = match faults.first() {
            Some(fault) => format!("{}: {}", fault.file.display(), fault.why),
            None => "a table is missing, or its manifest is wrong".into(),
        };
        let name = keyspace.display();
        report.cut.push(format!("the keyspace {name} is made anew from its tables ({why})"));
        rebuild(keyspace, &to, |lost| report.cut.push(lost))
            .map_err(|why| OpenError::Io { path: to.clone(), why })
    }

    /// Gives the keyspaces of `base` the names that a new database gives them.
    fn rename_keyspaces(&self, base: &Path) -> Result<(), OpenError> {
        let fresh = Settings { dir: self.work.join("fresh"), ..self.settings.clone() };
        let made = engine_dir(&fresh.dir);
        let fault = |error: io::Error| OpenError::io(&made, &error);
        // The engine numbers its keyspaces one after the other, but for numbers that are taken: those
        // that a start which died half-way has used up.
        let taken = keyspace_dirs(&self.source);
        let numbers: BTreeSet<u64> = taken.iter().filter_map(|path| files::number(path)).collect();
        if numbers.len() == Engine::KEYSPACES {
            let last = numbers.last().copied().unwrap_or_default();
            for gap in (1..last).filter(|number| !numbers.contains(number)) {
                let gap = made.join("keyspaces").join(gap.to_string());
                fs::create_dir_all(gap).map_err(fault)?;
            }
        }
        drop(Engine::make(&fresh)?);
        let names = files::names_dir(base);
        if names.exists() {
            fs::remove_dir_all(&names).map_err(fault)?;
        }
        copy(&files::names_dir(&made), &names, &Cut::default()).map_err(fault)?;
        for file in [VERSION_FILE, "lock"] {
            fs::copy(made.join(file), base.join(file)).map_err(fault)?;
        }
        fs::remove_dir_all(&fresh.dir).map_err(fault)
    }
}
