//! What an edge is told when it is built.

use std::sync::Arc;

use cluster::Registry;
use model::{Limits, NodeId};
use tonic::transport::Channel;

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
    /// A channel to a node; asked again after the old one broke.
    pub dial: Arc<dyn Fn(&NodeId) -> Channel + Send + Sync>,
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Owners")
    }
}
