//! The slab: connections, the rooms they read, and what goes between them and the lanes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use model::{Answer, End, EndCode, Now, Refusal, RefusalCode, Seed, ServerFrame};
use session::log::{Frames, Logs, News, Request, SessionKey};
use session::server::{Action, Identity, IdentityFault, Next, ReadFault, Session, Slices};
use tokio::time::Instant;
use wire::{codec, ws};

use super::conn::{Conn, Farewell, Input, Read};
use super::ready::{Bell, ReadyList};
use super::run::ShardContext;
use super::timers::Timers;
use super::{Drain, Newcomer, Route, SHARD_SESSIONS_MAX, Shown, ToShard};
use crate::directory::Whereabouts;
use crate::edge::Shared;
use crate::frames::EdgeFrames;
use crate::identity::{Credentials, Unverified};
use crate::lane::{self, ToLane};

/// One read of a socket: as much as its buffer usually holds.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Reads of one socket before the next one has its turn.
const READS_PER_TURN: usize = 4;
/// Writes of one socket before the next one has its turn.
const WRITES_PER_TURN: usize = 8;
/// How long a connection whose session is over may take to close.
const FAREWELL_MS: u64 = 2_000;
/// Pause before what a full lane did not take is offered again.
const LANE_RETRY_MS: u64 = 5;

/// A shard's state; owned by its thread.
pub(super) struct Core {
    number: u32,
    shared: Arc<Shared>,
    logs: Logs,
    conns: Vec<Option<Box<Conn>>>,
    vacant: Vec<u32>,
    ready: Arc<ReadyList>,
    rings: Vec<u32>,
    rung: Vec<u32>,
    timers: Timers,
    scratch: Vec<u8>,
    /// What a lane must be told and had no room for. Bounded by rooms and sessions: each is told
    /// of a watch or a detach once.
    unsent: VecDeque<ToLane>,
    seed: Seed,
    now: Now,
}
