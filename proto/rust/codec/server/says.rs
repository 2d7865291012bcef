//! What a server says, as generated types.

use model::{
    Catchup, FoldedPost, Limits, LogId, MoveTo, Page, PresenceFrame, Refusal, RoomInfo, RoomName,
    Roster, Says, Seq, ServerFrame, Snapshot, Subscription, Summary, Welcome, limits,
};

use crate::codec::fold::folded;
use crate::codec::words::{self, Change};
use crate::v1::{self, presence, server_frame::Frame, subscribed};

/// Where the posts of a page are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posts {
    /// Decoded, in the page: JSON has to look at them anyway.
    Inside,
    /// Left out, for whoever puts them as bytes.
    Apart,
}

impl Posts {
    fn of(self, posts: &[FoldedPost]) -> Vec<v1::Message> {
        match self {
            Posts::Inside => posts.iter().map(folded).collect(),
            Posts::Apart => Vec::new(),
        }
    }
}

pub(super) fn frame(frame: &ServerFrame, posts: Posts) -> v1::ServerFrame {
    v1::ServerFrame { r#ref: frame.r#ref, frame: member(&frame.says, posts) }
}

fn member(says: &Says, posts: Posts) -> Option<Frame> {
    Some(match says {
        Says::Welcome(it) => Frame::Welcome(welcome(it)),
        Says::Authenticated { expires_at_ms } => {
            Frame::Authenticated(v1::Authenticated { expires_at_ms: *expires_at_ms })
        }
        Says::Subscribed { room, subscription, presence } => {
            Frame::Subscribed(subscribed(room, subscription, presence.as_ref(), posts))
        }
        Says::Unsubscribed { room, why } => Frame::Unsubscribed(words::unsubscribed_to(room, why)),
        Says::Published { room, log, seq, at_ms, duplicate } => {
            Frame::Published(published(room, log, *seq, *at_ms, *duplicate))
        }
        Says::Marked { room, seq, unread } => {
            Frame::Marked(v1::Marked { room: text(room), seq: Some(*seq), unread: Some(*unread) })
        }
        Says::History { room, log, page } => Frame::History(history(room, log, page, posts)),
        Says::Summary { room, summary: it } => Frame::Summary(summary(room, it, posts)),
        Says::Summaries { rooms, refused } => Frame::Summaries(v1::Summaries {
            rooms: rooms.iter().map(|(room, it)| summary(room, it, posts)).collect(),
            refused: refused_rooms(refused),
        }),
        Says::PresenceIs { .. } | Says::Room { .. } => return None,
        Says::Presence(it) => Frame::Presence(presence(it)),
        Says::Signal { room, from, kind, data } => Frame::Signal(v1::Signal {
            room: text(room),
            r#type: kind.clone(),
            data: words::structure(data),
            from: Some(words::user_to(from)),
        }),
        Says::Truncated { room, first } => {
            Frame::Truncated(v1::Truncated { room: text(room), first: *first })
        }
        Says::Rights { room, rights } => {
            Frame::Rights(v1::RightsChanged { room: text(room), rights: words::rights_to(*rights) })
        }
        Says::Heartbeat => Frame::Heartbeat(v1::Heartbeat {}),
        Says::Move(it) => Frame::Move(move_to(it)),
        Says::Refused(refusal) => Frame::Refused(words::refusal_to(refusal)),
        Says::End(end) => Frame::End(words::end_to(end)),
    })
}

fn text(room: &RoomName) -> String {
    room.as_str().to_owned()
}

fn welcome(welcome: &Welcome) -> v1::Welcome {
    v1::Welcome {
        session: welcome.session.as_str().to_owned(),
        user: Some(words::user_to(&welcome.user)),
        resume_token: welcome.resume_token.clone(),
        heartbeat_ms: welcome.heartbeat_ms,
        token_expires_at_ms: welcome.token_expires_at_ms,
        limits: Some(limits_to(&welcome.limits)),
        features: welcome.features.clone(),
    }
}

fn limits_to(it: &Limits) -> v1::Limits {
    v1::Limits {
        frame_bytes_max: small(limits::FRAME_BYTES_MAX),
        hello_bytes_max: small(limits::HELLO_BYTES_MAX),
        rooms_max: small(it.rooms_per_session_max),
        text_bytes_max: small(limits::TEXT_BYTES_MAX),
        data_bytes_max: small(limits::DATA_BYTES_MAX),
        publishes_per_second: it.publishes_per_second,
        subscribes_per_second: it.subscribes_per_second,
        requests_per_second: it.requests_per_second,
        page_posts_max: limits::PAGE_POSTS_MAX,
        publish_wait_ms: it.publish_wait_ms,
        replay_max: it.replay_max,
    }
}

/// A limit beyond 32 bits is none.
fn small(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

pub(super) fn subscribed(
    room: &RoomName,
    it: &Subscription,
    presence: Option<&(u64, Roster)>,
    posts: Posts,
) -> v1::Subscribed {
    v1::Subscribed {
        room: text(room),
        log: it.log.as_str().to_owned(),
        first: Some(it.first),
        head: Some(it.head),
        ordinal: Some(it.ordinal),
        mark: Some(it.mark.seq),
        unread: Some(it.unread),
        rights: words::rights_to(it.rights),
        presence: presence.map(|(version, roster)| words::roster_to(Some(*version), roster)),
        catchup: Some(match &it.catchup {
            Catchup::Resumed { missed } => {
                subscribed::Catchup::Resumed(v1::Resumed { missed: Some(*missed) })
            }
            Catchup::Snapshot(it) => subscribed::Catchup::Snapshot(snapshot(it, posts)),
        }),
    }
}

pub(super) fn snapshot(snapshot: &Snapshot, posts: Posts) -> v1::Snapshot {
    v1::Snapshot {
        reason: snapshot.reason.as_str().to_owned(),
        as_of: Some(snapshot.page.as_of),
        messages: posts.of(&snapshot.page.posts),
        mine: words::mine_to(&snapshot.page.mine),
        more: snapshot.page.more,
    }
}

pub(in crate::codec) fn published(
    room: &RoomName,
    log: &LogId,
    seq: Seq,
    at_ms: u64,
    duplicate: bool,
) -> v1::Published {
    let log = log.as_str().to_owned();
    v1::Published { room: text(room), log, seq, at_ms, duplicate: Some(duplicate) }
}

pub(super) fn history(room: &RoomName, log: &LogId, page: &Page, posts: Posts) -> v1::HistoryPage {
    v1::HistoryPage {
        room: text(room),
        log: log.as_str().to_owned(),
        posts: posts.of(&page.posts),
        first: Some(page.first),
        more: page.more,
        as_of: Some(page.as_of),
        mine: words::mine_to(&page.mine),
    }
}

pub(super) fn summary(room: &RoomName, summary: &Summary, posts: Posts) -> v1::Summary {
    v1::Summary {
        room: text(room),
        log: summary.log.as_str().to_owned(),
        head: Some(summary.head),
        ordinal: Some(summary.ordinal),
        mark: summary.mark.map(|mark| mark.seq),
        mark_ordinal: summary.mark.map(|mark| mark.ordinal),
        last: posts.of(summary.last.as_slice()).pop(),
    }
}

pub(super) fn refused_rooms(refused: &[(RoomName, Refusal)]) -> Vec<v1::RefusedRoom> {
    let one = |(room, refusal): &(RoomName, Refusal)| v1::RefusedRoom {
        room: text(room),
        refused: Some(words::refusal_to(refusal)),
    };
    refused.iter().map(one).collect()
}

fn presence(frame: &PresenceFrame) -> v1::Presence {
    let (count, change) = words::change_to(&frame.change);
    v1::Presence {
        room: text(&frame.room),
        version: Some(frame.version),
        count: Some(count),
        change: match change {
            Change::Full(full) => Some(presence::Change::Full(full)),
            Change::Delta(delta) => Some(presence::Change::Delta(delta)),
            Change::CountOnly => None,
        },
    }
}

fn move_to(to: &MoveTo) -> v1::Move {
    v1::Move {
        url: to.url.clone().unwrap_or_default(),
        resume_token: to.resume_token.clone(),
        within_ms: to.within_ms,
    }
}

pub(in crate::codec) fn presence_reply(room: &RoomName, roster: &Roster) -> v1::PresenceReply {
    let users = words::users_to(&roster.users);
    v1::PresenceReply { room: text(room), count: Some(roster.count), users }
}

pub(in crate::codec) fn room(room: &RoomName, info: &RoomInfo) -> v1::Room {
    v1::Room {
        room: text(room),
        log: info.log.as_str().to_owned(),
        first: Some(info.first),
        head: Some(info.head),
        ordinal: Some(info.ordinal),
    }
}
