//! Ticks of a fixed rate, far finer than the runtime's timer of a millisecond.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

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
        match rustix::io::read(&self.timer, &mut count) {
            Ok(_) => Ok(self.advance(u64::from_ne_bytes(count))),
            Err(rustix::io::Errno::AGAIN) => Ok(self.advance(0)),
            Err(error) => Err(error.into()),
        }
    }

    fn advance(&mut self, fresh: u64) -> impl Iterator<Item = u64> + use<> {
        let (from, start_us, rate) = (self.ticks, self.start_us, self.rate);
        self.ticks += fresh;
        (from..self.ticks).map(move |tick| start_us + tick * 1_000_000 / rate)
    }
}

impl AsFd for Metronome {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// A metronome for tasks.
#[derive(Debug)]
pub struct Ticker {
    metronome: Metronome,
    /// The timer is no pipe, but is read like one; the runtime has no safe name for what it is.
    readable: Receiver,
}

impl Ticker {
    /// Ticks `rate` times a second, from shortly after now on.
    ///
    /// # Errors
    /// As for [`Metronome::start`].
    pub fn start(rate: u64) -> io::Result<Ticker> {
        let metronome = Metronome::start(rate)?;
        let readable = Receiver::from_owned_fd_unchecked(metronome.timer.try_clone()?)?;
        Ok(Ticker { metronome, readable })
    }

    /// Waits for the next tick. Answers the times of all that were since the last call, as they were
    /// meant. May be dropped and called again.
    ///
    /// # Errors
    /// The timer cannot be read.
    pub async fn tick(&mut self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        loop {
            self.readable.readable().await?;
            let mut count = [0; 8];
            match self.readable.try_read(&mut count) {
                Ok(_) => return Ok(self.metronome.advance(u64::from_ne_bytes(count))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
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
        let mut ticker = Ticker::start(1_000).expect("a timer");
        let mut times = Vec::new();
        while times.len() < 50 {
            times.extend(ticker.tick().await.expect("a timer"));
        }
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "{times:?}");
        assert!(times[49] <= monotonic_us());
        assert!(Metronome::start(0).is_err());
    }
}
