//! Why a journal's folder was not opened, for the person who has to do something about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a folder was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Another process has it open.
    Locked {
        /// The folder.
        dir: PathBuf,
        /// Who holds it, as far as is known.
        holder: String,
    },
    /// It was made with other constants.
    Mismatch {
        /// The folder.
        dir: PathBuf,
        /// Which constant.
        what: &'static str,
        /// Its value in the folder.
        stored: String,
        /// Its value in the settings.
        asked: String,
    },
    /// What is stored is damaged.
    Damaged {
        /// The file, or those of which one is damaged.
        files: Vec<PathBuf>,
        /// How that was seen.
        why: String,
    },
    /// The system refuses to read or write it.
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// There is no journal in it.
    Absent {
        /// The folder.
        dir: PathBuf,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, error: &std::io::Error) -> OpenError {
        OpenError::Io { path: path.to_owned(), why: error.to_string() }
    }

    /// The same for files that lie elsewhere.
    pub(super) fn moved(self, from: &Path, to: &Path) -> OpenError {
        let moved = |path: PathBuf| match path.strip_prefix(from) {
            Ok(rest) => to.join(rest),
            Err(_) => path,
        };
        match self {
            OpenError::Damaged { files, why } => {
                let why = why.replace(&from.display().to_string(), &to.display().to_string());
                OpenError::Damaged { files: files.into_iter().map(moved).collect(), why }
            }
            OpenError::Io { path, why } => OpenError::Io { path: moved(path), why },
            other => other,
        }
    }

    pub(super) fn mismatch(
        dir: &Path,
        what: &'static str,
        stored: impl ToString,
        asked: impl ToString,
    ) -> OpenError {
        OpenError::Mismatch {
            dir: dir.to_owned(),
            what,
            stored: stored.to_string(),
            asked: asked.to_string(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked { dir, holder } => {
                write!(f, "the journal {} is in use by {holder}; stop that first", dir.display())
            }
            OpenError::Mismatch { dir, what, stored, asked } => write!(
                f,
                "the journal {} was made with {what} {stored}, the settings say {what} {asked}; \
                 this never changes once a journal is made",
                dir.display()
            ),
            OpenError::Damaged { files, why } => {
                let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                write!(
                    f,
                    "the journal is damaged ({why}) in {}; look with `parlour journal check DIR`, \
                     copy what can be read with `parlour journal salvage DIR NEWDIR`",
                    names.join(" or ")
                )
            }
            OpenError::Io { path, why } => write!(f, "{}: {why}", path.display()),
            OpenError::Absent { dir } => write!(f, "{} holds no journal", dir.display()),
        }
    }
}

impl std::error::Error for OpenError {}
