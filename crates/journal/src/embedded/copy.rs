//! A copy of the engine's files in which something is left out.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use super::engine::journal_files;

/// What is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut {
    /// Of this journal file only so many bytes, and no later one.
    pub(super) journal: Option<(u64, u64)>,
}

impl Cut {
    /// No bytes of the journal files from this one on.
    pub(super) fn journals_from(number: u64) -> Cut {
        Cut { journal: Some((number, 0)) }
    }
}

/// Makes `to` a copy of `from`. Tables, which the engine never changes, are linked.
pub(super) fn copy(from: &Path, to: &Path, cut: &Cut) -> io::Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    copy_folder(from, to)?;
    let Some((first, bytes)) = cut.journal else {
        return Ok(());
    };
    let later = journal_files(to).into_iter().filter(|(number, _)| *number >= first);
    for (index, (number, path)) in later.enumerate() {
        // One file must stay, even if empty: without any the engine forgets its versions.
        if index == 0 {
            let bytes = if number == first { bytes } else { 0 };
            File::options().write(true).open(path)?.set_len(bytes)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else if !(is_table(&path) && fs::hard_link(&path, &target).is_ok()) {
            copy_file(&path, &target)?;
        }
    }
    Ok(())
}

fn is_table(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "tables")
}

/// The engine's journal files are mostly holes: those stay holes.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    const BLOCK: usize = 64 * 1024;
    let mut source = File::open(from)?;
    let target = File::create(to)?;
    target.set_len(source.metadata()?.len())?;
    let (mut block, zeros) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut at = 0;
    loop {
        let bytes = source.read(&mut block)?;
        if bytes == 0 {
            return Ok(());
        }
        if block[..bytes] != zeros[..bytes] {
            std::os::unix::fs::FileExt::write_all_at(&target, &block[..bytes], at)?;
        }
        at += bytes as u64;
    }
}
