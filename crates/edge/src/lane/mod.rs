//! Lanes: the streams from this edge to the owners of rooms.
//!
//! A room always goes over the same lane, so that an answer and the pushes of its room keep their
//! order. A lane is one task around one [`link::Lane`]; everything that must not be forgotten lies in
//! that machine, the task only moves frames. It has one stream to each owner that it needs; pieces of
//! logs for laggards come over connections of their own ([`segments`]).

mod segments;
mod stream;
mod streams;
mod suspects;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use cluster::{Registry, View, slot_of};
use link::{LaneConfig, LocalKey};
use model::{
    Answer, Ask, AskBody, NodeId, Now, Refusal, RefusalCode, RoomName, Seed, Unsubscribed,
    UnsubscribedCode,
};
use session::log::Segment;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::config::Owners;
use crate::shard::Shards;
use suspects::Reports;

/// Messages that may wait for a lane: a few wakes' worth of the busiest edge.
const INBOX_MAX: usize = 8_192;
/// When to come back after a lane's inbox was full.
const BUSY_RETRY_MS: u64 = 250;

/// What a lane is told.
#[derive(Debug)]
pub(crate) enum ToLane {
    /// A session asks.
    Ask(LocalKey, Box<Ask>),
    /// Somebody without a session asks.
    Unary(Box<Ask>, oneshot::Sender<Answer>),
    /// A shard has its first reader of a room.
    Watch(u32, RoomName),
    /// A shard's last reader of a room is gone.
    Unwatch(u32, RoomName),
    /// A shard wants a piece of a room's log.
    Segment(u32, Segment),
}

impl ToLane {
    fn room(&self) -> &RoomName {
        match self {
            ToLane::Ask(_, ask) | ToLane::Unary(ask, _) => &ask.room,
            ToLane::Watch(_, room) | ToLane::Unwatch(_, room) => room,
            ToLane::Segment(_, segment) => &segment.room,
        }
    }
}

/// The way to all lanes.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    inboxes: Arc<[mpsc::Sender<ToLane>]>,
}

/// The receiving ends, until the lanes are started.
#[derive(Debug)]
pub(crate) struct LaneInboxes(Vec<mpsc::Receiver<ToLane>>);

/// What all lanes of an edge share.
#[derive(Clone)]
pub(crate) struct LaneContext {
    pub(crate) clock: Clock,
    pub(crate) owners: Owners,
    pub(crate) shards: Shards,
    reports: Reports,
}

impl LaneContext {
    pub(crate) fn new(edge: NodeId, clock: Clock, owners: Owners, shards: Shards) -> LaneContext {
        LaneContext { clock, owners, shards, reports: Reports::new(edge) }
    }
}

impl Lanes {
    pub(crate) fn new(count: usize) -> (Lanes, LaneInboxes) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::channel(INBOX_MAX)).unzip();
        (Lanes { inboxes: senders.into() }, LaneInboxes(receivers))
    }

    /// Hands a message to its room's lane; gives it back when the lane is full.
    pub(crate) fn send(&self, message: ToLane) -> Result<(), ToLane> {
        let lane = slot_of(message.room(), self.inboxes.len() as u32) as usize;
        self.inboxes[lane].try_send(message).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Asks on behalf of somebody without a session.
    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        let (sender, receiver) = oneshot::channel();
        match self.send(ToLane::Unary(Box::new(ask), sender)) {
            Ok(()) => receiver.await.unwrap_or_else(|_| {
                Answer::Refused(Refusal::new(RefusalCode::Unavailable).retry_after(BUSY_RETRY_MS))
            }),
            Err(message) => busy(&message),
        }
    }
}

/// The answer to an ask for which there was no room.
pub(crate) fn busy(message: &ToLane) -> Answer {
    match message {
        ToLane::Ask(_, ask) | ToLane::Unary(ask, _)
            if matches!(ask.body, AskBody::Attach { .. } | AskBody::Summary) =>
        {
            let why = Unsubscribed::new(UnsubscribedCode::Unavailable);
            Answer::Unsubscribed(why.retry_after(BUSY_RETRY_MS))
        }
        _ => Answer::Refused(Refusal::new(RefusalCode::Busy).retry_after(BUSY_RETRY_MS)),
    }
}

impl LaneInboxes {
    /// Starts one task a lane. They end when every [`Lanes`] is gone.
    pub(crate) fn start(
        self,
        config: &LaneConfig,
        context: &LaneContext,
        seed: &mut Seed,
        now: Now,
    ) {
        let view = context.owners.registry.view();
        let (sender, views) = watch::channel(Arc::clone(&view));
        tokio::spawn(follow(Arc::clone(&context.owners.registry), sender));
        for (lane, inbox) in self.0.into_iter().enumerate() {
            let config = LaneConfig { lane: lane as u32, ..config.clone() };
            let seed = Seed::new(seed.next_u64());
            let machine = link::Lane::new(now, config, Arc::clone(&view), seed);
            tokio::spawn(task::Lane::new(machine, inbox, context.clone(), views.clone()).run());
        }
    }
}

/// Hands each view of the registry to all lanes, until they are gone.
async fn follow(registry: Arc<dyn Registry>, views: watch::Sender<Arc<View>>) {
    let mut version = views.borrow().version;
    loop {
        let view = tokio::select! {
            view = registry.changed(version) => view,
            () = views.closed() => return,
        };
        version = view.version;
        views.send_replace(view);
    }
}
