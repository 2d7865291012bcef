//! What an owner says: answers and feeds.

use model::{Answer, AskBody, Fed, RoomName, SessionId, Unsubscribed, UnsubscribedCode};

use super::room::Verdict;
use super::{Near, REWATCH_MS};
use crate::ToShards;

impl Near {
    /// An ask was answered; what nobody waits for any more is inert.
    pub(super) fn owner_answered(&mut self, id: u64, answer: Answer) {
        if let Some((room, session)) = self.retelling.remove(&id) {
            return self.owner_took_again(&room, &session, answer);
        }
        let Some(pending) = self.outbox.remove(id) else {
            self.counts.inert += 1;
            return;
        };
        if let (AskBody::Attach { .. }, Some(session)) =
            (&pending.ask.body, &pending.ask.who.session)
        {
            self.attach_answered(id, &pending.ask.room, session, &answer);
        }
        if let Some(local) = pending.local {
            self.answer(local, answer);
        }
    }

    /// An attach was answered: the attachment stands, or is none, unless it was detached or replaced by
    /// a later one meanwhile.
    fn attach_answered(&mut self, id: u64, room: &RoomName, session: &SessionId, answer: &Answer) {
        let Some(state) = self.rooms.get_mut(room) else {
            return;
        };
        match state.attached.get_mut(session) {
            Some(attachment) if attachment.ask == id => {
                if matches!(answer, Answer::Subscribed(_)) {
                    attachment.stands = true;
                    attachment.told = self.stream.number;
                } else {
                    state.attached.remove(session);
                    self.forget_unused(room);
                }
            }
            _ => {}
        }
    }

    /// The answer to an attachment that was told again.
    fn owner_took_again(&mut self, room: &RoomName, session: &SessionId, answer: Answer) {
        let why = match answer {
            Answer::Unsubscribed(why) => why,
            Answer::Refused(refusal) => match refusal.retry_after_ms {
                Some(ms) => Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(ms),
                None => Unsubscribed::new(UnsubscribedCode::Forbidden),
            },
            _ => return,
        };
        let Some(state) = self.rooms.get_mut(room) else {
            return;
        };
        let Some(attachment) = state.attached.get_mut(session).filter(|a| a.stands) else {
            return;
        };
        if let (UnsubscribedCode::Unavailable, Some(ms)) = (why.code, why.retry_after_ms) {
            attachment.told = 0;
            return self.wait(room, ms);
        }
        let local = attachment.local;
        state.attached.remove(session);
        self.forget_unused(room);
        let (room, session) = (room.clone(), session.clone());
        self.to_shards.push_back(ToShards::Detached { local, room, session, why });
    }

    /// A word of a room's feed; what speaks of an older watch is inert.
    pub(super) fn owner_fed(&mut self, name: RoomName, fed: Fed) {
        let current = self.rooms.get_mut(&name).filter(|state| state.watch == Some(watch_of(&fed)));
        let Some(state) = current else {
            self.counts.inert += 1;
            return;
        };
        if let Fed::Unwatched { why, .. } = &fed {
            let why = why.clone();
            return self.owner_unwatched(name, why, fed);
        }
        match state.take(fed) {
            Verdict::Pass(fed) => {
                let shards = state.shards;
                if shards.is_empty() {
                    return;
                }
                self.to_shards.push_back(ToShards::Fed { shards, room: name, fed });
            }
            Verdict::Inert => self.counts.inert += 1,
            Verdict::Gap => {
                self.counts.gaps += 1;
                state.watch = None;
                state.watching = false;
                self.enqueue(&name);
            }
            Verdict::Superseded => {
                state.watch = None;
                self.counts.superseded += 1;
                self.superseded.insert(self.rooms.slot_of(&name));
                self.wait(&name, REWATCH_MS);
            }
        }
    }

    /// The owner ended the watch. Whoever comes next will be watched and told of all attachments; only
    /// a final end reaches the shards.
    fn owner_unwatched(&mut self, name: RoomName, why: Unsubscribed, fed: Fed) {
        let Some(state) = self.rooms.get_mut(&name) else {
            return;
        };
        state.watch = None;
        state.watching = false;
        state.attached.values_mut().for_each(|attachment| attachment.told = 0);
        if let (UnsubscribedCode::Unavailable, Some(ms)) = (why.code, why.retry_after_ms) {
            return self.wait(&name, ms.max(REWATCH_MS));
        }
        let shards = std::mem::take(&mut state.shards);
        state.attached.clear();
        state.feed = None;
        self.forget_unused(&name);
        self.to_shards.push_back(ToShards::Fed { shards, room: name, fed });
    }
}

/// The generation of which a word of the feed speaks.
fn watch_of(fed: &Fed) -> u64 {
    match fed {
        Fed::Watching { watch, .. }
        | Fed::Entries { watch, .. }
        | Fed::Erased { watch, .. }
        | Fed::Trimmed { watch, .. }
        | Fed::Signal { watch, .. }
        | Fed::Presence { watch, .. }
        | Fed::Marked { watch, .. }
        | Fed::Unwatched { watch, .. } => *watch,
    }
}
