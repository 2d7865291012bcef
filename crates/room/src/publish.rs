//! "Order": the queue of publishes, and the verdict on the one at its front.
//!
//! Apart from the append because a verdict changes nothing: it says what is known, and what would
//! have to be read to know more.
//!
//! # Invariants
//! - Publishes are judged in the order in which they came; one that waits for a read holds up all
//!   behind it, while their reads are already on their way.
//! - Nothing is guessed: a publish is written only when every id that could be its earlier copy is
//!   known, and its predecessor is committed or stands ahead in the same append.

use std::collections::BTreeSet;

use model::{
    Answer, ContentKind, MessageId, Now, Publish, Refusal, RefusalCode, Right, Seq, StateKey, Who,
};

use crate::dedup::{self, Key, Range, Standing};
use crate::draft::Draft;
use crate::reads::Pending;
use crate::targets::Reactor;
use crate::{AskId, Output, Peer, Read, Room};

/// Back-off told with refusals that may be retried: the journal or the queue needs a moment.
pub(crate) const RETRY_MS: u64 = 500;

/// A publish that waits to be judged.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) peer: Peer,
    pub(crate) ask: AskId,
    pub(crate) who: Who,
    pub(crate) publish: Publish,
    /// Its id, minted if the client named none.
    pub(crate) id: MessageId,
    pub(crate) deadline: Now,
    /// The claim after which a `since` or a target above head is believed to be one.
    pub(crate) claim: Option<u64>,
}

impl Waiting {
    pub(crate) fn key(&self) -> Key {
        (self.who.user.id.clone(), self.id.clone())
    }

    fn after(&self) -> Option<Key> {
        let after = self.publish.after.clone()?;
        Some((self.who.user.id.clone(), after))
    }

    pub(crate) fn reactor(&self) -> Reactor {
        (self.who.user.id.clone(), self.publish.content.key.clone())
    }
}

/// Something that must be known before a publish can be judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// Every id from this entry on.
    Ids(Seq),
    /// What a post has become.
    Target(Seq),
    /// Its edits, or its redaction.
    Changes(Seq),
    /// Whether a user's reaction stands.
    Reaction(Seq, Reactor),
}

impl Need {
    /// The lowest entry that is read.
    pub(crate) fn lowest(&self) -> Seq {
        match self {
            Need::Ids(seq) | Need::Target(seq) | Need::Changes(seq) | Need::Reaction(seq, _) => {
                *seq
            }
        }
    }
}

/// What becomes of the publish at the front.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Something has to be known first.
    Wait,
    /// No.
    Refuse(Refusal),
    /// It is committed already.
    Duplicate {
        /// The entry.
        seq: Seq,
        /// When it was written.
        at_ms: u64,
    },
    /// It repeats this one of those admitted.
    Follow(usize),
    /// It would change nothing: this entry, perhaps uncommitted, stands for it.
    Repeat {
        /// The entry.
        seq: Seq,
        /// When it was written.
        at_ms: u64,
    },
    /// It is written.
    Write,
}

fn no(code: RefusalCode) -> Verdict {
    Verdict::Refuse(Refusal::new(code))
}

impl Room {
    pub(crate) fn publish(&mut self, now: Now, peer: Peer, ask: AskId, who: Who, publish: Publish) {
        if self.queue.len() >= self.limits.room_queue_max {
            return self.refuse(peer, ask, Refusal::new(RefusalCode::Busy).retry_after(RETRY_MS));
        }
        let id = publish.id.clone().unwrap_or_else(|| self.mint(now));
        let deadline = now.plus_ms(self.limits.publish_wait_ms);
        let mut waiting = Waiting { peer, ask, who, publish, id, deadline, claim: None };
        let tip = self.flight.as_ref().map_or(self.head.head, |flight| flight.head);
        self.claim_if_ahead(&mut waiting, tip);
        self.ask_for_needs(&waiting);
        self.queue.push_back(waiting);
    }

    /// An id for a publish without one: it protects nothing, but every entry has one.
    fn mint(&mut self, now: Now) -> MessageId {
        self.minted += 1;
        let text = format!("_{:x}.{:x}.{}", now.wall_ms, self.minted, self.seed.letters(12));
        MessageId::new(&text).expect("letters, digits, dots and an underscore are allowed")
    }

    /// Refuses what has waited too long; what is being appended waits for the journal's word.
    pub(crate) fn expire_queue(&mut self, now: Now) {
        while self.queue.front().is_some_and(|waiting| now.reached(waiting.deadline)) {
            let Some(waiting) = self.queue.pop_front() else {
                return;
            };
            let late = Refusal::new(RefusalCode::DeadlineExceeded).retry_after(0);
            self.refuse(waiting.peer, waiting.ask, late);
        }
    }

