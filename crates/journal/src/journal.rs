//! The port itself: what an owner of slots may ask of a durable store.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use model::{
    AppendError, Batch, ContentKind, Digest, Epoch, Fence, HistoryAnchor, LogId, MessageId, Record,
    RoomName, Seq, SessionId, SlotNo, StateKey, UserId,
};

/// A slot that was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The fence before; 0 if the slot was never claimed.
    pub old_fence: Fence,
    /// The fence that every append of this claim names.
    pub fence: Fence,
    /// The last place used in the slot; 0 if none was.
    pub slot_pos: u64,
}

/// Why a slot was not claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// The journal knows a higher epoch, or the same with another nonce: raise the slot's epoch
    /// above the stored one, then claim again.
    Refused {
        /// The stored epoch.
        epoch: Epoch,
    },
    /// The claim may have been made or not; claim again.
    Unknown(String),
    /// Surely not made; may be tried again.
    Unavailable(String),
    /// Surely not made: no room on the disk.
    NoSpace,
    /// The engine refuses writes until the process starts again.
    Poisoned(String),
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// May be tried again.
    Unavailable(String),
    /// What was asked for lies below the first kept entry.
    Trimmed {
        /// The first kept entry.
        first: Seq,
    },
    /// What is stored is damaged: a bad checksum, or a hole in the numbers.
    Corrupt(String),
}

/// Where a born room stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomHead {
    /// The log's id.
    pub log: LogId,
    /// The first kept entry; `head + 1` when all were trimmed.
    pub first: Seq,
    /// The last entry.
    pub head: Seq,
    /// Posts up to and including it.
    pub ordinal: u64,
    /// When the last entry was written.
    pub at_ms: u64,
    /// Posts below `first`.
    pub first_ordinal: u64,
}

/// A folded page, as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRead {
    /// The room, in the same snapshot as everything else here.
    pub head: RoomHead,
    /// Posts, ascending, each with the bytes of its [`model::Fold`] if it has one.
    pub posts: Vec<(Record, Option<Bytes>)>,
    /// Whether there are more posts in the direction that was asked (for
    /// [`HistoryAnchor::Around`]: below).
    pub more: bool,
    /// Keys of the asking user's standing reactions, by post.
    pub mine: Vec<(Seq, Vec<String>)>,
}

/// What deduplication and authorship need of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdRow {
    /// The entry.
    pub seq: Seq,
    /// Posts up to and including it.
    pub ordinal: u64,
    /// Its author.
    pub user: UserId,
    /// The author's session.
    pub session: Option<SessionId>,
    /// The id chosen by the author's client.
    pub id: MessageId,
    /// What kind of content it has.
    pub kind: ContentKind,
    /// The post it speaks of, or 0.
    pub target: Seq,
    /// Digest of its content.
    pub digest: Digest,
    /// When it was written.
    pub at_ms: u64,
}

/// A room in a walk over all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEntry {
    /// Its name.
    pub room: RoomName,
    /// The slot under which it was born.
    pub slot: SlotNo,
    /// Where it stands.
    pub head: RoomHead,
}

/// Whether the store can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether an append would be tried now.
    pub writable: bool,
    /// Why not, for the person who looks.
    pub why: Option<String>,
    /// Bytes that are free on the store's disk.
    pub free_bytes: u64,
}

/// The durable store of logs.
///
/// Answers are futures that may be dropped, but an append or claim that was handed over is carried
/// out nevertheless. Every read is one consistent snapshot of what was committed.
pub trait Journal: Send + Sync + 'static {
    /// Takes a slot over, durably: from then on appends under an older fence are refused. A lower
    /// epoch, or the stored epoch with another nonce, is refused; the same epoch and nonce raise the
    /// fence once more (this is how the owner settles an unknown outcome).
    fn claim(
        &self,
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
    ) -> BoxFuture<'_, Result<Claimed, ClaimError>>;

    /// Appends what one slot wants appended; one result for each [`model::RoomBatch`], in order.
    /// Each room's part is all or nothing, and no part's refusal touches another part. At most one
    /// append may be in flight a slot; that is the caller's duty.
    fn append(
        &self,
        slot: SlotNo,
        fence: Fence,
        batch: Batch,
    ) -> BoxFuture<'_, Vec<Result<(), AppendError>>>;

    /// Drops the entries below `first` with their indexes, folds and reactions. Idempotent; reads
    /// answer [`ReadError::Trimmed`] at once, disk space returns when the engine rewrites its files.
    fn trim(
        &self,
        slot: SlotNo,
        fence: Fence,
        room: &RoomName,
        first: Seq,
    ) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Where a room stands; `None` while it is unborn.
    fn head(&self, room: &RoomName) -> BoxFuture<'_, Result<Option<RoomHead>, ReadError>>;

    /// Entries from `from` on: ascending, dense, at most `limit` and `bytes_max` of payload, but at
    /// least one if there is one. Empty above head.
    fn range(
        &self,
        room: &RoomName,
        from: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>>;

    /// The last entries below `before`, ascending, within the same bounds; a `before` above head
    /// means the end.
    fn range_back(
        &self,
        room: &RoomName,
        before: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>>;

    /// Posts (also those that were redacted) around an anchor, each with its fold, and the reactions
    /// of `user`. Costs a few small reads a post, whatever lies between them. Entries that do not
    /// count as posts, system notices among them, are not listed.
    fn page(
        &self,
        room: &RoomName,
        anchor: HistoryAnchor,
        limit: u32,
        bytes_max: usize,
        user: Option<&UserId>,
    ) -> BoxFuture<'_, Result<Option<PageRead>, ReadError>>;

    /// Entries above `after` that speak of the post `target` (edits, reactions, redactions),
    /// ascending.
    fn by_target(
        &self,
        room: &RoomName,
        target: Seq,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>>;

    /// Entries `from..=to` without their payloads, dense; `to` is cut to head.
    fn ids(
        &self,
        room: &RoomName,
        from: Seq,
        to: Seq,
    ) -> BoxFuture<'_, Result<Vec<IdRow>, ReadError>>;

    /// Small values of a room, in the order of `keys`.
    fn states(
        &self,
        room: &RoomName,
        keys: Vec<StateKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, ReadError>>;

    /// Those of these slots that may no longer be written under the stated fence. Only reads.
    fn verify(&self, fences: &[(SlotNo, Fence)]) -> BoxFuture<'_, Result<Vec<SlotNo>, ReadError>>;

    /// Rooms in the order of their names, of one slot or of all, behind `after`. Rooms that are
    /// damaged are left out (and logged); every read of them says so.
    fn rooms(
        &self,
        slot: Option<SlotNo>,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RoomEntry>, ReadError>>;

    /// Whether the store can be written.
    fn health(&self) -> Health;
}
