//! What several frames share: users, positions, counts, refusals. Words to generated types and back.
//!
//! Towards generated types nothing can fail. Back, a name that is none makes the frame unreadable: these
//! come from a server or from another node, which has checked them.

use std::borrow::Cow;

use bytes::Bytes;
use model::{
    End, EndCode, HistoryAnchor, HistoryAsk, LogId, MessageId, NameError, Position, PresenceChange,
    ReactionCount, Refusal, RefusalCode, Right, Rights, RoomName, Roster, Seq, Unsubscribed,
    UnsubscribedCode, User, UserId,
};
use prost::Message;

use super::{Unreadable, check};
use crate::Struct;
use crate::v1::{self, history_request::Anchor};

pub(super) fn room(text: &str) -> Result<RoomName, Unreadable> {
    RoomName::new(text).map_err(named)
}

pub(super) fn user_id(text: &str) -> Result<UserId, Unreadable> {
    UserId::new(text).map_err(named)
}

pub(super) fn log(text: &str) -> Result<LogId, Unreadable> {
    LogId::new(text).map_err(named)
}

pub(super) fn message_id(text: &str) -> Result<MessageId, Unreadable> {
    MessageId::new(text).map_err(named)
}

pub(super) fn named(error: NameError) -> Unreadable {
    Unreadable::new(error.0)
}

pub(super) fn user_ids(ids: &[String]) -> Result<Vec<UserId>, Unreadable> {
    ids.iter().map(|id| user_id(id)).collect()
}

