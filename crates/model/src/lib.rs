//! The words of Parlour: what is asked, what is answered, what is stored, and every limit.
//!
//! These types run unchanged from a client's frame through the session, the link and the room to the
//! journal and back, so that no border between crates has to translate one vocabulary into another.
//! They stand apart from the wire because the machines that use them (session, link, room, cluster)
//! must compile without a runtime and without generated code.
//!
//! # Invariants
//! - Nothing here reads a clock, draws randomness or does I/O: [`Now`] is made by shells.
//! - A value of a name type ([`RoomName`], [`UserId`], [`MessageId`], …) has passed its check.
//! - Every code that a client can be told stands in [`catalogue`]; every bound stands in [`limits`].
//!
//! Look elsewhere for: JSON and protobuf (`wire::codec`), behaviour (`room`, `session`, `link`).

pub mod catalogue;
mod clock;
mod content;
mod encode;
mod frame;
pub mod limits;
mod name;
mod position;
mod record;
mod rights;
mod talk;

pub use catalogue::{End, EndCode, Refusal, RefusalCode, Unsubscribed, UnsubscribedCode};
pub use clock::{Now, Seed};
pub use content::{Content, ContentKind, Digest};
pub use encode::{Encode, Encoding};
pub use frame::{
    ClientFrame, ClientSays, FromServer, Hello, HistoryAnchor, HistoryAsk, Message, MessageContent,
    MoveTo, PresenceFrame, Publish, Says, ServerFrame, Subscribe, Welcome,
};
pub use limits::Limits;
pub use name::{LogId, MessageId, NameError, NodeId, RoomName, SessionId, UserId};
pub use position::{Epoch, Fence, Position, Seq, SlotNo};
pub use record::{
    AppendError, Batch, ContentState, Erasure, Fold, Mark, ReactionCount, Record, RoomBatch,
    StateKey,
};
pub use rights::{Right, Rights, Roles, pattern_matches};
pub use talk::{
    Answer, Ask, AskBody, Catchup, Entry, Fed, FoldedPost, Generation, Page, PresenceChange,
    RoomInfo, Roster, Snapshot, SnapshotReason, Subscription, Summary, User, Who,
};
