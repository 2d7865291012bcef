//! What goes out: slices that borrow from the session and from the shard's logs, and the cursors
//! that follow what was written.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use model::{End, EndCode, Now, Right, Says, ServerFrame};

use super::joined::State;
use super::{Phase, Session};
use crate::log::{Logs, WireKind, websocket_message_bytes};

/// Slices of one write: the kernel copies some 100 bytes a slice faster than it takes a second call,
/// and the array stays within a kilobyte of stack.
pub const SLICES_MAX: usize = 64;
/// Bytes of one write, but for the last slice: more than a socket's buffer takes at once.
pub const WRITE_BYTES_MAX: usize = 256 * 1024;

// A socket takes whole writes of control until it is full; attaches wait until half of control is free,
// which one write of a client that reads again must be able to bring about, whatever is configured.
const _: () = assert!(CONTROL_BYTES_MIN / 2 >= WRITE_BYTES_MAX);
/// The least that `control_bytes_max` may be.
const CONTROL_BYTES_MIN: usize = 2 * model::limits::PAGE_BYTES_MAX;

/// A session whose control is longer than this many times `control_bytes_max` ends: it is not read
/// from since it passed the limit, so that only answers and pushes can bring it here, and the largest
/// of them, a page, may grow sixfold by JSON's escapes.
const CONTROL_END_FACTOR: usize = 8;

/// The pieces of one write, on the shard's stack.
#[derive(Debug)]
pub struct Slices<'a> {
    array: [IoSlice<'a>; SLICES_MAX],
    count: usize,
    bytes: usize,
}

impl<'a> Slices<'a> {
    /// None yet.
    #[must_use]
    pub fn new() -> Slices<'a> {
        Slices { array: [IoSlice::new(&[]); SLICES_MAX], count: 0, bytes: 0 }
    }

    /// For `write_vectored`. Over gRPC each slice is one whole message.
    #[must_use]
    pub fn as_io(&self) -> &[IoSlice<'a>] {
        &self.array[..self.count]
    }

    /// Bytes in all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, slice: &'a [u8]) {
        self.array[self.count] = IoSlice::new(slice);
        self.count += 1;
        self.bytes += slice.len();
    }
}

impl Default for Slices<'_> {
    fn default() -> Self {
        Slices::new()
    }
}

/// What a session has to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Idle,
    /// Nothing now: a segment is on its way, and news will come.
    Waiting,
    /// This many bytes: write them, then call `handle_written` before anything else.
    Bytes(usize),
}

/// What waits in the session itself. Exists only while something does.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// What is left of a half-written shared frame. It holds the frame's bytes and no cursor, so
    /// that the entry may be replaced or dropped meanwhile.
    rest: Bytes,
    control: Vec<u8>,
    written: usize,
    /// Where the message begins that `written` stands in, or the next one.
    begun: usize,
    /// Ends of the messages in `control`, counted from its start; kept for gRPC only.
    ends: VecDeque<usize>,
}

impl Out {
    fn control_bytes(&self) -> usize {
        self.control.len() - self.written
    }

    /// Adds what is framed already.
    pub(super) fn append(&mut self, framed: &[u8]) {
        self.control.extend_from_slice(framed);
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.control_bytes() == 0
    }

    fn advance_control(&mut self, count: usize) {
        self.written += count;
        while self.begun < self.written
            && let end = self.begun + websocket_message_bytes(&self.control[self.begun..])
            && end <= self.written
        {
            self.begun = end;
        }
        while self.ends.front().is_some_and(|end| *end <= self.written) {
            self.ends.pop_front();
        }
        // Moving what is left is cheap when it is the smaller half.
        if self.begun > 4_096 && self.begun * 2 > self.control.len() {
            self.control.drain(..self.begun);
            self.ends.iter_mut().for_each(|end| *end -= self.begun);
            self.written -= self.begun;
            self.begun = 0;
        }
    }

