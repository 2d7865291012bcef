//! Answers to asks.

use model::{
    Answer, Catchup, Mark, Rights, RoomInfo, Snapshot, SnapshotReason, Subscription, Summary,
};

use super::{missing, page_from, page_to, pb, post_from, post_to};
use crate::codec::{Unreadable, words};
use crate::v1;
use pb::answer::Answer as Body;
use pb::subscribed::Catchup as PbCatchup;

/// The answer to the ask with this number.
#[must_use]
pub fn encode_answer(id: u64, answer: &Answer) -> pb::Answer {
    pb::Answer { id, answer: Some(body_to(answer)) }
}

/// The same, read. A summary has a mark again: the one of whoever asked.
///
/// # Errors
/// [`Unreadable`] if it says nothing that this version knows, or a name in it is none.
pub fn decode_answer(answer: pb::Answer) -> Result<(u64, Answer), Unreadable> {
    let body = answer.answer.ok_or_else(|| missing("answer"))?;
    Ok((answer.id, body_from(body)?))
}

fn body_to(answer: &Answer) -> Body {
    match answer {
        Answer::Subscribed(subscription) => Body::Subscribed(subscribed_to(subscription)),
        Answer::Unsubscribed(why) => Body::Unsubscribed(words::unsubscribed_to("", why)),
        Answer::Summary(summary) => Body::Summary(summary_to(summary)),
        Answer::Published { log, seq, at_ms, duplicate } => Body::Published(v1::Published {
            room: String::new(),
            log: log.as_str().to_owned(),
            seq: *seq,
            at_ms: *at_ms,
            duplicate: Some(*duplicate),
        }),
        Answer::Done => Body::Done(pb::Empty {}),
        Answer::Marked { mark, unread } => {
            Body::Marked(pb::Marked { seq: mark.seq, ordinal: mark.ordinal, unread: *unread })
        }
        Answer::History { log, page } => {
            let page = Some(page_to(page));
            Body::History(pb::History { log: log.as_str().to_owned(), page })
        }
        Answer::Presence(roster) => Body::Presence(words::roster_to(None, roster)),
        Answer::Room(info) => Body::Info(info_to(info)),
        Answer::Refused(refusal) => Body::Refused(words::refusal_to(refusal)),
    }
}

fn body_from(body: Body) -> Result<Answer, Unreadable> {
    Ok(match body {
        Body::Subscribed(it) => Answer::Subscribed(subscribed_from(it)?),
        Body::Unsubscribed(it) => Answer::Unsubscribed(words::unsubscribed_from(it).1),
        Body::Summary(it) => Answer::Summary(summary_from(it)?),
        Body::Published(it) => Answer::Published {
            log: words::log(&it.log)?,
            seq: it.seq,
            at_ms: it.at_ms,
            duplicate: it.duplicate.unwrap_or(false),
        },
        Body::Done(_) => Answer::Done,
        Body::Marked(it) => {
            Answer::Marked { mark: Mark { seq: it.seq, ordinal: it.ordinal }, unread: it.unread }
        }
        Body::History(it) => {
            Answer::History { log: words::log(&it.log)?, page: page_from(it.page)? }
        }
        Body::Presence(it) => Answer::Presence(words::roster_from(it)?),
        Body::Info(it) => Answer::Room(info_from(&it)?),
        Body::Refused(it) => Answer::Refused(words::refusal_from(it)),
    })
}

fn subscribed_to(it: &Subscription) -> pb::Subscribed {
    pb::Subscribed {
        log: it.log.as_str().to_owned(),
        first: it.first,
        head: it.head,
        ordinal: it.ordinal,
        mark: it.mark.seq,
        mark_ordinal: it.mark.ordinal,
        unread: it.unread,
        rights: it.rights.bits(),
        catchup: Some(match &it.catchup {
            Catchup::Resumed { missed } => PbCatchup::Resumed(*missed),
            Catchup::Snapshot(snapshot) => PbCatchup::Snapshot(pb::Snapshot {
                reason: snapshot.reason.as_str().to_owned(),
                page: Some(page_to(&snapshot.page)),
            }),
        }),
    }
}

fn subscribed_from(it: pb::Subscribed) -> Result<Subscription, Unreadable> {
    let catchup = match it.catchup.ok_or_else(|| missing("subscribed.catchup"))? {
        PbCatchup::Resumed(missed) => Catchup::Resumed { missed },
        PbCatchup::Snapshot(it) => {
            let reason =
                SnapshotReason::ALL.into_iter().find(|reason| reason.as_str() == it.reason);
            let reason = reason.unwrap_or(SnapshotReason::New);
            Catchup::Snapshot(Snapshot { reason, page: page_from(it.page)? })
        }
    };
    Ok(Subscription {
        log: words::log(&it.log)?,
        first: it.first,
        head: it.head,
        ordinal: it.ordinal,
        mark: Mark { seq: it.mark, ordinal: it.mark_ordinal },
        unread: it.unread,
        rights: Rights::from_bits(it.rights),
        catchup,
    })
}

fn summary_to(summary: &Summary) -> pb::Summary {
    let mark = summary.mark.unwrap_or_default();
    pb::Summary {
        log: summary.log.as_str().to_owned(),
        head: summary.head,
        ordinal: summary.ordinal,
        mark: mark.seq,
        mark_ordinal: mark.ordinal,
        last: summary.last.as_ref().map(post_to),
    }
}

fn summary_from(it: pb::Summary) -> Result<Summary, Unreadable> {
    Ok(Summary {
        log: words::log(&it.log)?,
        head: it.head,
        ordinal: it.ordinal,
        mark: Some(Mark { seq: it.mark, ordinal: it.mark_ordinal }),
        last: it.last.map(post_from).transpose()?,
    })
}

fn info_to(info: &RoomInfo) -> v1::Room {
    v1::Room {
        room: String::new(),
        log: info.log.as_str().to_owned(),
        first: Some(info.first),
        head: Some(info.head),
        ordinal: Some(info.ordinal),
    }
}

fn info_from(it: &v1::Room) -> Result<RoomInfo, Unreadable> {
    Ok(RoomInfo {
        log: words::log(&it.log)?,
        first: it.first.unwrap_or(0),
        head: it.head.unwrap_or(0),
        ordinal: it.ordinal.unwrap_or(0),
    })
}
