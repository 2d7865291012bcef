//! What the checker found.

use std::fmt;

use model::Seq;
use serde::Serialize;

/// A kind of breach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A reader was told a later entry first. Counted when it is settled: as lost or as out of order.
    Hole,
    /// A reader was never told an entry.
    Lost,
    /// A reader was told an entry again, or a message stands at two numbers.
    Twice,
    /// An entry came late, or stands before what was sent before it.
    OutOfOrder,
    /// The text is not what was sent.
    WrongText,
    /// Nobody sent it, or it was refused for good.
    Forged,
    /// Two disagree about what stands at a number.
    Misplaced,
    /// Sent, and nobody answered, or refused for good.
    Unacknowledged,
}

/// How much was checked, and how often each breach occurred. The first four count what was done, the
/// others what was wrong; `skipped` is neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages handed to clients.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Entries that readers were told.
    pub deliveries: u64,
    /// Entries that a reader was told to do without, by `snapshot` or `truncated`.
    pub skipped: u64,
    /// See [`Breach::Lost`].
    pub lost: u64,
    /// See [`Breach::Twice`].
    pub twice: u64,
    /// See [`Breach::OutOfOrder`].
    pub out_of_order: u64,
    /// See [`Breach::WrongText`].
    pub wrong_text: u64,
    /// See [`Breach::Forged`].
    pub forged: u64,
    /// See [`Breach::Misplaced`].
    pub misplaced: u64,
    /// See [`Breach::Unacknowledged`].
    pub unacknowledged: u64,
}

impl Counts {
    pub(super) fn count(&mut self, breach: Breach) {
        let counter = match breach {
            Breach::Hole => return,
            Breach::Lost => &mut self.lost,
            Breach::Twice => &mut self.twice,
            Breach::OutOfOrder => &mut self.out_of_order,
            Breach::WrongText => &mut self.wrong_text,
            Breach::Forged => &mut self.forged,
            Breach::Misplaced => &mut self.misplaced,
            Breach::Unacknowledged => &mut self.unacknowledged,
        };
        *counter += 1;
    }

    /// Adds another room's.
    pub fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.deliveries += other.deliveries;
        self.skipped += other.skipped;
        self.lost += other.lost;
        self.twice += other.twice;
        self.out_of_order += other.out_of_order;
        self.wrong_text += other.wrong_text;
        self.forged += other.forged;
        self.misplaced += other.misplaced;
        self.unacknowledged += other.unacknowledged;
    }

    /// Whether nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.breaches().iter().all(|(count, _)| *count == 0)
    }

    fn breaches(&self) -> [(u64, &'static str); 7] {
        [
            (self.lost, "lost"),
            (self.twice, "twice"),
            (self.out_of_order, "out of order"),
            (self.wrong_text, "with a wrong text"),
            (self.forged, "forged"),
            (self.misplaced, "misplaced"),
            (self.unacknowledged, "unacknowledged"),
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

/// The first breach, with what its reader had been told and what the log was known to be.
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
    /// Who saw it; `None` where an acknowledgement or the end of the run showed it.
    pub reader: Option<String>,
    /// The reader's last entries, oldest first.
    pub read: Vec<String>,
    /// The log around the number.
    pub log: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.room, self.what)?;
        if let Some(reader) = &self.reader {
            write!(f, "\n  {reader} was told last:")?;
            self.read.iter().try_for_each(|line| write!(f, "\n    {line}"))?;
        }
        write!(f, "\n  the log around it:")?;
        self.log.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// What was found in one room, or in several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The room; of several, the first one's.
    pub(super) room: String,
    /// The numbers.
    pub counts: Counts,
    /// The first breach.
    pub first: Option<Violation>,
}

impl Findings {
    pub(super) fn new(room: &str) -> Findings {
        Findings { room: room.to_owned(), ..Findings::default() }
    }

    /// Adds another room's.
    pub fn add(&mut self, other: Findings) {
        self.counts.add(&other.counts);
        self.first = self.first.take().or(other.first);
    }
}
