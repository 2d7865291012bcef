//! Requests and what is asked of owners for them: each gets one answer, in time or refused.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use model::limits::{PAGE_BYTES_MAX, SUMMARIES_ROOMS_MAX};
use model::{
    Answer, Ask, AskBody, ClientFrame, ClientSays, End, EndCode, HistoryAsk, Now, Publish, Refusal,
    RefusalCode, RoomName, Says, Seq, Summary, Unsubscribed, UnsubscribedCode, User, Who,
};

use super::{Action, AskNo, Session};
use crate::log::Logs;

/// Requests under way at once, attaches and summaries apart: at the default rates and an owner that
/// answers within a second, four times what is needed. Beyond, `busy`.
const ASKS_MAX: usize = 256;
/// Milliseconds beyond `publish_wait_ms` that an answer may take on its way: the owner's own refusal
/// normally comes first and says more.
const ASK_MARGIN_MS: u64 = 2_000;
/// What a client is told to wait when this session's or the owner's queue is in its way.
const RETRY_MS: u64 = 1_000;

/// What an ask was made for.
#[derive(Debug)]
pub(super) enum Kind {
    Attach { slot: u16, join: u32, is_wide: bool },
    Summary { slot: u16, join: u32 },
    /// A summary for all who read it here.
    Refresh { slot: u16, join: u32 },
    Publish(RoomName),
    Signal,
    Mark(RoomName),
    History(RoomName),
    /// One room of `summaries`.
    OneOf(RoomName),
}

impl Kind {
    fn slot(&self) -> Option<u16> {
        match self {
            Kind::Attach { slot, .. }
            | Kind::Summary { slot, .. }
            | Kind::Refresh { slot, .. } => Some(*slot),
            _ => None,
        }
    }

    fn is_request(&self) -> bool {
        self.slot().is_none() && !matches!(self, Kind::OneOf(_))
    }
}

#[derive(Debug)]
struct Pending {
    kind: Kind,
    r#ref: u32,
    until_ms: u64,
}

/// A `summaries` on its way.
#[derive(Debug)]
struct Collect {
    r#ref: u32,
    left: usize,
    bytes: usize,
    rooms: Vec<(RoomName, Summary)>,
    refused: Vec<(RoomName, Refusal)>,
}

/// What is under way. Exists only while something is.
#[derive(Debug, Default)]
pub(super) struct Work {
    actions: VecDeque<Action>,
    pending: BTreeMap<AskNo, Pending>,
    requests: usize,
    wide_out: usize,
    /// Attaches without a position that wait for their turn: slot, join, ref.
    pub(super) wide: VecDeque<(u16, u32, u32)>,
    /// Subscribes whose turn did not come before a later one to the same room: slot, ref. They are
    /// answered with that one.
    pub(super) overtaken: Vec<(u16, u32)>,
    page_out: bool,
    collect: Option<Box<Collect>>,
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
            && self.disagree_ms.is_none()
    }

    fn take(&mut self, no: AskNo) -> Option<Pending> {
        let pending = self.pending.remove(&no)?;
        self.requests -= usize::from(pending.kind.is_request());
        self.wide_out -= usize::from(matches!(pending.kind, Kind::Attach { is_wide: true, .. }));
        Some(pending)
    }
}

