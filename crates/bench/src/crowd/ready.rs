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
