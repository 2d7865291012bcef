//! A folded page.
//!
//! The posts of a room carry the ordinals 1, 2, 3 … without a hole, so a page is an interval of
//! ordinals, found by arithmetic; the index says where in the log each of them lies.

use std::ops::RangeInclusive;

use bytes::Bytes;
use model::limits::PAGE_POSTS_MAX;
use model::{ContentState, Fold, HistoryAnchor, Record, RoomName, Seq, StateKey, UserId};

use crate::read::{self, Budget};
use crate::store::{Space, View};
use crate::{PageRead, ReadError, RoomHead, format, keys};

type Read<T> = Result<T, ReadError>;

/// Entries are read by a scan while at most this many lie in the span for each post of the page;
/// beyond, one by one.
const SCAN_ENTRIES_PER_POST: u64 = 4;

pub(crate) fn page(
    view: &dyn View,
    room: &RoomName,
    anchor: HistoryAnchor,
    limit: u32,
    bytes_max: usize,
    user: Option<&UserId>,
) -> Read<Option<PageRead>> {
    let Some(head) = read::head(view, room)? else {
        return Ok(None);
    };
    let ordinal_at = |seq| Ok(read::header(view, room, seq)?.ordinal);
    let span = span(&head, anchor, limit, ordinal_at)?;
    let seqs = seqs(view, room, &span.ordinals)?;
    let posts = posts(view, room, &seqs)?.into_iter().map(|post| (post, None)).collect();
    let (posts, more) = cut(&span, posts, bytes_max);
    let posts: Vec<Record> = posts.into_iter().map(|(post, _)| post).collect();
    let folds = folds(view, room, &posts)?;
    let mine = match user {
        Some(user) => mine(view, room, &posts, &folds, user)?,
        None => Vec::new(),
    };
    Ok(Some(PageRead { head, posts: posts.into_iter().zip(folds).collect(), more, mine }))
}

/// From which end a page is filled, so that a bound on bytes cuts the other one.
#[derive(Clone, Copy)]
enum Grow {
    Up,
    Down,
    /// Both ways, from this index on.
    Outward(usize),
}

/// Which posts a page holds, before bytes are counted.
pub(crate) struct Span {
    pub(crate) ordinals: RangeInclusive<u64>,
    more: bool,
    grow: Grow,
}

/// The entry whose ordinal tells where a page begins or ends; `None` where the head's does.
pub(crate) fn counted_from(anchor: HistoryAnchor) -> Option<Seq> {
    match anchor {
        HistoryAnchor::Newest => None,
        HistoryAnchor::After(seq) => Some(seq),
        HistoryAnchor::Before(seq) | HistoryAnchor::Around(seq) => Some(seq.saturating_sub(1)),
    }
}

/// The posts that an anchor means. `ordinal_at` is asked at most for the entry [`counted_from`], and
/// only if it lies between first and head.
pub(crate) fn span(
    head: &RoomHead,
    anchor: HistoryAnchor,
    limit: u32,
    ordinal_at: impl FnOnce(Seq) -> Read<u64>,
) -> Read<Span> {
    let limit = u64::from(limit.min(PAGE_POSTS_MAX));
    let (lowest, highest) = (head.first_ordinal + 1, head.ordinal);
    let down_from = |top: u64| {
        let bottom = (top + 1).saturating_sub(limit).max(lowest);
        Span { ordinals: bottom..=top, more: bottom > lowest && top >= lowest, grow: Grow::Down }
    };
    // Posts up to and including the entry that is counted from.
    let below = match counted_from(anchor) {
        None => highest,
        Some(seq) if seq < head.first => head.first_ordinal,
        Some(seq) if seq >= head.head => highest,
        Some(seq) => ordinal_at(seq)?,
    };
    Ok(match anchor {
        HistoryAnchor::Newest | HistoryAnchor::Before(_) => down_from(below),
        HistoryAnchor::After(_) => {
            let bottom = below + 1;
            let top = (bottom + limit - 1).min(highest);
            Span { ordinals: bottom..=top, more: top < highest, grow: Grow::Up }
        }
        HistoryAnchor::Around(_) => {
            let pivot = below + 1;
            // Near an end the other side gets what is left over.
            let bottom = pivot.saturating_sub(limit / 2).max(lowest);
            let top = (bottom + limit - 1).min(highest);
            let bottom = (top + 1).saturating_sub(limit).max(lowest);
            let grow = Grow::Outward((pivot.min(top).saturating_sub(bottom)) as usize);
            Span { ordinals: bottom..=top, more: bottom > lowest, grow }
        }
    })
}

/// A post and the bytes of its fold, if it has one and it was read.
type Post = (Record, Option<Bytes>);

