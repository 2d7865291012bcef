//! Frames to a client, read: the client's side of [`super::encode_server`].
//!
//! A client meets servers that are newer than itself, so what it does not know is [`FromServer::Unknown`]
//! or, in a code, the nearest that asks the same of it. What breaks a rule of the contract is unreadable.

use model::{
    Catchup, Encoding, FoldedPost, FromServer, Limits, Mark, Message, MoveTo, Page, PresenceFrame,
    Refusal, RoomName, Roster, Says, ServerFrame, SessionId, Snapshot, SnapshotReason,
    Subscription, Summary, Welcome,
};
use prost::Message as _;

use crate::codec::words::{self, Change};
use crate::codec::{Unreadable, contents, fold, json};
use crate::v1::{self, presence, server_frame::Frame, subscribed};

/// Reads one frame.
///
/// Posts in pages are already merged: their `payload` is a message as of the page, without a room and
/// without `edit` and `reactions` beside it; [`post`] reads it.
///
/// # Errors
/// [`Unreadable`], which says where the bytes stop being a frame of the contract.
pub fn decode_server(encoding: Encoding, frame: &[u8]) -> Result<FromServer, Unreadable> {
    let frame: v1::ServerFrame = match encoding {
        Encoding::Json => json::parse(frame)?,
        Encoding::Proto => v1::ServerFrame::decode(frame)?,
    };
    let r#ref = frame.r#ref;
    match frame.frame {
        None => Ok(FromServer::Unknown),
        Some(Frame::Message(message)) => {
            let room = words::room(&message.room)?;
            Ok(FromServer::Message(read_message(room, message)?))
        }
        Some(frame) => Ok(says(frame)?
            .map_or(FromServer::Unknown, |says| FromServer::Says(ServerFrame { r#ref, says }))),
    }
}

/// Reads a post of a page of `room`, its edit and reactions merged.
///
/// # Errors
/// [`Unreadable`] if its bytes are not a message.
pub fn post(room: &RoomName, post: &FoldedPost) -> Result<Message, Unreadable> {
    read_message(room.clone(), fold::folded(post))
}

fn read_message(room: RoomName, message: v1::Message) -> Result<Message, Unreadable> {
    let log = match message.log.as_str() {
        "" => None,
        log => Some(words::log(log)?),
    };
    Ok(Message {
        room,
        log,
        seq: message.seq,
        ordinal: message.ordinal.unwrap_or(0),
        id: words::message_id(&message.id)?,
        at_ms: message.at_ms,
        from: words::user_from(message.from)?,
        content: contents::decoded(message.content)?,
        edited_at_ms: (message.edited_at_ms > 0).then_some(message.edited_at_ms),
        reactions: words::reactions_from(message.reactions)?,
    })
}

fn says(frame: Frame) -> Result<Option<Says>, Unreadable> {
    Ok(Some(match frame {
        Frame::Welcome(it) => Says::Welcome(Box::new(welcome(it)?)),
        Frame::Authenticated(it) => Says::Authenticated { expires_at_ms: it.expires_at_ms },
        Frame::Subscribed(it) => return subscribed_from(it),
        Frame::Unsubscribed(it) => {
            let (room, why) = words::unsubscribed_from(it);
            Says::Unsubscribed { room, why }
        }
        Frame::Message(_) => return Ok(None),
        Frame::Published(it) => Says::Published {
            room: words::room(&it.room)?,
            log: words::log(&it.log)?,
            seq: it.seq,
            at_ms: it.at_ms,
            duplicate: it.duplicate.unwrap_or(false),
        },
        Frame::Refused(refused) => Says::Refused(words::refusal_from(refused)),
        Frame::Marked(it) => Says::Marked {
            room: words::room(&it.room)?,
            seq: it.seq.unwrap_or(0),
            unread: it.unread.unwrap_or(0),
        },
        Frame::History(page) => history(page)?,
        Frame::Summary(it) => {
            let (room, summary) = summary(it)?;
            Says::Summary { room, summary: Box::new(summary) }
        }
        Frame::Summaries(it) => summaries(it)?,
        Frame::Presence(it) => Says::Presence(presence_from(it)?),
        Frame::Signal(it) => Says::Signal {
            room: words::room(&it.room)?,
            from: words::user_from(it.from)?,
            data: crate::codec::check::data_bytes(it.data.as_ref()),
            kind: it.r#type,
        },
        Frame::Truncated(it) => Says::Truncated { room: words::room(&it.room)?, first: it.first },
        Frame::Rights(it) => {
            Says::Rights { room: words::room(&it.room)?, rights: words::rights_from(&it.rights) }
        }
        Frame::Heartbeat(_) => Says::Heartbeat,
        Frame::Move(it) => Says::Move(MoveTo {
            url: (!it.url.is_empty()).then_some(it.url),
            resume_token: it.resume_token,
            within_ms: it.within_ms,
        }),
        Frame::End(end) => Says::End(words::end_from(end)),
    }))
}

fn welcome(welcome: v1::Welcome) -> Result<Welcome, Unreadable> {
    Ok(Welcome {
        session: SessionId::new(&welcome.session).map_err(words::named)?,
        user: words::user_from(welcome.user)?,
        resume_token: welcome.resume_token,
        heartbeat_ms: welcome.heartbeat_ms,
        token_expires_at_ms: welcome.token_expires_at_ms,
        limits: limits(welcome.limits.unwrap_or_default()),
        features: welcome.features,
    })
}

/// What `welcome` does not tell is as in the contract.
fn limits(told: v1::Limits) -> Limits {
    let usual = Limits::default();
    let or = |told: u32, usual: u32| if told > 0 { told } else { usual };
    let or_long = |told: u64, usual: u64| if told > 0 { told } else { usual };
    Limits {
        rooms_per_session_max: match told.rooms_max {
            0 => usual.rooms_per_session_max,
            rooms => rooms as usize,
        },
        publishes_per_second: or(told.publishes_per_second, usual.publishes_per_second),
        subscribes_per_second: or(told.subscribes_per_second, usual.subscribes_per_second),
        requests_per_second: or(told.requests_per_second, usual.requests_per_second),
        publish_wait_ms: or_long(told.publish_wait_ms, usual.publish_wait_ms),
        replay_max: or_long(told.replay_max, usual.replay_max),
        ..usual
    }
}

/// `None` when the client is caught up in a way that this version does not know.
fn subscribed_from(it: v1::Subscribed) -> Result<Option<Says>, Unreadable> {
    let first = it.first.unwrap_or(0);
    let catchup = match it.catchup {
        None => return Ok(None),
        Some(subscribed::Catchup::Resumed(resumed)) => {
            Catchup::Resumed { missed: resumed.missed.unwrap_or(0) }
        }
        Some(subscribed::Catchup::Snapshot(it)) => Catchup::Snapshot(snapshot(it, first)),
    };
    let presence = it.presence.map(|roster| {
        let version = roster.version.unwrap_or(0);
        words::roster_from(roster).map(|roster: Roster| (version, roster))
    });
    let (ordinal, unread) = (it.ordinal.unwrap_or(0), it.unread.unwrap_or(0));
    let subscription = Subscription {
        log: words::log(&it.log)?,
        first,
        head: it.head.unwrap_or(0),
        ordinal,
        mark: Mark { seq: it.mark.unwrap_or(0), ordinal: ordinal.saturating_sub(unread) },
        unread,
        rights: words::rights_from(&it.rights),
        catchup,
    };
    Ok(Some(Says::Subscribed {
        room: words::room(&it.room)?,
        subscription: Box::new(subscription),
        presence: presence.transpose()?,
    }))
}

/// A reason of a later contract changes nothing: what is held is discarded, whatever it is.
fn snapshot(it: v1::Snapshot, first: u64) -> Snapshot {
    let reason = SnapshotReason::ALL.into_iter().find(|reason| reason.as_str() == it.reason);
    Snapshot {
        reason: reason.unwrap_or(SnapshotReason::New),
        page: Page {
            posts: it.messages.into_iter().map(merged).collect(),
            first,
            more: it.more,
            as_of: it.as_of.unwrap_or(0),
            mine: words::mine_from(it.mine),
        },
    }
}

fn merged(mut message: v1::Message) -> FoldedPost {
    message.room.clear(); // the page names it
    FoldedPost { payload: message.encode_to_vec().into(), edit: None, reactions: Vec::new() }
}

fn history(page: v1::HistoryPage) -> Result<Says, Unreadable> {
    Ok(Says::History {
        room: words::room(&page.room)?,
        log: words::log(&page.log)?,
        page: Box::new(Page {
            posts: page.posts.into_iter().map(merged).collect(),
            first: page.first.unwrap_or(0),
            more: page.more,
            as_of: page.as_of.unwrap_or(0),
            mine: words::mine_from(page.mine),
        }),
    })
}

fn summary(it: v1::Summary) -> Result<(RoomName, Summary), Unreadable> {
    let mark_ordinal = it.mark_ordinal.unwrap_or(0);
    let summary = Summary {
        log: words::log(&it.log)?,
        head: it.head.unwrap_or(0),
        ordinal: it.ordinal.unwrap_or(0),
        mark: it.mark.map(|seq| Mark { seq, ordinal: mark_ordinal }),
        last: it.last.map(merged),
    };
    Ok((words::room(&it.room)?, summary))
}

fn summaries(it: v1::Summaries) -> Result<Says, Unreadable> {
    let refused = |it: v1::RefusedRoom| -> Result<(RoomName, Refusal), Unreadable> {
        Ok((words::room(&it.room)?, words::refusal_from(it.refused.unwrap_or_default())))
    };
    Ok(Says::Summaries {
        rooms: it.rooms.into_iter().map(summary).collect::<Result<_, _>>()?,
        refused: it.refused.into_iter().map(refused).collect::<Result<_, _>>()?,
    })
}

fn presence_from(it: v1::Presence) -> Result<PresenceFrame, Unreadable> {
    let change = match it.change {
        Some(presence::Change::Full(full)) => Change::Full(full),
        Some(presence::Change::Delta(delta)) => Change::Delta(delta),
        None => Change::CountOnly,
    };
    Ok(PresenceFrame {
        room: words::room(&it.room)?,
        version: it.version.unwrap_or(0),
        change: words::change_from(it.count.unwrap_or(0), change)?,
    })
}
