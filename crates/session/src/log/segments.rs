//! Older parts of logs, in aligned segments that all laggards of a shard share.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::limits::SEGMENT_ENTRIES;
use model::{LogId, Now, RoomName, Seq};

use super::RoomKey;
use super::frame::Frame;

/// Segments that a shard keeps, in bytes of payload and overhead: some 1,600 of 64 messages of 100
/// bytes, and four of the largest that can be.
pub(super) const SHELF_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Milliseconds after which a segment that nobody has read from is dropped: laggards of one
/// outage come back within seconds of each other.
const UNREAD_MS: u64 = 10_000;
/// Milliseconds before the first repetition of a fetch that failed; doubled up to the next.
const RETRY_MS: u64 = 100;
const RETRY_MS_MAX: u64 = 5_000;

/// A segment to be fetched from the room's owner: entries `first()..=last()` of one log, as far as
/// they are committed and kept. An answer may be cut after any entry but must have one: the rest is
/// asked for when a reader comes to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The room.
    pub room: RoomName,
    /// Its log; entries of another one are no answer.
    pub log: LogId,
    /// Which: entry `seq` lies in segment `seq / SEGMENT_ENTRIES`.
    pub number: u64,
    /// The first entry that is wanted: the segment's own first, or what an answer was cut at.
    pub from: Seq,
    /// Which question this is: what was read for an older one may hold what was erased since.
    pub question: u64,
}

impl Segment {
    /// The first entry that is wanted.
    #[must_use]
    pub fn first(&self) -> Seq {
        self.from
    }

    /// Its last entry.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.number * SEGMENT_ENTRIES + (SEGMENT_ENTRIES - 1)
    }
}

/// Why a segment did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentFault {
    /// Retention has trimmed the log: this is the first kept entry.
    Trimmed {
        /// That entry.
        first: Seq,
    },
    /// The room has another log now; a new `Watching` tells which.
    LogChanged,
    /// Not now; asked again with growing pauses.
    Unavailable,
}

type Place = (RoomKey, u64);

#[derive(Debug)]
struct Held {
    frames: Vec<Arc<Frame>>,
    bytes: usize,
    used: u64,
    used_ms: u64,
}

impl Held {
    /// The entry behind the last that is here.
    fn next(&self) -> Seq {
        self.frames.last().map_or(0, |frame| frame.seq + 1)
    }
}

/// A segment on its way.
#[derive(Debug, Default)]
struct Wanted {
    /// Members that wait for it.
    waiting: Vec<u32>,
    /// Tombstones that came while it was under way: what was read may be older than they.
    erased: Vec<Arc<Frame>>,
    question: u64,
    from: Seq,
    failures: u32,
    /// When it is to be asked for again; `None` while it is asked for.
    retry_ms: Option<u64>,
}

/// The segments of a shard: those that are here, least recently used first to go, and those that
/// are under way.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    held: BTreeMap<Place, Held>,
    by_use: BTreeMap<u64, Place>,
    bytes: usize,
    uses: u64,
    questions: u64,
    wanted: BTreeMap<Place, Wanted>,
}

