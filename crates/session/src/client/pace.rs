//! How much a client asks at a time: no more than the server has said that it takes, and less after it
//! was refused. Whoever goes on being refused is ended as a flood, so obeying `retryAfterMs` is not
//! enough for somebody who pastes a thousand lines.

use model::Limits;

/// How far ahead of the rate requests may go: half of what a server allows, so that frames which the
/// network bunches together are not refused.
const BURST_US: u64 = 500_000;

/// Which of a server's rates a request counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    /// Publishes and signals.
    Publishes,
    /// Subscribes that hello does not hold.
    Subscribes,
    /// Everything else.
    Requests,
}

#[derive(Debug)]
pub(super) struct Pace {
    per_second: [u32; 3],
    /// When each bucket would be full again.
    full_at_us: [u64; 3],
    /// Publishes that may be out: one after a refusal, then twice as many with each acknowledgement.
    window: usize,
    window_max: usize,
}

impl Pace {
    /// The contract's rates, until a welcome names the server's own.
    pub(super) fn new(window_max: usize) -> Pace {
        let window_max = window_max.max(1);
        let mut pace =
            Pace { per_second: [1; 3], full_at_us: [0; 3], window: window_max, window_max };
        pace.handle_limits(&Limits::default());
        pace
    }

    pub(super) fn handle_limits(&mut self, told: &Limits) {
        let rates =
            [told.publishes_per_second, told.subscribes_per_second, told.requests_per_second];
        self.per_second = rates.map(|rate| rate.max(1));
    }

    /// Takes one request's share.
    ///
    /// # Errors
    /// The time at which there will be one.
    pub(super) fn take(&mut self, rate: Rate, now_us: u64) -> Result<(), u64> {
        let cost_us = 1_000_000 / u64::from(self.per_second[rate as usize]);
        let full_at_us = &mut self.full_at_us[rate as usize];
        let then_us = (*full_at_us).max(now_us) + cost_us;
        let admitted_at_us = then_us.saturating_sub(BURST_US.max(cost_us));
        if admitted_at_us > now_us {
            return Err(admitted_at_us);
        }
        *full_at_us = then_us;
        Ok(())
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    pub(super) fn handle_refused(&mut self) {
        self.window = 1;
    }

    pub(super) fn handle_acknowledged(&mut self) {
        self.window = (self.window * 2).min(self.window_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_second_ahead_and_then_the_stated_rate() {
        let mut pace = Pace::new(32);
        let start = 9_000_000;
        let taken = (0..100).filter(|_| pace.take(Rate::Publishes, start).is_ok()).count();
        assert_eq!(taken, 25, "half of 50 a second");
        let at_us = pace.take(Rate::Publishes, start).expect_err("the burst is used up");
        assert_eq!(at_us, start + 20_000);
        assert_eq!(pace.take(Rate::Publishes, at_us), Ok(()));
        assert_eq!(pace.take(Rate::Requests, start), Ok(()), "each rate for itself");
    }

    #[test]
    fn a_rate_of_one_a_second_still_admits_one() {
        let mut pace = Pace::new(32);
        pace.handle_limits(&Limits { publishes_per_second: 1, ..Limits::default() });
        assert_eq!(pace.take(Rate::Publishes, 0), Ok(()));
        assert_eq!(pace.take(Rate::Publishes, 0), Err(1_000_000));
        assert_eq!(pace.take(Rate::Publishes, 1_000_000), Ok(()));
    }

    #[test]
    fn after_a_refusal_one_at_a_time_and_soon_as_many_as_before() {
        let mut pace = Pace::new(32);
        pace.handle_refused();
        assert_eq!(pace.window(), 1);
        (0..5).for_each(|_| pace.handle_acknowledged());
        assert_eq!(pace.window(), 32);
    }
}
