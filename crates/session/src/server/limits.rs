//! How much a session may ask.

/// Requests beyond the rate that are admitted at once, in seconds of the rate.
const BURST_US: u64 = 1_000_000;
/// Refusals of the session's own making within [`FAULTS_WITHIN_MS`] that end it: a client that
/// obeys `retryAfterMs` collects a handful.
const FAULTS_MAX: u16 = 100;
const FAULTS_WITHIN_MS: u64 = 10_000;

/// A token bucket in one number: the moment at which it would be full again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at_us: u64,
}

impl Bucket {
    /// Takes a token.
    ///
    /// # Errors
    /// Milliseconds until there is one.
    pub(super) fn take(&mut self, now_us: u64, per_second: u32) -> Result<(), u64> {
        let cost_us = 1_000_000 / u64::from(per_second.max(1));
        let full_at_us = self.full_at_us.max(now_us) + cost_us;
        match full_at_us.checked_sub(now_us + BURST_US) {
            None | Some(0) => {
                self.full_at_us = full_at_us;
                Ok(())
            }
            Some(early_us) => Err(early_us.div_ceil(1_000)),
        }
    }
}

/// Counts what a client did wrong in the current stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    since_ms: u64,
    count: u16,
}

impl Faults {
    /// One more; answers whether it was one too many.
    pub(super) fn note(&mut self, now_ms: u64) -> bool {
        if now_ms >= self.since_ms + FAULTS_WITHIN_MS {
            *self = Faults { since_ms: now_ms, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count > FAULTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_admits_a_burst_and_then_its_rate_and_says_when_to_come_back() {
        let mut bucket = Bucket::default();
        let start = 77_000_000;
        assert!((0..50).all(|_| bucket.take(start, 50).is_ok()));
        assert_eq!(bucket.take(start, 50), Err(20));
        assert_eq!(bucket.take(start + 19_000, 50), Err(1));
        assert_eq!(bucket.take(start + 20_000, 50), Ok(()));
        assert!(bucket.take(start + 20_000, 50).is_err());
        let later = start + 60_000_000;
        assert_eq!((0..1_000).filter(|_| bucket.take(later, 50).is_ok()).count(), 50);
    }

    #[test]
    fn faults_are_counted_within_ten_seconds() {
        let mut faults = Faults::default();
        assert!((0..100).all(|_| !faults.note(100_000)));
        assert!(faults.note(100_001));
        assert!(!faults.note(110_001));
    }
}