impl Session {
    /// A request of an open session.
    pub(super) fn request(&mut self, now: Now, frame: ClientFrame, logs: &mut Logs) {
        let ClientFrame { r#ref, says } = frame;
        match says {
            ClientSays::Heartbeat => {}
            ClientSays::Hello(_) => {
                let why = "The session has had its hello.";
                self.refuse(now, r#ref, Refusal::because(RefusalCode::Unexpected, why), logs);
            }
            ClientSays::Faulty(refusal) => self.refuse(now, r#ref, refusal, logs),
            ClientSays::Authenticate { token } => self.renew(now, r#ref, token, logs),
            ClientSays::Subscribe(wish) => self.subscribe(now, r#ref, wish, false, logs),
            ClientSays::Unsubscribe { room } => self.unsubscribe(now, r#ref, &room, logs),
            ClientSays::Publish(publish) => self.publish(now, r#ref, publish, logs),
            ClientSays::Signal { room, kind, data } => {
                if self.admit_publish(now, r#ref, logs) {
                    let body = AskBody::Signal { kind, data };
                    self.ask(now, room, body, Some((Kind::Signal, r#ref)), logs);
                }
            }
            ClientSays::Mark { room, seq } => self.mark(now, r#ref, room, seq, logs),
            ClientSays::History { room, ask } => self.history(now, r#ref, room, ask, logs),
            ClientSays::Summaries { rooms } => self.summaries(now, r#ref, rooms, logs),
        }
    }

    fn publish(&mut self, now: Now, r#ref: u32, publish: Publish, logs: &mut Logs) {
        if self.admit_publish(now, r#ref, logs) {
            let room = publish.room.clone();
            let kind = Kind::Publish(room.clone());
            self.ask(now, room, AskBody::Publish(publish), Some((kind, r#ref)), logs);
        }
    }

    fn mark(&mut self, now: Now, r#ref: u32, room: RoomName, seq: Seq, logs: &mut Logs) {
        if self.admit_request(now, r#ref, logs) {
            let kind = Kind::Mark(room.clone());
            self.ask(now, room, AskBody::Mark { seq }, Some((kind, r#ref)), logs);
        }
    }

    fn history(&mut self, now: Now, r#ref: u32, room: RoomName, ask: HistoryAsk, logs: &mut Logs) {
        if !self.admit_request(now, r#ref, logs) || !self.admit_page(now, r#ref, logs) {
            return;
        }
        let kind = Kind::History(room.clone());
        self.ask(now, room, AskBody::History(ask), Some((kind, r#ref)), logs);
    }

    fn summaries(&mut self, now: Now, r#ref: u32, rooms: Vec<RoomName>, logs: &mut Logs) {
        if !self.admit_request(now, r#ref, logs) {
            return;
        }
        if rooms.len() > SUMMARIES_ROOMS_MAX {
            let why = format!("rooms has {}; {SUMMARIES_ROOMS_MAX} are allowed", rooms.len());
            let refusal = Refusal::because(RefusalCode::TooLarge, why);
            return self.refuse(now, r#ref, refusal, logs);
        }
        if !self.admit_page(now, r#ref, logs) {
            return;
        }
        let (left, nothing) = (rooms.len(), Vec::new());
        let collect = Collect { r#ref, left, bytes: 0, rooms: nothing, refused: Vec::new() };
        self.work.get_or_insert_default().collect = Some(Box::new(collect));
        for room in rooms {
            let kind = Kind::OneOf(room.clone());
            self.ask(now, room, AskBody::Summary, Some((kind, 0)), logs);
        }
        self.finish_summaries(now, logs);
    }

    fn admit_publish(&mut self, now: Now, r#ref: u32, logs: &mut Logs) -> bool {
        let admitted = self.buckets.publishes(now, logs.limits());
        self.admit(now, r#ref, admitted, logs)
    }

    pub(super) fn admit_request(&mut self, now: Now, r#ref: u32, logs: &mut Logs) -> bool {
        let admitted = self.buckets.requests(now, logs.limits());
        self.admit(now, r#ref, admitted, logs)
    }

    fn admit(&mut self, now: Now, r#ref: u32, taken: Result<(), u64>, logs: &mut Logs) -> bool {
        let refusal = match taken {
            Err(ms) => Refusal::new(RefusalCode::RateLimited).retry_after(ms),
            Ok(()) if self.work.as_ref().is_some_and(|work| work.requests >= ASKS_MAX) => {
                let refusal = Refusal::new(RefusalCode::Busy).retry_after(RETRY_MS);
                self.say(now, r#ref, Says::Refused(refusal), logs);
                return false;
            }
            Ok(()) => return true,
        };
        self.refuse(now, r#ref, refusal, logs);
        false
    }

    /// One page at a time, as each may take a good part of what may wait here.
    fn admit_page(&mut self, now: Now, r#ref: u32, logs: &mut Logs) -> bool {
        let work = self.work.get_or_insert_default();
        if std::mem::replace(&mut work.page_out, true) {
            let refusal = Refusal::new(RefusalCode::PageInProgress).retry_after(0);
            self.refuse(now, r#ref, refusal, logs);
            return false;
        }
        true
    }

    /// Refuses a request for what the client did; too many of them end the session.
    pub(super) fn refuse(&mut self, now: Now, r#ref: u32, refusal: Refusal, logs: &mut Logs) {
        self.say(now, r#ref, Says::Refused(refusal), logs);
        self.note_fault(now, logs);
    }

    pub(super) fn note_fault(&mut self, now: Now, logs: &mut Logs) {
        if self.faults.note(now.mono_us / 1_000) {
            self.end(now, End::new(EndCode::Flooding), logs);
        }
    }

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
        let Some(work) = &mut self.work else { return Vec::new() };
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
        let Some(work) = &mut self.work else { return Vec::new() };
        let of_slot = work.overtaken.extract_if(.., |(of, _)| *of == slot);
        of_slot.map(|(_, r#ref)| r#ref).collect()
    }

    /// An owner's answer. What was given up meanwhile is inert.
    pub fn handle_answer(&mut self, now: Now, no: AskNo, answer: Answer, logs: &mut Logs) {
        let Some(pending) = self.work.as_mut().and_then(|work| work.take(no)) else { return };
        self.answered(now, pending, answer, logs);
        self.attach_more(now, logs);
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
                Kind::Publish(_) | Kind::Signal | Kind::Mark(_) => RefusalCode::DeadlineExceeded,
                _ => RefusalCode::Unavailable,
            };
            let refusal = Refusal::new(code).retry_after(RETRY_MS);
            self.answered(now, pending, Answer::Refused(refusal), logs);
        }
        if let Some(work) = &mut self.work
            && work.disagree_ms.is_some_and(|at| at <= now_ms)
        {
            work.disagree_ms = None;
            self.settle_disagreements(now, logs);
        }
        self.attach_more(now, logs);
    }

    fn answered(&mut self, now: Now, pending: Pending, answer: Answer, logs: &mut Logs) {
        let Pending { kind, r#ref, .. } = pending;
        match (kind, answer) {
            (Kind::Attach { slot, join, .. }, Answer::Subscribed(subscription)) => {
                self.attached(now, (slot, join, r#ref), subscription, logs);
            }
            (Kind::Summary { slot, join }, Answer::Summary(summary)) => {
                self.summarized(now, (slot, join, r#ref), summary, logs);
            }
            (Kind::Attach { slot, join, .. } | Kind::Summary { slot, join }, answer) => {
                let why = match answer {
                    Answer::Unsubscribed(why) => why,
                    Answer::Refused(refusal) => unsubscribed(refusal),
                    _ => Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(RETRY_MS),
                };
                self.not_attached(now, (slot, join, r#ref), why, logs);
            }
            (Kind::Refresh { slot, join }, Answer::Summary(summary)) => {
                self.refreshed(now, (slot, join), &summary, logs);
            }
            // The next post tells everybody anyway.
            (Kind::Refresh { .. }, _) => {}
            (Kind::OneOf(room), answer) => self.collect(now, room, answer, logs),
            (kind, answer) => self.told(now, r#ref, kind, answer, logs),
        }
    }

    /// The answer to a request that is one frame.
    fn told(&mut self, now: Now, r#ref: u32, kind: Kind, answer: Answer, logs: &mut Logs) {
        if matches!(kind, Kind::History(_))
            && let Some(work) = &mut self.work
        {
            work.page_out = false;
        }
        let says = match (kind, answer) {
            (Kind::Publish(room), Answer::Published { log, seq, at_ms, duplicate }) => {
                Says::Published { room, log, seq, at_ms, duplicate }
            }
            (Kind::Mark(room), Answer::Marked { mark, unread }) => {
                self.note_mark(&room, mark.seq, logs);
                Says::Marked { room, seq: mark.seq, unread }
            }
            (Kind::History(room), Answer::History { log, page }) => {
                return self.say(now, r#ref, Says::History { room, log, page: Box::new(page) }, logs);
            }
            (Kind::Signal, Answer::Done) => return,
            (_, Answer::Refused(refusal)) => {
                return self.say(now, r#ref, Says::Refused(refusal), logs);
            }
            // An owner that answers something else than was asked is of another version.
            _ => {
                let refusal = Refusal::new(RefusalCode::Unavailable).retry_after(RETRY_MS);
                return self.say(now, r#ref, Says::Refused(refusal), logs);
            }
        };
        // Without a reference no answer is expected, unless it is no.
        if r#ref > 0 {
            self.say(now, r#ref, says, logs);
        }
    }

    fn collect(&mut self, now: Now, room: RoomName, answer: Answer, logs: &mut Logs) {
        let Some(collect) = self.work.as_mut().and_then(|work| work.collect.as_mut()) else {
            return;
        };
        collect.left -= 1;
        match answer {
            Answer::Summary(mut summary) => {
                // A list is cut by leaving out newest posts, never rooms.
                let bytes = summary.last.as_ref().map_or(0, |post| post.payload.len());
                match collect.bytes + bytes <= PAGE_BYTES_MAX {
                    true => collect.bytes += bytes,
                    false => summary.last = None,
                }
                collect.rooms.push((room, summary));
            }
            Answer::Refused(refusal) => collect.refused.push((room, refusal)),
            Answer::Unsubscribed(why) => collect.refused.push((room, refused(why))),
            _ => {
                let refusal = Refusal::new(RefusalCode::Unavailable).retry_after(RETRY_MS);
                collect.refused.push((room, refusal));
            }
        }
        self.finish_summaries(now, logs);
    }

    fn finish_summaries(&mut self, now: Now, logs: &mut Logs) {
        let Some(work) = &mut self.work else { return };
        if let Some(collect) = work.collect.take_if(|collect| collect.left == 0) {
            work.page_out = false;
            let Collect { r#ref, rooms, refused, .. } = *collect;
            self.say(now, r#ref, Says::Summaries { rooms, refused }, logs);
        }
    }

    /// Tells an owner that this connection leaves a room.
    pub(super) fn detach(&mut self, now: Now, room: &RoomName, left: bool, logs: &Logs) {
        self.ask(now, room.clone(), AskBody::Detach { left }, None, logs);
    }
}

/// A refusal in the words of a room's end.
fn unsubscribed(refusal: Refusal) -> Unsubscribed {
    let code = match refusal.code {
        RefusalCode::Forbidden => UnsubscribedCode::Forbidden,
        RefusalCode::TokenExpired => UnsubscribedCode::TokenExpired,
        RefusalCode::RoomDamaged => UnsubscribedCode::RoomDamaged,
        RefusalCode::Invalid => UnsubscribedCode::Invalid,
        _ => UnsubscribedCode::Unavailable,
    };
    let Refusal { message, retry_after_ms, needs_token, .. } = refusal;
    Unsubscribed { code, message, retry_after_ms, needs_token }
}

/// A room's end in the words of a refusal.
pub(super) fn refused(why: Unsubscribed) -> Refusal {
    let code = match why.code {
        UnsubscribedCode::Forbidden | UnsubscribedCode::Removed => RefusalCode::Forbidden,
        UnsubscribedCode::TokenExpired => RefusalCode::TokenExpired,
        UnsubscribedCode::RoomDamaged => RefusalCode::RoomDamaged,
        UnsubscribedCode::Invalid => RefusalCode::Invalid,
        _ => RefusalCode::Unavailable,
    };
    let Unsubscribed { message, retry_after_ms, needs_token, .. } = why;
    Refusal { code, message, retry_after_ms, needs_token }
}
