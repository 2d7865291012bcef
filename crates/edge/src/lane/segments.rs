//! Pieces of logs for readers that are behind, read from owners apart from the stream, so that a
//! thousand laggards do not stand in the way of one publish.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::NodeId;
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
/// frames; nothing is kept here, where it could hold what was erased since.
pub(super) struct SegmentReads {
    context: LaneContext,
    channels: HashMap<NodeId, Channel>,
    permits: Arc<Semaphore>,
    /// Who waits for what is on its way.
    waiting: BTreeMap<Segment, Vec<u32>>,
    done_sender: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
}

/// A read that is over.
pub(super) type Done = (Segment, Result<Arc<[Arc<Frame>]>, SegmentFault>);

impl SegmentReads {
    pub(super) fn new(context: LaneContext) -> SegmentReads {
        let (done_sender, done) = mpsc::channel(READS_MAX);
        SegmentReads {
            context,
            channels: HashMap::new(),
            permits: Arc::new(Semaphore::new(READS_MAX)),
            waiting: BTreeMap::new(),
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
        let waiting = self.waiting.entry(segment.clone()).or_default();
        waiting.push(shard);
        if waiting.len() > 1 {
            return;
        }
        let channel = self.channels.get(node).cloned();
        let (permits, done) = (Arc::clone(&self.permits), self.done_sender.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire().await;
            let result = match channel {
                Some(channel) => fetch(channel, &segment).await,
                None => Err(SegmentFault::Unavailable),
            };
            // The lane is gone only when the process ends.
            let _ = done.send((segment, result)).await;
        });
    }

    /// The next read that is over; safe to drop in between.
    pub(super) async fn next(&mut self) -> Option<Done> {
        self.done.recv().await
    }

    /// Gives what was read to everybody who waits.
    pub(super) async fn deliver(&mut self, (segment, result): Done) {
        for shard in self.waiting.remove(&segment).unwrap_or_default() {
            let message = ToShard::Segment(segment.clone(), result.clone());
            self.context.shards.send(shard, message).await;
        }
    }
}

async fn fetch(channel: Channel, segment: &Segment) -> Result<Arc<[Arc<Frame>]>, SegmentFault> {
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
