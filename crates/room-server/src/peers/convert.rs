//! Between the generated messages of a handoff and what rooms tell each other.
//!
//! A transfer that cannot be read is no transfer: the taker refuses it with a sentence, and the slot is taken
//! over cold when it has to be.

use std::collections::BTreeMap;

use model::{
    ContentKind, Digest, Epoch, Fence, Generation, LogId, MessageId, NodeId, RoomName, SessionId,
    SlotNo, User, UserId,
};
use room::{AnsweredHint, AttachmentHint, Head, Hints, IdRow};
use wire::link as pb;

use crate::slots::Transfer;

/// Payload of one transfer, in bytes, about: a fraction of what one message may be, and written in a few
/// milliseconds.
pub(crate) const HINTS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a row beside its names.
const ROW_BYTES: usize = 48;

const _: () = assert!(2 * HINTS_BYTES_MAX < crate::server::LINK_MESSAGE_BYTES_MAX);

/// As many of these rooms as fit into one transfer; the largest are left out first, since they save
/// the least by the byte. Whether any was.
fn fit(mut rooms: Vec<(RoomName, Hints)>) -> (Vec<(RoomName, Hints)>, bool) {
    rooms.sort_by_cached_key(|(name, hints)| weight(name, hints));
    let mut bytes = 0;
    let fits = rooms.iter().take_while(|(name, hints)| {
        bytes += weight(name, hints);
        bytes <= HINTS_BYTES_MAX
    });
    let count = fits.count();
    let partial = count < rooms.len();
    rooms.truncate(count);
    (rooms, partial)
}

fn weight(name: &RoomName, hints: &Hints) -> usize {
    let ids = hints.ids.iter().map(|row| row.user.as_str().len() + row.id.as_str().len());
    let answered = hints.answered.iter().map(|it| it.user.as_str().len() + it.id.as_str().len());
    let attached = hints.attachments.iter().map(|it| {
        let User { id, name, data } = &it.user;
        it.session.as_str().len() + id.as_str().len() + name.len() + data.len()
    });
    let rows = ids.chain(answered).chain(attached).map(|bytes| bytes + ROW_BYTES);
    name.as_str().len() + ROW_BYTES + rows.sum::<usize>()
}

/// A slot that is handed over.
pub(crate) fn encode(
    slot: SlotNo,
    from: &NodeId,
    epoch: Epoch,
    fence: Fence,
    rooms: Vec<(RoomName, Hints)>,
) -> pb::TransferRequest {
    let (rooms, partial) = fit(rooms);
    let rooms = rooms.into_iter().map(|(name, hints)| room_to(&name, hints)).collect();
    pb::TransferRequest { slot, from: from.as_str().to_owned(), epoch, fence, rooms, partial }
}

/// The same, read; what is wrong with it is said in a sentence.
pub(crate) fn decode(request: pb::TransferRequest) -> Result<Transfer, String> {
    let from = NodeId::new(&request.from).map_err(|why| why.0)?;
    let rooms: Result<BTreeMap<_, _>, String> = request.rooms.into_iter().map(room_from).collect();
    let (epoch, fence, partial) = (request.epoch, request.fence, request.partial);
    Ok(Transfer { from, epoch, fence, rooms: rooms?, partial })
}

fn room_to(name: &RoomName, hints: Hints) -> pb::RoomHints {
    let Hints { head, ids, answered, attachments, collecting_ms } = hints;
    let head = head.unwrap_or_else(|| Head {
        log: LogId::none(),
        first: 0,
        head: 0,
        ordinal: 0,
        at_ms: 0,
        first_ordinal: 0,
    });
    pb::RoomHints {
        room: name.as_str().to_owned(),
        log: head.log.as_str().to_owned(),
        first: head.first,
        head: head.head,
        ordinal: head.ordinal,
        at_ms: head.at_ms,
        first_ordinal: head.first_ordinal,
        attachments: attachments.into_iter().map(attachment_to).collect(),
        ids: ids.into_iter().map(id_to).collect(),
        answered: answered.into_iter().map(answered_to).collect(),
        collecting_ms,
    }
}

fn room_from(room: pb::RoomHints) -> Result<(RoomName, Hints), String> {
    let name = RoomName::new(&room.room).map_err(|why| why.0)?;
    let log = LogId::new(&room.log).map_err(|why| why.0)?;
    let pb::RoomHints { first, head, ordinal, at_ms, first_ordinal, collecting_ms, .. } = room;
    let born = !log.is_none();
    let head = Head { log, first, head, ordinal, at_ms, first_ordinal };
    let hints = Hints {
        head: born.then_some(head),
        ids: room.ids.into_iter().map(id_from).collect::<Result<_, _>>()?,
        answered: room.answered.into_iter().map(answered_from).collect::<Result<_, _>>()?,
        attachments: room.attachments.into_iter().map(attachment_from).collect::<Result<_, _>>()?,
        collecting_ms,
    };
    Ok((name, hints))
}

fn id_to(row: IdRow) -> pb::IdHint {
    pb::IdHint {
        seq: row.seq,
        ordinal: row.ordinal,
        user: row.user.as_str().to_owned(),
        id: row.id.as_str().to_owned(),
        kind: row.kind as u32,
        digest: row.digest.0,
        at_ms: row.at_ms,
    }
}

