//! The model of a journal: what it means, without how it is done.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{
    AppendError, ContentKind, ContentState, Digest, Fence, Fold, HistoryAnchor, LogId, Record,
    RoomBatch, Seq, StateKey, UserId,
};
use room::{Head, IdRow, PageDone, Read, ReadDone, ReadFailed};

#[derive(Clone, Debug, Default)]
pub struct Store {
    pub log: LogId,
    pub first: Seq,
    pub records: Vec<Record>,
    pub states: BTreeMap<StateKey, Bytes>,
    pub fence: Fence,
    /// Handed over under a fence, with an unknown outcome.
    pub lost: Vec<(Fence, RoomBatch)>,
    pub appends: usize,
}

impl Store {
    pub fn claim(&mut self) -> Fence {
        self.fence += 1;
        self.fence
    }

    /// What was lost on its way arrives now.
    pub fn arrive(&mut self) {
        for (fence, batch) in std::mem::take(&mut self.lost) {
            let _ = self.append(fence, batch);
        }
    }

    pub fn append(&mut self, fence: Fence, batch: RoomBatch) -> Result<(), AppendError> {
        if fence != self.fence {
            return Err(AppendError::Fenced);
        }
        let head = self.records.len() as u64;
        if let Some(first) = batch.records.first()
            && (first.seq != head + 1 || (head > 0 && batch.log != self.log))
        {
            return Err(AppendError::SequenceConflict { expected: head + 1 });
        }
        self.appends += 1;
        for (record, seq) in batch.records.iter().zip(head + 1..) {
            assert_eq!(record.seq, seq, "numbers are dense");
            let last = self.records.last();
            let ordinal =
                last.map_or(0, |r| r.ordinal) + u64::from(record.kind == ContentKind::Post);
            assert_eq!(record.ordinal, ordinal, "posts are counted");
            assert!(record.at_ms >= last.map_or(0, |r| r.at_ms), "time does not go back");
            self.records.push(record.clone());
        }
        if !batch.records.is_empty() {
            self.log = batch.log;
            self.first = self.first.max(1);
        }
        for erasure in batch.erasures {
            let record = &mut self.records[erasure.seq as usize - 1];
            record.kind = ContentKind::Tombstone;
            record.digest = Digest::default();
            record.payload = erasure.payload;
        }
        for (key, value) in batch.states {
            match value {
                Some(value) => self.states.insert(key, value),
                None => self.states.remove(&key),
            };
        }
        Ok(())
    }

    pub fn head(&self) -> Option<Head> {
        let last = self.records.last()?;
        Some(Head {
            log: self.log.clone(),
            first: self.first,
            head: last.seq,
            ordinal: last.ordinal,
            at_ms: last.at_ms,
            first_ordinal: self.ordinal(self.first - 1),
        })
    }

    pub fn trim(&mut self, first: Seq) {
        self.first = first;
    }

    pub fn tail(&self, after: Seq) -> Vec<Record> {
        self.records.iter().filter(|r| r.seq > after && r.seq >= self.first).cloned().collect()
    }

    pub fn fold(&self, seq: Seq) -> Fold {
        let bytes = self.states.get(&StateKey::Fold(seq));
        bytes.map_or(Fold::default(), |bytes| Fold::from_bytes(bytes).expect("a fold"))
    }

    pub fn read(&self, read: &Read) -> Result<ReadDone, ReadFailed> {
        match read {
            Read::Page { anchor, limit, user, states } => {
                Ok(ReadDone::Page(self.page(*anchor, *limit as usize, user, states)))
            }
            Read::States(keys) => Ok(ReadDone::States(self.values(keys))),
            Read::Ids { from, to } => {
                self.kept(*from)?;
                let rows = self.records[*from as usize - 1..*to as usize].iter().map(IdRow::from);
                Ok(ReadDone::Ids(rows.collect()))
            }
            Read::Target { target } => {
                self.kept(*target)?;
                let fold = self.states.get(&StateKey::Fold(*target)).cloned();
                Ok(ReadDone::Target { record: self.records[*target as usize - 1].clone(), fold })
            }
            Read::Changes { target, .. } => {
                use ContentKind::{Edit, Redact, Tombstone};
                let changes = self.records.iter().filter(|r| r.target == *target);
                let kept = changes.filter(|r| matches!(r.kind, Edit | Redact | Tombstone));
                Ok(ReadDone::Changes(kept.cloned().collect()))
            }
            Read::At { seq, states } => {
                self.kept(*seq)?;
                Ok(ReadDone::At { ordinal: self.ordinal(*seq), states: self.values(states) })
            }
        }
    }

    fn ordinal(&self, seq: Seq) -> u64 {
        self.records.iter().rev().find(|r| r.seq <= seq).map_or(0, |r| r.ordinal)
    }

    fn kept(&self, seq: Seq) -> Result<(), ReadFailed> {
        if seq < self.first { Err(ReadFailed::Trimmed { first: self.first }) } else { Ok(()) }
    }

    fn values(&self, keys: &[StateKey]) -> Vec<Option<Bytes>> {
        keys.iter().map(|key| self.states.get(key).cloned()).collect()
    }

    fn page(
        &self,
        anchor: HistoryAnchor,
        limit: usize,
        user: &UserId,
        states: &[StateKey],
    ) -> PageDone {
        let (mut last, mut posts) = (0, Vec::new());
        for record in &self.records {
            if record.ordinal > last && record.seq >= self.first {
                posts.push(record.clone());
            }
            last = record.ordinal;
        }
        let above = |seq: Seq| posts.iter().filter(move |r| r.seq < seq).count();
        let to = match anchor {
            HistoryAnchor::Newest => posts.len(),
            HistoryAnchor::Before(seq) => above(seq),
            HistoryAnchor::After(seq) => (above(seq + 1) + limit).min(posts.len()),
            HistoryAnchor::Around(seq) => (above(seq) + limit.div_ceil(2)).min(posts.len()),
        };
        let from = to.saturating_sub(limit);
        let page = &posts[from..to];
        let mine = page.iter().filter_map(|post| {
            let keys: Vec<String> = self
                .states
                .keys()
                .filter_map(|key| match key {
                    StateKey::Reaction(seq, by, key) if *seq == post.seq && by == user => {
                        Some(key.clone())
                    }
                    _ => None,
                })
                .collect();
            (!keys.is_empty()).then_some((post.seq, keys))
        });
        PageDone {
            head: self.head(),
            mine: mine.collect(),
            posts: page
                .iter()
                .map(|r| (r.clone(), self.states.get(&StateKey::Fold(r.seq)).cloned()))
                .collect(),
            more: from > 0,
            states: self.values(states),
        }
    }
}
