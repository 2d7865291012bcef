//! The task of one lane: moves frames between shards, [`link::Near`] and the stream.

use std::collections::HashMap;

use link::{FromOwner, LocalKey, Near, StreamEvent, StreamOp, ToShards};
use model::{Answer, Fed, Now};
use session::log::Feed;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::segments::{Done, SegmentReads};
use super::stream::{Happened, OwnerStream};
use super::{LaneContext, ToLane};
use crate::convert;
use crate::frames::EdgeFrames;
use crate::shard::{Route, ToShard};

/// Messages taken from the inbox before the machine is polled again.
const INBOX_BATCH: usize = 256;
/// A timer that is not wanted.
const NEVER: std::time::Duration = std::time::Duration::from_secs(3_600);

/// A lane's task; owns its [`Near`].
pub(super) struct Lane {
    near: Near,
    inbox: mpsc::Receiver<ToLane>,
    context: LaneContext,
    stream: OwnerStream,
    /// Callers without a session, by the number in their [`LocalKey`].
    unary: HashMap<u64, oneshot::Sender<Answer>>,
    next_unary: u64,
    segments: SegmentReads,
}

enum Event {
    Inbox(usize),
    Stream(Happened),
    Segment(Option<Done>),
    Timeout,
}

impl Lane {
    pub(super) fn new(near: Near, inbox: mpsc::Receiver<ToLane>, context: LaneContext) -> Lane {
        Lane {
            near,
            inbox,
            segments: SegmentReads::new(context.clone()),
            context,
            stream: OwnerStream::default(),
            unary: HashMap::new(),
            next_unary: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(INBOX_BATCH);
        loop {
            let is_full = self.pump().await;
            let wake_at = self
                .near
                .poll_timeout()
                .map_or_else(|| Instant::now() + NEVER, |at| self.context.clock.instant(at));
            let event = tokio::select! {
                biased;
                happened = self.stream.next(is_full) => Event::Stream(happened),
                count = self.inbox.recv_many(&mut batch, INBOX_BATCH) => Event::Inbox(count),
                done = self.segments.next() => Event::Segment(done),
                () = sleep_until(wake_at) => Event::Timeout,
            };
            let now = self.context.clock.now();
            match event {
                Event::Inbox(0) => return,
                Event::Inbox(_) => batch.drain(..).for_each(|message| self.take(now, message)),
                Event::Stream(happened) => self.happened(now, happened),
                Event::Segment(Some(done)) => self.segments.deliver(done).await,
                Event::Segment(None) => {}
                Event::Timeout => self.near.handle_timeout(now),
            }
        }
    }

    fn take(&mut self, now: Now, message: ToLane) {
        match message {
            ToLane::Ask(local, ask) => self.near.handle_ask(now, local, *ask),
            ToLane::Unary(ask, sender) => {
                self.next_unary += 1;
                self.unary.insert(self.next_unary, sender);
                self.near.handle_ask(now, Route::unary(self.next_unary), *ask);
            }
            ToLane::Watch(shard, room) => self.near.handle_watch(now, shard, &room),
            ToLane::Unwatch(shard, room) => self.near.handle_unwatch(now, shard, &room),
            ToLane::Segment(shard, segment) => {
                let node = self.near.route(&segment.room).clone();
                self.segments.read(shard, segment, &node);
            }
        }
    }

    fn happened(&mut self, now: Now, happened: Happened) {
        let event = match happened {
            Happened::HasRoom => return,
            Happened::Opened => StreamEvent::Up,
            Happened::Broke => StreamEvent::Down,
            Happened::Frame(frame) => match convert::from_owner(frame) {
                Ok(frame) => StreamEvent::Frame(frame),
                Err(why) => {
                    tracing::error!(%why, "the owner of rooms sent what cannot be read");
                    self.stream = OwnerStream::default();
                    StreamEvent::Down
                }
            },
        };
        if let StreamEvent::Frame(FromOwner::Heartbeat) = event {
            tracing::trace!("heartbeat from the owner");
        }
        self.near.handle_stream(now, event);
    }

    /// Empties the machine; answers whether something waits for room in the stream.
    async fn pump(&mut self) -> bool {
        loop {
            while let Some(to_shards) = self.near.poll_shards() {
                self.deliver(to_shards).await;
            }
            if self.stream.is_open() {
                let Some(permit) = self.stream.try_reserve() else {
                    return true;
                };
                match self.near.poll_stream() {
                    None => return false,
                    Some(StreamOp::Send(frame)) => permit.send(convert::to_owner(&frame)),
                    Some(op) => {
                        drop(permit);
                        self.steer(op);
                    }
                }
            } else {
                match self.near.poll_stream() {
                    None => return false,
                    Some(op) => self.steer(op),
                }
            }
        }
    }

    fn steer(&mut self, op: StreamOp) {
        match op {
            StreamOp::Open { node } => {
                let channel = (self.context.owners.dial)(&node);
                self.segments.dialled(&node, channel.clone());
                self.stream = OwnerStream::open(&node, channel);
            }
            StreamOp::Close => self.stream = OwnerStream::default(),
            StreamOp::Send(_) => debug_assert!(false, "frames are sent on open streams only"),
        }
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
