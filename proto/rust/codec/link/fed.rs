//! News of watched rooms.

use model::{Fed, Mark, RoomInfo, RoomName};

use super::{decode_entries, encode_entries, missing, pb};
use crate::codec::Unreadable;
use crate::codec::words::{self, Change};
use pb::owner_frame::Frame;
use pb::presence_fed;

/// News of `room`.
#[must_use]
pub fn encode_fed(room: &RoomName, fed: &Fed) -> pb::OwnerFrame {
    pb::OwnerFrame { frame: Some(frame(room.as_str().to_owned(), fed)) }
}

/// The same, read; `None` for an answer or a heartbeat.
///
/// # Errors
/// [`Unreadable`] if a name in it is none, or it lacks what it is about.
pub fn decode_fed(frame: Frame) -> Result<Option<(RoomName, Fed)>, Unreadable> {
    let (room, fed) = match frame {
        Frame::Answer(_) | Frame::Heartbeat(_) | Frame::Moved(_) => return Ok(None),
        Frame::Watching(it) => watching(it)?,
        Frame::Entries(it) => {
            let entries = decode_entries(it.entries)?;
            (it.room, Fed::Entries { watch: it.watch, log: words::log(&it.log)?, entries })
        }
        Frame::Erased(it) => {
            (it.room, Fed::Erased { watch: it.watch, entries: decode_entries(it.entries)? })
        }
        Frame::Trimmed(it) => (it.room, Fed::Trimmed { watch: it.watch, first: it.first }),
        Frame::Signal(it) => {
            let from = words::user_from(it.from)?;
            (it.room, Fed::Signal { watch: it.watch, from, kind: it.kind, data: it.data })
        }
        Frame::Presence(it) => presence(it)?,
        Frame::Marked(it) => {
            let mark = Mark { seq: it.seq, ordinal: it.ordinal };
            (it.room, Fed::Marked { watch: it.watch, user: words::user_id(&it.user)?, mark })
        }
        Frame::Unwatched(it) => {
            let why = it.why.ok_or_else(|| missing("unwatched.why"))?;
            (it.room, Fed::Unwatched { watch: it.watch, why: words::unsubscribed_from(why).1 })
        }
    };
    Ok(Some((words::room(&room)?, fed)))
}

fn frame(room: String, fed: &Fed) -> Frame {
    match fed {
        Fed::Watching { watch, fence, info, presence } => Frame::Watching(pb::Watching {
            room,
            watch: *watch,
            fence: *fence,
            log: info.log.as_str().to_owned(),
            first: info.first,
            head: info.head,
            ordinal: info.ordinal,
            presence: presence.as_ref().map(|roster| words::roster_to(None, roster)),
        }),
        Fed::Entries { watch, log, entries } => {
            let (log, entries) = (log.as_str().to_owned(), encode_entries(entries));
            Frame::Entries(pb::Entries { room, watch: *watch, log, entries })
        }
        Fed::Erased { watch, entries } => {
            let (log, entries) = (String::new(), encode_entries(entries));
            Frame::Erased(pb::Entries { room, watch: *watch, log, entries })
        }
        Fed::Trimmed { watch, first } => {
            Frame::Trimmed(pb::Trimmed { room, watch: *watch, first: *first })
        }
        Fed::Signal { watch, from, kind, data } => Frame::Signal(pb::SignalFed {
            room,
            watch: *watch,
            from: Some(words::user_to(from)),
            kind: kind.clone(),
            data: data.clone(),
        }),
        Fed::Presence { watch, change } => {
            let (count, change) = words::change_to(change);
            let change = match change {
                Change::Full(full) => Some(presence_fed::Change::Full(full)),
                Change::Delta(delta) => Some(presence_fed::Change::Delta(delta)),
                Change::CountOnly => None,
            };
            Frame::Presence(pb::PresenceFed { room, watch: *watch, count, change })
        }
        Fed::Marked { watch, user, mark } => Frame::Marked(pb::MarkedFed {
            room,
            watch: *watch,
            user: user.as_str().to_owned(),
            seq: mark.seq,
            ordinal: mark.ordinal,
        }),
        Fed::Unwatched { watch, why } => {
            let why = Some(words::unsubscribed_to("", why));
            Frame::Unwatched(pb::Unwatched { room, watch: *watch, why })
        }
    }
}

fn watching(it: pb::Watching) -> Result<(String, Fed), Unreadable> {
    let info =
        RoomInfo { log: words::log(&it.log)?, first: it.first, head: it.head, ordinal: it.ordinal };
    let presence = it.presence.map(words::roster_from).transpose()?;
    Ok((it.room, Fed::Watching { watch: it.watch, fence: it.fence, info, presence }))
}

fn presence(it: pb::PresenceFed) -> Result<(String, Fed), Unreadable> {
    let change = match it.change {
        Some(presence_fed::Change::Full(full)) => Change::Full(full),
        Some(presence_fed::Change::Delta(delta)) => Change::Delta(delta),
        None => Change::CountOnly,
    };
    let change = words::change_from(it.count, change)?;
    Ok((it.room, Fed::Presence { watch: it.watch, change }))
}
