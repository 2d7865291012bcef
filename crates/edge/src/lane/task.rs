//! The task of one lane: moves frames between shards, [`link::Lane`] and the streams to owners.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;

use cluster::View;
use link::{LocalKey, StreamEvent, StreamOp, ToShards};
use model::{Answer, Fed, NodeId, Now};
use session::log::Feed;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::segments::{Done, SegmentReads};
use super::stream::{Happened, OwnerStream};
use super::streams::Streams;
use super::{LaneContext, ToLane};
use crate::convert;
use crate::frames::EdgeFrames;
use crate::shard::{Route, ToShard};

/// Messages taken from the inbox before the machine is polled again.
const INBOX_BATCH: usize = 256;
/// Words of owners in a row before the inbox has its turn.
const STREAM_TURNS: usize = 64;
/// A timer that is not wanted.
const NEVER: std::time::Duration = std::time::Duration::from_secs(3_600);

/// A lane's task; owns its [`link::Lane`].
pub(super) struct Lane {
    machine: link::Lane,
    inbox: mpsc::Receiver<ToLane>,
    context: LaneContext,
    views: watch::Receiver<Arc<View>>,
    streams: Streams,
    /// Nodes that were called, as they were last seen: one that left the registry while nobody can take
    /// its place is still called.
    called: HashMap<NodeId, cluster::Node>,
    /// Callers without a session, by the number in their [`LocalKey`].
    unary: HashMap<u64, oneshot::Sender<Answer>>,
    next_unary: u64,
    segments: SegmentReads,
}

enum Event {
    Inbox(usize),
    Stream(NodeId, Happened),
    Segment(Option<Done>),
    View,
    Timeout,
}

