//! A room at a glance: one shared push for all who list the room without reading it.

use std::sync::Arc;

use model::{ContentKind, FoldedPost, LogId, RoomName, Says, Seq, ServerFrame, Summary};

use super::ephemeral::Shared;
use super::frame::Frame;

/// What is pushed about a room, and when it was last.
///
/// `last` is always the newest post as of `head`, folded. Entries tell of new posts; what an edit, a
/// reaction or a redaction does to the newest one only the owner can say, so that before the next push
/// one of the readers asks it, and what it is told is pushed to all.
#[derive(Debug, Default)]
pub(super) struct Glance {
    readers: u32,
    /// What `head`, `ordinal` and `last` speak of.
    log: LogId,
    head: Seq,
    ordinal: u64,
    last: Option<Last>,
    /// The last entry seen that may have changed the newest post otherwise than by being it.
    changed: Seq,
    /// Entries up to here were perhaps not seen.
    jumped: Option<Seq>,
    /// Answers as of before this hold perhaps what was erased since.
    erased: Seq,
    /// Whether the owner has told of the room; before, the answer to the first reader is awaited.
    is_told: bool,
    asking: Asking,
    pushed_ms: Option<u64>,
    pushed_head: Seq,
    due_ms: Option<u64>,
    version: u64,
    frame: Option<Arc<Shared>>,
}

/// Whether the owner is being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asking {
    #[default]
    No,
    /// The next reader that looks asks.
    Wanted,
    /// One has asked.
    Out,
}

