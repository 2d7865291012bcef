//! The link's words and its protobuf frames; the one place of the edge that names generated types
//! beside the calls themselves.

use link::{FromOwner, ToOwner};
use model::Entry;
use wire::codec::{Unreadable, link as codec};
use wire::link as pb;
use wire::link::edge_frame::Frame as ToFrame;
use wire::link::owner_frame::Frame as FromFrame;

/// A frame for the owner.
pub(crate) fn to_owner(frame: &ToOwner) -> pb::EdgeFrame {
    let name = |room: &model::RoomName| room.as_str().to_owned();
    let frame = match frame {
        ToOwner::Open { edge, lane } => {
            ToFrame::Open(pb::Open { edge: edge.as_str().to_owned(), lane: *lane })
        }
        ToOwner::Watch { room, watch } => {
            ToFrame::Watch(pb::Watch { room: name(room), watch: *watch })
        }
        ToOwner::Unwatch { room, watch } => {
            ToFrame::Unwatch(pb::Unwatch { room: name(room), watch: *watch })
        }
        ToOwner::Ask { id, ask } => ToFrame::Ask(codec::encode_ask(*id, ask)),
        ToOwner::Heartbeat => ToFrame::Heartbeat(pb::Heartbeat {}),
    };
    pb::EdgeFrame { frame: Some(frame) }
}

/// A frame from the owner.
pub(crate) fn from_owner(frame: pb::OwnerFrame) -> Result<FromOwner, Unreadable> {
    match frame.frame {
        // A kind of a newer owner: a sign of life, no more.
        None | Some(FromFrame::Heartbeat(_)) => Ok(FromOwner::Heartbeat),
        Some(FromFrame::Answer(answer)) => {
            codec::decode_answer(answer).map(|(id, answer)| FromOwner::Answer { id, answer })
        }
        Some(FromFrame::Moved(moved)) => {
            let (slot, epoch, owner) = codec::decode_moved(&moved)?;
            Ok(FromOwner::Moved { slot, epoch, owner })
        }
        Some(fed) => Ok(match codec::decode_fed(fed)? {
            Some((room, fed)) => FromOwner::Fed { room, fed },
            None => FromOwner::Heartbeat,
        }),
    }
}

/// Entries of a segment.
pub(crate) fn entries(entries: Vec<pb::Entry>) -> Result<Vec<Entry>, Unreadable> {
    codec::decode_entries(entries)
}
