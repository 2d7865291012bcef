//! What an edge is told when it is built.

use std::sync::Arc;
use std::time::Duration;

use cluster::{Node, Registry};
use model::{Limits, NodeId};
use tonic::transport::{Channel, Endpoint};

use crate::identity::Door;

/// The settings of an edge.
#[derive(Debug)]
pub struct Config {
    /// This process.
    pub node: NodeId,
    /// Bounds of sessions.
    pub limits: Arc<Limits>,
    /// Threads that hold sockets; 0: one per core.
    pub shards: usize,
    /// Streams to each owner.
    pub lanes: usize,
    /// Origins of pages that may connect, beside the edge's own.
    pub origins: Vec<String>,
    /// Whether browsers are served: a room server's edge is for native clients only.
    pub websocket: bool,
    /// Lets people in.
    pub door: Door,
    /// Clients that the gateway sends on in a second; more are told when to ask again. See
    /// [`CONNECTS_PER_SECOND`].
    pub connects_per_second: u32,
}

/// What one gateway lets in by default: what the handshakes of a herd may cost the edges behind it while
/// they serve others. Ten thousand are back after twenty seconds.
pub const CONNECTS_PER_SECOND: u32 = 500;

impl Config {
    /// What is wrong with it, each fault as a sentence.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut faults = self.limits.check();
        let shards_max = link::SHARDS_MAX as usize;
        if self.shards > shards_max {
            faults.push(format!("shards ({}) must be at most {shards_max}", self.shards));
        }
        if self.lanes == 0 || self.lanes > LANES_MAX {
            faults.push(format!("lanes ({}) must be between 1 and {LANES_MAX}", self.lanes));
        }
        if self.connects_per_second == 0 {
            faults.push("connects_per_second must be above 0".to_owned());
        }
        faults
    }

    /// How many shards that is on this machine.
    pub(crate) fn shard_count(&self) -> usize {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
        .min(link::SHARDS_MAX as usize)
    }
}

/// More streams than this to one owner only cost wakes.
const LANES_MAX: usize = 64;

/// How an edge reaches the owners of rooms.
#[derive(Clone)]
pub struct Owners {
    /// Who owns what.
    pub registry: Arc<dyn Registry>,
    /// A channel to a room server of the registry, at its internal listener ([`Node::link`]). Asked for
    /// each stream and each connection for segments, and again after one broke; a channel that is not
    /// in-process wants [`link_settings`].
    pub dial: Arc<dyn Fn(&Node) -> Channel + Send + Sync>,
}

/// Bytes of one stream of the link that may be in flight, each way: what a busy room server says in
/// some ten milliseconds.
pub const LINK_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of one connection: far more than its few streams take, so that a slow one does not stop the
/// others. hyper's own default is that of one stream.
pub const LINK_CONNECTION_WINDOW_BYTES: u32 = 16 * LINK_STREAM_WINDOW_BYTES;
/// A node that does not take a connection within this is dead or cut off: half of what a silent one may
/// take on a stream.
pub const LINK_CONNECT_WITHIN: Duration = Duration::from_millis(300);
/// A call on a connection without a lane's stream, which has heartbeats of its own, is given up within
/// twice this when the node is dead. Idle connections are left alone.
const LINK_KEEPALIVE: Duration = Duration::from_secs(1);

const _: () = assert!(LINK_CONNECT_WITHIN.as_millis() < link::SILENCE_MS as u128);

/// How every connection of the link is set, whatever it is made of.
#[must_use]
pub fn link_settings(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(LINK_CONNECT_WITHIN)
        .tcp_nodelay(true)
        .initial_stream_window_size(LINK_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(LINK_CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(LINK_KEEPALIVE)
        .keep_alive_timeout(LINK_KEEPALIVE)
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Owners")
    }
}
