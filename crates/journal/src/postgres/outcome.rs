//! What an answer of the database, or the lack of one, means.
//!
//! # Invariants
//! - "Surely not applied" is said only of a statement that the server itself reports as rolled back.

use std::fmt;

use model::AppendError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::{ClaimError, ReadError};

/// Why a statement has no clean success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection could be made: nothing was sent.
    Unconnected(String),
    /// The server rolled it back.
    RolledBack(SqlState, String),
    /// The connection ended before the answer.
    Lost(String),
    /// No answer in time.
    Silent,
    /// It succeeded, and the server warned: a wait for a standby may have been cancelled.
    Warned(String),
}

impl Failure {
    /// What the client library's error means.
    pub(super) fn of(error: &tokio_postgres::Error) -> Failure {
        match error.as_db_error() {
            Some(answer) => Failure::of_answer(answer),
            None => {
                let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
                Failure::Lost(format!("{error}{}", cause.unwrap_or_default()))
            }
        }
    }

    fn of_answer(answer: &DbError) -> Failure {
        let says = format!("{} ({})", answer.message(), answer.code().code());
        match answer.parsed_severity() {
            // Cancelled by somebody, at a moment that nobody knows.
            Some(Severity::Error) if *answer.code() != SqlState::QUERY_CANCELED => {
                Failure::RolledBack(answer.code().clone(), says)
            }
            _ => Failure::Lost(says),
        }
    }

    /// Whether the slot's row was locked by somebody else for too long.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Failure::RolledBack(code, _) if *code == SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether the same connection may be used again.
    pub(super) fn keeps_connection(&self) -> bool {
        match self {
            // The server was demoted under us; another one is the primary now.
            Failure::RolledBack(code, _) => *code != SqlState::READ_ONLY_SQL_TRANSACTION,
            _ => false,
        }
    }

    /// Whether the fault may lie in one of several appends that shared a transaction.
    pub(super) fn may_be_of_one(&self) -> bool {
        matches!(self, Failure::RolledBack(..)) && self.keeps_connection() && !self.is_full()
    }

    fn is_full(&self) -> bool {
        matches!(self, Failure::RolledBack(code, _) if *code == SqlState::DISK_FULL)
    }

    pub(super) fn append_error(&self) -> AppendError {
        match self {
            _ if self.is_full() => AppendError::NoSpace,
            Failure::Unconnected(_) | Failure::RolledBack(..) => {
                AppendError::Unavailable(self.to_string())
            }
            _ => AppendError::Unknown(self.to_string()),
        }
    }

    pub(super) fn claim_error(&self) -> ClaimError {
        match self {
            _ if self.is_full() => ClaimError::NoSpace,
            Failure::Unconnected(_) | Failure::RolledBack(..) => {
                ClaimError::Unavailable(self.to_string())
            }
            _ => ClaimError::Unknown(self.to_string()),
        }
    }

    pub(super) fn read_error(&self) -> ReadError {
        match self {
            Failure::RolledBack(code, says)
                if [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(code) =>
            {
                ReadError::Corrupt(says.clone())
            }
            _ => ReadError::Unavailable(self.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unconnected(why) => write!(f, "no connection to the database: {why}"),
            Failure::RolledBack(_, says) => write!(f, "the database refused: {says}"),
            Failure::Lost(why) => write!(f, "the connection to the database was lost: {why}"),
            Failure::Silent => write!(f, "the database did not answer in time"),
            Failure::Warned(says) => write!(f, "the database warned: {says}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_rolled_back_is_surely_not_applied() {
        let rolled_back = |code: SqlState| Failure::RolledBack(code, String::new());
        let sure = [
            Failure::Unconnected(String::new()),
            rolled_back(SqlState::UNDEFINED_TABLE),
            rolled_back(SqlState::T_R_DEADLOCK_DETECTED),
        ];
        for failure in sure {
            assert!(matches!(failure.append_error(), AppendError::Unavailable(_)), "{failure}");
            assert!(matches!(failure.claim_error(), ClaimError::Unavailable(_)), "{failure}");
        }
        let lost = Failure::Lost(String::new());
        for failure in [lost, Failure::Silent, Failure::Warned(String::new())] {
            assert!(matches!(failure.append_error(), AppendError::Unknown(_)), "{failure}");
            assert!(matches!(failure.claim_error(), ClaimError::Unknown(_)), "{failure}");
            assert!(!failure.keeps_connection(), "{failure}");
        }
        assert_eq!(rolled_back(SqlState::DISK_FULL).append_error(), AppendError::NoSpace);
        assert!(!rolled_back(SqlState::READ_ONLY_SQL_TRANSACTION).keeps_connection());
    }
}
