//! Which sessions of a shard have something to do: one waker per session pushes its index here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// The list. Bounded by the number of sessions: an index that waits is not pushed again.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    indexes: Mutex<Vec<u32>>,
    shard: AtomicWaker,
}

impl ReadyList {
    /// Who is woken when an index arrives.
    pub(super) fn register(&self, shard: &Waker) {
        self.shard.register(shard);
    }

    /// Swaps what has arrived for `empty`, whose memory is used again.
    pub(super) fn take(&self, empty: &mut Vec<u32>) {
        debug_assert!(empty.is_empty(), "what was taken before has been seen to");
        std::mem::swap(&mut *self.indexes.lock().unwrap_or_else(PoisonError::into_inner), empty);
    }

    fn push(&self, index: u32) {
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let first = indexes.is_empty();
        indexes.push(index);
        drop(indexes);
        if first {
            self.shard.wake();
        }
    }
}

/// A session's waker.
#[derive(Debug)]
pub(super) struct Bell {
    index: u32,
    waiting: AtomicBool,
    list: Arc<ReadyList>,
}

impl Bell {
    pub(super) fn new(index: u32, list: &Arc<ReadyList>) -> Arc<Bell> {
        Arc::new(Bell { index, waiting: AtomicBool::new(false), list: Arc::clone(list) })
    }

    /// Before the session is seen to: what happens from now on rings again.
    pub(super) fn answered(&self) {
        self.waiting.store(false, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.waiting.swap(true, Ordering::AcqRel) {
            self.list.push(self.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_rings_twice_stands_on_the_list_once() {
        let list = Arc::new(ReadyList::default());
        let bell = Bell::new(7, &list);
        let waker = Waker::from(Arc::clone(&bell));
        waker.wake_by_ref();
        waker.wake_by_ref();
        let mut taken = Vec::new();
        list.take(&mut taken);
        assert_eq!(taken, [7]);
        bell.answered();
        waker.wake();
        taken.clear();
        list.take(&mut taken);
        assert_eq!(taken, [7]);
    }
}
