//! What an edge and an owner say to each other: words to the link's messages and back.
//!
//! Payloads and contents are slices of the buffer that a frame came in, never copies: whoever keeps one for
//! long (an edge's ring) copies it, so that a small slice does not hold a large buffer.
//!
//! What arrives was checked where it came in, but names are checked again: a value of a name type has
//! passed its check on this node.

mod answer;
mod ask;
mod fed;

use model::{ContentKind, Entry, Epoch, FoldedPost, NodeId, Page, SlotNo};

use crate::codec::{Unreadable, words};
use crate::link as pb;

pub use answer::{decode_answer, encode_answer};
pub use ask::{decode_ask, encode_ask};
pub use fed::{decode_fed, encode_fed};

/// Entries for a feed or a segment.
#[must_use]
pub fn encode_entries(entries: &[Entry]) -> Vec<pb::Entry> {
    let one = |entry: &Entry| pb::Entry {
        seq: entry.seq,
        ordinal: entry.ordinal,
        kind: entry.kind as u32,
        payload: entry.payload.clone(),
    };
    entries.iter().map(one).collect()
}

/// The same, read.
///
/// # Errors
/// [`Unreadable`] for a kind of content that this version does not know.
pub fn decode_entries(entries: Vec<pb::Entry>) -> Result<Vec<Entry>, Unreadable> {
    let one = |entry: pb::Entry| {
        let kind = kind(entry.kind)?;
        Ok(Entry { seq: entry.seq, ordinal: entry.ordinal, kind, payload: entry.payload })
    };
    entries.into_iter().map(one).collect()
}

/// Where a slot went.
#[must_use]
pub fn encode_moved(slot: SlotNo, epoch: Epoch, owner: &NodeId) -> pb::Moved {
    pb::Moved { slot, epoch, node: owner.as_str().to_owned() }
}

/// The same, read.
///
/// # Errors
/// [`Unreadable`] if the owner's name is none.
pub fn decode_moved(moved: &pb::Moved) -> Result<(SlotNo, Epoch, NodeId), Unreadable> {
    let owner = NodeId::new(&moved.node).map_err(words::named)?;
    Ok((moved.slot, moved.epoch, owner))
}

fn kind(number: u32) -> Result<ContentKind, Unreadable> {
    let known = u8::try_from(number).ok().and_then(ContentKind::from_u8);
    known.ok_or_else(|| Unreadable::new(format!("there is no content of kind {number}")))
}

fn missing(what: &str) -> Unreadable {
    Unreadable::new(format!("{what} is missing"))
}

fn page_to(page: &Page) -> pb::Page {
    pb::Page {
        posts: page.posts.iter().map(post_to).collect(),
        first: page.first,
        more: page.more,
        as_of: page.as_of,
        mine: words::mine_to(&page.mine),
    }
}

fn page_from(page: Option<pb::Page>) -> Result<Page, Unreadable> {
    let page = page.ok_or_else(|| missing("a page"))?;
    Ok(Page {
        posts: page.posts.into_iter().map(post_from).collect::<Result<_, _>>()?,
        first: page.first,
        more: page.more,
        as_of: page.as_of,
        mine: words::mine_from(page.mine),
    })
}

fn post_to(post: &FoldedPost) -> pb::FoldedPost {
    let (edited_at_ms, edit) = post.edit.clone().unwrap_or_default();
    let reactions = words::reactions_to(&post.reactions);
    pb::FoldedPost { payload: post.payload.clone(), edited_at_ms, edit, reactions }
}

fn post_from(post: pb::FoldedPost) -> Result<FoldedPost, Unreadable> {
    let edited = post.edited_at_ms > 0 || !post.edit.is_empty();
    Ok(FoldedPost {
        payload: post.payload,
        edit: edited.then_some((post.edited_at_ms, post.edit)),
        reactions: words::reactions_from(post.reactions)?,
    })
}
