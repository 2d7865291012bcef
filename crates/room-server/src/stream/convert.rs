//! Between the generated frames of the link and its words.

use link::{FromOwner, ToOwner};
use model::{Fed, NodeId, RoomName};
use tonic::Status;
use wire::codec::link::{decode_ask, encode_answer, encode_fed, encode_moved};
use wire::link::edge_frame::Frame as EdgeSays;
use wire::link::owner_frame::Frame as OwnerSays;
use wire::link::{EdgeFrame, Heartbeat, OwnerFrame};

/// Payload of one frame of entries: far below what gRPC takes for one message by default.
const ENTRIES_BYTES_MAX: usize = 1024 * 1024;

/// What an edge says; `None` for what a later edge may say.
pub(crate) fn to_owner(frame: EdgeFrame) -> Result<Option<ToOwner>, Status> {
    let Some(says) = frame.frame else {
        return Ok(None);
    };
    Ok(Some(match says {
        EdgeSays::Open(open) => {
            let edge = NodeId::new(&open.edge).map_err(|why| Status::invalid_argument(why.0))?;
            ToOwner::Open { edge, lane: open.lane }
        }
        EdgeSays::Watch(it) => ToOwner::Watch { room: room(&it.room)?, watch: it.watch },
        EdgeSays::Unwatch(it) => ToOwner::Unwatch { room: room(&it.room)?, watch: it.watch },
        EdgeSays::Ask(ask) => {
            let (id, ask) = decode_ask(ask).map_err(|bad| Status::invalid_argument(bad.message))?;
            ToOwner::Ask { id, ask }
        }
        EdgeSays::Heartbeat(_) => ToOwner::Heartbeat,
    }))
}

/// A room's name from the wire.
pub(crate) fn room(name: &str) -> Result<RoomName, Status> {
    RoomName::new(name).map_err(|why| Status::invalid_argument(why.0))
}

/// What an owner says, in as many frames as it takes.
pub(crate) fn from_owner(frame: FromOwner, mut out: impl FnMut(OwnerFrame)) {
    let says = |says| OwnerFrame { frame: Some(says) };
    match frame {
        FromOwner::Heartbeat => out(says(OwnerSays::Heartbeat(Heartbeat {}))),
        FromOwner::Moved { slot, epoch, owner } => {
            out(says(OwnerSays::Moved(encode_moved(slot, epoch, &owner))));
        }
        FromOwner::Answer { id, answer } => {
            out(says(OwnerSays::Answer(encode_answer(id, &answer))))
        }
        FromOwner::Fed { room, fed: Fed::Entries { watch, log, mut entries } } => {
            while !entries.is_empty() {
                let rest = entries.split_off(fitting(&entries));
                let fed = Fed::Entries { watch, log: log.clone(), entries };
                out(encode_fed(&room, &fed));
                entries = rest;
            }
        }
        FromOwner::Fed { room, fed } => out(encode_fed(&room, &fed)),
    }
}

/// How many entries fit into one frame; at least one.
fn fitting(entries: &[model::Entry]) -> usize {
    let mut bytes = 0;
    let fit = entries.iter().take_while(|entry| {
        bytes += entry.payload.len();
        bytes <= ENTRIES_BYTES_MAX
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use model::{ContentKind, Entry, LogId};

    #[test]
    fn many_large_entries_travel_in_several_frames_and_none_is_lost() {
        let entry = |seq| {
            let payload = Bytes::from(vec![0; 300 * 1024]);
            Entry { seq, ordinal: seq, kind: ContentKind::Post, payload }
        };
        let fed =
            Fed::Entries { watch: 1, log: LogId::none(), entries: (1..=8).map(entry).collect() };
        let mut seqs = Vec::new();
        let room = RoomName::new("r").expect("valid");
        from_owner(FromOwner::Fed { room, fed }, |frame| match frame.frame {
            Some(OwnerSays::Entries(it)) => {
                assert!(it.entries.len() <= 3);
                seqs.extend(it.entries.iter().map(|entry| entry.seq));
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(seqs, (1..=8).collect::<Vec<_>>());
    }
}
