//! What a session has asked of owners: under which number, until when, and how many at once.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use model::{Answer, Ask, AskBody, Mark, Now, Refusal, RefusalCode, RoomName, Summary, User, Who};

use super::requests::RETRY_MS;
use super::{Action, AskNo, Session};
use crate::log::Logs;

/// Milliseconds beyond `publish_wait_ms` that an answer may take on its way: the owner's own refusal
/// normally comes first and says more.
const ASK_MARGIN_MS: u64 = 2_000;

/// What an ask was made for.
#[derive(Debug)]
pub(super) enum Kind {
    Attach {
        slot: u16,
        join: u32,
        is_wide: bool,
    },
    Summary {
        slot: u16,
        join: u32,
    },
    /// A summary for all who read it here.
    Refresh {
        slot: u16,
        join: u32,
    },
    /// Whether it is a post, which moves the mark.
    Publish(RoomName, bool),
    Signal,
    Mark(RoomName),
    History(RoomName),
    /// One room of `summaries`.
    OneOf(RoomName),
}

impl Kind {
    fn slot(&self) -> Option<u16> {
        match self {
            Kind::Attach { slot, .. } | Kind::Summary { slot, .. } | Kind::Refresh { slot, .. } => {
                Some(*slot)
            }
            _ => None,
        }
    }

    fn is_request(&self) -> bool {
        self.slot().is_none() && !matches!(self, Kind::OneOf(_))
    }
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) kind: Kind,
    pub(super) r#ref: u32,
    until_ms: u64,
}

/// A `summaries` on its way.
#[derive(Debug)]
pub(super) struct Collect {
    pub(super) r#ref: u32,
    pub(super) left: usize,
    pub(super) bytes: usize,
    pub(super) rooms: Vec<(RoomName, Summary)>,
    pub(super) refused: Vec<(RoomName, Refusal)>,
}

/// What is under way. Exists only while something is.
#[derive(Debug, Default)]
pub(super) struct Work {
    actions: VecDeque<Action>,
    pending: BTreeMap<AskNo, Pending>,
    pub(super) requests: usize,
    wide_out: usize,
    /// Attaches without a position that wait for their turn: slot, join, ref.
    pub(super) wide: VecDeque<(u16, u32, u32)>,
    /// Subscribes whose turn did not come before a later one to the same room: slot, ref. They are
    /// answered with that one.
    pub(super) overtaken: Vec<(u16, u32)>,
    pub(super) page_out: bool,
    pub(super) collect: Option<Box<Collect>>,
    /// Marks that came while this session itself was moving one in the room.
    marks: Vec<(RoomName, Mark)>,
    disagree_ms: Option<u64>,
}

impl Work {
    pub(super) fn wide_out(&self) -> usize {
        self.wide_out
    }

    pub(super) fn disagree_at(&mut self, at: Now) {
        self.disagree_ms.get_or_insert(at.mono_us / 1_000);
    }

    /// All asks wait equally long, so that the oldest is due first.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let oldest = self.pending.first_key_value().map(|(_, pending)| pending.until_ms);
        oldest.into_iter().chain(self.disagree_ms).min()
    }

    fn is_idle(&self) -> bool {
        self.actions.is_empty()
            && self.pending.is_empty()
            && self.wide.is_empty()
            && self.overtaken.is_empty()
            && self.marks.is_empty()
            && self.disagree_ms.is_none()
    }

    fn moves_mark(&self, room: &RoomName) -> bool {
        self.pending.values().any(|pending| match &pending.kind {
            Kind::Publish(of, is_post) => *is_post && of == room,
            Kind::Mark(of) => of == room,
            _ => false,
        })
    }

    /// Keeps a mark until this session's own word on it is in: it may be the very one. Answers whether
    /// that is to come.
    pub(super) fn keep_mark(&mut self, room: &RoomName, mark: Mark) -> bool {
        let is_kept = self.moves_mark(room);
        if is_kept {
            self.marks.retain(|(of, _)| of != room);
            self.marks.push((room.clone(), mark));
        }
        is_kept
    }

    /// The marks for which nothing of this session's is under way any more.
    fn take_marks(&mut self) -> Vec<(RoomName, Mark)> {
        let kept = std::mem::take(&mut self.marks);
        let (kept, ready) = kept.into_iter().partition(|(room, _)| self.moves_mark(room));
        self.marks = kept;
        ready
    }

    fn take(&mut self, no: AskNo) -> Option<Pending> {
        let pending = self.pending.remove(&no)?;
        self.requests -= usize::from(pending.kind.is_request());
        self.wide_out -= usize::from(matches!(pending.kind, Kind::Attach { is_wide: true, .. }));
        Some(pending)
    }
}

impl Session {
    /// Asks a room's owner on behalf of this session's user.
    pub(super) fn ask(
        &mut self,
        now: Now,
        room: RoomName,
        body: AskBody,
        pending: Option<(Kind, u32)>,
        logs: &Logs,
    ) {
        self.ask_with(now, room, body, None, pending, logs);
    }

