//! How long to wait before something is tried again: never before the server's word, never in step
//! with everybody else.

use model::Seed;

/// The ceiling of the first wait before a lost connection is dialled again without a word from the
/// server: somebody whose server was killed is back before anybody looks, and a herd is paced by the
/// gateway, not by its own patience.
const REDIAL_FIRST_MS: u64 = 100;
/// The shortest wait once a dial has led nowhere.
const REDIAL_MIN_MS: u64 = 100;
/// The longest: a person looks at the screen that long, and a herd of 10,000 spreads over it.
const REDIAL_MAX_MS: u64 = 30_000;
/// What a second refusal adds; doubles with each further one.
const STEP_MS: u64 = 50;
/// The most that refusals add: a room's takeover is long over by then.
const STEP_MAX_MS: u64 = 5_000;

/// Full jitter below a ceiling that doubles with each failed attempt, from 0.1 s up to 30 s.
pub(super) fn redial_ms(seed: &mut Seed, attempts: u32) -> u64 {
    if attempts == 0 {
        return seed.below(REDIAL_FIRST_MS);
    }
    let ceiling = doubled(2 * REDIAL_MIN_MS, attempts).min(REDIAL_MAX_MS);
    REDIAL_MIN_MS + seed.below(ceiling - REDIAL_MIN_MS)
}

/// Never before `retry_after_ms`; `refusals` counts those that came before this one in a row, so
/// that "at once" is at once the first time only.
pub(super) fn retry_ms(seed: &mut Seed, retry_after_ms: u64, refusals: u32) -> u64 {
    let step = match refusals {
        0 => 0,
        n => doubled(STEP_MS, n - 1).min(STEP_MAX_MS),
    };
    let least = retry_after_ms.saturating_add(step / 2);
    least.saturating_add(seed.below(retry_after_ms / 2 + step / 2 + 1))
}

fn doubled(start: u64, times: u32) -> u64 {
    start.saturating_mul(1_u64.checked_shl(times).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_redial_comes_soon_and_later_ones_spread_over_half_a_minute() {
        let mut seed = Seed::new(3);
        assert!((0..100).all(|_| redial_ms(&mut seed, 0) < REDIAL_FIRST_MS));
        for attempts in 1..100 {
            let ms = redial_ms(&mut seed, attempts);
            assert!((REDIAL_MIN_MS..=REDIAL_MAX_MS).contains(&ms), "{attempts}: {ms}");
        }
        assert!((0..50).any(|_| redial_ms(&mut seed, 20) > 15_000), "the ceiling rises");
    }

    #[test]
    fn a_retry_is_never_early_and_at_once_only_the_first_time() {
        let mut seed = Seed::new(3);
        assert_eq!(retry_ms(&mut seed, 0, 0), 0);
        for refusals in 0..70 {
            assert!(retry_ms(&mut seed, 800, refusals) >= 800);
        }
        assert!(retry_ms(&mut seed, 0, 1) >= STEP_MS / 2);
        assert!(retry_ms(&mut seed, 0, 60) >= STEP_MAX_MS / 2);
    }
}
