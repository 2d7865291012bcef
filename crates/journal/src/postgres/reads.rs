//! Reads. Each is one statement, hence one snapshot; the room's row comes with it.

use bytes::Bytes;
use model::{Fence, Record, RoomName, Seq, SlotNo, StateKey};
use tokio_postgres::Row;

use super::conn::{Conn, Params};
use super::rows::{
    ENTRY_COLUMNS, ROOM_COLUMNS, at, entry, entry_columns, get, payload, room_columns, room_row,
    slot_number, state, state_columns,
};
use crate::format::RoomRow;
use crate::read::{Budget, hole};
use crate::{IdRow, ReadError, RoomEntry, RoomHead};

type Read<T> = Result<T, ReadError>;

const HEAD: &str = concat!("SELECT ", room_columns!(), " FROM parlour_room r WHERE r.room = $1");

/// Entries with their payloads, and how many bytes lie before each: those that may fit and one more,
/// which shows that the answer was cut and not damaged.
macro_rules! entries {
    ($bounds:literal, $order:literal) => {
        concat!(
            "SELECT ",
            room_columns!(),
            ", ",
            entry_columns!(),
            ", e.payload, e.body_sum FROM parlour_room r LEFT JOIN LATERAL (
                SELECT *, sum(length(e.payload)) OVER (ORDER BY e.seq ",
            $order,
            " ROWS UNBOUNDED PRECEDING) - length(e.payload) AS before FROM (
                    SELECT * FROM parlour_entry e
                    WHERE e.slot = r.slot AND e.room = r.room AND ",
            $bounds,
            " ORDER BY e.seq ",
            $order,
            " LIMIT $3) AS e
            ) AS e ON e.before <= $4 WHERE r.room = $1 ORDER BY e.seq ",
            $order
        )
    };
}
const RANGE: &str = entries!("e.seq >= greatest($2, r.first) AND e.seq <= r.head", "");
const RANGE_BACK: &str = entries!("e.seq < $2 AND e.seq >= r.first AND e.seq <= r.head", "DESC");

const IDS: &str = concat!(
    "SELECT ",
    room_columns!(),
    ", ",
    entry_columns!(),
    " FROM parlour_room r LEFT JOIN parlour_entry e ON e.slot = r.slot AND e.room = r.room
        AND e.seq >= greatest($2, r.first) AND e.seq <= least($3, r.head)
    WHERE r.room = $1 ORDER BY e.seq"
);

const BY_TARGET: &str = concat!(
    "SELECT ",
    entry_columns!(),
    ", e.payload, e.body_sum FROM parlour_room r
    JOIN parlour_entry e ON e.slot = r.slot AND e.room = r.room AND e.target = $2
        AND e.target > 0 AND e.target >= r.first AND e.seq > $3 AND e.seq >= r.first
    WHERE r.room = $1 ORDER BY e.seq LIMIT $4"
);

const STATES: &str = "
    SELECT s.value, s.sum
    FROM unnest($2::smallint[], $3::bigint[], $4::text[], $5::bytea[])
        WITH ORDINALITY AS k(kind, seq, who, key, number)
    LEFT JOIN parlour_room r ON r.room = $1
    LEFT JOIN parlour_state s ON s.slot = r.slot AND s.room = r.room AND s.kind = k.kind
        AND s.seq = k.seq AND s.who = k.who AND s.key = k.key
        AND (s.kind = 1 OR s.seq >= r.first)
    ORDER BY k.number";

const VERIFY: &str = "
    SELECT a.slot FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS a(slot, fence, nonce)
    LEFT JOIN parlour_slot s ON s.slot = a.slot
    WHERE s.fence IS DISTINCT FROM a.fence OR s.nonce IS DISTINCT FROM a.nonce";

