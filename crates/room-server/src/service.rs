//! The gRPC service of the link: streams of edges, and pieces of logs for laggards.

use std::sync::Arc;

use journal::ReadError;
use model::limits::SEGMENT_ENTRIES;
use model::{Entry, LogId, Record, RoomInfo, RoomName, Seq};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};
use wire::codec::link::encode_entries;
use wire::link::link_server::{Link, LinkServer};
use wire::link::{EdgeFrame, SegmentReply, SegmentRequest};

use crate::slots::{Slots, ToSlot};
use crate::stream::{Conversation, room};

/// Payload of one segment, in bytes; the first entry always fits.
const SEGMENT_BYTES_MAX: usize = 1024 * 1024;

/// The service, as tonic mounts it.
pub type LinkService = LinkServer<LinkOwner>;

/// The owner's side of the link.
#[derive(Clone)]
pub struct LinkOwner {
    slots: Arc<Slots>,
}

impl LinkOwner {
    pub(crate) fn new(slots: Arc<Slots>) -> LinkOwner {
        LinkOwner { slots }
    }

    /// Where the room stands, according to its owner: nothing above its committed head is read.
    async fn info(&self, room: &RoomName) -> Result<RoomInfo, Status> {
        let (reply, answer) = oneshot::channel();
        let inbox = self.slots.inbox(self.slots.slot_of(room));
        let unavailable = || Status::unavailable("the room cannot be read right now");
        let word = ToSlot::Info { room: room.clone(), reply };
        inbox.send(word).await.map_err(|_| unavailable())?;
        answer.await.map_err(|_| unavailable())
    }

    /// Entries from `from` up to the owner's head, apart from all other reads.
    async fn read(
        &self,
        room: &RoomName,
        from: Seq,
        head: Seq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let shared = &self.slots.shared;
        let _permit = shared
            .segment_reads
            .acquire()
            .await
            .map_err(|_| ReadError::Unavailable("the server is stopping".into()))?;
        shared.counters.segments.add(1);
        let mut records = shared.journal.range(room, from, limit, SEGMENT_BYTES_MAX).await?;
        records.retain(|record| record.seq <= head);
        Ok(records)
    }
}

#[tonic::async_trait]
impl Link for LinkOwner {
    type AttachStream = Conversation;

    async fn attach(
        &self,
        request: Request<Streaming<EdgeFrame>>,
    ) -> Result<Response<Conversation>, Status> {
        Ok(Response::new(Conversation::new(request.into_inner(), Arc::clone(&self.slots))))
    }

    async fn segment(
        &self,
        request: Request<SegmentRequest>,
    ) -> Result<Response<SegmentReply>, Status> {
        let request = request.into_inner();
        let room = room(&request.room)?;
        let log = LogId::new(&request.log).map_err(|why| Status::invalid_argument(why.0))?;
        let info = self.info(&room).await?;
        if info.log != log {
            return Err(Status::failed_precondition("the room has another log"));
        }
        let limit = u64::from(request.limit).clamp(1, SEGMENT_ENTRIES) as usize;
        let from = request.from.max(1);
        let reply = match self.read(&room, from, info.head, limit).await {
            Ok(records) => {
                let entries: Vec<Entry> = records.into_iter().map(entry).collect();
                SegmentReply { first: info.first, entries: encode_entries(&entries) }
            }
            Err(ReadError::Trimmed { first }) => SegmentReply { first, entries: Vec::new() },
            Err(ReadError::Unavailable(why)) => return Err(Status::unavailable(why)),
            Err(ReadError::Corrupt(why)) => return Err(Status::data_loss(why)),
        };
        Ok(Response::new(reply))
    }
}

fn entry(record: Record) -> Entry {
    Entry { seq: record.seq, ordinal: record.ordinal, kind: record.kind, payload: record.payload }
}
