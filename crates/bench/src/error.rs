//! Why a run could not be made, or not to its end.

use std::fmt;

use crate::conversation::ReadError;
use crate::measure::ProcessError;

/// Why there is no report.
#[derive(Clone, Debug)]
pub enum BenchError {
    /// The conversation cannot be read.
    Read(ReadError),
    /// The process that was to be measured cannot be.
    Process(ProcessError),
    /// There is no server, or it will not have us.
    Server(String),
    /// What was asked for cannot be done; a sentence that says what can.
    Usage(String),
    /// The machine failed us.
    Io(String),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Read(error) => error.fmt(f),
            BenchError::Process(error) => error.fmt(f),
            BenchError::Server(why) | BenchError::Usage(why) | BenchError::Io(why) => {
                f.write_str(why)
            }
        }
    }
}

impl std::error::Error for BenchError {}

impl From<ReadError> for BenchError {
    fn from(error: ReadError) -> BenchError {
        BenchError::Read(error)
    }
}

impl From<ProcessError> for BenchError {
    fn from(error: ProcessError) -> BenchError {
        BenchError::Process(error)
    }
}

impl From<std::io::Error> for BenchError {
    fn from(error: std::io::Error) -> BenchError {
        BenchError::Io(error.to_string())
    }
}
