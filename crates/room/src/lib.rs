//! One room as a machine: who may say what in which order, and who is told.
//!
//! It stands apart from the tasks and the journal around it so that the very code that runs in
//! production runs in model tests under any schedule: it does no I/O, reads no clock and draws no
//! randomness.
//!
//! # Invariants
//! - Durable before visible: nothing is answered or fed before the journal has committed it.
//! - One append is out at a most; its numbers follow the committed head without a hole.
//! - Every queue and cache has a bound; what exceeds it is refused as retryable.
//!
//! Look elsewhere for: bytes (`wire::codec`, behind [`model::Encode`]), storage (`journal`), claims
//! and slots (`cluster`), sessions and rings (`session`).

mod append;
mod claim;
mod dedup;
mod draft;
mod feed;
mod handoff;
mod history;
mod know;
mod marks;
mod outcome;
mod port;
mod presence;
mod publish;
mod reads;
mod targets;
mod visit;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::{
    Answer, Ask, AskBody, ContentKind, Fed, Fence, Limits, LogId, Now, Publish, Refusal,
    RefusalCode, Right, Rights, RoomName, Seed, User, Who,
};

pub use port::{
    AnsweredHint, AskId, AttachmentHint, Head, Hints, IdRow, Opening, Output, PageDone, Peer, Read,
    ReadDone, ReadFailed, Ticket,
};

use visit::{Goal, Visit, denied};

/// The owner's machine of one room. Owned by its slot's task.
///
/// Grammar: any `handle_*(now, …)`; then [`Room::poll_append`] if the slot can take an append, then
/// [`Room::poll_output`] until it is empty, then [`Room::poll_timeout`] for when to call
/// [`Room::handle_timeout`]. What came too early stays until it is polled.
///
/// - An append that was polled is answered by [`Room::handle_appended`], whatever happens.
/// - [`Output::Read`] is answered by [`Room::handle_read`], in any order.
/// - [`Output::Reclaim`] is answered by [`Room::handle_reclaimed`]; the slot's other rooms hear of it
///   by [`Room::handle_fence`], and appends of the slot wait meanwhile. If the slot is lost instead:
///   [`Room::handle_fenced`].
/// - Before it is handed over: [`Room::handle_freeze`] and no word after it; appends until
///   [`Room::is_flushed`]; then [`Room::export`]. The next owner opens it with that as a hint.
/// - When [`Room::is_idle`], it may be dropped and opened again from the journal.
#[derive(Debug)]
pub struct Room {
    name: RoomName,
    limits: Arc<Limits>,
    state: State,
    fence: Fence,
    /// The committed end of the log; all zero while the room is unborn.
    head: Head,
    log_if_born: LogId,
    seed: Seed,
    minted: u64,
    window: dedup::Window,
    answered: dedup::Answered,
    targets: targets::Targets,
    queue: VecDeque<publish::Waiting>,
    /// The append that is out.
    flight: Option<draft::Draft>,
    /// Entries of the next append; smaller after one was too large.
    batch_max: usize,
    claims: reads::Claims,
    reads: reads::Reads,
    /// Asks that wait for a claim, or for the append that is out.
    held: Vec<Visit>,
    marks: marks::Marks,
    presence: presence::Presence,
    watches: BTreeMap<Peer, u64>,
    outputs: VecDeque<Output>,
    active: Now,
}

/// Whether a room does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Somebody else claimed the slot.
    Fenced,
    /// What is stored cannot be right.
    Damaged,
}

impl Room {
    /// Opens a room as the journal tells it, or as its former owner handed it over.
    #[must_use]
    pub fn new(now: Now, limits: Arc<Limits>, mut opening: Opening) -> Room {
        let hints = opening.hints.take();
        if let Some(hints) = &hints {
            opening.head.clone_from(&hints.head);
        }
        let collecting = opening.collecting.then(|| now.plus_ms(limits.presence_grace_ms));
        let unborn =
            Head { log: LogId::none(), first: 0, head: 0, ordinal: 0, at_ms: 0, first_ordinal: 0 };
        let mut room = Room {
            name: opening.room,
            batch_max: limits.batch_entries_max,
            limits,
            state: State::Open,
            fence: opening.fence,
            head: opening.head.unwrap_or(unborn),
            log_if_born: opening.log_if_born,
            seed: opening.seed,
            minted: 0,
            window: dedup::Window::default(),
            answered: dedup::Answered::default(),
            targets: targets::Targets::default(),
            queue: VecDeque::new(),
            flight: None,
            claims: reads::Claims::default(),
            reads: reads::Reads::default(),
            held: Vec::new(),
            marks: marks::Marks::default(),
            presence: presence::Presence::new(collecting),
            watches: BTreeMap::new(),
            outputs: VecDeque::new(),
            active: now,
        };
        match hints {
            Some(hints) => room.adopt(now, hints),
            None => room.remember(opening.recent.iter().map(IdRow::from).collect()),
        }
        room
    }

    /// Takes a hint of the newest entries, if it is one. Their authors have read what they wrote,
    /// even if that mark was not written any more.
    fn remember(&mut self, recent: Vec<IdRow>) {
        let from = (self.head.head + 1).saturating_sub(recent.len() as u64);
        if !recent.iter().zip(from..).all(|(row, seq)| row.seq == seq) {
            return;
        }
        for row in recent {
            self.marks.has_read(&row);
            self.window.push(row);
        }
    }

