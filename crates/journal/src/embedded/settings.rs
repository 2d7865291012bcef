//! What an operator may set, and what a folder was made with.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::SlotNo;

use super::faults::Faults;
use super::open_error::OpenError;

/// Version of the rows and of the folder's layout.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "FORMAT";

/// How the embedded engine runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The journal's folder; made if it is not there.
    pub dir: PathBuf,
    /// Number of slots; fixed when the folder is made.
    pub slots: SlotNo,
    /// Name of the algorithm that maps rooms to slots; fixed when the folder is made.
    pub slot_hash: String,
    /// Appends are refused while the disk has less free space. 256 MiB hold what the engine may have
    /// to write for what it took already (memtables, a step of compaction). On a small disk a
    /// twentieth of it is enough.
    pub headroom_bytes: u64,
    /// Erased bytes leave the engine's files within this time.
    pub erase_within: Duration,
    /// Reads at a time. More would only wait for the same disk, and each may hold a page in memory.
    pub readers: usize,
    /// Memory for blocks that were read.
    pub cache_bytes: u64,
    /// Memory for what was written and is not in tables yet, for each of four spaces; also how much
    /// is read again after a crash.
    pub memtable_bytes: u64,
    /// Appends and claims that may wait for the committer: each slot has at most one.
    pub queue_max: usize,
    /// Bytes of one room's part of an append: 256 entries of 32 KiB.
    pub part_bytes_max: usize,
    /// Faults that a test injects.
    pub faults: Faults,
}

impl Settings {
    /// The defaults for a folder.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, slots: SlotNo, slot_hash: &str) -> Settings {
        Settings {
            dir: dir.into(),
            slots,
            slot_hash: slot_hash.to_owned(),
            headroom_bytes: 256 * 1024 * 1024,
            erase_within: Duration::from_secs(600),
            readers: 8,
            cache_bytes: 64 * 1024 * 1024,
            memtable_bytes: 16 * 1024 * 1024,
            queue_max: 4_096,
            part_bytes_max: 8 * 1024 * 1024,
            faults: Faults::default(),
        }
    }

    /// Where the engine's own files lie.
    pub(super) fn engine_dir(&self) -> PathBuf {
        engine_dir(&self.dir)
    }
}

/// Where the engine's own files lie.
pub(super) fn engine_dir(dir: &Path) -> PathBuf {
    dir.join("engine")
}

/// What a folder was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) slots: SlotNo,
    pub(super) slot_hash: String,
}

impl Format {
    /// Writes the file, or compares it with what is asked for.
    pub(super) fn establish(dir: &Path, asked: &Format) -> Result<(), OpenError> {
        match Format::read(dir)? {
            None => asked.write(dir).map_err(|error| OpenError::io(dir, &error)),
            Some(stored) => stored.must_equal(dir, asked),
        }
    }

    /// What the folder says; `None` if it holds no journal.
    pub(super) fn read(dir: &Path) -> Result<Option<Format>, OpenError> {
        let path = dir.join(FORMAT_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(OpenError::io(&path, &error)),
        };
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or("")
        };
        let damaged = || OpenError::Damaged {
            files: vec![path.clone()],
            why: "it is not what this program writes".into(),
        };
        let version: u32 = value("format").parse().map_err(|_| damaged())?;
        if version != FORMAT {
            return Err(OpenError::mismatch(dir, "format", version, FORMAT));
        }
        let slots = value("slots").parse().map_err(|_| damaged())?;
        Ok(Some(Format { slots, slot_hash: value("slot_hash").to_owned() }))
    }

    pub(super) fn must_equal(&self, dir: &Path, asked: &Format) -> Result<(), OpenError> {
        if self.slots != asked.slots {
            return Err(OpenError::mismatch(dir, "slots", self.slots, asked.slots));
        }
        if self.slot_hash != asked.slot_hash {
            return Err(OpenError::mismatch(dir, "slot_hash", &self.slot_hash, &asked.slot_hash));
        }
        Ok(())
    }

    fn write(&self, dir: &Path) -> std::io::Result<()> {
        let draft = dir.join("FORMAT.draft");
        let mut file = fs::File::create(&draft)?;
        let Format { slots, slot_hash } = self;
        writeln!(file, "parlour journal\nformat {FORMAT}\nslots {slots}\nslot_hash {slot_hash}")?;
        file.sync_all()?;
        fs::rename(&draft, dir.join(FORMAT_FILE))?;
        fs::File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_made_with_other_constants_is_refused_by_their_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let made = Format { slots: 1024, slot_hash: "fnv".into() };
        Format::establish(dir.path(), &made).expect("made");
        Format::establish(dir.path(), &made).expect("equal");
        let slots = Format { slots: 512, ..made.clone() };
        let error = Format::establish(dir.path(), &slots).expect_err("other slots").to_string();
        assert!(error.contains("slots") && error.contains("1024") && error.contains("512"));
        let hash = Format { slot_hash: "xx".into(), ..made };
        let error = Format::establish(dir.path(), &hash).expect_err("other hash").to_string();
        assert!(error.contains("slot_hash"), "{error}");
        fs::write(dir.path().join(FORMAT_FILE), "format 9\nslots 1\n").expect("written");
        let error = Format::establish(dir.path(), &hash).expect_err("other format").to_string();
        assert!(error.contains("format 9"), "{error}");
    }
}
