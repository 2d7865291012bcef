//! Pieces of logs for readers that are behind, read from owners apart from the stream, so that a
//! thousand laggards do not stand in the way of one publish.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::{LogId, NodeId, RoomName, Seq};
use session::log::{Frame, Segment, SegmentFault};
use tokio::sync::{Semaphore, mpsc};
use tonic::transport::Channel;
use wire::link::SegmentRequest;
use wire::link::link_client::LinkClient;

use super::LaneContext;
use crate::convert;
use crate::frames::EdgeFrames;
use crate::shard::ToShard;

/// Segments that one lane reads at once.
const READS_MAX: usize = 16;

/// Reads segments, a task for each. Shards that want one which is on its way share the read and its
/// frames, unless something of the room was erased since the read began. Nothing is kept here.
pub(super) struct SegmentReads {
    context: LaneContext,
    channels: HashMap<NodeId, Channel>,
    permits: Arc<Semaphore>,
    /// Who waits for which read, each with its own question.
    waiting: BTreeMap<u64, Vec<(u32, Segment)>>,
    /// The reads that another shard may still join.
    joinable: BTreeMap<Wanted, u64>,
    next_read: u64,
    done_sender: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
}

/// What a read is for, whoever asks: room, log, first entry.
type Wanted = (RoomName, LogId, Seq);
type Fetched = Result<Arc<[Arc<Frame>]>, SegmentFault>;

/// A read that is over.
pub(super) struct Done {
    read: u64,
    fetched: Fetched,
}

fn wanted(segment: &Segment) -> Wanted {
    (segment.room.clone(), segment.log.clone(), segment.first())
}

impl SegmentReads {
    pub(super) fn new(context: LaneContext) -> SegmentReads {
        let (done_sender, done) = mpsc::channel(READS_MAX);
        SegmentReads {
            context,
            channels: HashMap::new(),
            permits: Arc::new(Semaphore::new(READS_MAX)),
            waiting: BTreeMap::new(),
            joinable: BTreeMap::new(),
            next_read: 0,
            done_sender,
            done,
        }
    }

    /// A fresh channel to a node.
    pub(super) fn dialled(&mut self, node: &NodeId, channel: Channel) {
        self.channels.insert(node.clone(), channel);
    }

    /// Reads a segment for a shard, or lets it wait for the read that is under way.
    pub(super) fn read(&mut self, shard: u32, segment: Segment, node: &NodeId) {
        let wanted = wanted(&segment);
        if let Some(waiting) =
            self.joinable.get(&wanted).and_then(|read| self.waiting.get_mut(read))
        {
            return waiting.push((shard, segment));
        }
        self.next_read += 1;
        let read = self.next_read;
        self.joinable.insert(wanted, read);
        self.waiting.insert(read, vec![(shard, segment.clone())]);
        let channel = self.channels.get(node).cloned();
        let (permits, done) = (Arc::clone(&self.permits), self.done_sender.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire().await;
            let fetched = match channel {
                Some(channel) => fetch(channel, &segment).await,
                None => Err(SegmentFault::Unavailable),
            };
            // The lane is gone only when the process ends.
            let _ = done.send(Done { read, fetched }).await;
        });
    }

    /// What is under way for this room may hold what is gone by now: nobody joins it any more.
    pub(super) fn part(&mut self, room: &RoomName) {
        self.joinable.retain(|(of, ..), _| of != room);
    }

    /// The next read that is over; safe to drop in between.
    pub(super) async fn next(&mut self) -> Option<Done> {
        self.done.recv().await
    }

    /// Gives what was read to everybody who waits.
    pub(super) async fn deliver(&mut self, Done { read, fetched }: Done) {
        self.joinable.retain(|_, joinable| *joinable != read);
        for (shard, segment) in self.waiting.remove(&read).unwrap_or_default() {
            let message = ToShard::Segment(segment, fetched.clone());
            self.context.shards.send(shard, message).await;
        }
    }
}

async fn fetch(channel: Channel, segment: &Segment) -> Fetched {
    let request = SegmentRequest {
        room: segment.room.as_str().to_owned(),
        log: segment.log.as_str().to_owned(),
        from: segment.first(),
        limit: (segment.last() - segment.first() + 1) as u32,
    };
    let reply = LinkClient::new(channel)
        .segment(request)
        .await
        .map_err(|status| match status.code() {
            tonic::Code::FailedPrecondition => SegmentFault::LogChanged,
            _ => SegmentFault::Unavailable,
        })?
        .into_inner();
    let first = reply.first;
    let entries = convert::entries(reply.entries).map_err(|_| SegmentFault::Unavailable)?;
    match entries.first() {
        Some(_) => Ok(Frame::share(&entries, &EdgeFrames)),
        None if first > segment.first() => Err(SegmentFault::Trimmed { first }),
        None => Err(SegmentFault::Unavailable),
    }
}
