//! What all drivers count while they run: for the progress line, the timeline, and whoever waits for them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::measure::monotonic_us;

/// Faults that are kept to be shown; the first ones tell most.
const FAULTS_MAX: usize = 10;

/// One driver's counts. Written by its task, read by the one that watches.
#[derive(Debug)]
pub(super) struct Tally {
    /// Clients that are told all their rooms.
    pub(super) arrived: AtomicU64,
    pub(super) deliveries: AtomicU64,
    pub(super) acknowledged: AtomicU64,
    pub(super) redials: AtomicU64,
    /// Clients with a connection that was welcomed.
    pub(super) live: AtomicI64,
    /// When the oldest message without an answer was meant to be sent; `u64::MAX` for none.
    pub(super) oldest_us: AtomicU64,
    /// Whether every message was handed over.
    pub(super) published: AtomicBool,
    /// Whether everything is answered and every reader is at its room's head.
    pub(super) settled: AtomicBool,
    /// How long publishes took that were acknowledged since this was last taken.
    took_us: Mutex<Vec<u64>>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            arrived: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            redials: AtomicU64::new(0),
            live: AtomicI64::new(0),
            oldest_us: AtomicU64::new(u64::MAX),
            published: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            took_us: Mutex::default(),
        }
    }
}

impl Tally {
    pub(super) fn took(&self, us: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.took_us.lock().unwrap_or_else(PoisonError::into_inner).push(us);
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.took_us.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All drivers' counts at one moment; those of events are totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) deliveries: u64,
    pub(super) acknowledged: u64,
    pub(super) redials: u64,
    pub(super) live: u64,
    /// Of the publishes that were acknowledged since the sample before.
    pub(super) publish_max_us: u64,
    pub(super) publish_p99_us: u64,
    /// How long the oldest publish without an answer has waited.
    pub(super) waiting_us: u64,
}

impl Sample {
    pub(super) fn take(tallies: &[Tally]) -> Sample {
        let sum = |counter: fn(&Tally) -> &AtomicU64| {
            tallies.iter().map(|tally| counter(tally).load(Ordering::Relaxed)).sum()
        };
        let live: i64 = tallies.iter().map(|tally| tally.live.load(Ordering::Relaxed)).sum();
        let mut took: Vec<u64> = tallies.iter().flat_map(Tally::take).collect();
        took.sort_unstable();
        let oldest = tallies.iter().map(|tally| tally.oldest_us.load(Ordering::Relaxed)).min();
        let oldest = oldest.filter(|us| *us < u64::MAX);
        Sample {
            deliveries: sum(|tally| &tally.deliveries),
            acknowledged: sum(|tally| &tally.acknowledged),
            redials: sum(|tally| &tally.redials),
            live: live.try_into().unwrap_or(0),
            publish_max_us: took.last().copied().unwrap_or(0),
            publish_p99_us: quantile(&took, 99),
            waiting_us: oldest.map_or(0, |us| monotonic_us().saturating_sub(us)),
        }
    }
}

/// Of sorted numbers, the least that so many of a hundred do not exceed; 0 of none.
pub(super) fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let nth = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(nth).copied().unwrap_or(0)
}

/// What made a run not clean beside what the checker finds.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<(u64, Vec<String>)>);

impl Faults {
    pub(super) fn note(&self, what: String) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.0 += 1;
        if faults.1.len() < FAULTS_MAX {
            faults.1.push(what);
        }
    }

    /// How many there were, and the first ones.
    pub(super) fn read(&self) -> (u64, Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_numbers() {
        let numbers: Vec<u64> = (1..=200).collect();
        assert_eq!((quantile(&numbers, 50), quantile(&numbers, 99)), (100, 198));
        assert_eq!((quantile(&[7], 99), quantile(&[7], 50), quantile(&[], 99)), (7, 7, 0));
    }

    #[test]
    fn a_sample_has_all_drivers_counts_and_takes_latencies_once() {
        let tallies = [Tally::default(), Tally::default()];
        tallies[0].took(5);
        tallies[1].took(9);
        tallies[1].live.store(3, Ordering::Relaxed);
        tallies[1].oldest_us.store(monotonic_us() - 1_000, Ordering::Relaxed);
        let sample = Sample::take(&tallies);
        assert_eq!((sample.acknowledged, sample.publish_max_us, sample.live), (2, 9, 3));
        assert!(sample.waiting_us >= 1_000);
        let again = Sample::take(&tallies);
        assert_eq!((again.acknowledged, again.publish_max_us), (2, 0));
    }
}
