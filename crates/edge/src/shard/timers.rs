//! When which session wants to be called.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::Now;
use session::log::SessionKey;

/// A heap of deadlines. A session's later wish replaces the earlier one lazily: what the heap gives
/// out is a hint, and the session says whether it has come.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Timers {
    /// Notes that `session` wants to be called at `at_us`.
    pub(super) fn arm(&mut self, session: SessionKey, at_us: u64) {
        self.heap.push(Reverse((at_us, session.0)));
    }

    /// The next session whose time has come.
    pub(super) fn due(&mut self, now: Now) -> Option<SessionKey> {
        let Reverse((at_us, _)) = *self.heap.peek()?;
        if at_us > now.mono_us {
            return None;
        }
        self.heap.pop().map(|Reverse((_, session))| SessionKey(session))
    }

    /// When the next one wants to be called.
    pub(super) fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_us, _))| *at_us)
    }
}
