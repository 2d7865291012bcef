//! What a room is handed and what it hands out, beside the words of `model`.
//!
//! These types stand apart from the machine because its shell is written against them: they are the
//! whole surface between a room and a journal.

use bytes::Bytes;
use model::{
    Answer, ContentKind, Digest, Fed, Fence, Generation, HistoryAnchor, LogId, MessageId, Record,
    RoomName, Seed, Seq, SessionId, StateKey, User, UserId,
};

/// One connected stream of an edge's link. A stream that comes back is another peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u64);

/// Names an ask in its answer; unique per peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// Names a read in its result; unique per room.
pub type Ticket = u64;

/// Where a born room stands, as the journal tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The log's id.
    pub log: LogId,
    /// The first kept entry; `head + 1` when all were trimmed.
    pub first: Seq,
    /// The last committed entry.
    pub head: Seq,
    /// Posts up to and including it.
    pub ordinal: u64,
    /// When the last entry was written.
    pub at_ms: u64,
    /// Posts below `first`.
    pub first_ordinal: u64,
}

/// What a room is opened with.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Which room.
    pub room: RoomName,
    /// Where it stands; `None` while it is unborn.
    pub head: Option<Head>,
    /// A random id, used if this owner writes the first entry.
    pub log_if_born: LogId,
    /// The fence of the slot's claim.
    pub fence: Fence,
    /// The newest few entries up to head, ascending; a hint, may be empty.
    pub recent: Vec<Record>,
    /// For the ids of publishes that come without one.
    pub seed: Seed,
    /// Whether the room was taken over from another owner: then presence is collected in silence
    /// for the grace.
    pub collecting: bool,
    /// What the former owner handed over, if the claim's old fence is the one that it named: then
    /// `head`, `recent` and `collecting` are not looked at, and nothing need be read.
    pub hints: Option<Hints>,
}

/// What a room's owner knows of it, for the next one. True only under the fence under which it was
/// exported, and only if nothing was appended under it since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Where the room stands; `None` while it is unborn.
    pub head: Option<Head>,
    /// The newest entries' ids, ascending, without a hole up to head; may be empty.
    pub ids: Vec<IdRow>,
    /// Publishes that were answered without an entry of their own, the oldest first.
    pub answered: Vec<AnsweredHint>,
    /// Who is here, the oldest attachment first.
    pub attachments: Vec<AttachmentHint>,
    /// For how long presence is still being collected; 0 if it is known.
    pub collecting_ms: u64,
}

/// A publish that changed nothing, and the entry that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredHint {
    /// Its author.
    pub user: UserId,
    /// The id chosen by the author's client.
    pub id: MessageId,
    /// The entry that was named in the answer.
    pub seq: Seq,
    /// When that was written.
    pub at_ms: u64,
    /// Digest of the publish's content.
    pub digest: Digest,
}

/// An attachment of which the next owner does not know the stream yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentHint {
    /// The session.
    pub session: SessionId,
    /// Its connection.
    pub generation: Generation,
    /// The person, as the attachment shows it.
    pub user: User,
    /// What is left of its grace, if its connection is lost; `None` while it is held.
    pub grace_ms: Option<u64>,
}

/// Something that a room wants done. Only what is committed is ever told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The answer to an ask; of no interest if the peer is gone.
    Answer {
        /// Who asked.
        peer: Peer,
        /// What was asked.
        id: AskId,
        /// The answer.
        answer: Answer,
    },
    /// For a peer that watches.
    Feed {
        /// Who watches.
        peer: Peer,
        /// News.
        fed: Fed,
    },
    /// Read from the journal, then [`crate::Room::handle_read`].
    Read {
        /// To be named in the result.
        ticket: Ticket,
        /// What.
        read: Read,
    },
    /// Claim the slot again; once that has committed, read the head and every entry above `after`,
    /// then [`crate::Room::handle_reclaimed`]. Comes only while no append of this room is out.
    Reclaim {
        /// The last entry that the room knows as committed.
        after: Seq,
    },
    /// What is stored, or what the journal answered, cannot be right: the room has stopped, and an
    /// operator has to look at it.
    Damaged(String),
}