fn id_from(row: pb::IdHint) -> Result<IdRow, String> {
    let kind = u8::try_from(row.kind).ok().and_then(ContentKind::from_u8);
    Ok(IdRow {
        seq: row.seq,
        ordinal: row.ordinal,
        at_ms: row.at_ms,
        user: UserId::new(&row.user).map_err(|why| why.0)?,
        id: MessageId::new(&row.id).map_err(|why| why.0)?,
        kind: kind.ok_or_else(|| format!("there is no content of kind {}", row.kind))?,
        digest: Digest(row.digest),
    })
}

fn answered_to(hint: AnsweredHint) -> pb::AnsweredHint {
    pb::AnsweredHint {
        user: hint.user.as_str().to_owned(),
        id: hint.id.as_str().to_owned(),
        seq: hint.seq,
        at_ms: hint.at_ms,
        digest: hint.digest.0,
    }
}

fn answered_from(hint: pb::AnsweredHint) -> Result<AnsweredHint, String> {
    Ok(AnsweredHint {
        user: UserId::new(&hint.user).map_err(|why| why.0)?,
        id: MessageId::new(&hint.id).map_err(|why| why.0)?,
        seq: hint.seq,
        at_ms: hint.at_ms,
        digest: Digest(hint.digest),
    })
}

fn attachment_to(hint: AttachmentHint) -> pb::AttachmentHint {
    pb::AttachmentHint {
        session: hint.session.as_str().to_owned(),
        generation: hint.generation.counter,
        generation_random: hint.generation.random,
        user: hint.user.id.as_str().to_owned(),
        name: hint.user.name,
        data: hint.user.data,
        grace_ms: hint.grace_ms,
    }
}

fn attachment_from(hint: pb::AttachmentHint) -> Result<AttachmentHint, String> {
    let id = UserId::new(&hint.user).map_err(|why| why.0)?;
    Ok(AttachmentHint {
        session: SessionId::new(&hint.session).map_err(|why| why.0)?,
        generation: Generation { counter: hint.generation, random: hint.generation_random },
        user: User { id, name: hint.name, data: hint.data },
        grace_ms: hint.grace_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn hints(ids: u64) -> Hints {
        let user = UserId::new("ann").expect("valid");
        let row = |seq: u64| IdRow {
            seq,
            ordinal: seq,
            at_ms: 1_000 + seq,
            user: user.clone(),
            id: MessageId::new(&format!("message-{seq}")).expect("valid"),
            kind: ContentKind::Post,
            digest: Digest(seq << 40),
        };
        let log = LogId::new("k3v9q2").expect("valid");
        let attachment = |grace_ms| AttachmentHint {
            session: SessionId::new("session1").expect("valid"),
            generation: Generation { counter: 7, random: 9 },
            user: User { id: user.clone(), name: "Ann".into(), data: Bytes::from_static(b"data") },
            grace_ms,
        };
        Hints {
            head: Some(Head { log, first: 1, head: ids, ordinal: ids, at_ms: 9, first_ordinal: 0 }),
            ids: (1..=ids).map(row).collect(),
            answered: vec![AnsweredHint {
                user: user.clone(),
                id: MessageId::new("reaction-1").expect("valid"),
                seq: 1,
                at_ms: 3,
                digest: Digest(u64::MAX),
            }],
            attachments: vec![attachment(None), attachment(Some(0)), attachment(Some(14_000))],
            collecting_ms: 12,
        }
    }

    fn name(number: usize) -> RoomName {
        RoomName::new(&format!("r{number}")).expect("valid")
    }

    #[test]
    fn what_a_room_hands_over_arrives_as_it_was() {
        let me = NodeId::new("n1").expect("valid");
        let unborn = Hints::default();
        let rooms = vec![(name(1), hints(3)), (name(2), unborn.clone())];
        let transfer = decode(encode(5, &me, 7, 9, rooms)).expect("readable");
        assert_eq!((transfer.from, transfer.epoch, transfer.fence), (me, 7, 9));
        let expected = BTreeMap::from([(name(1), hints(3)), (name(2), unborn)]);
        assert_eq!((transfer.rooms, transfer.partial), (expected, false));
    }

    #[test]
    fn the_largest_rooms_are_left_out_when_not_all_fit() {
        let large = (name(0), hints(40_000));
        let small = |number| (name(number), hints(100));
        let rooms: Vec<_> = std::iter::once(large).chain((1..100).map(small)).collect();
        let (fitting, partial) = fit(rooms);
        assert!(partial);
        assert_eq!(fitting.len(), 99);
        assert!(fitting.iter().all(|(room, _)| *room != name(0)));
    }

    #[test]
    fn an_unknown_kind_of_content_refuses_the_transfer() {
        let me = NodeId::new("n1").expect("valid");
        let mut request = encode(5, &me, 7, 9, vec![(name(1), hints(3))]);
        request.rooms[0].ids[0].kind = 77;
        assert!(decode(request).expect_err("refused").contains("77"));
    }
}
