//! Ticks of a fixed rate, far finer than the runtime's timer of a millisecond.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::monotonic_us;

/// Before the first tick: whoever waits has to be waiting by then.
const LEAD_US: u64 = 20_000;
const NANOS: u64 = 1_000_000_000;

/// A timer of the kernel. It counts ticks that were missed, so that the load does not depend on how the
/// generator keeps up.
#[derive(Debug)]
pub struct Metronome {
    timer: OwnedFd,
    start_us: u64,
    rate: u64,
    ticks: u64,
}

impl Metronome {
    /// Ticks `rate` times a second, from shortly after now on.
    ///
    /// # Errors
    /// The kernel has no timer for us, or the rate is 0 or above a million.
    pub fn start(rate: u64) -> io::Result<Metronome> {
        if rate == 0 || rate > 1_000_000 {
            return Err(io::Error::other("a rate is 1 to 1,000,000 a second"));
        }
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let start_us = monotonic_us() + LEAD_US;
        let setting =
            Itimerspec { it_interval: span(NANOS / rate), it_value: span(start_us * 1_000) };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        Ok(Metronome { timer, start_us, rate, ticks: 0 })
    }

    /// The times of all ticks since the last call, as they were meant; empty if there was none.
    ///
    /// # Errors
    /// The timer cannot be read.
    pub fn ticked(&mut self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        let mut count = [0; 8];
        let fresh = match rustix::io::read(&self.timer, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        let (from, start_us, rate) = (self.ticks, self.start_us, self.rate);
        self.ticks += fresh;
        Ok((from..self.ticks).map(move |tick| start_us + tick * 1_000_000 / rate))
    }
}

impl AsFd for Metronome {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl std::os::fd::AsRawFd for Metronome {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.timer.as_raw_fd()
    }
}

fn span(nanos: u64) -> Timespec {
    Timespec { tv_sec: (nanos / NANOS) as i64, tv_nsec: (nanos % NANOS) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn missed_ticks_are_counted_and_keep_their_times() {
        let timer = tokio::io::unix::AsyncFd::new(Metronome::start(1_000).expect("a timer"));
        let mut timer = timer.expect("a runtime");
        let mut times = Vec::new();
        while times.len() < 50 {
            let mut guard = timer.readable_mut().await.expect("a timer");
            times.extend(guard.get_inner_mut().ticked().expect("a timer"));
            guard.clear_ready();
        }
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "{times:?}");
        assert!(times[49] <= monotonic_us());
        assert!(Metronome::start(0).is_err());
    }
}
