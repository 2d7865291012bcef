//! Faults that a test injects into the embedded engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const NONE: u8 = 0;
const LOST: u8 = 1;
const APPLIED: u8 = 2;

/// Shared by whoever has a copy; without orders nothing fails.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    orders: Arc<Orders>,
}

#[derive(Debug)]
struct Orders {
    commit: AtomicU8,
    free_bytes: AtomicU64,
}

impl Default for Orders {
    fn default() -> Orders {
        Orders { commit: AtomicU8::new(NONE), free_bytes: AtomicU64::new(u64::MAX) }
    }
}

/// What a commit that was ordered to fail leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitFault {
    Lost,
    Applied,
}

impl Faults {
    /// The next transaction fails; it has been applied or not.
    pub fn fail_next_commit(&self, applied: bool) {
        let order = if applied { APPLIED } else { LOST };
        self.orders.commit.store(order, Ordering::SeqCst);
    }

    /// Pretends that the disk has so many bytes free; `None` ends it.
    pub fn pretend_free_bytes(&self, bytes: Option<u64>) {
        self.orders.free_bytes.store(bytes.unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    pub(super) fn take_commit(&self) -> Option<CommitFault> {
        match self.orders.commit.swap(NONE, Ordering::SeqCst) {
            LOST => Some(CommitFault::Lost),
            APPLIED => Some(CommitFault::Applied),
            _ => None,
        }
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        Some(self.orders.free_bytes.load(Ordering::SeqCst)).filter(|bytes| *bytes != u64::MAX)
    }
}
