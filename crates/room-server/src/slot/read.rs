//! What rooms read, in calls of the journal.

use journal::{Journal, PageRead, ReadError, RoomHead};
use model::limits::PAGE_BYTES_MAX;
use model::{ContentKind, HistoryAnchor, Record, RoomName, Seq, StateKey, UserId};
use room::{Head, IdRow, PageDone, Read, ReadDone, ReadFailed};

/// Entries of one read when a log's end is read after a claim.
const TAIL_ENTRIES: usize = 1_024;
/// Bytes of one such read.
const TAIL_BYTES: usize = 8 * 1024 * 1024;
/// Entries of one page of what speaks of a post.
const CHANGES_PAGE: usize = 256;

/// Carries out a room's read.
pub(super) async fn read(
    journal: &dyn Journal,
    room: &RoomName,
    read: Read,
) -> Result<ReadDone, ReadFailed> {
    let done = match read {
        Read::Page { anchor, limit, user, states } => {
            ReadDone::Page(page(journal, room, anchor, limit, &user, states).await?)
        }
        Read::States(keys) => ReadDone::States(states(journal, room, keys).await?),
        Read::Ids { from, to } => ReadDone::Ids(ids(journal, room, from, to).await?),
        Read::Target { target } => target_of(journal, room, target).await?,
        Read::Changes { target, edits, redact } => {
            ReadDone::Changes(changes(journal, room, target, edits, redact).await?)
        }
        Read::At { seq, states: keys } => {
            let rows = ids(journal, room, seq, seq).await?;
            let row = rows.first().ok_or_else(|| missing(seq))?;
            ReadDone::At { ordinal: row.ordinal, states: states(journal, room, keys).await? }
        }
    };
    Ok(done)
}

/// Where a room stands, and everything above `after`.
pub(super) async fn tail(
    journal: &dyn Journal,
    room: &RoomName,
    after: Seq,
) -> Result<(Option<Head>, Vec<Record>), ReadError> {
    let Some(head) = journal.head(room).await? else {
        return Ok((None, Vec::new()));
    };
    let mut records: Vec<Record> = Vec::new();
    let mut next = (after + 1).max(head.first);
    while next <= head.head {
        let page = journal.range(room, next, TAIL_ENTRIES, TAIL_BYTES).await?;
        let Some(last) = page.last() else { break };
        next = last.seq + 1;
        records.extend(page);
    }
    Ok((Some(head_of(head)), records))
}

/// What a room is opened with: where it stands, and its newest few entries.
pub(super) async fn opening(
    journal: &dyn Journal,
    room: &RoomName,
    recent: usize,
) -> Result<(Option<Head>, Vec<Record>), ReadError> {
    let Some(head) = journal.head(room).await? else {
        return Ok((None, Vec::new()));
    };
    let records = if head.first > head.head {
        Vec::new()
    } else {
        journal.range_back(room, head.head + 1, recent, TAIL_BYTES).await?
    };
    Ok((Some(head_of(head)), records))
}

async fn page(
    journal: &dyn Journal,
    room: &RoomName,
    anchor: HistoryAnchor,
    limit: u32,
    user: &UserId,
    keys: Vec<StateKey>,
) -> Result<PageDone, ReadFailed> {
    let page = journal.page(room, anchor, limit, PAGE_BYTES_MAX, Some(user)).await;
    let page = page.map_err(failed)?;
    let states = states(journal, room, keys).await?;
    Ok(match page {
        Some(PageRead { head, posts, more, mine }) => {
            PageDone { head: Some(head_of(head)), posts, more, mine, states }
        }
        None => PageDone { head: None, posts: Vec::new(), more: false, mine: Vec::new(), states },
    })
}

async fn states(
    journal: &dyn Journal,
    room: &RoomName,
    keys: Vec<StateKey>,
) -> Result<Vec<Option<bytes::Bytes>>, ReadFailed> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    journal.states(room, keys).await.map_err(failed)
}

async fn ids(
    journal: &dyn Journal,
    room: &RoomName,
    from: Seq,
    to: Seq,
) -> Result<Vec<IdRow>, ReadFailed> {
    let rows = journal.ids(room, from, to).await.map_err(failed)?;
    Ok(rows.into_iter().map(id_row).collect())
}

async fn target_of(
    journal: &dyn Journal,
    room: &RoomName,
    target: Seq,
) -> Result<ReadDone, ReadFailed> {
    let records = journal.range(room, target, 1, 1).await.map_err(failed)?;
    let record = records.into_iter().next().ok_or_else(|| missing(target))?;
    let fold = states(journal, room, vec![StateKey::Fold(target)]).await?.pop().flatten();
    Ok(ReadDone::Target { record, fold })
}

async fn changes(
    journal: &dyn Journal,
    room: &RoomName,
    target: Seq,
    edits: u32,
    redact: bool,
) -> Result<Vec<Record>, ReadFailed> {
    let mut found = Vec::new();
    let mut after = target;
    loop {
        let page = journal.by_target(room, target, after, CHANGES_PAGE).await.map_err(failed)?;
        let Some(last) = page.last() else {
            return Ok(found);
        };
        after = last.seq;
        let is_last = page.len() < CHANGES_PAGE;
        found.extend(page.into_iter().filter(|record| {
            use ContentKind::{Edit, Redact, Tombstone};
            matches!(record.kind, Edit | Redact | Tombstone)
        }));
        let edits_found = found.iter().filter(|r| r.kind != ContentKind::Redact).count();
        if is_last || (!redact && edits_found >= edits as usize) {
            return Ok(found);
        }
    }
}

fn missing(seq: Seq) -> ReadFailed {
    ReadFailed::Corrupt(format!("entry {seq} lies within the log and cannot be found"))
}

fn failed(error: ReadError) -> ReadFailed {
    match error {
        ReadError::Unavailable(why) => ReadFailed::Unavailable(why),
        ReadError::Trimmed { first } => ReadFailed::Trimmed { first },
        ReadError::Corrupt(why) => ReadFailed::Corrupt(why),
    }
}

pub(super) fn head_of(head: RoomHead) -> Head {
    let RoomHead { log, first, head, ordinal, at_ms, first_ordinal } = head;
    Head { log, first, head, ordinal, at_ms, first_ordinal }
}

fn id_row(row: journal::IdRow) -> IdRow {
    IdRow {
        seq: row.seq,
        ordinal: row.ordinal,
        at_ms: row.at_ms,
        user: row.user,
        id: row.id,
        kind: row.kind,
        digest: row.digest,
    }
}
