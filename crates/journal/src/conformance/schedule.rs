//! Random schedules against a model that is small enough to be obviously right.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use model::{
    AppendError, ContentKind, ContentState, Digest, Erasure, Fold, HistoryAnchor, ReactionCount,
    Record, RoomBatch, RoomName, Seed, StateKey,
};

use super::Subject;
use super::owner::{ALL, Draft, Owner, room, user};
use crate::{Journal, ReadError};

const STEPS: u64 = 150;
const SEEDS: u64 = 4;
const ROOMS: [&str; 3] = ["a", "a+", "b"];

/// What a room should hold.
#[derive(Default)]
struct Truth {
    /// All that were ever written.
    entries: Vec<Record>,
    first: u64,
    states: BTreeMap<StateKey, Bytes>,
}

impl Truth {
    fn kept(&self) -> &[Record] {
        &self.entries[self.first.saturating_sub(1) as usize..]
    }

    /// A redacted post is still one: its ordinal tells.
    fn posts(&self) -> Vec<&Record> {
        let before = |seq: u64| match seq {
            1 => 0,
            seq => self.entries[seq as usize - 2].ordinal,
        };
        self.kept().iter().filter(|entry| entry.ordinal > before(entry.seq)).collect()
    }

    fn apply(&mut self, part: &RoomBatch) {
        self.first = self.first.max(1);
        self.entries.extend(part.records.clone());
        for erasure in &part.erasures {
            let entry = &mut self.entries[erasure.seq as usize - 1];
            entry.kind = ContentKind::Tombstone;
            entry.digest = Digest::default();
            entry.payload = erasure.payload.clone();
        }
        for (key, value) in &part.states {
            match value {
                Some(value) => self.states.insert(key.clone(), value.clone()),
                None => self.states.remove(key),
            };
        }
    }

    fn trim(&mut self, first: u64) {
        self.first = self.first.max(first.min(self.entries.len() as u64 + 1));
        let first = self.first;
        self.states.retain(|key, _| match key {
            StateKey::Mark(_) => true,
            StateKey::Fold(seq) | StateKey::Reaction(seq, ..) => *seq >= first,
        });
    }
}

pub async fn random_schedules_agree_with_a_small_model(subject: &mut impl Subject) {
    let mut rooms: HashMap<RoomName, Truth> = HashMap::new();
    let mut epoch = 0;
    let mut journal = subject.open();
    for number in 1..=SEEDS {
        let mut seed = Seed::new(number);
        epoch += 1;
        let mut owner = Owner::claim(&journal, 0, epoch, number).await;
        for step in 0..STEPS {
            let place = format!("seed {number}, step {step}");
            match seed.below(20) {
                0 => {
                    let old = owner;
                    epoch += 1;
                    owner = Owner::claim(&journal, 0, epoch, number).await;
                    stale(&mut seed, old, &place).await;
                }
                1 => {
                    owner.claim_again().await;
                }
                2 => unknown(&mut seed, subject, &mut owner, &mut rooms, &place).await,
                3 => trim(&mut seed, &owner, &mut rooms, &place).await,
                4 if step.is_multiple_of(3) => {
                    drop((owner, journal));
                    journal = subject.open();
                    owner = Owner::claim(&journal, 0, epoch, number).await;
                }
                _ => append(&mut seed, &mut owner, &mut rooms, &place).await,
            }
            look(&mut seed, &journal, &rooms, &place).await;
        }
    }
}

/// A part that may be appended: a few entries, now and then erasures and states.
async fn part(seed: &mut Seed, owner: &mut Owner, rooms: &HashMap<RoomName, Truth>) -> RoomBatch {
    let name = room(ROOMS[seed.below(3) as usize]);
    let empty = Truth::default();
    let truth = rooms.get(&name).unwrap_or(&empty);
    let head = truth.entries.len() as u64;
    let drafts = (0..seed.below(5)).map(|_| draft(seed, truth.first, head)).collect();
    let mut part = owner.part(&name, drafts).await;
    let last = head + part.records.len() as u64;
    if last > 0 && seed.below(3) == 0 {
        let seq = truth.first.max(1) + seed.below(last + 1 - truth.first.max(1));
        if (truth.first.max(1)..=last).contains(&seq) {
            part.erasures.push(Erasure { seq, payload: Bytes::from(format!("gone {seq}")) });
        }
    }
    for _ in 0..seed.below(3) {
        let seq = truth.first.max(1) + seed.below(last + 1);
        if seq <= last {
            part.states.push(state(seed, seq));
        }
    }
    part
}