impl Shelf {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, room: RoomKey, seq: Seq) -> Option<&Arc<Frame>> {
        let held = self.held.get(&(room, seq / SEGMENT_ENTRIES))?;
        let index = seq.checked_sub(held.frames.first()?.seq)?;
        held.frames.get(usize::try_from(index).ok()?)
    }

    /// Notes that the segment of `seq` is being read.
    pub(super) fn touch(&mut self, now: Now, room: RoomKey, seq: Seq) {
        let place = (room, seq / SEGMENT_ENTRIES);
        if let Some(held) = self.held.get_mut(&place) {
            self.by_use.remove(&held.used);
            self.uses += 1;
            (held.used, held.used_ms) = (self.uses, now.mono_us / 1_000);
            self.by_use.insert(self.uses, place);
        }
    }

    /// A member waits for `seq`; `true` if its segment has to be asked for now.
    pub(super) fn want(&mut self, room: RoomKey, seq: Seq, member: u32) -> bool {
        let place = (room, seq / SEGMENT_ENTRIES);
        let is_new = !self.wanted.contains_key(&place);
        let goes_on = self.held.get(&place).is_some_and(|held| held.next() == seq);
        let wanted = self.wanted.entry(place).or_default();
        if is_new {
            wanted.from = if goes_on { seq } else { start_of(place.1) };
        }
        if !wanted.waiting.contains(&member) {
            wanted.waiting.push(member);
        }
        is_new
    }

    /// The segment is asked for: from which entry, and under which number.
    pub(super) fn ask(&mut self, room: RoomKey, number: u64) -> (Seq, u64) {
        self.questions += 1;
        let wanted = self.wanted.entry((room, number)).or_default();
        wanted.question = self.questions;
        (wanted.from.max(start_of(number)), wanted.question)
    }

    /// Whether the answer to this question is waited for.
    pub(super) fn expects(&self, room: RoomKey, number: u64, question: u64) -> bool {
        let wanted = self.wanted.get(&(room, number));
        wanted.is_some_and(|wanted| wanted.question == question && wanted.retry_ms.is_none())
    }

    /// The fetch is over: who waited for it.
    pub(super) fn settle(&mut self, room: RoomKey, number: u64) -> Vec<u32> {
        self.wanted.remove(&(room, number)).map(|wanted| wanted.waiting).unwrap_or_default()
    }

    /// The fetch is to be repeated after a pause; the waiting go on waiting.
    pub(super) fn fail(&mut self, now: Now, room: RoomKey, number: u64) {
        if let Some(wanted) = self.wanted.get_mut(&(room, number)) {
            let pause = RETRY_MS_MAX.min(RETRY_MS << wanted.failures.min(16));
            wanted.failures += 1;
            wanted.retry_ms = Some(now.mono_us / 1_000 + pause);
        }
    }

    /// Keeps a segment that came, behind what was here of it, with what was erased meanwhile.
    pub(super) fn insert(&mut self, now: Now, room: RoomKey, number: u64, came: &[Arc<Frame>]) {
        let place = (room, number);
        let first = came.first().map(|frame| frame.seq);
        let before = self.remove(place).filter(|held| Some(held.next()) == first);
        let mut frames = before.map(|held| held.frames).unwrap_or_default();
        frames.extend_from_slice(came);
        if let Some(wanted) = self.wanted.get(&place) {
            wanted.erased.iter().for_each(|tombstone| _ = replace(&mut frames, tombstone));
        }
        let bytes = frames.iter().map(|frame| frame.weight()).sum();
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, place);
        self.held
            .insert(place, Held { frames, bytes, used: self.uses, used_ms: now.mono_us / 1_000 });
        while self.bytes > SHELF_BYTES_MAX && self.held.len() > 1 {
            let Some((_, oldest)) = self.by_use.first_key_value() else {
                break;
            };
            self.remove(*oldest);
        }
    }

    /// Puts a tombstone in the place of an entry, here or on its way.
    pub(super) fn erase(&mut self, room: RoomKey, tombstone: &Arc<Frame>) {
        let place = (room, tombstone.seq / SEGMENT_ENTRIES);
        if let Some(held) = self.held.get_mut(&place) {
            let before = held.bytes;
            replace(&mut held.frames, tombstone);
            held.bytes = held.frames.iter().map(|frame| frame.weight()).sum();
            self.bytes = self.bytes + held.bytes - before;
        }
        if let Some(wanted) = self.wanted.get_mut(&place) {
            wanted.erased.retain(|erased| erased.seq != tombstone.seq);
            wanted.erased.push(Arc::clone(tombstone));
        }
    }

    /// Drops the segments of a room that hold nothing from `first` on.
    pub(super) fn trim(&mut self, room: RoomKey, first: Seq) {
        self.drop_held(room, first / SEGMENT_ENTRIES);
    }

    fn drop_held(&mut self, room: RoomKey, below: u64) {
        let gone = (room, 0)..(room, below);
        let places: Vec<Place> = self.held.range(gone).map(|(place, _)| *place).collect();
        places.into_iter().for_each(|place| _ = self.remove(place));
    }

    /// Forgets all that is held of a room; answers what is under way, which has to be asked again.
    pub(super) fn forget_held(&mut self, room: RoomKey) -> Vec<u64> {
        self.drop_held(room, u64::MAX);
        let mut under_way = Vec::new();
        for ((_, number), wanted) in self.wanted.range_mut((room, 0)..=(room, u64::MAX)) {
            wanted.from = start_of(*number);
            under_way.extend(wanted.retry_ms.is_none().then_some(*number));
        }
        under_way
    }

    /// Forgets a room; answers who waited.
    pub(super) fn forget(&mut self, room: RoomKey) -> Vec<u32> {
        self.forget_held(room);
        let all = (room, 0)..=(room, u64::MAX);
        let places: Vec<Place> = self.wanted.range(all).map(|(place, _)| *place).collect();
        places.into_iter().flat_map(|(room, number)| self.settle(room, number)).collect()
    }

    /// A member is gone and waits no more. The fetch goes on: others may want it.
    pub(super) fn leave(&mut self, room: RoomKey, member: u32) {
        for (_, wanted) in self.wanted.range_mut((room, 0)..=(room, u64::MAX)) {
            wanted.waiting.retain(|waiting| *waiting != member);
        }
    }

    /// What has to be asked for again now. Drops what nobody reads, and what nobody waits for.
    pub(super) fn handle_timeout(&mut self, now: Now) -> Vec<Place> {
        let now_ms = now.mono_us / 1_000;
        while let Some((_, place)) = self.by_use.first_key_value()
            && let Some(held) = self.held.get(place)
            && held.used_ms + UNREAD_MS <= now_ms
        {
            self.remove(*place);
        }
        self.wanted.retain(|_, wanted| wanted.retry_ms.is_none() || !wanted.waiting.is_empty());
        let due = |wanted: &Wanted| wanted.retry_ms.is_some_and(|at| at <= now_ms);
        let again = self.wanted.iter_mut().filter(|(_, wanted)| due(wanted));
        again
            .map(|(place, wanted)| {
                wanted.retry_ms = None;
                *place
            })
            .collect()
    }

    /// When something is due, in milliseconds.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        let unread = self.by_use.first_key_value().and_then(|(_, place)| self.held.get(place));
        let unread = unread.map(|held| held.used_ms + UNREAD_MS);
        self.wanted.values().filter_map(|wanted| wanted.retry_ms).chain(unread).min()
    }

    fn remove(&mut self, place: Place) -> Option<Held> {
        let held = self.held.remove(&place)?;
        self.by_use.remove(&held.used);
        self.bytes -= held.bytes;
        Some(held)
    }
}

