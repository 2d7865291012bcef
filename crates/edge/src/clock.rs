//! Time for machines, read in one place.

use std::time::SystemTime;

use model::Now;
use tokio::time::Instant;

/// Makes [`Now`] from tokio's clock, so that a test which pauses time pauses the edge.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
}

impl Clock {
    /// A clock whose monotonic zero is this moment.
    #[must_use]
    pub fn start() -> Clock {
        Clock { zero: Instant::now() }
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Now {
            mono_us: self.zero.elapsed().as_micros() as u64,
            wall_ms: wall.map_or(0, |since| since.as_millis() as u64),
        }
    }

    /// When a deadline of a machine is, for a timer.
    #[must_use]
    pub fn instant(&self, at: Now) -> Instant {
        self.zero + std::time::Duration::from_micros(at.mono_us)
    }
}
