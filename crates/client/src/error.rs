//! What can go wrong for a caller.

use std::fmt;

use model::Refusal;
use session::client::{NotPublished, WishError};

use crate::dial::DialError;

/// Why there is no session.
#[derive(Clone, Debug)]
pub enum ConnectError {
    /// The first dial failed.
    Dial(DialError),
    /// The server will not have this client.
    Ended {
        /// The end's code.
        code: u32,
        /// For the person who reads it.
        message: String,
    },
    /// The task is gone.
    Over,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Dial(error) => error.fmt(f),
            ConnectError::Ended { code, message } => write!(f, "{message} ({code})"),
            ConnectError::Over => f.write_str("The session is over."),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Why something was not published, as far as is known.
#[derive(Clone, Debug)]
pub enum PublishError {
    /// It was not even taken.
    Wish(WishError),
    /// It was given up; it says whether it may have been sent.
    NotPublished(NotPublished),
    /// Nobody publishes that: a tombstone, or a content of a later contract.
    Content,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Wish(error) => error.fmt(f),
            PublishError::NotPublished(error) => error.fmt(f),
            PublishError::Content => f.write_str("Such a content cannot be published."),
        }
    }
}

impl std::error::Error for PublishError {}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub enum RequestError {
    /// It was not even taken.
    Wish(WishError),
    /// The server said no.
    Refused(Refusal),
    /// The answer cannot be read.
    Unreadable(String),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Wish(error) => error.fmt(f),
            RequestError::Refused(refusal) => f.write_str(&refusal.message),
            RequestError::Unreadable(why) => write!(f, "the answer cannot be read: {why}"),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<WishError> for PublishError {
    fn from(error: WishError) -> PublishError {
        PublishError::Wish(error)
    }
}

impl From<WishError> for RequestError {
    fn from(error: WishError) -> RequestError {
        RequestError::Wish(error)
    }
}
