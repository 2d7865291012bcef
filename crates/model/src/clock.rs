//! Time and randomness as arguments: machines never read either for themselves.

/// A moment, as a shell read it: a monotonic clock for waits and the wall clock for what people see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now {
    /// Microseconds of a clock that never goes back; its zero is the process's own.
    pub mono_us: u64,
    /// Milliseconds since the epoch, UTC; may jump.
    pub wall_ms: u64,
}

impl Now {
    /// This moment, `ms` milliseconds later on both clocks.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Now {
        Now {
            mono_us: self.mono_us.saturating_add(ms.saturating_mul(1_000)),
            wall_ms: self.wall_ms.saturating_add(ms),
        }
    }

    /// Whether the monotonic clock has reached `deadline`.
    #[must_use]
    pub fn reached(self, deadline: Now) -> bool {
        self.mono_us >= deadline.mono_us
    }
}

/// A source of numbers for jitter and identifiers, seeded by the shell (xorshift64*, never secret).
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// Starts from any number; zero is replaced, as the generator would stay there.
    #[must_use]
    pub fn new(seed: u64) -> Seed {
        Seed(if seed == 0 { 0x9E37_79B9_7F4A_7C15 } else { seed })
    }

    /// The next number, uniform over `u64` (zero excepted).
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        match bound {
            0 => 0,
            b => ((u128::from(self.next_u64()) * u128::from(b)) >> 64) as u64,
        }
    }

    /// `length` characters of `[a-z0-9]`, about 5 bits each.
    pub fn letters(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        (0..length).map(|_| ALPHABET[self.below(32) as usize] as char).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_draw_stays_below_its_bound() {
        let mut seed = Seed::new(7);
        assert!((0..10_000).all(|_| seed.below(10) < 10));
        assert_eq!(seed.below(0), 0);
        assert_eq!(seed.letters(12).len(), 12);
    }
}
