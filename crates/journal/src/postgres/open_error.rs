//! Why a database was not opened, for the person who has to do something about it.

use std::fmt;

/// Why a database was not opened. No variant holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The settings cannot work.
    Settings {
        /// What is wrong with them.
        why: String,
    },
    /// No host can be reached and written.
    Unreachable {
        /// The database.
        place: String,
        /// What the last host said.
        why: String,
    },
    /// The server is older than 15.
    TooOld {
        /// The database.
        place: String,
        /// Its version.
        version: String,
    },
    /// `init` was not run.
    Absent {
        /// The database.
        place: String,
    },
    /// It was made with other constants.
    Mismatch {
        /// The database.
        place: String,
        /// Which constant.
        what: &'static str,
        /// Its value in the database.
        stored: String,
        /// Its value in the settings.
        asked: String,
    },
    /// A newer program changed the tables beyond what this one understands.
    Newer {
        /// The database.
        place: String,
        /// The tables' version.
        stored: i32,
        /// The least version that a program must know.
        needs: i32,
        /// The version that this program knows.
        known: i32,
    },
    /// The database refuses what has to be done.
    Refused {
        /// The database.
        place: String,
        /// What it says.
        why: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Settings { why } => write!(f, "the journal's settings cannot work: {why}"),
            OpenError::Unreachable { place, why } => {
                write!(f, "{place} cannot be reached and written: {why}")
            }
            OpenError::TooOld { place, version } => {
                write!(f, "{place} runs PostgreSQL {version}; 15 or newer is needed")
            }
            OpenError::Absent { place } => {
                write!(f, "{place} holds no journal; make it once with `parlour admin init`")
            }
            OpenError::Mismatch { place, what, stored, asked } => write!(
                f,
                "{place} was made with {what} {stored}, the settings say {what} {asked}; this \
                 never changes once a journal is made"
            ),
            OpenError::Newer { place, stored, needs, known } => write!(
                f,
                "{place} has tables of version {stored}, which need a program that knows version \
                 {needs}; this one knows version {known}: start a newer one"
            ),
            OpenError::Refused { place, why } => write!(f, "{place} refuses: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}
