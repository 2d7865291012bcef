//! The frames of the client protocol as words: what a client says, what a server says.

use bytes::Bytes;

use crate::{
    Content, ContentKind, End, LogId, MessageId, Page, Position, PresenceChange, ReactionCount,
    Refusal, Rights, RoomInfo, RoomName, Roster, Seq, SessionId, Subscription, Summary,
    Unsubscribed, User, UserId,
};

/// A frame from a client, decoded and checked field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFrame {
    /// > 0 where an answer is expected.
    pub r#ref: u32,
    /// What it says.
    pub says: ClientSays,
}

/// What a client can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSays {
    /// The first frame.
    Hello(Box<Hello>),
    /// A fresh token.
    Authenticate {
        /// The JWT.
        token: String,
    },
    /// Read a room.
    Subscribe(Subscribe),
    /// Stop reading it.
    Unsubscribe {
        /// The room.
        room: RoomName,
    },
    /// Write to a room.
    Publish(Publish),
    /// Tell those who are present, beside the log.
    Signal {
        /// The room.
        room: RoomName,
        /// The application's word.
        kind: String,
        /// `Struct` bytes; empty for none.
        data: Bytes,
    },
    /// Read up to and including an entry.
    Mark {
        /// The room.
        room: RoomName,
        /// The entry.
        seq: Seq,
    },
    /// A page of a room.
    History {
        /// The room.
        room: RoomName,
        /// Which page.
        ask: HistoryAsk,
    },
    /// Many rooms at a glance.
    Summaries {
        /// At most [`crate::limits::SUMMARIES_ROOMS_MAX`].
        rooms: Vec<RoomName>,
    },
    /// A sign of life.
    Heartbeat,
    /// The frame is well-formed, but something in it is not allowed.
    Faulty(Refusal),
}

/// The first frame of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The JWT.
    pub token: Option<String>,
    /// The name of somebody who needs no token.
    pub name: Option<String>,
    /// What the client calls itself, for logs; at most 64 bytes.
    pub client: String,
    /// From a previous `welcome` or `move`.
    pub resume_token: Option<String>,
    /// The rooms to come back to.
    pub subscribe: Vec<Subscribe>,
    /// Rooms whose entry could not be read: as written, and why.
    pub faulty: Vec<(String, String)>,
    /// Opt-ins that the client knows.
    pub features: Vec<String>,
}

/// A wish to read a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The room.
    pub room: RoomName,
    /// What the client holds already.
    pub after: Option<Position>,
    /// Posts wanted in a snapshot; 0 for the server's default.
    pub recent: u32,
    /// Only the summary, without joining.
    pub summary: bool,
    /// This user's presence data, `Struct` bytes; empty for none.
    pub presence_data: Bytes,
}

/// A wish to write to a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The room.
    pub room: RoomName,
    /// Chosen by the client; `None` only in unary calls: no protection against a second copy.
    pub id: Option<MessageId>,
    /// The position known when this id was first sent.
    pub since: Option<Position>,
    /// The previous publish of this session to the room that was unacknowledged then.
    pub after: Option<MessageId>,
    /// What it says.
    pub content: Content,
}

/// Which page of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryAsk {
    /// From where.
    pub anchor: HistoryAnchor,
    /// Posts, at most [`crate::limits::PAGE_POSTS_MAX`]; 0 for the server's default.
    pub limit: u32,
}

/// From where a page is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryAnchor {
    /// The newest posts.
    Newest,
    /// Posts below this entry.
    Before(Seq),
    /// Posts above this entry.
    After(Seq),
    /// Half of them below, the rest from this entry on.
    Around(Seq),
}

/// A frame to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFrame {
    /// The request's, or 0 for a push.
    pub r#ref: u32,
    /// What it says.
    pub says: Says,
}

/// What a server can say, but for `message`: committed entries travel as encoded bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// The session stands.
    Welcome(Box<Welcome>),
    /// The token was taken.
    Authenticated {
        /// When it expires; `None` on a server without tokens.
        expires_at_ms: Option<u64>,
    },
    /// The room is read from here on.
    Subscribed {
        /// The room.
        room: RoomName,
        /// The owner's answer.
        subscription: Box<Subscription>,
        /// Presence with its version; `None` while collecting or without the right to see it.
        presence: Option<(u64, Roster)>,
    },
    /// The room is not read any more.
    Unsubscribed {
        /// The room, as the client wrote it.
        room: String,
        /// Why.
        why: Unsubscribed,
    },
    /// The publish is durable.
    Published {
        /// The room.
        room: RoomName,
        /// Its log.
        log: LogId,
        /// The entry.
        seq: Seq,
        /// When it was written.
        at_ms: u64,
        /// Whether it stood there before.
        duplicate: bool,
    },
    /// The mark stands here.
    Marked {
        /// The room.
        room: RoomName,
        /// The entry.
        seq: Seq,
        /// Posts above it.
        unread: u64,
    },
    /// A page.
    History {
        /// The room.
        room: RoomName,
        /// Its log.
        log: LogId,
        /// The posts.
        page: Box<Page>,
    },
    /// Answer to a summary subscription, and its pushes.
    Summary {
        /// The room.
        room: RoomName,
        /// What it looks like.
        summary: Box<Summary>,
    },
    /// Many rooms at a glance; a room that could not be asked stands in `refused`.
    Summaries {
        /// Those that answered.
        rooms: Vec<(RoomName, Summary)>,
        /// Those that did not, and why.
        refused: Vec<(RoomName, Refusal)>,
    },
    /// Who is present (unary).
    PresenceIs {
        /// The room.
        room: RoomName,
        /// They.
        roster: Roster,
    },
    /// What is known of the room (unary).
    Room {
        /// The room.
        room: RoomName,
        /// That.
        info: RoomInfo,
    },
    /// Somebody came or went.
    Presence(PresenceFrame),
    /// Somebody signals.
    Signal {
        /// The room.
        room: RoomName,
        /// Who.
        from: User,
        /// The application's word.
        kind: String,
        /// `Struct` bytes; empty for none.
        data: Bytes,
    },
    /// The next message is `first`: what lies between is gone.
    Truncated {
        /// The room.
        room: RoomName,
        /// The first kept entry.
        first: Seq,
    },
    /// The session's rights in the room changed.
    Rights {
        /// The room.
        room: RoomName,
        /// What they are now.
        rights: Rights,
    },
    /// A sign of life.
    Heartbeat,
    /// Open a second connection, resume there, then close this one.
    Move(MoveTo),
    /// A request was refused.
    Refused(Refusal),
    /// The session ended; the last frame.
    End(End),
}

