//! What posts have become: the bounded cache that edits, redactions and reactions are judged by.
//!
//! Apart from the queue because it holds what is true once the append that is out commits: a second
//! reaction in the same append sees the first.
//!
//! # Invariants
//! - A post that an uncommitted or waiting publish speaks of is never evicted.
//! - When an append fails, every post that it touched is forgotten and read again.
//! - All edits of a post are at hand when as many are as its fold counts.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::limits::{EDITS_PER_POST_MAX, REACTION_KEYS_PER_POST_MAX, REACTION_USERS_LISTED};
use model::{ContentKind, Fold, ReactionCount, Record, Seq, UserId};

/// Posts kept though nobody waits for them: those that people react to right now.
const KEPT: usize = 64;
/// Edits or reactions beside one post that nobody waits for; with more the post is read again.
const WEIGHT_KEPT: usize = 128;

/// A user's reaction with one key.
pub(crate) type Reactor = (UserId, String);

/// A post and what became of it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) author: UserId,
    pub(crate) kind: ContentKind,
    pub(crate) ordinal: u64,
    pub(crate) at_ms: u64,
    pub(crate) payload: Bytes,
    pub(crate) fold: Fold,
    /// Edits that are at hand: ordinal and payload.
    pub(crate) edits: BTreeMap<Seq, (u64, Bytes)>,
    /// The redaction and its time; the outer is `None` until it was looked for.
    pub(crate) redaction: Option<Option<(Seq, u64)>>,
    used: u64,
}

impl Target {
    pub(crate) fn new(record: &Record, fold: Fold) -> Target {
        Target {
            author: record.user.clone(),
            kind: record.kind,
            ordinal: record.ordinal,
            at_ms: record.at_ms,
            payload: record.payload.clone(),
            fold,
            edits: BTreeMap::new(),
            redaction: None,
            used: 0,
        }
    }

    /// Whether all its edits are at hand.
    pub(crate) fn has_edits(&self) -> bool {
        self.edits.len() as u64 >= u64::from(self.fold.edits)
    }

    pub(crate) fn takes_edit(&self) -> bool {
        self.fold.edits < EDITS_PER_POST_MAX
    }

    pub(crate) fn takes_key(&self, key: &str) -> bool {
        self.fold.reactions.len() < REACTION_KEYS_PER_POST_MAX
            || self.fold.reactions.iter().any(|count| count.key == key)
    }

    pub(crate) fn edit(&mut self, seq: Seq, ordinal: u64, at_ms: u64, payload: Bytes, body: Bytes) {
        self.edits.insert(seq, (ordinal, payload));
        self.fold.edits += 1;
        self.fold.edit = Some((at_ms, body));
    }

    pub(crate) fn redact(&mut self, seq: Seq, at_ms: u64, tombstone: Bytes) {
        self.kind = ContentKind::Tombstone;
        self.payload = tombstone;
        self.fold = Fold::default();
        self.edits.clear();
        self.redaction = Some(Some((seq, at_ms)));
    }

    pub(crate) fn react(&mut self, user: &UserId, key: &str) {
        let reactions = &mut self.fold.reactions;
        let index = reactions.iter().position(|count| count.key == key).unwrap_or(reactions.len());
        if index == reactions.len() {
            reactions.push(ReactionCount { key: key.to_owned(), ..ReactionCount::default() });
        }
        let count = &mut reactions[index];
        count.count += 1;
        if count.users.len() < REACTION_USERS_LISTED {
            count.users.push(user.clone());
        }
    }

    pub(crate) fn unreact(&mut self, user: &UserId, key: &str) {
        for count in self.fold.reactions.iter_mut().filter(|count| count.key == key) {
            count.count = count.count.saturating_sub(1);
            count.users.retain(|listed| listed != user);
        }
        self.fold.reactions.retain(|count| count.count > 0);
    }
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    held: BTreeMap<Seq, Target>,
    /// The standing reaction of a user, by post; `Some(None)` is "none stands".
    reactions: BTreeMap<Seq, BTreeMap<Reactor, Option<Seq>>>,
    uses: u64,
}

impl Targets {
    pub(crate) fn get(&self, seq: Seq) -> Option<&Target> {
        self.held.get(&seq)
    }

    pub(crate) fn get_mut(&mut self, seq: Seq) -> Option<&mut Target> {
        self.uses += 1;
        let target = self.held.get_mut(&seq)?;
        target.used = self.uses;
        Some(target)
    }

    pub(crate) fn put(&mut self, seq: Seq, target: Target) {
        self.uses += 1;
        self.held.insert(seq, Target { used: self.uses, ..target });
    }

