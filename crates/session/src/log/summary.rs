//! A room at a glance: one shared push for all who list the room without reading it.

use std::sync::Arc;

use model::{ContentKind, FoldedPost, LogId, RoomName, Says, Seq, ServerFrame, Summary};

use super::ephemeral::Shared;
use super::frame::Frame;

/// What is pushed about a room, and when it was last.
#[derive(Debug, Default)]
pub(super) struct Glance {
    readers: u32,
    last: Option<Last>,
    /// The owner's word stands up to here; later posts are taken from the log.
    seeded: Seq,
    is_stale: bool,
    pushed_ms: Option<u64>,
    due_ms: Option<u64>,
    version: u64,
    frame: Option<Arc<Shared>>,
}

/// The newest post.
#[derive(Debug)]
struct Last {
    /// Unknown when the owner told of it.
    seq: Option<Seq>,
    ordinal: u64,
    post: FoldedPost,
}

impl Glance {
    pub(super) fn join(&mut self) {
        self.readers += 1;
    }

    /// Answers whether nobody is left.
    pub(super) fn leave(&mut self) -> bool {
        self.readers = self.readers.saturating_sub(1);
        self.readers == 0
    }

    /// The newest push and its number; a reader that has seen this number has seen all.
    pub(super) fn current(&self) -> Option<(u64, &Arc<Shared>)> {
        self.frame.as_ref().map(|frame| (self.version, frame))
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// When the next push is due, in milliseconds.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Takes the owner's answer to one reader as the room's newest post.
    pub(super) fn seed(&mut self, summary: &Summary) {
        if summary.head < self.seeded {
            return;
        }
        self.is_stale = false;
        let is_newer = self.last.as_ref().is_none_or(|last| last.ordinal <= summary.ordinal);
        if let Some(post) = summary.last.clone().filter(|_| is_newer) {
            let seq =
                self.last.as_ref().filter(|l| l.ordinal == summary.ordinal).and_then(|l| l.seq);
            self.last = Some(Last { seq, ordinal: summary.ordinal, post });
        }
        self.seeded = summary.head;
    }

    /// The log goes on.
    pub(super) fn append(&mut self, frame: &Frame) {
        if frame.kind == ContentKind::Post {
            self.last = Some(Last {
                seq: Some(frame.seq),
                ordinal: frame.ordinal,
                post: FoldedPost { payload: frame.payload(), edit: None, reactions: Vec::new() },
            });
        }
    }

    /// The log went on unseen. The newest post may be another one: one of the readers asks the owner,
    /// and what it is told is pushed to all.
    pub(super) fn jump(&mut self) {
        self.is_stale = true;
    }

    /// Whether the owner has to be asked; whoever is told so asks.
    pub(super) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.is_stale)
    }

    /// Entries were blanked; answers whether the newest post was among them.
    pub(super) fn erase(&mut self, tombstones: &[Arc<Frame>]) -> bool {
        let Some(last) = &mut self.last else {
            return false;
        };
        // Without its number the post is known by its ordinal, which edits and reactions behind it
        // share: but a redacted post stands before its blanked edits.
        let hit = match last.seq {
            Some(seq) => tombstones.iter().find(|tombstone| tombstone.seq == seq),
            None => tombstones.iter().min_by_key(|t| t.seq).filter(|t| t.ordinal == last.ordinal),
        };
        match hit {
            None => false,
            Some(hit) => {
                last.post =
                    FoldedPost { payload: hit.payload(), edit: None, reactions: Vec::new() };
                true
            }
        }
    }

    /// Another log: what was known of the old one says nothing.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.seeded = 0;
    }

    /// Something changed: it is pushed at `max(now, last push + interval)`.
    pub(super) fn schedule(&mut self, now_ms: u64, interval_ms: u64) {
        let earliest = self.pushed_ms.map_or(now_ms, |pushed| now_ms.max(pushed + interval_ms));
        self.due_ms.get_or_insert(earliest);
    }

    /// Makes the push that was due.
    pub(super) fn push(
        &mut self,
        now_ms: u64,
        room: &RoomName,
        log: &LogId,
        head: Seq,
        ordinal: u64,
    ) {
        let last = self.last.as_ref().map(|last| last.post.clone());
        let summary = Summary { log: log.clone(), head, ordinal, mark: None, last };
        let says = Says::Summary { room: room.clone(), summary: Box::new(summary) };
        self.frame = Some(Arc::new(Shared::new(ServerFrame { r#ref: 0, says })));
        self.version += 1;
        self.pushed_ms = Some(now_ms);
        self.due_ms = None;
    }
}
