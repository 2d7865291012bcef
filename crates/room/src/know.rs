//! What reads found, taken in for the publishes that wait for it.
//!
//! Apart from the verdicts because it is the only place where the journal's words are believed, and
//! therefore where nonsense is noticed.

use model::{ContentKind, ContentState, Fold, Seq};

use crate::dedup::Range;
use crate::publish::{Need, Waiting};
use crate::targets::Target;
use crate::{ReadDone, Room};

impl Room {
    /// Takes in what was found; an error is something that cannot be right.
    pub(crate) fn know(&mut self, need: &Need, done: ReadDone) -> Result<(), String> {
        match (need, done) {
            (Need::Ids(from), ReadDone::Ids(rows)) => {
                let complete = rows.first().is_some_and(|row| row.seq == *from);
                if complete && self.window.extend(rows, self.head.head) {
                    Ok(())
                } else {
                    Err(format!("the ids from {from} on have a hole"))
                }
            }
            (Need::Target(seq), ReadDone::Target { record, fold }) => {
                let fold = match fold {
                    Some(bytes) if record.kind != ContentKind::Tombstone => {
                        Fold::from_bytes(&bytes)
                            .ok_or_else(|| format!("what became of entry {seq} cannot be read"))?
                    }
                    _ => Fold::default(),
                };
                if record.seq != *seq {
                    return Err(format!("entry {} was read for entry {seq}", record.seq));
                }
                self.targets.put(*seq, Target::new(&record, fold));
                Ok(())
            }
            (Need::Changes(seq), ReadDone::Changes(records)) => self.know_changes(*seq, records),
            (Need::Reaction(seq, reactor), ReadDone::States(states)) => {
                let standing = match states.first() {
                    Some(Some(bytes)) => {
                        let bytes = <[u8; 8]>::try_from(&bytes[..]);
                        let bytes =
                            bytes.map_err(|_| format!("a reaction to {seq} cannot be read"))?;
                        Some(Seq::from_be_bytes(bytes))
                    }
                    _ => None,
                };
                self.targets.put_reaction(*seq, reactor.clone(), standing);
                Ok(())
            }
            (need, done) => Err(format!("{need:?} was answered by {done:?}")),
        }
    }

    fn know_changes(&mut self, seq: Seq, records: Vec<model::Record>) -> Result<(), String> {
        let Some(target) = self.targets.get_mut(seq) else {
            return Ok(());
        };
        if target.kind == ContentKind::Tombstone {
            let redact = records.iter().find(|record| record.kind == ContentKind::Redact);
            let found = redact.map(|record| (record.seq, record.at_ms));
            target.redaction.get_or_insert(found);
            return Ok(());
        }
        let blanked = records.iter().any(|record| record.kind == ContentKind::Tombstone);
        for record in records.into_iter().filter(|record| record.kind == ContentKind::Edit) {
            target.edits.entry(record.seq).or_insert((record.ordinal, record.payload));
        }
        if target.has_edits() {
            return Ok(());
        }
        if blanked {
            // Another owner has redacted it since it was read: read it again.
            self.forget_target(seq);
            return Ok(());
        }
        let (has, counts) = (target.edits.len(), target.fold.edits);
        Err(format!("entry {seq} was edited {counts} times, {has} edits were found"))
    }

    /// Starts what can only be read, or only has to be, now that this is known.
    pub(crate) fn ask_for_more(&mut self, known: &Need) {
        let waits = |waiting: &Waiting| match known {
            Need::Ids(_) => true,
            Need::Target(seq) | Need::Changes(seq) => waiting.publish.content.target == *seq,
            Need::Reaction(..) => false,
        };
        self.ask_for_those(waits);
    }

    /// Forgets what was assumed of a post, and what is being read of it.
    pub(crate) fn forget_target(&mut self, seq: Seq) {
        self.targets.forget(seq);
        self.reads.forget(|need| match need {
            Need::Ids(_) => false,
            Need::Target(target) | Need::Changes(target) | Need::Reaction(target, _) => {
                *target == seq
            }
        });
    }

    /// The lowest id that this publish needs.
    pub(crate) fn low(&self, waiting: &Waiting) -> Option<Seq> {
        match self.range(waiting) {
            Range::From(low) => Some(low),
            _ => None,
        }
    }
}
