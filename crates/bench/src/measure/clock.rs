//! A clock that all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds of the machine's monotonic clock. A stamp of one process may be read by another.
#[must_use]
pub fn monotonic_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}
