//! What happened, in order: a hash of it to hold two runs against each other, and lines to read.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::time::Time;

/// FNV-1a, 64 bits.
const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01B3;

/// Takes events. Clones share one trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    time: Time,
    shown: bool,
    hash: Arc<Mutex<u64>>,
}

impl Trace {
    /// `shown`: every event is printed, too.
    pub(crate) fn new(time: Time, shown: bool) -> Trace {
        Trace { time, shown, hash: Arc::new(Mutex::new(OFFSET)) }
    }

    pub(crate) fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let line = format!("{:>9} {who}: {what}", self.time.now_us() / 1_000);
        if self.shown {
            eprintln!("{line}");
        }
        let mut hash = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        *hash = line.bytes().fold(*hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    }

    pub(crate) fn hash(&self) -> u64 {
        *self.hash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes an event.
macro_rules! note {
    ($trace:expr, $who:expr, $($what:tt)+) => {
        $trace.note($who, format_args!($($what)+))
    };
}
pub(crate) use note;