fn draft(seed: &mut Seed, first: u64, head: u64) -> Draft {
    let length = 1 + seed.below(40) as usize;
    let text = seed.letters(length);
    let kinds = [ContentKind::Edit, ContentKind::Reaction, ContentKind::System];
    match seed.below(6) {
        n @ 0..3 if head >= first.max(1) => {
            let target = first.max(1) + seed.below(head + 1 - first.max(1));
            let kind = kinds[n as usize];
            Draft { kind, target: if n == 2 { 0 } else { target }, text }
        }
        _ => Draft { kind: ContentKind::Post, target: 0, text },
    }
}

fn state(seed: &mut Seed, seq: u64) -> (StateKey, Option<Bytes>) {
    let name = user(["ann", "bob"][seed.below(2) as usize]);
    let key = match seed.below(3) {
        0 => StateKey::Mark(name),
        1 => StateKey::Fold(seq),
        _ => StateKey::Reaction(seq, name, seed.letters(1)),
    };
    let fold = Fold {
        reactions: vec![ReactionCount { key: "x".into(), count: 1, users: Vec::new() }],
        edits: seed.below(100) as u32,
        ..Fold::default()
    };
    let value = (seed.below(4) > 0).then(|| fold.to_bytes());
    (key, value)
}

async fn append(
    seed: &mut Seed,
    owner: &mut Owner,
    rooms: &mut HashMap<RoomName, Truth>,
    place: &str,
) {
    let mut good = part(seed, owner, rooms).await;
    if seed.below(6) == 0 && !good.records.is_empty() {
        good.records[0].seq += 1 + seed.below(3);
        let expected = rooms.get(&good.room).map_or(0, |truth| truth.entries.len() as u64) + 1;
        let results = owner.append(vec![good]).await;
        assert_eq!(results, vec![Err(AppendError::SequenceConflict { expected })], "{place}");
        return;
    }
    let results = owner.append(vec![good.clone()]).await;
    assert_eq!(results, vec![Ok(())], "{place}: {good:?}");
    settle(rooms, &good);
}

fn settle(rooms: &mut HashMap<RoomName, Truth>, part: &RoomBatch) {
    let unborn = !rooms.contains_key(&part.room) && part.records.is_empty();
    if !unborn {
        rooms.entry(part.room.clone()).or_default().apply(part);
    }
}

async fn stale(seed: &mut Seed, mut old: Owner, place: &str) {
    let name = room(ROOMS[seed.below(3) as usize]);
    let part =
        old.part(&name, vec![Draft { kind: ContentKind::Post, target: 0, text: "x".into() }]);
    let part = part.await;
    assert_eq!(old.append(vec![part]).await, vec![Err(AppendError::Fenced)], "{place}");
}

async fn unknown(
    seed: &mut Seed,
    subject: &mut impl Subject,
    owner: &mut Owner,
    rooms: &mut HashMap<RoomName, Truth>,
    place: &str,
) {
    let part = part(seed, owner, rooms).await;
    if part.records.is_empty() {
        return;
    }
    let applied = seed.below(2) == 0;
    subject.break_next_commit(applied);
    let results = owner.append(vec![part.clone()]).await;
    assert!(matches!(results[0], Err(AppendError::Unknown(_))), "{place}: {results:?}");
    owner.claim_again().await;
    if applied {
        settle(rooms, &part);
    }
}

async fn trim(seed: &mut Seed, owner: &Owner, rooms: &mut HashMap<RoomName, Truth>, place: &str) {
    let name = room(ROOMS[seed.below(3) as usize]);
    let Some(truth) = rooms.get_mut(&name) else {
        return;
    };
    let first = truth.first + seed.below(4);
    let trimmed = owner.journal.trim(owner.slot, owner.fence, &name, first).await;
    assert_eq!(trimmed, Ok(()), "{place}");
    truth.trim(first);
}

