//! One line of a log.

use serde::Deserialize;

/// Something that somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// Milliseconds since the epoch, UTC.
    pub at_ms: u64,
    /// Where.
    pub room: String,
    /// What.
    pub kind: Kind,
    /// Who.
    pub user: String,
    /// On messages and actions; absent where it is empty.
    #[serde(default)]
    pub text: String,
}

/// What somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Said something.
    Message,
    /// Did something, told in the third person (`/me`).
    Action,
    /// Came.
    Join,
    /// Left.
    Leave,
}
