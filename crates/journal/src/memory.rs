//! An engine without a disk, for tests: everything is there at once, and faults come on order.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use model::{
    AppendError, Batch, Epoch, Fence, HistoryAnchor, Record, RoomName, Seq, SlotNo, StateKey,
    UserId,
};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::judge::{self, Judge};
use crate::store::{Row, Space, View, Write};
use crate::{
    ClaimError, Claimed, Health, IdRow, Journal, PageRead, ReadError, RoomEntry, RoomHead, keys,
    page, read,
};

/// Slots of a [`Memory`] journal made without a number.
const SLOTS: SlotNo = 65_536;
/// Bytes of one room's part of an append, as in the embedded engine.
const PART_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What goes wrong with an append or a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out and answered "unknown"; every claim ends.
    UnknownApplied,
    /// It is not carried out and answered "unknown"; every claim ends.
    UnknownLost,
    /// It is not carried out, and that is said.
    Unavailable,
    /// There is no space.
    NoSpace,
}

/// What becomes of a stored entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is not there any more.
    Lost,
    /// Its header is there, its payload is not.
    PayloadLost,
    /// A bit of it is another.
    Flipped,
}

/// The engine. Clones share one store, so that a test can hand one to an owner and keep another.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
    /// Appends read it, who holds them writes it.
    gate: Arc<RwLock<()>>,
}

struct Inner {
    rows: Rows,
    judge: Judge,
    faults: VecDeque<Fault>,
    reads_fail: Option<ReadError>,
    writable: bool,
    in_flight: Vec<(SlotNo, Fence)>,
    rows_read: u64,
}

#[derive(Default)]
struct Rows {
    spaces: [BTreeMap<Vec<u8>, Bytes>; Space::ALL.len()],
    read: std::cell::Cell<u64>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Memory {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Memory {
        Memory::with_slots(SLOTS)
    }

    /// An empty journal of so many slots.
    #[must_use]
    pub fn with_slots(slots: SlotNo) -> Memory {
        let inner = Inner {
            rows: Rows::default(),
            judge: Judge::new(slots, PART_BYTES_MAX),
            faults: VecDeque::new(),
            reads_fail: None,
            writable: true,
            in_flight: Vec::new(),
            rows_read: 0,
        };
        Memory { inner: Arc::new(Mutex::new(inner)), gate: Arc::default() }
    }

    /// The next append or claim fails like this; several faults wait in order.
    pub fn fail_next(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// Every read fails like this, until it is called with `None`.
    pub fn fail_reads(&self, error: Option<ReadError>) {
        self.lock().reads_fail = error;
    }

    /// From now on appends and claims are refused for want of space, or not any more.
    pub fn set_full(&self, full: bool) {
        self.lock().writable = !full;
    }

    /// Holds every append (before it is carried out) until the answer is dropped.
    pub async fn hold_appends(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    /// Every claim ends, as after a restart of the process.
    pub fn restart(&self) {
        self.lock().judge.forget();
    }

    /// Damages an entry: its rows are gone, or one bit of its payload is another.
    pub fn damage(&self, room: &RoomName, seq: Seq, damage: Damage) {
        let (header, payload) = (keys::header(room, seq), keys::payload(room, seq));
        let spaces = &mut self.lock().rows.spaces;
        match damage {
            Damage::Lost => {
                spaces[Space::Index as usize].remove(&header);
                spaces[Space::Log as usize].remove(&payload);
            }
            Damage::PayloadLost => {
                spaces[Space::Log as usize].remove(&payload);
            }
            Damage::Flipped => {
                if let Some(row) = spaces[Space::Log as usize].get_mut(&payload) {
                    let mut bytes = row.to_vec();
                    bytes.iter_mut().next_back().into_iter().for_each(|byte| *byte ^= 1);
                    *row = bytes.into();
                }
            }
        }
    }

    /// Rows that reads looked at so far.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.lock().rows_read
    }

    /// Rows that are stored.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.lock().rows.spaces.iter().map(BTreeMap::len).sum()
    }

    /// Appends that were handed over and not answered yet.
    #[must_use]
    pub fn appends_in_flight(&self) -> usize {
        self.lock().in_flight.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<'a, T: Send + 'a>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, ReadError>,
    ) -> BoxFuture<'a, Result<T, ReadError>> {
        let mut inner = self.lock();
        let answer = match &inner.reads_fail {
            Some(error) => Err(error.clone()),
            None => read(&inner.rows),
        };
        inner.rows_read += inner.rows.read.take();
        std::future::ready(answer).boxed()
    }
}

impl Inner {
    /// The fault that is due, if any.
    fn fault(&mut self) -> Option<Fault> {
        if self.writable { self.faults.pop_front() } else { Some(Fault::NoSpace) }
    }

    fn claim(&mut self, slot: SlotNo, epoch: Epoch, nonce: u64) -> Result<Claimed, ClaimError> {
        let fault = self.fault();
        match fault {
            Some(Fault::NoSpace) => return Err(ClaimError::NoSpace),
            Some(Fault::Unavailable) => return Err(ClaimError::Unavailable("as ordered".into())),
            _ => {}
        }
        let mut writes = Vec::new();
        let claimed = self.judge.claim(&self.rows, slot, epoch, nonce, &mut writes)?;
        self.settle(fault, writes).map_err(ClaimError::Unknown)?;
        Ok(claimed)
    }

