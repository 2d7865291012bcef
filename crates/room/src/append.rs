//! One append at a time: judging the queue from its front, and making the bytes.
//!
//! Apart from the verdicts because this is the only place where numbers are assigned and payloads are
//! encoded.
//!
//! # Invariants
//! - At most one append is out; the numbers of the next start behind its last only if it commits.
//! - Each entry is encoded once.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::limits::TEXT_BYTES_MAX;
use model::{ContentKind, ContentState, Encode, Entry, Erasure, Now, Record, RoomBatch, StateKey};

use crate::draft::{Admitted, Draft};
use crate::publish::{Verdict, Waiting};
use crate::{IdRow, Room, State};

/// Payload of one append of one room; a fraction of what engines take, many times the longest entry.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

const _: () = assert!(BATCH_BYTES_MAX > 64 * TEXT_BYTES_MAX);

/// What goes to the journal beside the draft that stays.
#[derive(Default)]
struct Parts {
    records: Vec<Record>,
    states: BTreeMap<StateKey, Option<Bytes>>,
}

impl Room {
    /// The next append, if there is something to append and none is out. Assigns numbers and makes
    /// the bytes; `slot_pos` is left to the slot. Judging may also refuse, so poll outputs after it.
    pub fn poll_append(&mut self, now: Now, encode: &dyn Encode) -> Option<RoomBatch> {
        if self.flight.is_some() || self.claims.is_pending() || self.state != State::Open {
            return None;
        }
        let mut draft = Draft::new(&self.head, &self.log_if_born);
        let mut parts = Parts::default();
        while draft.written.len() < self.batch_max && draft.bytes < BATCH_BYTES_MAX {
            let Some(mut waiting) = self.queue.pop_front() else {
                break;
            };
            match self.judge(&waiting, &draft) {
                Verdict::Wait => {
                    self.claim_if_ahead(&mut waiting, draft.head);
                    self.ask_for_needs(&waiting);
                    self.queue.push_front(waiting);
                    break;
                }
                Verdict::Refuse(refusal) => self.refuse(waiting.peer, waiting.ask, refusal),
                Verdict::Duplicate { seq, at_ms } => self.published(&waiting, seq, at_ms, true),
                Verdict::Follow(index) => {
                    let Admitted { seq, at_ms, .. } = draft.admitted[index];
                    draft.admit(waiting, seq, at_ms, true);
                }
                Verdict::Repeat { seq, at_ms } if draft.written.is_empty() => {
                    self.remember_unchanged(&waiting, seq, at_ms);
                    self.published(&waiting, seq, at_ms, true);
                }
                Verdict::Repeat { seq, at_ms } => draft.admit(waiting, seq, at_ms, true),
                Verdict::Write => self.write(now, waiting, &mut draft, &mut parts, encode),
            }
        }
        let batch = self.send(now, draft, parts);
        self.issue_claim();
        batch
    }

    fn send(&mut self, now: Now, mut draft: Draft, mut parts: Parts) -> Option<RoomBatch> {
        draft.marks = self.marks.take(now);
        if draft.written.is_empty() && draft.marks.is_empty() {
            return None;
        }
        for (user, mark) in &draft.marks {
            parts.states.insert(StateKey::Mark(user.clone()), Some(mark.to_bytes()));
        }
        let erasures = draft.erased.values();
        let batch = RoomBatch {
            room: self.name.clone(),
            log: draft.log.clone(),
            records: parts.records,
            erasures: erasures
                .map(|entry| Erasure { seq: entry.seq, payload: entry.payload.clone() })
                .collect(),
            states: parts.states.into_iter().collect(),
        };
        self.flight = Some(draft);
        Some(batch)
    }

    fn write(
        &mut self,
        now: Now,
        waiting: Waiting,
        draft: &mut Draft,
        parts: &mut Parts,
        encode: &dyn Encode,
    ) {
        let (content, user) = (&waiting.publish.content, &waiting.who.user);
        let seq = draft.head + 1;
        let ordinal = draft.ordinal + u64::from(content.kind == ContentKind::Post);
        let at_ms = now.wall_ms.max(draft.at_ms);
        let log = (seq == 1).then_some(&draft.log);
        let payload =
            encode.message(&self.name, log, seq, ordinal, &waiting.id, at_ms, user, content);
        let record = Record {
            seq,
            ordinal,
            slot_pos: 0,
            at_ms,
            user: user.id.clone(),
            session: waiting.who.session.clone(),
            id: waiting.id.clone(),
            kind: content.kind,
            target: content.target,
            key: content.key.clone(),
            remove: content.remove,
            digest: content.digest,
            fence: self.fence,
            payload: payload.clone(),
        };
        self.change_target(&waiting, &record, draft, parts, encode);
        (draft.head, draft.ordinal, draft.at_ms) = (seq, ordinal, at_ms);
        draft.bytes += payload.len();
        draft.written.push((IdRow::from(&record), payload));
        parts.records.push(record);
        draft.admit(waiting, seq, at_ms, false);
    }

    /// What an edit, redaction or reaction makes of its post, as of this append.
    fn change_target(
        &mut self,
        waiting: &Waiting,
        record: &Record,
        draft: &mut Draft,
        parts: &mut Parts,
        encode: &dyn Encode,
    ) {
        let content = &waiting.publish.content;
        let seq = content.target;
        let Some(target) = self.targets.get_mut(seq) else {
            return;
        };
        draft.targets.insert(seq);
        match content.kind {
            ContentKind::Edit => {
                let (payload, body) = (record.payload.clone(), content.body.clone());
                target.edit(record.seq, record.ordinal, record.at_ms, payload, body);
            }
            ContentKind::Redact => {
                let reason = encode.redact_reason(&content.body);
                let blank = |seq, ordinal, payload| {
                    let payload = encode.tombstone(payload, &record.user, &reason);
                    (seq, Entry { seq, ordinal, kind: ContentKind::Tombstone, payload })
                };
                let (_, tombstone) = blank(seq, target.ordinal, &target.payload);
                let edits = target.edits.iter();
                let edits = edits.map(|(seq, (ordinal, payload))| blank(*seq, *ordinal, payload));
                draft.erased.extend(edits);
                target.redact(record.seq, record.at_ms, tombstone.payload.clone());
                draft.erased.insert(seq, tombstone);
                draft.bytes +=
                    draft.erased.values().map(|entry| entry.payload.len()).sum::<usize>();
            }
            ContentKind::Reaction => {
                let reactor = waiting.reactor();
                let (user, key) = &reactor;
                if content.remove {
                    target.unreact(user, key);
                } else {
                    target.react(user, key);
                }
                let standing = (!content.remove).then_some(record.seq);
                let state = standing.map(|seq| Bytes::copy_from_slice(&seq.to_be_bytes()));
                let key = StateKey::Reaction(seq, user.clone(), key.clone());
                parts.states.insert(key, state);
                let fold = target.fold.to_bytes();
                parts.states.insert(StateKey::Fold(seq), Some(fold));
                self.targets.put_reaction(seq, reactor, standing);
                return;
            }
            _ => return,
        }
        let alive = target.kind == ContentKind::Post;
        parts.states.insert(StateKey::Fold(seq), alive.then(|| target.fold.to_bytes()));
    }
}