const ROOMS: &str = concat!(
    "SELECT r.room, ",
    room_columns!(),
    " FROM parlour_room r WHERE r.room > $1 ORDER BY r.room LIMIT $2"
);
const ROOMS_OF_SLOT: &str = concat!(
    "SELECT r.room, ",
    room_columns!(),
    " FROM parlour_room r WHERE r.room > $1 AND r.slot = $3 ORDER BY r.slot, r.room LIMIT $2"
);

/// Asks, and says what a failure means for a read.
pub(super) async fn ask(conn: &Conn, sql: &'static str, params: Params<'_>) -> Read<Vec<Row>> {
    conn.query(sql, params).await.map_err(|failure| failure.read_error())
}

pub(super) async fn head(conn: &Conn, room: &RoomName) -> Read<Option<RoomHead>> {
    let rows = ask(conn, HEAD, &[&room.as_str()]).await?;
    Ok(first_room(&rows)?.map(|row| row.head))
}

/// The room's row, which stands at the front of every row.
fn first_room(rows: &[Row]) -> Read<Option<RoomRow>> {
    rows.first().map_or(Ok(None), |row| room_row(row, 0))
}

/// Whether the outer join found an entry in this row.
fn has_entry(row: &Row) -> bool {
    matches!(get::<Option<i64>>(row, ROOM_COLUMNS), Ok(Some(_)))
}

pub(super) async fn range(
    conn: &Conn,
    room: &RoomName,
    from: Seq,
    limit: usize,
    bytes_max: usize,
) -> Read<Vec<Record>> {
    let from = from.max(1);
    let (limit_no, bytes_no) = (at(limit as u64), at(bytes_max as u64));
    let rows = ask(conn, RANGE, &[&room.as_str(), &at(from), &limit_no, &bytes_no]).await?;
    let Some(RoomRow { head, .. }) = first_room(&rows)? else {
        return Ok(Vec::new());
    };
    if from < head.first {
        return Err(ReadError::Trimmed { first: head.first });
    }
    let to = head.head.min(from.saturating_add(limit as u64 - u64::from(limit > 0)));
    if from > to || limit == 0 {
        return Ok(Vec::new());
    }
    dense(room, &rows, from..=to, bytes_max)
}

pub(super) async fn range_back(
    conn: &Conn,
    room: &RoomName,
    before: Seq,
    limit: usize,
    bytes_max: usize,
) -> Read<Vec<Record>> {
    let (limit_no, bytes_no) = (at(limit as u64), at(bytes_max as u64));
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&room.as_str(), &at(before), &limit_no, &bytes_no];
    let rows = ask(conn, RANGE_BACK, &params).await?;
    let Some(RoomRow { head, .. }) = first_room(&rows)? else {
        return Ok(Vec::new());
    };
    let before = before.min(head.head + 1);
    if before < head.first {
        return Err(ReadError::Trimmed { first: head.first });
    }
    let from = head.first.max(before.saturating_sub(limit as u64)).max(1);
    let mut records = dense(room, &rows, (from..before).rev(), bytes_max)?;
    records.reverse();
    Ok(records)
}

/// The entries with these numbers, each of which must be the next row, until the bytes are used up.
fn dense(
    room: &RoomName,
    rows: &[Row],
    seqs: impl Iterator<Item = Seq>,
    bytes_max: usize,
) -> Read<Vec<Record>> {
    let mut budget = Budget::new(bytes_max);
    let mut rows = rows.iter();
    let mut records: Vec<Record> = Vec::new();
    for seq in seqs {
        // Behind a first entry that is too large alone nothing was asked for.
        if records.len() == 1 && records[0].payload.len() > bytes_max {
            break;
        }
        let record = next(room, seq, rows.next(), true)?;
        if !budget.takes(record.payload.len()) {
            break;
        }
        records.push(record);
    }
    Ok(records)
}

fn next(room: &RoomName, seq: Seq, row: Option<&Row>, with_payload: bool) -> Read<Record> {
    let row = row.filter(|row| has_entry(row)).ok_or_else(|| hole(room, seq))?;
    let record = entry(room, row, ROOM_COLUMNS)?;
    if record.seq != seq {
        return Err(hole(room, seq));
    }
    if !with_payload {
        return Ok(record);
    }
    payload(room, record, row, ROOM_COLUMNS + ENTRY_COLUMNS)
}