pub(super) fn strings(ids: &[UserId]) -> Vec<String> {
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

/// 0 is "none" on the wire.
pub(super) fn some_seq(seq: Seq) -> Option<Seq> {
    (seq > 0).then_some(seq)
}

/// An absent id is empty on the wire.
pub(super) fn id_to(id: Option<&MessageId>) -> String {
    id.map_or_else(String::new, |id| id.as_str().to_owned())
}

/// Without the room, which stands elsewhere on a link.
pub(super) fn history_to(ask: HistoryAsk) -> v1::HistoryRequest {
    let anchor = match ask.anchor {
        HistoryAnchor::Newest => None,
        HistoryAnchor::Before(seq) => Some(Anchor::Before(seq)),
        HistoryAnchor::After(seq) => Some(Anchor::After(seq)),
        HistoryAnchor::Around(seq) => Some(Anchor::Around(seq)),
    };
    v1::HistoryRequest { room: String::new(), limit: ask.limit, anchor }
}

pub(super) fn history_from(request: &v1::HistoryRequest) -> HistoryAsk {
    let anchor = match request.anchor {
        None => HistoryAnchor::Newest,
        Some(Anchor::Before(seq)) => HistoryAnchor::Before(seq),
        Some(Anchor::After(seq)) => HistoryAnchor::After(seq),
        Some(Anchor::Around(seq)) => HistoryAnchor::Around(seq),
    };
    HistoryAsk { anchor, limit: request.limit }
}

/// The object whose bytes were checked when they came in.
pub(super) fn structure(data: &Bytes) -> Option<Struct> {
    if data.is_empty() { None } else { Struct::decode(data.clone()).ok() }
}

pub(super) fn user_to(user: &User) -> v1::User {
    v1::User {
        id: user.id.as_str().to_owned(),
        name: user.name.clone(),
        data: structure(&user.data),
    }
}

pub(super) fn user_from(user: Option<v1::User>) -> Result<User, Unreadable> {
    let user = user.ok_or_else(|| Unreadable::new("a user is missing"))?;
    let data = check::data_bytes(user.data.as_ref());
    Ok(User { id: user_id(&user.id)?, name: user.name, data })
}

pub(super) fn users_to(users: &[User]) -> Vec<v1::User> {
    users.iter().map(user_to).collect()
}

pub(super) fn users_from(users: Vec<v1::User>) -> Result<Vec<User>, Unreadable> {
    users.into_iter().map(|user| user_from(Some(user))).collect()
}

/// The origin is `{}`; a place in a named log states its number, 0 too.
pub(super) fn position_to(position: &Position) -> v1::Position {
    let seq = (position.seq > 0 || !position.log.is_none()).then_some(position.seq);
    v1::Position { log: position.log.as_str().to_owned(), seq }
}

pub(super) fn position_from(position: &v1::Position) -> Result<Position, Unreadable> {
    Ok(Position { log: log(&position.log)?, seq: position.seq.unwrap_or(0) })
}

pub(super) fn roster_to(version: Option<u64>, roster: &Roster) -> v1::Roster {
    v1::Roster { version, count: Some(roster.count), users: users_to(&roster.users) }
}

pub(super) fn roster_from(roster: v1::Roster) -> Result<Roster, Unreadable> {
    Ok(Roster { count: roster.count.unwrap_or(0), users: users_from(roster.users)? })
}

pub(super) fn reactions_to(reactions: &[ReactionCount]) -> Vec<v1::ReactionCount> {
    let one = |reaction: &ReactionCount| v1::ReactionCount {
        key: reaction.key.clone(),
        count: reaction.count,
        users: strings(&reaction.users),
    };
    reactions.iter().map(one).collect()
}

pub(super) fn reactions_from(
    reactions: Vec<v1::ReactionCount>,
) -> Result<Vec<ReactionCount>, Unreadable> {
    let one = |reaction: v1::ReactionCount| {
        let users = user_ids(&reaction.users)?;
        Ok(ReactionCount { key: reaction.key, count: reaction.count, users })
    };
    reactions.into_iter().map(one).collect()
}

pub(super) fn mine_to(mine: &[(Seq, Vec<String>)]) -> Vec<v1::OwnReactions> {
    mine.iter().map(|(seq, keys)| v1::OwnReactions { seq: *seq, keys: keys.clone() }).collect()
}

pub(super) fn mine_from(mine: Vec<v1::OwnReactions>) -> Vec<(Seq, Vec<String>)> {
    mine.into_iter().map(|own| (own.seq, own.keys)).collect()
}

pub(super) fn rights_to(rights: Rights) -> Vec<String> {
    rights.iter().map(|right| right.as_str().to_owned()).collect()
}

/// Rights that this version does not know are left out.
pub(super) fn rights_from(words: &[String]) -> Rights {
    words.iter().filter_map(|word| Right::parse(word)).fold(Rights::NONE, Rights::with)
}

/// What a presence push says besides its count.
pub(super) enum Change {
    Full(v1::PresenceFull),
    Delta(v1::PresenceDelta),
    CountOnly,
}

pub(super) fn change_to(change: &PresenceChange) -> (u64, Change) {
    match change {
        PresenceChange::Full(roster) if roster.users.is_empty() && roster.count > 0 => {
            (roster.count, Change::CountOnly)
        }
        PresenceChange::Full(roster) => {
            (roster.count, Change::Full(v1::PresenceFull { users: users_to(&roster.users) }))
        }
        PresenceChange::Delta { count, arrived, departed } => {
            let delta =
                v1::PresenceDelta { arrived: users_to(arrived), departed: strings(departed) };
            (*count, Change::Delta(delta))
        }
    }
}

pub(super) fn change_from(count: u64, change: Change) -> Result<PresenceChange, Unreadable> {
    Ok(match change {
        Change::CountOnly => PresenceChange::Full(Roster { count, users: Vec::new() }),
        Change::Full(full) => {
            PresenceChange::Full(Roster { count, users: users_from(full.users)? })
        }
        Change::Delta(delta) => PresenceChange::Delta {
            count,
            arrived: users_from(delta.arrived)?,
            departed: user_ids(&delta.departed)?,
        },
    })
}

pub(super) fn refusal_to(refusal: &Refusal) -> v1::Refused {
    v1::Refused {
        code: refusal.code.code(),
        reason: refusal.code.reason().to_owned(),
        message: refusal.message.clone().into_owned(),
        retry_after_ms: refusal.retry_after_ms,
        needs_token: refusal.needs_token,
    }
}

/// A code of a later contract is taken for the one that asks the same of whoever reads it: to try again,
/// or not to.
pub(super) fn refusal_from(refused: v1::Refused) -> Refusal {
    let unknown = match refused.retry_after_ms {
        Some(_) => RefusalCode::Unavailable,
        None => RefusalCode::Invalid,
    };
    Refusal {
        code: RefusalCode::from_code(refused.code).unwrap_or(unknown),
        message: Cow::Owned(refused.message),
        retry_after_ms: refused.retry_after_ms,
        needs_token: refused.needs_token,
    }
}

pub(super) fn unsubscribed_to(room: &str, why: &Unsubscribed) -> v1::Unsubscribed {
    v1::Unsubscribed {
        room: room.to_owned(),
        code: why.code.code(),
        reason: why.code.reason().to_owned(),
        message: why.message.clone().into_owned(),
        retry_after_ms: why.retry_after_ms,
        needs_token: why.needs_token,
    }
}

/// Codes of a later contract as in [`refusal_from`].
pub(super) fn unsubscribed_from(unsubscribed: v1::Unsubscribed) -> (String, Unsubscribed) {
    let unknown = match unsubscribed.retry_after_ms {
        Some(_) => UnsubscribedCode::Unavailable,
        None => UnsubscribedCode::Removed,
    };
    let why = Unsubscribed {
        code: UnsubscribedCode::from_code(unsubscribed.code).unwrap_or(unknown),
        message: Cow::Owned(unsubscribed.message),
        retry_after_ms: unsubscribed.retry_after_ms,
        needs_token: unsubscribed.needs_token,
    };
    (unsubscribed.room, why)
}

pub(super) fn end_to(end: &End) -> v1::End {
    v1::End {
        code: end.code.code(),
        reason: end.code.reason().to_owned(),
        message: end.message.clone().into_owned(),
        retry_after_ms: end.retry_after_ms,
    }
}

/// Of a code of a later contract its range alone counts: come back, or do not.
pub(super) fn end_from(end: v1::End) -> End {
    let unknown = if end.code < 4500 { EndCode::Internal } else { EndCode::Flooding };
    End {
        code: EndCode::from_code(end.code).unwrap_or(unknown),
        message: Cow::Owned(end.message),
        retry_after_ms: end.retry_after_ms,
    }
}