    /// Whoever speaks of entries that this owner does not know makes it claim again, before it says
    /// that there are none. What it is appending, up to `tip`, it will know by itself.
    pub(crate) fn claim_if_ahead(&mut self, waiting: &mut Waiting, tip: Seq) {
        let ahead = self.range(waiting) == Range::Ahead || waiting.publish.content.target > tip;
        if ahead && waiting.claim.is_none() {
            waiting.claim = Some(self.claims.want());
        }
    }

    /// Starts every read that a waiting publish needs and that is not out already.
    pub(crate) fn ask_for_all(&mut self) {
        self.ask_for_those(|_| true);
    }

    pub(crate) fn ask_for_those(&mut self, which: impl Fn(&Waiting) -> bool) {
        let waiting = self.queue.iter().filter(|waiting| which(waiting));
        // In order: the lowest ids come first, and one read brings them all.
        let needs: BTreeSet<Need> = waiting.flat_map(|waiting| self.needs(waiting)).collect();
        for need in needs {
            self.ask_for(need);
        }
    }

    pub(crate) fn ask_for_needs(&mut self, waiting: &Waiting) {
        for need in self.needs(waiting) {
            self.ask_for(need);
        }
    }

    fn ask_for(&mut self, need: Need) {
        if !self.reads.asked(&need) {
            let read = match &need {
                Need::Ids(from) => {
                    Read::Ids { from: *from, to: self.window.low(self.head.head) - 1 }
                }
                Need::Target(target) => Read::Target { target: *target },
                Need::Changes(target) => {
                    let known = self.targets.get(*target);
                    let redact = known.is_some_and(|known| known.kind == ContentKind::Tombstone);
                    let edits = known.map_or(0, |known| known.fold.edits);
                    Read::Changes { target: *target, edits, redact }
                }
                Need::Reaction(target, (user, key)) => {
                    Read::States(vec![StateKey::Reaction(*target, user.clone(), key.clone())])
                }
            };
            self.read(read, Pending::Need(need));
        }
    }

    /// What has to be known before this publish can be judged, as far as that is known now.
    pub(crate) fn needs(&self, waiting: &Waiting) -> Vec<Need> {
        if waiting.publish.id.is_some()
            && (self.window.holds(&waiting.key()) || self.answered.holds(&waiting.key()))
        {
            return Vec::new();
        }
        let mut needs = Vec::new();
        match self.range(waiting) {
            Range::From(low) if low < self.window.low(self.head.head) => needs.push(Need::Ids(low)),
            Range::From(_) => {}
            _ => return needs,
        }
        self.content_needs(waiting, &mut needs);
        needs
    }

    fn content_needs(&self, waiting: &Waiting, needs: &mut Vec<Need>) {
        let content = &waiting.publish.content;
        let seq = content.target;
        if content.kind == ContentKind::Post || seq < self.head.first || seq > self.head.head {
            return;
        }
        let target = self.targets.get(seq);
        if target.is_none() {
            needs.push(Need::Target(seq));
        }
        let reacts = content.kind == ContentKind::Reaction;
        let alive = target.is_none_or(|target| target.kind == ContentKind::Post);
        if reacts && alive && self.targets.reaction(seq, &waiting.reactor()).is_none() {
            needs.push(Need::Reaction(seq, waiting.reactor()));
        }
        if let Some(target) = target
            && content.kind == ContentKind::Redact
        {
            let lost = target.kind == ContentKind::Tombstone && target.redaction.is_none();
            if lost || !target.has_edits() {
                needs.push(Need::Changes(seq));
            }
        }
    }

    /// Which ids must be known; none for a publish that names neither itself nor a predecessor.
    pub(crate) fn range(&self, waiting: &Waiting) -> Range {
        let publish = &waiting.publish;
        if publish.id.is_none() && publish.after.is_none() && publish.since.is_none() {
            return Range::From(self.head.head + 1);
        }
        dedup::range(&self.head, publish.since.as_ref())
    }

