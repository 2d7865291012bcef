//! Asks that may need a read: attach, summary, history and marks.
//!
//! Apart from the queue of publishes because nothing orders them: each goes its own way from step to
//! step, and is answered when nothing is missing.
//!
//! # Invariants
//! - An answer never shows an entry above the room's committed head: what a read saw beyond waits
//!   until the append that is out is settled.
//! - `ahead` is said only after a claim that was made after the ask had come.

use model::limits::PAGE_POSTS_MAX;
use model::{
    Answer, Catchup, ContentState, Generation, HistoryAnchor, HistoryAsk, Mark, Now, Page,
    Position, Refusal, RefusalCode, Rights, Seq, SessionId, Snapshot, SnapshotReason, StateKey,
    Subscription, Summary, Unsubscribed, UnsubscribedCode, UserId, Who,
};

use crate::publish::RETRY_MS;
use crate::reads::Pending;
use crate::{AskId, Output, PageDone, Peer, Read, ReadDone, Room, marks};

/// An ask on its way to an answer.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) peer: Peer,
    pub(crate) ask: AskId,
    pub(crate) user: UserId,
    pub(crate) session: Option<SessionId>,
    pub(crate) generation: Generation,
    pub(crate) rights: Rights,
    pub(crate) goal: Goal,
    /// The claim that it waits or waited for.
    claim: Option<u64>,
    /// Why it gets a page, once that is decided.
    reason: Option<SnapshotReason>,
    /// The page, and up to where it is folded.
    page: Option<(Seq, Page, u64)>,
    /// What the journal holds of the user's mark.
    mark: Option<Mark>,
    /// The ordinal of the entry that is marked.
    ordinal: Option<u64>,
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Goal {
    Attach { after: Option<Position>, recent: u32 },
    Summary,
    History(HistoryAsk),
    Mark(Seq),
}

impl Goal {
    fn subscribes(&self) -> bool {
        matches!(self, Goal::Attach { .. } | Goal::Summary)
    }
}

/// What has to happen next.
enum Step {
    Answer(Answer),
    Read(Read),
    /// Another claim has to tell whether this owner is up to date.
    Claim,
    /// The append that is out has to be settled.
    Hold,
}

/// How a reader gets from its position to head.
enum Plan {
    Resume(u64),
    Snapshot(SnapshotReason),
    Claim,
}

impl Visit {
    pub(crate) fn new(peer: Peer, ask: AskId, who: Who, goal: Goal) -> Visit {
        Visit {
            peer,
            ask,
            user: who.user.id,
            session: who.session,
            generation: who.generation,
            rights: who.rights,
            goal,
            claim: None,
            reason: None,
            page: None,
            mark: None,
            ordinal: None,
        }
    }
}

impl Room {
    pub(crate) fn visit(&mut self, now: Now, visit: Visit) {
        let out = self.reads.len() + self.held.len();
        if out >= self.limits.room_queue_max {
            let busy = Refusal::because(RefusalCode::Busy, "too much is being read in this room");
            return self.deny(now, visit, busy.retry_after(RETRY_MS));
        }
        self.advance(visit);
    }

    /// Takes a visit as far as it gets.
    pub(crate) fn advance(&mut self, mut visit: Visit) {
        match self.step(&mut visit) {
            Step::Answer(answer) => {
                let (peer, id) = (visit.peer, visit.ask);
                self.outputs.push_back(Output::Answer { peer, id, answer });
            }
            Step::Read(read) => self.read(read, Pending::Visit(Box::new(visit))),
            Step::Claim => {
                visit.claim = Some(self.claims.want());
                self.held.push(visit);
            }
            Step::Hold => self.held.push(visit),
        }
    }

    /// Those who waited for a claim or for a settled append go on.
    pub(crate) fn release(&mut self) {
        for visit in std::mem::take(&mut self.held) {
            match visit.claim {
                Some(claim) if !self.claims.is_done(claim) => self.held.push(visit),
                _ => self.advance(visit),
            }
        }
    }

    /// Pages that were read before a claim may show what did not come to be.
    pub(crate) fn discard_held_pages(&mut self) {
        for visit in &mut self.held {
            visit.page = None;
        }
    }

    pub(crate) fn visit_read(&mut self, now: Now, mut visit: Visit, ticket: u64, done: ReadDone) {
        let known = match done {
            ReadDone::Page(page) => self.take_page(&mut visit, ticket, page),
            ReadDone::States(states) => self.take_mark(&mut visit, ticket, &states),
            ReadDone::At { ordinal, states } => {
                visit.ordinal = Some(ordinal);
                self.take_mark(&mut visit, ticket, &states)
            }
            other => Err(format!("a visit was answered by {other:?}")),
        };
        match known {
            Ok(()) => self.advance(visit),
            Err(what) => {
                self.deny(now, visit, Refusal::new(RefusalCode::RoomDamaged));
                self.damage(now, what);
            }
        }
    }

