//! How long things took.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that is told apart from longer ones: an hour.
const MAX_US: u64 = 3_600_000_000;

/// Latencies in microseconds, three digits precise.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Histogram::new_with_bounds(1, MAX_US, 3).expect("1 < an hour, and 3 digits"))
    }
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, us: u64) {
        self.0.saturating_record(us.max(1));
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What is told of them.
    #[must_use]
    pub fn summary(&self) -> Latency {
        let ms = |us: u64| us as f64 / 1_000.0;
        Latency {
            p50_ms: ms(self.0.value_at_quantile(0.5)),
            p99_ms: ms(self.0.value_at_quantile(0.99)),
            max_ms: ms(self.0.max()),
        }
    }
}

/// Latencies, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half are at most this.
    pub p50_ms: f64,
    /// 99 of 100 are at most this.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_ms, p99_ms, max_ms } = self;
        write!(f, "p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, max {max_ms:.2} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_latencies_are_summed_up_together() {
        let (mut all, mut slow) = (Latencies::default(), Latencies::default());
        (1..=99).for_each(|_| all.record(1_000));
        slow.record(50_000);
        all.add(&slow);
        let summary = all.summary();
        assert_eq!(all.count(), 100);
        assert!((summary.p50_ms - 1.0).abs() < 0.01, "{summary}");
        assert!((summary.max_ms - 50.0).abs() < 0.1, "{summary}");
        assert!(summary.p99_ms < 1.1, "{summary}");
    }
}
