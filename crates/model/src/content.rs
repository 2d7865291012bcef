//! What a message says, as far as a room must know it.

use bytes::Bytes;

use crate::{Right, Seq};

/// The kind of a message's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ContentKind {
    /// Something that somebody said; counts as unread.
    Post = 1,
    /// A new text for a post, by its author.
    Edit = 2,
    /// The wish that a post be gone.
    Redact = 3,
    /// A reaction to a post, put or taken back.
    Reaction = 4,
    /// A notice that only services publish; does not count as unread.
    System = 5,
    /// What is left of a redacted entry.
    Tombstone = 6,
}

impl ContentKind {
    /// The kind with this number, as stored in journals.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<ContentKind> {
        use ContentKind::{Edit, Post, Reaction, Redact, System, Tombstone};
        [Post, Edit, Redact, Reaction, System, Tombstone].into_iter().find(|k| *k as u8 == number)
    }

    /// The right that publishing it takes; `None` where a session never may.
    #[must_use]
    pub fn right(self) -> Option<Right> {
        match self {
            ContentKind::System | ContentKind::Tombstone => None,
            _ => Some(Right::Publish),
        }
    }
}

/// Tells contents apart for the rule "the same id with the same content": FNV-1a over kind, target,
/// key, removal and text, never over `data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u64);

impl Digest {
    /// The digest of a content with these parts.
    #[must_use]
    pub fn of(kind: ContentKind, target: Seq, key: &str, remove: bool, text: &str) -> Digest {
        let head = [kind as u8, u8::from(remove)];
        let parts: [&[u8]; 5] = [
            &head,
            &target.to_be_bytes(),
            &(key.len() as u64).to_be_bytes(),
            key.as_bytes(),
            text.as_bytes(),
        ];
        let bytes = parts.into_iter().flatten();
        Digest(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }
}

/// The content of a message: what a room must know of it, and the bytes that everybody else reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Which member of the contract's `oneof` it is.
    pub kind: ContentKind,
    /// The post that an edit, redaction or reaction speaks of; 0 otherwise.
    pub target: Seq,
    /// A reaction's key; empty otherwise.
    pub key: String,
    /// Whether a reaction is taken back.
    pub remove: bool,
    /// See [`Digest`].
    pub digest: Digest,
    /// The content's protobuf bytes as received (the inner message, e.g. `Post`), unknown fields
    /// included.
    pub body: Bytes,
}