    /// No; the attachment that came with the ask goes into its grace.
    pub(crate) fn deny(&mut self, now: Now, visit: Visit, refusal: Refusal) {
        if let (Goal::Attach { .. }, Some(session)) = (&visit.goal, &visit.session) {
            let grace = Some(now.plus_ms(self.limits.presence_grace_ms));
            self.presence.detach(session, visit.generation, visit.peer, grace);
        }
        let answer = denied(visit.goal.subscribes(), refusal);
        self.outputs.push_back(Output::Answer { peer: visit.peer, id: visit.ask, answer });
    }

    fn step(&mut self, visit: &mut Visit) -> Step {
        if let Some((as_of, ..)) = visit.page
            && as_of > self.head.head
        {
            if self.flight.is_some() {
                return Step::Hold;
            }
            // Nobody appends here what the page shows: another owner may be at work.
            visit.page = None;
            return Step::Claim;
        }
        match visit.goal {
            Goal::Attach { .. } => self.step_attach(visit),
            Goal::Summary => self.step_summary(visit),
            Goal::History(ask) => self.step_history(visit, ask),
            Goal::Mark(seq) => self.step_mark(visit, seq),
        }
    }

    fn step_attach(&mut self, visit: &mut Visit) -> Step {
        let Goal::Attach { after, recent } = &visit.goal else {
            return Step::Hold;
        };
        let reason = match visit.reason {
            Some(reason) => reason,
            None => match self.plan(visit, after.as_ref()) {
                Plan::Claim => return Step::Claim,
                Plan::Snapshot(reason) => reason,
                Plan::Resume(missed) => {
                    return match self.mark_of(visit) {
                        Some(mark) => {
                            let head = (self.head.head, self.head.ordinal);
                            self.subscribed(visit, head, mark, Catchup::Resumed { missed })
                        }
                        None => Step::Read(Read::States(vec![StateKey::Mark(visit.user.clone())])),
                    };
                }
            },
        };
        let recent = if *recent == 0 { self.limits.recent_default } else { *recent };
        visit.reason = Some(reason);
        if self.head.log.is_none() {
            let catchup = Catchup::Snapshot(Snapshot { reason, page: Page::default() });
            return self.subscribed(visit, (0, 0), Mark::default(), catchup);
        }
        match (visit.page.take(), self.mark_of(visit)) {
            (Some((as_of, page, ordinal)), Some(mark)) => {
                let catchup = Catchup::Snapshot(Snapshot { reason, page });
                self.subscribed(visit, (as_of, ordinal), mark, catchup)
            }
            _ => Step::Read(self.page(visit, HistoryAnchor::Newest, recent)),
        }
    }

    fn plan(&self, visit: &Visit, after: Option<&Position>) -> Plan {
        let Some(after) = after else {
            return Plan::Snapshot(SnapshotReason::New);
        };
        let claimed = visit.claim.is_some_and(|claim| self.claims.is_done(claim));
        if !after.speaks_of(&self.head.log) {
            return if self.head.log.is_none() && !claimed {
                Plan::Claim
            } else {
                Plan::Snapshot(SnapshotReason::LogChanged)
            };
        }
        if after.seq > self.head.head {
            return if claimed { Plan::Snapshot(SnapshotReason::Ahead) } else { Plan::Claim };
        }
        let missed = self.head.head - after.seq;
        if after.seq + 1 < self.head.first {
            Plan::Snapshot(SnapshotReason::Trimmed)
        } else if missed > self.limits.replay_max {
            Plan::Snapshot(SnapshotReason::TooFar)
        } else {
            Plan::Resume(missed)
        }
    }

    /// The answer to an attach; live starts behind `head`.
    fn subscribed(&self, visit: &Visit, head: (Seq, u64), mark: Mark, catchup: Catchup) -> Step {
        let (head, ordinal) = head;
        let mark = if mark.seq > head { Mark { seq: head, ordinal } } else { mark };
        let at_head = crate::Head { head, ordinal, ..self.head.clone() };
        Step::Answer(Answer::Subscribed(Subscription {
            log: self.head.log.clone(),
            first: self.head.first,
            head,
            ordinal,
            mark,
            unread: marks::unread(&at_head, mark),
            rights: visit.rights,
            catchup,
        }))
    }

    fn step_summary(&mut self, visit: &mut Visit) -> Step {
        let summary = |head, ordinal, mark, last| {
            let log = self.head.log.clone();
            Step::Answer(Answer::Summary(Summary { log, head, ordinal, mark: Some(mark), last }))
        };
        if self.head.log.is_none() {
            return summary(0, 0, Mark::default(), None);
        }
        match (visit.page.take(), self.mark_of(visit)) {
            (Some((as_of, page, ordinal)), Some(mark)) => {
                let mark = if mark.seq > as_of { Mark { seq: as_of, ordinal } } else { mark };
                summary(as_of, ordinal, mark, page.posts.into_iter().next_back())
            }
            _ => Step::Read(self.page(visit, HistoryAnchor::Newest, 1)),
        }
    }