    /// What is left of a message of which a part is written.
    fn half_written(&self) -> &[u8] {
        if self.rest.is_empty() && self.begun < self.written {
            let end = self.begun + websocket_message_bytes(&self.control[self.begun..]);
            return &self.control[self.written..end];
        }
        &self.rest
    }
}

/// A piece on offer, and what it is a piece of.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Rest,
    Control,
    /// The room at this slot has had the log up to this entry.
    Entry(u16, u64, &'a Bytes),
    /// The room at this slot has had what travels beside the log, or the summary, up to here.
    Beside(u16, u64, &'a Bytes),
}

/// What a write did to one room.
#[derive(Clone, Copy)]
enum Step {
    None,
    Cursor(u16, u64),
    Heard(u16, u64),
}

impl Session {
    /// What there is to write now. `out` borrows from the session and the logs until the write has
    /// been tried; then comes [`Session::handle_written`], whatever the write did.
    pub fn poll_transmit<'a>(
        &'a mut self,
        now: Now,
        logs: &'a mut Logs,
        out: &mut Slices<'a>,
    ) -> Next {
        let waits = self.prepare(now, logs);
        let (session, logs): (&'a Session, &'a Logs) = (self, logs);
        session.offer(logs, |_, slice| {
            out.push(slice);
            true
        });
        match out.bytes {
            0 if waits => Next::Waiting,
            0 => Next::Idle,
            bytes => Next::Bytes(bytes),
        }
    }

    /// `bytes` of what [`Session::poll_transmit`] offered last were written (0 if the socket took
    /// none). Nothing may have happened in between.
    pub fn handle_written(&mut self, bytes: usize, logs: &Logs) {
        let mut left = bytes;
        let (mut rest_written, mut control_written) = (0, 0);
        let mut steps = [Step::None; SLICES_MAX];
        let (mut count, mut cut) = (0, None);
        self.offer(logs, |piece, slice| {
            if left == 0 {
                return false;
            }
            let taken = left.min(slice.len());
            left -= taken;
            let (step, shared) = match piece {
                Piece::Rest => {
                    rest_written = taken;
                    return true;
                }
                Piece::Control => {
                    control_written += taken;
                    return true;
                }
                Piece::Entry(slot, seq, shared) => (Step::Cursor(slot, seq), shared),
                Piece::Beside(slot, number, shared) => (Step::Heard(slot, number), shared),
            };
            if taken < slice.len() {
                cut = Some(shared.slice_ref(&slice[taken..]));
            }
            steps[count] = step;
            count += 1;
            true
        });
        if let Some(out) = &mut self.out {
            out.rest.advance(rest_written);
            out.advance_control(control_written);
        }
        if let Some(rest) = cut {
            self.out.get_or_insert_default().rest = rest;
        }
        for step in &steps[..count] {
            match *step {
                Step::None => {}
                Step::Cursor(slot, seq) => self.rooms.at(slot).cursor = seq,
                Step::Heard(slot, number) => self.rooms.at(slot).heard = number,
            }
        }
        if self.out.as_ref().is_some_and(|out| out.is_empty()) {
            self.out = None;
        }
        self.rooms.rotate_ready(logs);
    }

    /// Bytes of answers and pushes that wait, without those that are shared.
    #[must_use]
    pub fn control_bytes(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.control_bytes())
    }

    /// Queues a frame; after `end` there is nothing more to say.
    pub(super) fn say(&mut self, now: Now, r#ref: u32, says: Says, logs: &mut Logs) {
        if matches!(self.phase, Phase::Ending | Phase::Closed) {
            return;
        }
        let is_end = matches!(says, Says::End(_));
        let out = self.out.get_or_insert_default();
        let frame = ServerFrame { r#ref, says };
        logs.frames().says(self.wire, &frame, &mut out.control);
        if self.wire == WireKind::Grpc {
            out.ends.push_back(out.control.len());
        }
        // Reading stops at the limit, so that only pushes can bring it here.
        if !is_end && out.control_bytes() > CONTROL_END_FACTOR * logs.limits().control_bytes_max {
            self.end(now, End::new(EndCode::Overloaded), logs);
        }
    }

    /// What is left of a message of which a part is written: it goes out before anything else may, a
    /// close frame too. Of use on a WebSocket only.
    #[must_use]
    pub fn half_written(&self) -> &[u8] {
        self.out.as_ref().map_or(&[], |out| out.half_written())
    }

    /// Whether what was queued was given up in the middle of a message: nothing can be said any more, a
    /// close frame would be taken for the rest of it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Forgets what was queued, for a client that does not read.
    pub(super) fn drop_output(&mut self) {
        self.is_cut = self.wire != WireKind::Grpc && !self.half_written().is_empty();
        self.out = None;
    }

    /// Puts into control what has to be said before the log goes on, asks for segments, and leaves
    /// on the ready list what has something to offer. Answers whether a segment is waited for.
    fn prepare(&mut self, now: Now, logs: &mut Logs) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        // What was written may have made space for an answer that is large.
        self.attach_more(now, logs);
        let (mut waits, mut prepared) = (false, 0);
        for _ in 0..self.rooms.ready_count().min(SLICES_MAX) {
            let Some(slot) = self.rooms.pop_ready() else {
                break;
            };
            match self.prepare_room(now, slot, logs) {
                Prepared::Ready => prepared += usize::from(self.rooms.push_ready(slot)),
                Prepared::Waits => waits = true,
                Prepared::Idle => {}
            }
        }
        self.rooms.ready_last_to_front(prepared);
        waits
    }

    fn prepare_room(&mut self, now: Now, slot: u16, logs: &mut Logs) -> Prepared {
        let Some(joined) = self.rooms.get(slot) else {
            return Prepared::Idle;
        };
        let (key, place) = (joined.room, joined.place);
        if joined.state == State::Glancing {
            let is_news = logs.room(key).summary_version() > joined.heard;
            return if is_news { Prepared::Ready } else { Prepared::Idle };
        }
        if joined.state != State::Live || !self.agrees(now, slot, logs) {
            return Prepared::Idle;
        }
        self.skip(now, slot, logs);
        let Some(joined) = self.rooms.get(slot) else {
            return Prepared::Idle;
        };
        let (cursor, heard) = (joined.cursor, joined.heard);
        let room = logs.room(key);
        let (is_behind, is_deaf) = (cursor < room.head(), heard < room.ring_next());
        let has_entry = is_behind && logs.need(now, key, cursor + 1, place);
        match (has_entry || is_deaf, is_behind) {
            (true, _) => Prepared::Ready,
            (false, true) => Prepared::Waits,
            (false, false) => Prepared::Idle,
        }
    }

    /// Moves cursors over what is gone, and says so: trimmed entries, and pushes beside the log.
    fn skip(&mut self, now: Now, slot: u16, logs: &mut Logs) {
        let joined = self.rooms.at(slot);
        let room = logs.room(joined.room);
        let (first, ring_first) = (room.first(), room.ring_first());
        let sees_presence = joined.rights.has(Right::Presence);
        let mut says = None;
        if first > joined.cursor + 1 {
            joined.cursor = first - 1;
            says = Some(Says::Truncated { room: room.name().clone(), first });
        }
        let skipped = std::mem::take(&mut joined.wants_presence) || joined.heard < ring_first;
        if skipped {
            joined.heard = room.ring_next();
        }
        // Presence is not for everybody; the cursor passes over it, so that nothing waits for it.
        while !sees_presence && room.beside(joined.heard).is_some_and(|frame| frame.is_presence()) {
            joined.heard += 1;
        }
        let key = joined.room;
        let full = if skipped && sees_presence { logs.full_presence(key) } else { None };
        for says in says.into_iter().chain(full.map(|full| full.says().clone())) {
            self.say(now, 0, says, logs);
        }
    }

    /// Visits what there is to write, in order: the rest of a half-written frame, control, the logs
    /// of ready rooms in fair shares, then what travels beside them.
    fn offer<'a>(&'a self, logs: &'a Logs, mut visit: impl FnMut(Piece<'a>, &'a [u8]) -> bool) {
        let mut budget = Budget { slices: SLICES_MAX, bytes: WRITE_BYTES_MAX };
        let mut give = |piece, slice: &'a [u8]| {
            budget.take(slice.len());
            visit(piece, slice) && !budget.is_empty()
        };
        if let Some(out) = self.out.as_deref() {
            if !out.rest.is_empty() && !give(Piece::Rest, &out.rest) {
                return;
            }
            if !offer_control(out, &mut give) {
                return;
            }
        }
        if self.phase != Phase::Open {
            return;
        }
        let share = (SLICES_MAX / self.rooms.ready_count().max(1)).max(1) as u64;
        for slot in self.rooms.ready() {
            let Some(joined) = self.rooms.get(slot).filter(|joined| joined.agrees(logs)) else {
                continue;
            };
            let last = logs.room(joined.room).head().min(joined.cursor + share);
            for seq in joined.cursor + 1..=last {
                let Some(frame) = logs.entry(joined.room, seq) else {
                    break;
                };
                let shared = frame.message(self.wire.encoding(), logs.frames());
                if !give(Piece::Entry(slot, seq, shared), frame.bytes(self.wire, logs.frames())) {
                    return;
                }
            }
        }
        for slot in self.rooms.ready() {
            if !self.offer_beside(slot, logs, &mut give) {
                return;
            }
        }
    }

    fn offer_beside<'a>(
        &'a self,
        slot: u16,
        logs: &'a Logs,
        give: &mut impl FnMut(Piece<'a>, &'a [u8]) -> bool,
    ) -> bool {
        let Some(joined) = self.rooms.get(slot) else {
            return true;
        };
        let room = logs.room(joined.room);
        if joined.state == State::Glancing {
            return match room.summary().filter(|(version, _)| *version > joined.heard) {
                None => true,
                Some((version, frame)) => {
                    let shared = frame.message(self.wire.encoding(), logs.frames());
                    give(
                        Piece::Beside(slot, version, shared),
                        frame.bytes(self.wire, logs.frames()),
                    )
                }
            };
        }
        if !joined.agrees(logs) {
            return true;
        }
        let mut number = joined.heard;
        while let Some(frame) = room.beside(number) {
            number += 1;
            if frame.is_presence() && !joined.rights.has(Right::Presence) {
                continue;
            }
            let shared = frame.message(self.wire.encoding(), logs.frames());
            if !give(Piece::Beside(slot, number, shared), frame.bytes(self.wire, logs.frames())) {
                return false;
            }
        }
        true
    }
}

enum Prepared {
    Ready,
    Waits,
    Idle,
}

struct Budget {
    slices: usize,
    bytes: usize,
}

impl Budget {
    fn take(&mut self, bytes: usize) {
        self.slices -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn is_empty(&self) -> bool {
        self.slices == 0 || self.bytes == 0
    }
}

/// Control as one slice, or over gRPC as one for each message. Answers whether anything may follow.
fn offer_control<'a>(out: &'a Out, give: &mut impl FnMut(Piece<'a>, &'a [u8]) -> bool) -> bool {
    if out.ends.is_empty() {
        let waiting = &out.control[out.written..];
        let waiting = &waiting[..waiting.len().min(WRITE_BYTES_MAX)];
        return waiting.is_empty() || give(Piece::Control, waiting);
    }
    let mut from = out.written;
    for end in &out.ends {
        if !give(Piece::Control, &out.control[from..*end]) {
            return false;
        }
        from = *end;
    }
    true
}
