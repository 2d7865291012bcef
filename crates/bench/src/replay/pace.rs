//! How fast a conversation is replayed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

/// `max`, or how many times faster than it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as is acknowledged, with a bounded number in flight.
    Max,
    /// This many times faster than it was.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Speed::Max),
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
            _ => Err("write max, or a number above 0 such as 60".to_owned()),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speed::Max => f.write_str("max"),
            Speed::Times(times) => write!(f, "{times}"),
        }
    }
}

/// When the steps of one room are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    speed: Speed,
    start: Instant,
    first_ms: u64,
}

impl Pace {
    /// The step of `first_ms` is due at `start`.
    pub(super) fn new(speed: Speed, start: Instant, first_ms: u64) -> Pace {
        Pace { speed, start, first_ms }
    }

    /// When a step is due; `None`: as soon as may be.
    pub(super) fn due(&self, at_ms: u64) -> Option<Instant> {
        match self.speed {
            Speed::Max => None,
            Speed::Times(times) => {
                let ms = at_ms.saturating_sub(self.first_ms) as f64 / times;
                Some(self.start + Duration::from_micros((ms * 1_000.0) as u64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_max_or_a_number_above_zero() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for bad in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_minute_takes_a_second_at_sixty_times_the_speed() {
        let start = Instant::now();
        let pace = Pace::new(Speed::Times(60.0), start, 1_000);
        assert_eq!(pace.due(61_000), Some(start + Duration::from_secs(1)));
        assert_eq!(Pace::new(Speed::Max, start, 1_000).due(61_000), None);
    }
}
