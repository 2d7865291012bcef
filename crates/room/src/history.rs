//! A page as readers get it, made of a page as it lies in the journal.
//!
//! Apart from those who ask because a page is the same for all of them but for `mine`.

use model::{ContentKind, ContentState, Fold, FoldedPost, Page};

use crate::PageDone;

/// Decodes the folds. What is left of a redacted post has none.
pub(crate) fn fold(done: PageDone) -> Result<Page, String> {
    let posts = done
        .posts
        .into_iter()
        .map(|(record, bytes)| {
            let fold = match bytes {
                Some(bytes) if record.kind != ContentKind::Tombstone => Fold::from_bytes(&bytes)
                    .ok_or_else(|| format!("what became of entry {} cannot be read", record.seq))?,
                _ => Fold::default(),
            };
            Ok(FoldedPost { payload: record.payload, edit: fold.edit, reactions: fold.reactions })
        })
        .collect::<Result<Vec<FoldedPost>, String>>()?;
    let (first, as_of) = done.head.map_or((0, 0), |head| (head.first, head.head));
    Ok(Page { posts, first, more: done.more, as_of, mine: done.mine })
}