/// The posts of a span that fit into `bytes_max`, and whether there are more.
pub(crate) fn cut(span: &Span, mut posts: Vec<Post>, bytes_max: usize) -> (Vec<Post>, bool) {
    let kept = within(&posts, span.grow, bytes_max);
    let cut_below = kept.start > 0;
    let cut_above = kept.end < posts.len();
    posts.truncate(kept.end);
    posts.drain(..kept.start);
    let more = match span.grow {
        Grow::Up => span.more || cut_above,
        Grow::Down | Grow::Outward(_) => span.more || cut_below,
    };
    (posts, more)
}

/// Whether a post's fold counts reactions, so that somebody's own may stand.
pub(crate) fn is_reacted_to(fold: Option<&Bytes>) -> bool {
    let fold = fold.and_then(|fold| Fold::from_bytes(fold));
    fold.is_some_and(|fold| !fold.reactions.is_empty())
}

fn seqs(view: &dyn View, room: &RoomName, ordinals: &RangeInclusive<u64>) -> Read<Vec<Seq>> {
    if ordinals.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = view.scan(
        Space::Index,
        keys::ordinals(room, *ordinals.start()..ordinals.end().saturating_add(1)),
    );
    ordinals
        .clone()
        .map(|ordinal| {
            let missing = || ReadError::Corrupt(format!("{room}: post {ordinal} is missing"));
            let (key, row) = rows.next().ok_or_else(missing)??;
            if keys::last_number(&key) != Some(ordinal) {
                return Err(missing());
            }
            let body = format::open(&key, &row)?;
            format::number(&mut &body[..]).ok_or_else(|| format::unreadable(&key))
        })
        .collect()
}

fn posts(view: &dyn View, room: &RoomName, seqs: &[Seq]) -> Read<Vec<Record>> {
    let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else {
        return Ok(Vec::new());
    };
    let entries = last.saturating_sub(*first) + 1;
    if entries > seqs.len() as u64 * SCAN_ENTRIES_PER_POST {
        return seqs.iter().map(|seq| read::record(view, room, *seq)).collect();
    }
    let records = read::range(view, room, *first, entries as usize, usize::MAX)?;
    Ok(records.into_iter().filter(|record| seqs.binary_search(&record.seq).is_ok()).collect())
}

/// Which of the posts fit into `bytes_max`: a run of them, at least one.
fn within(posts: &[Post], grow: Grow, bytes_max: usize) -> std::ops::Range<usize> {
    let mut budget = Budget::new(bytes_max);
    let (mut start, mut end) = match grow {
        Grow::Up => (0, 0),
        Grow::Down => (posts.len(), posts.len()),
        Grow::Outward(pivot) => (pivot.min(posts.len()), pivot.min(posts.len())),
    };
    let mut upwards = !matches!(grow, Grow::Down);
    while start > 0 || end < posts.len() {
        upwards = if start == 0 {
            true
        } else if end == posts.len() {
            false
        } else {
            upwards
        };
        let index = if upwards { end } else { start - 1 };
        if !budget.takes(posts[index].0.payload.len()) {
            break;
        }
        if upwards {
            end += 1
        } else {
            start -= 1
        }
        upwards = !upwards;
    }
    start..end
}

fn folds(view: &dyn View, room: &RoomName, posts: &[Record]) -> Read<Vec<Option<Bytes>>> {
    let (Some(first), Some(last)) = (posts.first(), posts.last()) else {
        return Ok(Vec::new());
    };
    let mut rows = view.scan(Space::State, keys::folds(room, first.seq..last.seq + 1)).peekable();
    let mut folds = Vec::with_capacity(posts.len());
    for post in posts {
        let key = keys::state(room, &StateKey::Fold(post.seq));
        while matches!(rows.peek(), Some(Ok((found, _))) if found[..] < key[..]) {
            rows.next();
        }
        folds.push(match rows.peek() {
            Some(Ok((found, row))) if found[..] == key[..] => Some(format::open(&key, row)?),
            Some(Err(error)) => return Err(error.clone()),
            _ => None,
        });
    }
    Ok(folds)
}

fn mine(
    view: &dyn View,
    room: &RoomName,
    posts: &[Record],
    folds: &[Option<Bytes>],
    user: &UserId,
) -> Read<Vec<(Seq, Vec<String>)>> {
    let mut mine = Vec::new();
    for (post, fold) in posts.iter().zip(folds) {
        if !is_reacted_to(fold.as_ref()) {
            continue;
        }
        let range = keys::reactions_of(room, post.seq, user);
        let prefix = range.start.len();
        let keys = view
            .scan(Space::State, range)
            .map(|row| {
                let (key, _) = row?;
                let text = key.get(prefix..).and_then(|text| std::str::from_utf8(text).ok());
                Ok(text.ok_or_else(|| format::unreadable(&key))?.to_owned())
            })
            .collect::<Read<Vec<String>>>()?;
        if !keys.is_empty() {
            mine.push((post.seq, keys));
        }
    }
    Ok(mine)
}
