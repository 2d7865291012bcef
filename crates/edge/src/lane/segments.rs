//! Pieces of logs for readers that are behind, read from owners apart from the stream, so that a
//! thousand laggards do not stand in the way of one publish.

use std::collections::HashMap;
use std::sync::Arc;

use model::NodeId;
use session::log::{Frame, Segment, SegmentFault};
use tokio::sync::Semaphore;
use tonic::transport::Channel;
use wire::link::SegmentRequest;
use wire::link::link_client::LinkClient;

use super::LaneContext;
use crate::convert;
use crate::frames::EdgeFrames;
use crate::shard::ToShard;

/// Segments that one lane reads at once.
const READS_MAX: usize = 16;

/// Reads segments, a task for each; a shard asks for a segment once, so at most as many wait as there
/// are shards and laggards' rooms.
pub(super) struct SegmentReads {
    context: LaneContext,
    channels: HashMap<NodeId, Channel>,
    permits: Arc<Semaphore>,
}

impl SegmentReads {
    pub(super) fn new(context: LaneContext) -> SegmentReads {
        let permits = Arc::new(Semaphore::new(READS_MAX));
        SegmentReads {
            context,
            channels: HashMap::new(),
            permits,
        }
    }

    /// A fresh channel to a node.
    pub(super) fn dialled(&mut self, node: &NodeId, channel: Channel) {
        self.channels.insert(node.clone(), channel);
    }

    /// Reads a segment and tells the shard.
    pub(super) fn read(&self, shard: u32, segment: Segment, node: &NodeId) {
        let channel = self.channels.get(node).cloned();
        let (shards, permits) = (self.context.shards.clone(), Arc::clone(&self.permits));
        tokio::spawn(async move {
            let _permit = permits.acquire().await;
            let result = match channel {
                Some(channel) => fetch(channel, &segment).await,
                None => Err(SegmentFault::Unavailable),
            };
            shards.send(shard, ToShard::Segment(segment, result)).await;
        });
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
