//! What an edge asks of a room's owner, what the owner answers, and what it feeds to the edge.

use bytes::Bytes;

use crate::{
    ContentKind, Fence, HistoryAsk, LogId, Mark, Position, Publish, ReactionCount, Refusal, Right,
    Rights, RoomName, Seq, SessionId, Unsubscribed, UserId,
};

/// A person (or a service), as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// Who it is.
    pub id: UserId,
    /// How it wants to be called; at most [`crate::limits::USER_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// The application's presence data, protobuf `Struct` bytes; empty for none.
    pub data: Bytes,
}

/// Which connection of a session: the greatest wins, so that a late frame of an older one is inert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation {
    /// One more than the previous connection's, at least the clock in milliseconds.
    pub counter: u64,
    /// Tells two connections of the same moment apart.
    pub random: u32,
}

/// On whose behalf an edge asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The person.
    pub user: User,
    /// The session; `None` for unary calls.
    pub session: Option<SessionId>,
    /// The session's connection.
    pub generation: Generation,
    /// What the verified token grants in the room that is asked.
    pub rights: Rights,
}

impl Who {
    /// Whether the token grants `right` here.
    #[must_use]
    pub fn may(&self, right: Right) -> bool {
        self.rights.has(right)
    }
}

/// Something asked of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The room.
    pub room: RoomName,
    /// On whose behalf.
    pub who: Who,
    /// What.
    pub body: AskBody,
}

/// What can be asked of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskBody {
    /// Take this session in as a reader; the person becomes present.
    Attach {
        /// What it holds already.
        after: Option<Position>,
        /// Posts that a snapshot should have.
        recent: u32,
    },
    /// The room's summary for this user; nobody becomes present.
    Summary,
    /// This session's connection leaves the room (unsubscribed, ended or lost).
    Detach {
        /// Whether it left on purpose: then there is no grace.
        left: bool,
    },
    /// Publish.
    Publish(Publish),
    /// Tell those who are present, beside the log.
    Signal {
        /// The application's word, such as `typing`.
        kind: String,
        /// `Struct` bytes; empty for none.
        data: Bytes,
    },
    /// Read up to and including this entry.
    Mark {
        /// The entry.
        seq: Seq,
    },
    /// A folded page.
    History(HistoryAsk),
    /// Who is present.
    Presence,
    /// The room's head.
    Room,
}

/// The owner's answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Attach`.
    Subscribed(Subscription),
    /// To `Attach` and `Summary`: no.
    Unsubscribed(Unsubscribed),
    /// To `Summary`.
    Summary(Summary),
    /// To `Publish`; for a duplicate the first one's position.
    Published {
        /// The room's log.
        log: LogId,
        /// The entry.
        seq: Seq,
        /// When it was written.
        at_ms: u64,
        /// Whether it stood there before.
        duplicate: bool,
    },
    /// To `Signal` and `Detach`: done.
    Done,
    /// To `Mark`: where the mark stands now.
    Marked {
        /// The mark.
        mark: Mark,
        /// Posts above it.
        unread: u64,
    },
    /// To `History`.
    History {
        /// The room's log.
        log: LogId,
        /// The page.
        page: Page,
    },
    /// To `Presence`.
    Presence(Roster),
    /// To `Room`.
    Room(RoomInfo),
    /// No.
    Refused(Refusal),
}

/// The answer to an attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The room's log; empty while it is unborn.
    pub log: LogId,
    /// The first kept entry; 0 while there is none.
    pub first: Seq,
    /// The last committed entry; live starts behind it.
    pub head: Seq,
    /// Posts up to head.
    pub ordinal: u64,
    /// Where this user's mark stands.
    pub mark: Mark,
    /// Posts above the mark.
    pub unread: u64,
    /// What the token grants.
    pub rights: Rights,
    /// How the reader gets from what it holds to head.
    pub catchup: Catchup,
}

/// How a reader gets from what it holds to head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Catchup {
    /// Raw entries follow, from its own position on.
    Resumed {
        /// How many.
        missed: u64,
    },
    /// It discards what it holds and takes this.
    Snapshot(Snapshot),
}

/// A folded picture of a room's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Why it is not a replay.
    pub reason: SnapshotReason,
    /// The newest posts.
    pub page: Page,
}

/// Why a subscribe was answered by a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotReason {
    /// The client named no position.
    New,
    /// More entries were missed than are replayed.
    TooFar,
    /// Retention has trimmed what was missed.
    Trimmed,
    /// The room has another log.
    LogChanged,
    /// The client's position lies above head.
    Ahead,
}