impl Lane {
    pub(super) fn new(
        machine: link::Lane,
        inbox: mpsc::Receiver<ToLane>,
        context: LaneContext,
        views: watch::Receiver<Arc<View>>,
    ) -> Lane {
        Lane {
            machine,
            inbox,
            segments: SegmentReads::new(context.clone()),
            context,
            views,
            streams: Streams::default(),
            called: HashMap::new(),
            unary: HashMap::new(),
            next_unary: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(INBOX_BATCH);
        let mut turns = 0;
        loop {
            self.pump().await;
            let event = self.next(&mut batch, turns >= STREAM_TURNS).await;
            turns = if matches!(event, Event::Stream(..)) { turns + 1 } else { 0 };
            let now = self.context.clock.now();
            match event {
                Event::Inbox(0) => return,
                Event::Inbox(_) => batch.drain(..).for_each(|message| self.take(now, message)),
                Event::Stream(node, happened) => self.happened(now, &node, happened),
                Event::Segment(Some(done)) => self.segment_read(done).await,
                Event::Segment(None) => {}
                Event::View => {
                    let view = Arc::clone(&self.views.borrow_and_update());
                    self.machine.handle_view(now, view);
                }
                Event::Timeout => self.machine.handle_timeout(now),
            }
        }
    }

    /// The next thing that happens: words of owners first, so that what they said in time is not found
    /// late; but for the inbox's turn.
    async fn next(&mut self, batch: &mut Vec<ToLane>, is_inbox_turn: bool) -> Event {
        if is_inbox_turn {
            while batch.len() < INBOX_BATCH
                && let Ok(message) = self.inbox.try_recv()
            {
                batch.push(message);
            }
            if !batch.is_empty() {
                return Event::Inbox(batch.len());
            }
        }
        let wake_at = self
            .machine
            .poll_timeout()
            .map_or_else(|| Instant::now() + NEVER, |at| self.context.clock.instant(at));
        let Lane { streams, inbox, segments, views, .. } = self;
        tokio::select! {
            biased;
            Ok(()) = views.changed() => Event::View,
            (node, happened) = poll_fn(|cx| streams.poll_next(cx)) => Event::Stream(node, happened),
            count = inbox.recv_many(batch, INBOX_BATCH) => Event::Inbox(count),
            done = segments.next() => Event::Segment(done),
            () = sleep_until(wake_at) => Event::Timeout,
        }
    }

    fn take(&mut self, now: Now, message: ToLane) {
        match message {
            ToLane::Ask(local, ask) => self.machine.handle_ask(now, local, *ask),
            ToLane::Unary(ask, sender) => {
                self.next_unary += 1;
                self.unary.insert(self.next_unary, sender);
                self.machine.handle_ask(now, Route::unary(self.next_unary), *ask);
            }
            ToLane::Watch(shard, room) => self.machine.handle_watch(now, shard, &room),
            ToLane::Unwatch(shard, room) => self.machine.handle_unwatch(now, shard, &room),
            ToLane::Segment(shard, segment) => {
                let node = self.machine.route(&segment.room);
                self.segments.read(shard, segment, self.node(node.as_ref()));
            }
        }
    }

    /// A node as the newest view that has it shows it.
    fn node(&self, id: Option<&NodeId>) -> Option<cluster::Node> {
        let id = id?;
        self.views.borrow().nodes.get(id).or_else(|| self.called.get(id)).cloned()
    }

    fn happened(&mut self, now: Now, node: &NodeId, happened: Happened) {
        let event = match happened {
            Happened::HasRoom => return self.serve(node),
            Happened::Opened => StreamEvent::Up,
            Happened::Broke => {
                self.segments.lost(node);
                StreamEvent::Down
            }
            Happened::Frame(frame) => match convert::from_owner(frame) {
                Ok(frame) => StreamEvent::Frame(frame),
                Err(why) => {
                    tracing::error!(%node, %why, "an owner of rooms sent what cannot be read");
                    self.streams.remove(node);
                    StreamEvent::Down
                }
            },
        };
        self.machine.handle_stream(now, node, event);
    }

    /// Empties the machine, but for what waits for room in streams that are full.
    async fn pump(&mut self) {
        loop {
            while let Some(to_shards) = self.machine.poll_shards() {
                self.deliver(to_shards).await;
            }
            let Some(node) = self.machine.poll_busy() else {
                break;
            };
            self.serve(&node);
        }
        while let Some(node) = self.machine.poll_gone() {
            self.streams.remove(&node);
            self.segments.lost(&node);
            self.called.remove(&node);
        }
        while let Some(suspect) = self.machine.poll_suspect() {
            tracing::warn!(node = %suspect.node, silent_ms = suspect.silent_ms, "an owner is lost");
            for (to, channel) in self.streams.others(&suspect.node) {
                self.context.reports.tell(to, channel, &suspect);
            }
        }
    }

    /// Gives a stream what there is for it, until it is full.
    fn serve(&mut self, node: &NodeId) {
        loop {
            while let Some(op) = self.machine.poll_steer(node) {
                self.steer(node, op);
            }
            let stream = self.streams.get_mut(node).filter(|stream| stream.is_open());
            let Some(permit) = stream.and_then(OwnerStream::try_reserve) else {
                return;
            };
            match self.machine.poll_stream(node) {
                None => return,
                Some(StreamOp::Send(frame)) => permit.send(convert::to_owner(&frame)),
                Some(op) => {
                    drop(permit);
                    self.steer(node, op);
                }
            }
        }
    }

    fn steer(&mut self, node: &NodeId, op: StreamOp) {
        match op {
            StreamOp::Open { node } => self.open(&node),
            StreamOp::Close => {
                self.streams.remove(node);
                self.segments.lost(node);
            }
            StreamOp::Send(_) => debug_assert!(false, "frames are sent on open streams only"),
        }
    }

    fn open(&mut self, id: &NodeId) {
        match self.node(Some(id)) {
            Some(node) => {
                self.streams.open(id, (self.context.owners.dial)(&node));
                self.called.insert(id.clone(), node);
            }
            None => {
                self.streams.remove(id);
                self.machine.handle_stream(self.context.clock.now(), id, StreamEvent::Down);
            }
        }
    }

    async fn segment_read(&mut self, done: Done) {
        let node = self.machine.route(done.room());
        let node = self.node(node.as_ref());
        self.segments.deliver(done, node).await;
    }

    async fn deliver(&mut self, to_shards: ToShards) {
        match to_shards {
            ToShards::Answer { local, answer } => self.answer(local, answer).await,
            ToShards::Fed { shards, room, fed } => {
                if matches!(fed, Fed::Erased { .. } | Fed::Watching { .. }) {
                    self.segments.part(&room);
                }
                let feed = Feed::share(&room, fed, &EdgeFrames);
                for shard in shards.iter() {
                    let message = ToShard::Feed(room.clone(), feed.clone());
                    self.context.shards.send(shard, message).await;
                }
            }
            ToShards::Detached { local, room, session, why } => {
                if let Some(route) = Route::of(local) {
                    let message = ToShard::Detached(route.session, session, room, why);
                    self.context.shards.send(route.shard, message).await;
                }
            }
        }
    }

    async fn answer(&mut self, local: LocalKey, answer: Answer) {
        match Route::of(local) {
            Some(route) => {
                let message = ToShard::Answer(route.session, route.ask, answer);
                self.context.shards.send(route.shard, message).await;
            }
            None => {
                if let Some(caller) = self.unary.remove(&Route::caller(local)) {
                    // A caller that hung up has no use for the answer.
                    let _ = caller.send(answer);
                }
            }
        }
    }
}
