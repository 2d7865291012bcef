//! Unary calls: requests to words, words to replies, and refusals to gRPC statuses.
//!
//! Requests are read from their bytes and not from what tonic decoded, so that a bot's content travels as
//! received too, and through the checks of a session's frames.

use bytes::BufMut;
use model::{HistoryAsk, Publish, Refusal, RefusalCode, RoomName, Says};
use prost::Message;

use super::fault::Inside;
use super::{Unreadable, check, client, request, server};
use crate::v1;

/// What is asked in a unary call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unary {
    /// `Chat.Publish`.
    Publish(Publish),
    /// `Chat.History`.
    History {
        /// The room.
        room: RoomName,
        /// Which page.
        ask: HistoryAsk,
    },
    /// `Chat.Presence`.
    Presence {
        /// The room.
        room: RoomName,
    },
    /// `Chat.GetRoom`.
    GetRoom {
        /// The room.
        room: RoomName,
    },
    /// `Chat.Summaries`.
    Summaries {
        /// At most [`model::limits::SUMMARIES_ROOMS_MAX`].
        rooms: Vec<RoomName>,
    },
}

/// Reads the request of `Chat.Publish`. Without an `id` it has no protection against a second copy.
///
/// # Errors
/// A refusal that names the field, also for bytes that are no request.
pub fn decode_publish(request: &[u8]) -> Result<Unary, Refusal> {
    client::unary_publish(request).map(Unary::Publish)
}

/// Reads the request of `Chat.History`.
///
/// # Errors
/// As [`decode_publish`].
pub fn decode_history(request: &[u8]) -> Result<Unary, Refusal> {
    let request = v1::HistoryRequest::decode(request).map_err(broken)?;
    let (room, ask) = request::history(&request).inside("history")?;
    Ok(Unary::History { room, ask })
}

/// Reads the request of `Chat.Presence`.
///
/// # Errors
/// As [`decode_publish`].
pub fn decode_presence(request: &[u8]) -> Result<Unary, Refusal> {
    let request = v1::PresenceRequest::decode(request).map_err(broken)?;
    Ok(Unary::Presence { room: check::room(&request.room).inside("presence")? })
}

/// Reads the request of `Chat.GetRoom`.
///
/// # Errors
/// As [`decode_publish`].
pub fn decode_get_room(request: &[u8]) -> Result<Unary, Refusal> {
    let request = v1::GetRoomRequest::decode(request).map_err(broken)?;
    Ok(Unary::GetRoom { room: check::room(&request.room).inside("getRoom")? })
}

/// Reads the request of `Chat.Summaries`.
///
/// # Errors
/// As [`decode_publish`].
pub fn decode_summaries(request: &[u8]) -> Result<Unary, Refusal> {
    let request = v1::SummariesRequest::decode(request).map_err(broken)?;
    Ok(Unary::Summaries { rooms: request::summaries(&request).inside("summaries")? })
}

fn broken(error: impl Into<Unreadable>) -> Refusal {
    Refusal::because(RefusalCode::Invalid, error.into().message)
}

/// Appends the reply of a unary call: what the words are in protobuf, without a frame around it. Words that
/// answer no unary call write nothing.
pub fn encode_unary(says: &Says, out: &mut impl BufMut) {
    match says {
        Says::Published { room, log, seq, at_ms, duplicate } => {
            server::published(room, log, *seq, *at_ms, *duplicate).encode_raw(out);
        }
        Says::PresenceIs { room, roster } => server::presence_reply(room, roster).encode_raw(out),
        Says::Room { room, info } => server::room(room, info).encode_raw(out),
        Says::History { .. } | Says::Summaries { .. } => {
            let mut reply = Vec::new();
            server::put_answer(&mut reply, says);
            out.put_slice(&reply);
        }
        _ => {}
    }
}

#[cfg(feature = "grpc")]
pub use status::{end_status, refusal_of, refusal_status};

/// Refusals and ends as statuses; apart because only services speak in them.
#[cfg(feature = "grpc")]
mod status {
    use model::{End, EndCode};
    use tonic::metadata::{MetadataMap, MetadataValue};
    use tonic::{Code, Status};

    use super::*;
    use crate::codec::words;

    /// The trailer that holds the `Refused` of a refusal.
    const REFUSED: &str = "parlour-refused-bin";

    /// A refusal as a status: its message begins with the reason, its trailer holds the `Refused`.
    #[must_use]
    pub fn refusal_status(refusal: &Refusal) -> Status {
        let message = format!("{}: {}", refusal.code.reason(), refusal.message);
        let refused = words::refusal_to(refusal).encode_to_vec();
        let mut trailers = MetadataMap::new();
        trailers.insert_bin(REFUSED, MetadataValue::from_bytes(&refused));
        Status::with_metadata(refusal_code(refusal.code), message, trailers)
    }

    /// The refusal inside a status, if it holds one.
    #[must_use]
    pub fn refusal_of(status: &Status) -> Option<Refusal> {
        let trailer = status.metadata().get_bin(REFUSED)?.to_bytes().ok()?;
        v1::Refused::decode(trailer).ok().map(words::refusal_from)
    }

    /// The end of a session as the status of its stream, which follows the `end` frame.
    #[must_use]
    pub fn end_status(end: &End) -> Status {
        Status::new(end_code(end.code), format!("{}: {}", end.code.reason(), end.message))
    }

    fn refusal_code(code: RefusalCode) -> Code {
        match code {
            RefusalCode::Invalid | RefusalCode::UnknownRequest | RefusalCode::TooLarge => {
                Code::InvalidArgument
            }
            RefusalCode::Forbidden | RefusalCode::NotAuthor => Code::PermissionDenied,
            RefusalCode::TokenInvalid | RefusalCode::TokenExpired | RefusalCode::NameNotAllowed => {
                Code::Unauthenticated
            }
            RefusalCode::RateLimited
            | RefusalCode::TooManyRooms
            | RefusalCode::Busy
            | RefusalCode::PageInProgress
            | RefusalCode::StorageFull
            | RefusalCode::TooManyChanges => Code::ResourceExhausted,
            RefusalCode::Unavailable | RefusalCode::Collecting => Code::Unavailable,
            RefusalCode::DeadlineExceeded => Code::DeadlineExceeded,
            RefusalCode::Unexpected
            | RefusalCode::PredecessorMissing
            | RefusalCode::LogChanged
            | RefusalCode::TargetRedacted
            | RefusalCode::NotSubscribed => Code::FailedPrecondition,
            RefusalCode::Undecidable => Code::Aborted,
            RefusalCode::IdConflict => Code::AlreadyExists,
            RefusalCode::TargetMissing => Code::NotFound,
            RefusalCode::RoomDamaged => Code::DataLoss,
        }
    }

    fn end_code(code: EndCode) -> Code {
        match code {
            EndCode::GoingAway | EndCode::Restarting | EndCode::NoOwner | EndCode::Moved => {
                Code::Unavailable
            }
            EndCode::TimedOut | EndCode::HelloLate => Code::DeadlineExceeded,
            EndCode::Overloaded | EndCode::TooManySessions | EndCode::Flooding => {
                Code::ResourceExhausted
            }
            EndCode::Internal => Code::Internal,
            EndCode::Unreadable | EndCode::TooLarge => Code::InvalidArgument,
            EndCode::HelloExpected => Code::FailedPrecondition,
            EndCode::TokenInvalid | EndCode::TokenExpired => Code::Unauthenticated,
            EndCode::Replaced => Code::Aborted,
        }
    }
}