    fn append(
        &mut self,
        slot: SlotNo,
        fence: Fence,
        batch: &Batch,
    ) -> Vec<Result<(), AppendError>> {
        let all = |error: AppendError| vec![Err(error); batch.rooms.len()];
        let fault = self.fault();
        match fault {
            Some(Fault::NoSpace) => return all(AppendError::NoSpace),
            Some(Fault::Unavailable) => return all(AppendError::Unavailable("as ordered".into())),
            _ => {}
        }
        let mut writes = Vec::new();
        let appended = self.judge.append(&self.rows, slot, fence, batch, &mut writes);
        match self.settle(fault, writes) {
            Ok(()) => appended.results,
            Err(why) => appended
                .results
                .into_iter()
                .map(|result| result.and(Err(AppendError::Unknown(why.clone()))))
                .collect(),
        }
    }

    fn trim(
        &mut self,
        slot: SlotNo,
        fence: Fence,
        room: &RoomName,
        first: Seq,
    ) -> Result<(), AppendError> {
        let mut writes = Vec::new();
        self.judge.trim(&self.rows, slot, fence, room, first, &mut writes)?;
        while !writes.is_empty() {
            self.rows.apply(std::mem::take(&mut writes));
            writes = judge::sweep(&self.rows, room).unwrap_or_default();
        }
        Ok(())
    }

    fn settle(&mut self, fault: Option<Fault>, writes: Vec<Write>) -> Result<(), String> {
        if fault != Some(Fault::UnknownLost) {
            self.rows.apply(writes);
        }
        match fault {
            None => Ok(()),
            Some(_) => {
                self.judge.forget();
                Err("as ordered".into())
            }
        }
    }
}

impl Rows {
    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            let space = &mut self.spaces[write.space as usize];
            match write.value {
                Some(value) => space.insert(write.key, value.into()),
                None => space.remove(&write.key),
            };
        }
    }
}

impl View for Rows {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.read.set(self.read.get() + 1);
        Ok(self.spaces[space as usize].get(key).cloned())
    }

    fn scan(
        &self,
        space: Space,
        range: Range<Vec<u8>>,
    ) -> Box<dyn DoubleEndedIterator<Item = Row> + '_> {
        if range.start >= range.end {
            return Box::new(std::iter::empty());
        }
        Box::new(self.spaces[space as usize].range(range).map(|(key, value)| {
            self.read.set(self.read.get() + 1);
            Ok((Bytes::copy_from_slice(key), value.clone()))
        }))
    }
}

impl Journal for Memory {
    fn claim(
        &self,
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
    ) -> BoxFuture<'_, Result<Claimed, ClaimError>> {
        async move { self.lock().claim(slot, epoch, nonce) }.boxed()
    }

    fn append(
        &self,
        slot: SlotNo,
        fence: Fence,
        batch: Batch,
    ) -> BoxFuture<'_, Vec<Result<(), AppendError>>> {
        let journal = self.clone();
        {
            let mut inner = self.lock();
            let append = (slot, fence);
            debug_assert!(!inner.in_flight.contains(&append), "slot {slot}: two appends in flight");
            inner.in_flight.push(append);
        }
        // A task of its own: dropping the answer must not undo what was handed over.
        let done = tokio::spawn(async move {
            let _open = journal.gate.read().await;
            let mut inner = journal.lock();
            let results = inner.append(slot, fence, &batch);
            inner.in_flight.retain(|other| *other != (slot, fence));
            results
        });
        async move { done.await.expect("an append does not panic") }.boxed()
    }

    fn trim(
        &self,
        slot: SlotNo,
        fence: Fence,
        room: &RoomName,
        first: Seq,
    ) -> BoxFuture<'_, Result<(), AppendError>> {
        let room = room.clone();
        async move { self.lock().trim(slot, fence, &room, first) }.boxed()
    }

    fn head(&self, room: &RoomName) -> BoxFuture<'_, Result<Option<RoomHead>, ReadError>> {
        self.read(|view| read::head(view, room))
    }

    fn range(
        &self,
        room: &RoomName,
        from: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        self.read(|view| read::range(view, room, from, limit, bytes_max))
    }

    fn range_back(
        &self,
        room: &RoomName,
        before: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        self.read(|view| read::range_back(view, room, before, limit, bytes_max))
    }

    fn page(
        &self,
        room: &RoomName,
        anchor: HistoryAnchor,
        limit: u32,
        bytes_max: usize,
        user: Option<&UserId>,
    ) -> BoxFuture<'_, Result<Option<PageRead>, ReadError>> {
        self.read(|view| page::page(view, room, anchor, limit, bytes_max, user))
    }

    fn by_target(
        &self,
        room: &RoomName,
        target: Seq,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        self.read(|view| read::by_target(view, room, target, after, limit))
    }

    fn ids(
        &self,
        room: &RoomName,
        from: Seq,
        to: Seq,
    ) -> BoxFuture<'_, Result<Vec<IdRow>, ReadError>> {
        self.read(|view| read::ids(view, room, from, to))
    }

    fn states(
        &self,
        room: &RoomName,
        keys: Vec<StateKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, ReadError>> {
        self.read(|view| read::states(view, room, &keys))
    }

    fn verify(&self, fences: &[(SlotNo, Fence)]) -> BoxFuture<'_, Result<Vec<SlotNo>, ReadError>> {
        let inner = self.lock();
        let superseded =
            fences.iter().filter(|(slot, fence)| inner.judge.claimed(*slot, *fence).is_none());
        let slots = superseded.map(|(slot, _)| *slot).collect();
        let answer = inner.reads_fail.clone().map_or(Ok(slots), Err);
        std::future::ready(answer).boxed()
    }

    fn rooms(
        &self,
        slot: Option<SlotNo>,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RoomEntry>, ReadError>> {
        self.read(|view| read::rooms(view, slot, after, limit))
    }

    fn health(&self) -> Health {
        let writable = self.lock().writable;
        Health {
            writable,
            why: (!writable).then(|| "full, as ordered".into()),
            free_bytes: if writable { u64::MAX } else { 0 },
        }
    }
}