    fn step_history(&mut self, visit: &mut Visit, ask: HistoryAsk) -> Step {
        if self.head.log.is_none() {
            return Step::Answer(Answer::History {
                log: self.head.log.clone(),
                page: Page::default(),
            });
        }
        if let Some((_, page, _)) = visit.page.take() {
            return Step::Answer(Answer::History { log: self.head.log.clone(), page });
        }
        let limit = if ask.limit == 0 { self.limits.recent_default } else { ask.limit };
        let limit = limit.min(PAGE_POSTS_MAX);
        let user = visit.user.clone();
        Step::Read(Read::Page { anchor: ask.anchor, limit, user, states: Vec::new() })
    }

    fn step_mark(&mut self, visit: &mut Visit, seq: Seq) -> Step {
        let seq = seq.min(self.head.head);
        let ordinal = if seq == self.head.head {
            Some(self.head.ordinal)
        } else if seq < self.head.first {
            Some(self.head.first_ordinal)
        } else {
            visit.ordinal.or_else(|| Some(self.window.at(seq)?.ordinal))
        };
        let key = StateKey::Mark(visit.user.clone());
        match (ordinal, self.mark_of(visit)) {
            (Some(ordinal), Some(stood)) => {
                if self.marks.is_full() {
                    let busy =
                        Refusal::because(RefusalCode::Busy, "too many marks wait to be written");
                    return Step::Answer(Answer::Refused(busy.retry_after(RETRY_MS)));
                }
                self.mark(&visit.user, visit.session.as_ref(), stood, Mark { seq, ordinal })
            }
            (None, Some(_)) => Step::Read(Read::At { seq, states: Vec::new() }),
            (None, None) => Step::Read(Read::At { seq, states: vec![key] }),
            (Some(_), None) => Step::Read(Read::States(vec![key])),
        }
    }

    fn mark(
        &mut self,
        user: &UserId,
        session: Option<&SessionId>,
        stood: Mark,
        mark: Mark,
    ) -> Step {
        let mark = if mark.seq > stood.seq {
            self.move_mark(user, session, mark);
            mark
        } else {
            stood
        };
        Step::Answer(Answer::Marked { mark, unread: marks::unread(&self.head, mark) })
    }

    /// Where the user's mark stands, if that is known: what was read, or moved since.
    fn mark_of(&self, visit: &Visit) -> Option<Mark> {
        if self.head.log.is_none() {
            return Some(Mark::default());
        }
        visit.mark.max(self.marks.get(&visit.user))
    }

    fn page(&self, visit: &Visit, anchor: HistoryAnchor, limit: u32) -> Read {
        let user = visit.user.clone();
        let states = match self.mark_of(visit) {
            None => vec![StateKey::Mark(user.clone())],
            Some(_) => Vec::new(),
        };
        Read::Page { anchor, limit: limit.min(PAGE_POSTS_MAX), user, states }
    }

    fn take_page(&mut self, visit: &mut Visit, ticket: u64, done: PageDone) -> Result<(), String> {
        self.take_mark(visit, ticket, &done.states)?;
        let Some(head) = &done.head else {
            return Err("the journal does not know a room that it has entries of".to_owned());
        };
        if head.head <= self.head.head && head.log != self.head.log {
            return Err(format!("the log is {} in the journal, {} here", head.log, self.head.log));
        }
        let (as_of, ordinal) = (head.head, head.ordinal);
        visit.page = Some((as_of, crate::history::fold(done)?, ordinal));
        Ok(())
    }

    fn take_mark(
        &mut self,
        visit: &mut Visit,
        ticket: u64,
        states: &[Option<bytes::Bytes>],
    ) -> Result<(), String> {
        let Some(state) = states.first() else {
            return Ok(());
        };
        let mark = match state {
            None => Mark::default(),
            Some(bytes) => Mark::from_bytes(bytes)
                .ok_or_else(|| format!("the mark of {} cannot be read", visit.user))?,
        };
        self.marks.learn(&visit.user, mark, ticket);
        visit.mark = Some(mark);
        Ok(())
    }
}

/// "No" in the scope of the ask: of one room, or of one request.
pub(crate) fn denied(subscribes: bool, refusal: Refusal) -> Answer {
    if !subscribes {
        return Answer::Refused(refusal);
    }
    let code = match refusal.code {
        RefusalCode::Forbidden => UnsubscribedCode::Forbidden,
        RefusalCode::RoomDamaged => UnsubscribedCode::RoomDamaged,
        RefusalCode::Invalid => UnsubscribedCode::Invalid,
        _ => UnsubscribedCode::Unavailable,
    };
    let retry_after_ms = refusal.retry_after_ms;
    Answer::Unsubscribed(Unsubscribed { retry_after_ms, ..Unsubscribed::new(code) })
}