    /// The same with the user's presence data.
    pub(super) fn ask_with(
        &mut self,
        now: Now,
        room: RoomName,
        body: AskBody,
        data: Option<Bytes>,
        pending: Option<(Kind, u32)>,
        logs: &Logs,
    ) {
        let Some(person) = &self.person else { return };
        let user = User { data: data.unwrap_or_default(), ..person.user.clone() };
        let rights = person.roles.rights(&room);
        let session = Some(person.session.clone());
        let who = Who { user, session, generation: person.generation, rights };
        self.next_ask = self.next_ask.wrapping_add(1);
        let no = AskNo(self.next_ask);
        let work = self.work.get_or_insert_default();
        if let Some((kind, r#ref)) = pending {
            work.requests += usize::from(kind.is_request());
            work.wide_out += usize::from(matches!(kind, Kind::Attach { is_wide: true, .. }));
            let wait_ms = logs.limits().publish_wait_ms + ASK_MARGIN_MS;
            let until_ms = now.mono_us / 1_000 + wait_ms;
            work.pending.insert(no, Pending { kind, r#ref, until_ms });
        }
        work.actions.push_back(Action::Ask { no, ask: Box::new(Ask { room, who, body }) });
    }

    pub(super) fn act(&mut self, action: Action) {
        self.work.get_or_insert_default().actions.push_back(action);
    }

    pub(super) fn has_queued_action(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.actions.is_empty())
    }

    pub(super) fn pop_action(&mut self) -> Option<Action> {
        let work = self.work.as_mut()?;
        let action = work.actions.pop_front();
        if work.is_idle() {
            self.work = None;
        }
        action
    }

    /// Forgets what was asked, but not what is still to be handed out.
    pub(super) fn forget_asks(&mut self) {
        if let Some(work) = &mut self.work {
            let actions = std::mem::take(&mut work.actions);
            **work = Work { actions, ..Work::default() };
        }
    }

    /// The subscribes of a slot that still wait are over; answers their references.
    pub(super) fn forget_attaches(&mut self, slot: u16) -> Vec<u32> {
        let Some(work) = &mut self.work else {
            return Vec::new();
        };
        let of_slot = work.pending.iter().filter(|(_, pending)| pending.kind.slot() == Some(slot));
        let asked: Vec<AskNo> = of_slot.map(|(no, _)| *no).collect();
        let mut refs: Vec<u32> =
            asked.into_iter().filter_map(|no| work.take(no)).map(|pending| pending.r#ref).collect();
        refs.extend(work.wide.iter().filter(|wide| wide.0 == slot).map(|wide| wide.2));
        work.wide.retain(|wide| wide.0 != slot);
        refs.extend(self.take_overtaken(slot));
        refs.retain(|r#ref| *r#ref > 0);
        refs
    }

    pub(super) fn take_overtaken(&mut self, slot: u16) -> Vec<u32> {
        let Some(work) = &mut self.work else {
            return Vec::new();
        };
        let of_slot = work.overtaken.extract_if(.., |(of, _)| *of == slot);
        of_slot.map(|(_, r#ref)| r#ref).collect()
    }

    /// An owner's answer. What was given up meanwhile is inert.
    pub fn handle_answer(&mut self, now: Now, no: AskNo, answer: Answer, logs: &mut Logs) {
        let Some(pending) = self.work.as_mut().and_then(|work| work.take(no)) else {
            return;
        };
        self.answered(now, pending, answer, logs);
        self.tell_kept_marks(now, logs);
        self.attach_more(now, logs);
    }

    fn tell_kept_marks(&mut self, now: Now, logs: &mut Logs) {
        let ready = self.work.as_mut().map(|work| work.take_marks()).unwrap_or_default();
        for (room, mark) in ready {
            if let Some(slot) = self.rooms.find(&room, logs) {
                self.marked(now, slot, mark, logs);
            }
        }
    }

    /// Gives up what has waited too long: it may have been done or not.
    pub(super) fn expire_asks(&mut self, now: Now, logs: &mut Logs) {
        let now_ms = now.mono_us / 1_000;
        while let Some(work) = &mut self.work
            && let Some((no, oldest)) = work.pending.first_key_value()
            && oldest.until_ms <= now_ms
        {
            let no = *no;
            let Some(pending) = work.take(no) else { break };
            let code = match pending.kind {
                Kind::Publish(..) | Kind::Signal | Kind::Mark(_) => RefusalCode::DeadlineExceeded,
                _ => RefusalCode::Unavailable,
            };
            let refusal = Refusal::new(code).retry_after(RETRY_MS);
            self.answered(now, pending, Answer::Refused(refusal), logs);
        }
        self.tell_kept_marks(now, logs);
        if let Some(work) = &mut self.work
            && work.disagree_ms.is_some_and(|at| at <= now_ms)
        {
            work.disagree_ms = None;
            self.settle_disagreements(now, logs);
        }
        self.attach_more(now, logs);
    }

    /// Tells an owner that this connection leaves a room.
    pub(super) fn detach(&mut self, now: Now, room: &RoomName, left: bool, logs: &Logs) {
        self.ask(now, room.clone(), AskBody::Detach { left }, None, logs);
    }
}
