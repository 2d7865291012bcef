//! Names: short strings that were checked once, where they came in.

use std::fmt;
use std::sync::Arc;

/// Why a string is not a name; the text is fit to be shown to whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(pub String);

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NameError {}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:literal..=$max:literal, $allowed:expr, $alphabet:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            /// A [`NameError`] that says what is allowed.
            pub fn new(text: &str) -> Result<$name, NameError> {
                let allowed: fn(u8) -> bool = $allowed;
                if !($min..=$max).contains(&text.len()) {
                    return Err(NameError(format!(
                        concat!($what, " has {} bytes; {} to {} are allowed"),
                        text.len(), $min, $max
                    )));
                }
                match text.bytes().find(|b| !allowed(*b)) {
                    Some(bad) => Err(NameError(format!(
                        concat!($what, " holds the byte {:#04x}; allowed are ", $alphabet),
                        bad
                    ))),
                    None => Ok($name(Arc::from(text))),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A room's name: 1-128 of `[A-Za-z0-9._:@/=~+-]`. A leading `_` is the service's own
    /// (see [`RoomName::is_reserved`]).
    RoomName, "the room's name", 1..=128,
    |b| b.is_ascii_alphanumeric() || b"._:@/=~+-".contains(&b),
    "letters, digits and ._:@/=~+-"
);
name!(
    /// A user's id: 1-128 printable ASCII characters without the space.
    UserId, "the user's id", 1..=128, |b| b.is_ascii_graphic(), "printable ASCII characters"
);
name!(
    /// The id that a client chose for a message: 8-64 printable ASCII characters, random.
    MessageId, "the message's id", 8..=64, |b| b.is_ascii_graphic(), "printable ASCII characters"
);
name!(
    /// A session's id, minted by the edge.
    SessionId, "the session's id", 1..=64, |b| b.is_ascii_alphanumeric(), "letters and digits"
);
name!(
    /// A node's id: one process of the cluster.
    NodeId, "the node's id", 1..=64,
    |b| b.is_ascii_alphanumeric() || b"._-".contains(&b), "letters, digits and ._-"
);
name!(
    /// The random name that a room's log got when it was born; empty while it is unborn.
    LogId, "the log's id", 0..=32, |b| b.is_ascii_alphanumeric(), "letters and digits"
);

impl RoomName {
    /// Whether the name is kept for the service itself, so that no client may use it.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl LogId {
    /// The log of a room that is not born yet.
    #[must_use]
    pub fn none() -> LogId {
        LogId(Arc::from(""))
    }

    /// Whether this is the log of an unborn room.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for LogId {
    fn default() -> LogId {
        LogId::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_is_refused_with_the_reason() {
        assert!(RoomName::new("team:ops/2026@x=~+-._").is_ok());
        let error = RoomName::new("a b").expect_err("a space is not allowed");
        assert!(error.0.contains("0x20"), "{error}");
        let error = MessageId::new("short").expect_err("five bytes are too few");
        assert!(error.0.contains("8 to 64"), "{error}");
        assert!(RoomName::new(&"x".repeat(129)).is_err());
        assert!(RoomName::new("_sys").expect("allowed").is_reserved());
        assert!(LogId::new("").expect("empty is the unborn log").is_none());
    }
}