/// Compares a few random reads.
async fn look(
    seed: &mut Seed,
    journal: &Arc<dyn Journal>,
    rooms: &HashMap<RoomName, Truth>,
    place: &str,
) {
    let name = room(ROOMS[seed.below(3) as usize]);
    let head = journal.head(&name).await.expect("readable");
    let Some(truth) = rooms.get(&name) else {
        assert_eq!(head, None, "{place}");
        return;
    };
    let head = head.unwrap_or_else(|| panic!("{place}: {name} is unborn"));
    let last = truth.entries.len() as u64;
    let posts = truth.posts();
    assert_eq!((head.first, head.head), (truth.first, last), "{place}");
    assert_eq!(head.ordinal - head.first_ordinal, posts.len() as u64, "{place}");

    let from = seed.below(last + 2);
    let limit = 1 + seed.below(10) as usize;
    let range = journal.range(&name, from, limit, ALL).await;
    if from.max(1) < truth.first {
        assert_eq!(range, Err(ReadError::Trimmed { first: truth.first }), "{place}");
    } else {
        let entries = truth.entries.iter().skip(from.max(1) as usize - 1).take(limit);
        assert_eq!(range, Ok(entries.cloned().collect()), "{place}");
    }
    let target = seed.below(last + 1);
    let spoken = truth.kept().iter().filter(|entry| entry.target == target && target >= head.first);
    let expected: Vec<_> = spoken.filter(|entry| entry.target > 0).cloned().collect();
    assert_eq!(journal.by_target(&name, target, 0, ALL).await, Ok(expected), "{place}");
    let ids = journal.ids(&name, truth.first, last).await.expect("readable");
    let expected: Vec<_> = truth.kept().iter().cloned().map(Into::into).collect();
    assert_eq!(ids, expected, "{place}");
    look_at_page(seed, journal, &name, truth, &posts, place).await;
}

async fn look_at_page(
    seed: &mut Seed,
    journal: &Arc<dyn Journal>,
    name: &RoomName,
    truth: &Truth,
    posts: &[&Record],
    place: &str,
) {
    let limit = 1 + seed.below(6) as usize;
    let seq = seed.below(truth.entries.len() as u64 + 3);
    let below = posts.partition_point(|post| post.seq < seq);
    let upto = posts.partition_point(|post| post.seq <= seq);
    let around = below.saturating_sub(limit / 2);
    let around = around.min(posts.len().saturating_sub(limit));
    let (anchor, expected, more) = match seed.below(4) {
        0 => (HistoryAnchor::Newest, posts.len().saturating_sub(limit)..posts.len(), None),
        1 => (HistoryAnchor::Before(seq), below.saturating_sub(limit)..below, None),
        2 => {
            let end = (upto + limit).min(posts.len());
            (HistoryAnchor::After(seq), upto..end, Some(end < posts.len()))
        }
        _ => {
            let end = (around + limit).min(posts.len());
            (HistoryAnchor::Around(seq), around..end, None)
        }
    };
    let more = more.unwrap_or(expected.start > 0);
    let asked = user("ann");
    let page = journal.page(name, anchor, limit as u32, ALL, Some(&asked)).await;
    let page = page.expect("readable").expect("born");
    let listed: Vec<_> = page.posts.iter().map(|(post, _)| post).collect();
    assert_eq!(listed, posts[expected.clone()], "{place} {anchor:?} {limit}");
    if !expected.is_empty() {
        assert_eq!(page.more, more, "{place} {anchor:?} {limit}");
    }
    for (post, fold) in &page.posts {
        let expected = truth.states.get(&StateKey::Fold(post.seq));
        assert_eq!(fold.as_ref(), expected, "{place} post {}", post.seq);
        let mine = truth.states.keys().filter_map(|key| match key {
            StateKey::Reaction(seq, user, key) if *seq == post.seq && *user == asked => {
                fold.as_ref().map(|_| key.clone())
            }
            _ => None,
        });
        let mine: Vec<_> = mine.collect();
        let listed = page.mine.iter().find(|(seq, _)| *seq == post.seq);
        assert_eq!(listed.map_or(&[][..], |(_, keys)| &keys[..]), mine, "{place}");
    }
}