/// What is to be done about a push that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It can be made.
    Push,
    /// A reader has to ask first.
    Ask,
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
    /// Of a room whose entries up to `head` were not seen.
    pub(super) fn new(head: Seq) -> Glance {
        Glance { jumped: Some(head), ..Glance::default() }
    }

    pub(super) fn join(&mut self) {
        self.readers += 1;
    }

    /// Answers whether nobody is left.
    pub(super) fn leave(&mut self, now_ms: u64) -> bool {
        self.readers = self.readers.saturating_sub(1);
        self.asker_left(now_ms);
        self.readers == 0
    }

    /// Who leaves, or begins anew, may be who has asked: its answer may not come, and another one asks.
    pub(super) fn asker_left(&mut self, now_ms: u64) {
        if self.asking == Asking::Out {
            (self.asking, self.due_ms) = (Asking::No, Some(now_ms));
        }
    }

    /// The newest push and its number; a reader that has seen this number has seen all.
    pub(super) fn current(&self) -> Option<(u64, &Arc<Shared>)> {
        self.frame.as_ref().map(|frame| (self.version, frame))
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The head that the newest push told of.
    pub(super) fn pushed_head(&self) -> Seq {
        self.pushed_head
    }

    /// When the next push is due, in milliseconds.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Whether the newest post may be another one, or another text, than what is held.
    pub(super) fn is_stale(&self) -> bool {
        self.changed > self.head || (self.is_told && self.jumped.is_some())
    }

    /// Takes the owner's answer to one reader as the room's newest post. `room` and `head` are the log
    /// that the shard holds. Answers whether it was taken.
    pub(super) fn seed(&mut self, summary: &Summary, room: &LogId, head: Seq) -> bool {
        self.is_told = true;
        if !room.is_none() && summary.log != *room {
            self.jumped = Some(head);
            return false;
        }
        if summary.head < self.head.max(self.erased) {
            return false;
        }
        let seq = self.last.as_ref().filter(|l| l.ordinal == summary.ordinal).and_then(|l| l.seq);
        let last = |post: &FoldedPost| Last { seq, ordinal: summary.ordinal, post: post.clone() };
        self.last = summary.last.as_ref().map(last);
        self.log = summary.log.clone();
        (self.head, self.ordinal) = (summary.head, summary.ordinal);
        self.jumped = self.jumped.filter(|jumped| *jumped > summary.head);
        true
    }

    /// The log goes on. What the owner has told of already says nothing new.
    pub(super) fn append(&mut self, log: &LogId, frame: &Frame) {
        if frame.seq <= self.head {
            return;
        }
        let is_next = frame.seq == self.head + 1 && !self.is_stale();
        match frame.kind {
            ContentKind::Post => {
                let post =
                    FoldedPost { payload: frame.payload(), edit: None, reactions: Vec::new() };
                let (seq, ordinal) = (Some(frame.seq), frame.ordinal);
                self.last = Some(Last { seq, ordinal, post });
                (self.is_told, self.jumped) = (true, None);
            }
            ContentKind::System if is_next => {}
            _ => return self.changed = frame.seq,
        }
        self.log = log.clone();
        (self.head, self.ordinal) = (frame.seq, frame.ordinal);
    }

    /// The log went on unseen, up to `head`, or is another one.
    pub(super) fn jump(&mut self, log: &LogId, head: Seq) {
        if self.head > 0 && self.log != *log {
            (self.head, self.ordinal, self.last) = (0, 0, None);
            (self.changed, self.erased) = (0, 0);
            (self.jumped, self.pushed_ms) = (Some(head), None);
        } else if head > self.head {
            self.jumped = Some(head);
        }
    }

    /// Whether the owner has to be asked; whoever is told so asks.
    pub(super) fn take_asking(&mut self) -> bool {
        let is_wanted = self.asking == Asking::Wanted;
        if is_wanted {
            (self.asking, self.due_ms) = (Asking::Out, None);
        }
        is_wanted
    }

    /// Entries up to `head` are known, of which some were blanked; answers whether the newest post was
    /// among them. A push that some have not had yet is made anew, as it must not tell what was erased.
    pub(super) fn erase(&mut self, room: &RoomName, tombstones: &[Arc<Frame>], head: Seq) -> bool {
        self.erased = head;
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
                if self.frame.is_some() {
                    self.make(room);
                }
                true
            }
        }
    }

    /// Something changed: it is pushed at `max(now, last push + interval)`.
    pub(super) fn schedule(&mut self, now_ms: u64, interval_ms: u64) {
        let earliest = self.pushed_ms.map_or(now_ms, |pushed| now_ms.max(pushed + interval_ms));
        match (self.asking, self.is_stale()) {
            (Asking::No, _) => self.due_ms = Some(earliest.min(self.due_ms.unwrap_or(earliest))),
            // A new post makes the question needless.
            (_, false) => (self.asking, self.due_ms) = (Asking::No, Some(earliest)),
            (_, true) => {}
        }
    }

    /// A push is due: it can be made, or somebody has to ask first. If nobody is there yet who could,
    /// it is due again.
    pub(super) fn come_due(&mut self, now_ms: u64, interval_ms: u64) -> Due {
        if !self.is_stale() {
            return Due::Push;
        }
        (self.asking, self.due_ms) = (Asking::Wanted, Some(now_ms + interval_ms));
        Due::Ask
    }

    /// The owner has answered, or said no. Answers whether what is held is to be pushed: it may be
    /// behind the room by now, but is right as of its head.
    pub(super) fn answered(&mut self, now_ms: u64, interval_ms: u64) -> bool {
        (self.asking, self.due_ms) = (Asking::No, None);
        let is_news = self.head > self.pushed_head || self.pushed_ms.is_none();
        let is_time = self.pushed_ms.is_none_or(|pushed| pushed + interval_ms <= now_ms);
        if self.is_stale() || is_news {
            self.due_ms = Some(now_ms + interval_ms);
        }
        is_news && is_time
    }

    /// Makes the push.
    pub(super) fn push(&mut self, now_ms: u64, room: &RoomName) {
        self.make(room);
        self.version += 1;
        self.pushed_ms = Some(now_ms);
        let is_more = self.is_stale() && self.asking == Asking::No;
        self.due_ms = self.due_ms.filter(|_| is_more);
    }

    fn make(&mut self, room: &RoomName) {
        let last = self.last.as_ref().map(|last| last.post.clone());
        let (log, head, ordinal) = (self.log.clone(), self.head, self.ordinal);
        let summary = Summary { log, head, ordinal, mark: None, last };
        let says = Says::Summary { room: room.clone(), summary: Box::new(summary) };
        self.frame = Some(Arc::new(Shared::new(ServerFrame { r#ref: 0, says })));
        self.pushed_head = head;
    }
}