impl SnapshotReason {
    /// Every reason.
    pub const ALL: [SnapshotReason; 5] = [
        SnapshotReason::New,
        SnapshotReason::TooFar,
        SnapshotReason::Trimmed,
        SnapshotReason::LogChanged,
        SnapshotReason::Ahead,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SnapshotReason::New => "new",
            SnapshotReason::TooFar => "too_far",
            SnapshotReason::Trimmed => "trimmed",
            SnapshotReason::LogChanged => "log_changed",
            SnapshotReason::Ahead => "ahead",
        }
    }
}

/// Folded posts, ascending. Shared between readers but for `mine`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The posts, tombstones among them.
    pub posts: Vec<FoldedPost>,
    /// The room's first kept entry; 0 while there is none.
    pub first: Seq,
    /// Whether there are more posts beyond the page, in the direction that was asked (for a
    /// snapshot and `around`: before it).
    pub more: bool,
    /// Everything up to this entry is folded in.
    pub as_of: Seq,
    /// The keys with which the asking user reacts, by post.
    pub mine: Vec<(Seq, Vec<String>)>,
}

/// A post and what became of it. The codec merges it into one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedPost {
    /// The entry's payload, an encoded `Message`.
    pub payload: Bytes,
    /// When it was last edited, and the protobuf bytes of that `Edit`.
    pub edit: Option<(u64, Bytes)>,
    /// Its reactions.
    pub reactions: Vec<ReactionCount>,
}

/// A room in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The room's log; empty while it is unborn.
    pub log: LogId,
    /// The last committed entry.
    pub head: Seq,
    /// Posts up to it.
    pub ordinal: u64,
    /// Where the asking user's mark stands; `None` in pushes, which are shared.
    pub mark: Option<Mark>,
    /// The newest post, folded.
    pub last: Option<FoldedPost>,
}

/// What is known of a room without reading it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomInfo {
    /// The room's log; empty while it is unborn.
    pub log: LogId,
    /// The first kept entry; 0 while there is none.
    pub first: Seq,
    /// The last committed entry.
    pub head: Seq,
    /// Posts up to it.
    pub ordinal: u64,
}

/// Who is present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// How many persons.
    pub count: u64,
    /// All of them by id, or none when there are more than are listed.
    pub users: Vec<User>,
}

/// How presence changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceChange {
    /// Everybody, or only the count when there are more than are listed.
    Full(Roster),
    /// Against the version before.
    Delta {
        /// How many are present now.
        count: u64,
        /// Who came, or changed name or data.
        arrived: Vec<User>,
        /// Who left.
        departed: Vec<UserId>,
    },
}

/// One committed entry on its way to readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The entry.
    pub seq: Seq,
    /// Posts up to and including it.
    pub ordinal: u64,
    /// What it is.
    pub kind: ContentKind,
    /// The encoded `Message`.
    pub payload: Bytes,
}

/// What an owner feeds to an edge that watches a room. `watch` is the watch's generation: what
/// speaks of an older one is inert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The watch stands; entries behind `head` follow. Precedes everything else of the watch.
    Watching {
        /// Generation of the watch.
        watch: u64,
        /// The owner's fence.
        fence: Fence,
        /// The room as of now.
        info: RoomInfo,
        /// Who is present; `None` while that is being collected.
        presence: Option<Roster>,
    },
    /// New entries, dense.
    Entries {
        /// Generation of the watch.
        watch: u64,
        /// The room's log (it may just have been born).
        log: LogId,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Entries that were blanked: rings replace them.
    Erased {
        /// Generation of the watch.
        watch: u64,
        /// The tombstones, under their old numbers.
        entries: Vec<Entry>,
    },
    /// Retention trimmed the log.
    Trimmed {
        /// Generation of the watch.
        watch: u64,
        /// The first kept entry.
        first: Seq,
    },
    /// Somebody signals.
    Signal {
        /// Generation of the watch.
        watch: u64,
        /// Who.
        from: User,
        /// The application's word.
        kind: String,
        /// `Struct` bytes; empty for none.
        data: Bytes,
    },
    /// Somebody came or went.
    Presence {
        /// Generation of the watch.
        watch: u64,
        /// Who.
        change: PresenceChange,
    },
    /// A user's mark moved; for the user's other sessions.
    Marked {
        /// Generation of the watch.
        watch: u64,
        /// Whose.
        user: UserId,
        /// Where it stands.
        mark: Mark,
    },
    /// The owner ended the watch (the room is damaged, or it is no longer the owner).
    Unwatched {
        /// Generation of the watch.
        watch: u64,
        /// Told to every reader.
        why: Unsubscribed,
    },
}
