//! Looking at what a store holds entry by entry, where nothing that is stored can be trusted.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{Record, RoomName, Seq, StateKey};

use super::report::{Damage, Report};
use crate::format::{self, RoomRow};
use crate::store::{Space, View};
use crate::{ReadError, keys, read};

/// One room, as far as it can be read.
pub(super) struct Survey {
    pub(super) room: RoomName,
    /// `None` if the row is lost.
    pub(super) row: Option<RoomRow>,
    /// Runs of readable entries, ascending.
    pub(super) runs: Vec<Run>,
}

/// Entries without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// Posts below `first`.
    pub(super) first_ordinal: u64,
}

impl Run {
    pub(super) fn len(&self) -> u64 {
        self.last + 1 - self.first
    }
}

/// All rooms that left a trace.
pub(super) fn rooms(view: &dyn View) -> BTreeSet<RoomName> {
    let rows = view.scan(Space::Meta, keys::rooms(None)).map_while(Result::ok);
    let mut names: BTreeSet<_> =
        rows.filter_map(|(key, _)| keys::room_behind(&key, keys::ROOM_PREFIX)).collect();
    // The index names them again: from each room's rows one jumps behind them.
    let mut from = Vec::new();
    while let Some(Ok((key, _))) = view.scan(Space::Index, from.clone()..vec![0xff]).next() {
        let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
        names.extend(keys::room_behind(name, 0));
        from = [name, &[1]].concat();
    }
    names
}

/// Reads a whole room and tells the report what is wrong with it.
pub(super) fn survey(view: &dyn View, room: &RoomName, report: &mut Report) -> Survey {
    let row = match read::room_row(view, room) {
        Ok(row) => row,
        Err(error) => {
            report.damage.push(of_room(room, error));
            None
        }
    };
    let (first, last) = match &row {
        Some(row) => (row.head.first, row.head.head),
        None => traces(view, room),
    };
    let mut runs: Vec<Run> = Vec::new();
    let mut before: Option<Record> = None;
    let mut seq = first;
    loop {
        match read::record(view, room, seq) {
            Ok(record) => {
                report.entries += 1;
                extend(view, &mut runs, before.as_ref(), &record, room, report);
                before = Some(record);
            }
            // Above what the room's row says there may be more: the row may be an older one.
            Err(_) if seq > last => break,
            Err(error) => {
                report.lost(room, seq, &of_room(room, error).why);
                before = None;
            }
        }
        seq += 1;
    }
    report.rooms += 1;
    Survey { room: room.clone(), row, runs }
}

/// Tells the report which small values of a room cannot be read, and calls `each` with the others.
pub(super) fn states(
    view: &dyn View,
    room: &RoomName,
    report: &mut Report,
    mut each: impl FnMut(&[u8], StateKey, Bytes) -> Result<(), String>,
) -> Result<(), String> {
    let range = keys::states(room);
    let prefix = range.start.len();
    let mut damaged = |why| report.damage.push(Damage { room: room.clone(), from: 0, to: 0, why });
    for row in view.scan(Space::State, range) {
        let (key, row) = match row {
            Ok(row) => row,
            Err(error) => {
                damaged(format!("some markers, folds or reactions: {error:?}"));
                break;
            }
        };
        match (keys::parse_state(&key[prefix..]), format::open(&key, &row)) {
            (Some(state), Ok(body)) => each(&key, state, body)?,
            _ => damaged(format!("the small value at {}", key.escape_ascii())),
        }
    }
    Ok(())
}

fn extend(
    view: &dyn View,
    runs: &mut Vec<Run>,
    before: Option<&Record>,
    record: &Record,
    room: &RoomName,
    report: &mut Report,
) {
    let indexed = ordinal_row(view, room, record.ordinal) == Some(record.seq);
    let is_post = match before {
        Some(before) => record.ordinal > before.ordinal,
        None => indexed || record.kind == model::ContentKind::Post,
    };
    if is_post != indexed {
        let why = format!("post {} is not in the index where it lies", record.ordinal);
        report.damage.push(Damage { room: room.clone(), from: 0, to: 0, why });
    }
    match (runs.last_mut(), before) {
        (Some(run), Some(_)) => run.last = record.seq,
        _ => runs.push(Run {
            first: record.seq,
            last: record.seq,
            first_ordinal: record.ordinal - u64::from(is_post),
        }),
    }
}

fn ordinal_row(view: &dyn View, room: &RoomName, ordinal: u64) -> Option<Seq> {
    let key = keys::ordinal(room, ordinal);
    let row = view.get(Space::Index, &key).ok()??;
    format::number(&mut &format::open(&key, &row).ok()?[..])
}

/// The lowest and highest entry of which there is a header, where the room's row is lost.
fn traces(view: &dyn View, room: &RoomName) -> (Seq, Seq) {
    let headers = || view.scan(Space::Index, keys::headers(room, 0..Seq::MAX));
    let number = |row: Option<crate::store::Row>| keys::last_number(&row?.ok()?.0);
    (number(headers().next()).unwrap_or(1), number(headers().next_back()).unwrap_or(0))
}

fn of_room(room: &RoomName, error: ReadError) -> Damage {
    let why = match error {
        ReadError::Corrupt(why) | ReadError::Unavailable(why) => why,
        ReadError::Trimmed { first } => format!("trimmed up to {first}"),
    };
    Damage { room: room.clone(), from: 0, to: 0, why }
}
