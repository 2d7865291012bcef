//! One host's way to the journal.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use journal::{
    ClaimError, Claimed, Health, IdRow, Journal, Memory, PageRead, ReadError, RoomEntry, RoomHead,
};
use model::{
    AppendError, Batch, Epoch, Fence, HistoryAnchor, Record, RoomName, Seq, SlotNo, StateKey,
    UserId,
};
use tokio::sync::oneshot;

use super::Disk;
use super::job::{Job, Read};

impl Disk {
    /// The journal, as a host reaches it.
    pub(crate) fn handle(&self, host: &str) -> Arc<dyn Journal> {
        Arc::new(Handle { host: host.to_owned(), disk: self.clone() })
    }
}

/// One host's way to the journal.
struct Handle {
    host: String,
    disk: Disk,
}

impl Handle {
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Memory) -> BoxFuture<'_, Result<T, ReadError>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadError>> {
        let (reply, answer) = oneshot::channel();
        let job: Read = Box::new(move |memory| {
            let unreachable = || Err(ReadError::Unavailable("no connection".to_owned()));
            let read = memory.map_or_else(unreachable, |memory| {
                read(memory).now_or_never().expect("memory is there at once")
            });
            let _ = reply.send(read);
        });
        self.disk.submit(&self.host, Job::Read(Some(job)));
        let gone = || Err(ReadError::Unavailable("the journal is gone".to_owned()));
        async move { answer.await.unwrap_or_else(|_| gone()) }.boxed()
    }
}

impl Journal for Handle {
    fn claim(
        &self,
        slot: SlotNo,
        epoch: Epoch,
        nonce: u64,
    ) -> BoxFuture<'_, Result<Claimed, ClaimError>> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Claim { slot, epoch, nonce, outcome: None, reply: Some(reply) };
        self.disk.submit(&self.host, job);
        let gone = || Err(ClaimError::Unknown("the journal is gone".to_owned()));
        async move { answer.await.unwrap_or_else(|_| gone()) }.boxed()
    }

    fn append(
        &self,
        slot: SlotNo,
        fence: Fence,
        batch: Batch,
    ) -> BoxFuture<'_, Vec<Result<(), AppendError>>> {
        let (reply, answer) = oneshot::channel();
        let rooms = batch.rooms.len();
        self.disk.lock().ledger.handed_over(slot, fence);
        self.disk.submit(
            &self.host,
            Job::Append { slot, fence, batch, outcome: None, reply: Some(reply) },
        );
        let disk = self.disk.clone();
        async move {
            let gone = || Err(AppendError::Unknown("the journal is gone".to_owned()));
            let results = answer.await.unwrap_or_else(|_| vec![gone(); rooms]);
            disk.lock().ledger.in_flight.retain(|append| *append != (slot, fence));
            results
        }
        .boxed()
    }

    fn trim(
        &self,
        slot: SlotNo,
        fence: Fence,
        room: &RoomName,
        first: Seq,
    ) -> BoxFuture<'_, Result<(), AppendError>> {
        let room = room.clone();
        async move { self.disk.memory.trim(slot, fence, &room, first).await }.boxed()
    }

    fn head(&self, room: &RoomName) -> BoxFuture<'_, Result<Option<RoomHead>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.head(&room))
    }

    fn range(
        &self,
        room: &RoomName,
        from: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.range(&room, from, limit, bytes_max))
    }

    fn range_back(
        &self,
        room: &RoomName,
        before: Seq,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.range_back(&room, before, limit, bytes_max))
    }

    fn page(
        &self,
        room: &RoomName,
        anchor: HistoryAnchor,
        limit: u32,
        bytes_max: usize,
        user: Option<&UserId>,
    ) -> BoxFuture<'_, Result<Option<PageRead>, ReadError>> {
        let (room, user) = (room.clone(), user.cloned());
        self.read(move |memory| memory.page(&room, anchor, limit, bytes_max, user.as_ref()))
    }

    fn by_target(
        &self,
        room: &RoomName,
        target: Seq,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.by_target(&room, target, after, limit))
    }

    fn ids(
        &self,
        room: &RoomName,
        from: Seq,
        to: Seq,
    ) -> BoxFuture<'_, Result<Vec<IdRow>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.ids(&room, from, to))
    }

    fn states(
        &self,
        room: &RoomName,
        keys: Vec<StateKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, ReadError>> {
        let room = room.clone();
        self.read(move |memory| memory.states(&room, keys))
    }

    fn verify(&self, fences: &[(SlotNo, Fence)]) -> BoxFuture<'_, Result<Vec<SlotNo>, ReadError>> {
        let fences = fences.to_vec();
        self.read(move |memory| memory.verify(&fences))
    }

    fn rooms(
        &self,
        slot: Option<SlotNo>,
        after: Option<&RoomName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RoomEntry>, ReadError>> {
        let after = after.cloned();
        self.read(move |memory| memory.rooms(slot, after.as_ref(), limit))
    }

    fn health(&self) -> Health {
        let is_full = self.disk.lock().is_full;
        Health {
            writable: !is_full,
            why: is_full.then(|| "the disk is full".to_owned()),
            free_bytes: if is_full { 0 } else { u64::MAX },
        }
    }
}
