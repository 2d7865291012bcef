//! What a journal stores.

use bytes::Bytes;

use crate::{ContentKind, Digest, Fence, LogId, MessageId, RoomName, Seq, SessionId, UserId};

/// One entry of a room's log. What deduplication, authorship and folding need stands beside the
/// payload, so that neither has to be decoded for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1, 2, 3 … in its room.
    pub seq: Seq,
    /// Posts up to and including this entry.
    pub ordinal: u64,
    /// Place among all entries of the slot: strictly increasing, set by the slot's task.
    pub slot_pos: u64,
    /// Milliseconds since the epoch; never less than the room's previous entry's.
    pub at_ms: u64,
    /// The author.
    pub user: UserId,
    /// The author's session; `None` for unary publishes.
    pub session: Option<SessionId>,
    /// The id chosen by the author's client.
    pub id: MessageId,
    /// What kind of content the payload holds.
    pub kind: ContentKind,
    /// The post that the content speaks of, or 0.
    pub target: Seq,
    /// A reaction's key, else empty.
    pub key: String,
    /// Whether a reaction is taken back.
    pub remove: bool,
    /// Digest of the content, see [`Digest`].
    pub digest: Digest,
    /// The fence under which it was appended.
    pub fence: Fence,
    /// The encoded `parlour.v1.Message`: what the journal keeps is what the link carries and what
    /// protobuf readers receive.
    pub payload: Bytes,
}

/// An entry whose payload is replaced for good: the redacted post, or one of its edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The entry.
    pub seq: Seq,
    /// The encoded tombstone that takes the payload's place; the record's kind becomes
    /// [`ContentKind::Tombstone`], its digest [`Digest::default`], everything else stays.
    pub payload: Bytes,
}

/// The key of a small value that lives beside a room's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StateKey {
    /// How far a user has read: a [`Mark`].
    Mark(UserId),
    /// What a post has become: a [`Fold`].
    Fold(Seq),
    /// The seq of the standing reaction of this user with this key to this post (8 bytes, big
    /// endian).
    Reaction(Seq, UserId, String),
}

/// A read marker's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Read up to and including this entry.
    pub seq: Seq,
    /// That entry's ordinal.
    pub ordinal: u64,
}

/// How often a post was reacted to with one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReactionCount {
    /// The key, usually an emoji.
    pub key: String,
    /// How many users' reactions stand.
    pub count: u64,
    /// The first of them, at most [`crate::limits::REACTION_USERS_LISTED`].
    pub users: Vec<UserId>,
}

/// What a post has become since it was written, kept up to date in the same transaction as the
/// entries that change it, so that a page costs one small read a post whatever lies between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// When it was last edited, and the protobuf bytes of that `Edit`; `None` if never.
    pub edit: Option<(u64, Bytes)>,
    /// How many edits were made; bounded by [`crate::limits::EDITS_PER_POST_MAX`].
    pub edits: u32,
    /// Counts of reactions, at most [`crate::limits::REACTION_KEYS_PER_POST_MAX`], oldest key first.
    pub reactions: Vec<ReactionCount>,
}

/// What one room wants appended in one transaction: all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomBatch {
    /// The room.
    pub room: RoomName,
    /// Its log; minted by the room when its first record is among `records`.
    pub log: LogId,
    /// New entries, dense, the first at head + 1; may be empty.
    pub records: Vec<Record>,
    /// Entries (older, or in `records`) that are blanked.
    pub erasures: Vec<Erasure>,
    /// Small values put (`Some`) or deleted (`None`).
    pub states: Vec<(StateKey, Option<Bytes>)>,
}

/// What one slot wants appended in one transaction, checked against one fence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// One part per room; each is judged for itself.
    pub rooms: Vec<RoomBatch>,
}

/// Why an append did not answer "committed".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// Somebody claimed the slot after us; final for this claim.
    Fenced,
    /// The first record is not at head + 1: an owner's mistake, or an `Unknown` that did commit.
    SequenceConflict {
        /// What the journal expected.
        expected: Seq,
    },
    /// It may have been committed or not: never acknowledged; claim again, then read the tail.
    Unknown(String),
    /// Surely not applied; may be tried again.
    Unavailable(String),
    /// Surely not applied: no room on the disk.
    NoSpace,
    /// One batch is larger than the engine takes.
    TooLarge {
        /// The engine's maximum in bytes.
        bytes_max: usize,
    },
    /// What is stored of this room is damaged: the room stops.
    Corrupt(String),
    /// The engine refuses writes until the process starts again.
    Poisoned(String),
}

/// Marker trait of values that travel as bytes inside [`RoomBatch::states`].
pub trait ContentState: Sized {
    /// The value as bytes.
    fn to_bytes(&self) -> Bytes;
    /// The value again; `None` when the bytes are not one.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl ContentState for Mark {
    fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ordinal.to_be_bytes());
        bytes.into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Mark> {
        let mut rest = bytes;
        let mark = Mark { seq: take_u64(&mut rest)?, ordinal: take_u64(&mut rest)? };
        rest.is_empty().then_some(mark)
    }
}

impl ContentState for Fold {
    fn to_bytes(&self) -> Bytes {
        let mut out = vec![1u8];
        out.extend(self.edits.to_be_bytes());
        match &self.edit {
            None => out.push(0),
            Some((at_ms, body)) => {
                out.push(1);
                out.extend(at_ms.to_be_bytes());
                put_bytes(&mut out, body);
            }
        }
        for reaction in &self.reactions {
            put_bytes(&mut out, reaction.key.as_bytes());
            out.extend(reaction.count.to_be_bytes());
            out.push(reaction.users.len() as u8);
            for user in &reaction.users {
                put_bytes(&mut out, user.as_str().as_bytes());
            }
        }
        out.into()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Fold> {
        let mut rest = bytes;
        if take(&mut rest, 1)? != [1] {
            return None;
        }
        let edits = u32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let edit = match take(&mut rest, 1)? {
            [0] => None,
            _ => Some((take_u64(&mut rest)?, Bytes::copy_from_slice(take_bytes(&mut rest)?))),
        };
        let mut reactions = Vec::new();
        while !rest.is_empty() {
            let key = std::str::from_utf8(take_bytes(&mut rest)?).ok()?.to_owned();
            let count = take_u64(&mut rest)?;
            let listed = take(&mut rest, 1)?[0];
            let users = (0..listed)
                .map(|_| UserId::new(std::str::from_utf8(take_bytes(&mut rest)?).ok()?).ok())
                .collect::<Option<Vec<_>>>()?;
            reactions.push(ReactionCount { key, count, users });
        }
        Some(Fold { edit, edits, reactions })
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(take(rest, 8)?.try_into().ok()?))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_survives_its_bytes() {
        let fold = Fold {
            edit: Some((17, Bytes::from_static(b"edit"))),
            edits: 3,
            reactions: vec![ReactionCount {
                key: "👍".into(),
                count: 70_000,
                users: vec![UserId::new("ann").expect("valid")],
            }],
        };
        assert_eq!(Fold::from_bytes(&fold.to_bytes()), Some(fold.clone()));
        assert_eq!(Fold::from_bytes(&Fold::default().to_bytes()), Some(Fold::default()));
        let bytes = fold.to_bytes();
        for cut in 0..bytes.len() {
            assert_ne!(Fold::from_bytes(&bytes[..cut]), Some(fold.clone()));
        }
    }

    #[test]
    fn a_mark_survives_its_bytes() {
        let mark = Mark { seq: 9, ordinal: 4 };
        assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
        assert_eq!(Mark::from_bytes(b"short"), None);
    }
}