/// The answer to hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The session.
    pub session: SessionId,
    /// Who the server takes the client for.
    pub user: User,
    /// For the next hello.
    pub resume_token: String,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// When the token expires; `None` without one.
    pub token_expires_at_ms: Option<u64>,
    /// The session's limits.
    pub limits: crate::Limits,
    /// Opt-ins that both sides know.
    pub features: Vec<String>,
}

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveTo {
    /// `None`: dial as before.
    pub url: Option<String>,
    /// For the hello there.
    pub resume_token: String,
    /// How long this connection stays.
    pub within_ms: u64,
}

/// A push about who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceFrame {
    /// The room.
    pub room: RoomName,
    /// The edge's own count for this room; a delta applies at the version before only.
    pub version: u64,
    /// What changed.
    pub change: PresenceChange,
}

/// A frame from a server, as its client reads it. In the pages inside [`Says`] (snapshots, history,
/// summaries) a client finds each post already merged: `payload` is the encoded message as of the
/// page, `edit` and `reactions` are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromServer {
    /// Everything but `message`.
    Says(ServerFrame),
    /// A committed entry; always a push.
    Message(Message),
    /// Something that this client does not know: to be ignored.
    Unknown,
}

/// A committed entry, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The room.
    pub room: RoomName,
    /// Its log; stated by the entry with seq 1 only.
    pub log: Option<LogId>,
    /// The entry.
    pub seq: Seq,
    /// Posts up to and including it.
    pub ordinal: u64,
    /// The id that its author's client chose.
    pub id: MessageId,
    /// When it was written.
    pub at_ms: u64,
    /// The author.
    pub from: User,
    /// What it says.
    pub content: MessageContent,
    /// When it was last edited; in pages and snapshots only.
    pub edited_at_ms: Option<u64>,
    /// Its reactions; in pages and snapshots only.
    pub reactions: Vec<ReactionCount>,
}

/// What a message says, decoded. `data` is `Struct` bytes, empty for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageContent {
    /// Something that somebody said.
    Post {
        /// The text.
        text: String,
        /// The application's own.
        data: Bytes,
        /// The post that it answers.
        reply_to: Option<Seq>,
        /// The post whose thread it belongs to.
        thread: Option<Seq>,
        /// Who should be called to it.
        mentions: Vec<UserId>,
    },
    /// A new text for a post.
    Edit {
        /// The post.
        target: Seq,
        /// The text.
        text: String,
        /// The application's own.
        data: Bytes,
    },
    /// The wish that a post be gone.
    Redact {
        /// The post.
        target: Seq,
        /// For those who read.
        reason: String,
    },
    /// A reaction, put or taken back.
    Reaction {
        /// The post.
        target: Seq,
        /// Usually an emoji.
        key: String,
        /// Whether it is taken back.
        remove: bool,
    },
    /// A service's notice.
    System {
        /// The text.
        text: String,
        /// The application's own.
        data: Bytes,
    },
    /// What is left of a redacted entry.
    Tombstone {
        /// Who redacted it.
        by: UserId,
        /// For those who read.
        reason: String,
    },
    /// Of a later contract: shown as such, its number counts.
    Unknown,
}

impl MessageContent {
    /// A plain post.
    #[must_use]
    pub fn post(text: impl Into<String>) -> MessageContent {
        MessageContent::Post {
            text: text.into(),
            data: Bytes::new(),
            reply_to: None,
            thread: None,
            mentions: Vec::new(),
        }
    }

    /// A plain new text for a post.
    #[must_use]
    pub fn edit(target: Seq, text: impl Into<String>) -> MessageContent {
        MessageContent::Edit { target, text: text.into(), data: Bytes::new() }
    }

    /// The wish that a post be gone.
    #[must_use]
    pub fn redact(target: Seq, reason: impl Into<String>) -> MessageContent {
        MessageContent::Redact { target, reason: reason.into() }
    }

    /// A reaction that is put.
    #[must_use]
    pub fn reaction(target: Seq, key: impl Into<String>) -> MessageContent {
        MessageContent::Reaction { target, key: key.into(), remove: false }
    }

    /// A post's, edit's or notice's text; empty for the others.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            MessageContent::Post { text, .. }
            | MessageContent::Edit { text, .. }
            | MessageContent::System { text, .. } => text,
            _ => "",
        }
    }

    /// Its kind; `None` of a later contract's.
    #[must_use]
    pub fn kind(&self) -> Option<ContentKind> {
        Some(match self {
            MessageContent::Post { .. } => ContentKind::Post,
            MessageContent::Edit { .. } => ContentKind::Edit,
            MessageContent::Redact { .. } => ContentKind::Redact,
            MessageContent::Reaction { .. } => ContentKind::Reaction,
            MessageContent::System { .. } => ContentKind::System,
            MessageContent::Tombstone { .. } => ContentKind::Tombstone,
            MessageContent::Unknown => return None,
        })
    }
}
