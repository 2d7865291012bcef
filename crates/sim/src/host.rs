//! A process: a runtime of its own, which the world's one thread lets run for a tick at a time.
//!
//! So a process can be killed (its runtime is dropped, with every task and every pipe of it) or stopped
//! (it gets no more ticks, while its peers' time goes on), whatever it is made of. Its clock stands still
//! between ticks; one that was stopped finds that time has gone on without it.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep_until};

use crate::time::Time;

/// A process. Dropping it kills it.
pub(crate) struct Host {
    pub(crate) name: String,
    runtime: Runtime,
    /// When it began, by its own clock and by the world's.
    zero: Instant,
    began_us: u64,
    time: Time,
    /// Until when it is stopped.
    stopped_until_us: Option<u64>,
}

impl Host {
    pub(crate) fn new(name: &str, time: &Time) -> Host {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without sockets is built");
        let zero = runtime.block_on(async { Instant::now() });
        Host {
            name: name.to_owned(),
            runtime,
            zero,
            began_us: time.now_us(),
            time: time.clone(),
            stopped_until_us: None,
        }
    }

    /// Does something in it, at once.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped_until_us.is_some()
    }

    /// It gets no more time, until then.
    pub(crate) fn stop(&mut self, until_us: u64) {
        self.stopped_until_us = Some(until_us);
    }

    /// It runs until the world's time. Answers whether it was stopped until now.
    pub(crate) fn tick(&mut self) -> bool {
        let now_us = self.time.now_us();
        if self.stopped_until_us.is_some_and(|until_us| now_us < until_us) {
            return false;
        }
        let now = self.zero + Duration::from_micros(now_us - self.began_us);
        let was_stopped = self.stopped_until_us.take().is_some();
        self.runtime.block_on(async {
            if was_stopped {
                tokio::time::advance(now.duration_since(Instant::now())).await;
            }
            sleep_until(now).await;
        });
        was_stopped
    }
}
