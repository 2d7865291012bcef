//! What a client tells its shell and its application.

use std::fmt;

use bytes::Bytes;
use model::{
    LogId, Message, MessageId, Page, PresenceFrame, Refusal, Rights, RoomName, Roster, Seq,
    Subscription, Summary, Unsubscribed, User, Welcome,
};

use super::line::SocketNo;

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection now, beside one that there may be; then `handle_connected`, or
    /// `handle_dial_failed` or `handle_closed` if that fails.
    Dial {
        /// Its number.
        socket: SocketNo,
        /// Where.
        url: String,
        /// Whether the server named the place, in its own words, and not the application.
        is_moved: bool,
    },
    /// Close the connection, or stop dialling.
    Close {
        /// Its number.
        socket: SocketNo,
    },
}

/// A request whose answer will come as an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u32);

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The session stands, for the first time or again.
    Connected(Box<Welcome>),
    /// The session goes on over another connection; the old one stood until this one had every room.
    Moved(Box<Welcome>),
    /// The connection is gone; it will be dialled again by itself.
    Disconnected {
        /// When.
        again_in_ms: u64,
    },
    /// A fresh token is needed: `authenticate`.
    NeedToken,
    /// A fresh token was taken.
    Authenticated {
        /// When it expires.
        expires_at_ms: Option<u64>,
    },
    /// The session is over for good.
    Ended {
        /// The end's code, or the close code.
        code: u32,
        /// For the person who reads it.
        message: String,
    },
    /// The room is read from here on. With a snapshot: what is held of it is replaced.
    Subscribed {
        /// The room.
        room: RoomName,
        /// The owner's answer.
        subscription: Box<Subscription>,
        /// Who is present; `None` while that is being collected or must not be seen.
        presence: Option<Roster>,
    },
    /// Everything up to the head of the moment of `Subscribed` was told.
    CaughtUp {
        /// The room.
        room: RoomName,
        /// The head.
        seq: Seq,
    },
    /// The room is not read any more.
    Unsubscribed {
        /// The room.
        room: RoomName,
        /// Why.
        why: Unsubscribed,
        /// Whether it will be subscribed again by itself.
        again: bool,
    },
    /// The wish to read a room was refused for good.
    NotSubscribed {
        /// The room.
        room: RoomName,
        /// Why.
        refusal: Refusal,
    },
    /// The next entry of a room, without a hole.
    Message(Box<Message>),
    /// What is held below `first` is to be discarded; the next entry is not below it.
    Truncated {
        /// The room.
        room: RoomName,
        /// The first kept entry.
        first: Seq,
    },
    /// A publish is durable.
    Published(Published),
    /// A publish was given up.
    NotPublished(NotPublished),
    /// The page that was asked for.
    History {
        /// The request.
        ticket: Ticket,
        /// The room.
        room: RoomName,
        /// Its log.
        log: LogId,
        /// The posts.
        page: Box<Page>,
    },
    /// The summaries that were asked for.
    Summaries {
        /// The request.
        ticket: Ticket,
        /// Those rooms that answered.
        rooms: Vec<(RoomName, Summary)>,
        /// Those that did not, and why.
        refused: Vec<(RoomName, Refusal)>,
    },
    /// A request (with its ticket) or a signal or mark (without) was refused for good.
    Refused {
        /// The request.
        ticket: Option<Ticket>,
        /// Why.
        refusal: Refusal,
    },
    /// A summary of a room that is read so.
    Summary {
        /// The room.
        room: RoomName,
        /// What it looks like.
        summary: Box<Summary>,
    },
    /// This user's mark stands here, set by this or another session.
    Marked {
        /// The room.
        room: RoomName,
        /// The entry.
        seq: Seq,
        /// Posts above it.
        unread: u64,
    },
    /// Somebody came or went; versions are in order.
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
    /// The rights in a room changed.
    Rights {
        /// The room.
        room: RoomName,
        /// What they are now.
        rights: Rights,
    },
    /// The server broke a rule; the connection was dropped and everything is asked for again.
    Violation(String),
}

/// Where a publish stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The room.
    pub room: RoomName,
    /// The message's id.
    pub id: MessageId,
    /// The room's log.
    pub log: LogId,
    /// The entry.
    pub seq: Seq,
    /// When it was written.
    pub at_ms: u64,
    /// Whether the answer was to a second copy.
    pub duplicate: bool,
}

/// A publish that is not sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPublished {
    /// The room.
    pub room: RoomName,
    /// The message's id.
    pub id: MessageId,
    /// The refusal; `None` when the session ended first.
    pub refusal: Option<Refusal>,
    /// Whether it may stand in the log all the same; to be shown so.
    pub may_have_been_sent: bool,
}

impl fmt::Display for NotPublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.refusal.as_ref().map_or("The session is over.", |r| &*r.message);
        match self.may_have_been_sent {
            true => write!(f, "may have been sent: {why}"),
            false => write!(f, "not sent: {why}"),
        }
    }
}

impl std::error::Error for NotPublished {}

/// Why a wish was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishError {
    /// As much waits as may; try again after the next answer.
    Full,
    /// As many rooms are read as may be.
    TooManyRooms,
    /// It would not fit into a frame.
    TooLarge,
    /// Signals are not kept for later.
    NotConnected,
    /// The session is over.
    Over,
}

impl fmt::Display for WishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WishError::Full => "As much waits to be sent as may; try again after the next answer.",
            WishError::TooManyRooms => "As many rooms are read as may be.",
            WishError::TooLarge => "It is too large to be sent.",
            WishError::NotConnected => {
                "There is no connection, and signals are not kept for later."
            }
            WishError::Over => "The session is over.",
        })
    }
}

impl std::error::Error for WishError {}
