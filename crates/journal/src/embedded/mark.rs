//! The number of the last transaction that is known to be durable, in a small file beside the engine.
//!
//! It is written after the transaction's fsync and never synced itself, so it never runs ahead of what
//! is durable. A store that opens below its mark has lost what was acknowledged: some damage to the
//! engine's journal looks to it like a torn tail and would pass in silence.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const MARK_FILE: &str = "parlour.mark";

#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    pub(super) fn open(dir: &Path) -> std::io::Result<Mark> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path(dir))?;
        Ok(Mark { file })
    }

    pub(super) fn set(&self, commits: u64) -> std::io::Result<()> {
        let number = commits.to_le_bytes();
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&crc32c::crc32c(&number).to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }
}

/// The mark; 0 if there is none, or none that can be read (it may be torn after a power loss).
pub(super) fn read(dir: &Path) -> u64 {
    let mut bytes = [0; 12];
    let read = File::open(path(dir)).and_then(|mut file| file.read_exact(&mut bytes));
    let (number, crc) = bytes.split_at(8);
    match (read, number.try_into().map(u64::from_le_bytes)) {
        (Ok(()), Ok(commits)) if crc == crc32c::crc32c(number).to_le_bytes() => commits,
        _ => 0,
    }
}

/// Where it lies.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(MARK_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_again_and_a_torn_one_counts_as_none() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(read(dir.path()), 0);
        let mark = Mark::open(dir.path()).expect("made");
        mark.set(7).expect("written");
        mark.set(900).expect("written");
        assert_eq!(read(dir.path()), 900);
        std::fs::write(path(dir.path()), [1; 12]).expect("written");
        assert_eq!(read(dir.path()), 0);
    }
}
