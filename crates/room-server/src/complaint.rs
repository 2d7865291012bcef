//! One line a second about what fails many times a second: a journal that is away fails every append of
//! every slot, and whoever reads the log needs to know it once.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Now;

/// Milliseconds between two lines.
const EVERY_MS: u64 = 1_000;

/// Says when a line is due.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    /// When the next line may be written, in microseconds.
    next_us: AtomicU64,
    left_out: AtomicU64,
}

impl Complaint {
    /// Whether this one is to be written; if so, with how many were left out before it.
    pub(crate) fn due(&self, now: Now) -> Option<u64> {
        let next = self.next_us.load(Ordering::Relaxed);
        let then = now.mono_us + EVERY_MS * 1_000;
        let ours = now.mono_us >= next
            && self
                .next_us
                .compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if ours {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_a_second_that_counts_those_left_out() {
        let complaint = Complaint::default();
        let at = |ms: u64| Now { mono_us: ms * 1_000, wall_ms: 0 };
        assert_eq!(complaint.due(at(5)), Some(0));
        assert_eq!(complaint.due(at(6)), None);
        assert_eq!(complaint.due(at(1_004)), None);
        assert_eq!(complaint.due(at(1_005)), Some(2));
    }
}
