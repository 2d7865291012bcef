//! A folded page, by the rules of `crate::page`, in two round trips of one snapshot.

use bytes::Bytes;
use model::{HistoryAnchor, Record, RoomName, Seq, StateKey, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::conn::Conn;
use super::reads::ask;
use super::rows::{
    ENTRY_COLUMNS, ROOM_COLUMNS, at, entry, entry_columns, get, payload, room_columns, room_row,
    slot_number, state,
};
use crate::format::RoomRow;
use crate::page::{self, Span};
use crate::{PageRead, ReadError};

type Read<T> = Result<T, ReadError>;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The room, and the ordinal at the entry from which the page is counted.
const ROOM: &str = concat!(
    "SELECT ",
    room_columns!(),
    ", (SELECT e.ordinal FROM parlour_entry e
        WHERE e.slot = r.slot AND e.room = r.room AND e.seq = $2)
    FROM parlour_room r WHERE r.room = $1"
);

/// Posts by ordinal, each with its fold.
const POSTS: &str = concat!(
    "SELECT ",
    entry_columns!(),
    ", e.payload, e.body_sum, f.value, f.sum FROM parlour_entry e
    LEFT JOIN parlour_state f ON f.slot = e.slot AND f.room = e.room AND f.kind = 2
        AND f.seq = e.seq AND f.who = '' AND f.key = ''
    WHERE e.slot = $1 AND e.room = $2 AND e.post AND e.ordinal BETWEEN $3 AND $4
    ORDER BY e.ordinal"
);

/// One user's standing reactions to these posts.
const MINE: &str = "
    SELECT s.seq, s.key FROM parlour_entry e
    JOIN parlour_state s ON s.slot = e.slot AND s.room = e.room AND s.kind = 3 AND s.seq = e.seq
        AND s.who = $5
    WHERE e.slot = $1 AND e.room = $2 AND e.post AND e.ordinal BETWEEN $3 AND $4
    ORDER BY s.seq, s.key";

pub(super) async fn page(
    conn: &Conn,
    room: &RoomName,
    anchor: HistoryAnchor,
    limit: u32,
    bytes_max: usize,
    user: Option<&UserId>,
) -> Read<Option<PageRead>> {
    let unread = |failure: super::outcome::Failure| failure.read_error();
    let seq = at(page::counted_from(anchor).unwrap_or(0));
    let params: [&(dyn ToSql + Sync); 2] = [&room.as_str(), &seq];
    let (begun, found) = tokio::join!(conn.run(BEGIN), ask(conn, ROOM, &params));
    begun.map_err(unread)?;
    let read = match found.and_then(|rows| Counted::of(room, &rows, anchor, limit)) {
        Ok(Some(counted)) => {
            let posts = posts(conn, room, &counted, user).await;
            posts.map(|(posts, mine)| Some(assemble(counted, posts, mine, bytes_max)))
        }
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    conn.run("COMMIT").await.map_err(unread)?;
    read
}

/// A room and which of its posts a page holds.
struct Counted {
    row: RoomRow,
    span: Span,
}

impl Counted {
    fn of(
        room: &RoomName,
        rows: &[Row],
        anchor: HistoryAnchor,
        limit: u32,
    ) -> Read<Option<Counted>> {
        let Some(first) = rows.first() else { return Ok(None) };
        let Some(row) = room_row(first, 0)? else { return Ok(None) };
        let stored: Option<i64> = get(first, ROOM_COLUMNS)?;
        let ordinal_at = |seq: Seq| {
            stored.map(|ordinal| ordinal as u64).ok_or_else(|| crate::read::hole(room, seq))
        };
        let span = page::span(&row.head, anchor, limit, ordinal_at)?;
        Ok(Some(Counted { row, span }))
    }
}

type Post = (Record, Option<Bytes>);

async fn posts(
    conn: &Conn,
    room: &RoomName,
    counted: &Counted,
    user: Option<&UserId>,
) -> Read<(Vec<Post>, Vec<(Seq, String)>)> {
    let ordinals = &counted.span.ordinals;
    let (slot, name) = (slot_number(counted.row.slot), room.as_str());
    let (from, to) = (at(*ordinals.start()), at(*ordinals.end()));
    let who = user.map_or("", UserId::as_str);
    let params: [&(dyn ToSql + Sync); 5] = [&slot, &name, &from, &to, &who];
    let rows = ask(conn, POSTS, &params[..4]);
    let (rows, mine) = match user {
        None => (rows.await?, Vec::new()),
        Some(_) => {
            let (rows, mine) = tokio::join!(rows, ask(conn, MINE, &params));
            (rows?, mine?)
        }
    };
    let mut posts = Vec::with_capacity(rows.len());
    let mut found = rows.iter();
    for ordinal in ordinals.clone() {
        let missing = || ReadError::Corrupt(format!("{room}: post {ordinal} is missing"));
        let row = found.next().ok_or_else(missing)?;
        let record = payload(room, entry(room, row, 0)?, row, ENTRY_COLUMNS)?;
        if record.ordinal != ordinal {
            return Err(missing());
        }
        let fold = state(room, &StateKey::Fold(record.seq), row, ENTRY_COLUMNS + 2)?;
        posts.push((record, fold));
    }
    let mine = mine.iter().map(|row| {
        let key = std::str::from_utf8(get(row, 1)?);
        let key = key.map_err(|_| ReadError::Corrupt(format!("{room}: a key is not text")))?;
        Ok((get::<i64>(row, 0)? as u64, key.to_owned()))
    });
    Ok((posts, mine.collect::<Read<_>>()?))
}

fn assemble(
    counted: Counted,
    posts: Vec<Post>,
    mine: Vec<(Seq, String)>,
    bytes_max: usize,
) -> PageRead {
    let (posts, more) = page::cut(&counted.span, posts, bytes_max);
    let mut listed: Vec<(Seq, Vec<String>)> = Vec::new();
    for (seq, key) in mine {
        let post = posts.iter().find(|(post, _)| post.seq == seq);
        if !post.is_some_and(|(_, fold)| page::is_reacted_to(fold.as_ref())) {
            continue;
        }
        match listed.last_mut() {
            Some((last, keys)) if *last == seq => keys.push(key),
            _ => listed.push((seq, vec![key])),
        }
    }
    PageRead { head: counted.row.head, posts, more, mine: listed }
}
