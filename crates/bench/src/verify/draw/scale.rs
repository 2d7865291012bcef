//! From values to places, and the round values that are named beside an axis.

/// An axis of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to this.
    Linear(f64),
    /// From the first to the second, in equal steps for equal factors.
    Log(f64, f64),
}

impl Scale {
    /// Up to the next round value above `most`.
    pub(super) fn linear(most: f64) -> Scale {
        let step = step(most.max(1.0) / 3.0);
        Scale::Linear((most.max(1.0) / step).ceil() * step)
    }

    /// Whole decades around the values.
    pub(super) fn log(least: f64, most: f64) -> Scale {
        let low = least.max(0.01).log10().floor();
        let high = most.max(0.01).log10().ceil().max(low + 1.0);
        Scale::Log(10_f64.powf(low), 10_f64.powf(high))
    }

    /// Where a value is, 0 at the bottom and 1 at the top.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear(most) => value / most,
            Scale::Log(low, high) => {
                (value.max(low).log10() - low.log10()) / (high.log10() - low.log10())
            }
        };
        place.clamp(0.0, 1.0)
    }

    /// The values that are named.
    pub(super) fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Linear(most) => {
                let step = step(most / 3.0);
                (0..).map(|nth| f64::from(nth) * step).take_while(|v| *v <= most * 1.001).collect()
            }
            Scale::Log(low, high) => {
                let decades = (high / low).log10().round() as i32;
                (0..=decades).map(|nth| low * 10_f64.powi(nth)).collect()
            }
        }
    }
}

/// The round number (1, 2 or 5 times a power of ten) that is not below `least`.
pub(super) fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
    let rounds = [1.0, 2.0, 5.0, 10.0].into_iter().map(|round| round * power);
    rounds.into_iter().find(|round| *round >= least * 0.999).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_values_and_name_them() {
        assert_eq!(Scale::linear(873.0), Scale::Linear(1_000.0));
        assert_eq!(Scale::linear(873.0).ticks(), [0.0, 500.0, 1_000.0]);
        assert_eq!(Scale::linear(0.0).ticks(), [0.0, 0.5, 1.0]);
        assert_eq!(Scale::log(0.7, 3_400.0), Scale::Log(0.1, 10_000.0));
        let named = Scale::log(0.7, 80.0).ticks();
        assert!(named.iter().zip([0.1, 1.0, 10.0, 100.0]).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    #[test]
    fn equal_factors_are_equal_steps() {
        let scale = Scale::Log(1.0, 1_000.0);
        for (value, place) in [(0.0, 0.0), (1.0, 0.0), (10.0, 1.0 / 3.0), (1e9, 1.0)] {
            assert!((scale.place(value) - place).abs() < 1e-9, "{value}");
        }
        assert_eq!(Scale::Linear(10.0).place(5.0), 0.5);
    }
}