/// A read of the room's part of the journal. Each maps to calls of the `Journal` trait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// `page(anchor, limit, PAGE_BYTES_MAX, user)` and `states(states)`.
    Page {
        /// From where.
        anchor: HistoryAnchor,
        /// Posts.
        limit: u32,
        /// Whose reactions are listed.
        user: UserId,
        /// Small values, wanted beside the page; need not be of the same snapshot.
        states: Vec<StateKey>,
    },
    /// `states(keys)`.
    States(Vec<StateKey>),
    /// `ids(from, to)`; both lie within the log.
    Ids {
        /// The first entry wanted.
        from: Seq,
        /// The last one.
        to: Seq,
    },
    /// `range(target, 1)` and `states([Fold(target)])`.
    Target {
        /// The entry.
        target: Seq,
    },
    /// All pages of `by_target(target, …)`, of which edits, redactions and what is left of redacted
    /// edits are kept. Once `edits` edits were found, and `redact` is not wanted, the rest is of no
    /// interest.
    Changes {
        /// The post.
        target: Seq,
        /// How many edits there are.
        edits: u32,
        /// Whether its redaction is looked for.
        redact: bool,
    },
    /// `ids(seq, seq)` for its ordinal, and `states(states)`.
    At {
        /// The entry.
        seq: Seq,
        /// Small values wanted beside it.
        states: Vec<StateKey>,
    },
}

/// What a [`Read`] found, variant by variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadDone {
    /// To [`Read::Page`].
    Page(PageDone),
    /// To [`Read::States`], in the order of the keys.
    States(Vec<Option<Bytes>>),
    /// To [`Read::Ids`]: dense.
    Ids(Vec<IdRow>),
    /// To [`Read::Target`].
    Target {
        /// The entry.
        record: Record,
        /// The bytes of its [`model::Fold`], if it has one.
        fold: Option<Bytes>,
    },
    /// To [`Read::Changes`], ascending.
    Changes(Vec<Record>),
    /// To [`Read::At`].
    At {
        /// Posts up to and including the entry.
        ordinal: u64,
        /// In the order of the keys.
        states: Vec<Option<Bytes>>,
    },
}

/// A page as it lies in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageDone {
    /// The room in the page's own snapshot; `None` while it is unborn.
    pub head: Option<Head>,
    /// Posts, ascending, each with the bytes of its [`model::Fold`] if it has one.
    pub posts: Vec<(Record, Option<Bytes>)>,
    /// Whether there are more in the direction that was asked.
    pub more: bool,
    /// Keys of the asking user's standing reactions, by post.
    pub mine: Vec<(Seq, Vec<String>)>,
    /// In the order of the keys that were asked.
    pub states: Vec<Option<Bytes>>,
}

/// What deduplication needs of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdRow {
    /// The entry.
    pub seq: Seq,
    /// Posts up to and including it.
    pub ordinal: u64,
    /// When it was written.
    pub at_ms: u64,
    /// Its author.
    pub user: UserId,
    /// The id chosen by the author's client.
    pub id: MessageId,
    /// What it is, or [`ContentKind::Tombstone`].
    pub kind: ContentKind,
    /// Digest of its content.
    pub digest: Digest,
}

impl From<&Record> for IdRow {
    fn from(record: &Record) -> IdRow {
        IdRow {
            seq: record.seq,
            ordinal: record.ordinal,
            at_ms: record.at_ms,
            user: record.user.clone(),
            id: record.id.clone(),
            kind: record.kind,
            digest: record.digest,
        }
    }
}

/// Why a [`Read`] found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailed {
    /// May be tried again.
    Unavailable(String),
    /// What was asked for lies below the first kept entry.
    Trimmed {
        /// The first kept entry.
        first: Seq,
    },
    /// What is stored is damaged: the room stops.
    Corrupt(String),
}
