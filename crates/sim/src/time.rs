//! The simulation's own time, which every host's clock follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One step of the world: nothing between hosts happens faster.
pub(crate) const TICK_US: u64 = 1_000;

/// Milliseconds since the epoch when a run begins.
pub(crate) const WALL_MS: u64 = 1_760_000_000_000;

/// Microseconds since the run began. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn now_us(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn tick(&self) {
        self.0.fetch_add(TICK_US, Ordering::Relaxed);
    }

    /// What people see.
    pub(crate) fn wall_ms(&self) -> u64 {
        WALL_MS + self.now_us() / 1_000
    }
}
