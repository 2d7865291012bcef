//! Requests: what is asked of owners for them, and what is told of the answers.

use model::limits::{PAGE_BYTES_MAX, SUMMARIES_ROOMS_MAX};
use model::{
    Answer, AskBody, ClientFrame, ClientSays, ContentKind, End, EndCode, HistoryAsk, Now, Publish,
    Refusal, RefusalCode, RoomName, Says, Seq, Unsubscribed, UnsubscribedCode,
};

use super::Session;
use super::asks::{Collect, Kind, Pending};
use crate::log::Logs;

/// Requests under way at once, attaches and summaries apart: at the default rates and an owner that
/// answers within a second, four times what is needed. Beyond, `busy`.
const ASKS_MAX: usize = 256;
/// What a client is told to wait when this session's or the owner's queue is in its way.
pub(super) const RETRY_MS: u64 = 1_000;

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
            let is_post = publish.content.kind == ContentKind::Post;
            let kind = Kind::Publish(room.clone(), is_post);
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

    pub(super) fn answered(&mut self, now: Now, pending: Pending, answer: Answer, logs: &mut Logs) {
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
                self.refreshed(now, (slot, join), Some(&summary), logs);
            }
            (Kind::Refresh { slot, join }, _) => self.refreshed(now, (slot, join), None, logs),
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
            (Kind::Publish(room, is_post), Answer::Published { log, seq, at_ms, duplicate }) => {
                if is_post {
                    self.note_mark(&room, seq, logs);
                }
                Says::Published { room, log, seq, at_ms, duplicate }
            }
            (Kind::Mark(room), Answer::Marked { mark, unread }) => {
                self.note_mark(&room, mark.seq, logs);
                Says::Marked { room, seq: mark.seq, unread }
            }
            (Kind::History(room), Answer::History { log, page }) => {
                return self.say(
                    now,
                    r#ref,
                    Says::History { room, log, page: Box::new(page) },
                    logs,
                );
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