pub(super) async fn ids(conn: &Conn, room: &RoomName, from: Seq, to: Seq) -> Read<Vec<IdRow>> {
    let from = from.max(1);
    let rows = ask(conn, IDS, &[&room.as_str(), &at(from), &at(to)]).await?;
    let Some(RoomRow { head, .. }) = first_room(&rows)? else {
        return Ok(Vec::new());
    };
    if from < head.first {
        return Err(ReadError::Trimmed { first: head.first });
    }
    let mut rows = rows.iter();
    let seqs = from..=to.min(head.head);
    seqs.map(|seq| Ok(next(room, seq, rows.next(), false)?.into())).collect()
}

pub(super) async fn by_target(
    conn: &Conn,
    room: &RoomName,
    target: Seq,
    after: Seq,
    limit: usize,
) -> Read<Vec<Record>> {
    let limit = at(limit as u64);
    let rows = ask(conn, BY_TARGET, &[&room.as_str(), &at(target), &at(after), &limit]).await?;
    rows.iter().map(|row| payload(room, entry(room, row, 0)?, row, ENTRY_COLUMNS)).collect()
}

pub(super) async fn states(
    conn: &Conn,
    room: &RoomName,
    keys: &[StateKey],
) -> Read<Vec<Option<Bytes>>> {
    let (mut kinds, mut seqs, mut whos, mut names) = (vec![], vec![], vec![], vec![]);
    for key in keys {
        let (kind, seq, who, name) = state_columns(key);
        kinds.push(kind);
        seqs.push(seq);
        whos.push(who);
        names.push(name);
    }
    let rows = ask(conn, STATES, &[&room.as_str(), &kinds, &seqs, &whos, &names]).await?;
    keys.iter().zip(&rows).map(|(key, row)| state(room, key, row, 0)).collect()
}

/// Slots that somebody else claimed, of these with the fences and nonces of their claims; in one query.
pub(super) async fn verify(conn: &Conn, claims: &[(SlotNo, Fence, u64)]) -> Read<Vec<SlotNo>> {
    let slots: Vec<i32> = claims.iter().map(|(slot, ..)| slot_number(*slot)).collect();
    let fences: Vec<i64> = claims.iter().map(|(_, fence, _)| at(*fence)).collect();
    let nonces: Vec<i64> = claims.iter().map(|(.., nonce)| *nonce as i64).collect();
    let rows = ask(conn, VERIFY, &[&slots, &fences, &nonces]).await?;
    rows.iter().map(|row| get::<i32>(row, 0).map(|slot| slot as SlotNo)).collect()
}

pub(super) async fn rooms(
    conn: &Conn,
    slot: Option<SlotNo>,
    after: Option<&RoomName>,
    limit: usize,
) -> Read<Vec<RoomEntry>> {
    let after = after.map_or("", RoomName::as_str);
    let limit = at(limit as u64);
    let rows = match slot {
        None => ask(conn, ROOMS, &[&after, &limit]).await?,
        Some(slot) => ask(conn, ROOMS_OF_SLOT, &[&after, &limit, &slot_number(slot)]).await?,
    };
    let entry = |row: &Row| {
        let name = RoomName::new(get(row, 0)?);
        let room = name.map_err(|error| ReadError::Corrupt(error.0))?;
        let found = room_row(row, 1)?;
        Ok(found.map(|RoomRow { slot, head }| RoomEntry { room, slot, head }))
    };
    let entries = rows.iter().filter_map(|row| match entry(row) {
        Err(ReadError::Corrupt(why)) => {
            tracing::error!(why, "a damaged room is left out of a walk over all rooms");
            None
        }
        other => other.transpose(),
    });
    entries.collect()
}
