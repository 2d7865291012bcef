//! Pieces of logs for readers that are behind, read from owners apart from the stream, so that a
//! thousand laggards do not stand in the way of one publish.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cluster::Node;
use model::{LogId, NodeId, RoomName, Seq};
use session::log::{Frame, Segment, SegmentFault};
use tokio::sync::{Semaphore, mpsc, watch};
use tonic::transport::Channel;
use wire::link::SegmentRequest;
use wire::link::link_client::LinkClient;

use super::LaneContext;
use crate::convert;
use crate::frames::EdgeFrames;
use crate::shard::ToShard;

/// Segments that one lane reads at once.
const READS_MAX: usize = 16;
/// How often a segment is asked for where its room's owner is by then, before its readers are told that
/// they have to wait.
const ATTEMPTS_MAX: u32 = 3;
/// Longer than an owner takes that a herd of laggards keeps busy; one that is silent is found out
/// earlier, on the lane's stream.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Reads segments, a task for each. Shards that want one which is on its way share the read and its
/// frames, unless something of the room was erased since the read began. Nothing is kept here.
pub(super) struct SegmentReads {
    context: LaneContext,
    /// Connections of their own: laggards take nothing of what the streams may have in flight.
    ways: HashMap<NodeId, Way>,
    permits: Arc<Semaphore>,
    /// Who waits for which read, each with its own question.
    waiting: BTreeMap<u64, Waiting>,
    /// The reads that another shard may still join.
    joinable: BTreeMap<Wanted, u64>,
    next_read: u64,
    done_sender: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
}

/// What a read is for, whoever asks: room, log, first entry.
type Wanted = (RoomName, LogId, Seq);
type Fetched = Result<Arc<[Arc<Frame>]>, SegmentFault>;

/// Who waits for a read.
struct Waiting {
    shards: Vec<(u32, Segment)>,
    attempts: u32,
}

/// The way to an owner. When it is dropped, what is under way there is given up.
struct Way {
    channel: Channel,
    here: watch::Sender<()>,
}

/// A read that is over.
pub(super) struct Done {
    read: u64,
    segment: Segment,
    node: Option<NodeId>,
    fetched: Fetched,
}

impl Done {
    pub(super) fn room(&self) -> &RoomName {
        &self.segment.room
    }
}

fn wanted(segment: &Segment) -> Wanted {
    (segment.room.clone(), segment.log.clone(), segment.first())
}

impl SegmentReads {
    pub(super) fn new(context: LaneContext) -> SegmentReads {
        let (done_sender, done) = mpsc::channel(READS_MAX);
        SegmentReads {
            context,
            ways: HashMap::new(),
            permits: Arc::new(Semaphore::new(READS_MAX)),
            waiting: BTreeMap::new(),
            joinable: BTreeMap::new(),
            next_read: 0,
            done_sender,
            done,
        }
    }

    /// A node is lost: what is read there is read where its rooms are by then.
    pub(super) fn lost(&mut self, node: &NodeId) {
        self.ways.remove(node);
    }

    /// Reads a segment for a shard at the room's owner, or lets it wait for the read that is under way.
    pub(super) fn read(&mut self, shard: u32, segment: Segment, owner: Option<Node>) {
        let wanted = wanted(&segment);
        if let Some(waiting) =
            self.joinable.get(&wanted).and_then(|read| self.waiting.get_mut(read))
        {
            return waiting.shards.push((shard, segment));
        }
        self.next_read += 1;
        let read = self.next_read;
        self.joinable.insert(wanted, read);
        let shards = vec![(shard, segment.clone())];
        self.waiting.insert(read, Waiting { shards, attempts: 0 });
        self.start(read, segment, owner);
    }

    fn start(&mut self, read: u64, segment: Segment, owner: Option<Node>) {
        let way = owner.as_ref().map(|owner| self.way(owner));
        let (permits, done) = (Arc::clone(&self.permits), self.done_sender.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire().await;
            let fetched = match way {
                Some((channel, here)) => fetch_unless_lost(channel, here, &segment).await,
                None => Err(SegmentFault::Unavailable),
            };
            let node = owner.map(|owner| owner.id);
            // The lane is gone only when the process ends.
            let _ = done.send(Done { read, segment, node, fetched }).await;
        });
    }

    fn way(&mut self, owner: &Node) -> (Channel, watch::Receiver<()>) {
        let dial = &self.context.owners.dial;
        let fresh = || Way { channel: dial(owner), here: watch::Sender::new(()) };
        let way = self.ways.entry(owner.id.clone()).or_insert_with(fresh);
        (way.channel.clone(), way.here.subscribe())
    }

    /// What is under way for this room may hold what is gone by now: nobody joins it any more.
    pub(super) fn part(&mut self, room: &RoomName) {
        self.joinable.retain(|(of, ..), _| of != room);
    }

    /// The next read that is over; safe to drop in between.
    pub(super) async fn next(&mut self) -> Option<Done> {
        self.done.recv().await
    }

    /// Gives what was read to everybody who waits, or reads it at `owner`, the room's by now, if it was
    /// another that did not answer.
    pub(super) async fn deliver(&mut self, done: Done, owner: Option<Node>) {
        let Done { read, segment, node, fetched } = done;
        if matches!(fetched, Err(SegmentFault::Unavailable))
            && owner.as_ref().is_some_and(|owner| Some(&owner.id) != node.as_ref())
            && let Some(waiting) = self.waiting.get_mut(&read)
            && waiting.attempts + 1 < ATTEMPTS_MAX
        {
            waiting.attempts += 1;
            return self.start(read, segment, owner);
        }
        self.joinable.retain(|_, joinable| *joinable != read);
        let Some(Waiting { shards, .. }) = self.waiting.remove(&read) else {
            return;
        };
        for (shard, segment) in shards {
            let message = ToShard::Segment(segment, fetched.clone());
            self.context.shards.send(shard, message).await;
        }
    }
}

async fn fetch_unless_lost(
    channel: Channel,
    mut here: watch::Receiver<()>,
    segment: &Segment,
) -> Fetched {
    let fetching = tokio::time::timeout(READ_WITHIN, fetch(channel, segment));
    tokio::select! {
        fetched = fetching => fetched.unwrap_or(Err(SegmentFault::Unavailable)),
        // It only ever ends.
        _ = here.changed() => Err(SegmentFault::Unavailable),
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
