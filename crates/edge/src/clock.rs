//! Time for machines, read in one place.

use std::time::SystemTime;

use model::Now;
use tokio::time::Instant;

/// Makes [`Now`] from tokio's clock, so that a test which pauses time pauses the edge.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
    wall: Wall,
}

#[derive(Clone, Copy, Debug)]
enum Wall {
    /// The machine's.
    System,
    /// This many milliseconds since the epoch at `zero`, and on with tokio's clock.
    From(u64),
}

impl Clock {
    /// A clock whose monotonic zero is this moment.
    #[must_use]
    pub fn start() -> Clock {
        Clock { zero: Instant::now(), wall: Wall::System }
    }

    /// The same for a simulation: what people see, too, moves with tokio's clock. It is `wall_ms` now.
    #[must_use]
    pub fn simulated(wall_ms: u64) -> Clock {
        Clock { zero: Instant::now(), wall: Wall::From(wall_ms) }
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Now {
        let since = self.zero.elapsed();
        let wall_ms = match self.wall {
            Wall::System => {
                let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                wall.map_or(0, |since| since.as_millis() as u64)
            }
            Wall::From(wall_ms) => wall_ms + since.as_millis() as u64,
        };
        Now { mono_us: since.as_micros() as u64, wall_ms }
    }

    /// When a deadline of a machine is, for a timer.
    #[must_use]
    pub fn instant(&self, at: Now) -> Instant {
        self.zero + std::time::Duration::from_micros(at.mono_us)
    }
}