/// The first entry of a segment; entry 0 does not exist.
fn start_of(number: u64) -> Seq {
    (number * SEGMENT_ENTRIES).max(1)
}

fn replace(frames: &mut [Arc<Frame>], tombstone: &Arc<Frame>) -> bool {
    match frames.iter_mut().find(|frame| frame.seq == tombstone.seq) {
        None => false,
        Some(held) => {
            *held = Arc::clone(tombstone);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frame;
    use super::*;

    const ROOM: RoomKey = RoomKey(3);

    fn at(ms: u64) -> Now {
        Now { mono_us: ms * 1_000, wall_ms: ms }
    }

    fn segment(number: u64, bytes: usize) -> Vec<Arc<Frame>> {
        let first = number * SEGMENT_ENTRIES;
        (first..first + SEGMENT_ENTRIES).map(|seq| frame(seq, bytes)).collect()
    }

    #[test]
    fn the_least_recently_read_segment_goes_first() {
        let mut shelf = Shelf::default();
        let count = SHELF_BYTES_MAX as u64 / (SEGMENT_ENTRIES * 24_000);
        (1..=count).for_each(|number| shelf.insert(at(1), ROOM, number, &segment(number, 23_808)));
        shelf.touch(at(2), ROOM, SEGMENT_ENTRIES);
        shelf.insert(at(3), ROOM, 100, &segment(100, 23_808));
        assert!(shelf.bytes() <= SHELF_BYTES_MAX);
        assert!(shelf.get(ROOM, SEGMENT_ENTRIES).is_some());
        assert!(shelf.get(ROOM, 2 * SEGMENT_ENTRIES).is_none());
        assert_eq!(shelf.held.len() as u64, count);
        shelf.forget(ROOM);
        assert_eq!((shelf.bytes(), shelf.by_use.len()), (0, 0));
    }

    #[test]
    fn a_segment_is_asked_for_once_and_an_answer_to_an_older_question_is_none() {
        let mut shelf = Shelf::default();
        assert!(shelf.want(ROOM, 70, 1) && !shelf.want(ROOM, 71, 2));
        let (from, first) = shelf.ask(ROOM, 1);
        assert!(from == 64 && shelf.expects(ROOM, 1, first));
        let (_, second) = shelf.ask(ROOM, 1);
        assert!(!shelf.expects(ROOM, 1, first) && shelf.expects(ROOM, 1, second));
        assert_eq!(shelf.settle(ROOM, 1), [1, 2]);
        assert!(!shelf.expects(ROOM, 1, second));
    }

    #[test]
    fn a_segment_that_was_cut_goes_on_where_it_was_cut() {
        let mut shelf = Shelf::default();
        let whole = segment(1, 10);
        shelf.want(ROOM, 64, 1);
        shelf.insert(at(0), ROOM, 1, &whole[..40]);
        shelf.settle(ROOM, 1);
        shelf.want(ROOM, 104, 1);
        assert_eq!(shelf.ask(ROOM, 1).0, 104);
        shelf.insert(at(0), ROOM, 1, &whole[40..]);
        assert!((64..128).all(|seq| shelf.get(ROOM, seq).unwrap().seq == seq));
        assert_eq!(shelf.bytes(), whole.iter().map(|frame| frame.weight()).sum());
    }

    #[test]
    fn a_failed_fetch_that_nobody_waits_for_any_more_is_not_repeated() {
        let mut shelf = Shelf::default();
        shelf.want(ROOM, 70, 1);
        shelf.want(ROOM, 200, 2);
        for number in [1, 3] {
            shelf.ask(ROOM, number);
            shelf.fail(at(0), ROOM, number);
        }
        shelf.leave(ROOM, 1);
        assert_eq!(shelf.poll_timeout(), Some(100));
        assert_eq!(shelf.handle_timeout(at(100)), [(ROOM, 3)]);
        assert_eq!(shelf.poll_timeout(), None);
    }
}
