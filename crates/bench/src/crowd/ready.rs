//! Which members of a crowd want to be polled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The list that wakers of members write to, and that the crowd's task reads.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    /// Never longer than there are bells: each stands here at most once.
    indices: Mutex<VecDeque<usize>>,
    task: AtomicWaker,
}

impl ReadyList {
    pub(super) fn pop(&self) -> Option<usize> {
        self.lock().pop_front()
    }

    pub(super) fn register(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<usize>> {
        // A list of numbers is sound whoever panicked beside it.
        self.indices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the crowd's task on behalf of one member.
#[derive(Debug)]
pub(super) struct Bell {
    index: usize,
    rung: AtomicBool,
    list: Arc<ReadyList>,
}

impl Bell {
    pub(super) fn new(index: usize, list: &Arc<ReadyList>) -> Arc<Bell> {
        Arc::new(Bell { index, rung: AtomicBool::new(false), list: list.clone() })
    }

    pub(super) fn waker(self: &Arc<Bell>) -> Waker {
        Waker::from(self.clone())
    }

    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.list.lock().push_back(self.index);
            self.list.task.wake();
        }
    }

    /// What rings from here on is news. Called before the member is polled.
    pub(super) fn hush(&self) {
        self.rung.store(false, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Bell>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_stands_on_the_list_once_until_it_is_hushed() {
        let list = Arc::new(ReadyList::default());
        let bells = [Bell::new(0, &list), Bell::new(1, &list)];
        for bell in [&bells[1], &bells[0], &bells[1]] {
            bell.waker().wake();
        }
        assert_eq!((list.pop(), list.pop(), list.pop()), (Some(1), Some(0), None));
        bells[1].ring();
        assert_eq!(list.pop(), None, "whoever pops an index hushes its bell before it polls");
        bells[1].hush();
        bells[1].ring();
        assert_eq!(list.pop(), Some(1));
    }
}
