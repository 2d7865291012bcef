//! Time for the machines, read in one place.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::Now;
use tokio::time::Instant;

/// Makes [`Now`]: waits come from tokio's clock, so that whoever pauses or simulates that one owns
/// them; what people see comes from the given wall clock.
#[derive(Clone)]
pub struct Clock {
    zero: Instant,
    wall: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Clock {
    /// The machine's clock. Its monotonic zero is this moment.
    #[must_use]
    pub fn system() -> Clock {
        Clock::with_wall(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis() as u64)
        })
    }

    /// A clock whose wall time, in milliseconds since the epoch, is what `wall` says.
    #[must_use]
    pub fn with_wall(wall: impl Fn() -> u64 + Send + Sync + 'static) -> Clock {
        Clock { zero: Instant::now(), wall: Arc::new(wall) }
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono_us: self.zero.elapsed().as_micros() as u64, wall_ms: (self.wall)() }
    }

    /// When a machine's deadline is, for a timer.
    #[must_use]
    pub fn instant(&self, at: Now) -> Instant {
        self.zero + Duration::from_micros(at.mono_us)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish()
    }
}