    /// What becomes of the publish, behind those that were admitted to the draft.
    pub(crate) fn judge(&self, waiting: &Waiting, draft: &Draft) -> Verdict {
        let (key, content) = (waiting.key(), &waiting.publish.content);
        if let Some(row) = self.window.find(&key) {
            return if dedup::repeats(row.kind, row.digest, content.digest) {
                Verdict::Duplicate { seq: row.seq, at_ms: row.at_ms }
            } else {
                no(RefusalCode::IdConflict)
            };
        }
        if let Some(Standing { seq, at_ms, digest }) = self.answered.find(&key) {
            return if digest == content.digest {
                Verdict::Duplicate { seq, at_ms }
            } else {
                no(RefusalCode::IdConflict)
            };
        }
        if let Some(index) = draft.find(&key) {
            let first = &draft.admitted[index].waiting.publish.content;
            return if first.digest == content.digest {
                Verdict::Follow(index)
            } else {
                no(RefusalCode::IdConflict)
            };
        }
        match self.range(waiting) {
            Range::LogChanged => return no(RefusalCode::LogChanged),
            Range::Undecidable => return no(RefusalCode::Undecidable),
            Range::Ahead if self.has_claimed(waiting) => return no(RefusalCode::LogChanged),
            Range::Ahead => return Verdict::Wait,
            Range::From(low) if low < self.window.low(self.head.head) => return Verdict::Wait,
            Range::From(_) => {}
        }
        if let Some(after) = waiting.after()
            && !(self.window.holds(&after)
                || draft.find(&after).is_some()
                || self.answered.holds(&after))
        {
            let missing = Refusal::new(RefusalCode::PredecessorMissing).retry_after(0);
            return Verdict::Refuse(missing);
        }
        self.judge_content(waiting, draft)
    }

    fn has_claimed(&self, waiting: &Waiting) -> bool {
        waiting.claim.is_some_and(|claim| self.claims.is_done(claim))
    }

    fn judge_content(&self, waiting: &Waiting, draft: &Draft) -> Verdict {
        let content = &waiting.publish.content;
        let seq = content.target;
        if content.kind == ContentKind::Post {
            return Verdict::Write;
        }
        if seq > self.head.head && seq <= draft.head {
            // Nobody can have read it yet; it is judged when it is committed.
            return Verdict::Wait;
        }
        if seq > self.head.head && !self.has_claimed(waiting) {
            return Verdict::Wait;
        }
        if seq < self.head.first.max(1) || seq > self.head.head {
            return no(RefusalCode::TargetMissing);
        }
        let mut needs = Vec::new();
        self.content_needs(waiting, &mut needs);
        let Some(target) = self.targets.get(seq).filter(|_| needs.is_empty()) else {
            return Verdict::Wait;
        };
        let mine = target.author == waiting.who.user.id;
        match (target.kind, content.kind) {
            (ContentKind::Tombstone, ContentKind::Redact) => match target.redaction.flatten() {
                Some((seq, at_ms)) => Verdict::Repeat { seq, at_ms },
                None => no(RefusalCode::TargetRedacted),
            },
            (ContentKind::Tombstone, _) => no(RefusalCode::TargetRedacted),
            (ContentKind::Post, ContentKind::Edit) if !mine => no(RefusalCode::NotAuthor),
            (ContentKind::Post, ContentKind::Edit) if !target.takes_edit() => {
                no(RefusalCode::TooManyChanges)
            }
            (ContentKind::Post, ContentKind::Redact)
                if !mine && !waiting.who.may(Right::Moderate) =>
            {
                no(RefusalCode::NotAuthor)
            }
            (ContentKind::Post, ContentKind::Reaction) => self.judge_reaction(waiting, draft),
            (ContentKind::Post, _) => Verdict::Write,
            _ => no(RefusalCode::TargetMissing),
        }
    }

    fn judge_reaction(&self, waiting: &Waiting, draft: &Draft) -> Verdict {
        let content = &waiting.publish.content;
        let Some(target) = self.targets.get(content.target) else {
            return Verdict::Wait;
        };
        let standing = self.targets.reaction(content.target, &waiting.reactor()).flatten();
        match standing {
            Some(_) if content.remove => Verdict::Write,
            None if content.remove => Verdict::Repeat { seq: content.target, at_ms: target.at_ms },
            Some(seq) => {
                let at_ms = draft.at_ms_of(seq).or_else(|| Some(self.window.at(seq)?.at_ms));
                Verdict::Repeat { seq, at_ms: at_ms.unwrap_or(target.at_ms) }
            }
            None if target.takes_key(&content.key) => Verdict::Write,
            None => no(RefusalCode::TooManyChanges),
        }
    }

    /// Refuses every waiting publish that needs this, since it could not be read.
    pub(crate) fn refuse_needing(&mut self, need: &Need, refusal: &Refusal) {
        let waiting = std::mem::take(&mut self.queue);
        let same = |other: &Need| match (need, other) {
            (Need::Ids(_), Need::Ids(_)) => true,
            _ => need == other,
        };
        for waiting in waiting {
            if self.needs(&waiting).iter().any(same) {
                self.refuse(waiting.peer, waiting.ask, refusal.clone());
            } else {
                self.queue.push_back(waiting);
            }
        }
    }

    pub(crate) fn refuse(&mut self, peer: Peer, id: AskId, refusal: Refusal) {
        self.outputs.push_back(Output::Answer { peer, id, answer: Answer::Refused(refusal) });
    }
}
