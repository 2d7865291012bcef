//! What the checker found.

use std::fmt;

use model::Seq;
use serde::Serialize;

/// A kind of broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// What was acknowledged or told does not stand in the log.
    Lost,
    /// A reader, or the log, goes on behind something that did not come.
    Hole,
    /// A message stands at two numbers, or a reader was told an entry again.
    Twice,
    /// An entry came late, or stands before what was sent or acknowledged before it.
    OutOfOrder,
    /// Two disagree about what stands at a number.
    Misplaced,
    /// Nobody sent it, or not like this, or it was refused for good.
    Forged,
    /// A reader was not told the end of the log.
    Behind,
    /// So much was wrong that it was not kept.
    Unkept,
}

/// How much was checked, and how often each promise was broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages handed to clients.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Refused for good, not taken by a client whose queue was full, or still unsent in the end. None of
    /// these may stand in the log.
    pub refused: u64,
    /// Without an answer, or given up as "may have been sent". They may stand in the log, once.
    pub unknown: u64,
    /// Entries that readers were told.
    pub deliveries: u64,
    /// Entries that readers were told to do without, by `snapshot` or `truncated`.
    pub skipped: u64,
    /// Acknowledged, and trimmed by retention before the end.
    pub trimmed: u64,
    /// Acknowledged or told and not in the log, or missing between two entries of a reader.
    pub lost: u64,
    /// See [`Breach::Twice`].
    pub twice: u64,
    /// See [`Breach::OutOfOrder`].
    pub out_of_order: u64,
    /// See [`Breach::Misplaced`].
    pub misplaced: u64,
    /// See [`Breach::Forged`].
    pub forged: u64,
    /// Readers that were not told the end of the log.
    pub behind: u64,
    /// Readers whose histories were too wrong to be kept.
    pub unkept: u64,
}

impl Counts {
    pub(super) fn count(&mut self, breach: Breach) {
        let counter = match breach {
            // Settled when the reader goes: what filled it later came out of order.
            Breach::Hole => return,
            Breach::Lost => &mut self.lost,
            Breach::Twice => &mut self.twice,
            Breach::OutOfOrder => &mut self.out_of_order,
            Breach::Misplaced => &mut self.misplaced,
            Breach::Forged => &mut self.forged,
            Breach::Behind => &mut self.behind,
            Breach::Unkept => &mut self.unkept,
        };
        *counter += 1;
    }

    /// Adds another room's.
    pub fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.deliveries += other.deliveries;
        self.skipped += other.skipped;
        self.trimmed += other.trimmed;
        self.lost += other.lost;
        self.twice += other.twice;
        self.out_of_order += other.out_of_order;
        self.misplaced += other.misplaced;
        self.forged += other.forged;
        self.behind += other.behind;
        self.unkept += other.unkept;
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.breaches().iter().all(|(count, _)| *count == 0)
    }

    fn breaches(&self) -> [(u64, &'static str); 7] {
        [
            (self.lost, "lost"),
            (self.twice, "twice"),
            (self.out_of_order, "out of order"),
            (self.misplaced, "misplaced"),
            (self.forged, "forged"),
            (self.behind, "readers behind"),
            (self.unkept, "readers told too much that was wrong"),
        ]
    }
}

/// `0 lost, 0 twice, 0 out of order`, and whatever else was wrong.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (count, word)) in self.breaches().into_iter().enumerate() {
            match nth {
                0 => write!(f, "{count} {word}")?,
                1 | 2 => write!(f, ", {count} {word}")?,
                _ if count > 0 => write!(f, ", {count} {word}")?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Somebody's history around a violation, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Whose.
    pub whose: String,
    /// In order.
    pub lines: Vec<String>,
}

/// The first broken promise, with the histories of those who disagree about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its kind.
    pub breach: Breach,
    /// Where.
    pub room: String,
    /// At which number; 0 where it has none.
    pub seq: Seq,
    /// What is wrong.
    pub what: String,
    /// Around the number.
    pub histories: Vec<Excerpt>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: {}", self.room, self.seq, self.what)?;
        for Excerpt { whose, lines } in &self.histories {
            write!(f, "\n  {whose}:")?;
            lines.iter().try_for_each(|line| write!(f, "\n    {line}"))?;
        }
        Ok(())
    }
}

/// What was found in one room, or in several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The numbers.
    pub counts: Counts,
    /// The first broken promise.
    pub first: Option<Violation>,
}

impl Findings {
    /// Adds another room's.
    pub fn add(&mut self, other: Findings) {
        self.counts.add(&other.counts);
        self.first = self.first.take().or(other.first);
    }
}