    /// Somebody asks.
    pub fn handle_ask(&mut self, now: Now, from: Peer, id: AskId, ask: Ask) {
        self.active = now;
        let Ask { who, body, .. } = ask;
        let subscribes = matches!(body, AskBody::Attach { .. } | AskBody::Summary);
        if self.state != State::Open {
            return self.answer_closed(from, id, subscribes);
        }
        if !allowed(who.rights, &body) {
            let answer = denied(subscribes, Refusal::new(RefusalCode::Forbidden));
            return self.outputs.push_back(Output::Answer { peer: from, id, answer });
        }
        let visit = |who, goal| Visit::new(from, id, who, goal);
        match body {
            AskBody::Attach { after, recent } => {
                let goal = Goal::Attach { after, recent };
                self.attach(from, &who);
                self.visit(now, visit(who, goal));
            }
            AskBody::Summary => self.visit(now, visit(who, Goal::Summary)),
            AskBody::History(ask) => self.visit(now, visit(who, Goal::History(ask))),
            AskBody::Mark { seq } => self.visit(now, visit(who, Goal::Mark(seq))),
            AskBody::Publish(publish) => self.publish(now, from, id, who, publish),
            body => {
                let answer = self.answer(now, from, who, body);
                self.outputs.push_back(Output::Answer { peer: from, id, answer });
            }
        }
        self.pump(now);
    }

    /// A peer's stream ended: its attachments start their grace. What it published goes on.
    pub fn handle_peer_lost(&mut self, now: Now, peer: Peer) {
        self.active = now;
        self.watches.remove(&peer);
        self.presence.peer_lost(peer, now.plus_ms(self.limits.presence_grace_ms));
        self.pump(now);
    }

    /// The time of [`Room::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.pump(now);
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Room::handle_timeout`] is to be called. After it, also poll for an append.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Now> {
        if self.state != State::Open {
            return None;
        }
        let deadline = self.queue.front().map(|waiting| waiting.deadline);
        let presence = self.presence.timeout(&self.limits);
        let marks = self.marks.timeout(self.limits.marks_interval_ms);
        [deadline, presence, marks].into_iter().flatten().min_by_key(|at| at.mono_us)
    }

    /// Whether the room may be dropped from memory: nobody is here, nothing waits, and nothing
    /// happened for a while.
    #[must_use]
    pub fn is_idle(&self, now: Now) -> bool {
        let quiet = now.reached(self.active.plus_ms(self.limits.room_idle_ms));
        let waiting = !self.queue.is_empty()
            || self.flight.is_some()
            || self.claims.is_pending()
            || !self.reads.is_empty()
            || !self.held.is_empty()
            || !self.outputs.is_empty()
            || self.marks.is_dirty();
        let stopped = self.state != State::Open && self.flight.is_none() && self.outputs.is_empty();
        quiet && self.watches.is_empty() && (stopped || (!waiting && self.presence.is_empty()))
    }

    /// The last committed entry, for heads in heartbeats and for retention.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Who is here, as far as is known: for operators.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.presence.count()
    }

    /// Streams that are fed: for operators.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.watches.len()
    }

    fn attach(&mut self, from: Peer, who: &Who) {
        if let Some(session) = &who.session {
            self.presence.attach(session.clone(), who.generation, from, &who.user);
        }
    }

    /// Answers that need nothing but what is at hand.
    fn answer(&mut self, now: Now, from: Peer, who: Who, body: AskBody) -> Answer {
        match body {
            AskBody::Detach { left } => {
                if let Some(session) = &who.session {
                    let grace = (!left).then(|| now.plus_ms(self.limits.presence_grace_ms));
                    self.presence.detach(session, who.generation, from, grace);
                }
                Answer::Done
            }
            AskBody::Signal { kind, data } => {
                let from: User = who.user;
                self.feed(|watch| {
                    let (from, kind, data) = (from.clone(), kind.clone(), data.clone());
                    Fed::Signal { watch, from, kind, data }
                });
                Answer::Done
            }
            AskBody::Presence => match self.presence.roster(&self.limits) {
                Ok(roster) => Answer::Presence(roster),
                Err(until) => {
                    let wait_ms = until.mono_us.saturating_sub(now.mono_us) / 1_000;
                    let refusal = Refusal::new(RefusalCode::Collecting).retry_after(wait_ms);
                    Answer::Refused(refusal)
                }
            },
            _ => Answer::Room(self.info()),
        }
    }

    /// Does what is due, after everything that was handled.
    fn pump(&mut self, now: Now) {
        if self.state != State::Open {
            return;
        }
        self.expire_queue(now);
        self.presence.expire(now);
        if let Some(change) = self.presence.push(now, &self.limits) {
            self.feed(|watch| Fed::Presence { watch, change: change.clone() });
        }
        self.marks.ripen(now, self.limits.marks_interval_ms);
        self.issue_claim();
    }

    /// Claims, if somebody wants it and no append is out.
    fn issue_claim(&mut self) {
        let free = self.flight.as_ref().is_none_or(|flight| flight.uncertain);
        if free && self.claims.issue() {
            self.outputs.push_back(Output::Reclaim { after: self.head.head });
        }
    }
}

/// Whether the rights suffice for what is asked.
fn allowed(rights: Rights, body: &AskBody) -> bool {
    match body {
        AskBody::Publish(Publish { content, .. }) => match content.kind {
            ContentKind::Redact => rights.has(Right::Publish) || rights.has(Right::Moderate),
            kind => kind.right().is_some_and(|right| rights.has(right)),
        },
        AskBody::Signal { .. } => rights.has(Right::Signal),
        AskBody::Presence => rights.has(Right::Presence),
        AskBody::Detach { .. } => true,
        AskBody::Attach { .. }
        | AskBody::Summary
        | AskBody::Mark { .. }
        | AskBody::History(_)
        | AskBody::Room => rights.has(Right::Read),
    }
}
