//! The live end of a room's log: dense, bounded, dropped from its old side.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Limits, Seq};

use super::frame::Frame;

/// The newest entries of a log, without a hole; `next` is one above the last.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    next: Seq,
    bytes: usize,
    frames: VecDeque<Arc<Frame>>,
}

impl Tail {
    /// The first entry that is held, or the one that comes next when none is.
    pub(crate) fn first(&self) -> Seq {
        self.next - self.frames.len() as u64
    }

    /// Forgets everything and expects `next`.
    pub(crate) fn restart(&mut self, next: Seq) {
        self.frames.clear();
        self.frames.shrink_to_fit();
        self.bytes = 0;
        self.next = next;
    }

    pub(crate) fn get(&self, seq: Seq) -> Option<&Arc<Frame>> {
        let index = seq.checked_sub(self.first())?;
        self.frames.get(usize::try_from(index).ok()?)
    }

    /// Appends the entry that comes next and drops what is over the limits.
    pub(crate) fn push(&mut self, frame: Arc<Frame>, limits: &Limits) {
        debug_assert_eq!(frame.seq, self.next, "a tail has no hole");
        self.bytes += frame.weight();
        self.next += 1;
        self.frames.push_back(frame);
        // The newest stays whatever it weighs: otherwise every live delivery would be a fetch.
        while self.frames.len() > 1
            && (self.frames.len() > limits.log_entries_max || self.bytes > limits.log_bytes_max)
        {
            self.drop_oldest();
        }
    }

    /// Puts a tombstone in the place of an entry; `false` if that is not held.
    pub(crate) fn replace(&mut self, frame: &Arc<Frame>) -> bool {
        let Some(index) = frame.seq.checked_sub(self.first()) else {
            return false;
        };
        match usize::try_from(index).ok().and_then(|index| self.frames.get_mut(index)) {
            None => false,
            Some(held) => {
                self.bytes = self.bytes + frame.weight() - held.weight();
                *held = Arc::clone(frame);
                true
            }
        }
    }

    /// Drops what lies below `first`.
    pub(crate) fn trim(&mut self, first: Seq) {
        while !self.frames.is_empty() && self.first() < first {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.frames.pop_front() {
            self.bytes -= oldest.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frame;
    use super::*;

    #[test]
    fn a_tail_is_bounded_by_entries_and_by_bytes_but_keeps_the_newest() {
        let mut tail = Tail::default();
        tail.restart(1);
        let few = Limits { log_entries_max: 10, ..Limits::default() };
        (1..=30).for_each(|seq| tail.push(frame(seq, 100), &few));
        assert_eq!(
            (tail.first(), tail.get(20).is_none(), tail.get(21).is_some()),
            (21, true, true)
        );
        let small = Limits { log_bytes_max: 1_000, ..Limits::default() };
        tail.push(frame(31, 2_000), &small);
        assert_eq!(tail.first(), 31);
        tail.push(frame(32, 100), &small);
        assert_eq!((tail.first(), tail.bytes), (32, frame(32, 100).weight()));
    }

    #[test]
    fn a_replaced_entry_and_a_trimmed_one_keep_the_count_right() {
        let mut tail = Tail::default();
        tail.restart(5);
        (5..=9).for_each(|seq| tail.push(frame(seq, 100), &Limits::default()));
        assert!(tail.replace(&frame(7, 3)));
        assert!(!tail.replace(&frame(4, 3)) && !tail.replace(&frame(10, 3)));
        tail.trim(7);
        assert_eq!(tail.first(), 7);
        let held = (7..=9).map(|seq| tail.get(seq).unwrap().weight()).sum::<usize>();
        assert_eq!(tail.bytes, held);
        tail.trim(100);
        assert_eq!((tail.first(), tail.bytes), (10, 0));
    }
}
