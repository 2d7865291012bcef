//! Shards: threads that hold the sockets and their sessions.
//!
//! A shard is one thread with a current-thread runtime that runs one task over a slab of sessions.
//! There is no task, channel or queue per session, no hop and no lock on the way of a delivery: the
//! shard walks the members of a room and writes. What shards share is immutable.
//!
//! # Invariants
//! - A session and its socket are touched by their shard's thread alone.
//! - A socket that takes no bytes is left until its waker rings; nobody waits for it.
//! - An idle session holds no buffer.

mod conn;
mod core;
pub(crate) mod entrance;
mod io;
mod ready;
mod run;
mod socket;
mod timers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use link::LocalKey;
use model::{Answer, End, Generation, RoomName, SessionId, Unsubscribed};
use session::log::{Feed, Frame, Segment, SegmentFault, SessionKey, WireKind};
use tokio::sync::mpsc;

pub(crate) use run::{ShardContext, run, start};
pub(crate) use socket::Parked;
use socket::Socket;

use crate::front::admission::Place;

/// Messages that may wait for a shard; lanes wait when it is full, and the link behind them.
const INBOX_MAX: usize = 4_096;

/// What was shown at the door before the first frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) token: Option<String>,
    pub(crate) name: Option<String>,
}

/// A connection on its way into a shard.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) socket: Parked,
    pub(crate) wire: WireKind,
    /// Shared with whoever outlives the session, such as a gRPC stream that is not read.
    pub(crate) place: Arc<Place>,
    /// Bytes that came behind the handshake.
    pub(crate) received: Vec<u8>,
    /// Credentials in gRPC metadata.
    pub(crate) shown: Option<Shown>,
}

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum ToShard {
    Open(Box<Newcomer>),
    Feed(RoomName, Feed),
    Answer(SessionKey, u32, Answer),
    /// A session's attachment did not survive a cut of the link.
    Detached(SessionKey, SessionId, RoomName, Unsubscribed),
    Segment(Segment, Result<Arc<[Arc<Frame>]>, SegmentFault>),
    /// A newer connection of the session is here: this one ends.
    Replaced(SessionKey, SessionId, Generation),
    /// Every session ends, or moves.
    Drain(Drain),
}

/// How sessions leave.
#[derive(Clone, Debug)]
pub(crate) enum Drain {
    /// Each is told the end, with its own share of the time to come back.
    End {
        end: End,
        /// Milliseconds over which the herd is spread.
        spread_ms: u64,
    },
    /// Some of those that were not asked yet are asked to go elsewhere.
    Move(Arc<Wave>),
}

/// Sessions that move together, whichever shard they are in.
#[derive(Debug)]
pub(crate) struct Wave {
    /// How many of them are still to be asked.
    left: AtomicUsize,
    /// How long they may take.
    pub(crate) within_ms: u64,
    /// The cluster, to find them a place.
    pub(crate) view: Arc<cluster::View>,
}

impl Wave {
    pub(crate) fn new(sessions: usize, within_ms: u64, view: Arc<cluster::View>) -> Wave {
        Wave { left: AtomicUsize::new(sessions), within_ms, view }
    }

    /// Takes one session's part; answers whether there was one left.
    fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
    }
}

/// The way to all shards.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    inboxes: Arc<[mpsc::Sender<ToShard>]>,
    next: Arc<AtomicUsize>,
}

impl Shards {
    pub(crate) fn new(count: usize) -> (Shards, Vec<mpsc::Receiver<ToShard>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::channel(INBOX_MAX)).unzip();
        (Shards { inboxes: senders.into(), next: Arc::default() }, receivers)
    }

    /// Gives a connection to the shards in turn. A shard that is gone closes it.
    pub(crate) async fn open(&self, newcomer: Newcomer) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        self.send(turn as u32, ToShard::Open(Box::new(newcomer))).await;
    }

    /// Tells a shard; waits while its inbox is full.
    pub(crate) async fn send(&self, shard: u32, message: ToShard) {
        if let Some(inbox) = self.inboxes.get(shard as usize) {
            // The shard is gone only when the process ends.
            let _ = inbox.send(message).await;
        }
    }

    /// Tells a shard from a place that must not wait; answers whether it was told.
    pub(crate) fn try_send(&self, shard: u32, message: ToShard) -> bool {
        self.inboxes.get(shard as usize).is_some_and(|inbox| inbox.try_send(message).is_ok())
    }

    /// Tells all shards.
    pub(crate) async fn drain(&self, drain: &Drain) {
        for inbox in self.inboxes.iter() {
            let _ = inbox.send(ToShard::Drain(drain.clone())).await;
        }
    }
}

/// Where the answer to an ask goes: packed into the number that travels through the lane. The ask's
/// number is the session's own and never used twice in a slab's place, so that a late answer to a
/// former session is inert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) shard: u32,
    pub(crate) session: SessionKey,
    pub(crate) ask: u32,
}

const SHARD_BITS: u32 = 6;
const SESSION_BITS: u32 = 25;
const ASK_BITS: u32 = 32;
const UNARY: u64 = 1 << 63;

/// Sessions of one shard: what the packing has room for, and far beyond the descriptors of a process.
pub(crate) const SHARD_SESSIONS_MAX: usize = 1 << SESSION_BITS;

const _: () = assert!(SHARD_BITS + SESSION_BITS + ASK_BITS == 63);
const _: () = assert!(link::SHARDS_MAX <= 1 << SHARD_BITS);

impl Route {
    pub(crate) fn pack(self) -> LocalKey {
        let shard = u64::from(self.shard) << (SESSION_BITS + ASK_BITS);
        let session = u64::from(self.session.0) << ASK_BITS;
        LocalKey(shard | session | u64::from(self.ask))
    }

    /// The session's route; `None` for somebody without a session.
    pub(crate) fn of(local: LocalKey) -> Option<Route> {
        (local.0 & UNARY == 0).then_some(Route {
            shard: (local.0 >> (SESSION_BITS + ASK_BITS)) as u32,
            session: SessionKey((local.0 >> ASK_BITS) as u32 & ((1 << SESSION_BITS) - 1)),
            ask: local.0 as u32,
        })
    }

    /// The number of a caller without a session.
    pub(crate) fn unary(caller: u64) -> LocalKey {
        LocalKey(UNARY | caller)
    }

    /// That number again.
    pub(crate) fn caller(local: LocalKey) -> u64 {
        local.0 & !UNARY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_survives_its_packing() {
        let route = Route { shard: 63, session: SessionKey((1 << 25) - 1), ask: u32::MAX };
        assert_eq!(Route::of(route.pack()), Some(route));
        assert_eq!(Route::of(Route::unary(9)), None);
        assert_eq!(Route::caller(Route::unary(9)), 9);
    }
}