    pub(crate) fn reaction(&self, seq: Seq, reactor: &Reactor) -> Option<Option<Seq>> {
        self.reactions.get(&seq)?.get(reactor).copied()
    }

    pub(crate) fn put_reaction(&mut self, seq: Seq, reactor: Reactor, standing: Option<Seq>) {
        self.reactions.entry(seq).or_default().insert(reactor, standing);
    }

    pub(crate) fn forget(&mut self, seq: Seq) {
        self.held.remove(&seq);
        self.reactions.remove(&seq);
    }

    pub(crate) fn forget_below(&mut self, first: Seq) {
        self.held = self.held.split_off(&first);
        self.reactions = self.reactions.split_off(&first);
    }

    pub(crate) fn clear(&mut self) {
        self.held.clear();
        self.reactions.clear();
    }

    /// Whether [`Targets::shrink`] would have something to do.
    pub(crate) fn is_large(&self) -> bool {
        self.held.len() > KEPT
            || self.reactions.len() > KEPT
            || self.held.values().any(|target| target.edits.len() > WEIGHT_KEPT)
            || self.reactions.values().any(|reactions| reactions.len() > WEIGHT_KEPT)
    }

    /// Evicts what is heavy, then what was used least recently; never what is pinned.
    pub(crate) fn shrink(&mut self, pinned: &BTreeSet<Seq>) {
        let seqs: BTreeSet<Seq> = self.held.keys().chain(self.reactions.keys()).copied().collect();
        let mut loose: Vec<(u64, Seq)> = seqs
            .iter()
            .filter(|seq| !pinned.contains(seq))
            .map(|seq| (self.heat(*seq), *seq))
            .collect();
        loose.sort_unstable();
        let excess = seqs.len().saturating_sub(KEPT);
        for (index, (heat, seq)) in loose.into_iter().enumerate() {
            if heat == 0 || index < excess {
                self.forget(seq);
            }
        }
    }

    /// When the post was last used; 0 if it is too heavy to be kept.
    fn heat(&self, seq: Seq) -> u64 {
        let reactions = self.reactions.get(&seq).map_or(0, BTreeMap::len);
        match self.held.get(&seq) {
            Some(target) if target.edits.len() <= WEIGHT_KEPT && reactions <= WEIGHT_KEPT => {
                target.used
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Digest, MessageId};

    use super::*;

    fn post(seq: Seq) -> Target {
        let record = Record {
            seq,
            ordinal: seq,
            slot_pos: 0,
            at_ms: 0,
            user: UserId::new("ann").expect("valid"),
            session: None,
            id: MessageId::new("message1").expect("valid"),
            kind: ContentKind::Post,
            target: 0,
            key: String::new(),
            remove: false,
            digest: Digest::default(),
            fence: 0,
            payload: Bytes::new(),
        };
        Target::new(&record, Fold::default())
    }

    fn user(number: usize) -> UserId {
        UserId::new(&format!("user{number}")).expect("valid")
    }

    #[test]
    fn the_cache_keeps_what_is_waited_for_and_what_was_used_last() {
        let mut targets = Targets::default();
        (1..=100).for_each(|seq| targets.put(seq, post(seq)));
        targets.get_mut(2);
        assert!(targets.is_large());
        targets.shrink(&BTreeSet::from([1]));
        assert!(targets.get(1).is_some(), "waited for");
        assert!(targets.get(2).is_some(), "used last");
        assert!(targets.get(3).is_none());
        assert!(!targets.is_large());
    }

    #[test]
    fn a_heavy_post_is_let_go_as_soon_as_nobody_waits_for_it() {
        let mut targets = Targets::default();
        targets.put(1, post(1));
        for number in 0..=WEIGHT_KEPT {
            targets.put_reaction(1, (user(number), "+".to_owned()), None);
        }
        targets.shrink(&BTreeSet::from([1]));
        assert!(targets.get(1).is_some());
        targets.shrink(&BTreeSet::new());
        assert!(targets.get(1).is_none() && targets.reaction(1, &(user(1), "+".into())).is_none());
    }

    #[test]
    fn reactions_are_counted_and_some_of_the_users_named() {
        let mut target = post(1);
        (0..20).for_each(|number| target.react(&user(number), "+"));
        target.react(&user(1), "-");
        target.unreact(&user(3), "+");
        target.unreact(&user(1), "-");
        let [count] = &target.fold.reactions[..] else { panic!("one key") };
        assert_eq!((count.count, count.users.len()), (19, REACTION_USERS_LISTED - 1));
        assert!(!count.users.contains(&user(3)));
    }
}
