//! The checker: was everything that was acknowledged seen once, in order, as it was written?
//!
//! It stands apart from whoever publishes and reads (the replay, fault tests, a simulation) and from the
//! client's machine, which has an opinion of its own about holes and repeats: a checker that believed the
//! machine would never find the machine's mistakes. It knows only what was sent, what was acknowledged and
//! what each reader was told.
//!
//! # Invariants
//! - A message has one place: whoever names its number first, an acknowledgement or a reader, fixes it.
//! - A reader's numbers are dense from its start on; only [`History::snapshot`] and
//!   [`History::truncated`] move it otherwise.
//! - Every breach is counted; the first is kept with what the reader and the log looked like then.
//!
//! Look elsewhere for: I/O, time, how the histories were made (`replay`).

mod findings;
mod log;
pub(crate) mod reader;
#[cfg(test)]
mod tests;

use model::Seq;

pub use findings::{Breach, Counts, Findings, Violation};

use log::{Log, Placed};
use reader::{Arrival, Reading};

/// A session that publishes, as [`History::author`] named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author(u32);

/// A session that reads, as [`History::reader`] named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader(u32);

/// What happened in one room. Owned by whoever drives that room's sessions.
#[derive(Debug)]
pub struct History {
    log: Log,
    readings: Vec<Reading>,
    findings: Findings,
}

impl History {
    /// Of a room in which nothing has happened yet.
    #[must_use]
    pub fn new(room: &str) -> History {
        History { log: Log::default(), readings: Vec::new(), findings: Findings::new(room) }
    }

    /// A session that will publish; what it sends must keep its order.
    pub fn author(&mut self) -> Author {
        Author(self.log.add_author())
    }

    /// The author hands a message to its client, after all that were acknowledged by now.
    pub fn sent(&mut self, author: Author, id: &str, text: &str) {
        self.log.sent(author.0, id, text);
        self.findings.counts.sent += 1;
    }

    /// The service says that the message stands at `seq`.
    pub fn acknowledged(&mut self, id: &str, seq: Seq) {
        let Some(message) = self.log.find(id) else {
            return self.breach(
                Breach::Forged,
                seq,
                None,
                format!("{id} was acknowledged, and never sent"),
            );
        };
        if self.log.acknowledge(message, seq) {
            self.findings.counts.acknowledged += 1;
        }
        self.place(message, seq, None);
    }

    /// The message will not be sent again. Unless it `may_have_been_sent`, nobody may ever see it.
    pub fn given_up(&mut self, id: &str, may_have_been_sent: bool) {
        if let Some(message) = self.log.find(id) {
            self.log.give_up(message, may_have_been_sent);
        }
    }

    /// A session that reads everything behind `after`.
    pub fn reader(&mut self, name: &str, after: Seq) -> Reader {
        self.readings.push(Reading::new(name, after));
        Reader(u32::try_from(self.readings.len() - 1).expect("a room has fewer than 2^32 readers"))
    }

    /// The reader was told an entry.
    pub fn received(&mut self, reader: Reader, seq: Seq, id: &str, text: &str) {
        self.findings.counts.deliveries += 1;
        let message = self.log.find(id);
        let reading = &mut self.readings[reader.0 as usize];
        let arrival = reading.arrive(seq, message);
        let due = reading.due();
        match arrival {
            Arrival::Next => {}
            Arrival::Hole { due } => {
                self.breach(
                    Breach::Hole,
                    seq,
                    Some(reader),
                    format!("{seq} came when {due} was due"),
                );
            }
            Arrival::Late => {
                self.breach(
                    Breach::OutOfOrder,
                    seq,
                    Some(reader),
                    format!("{seq} came when {due} was due"),
                );
            }
            Arrival::Again => {
                self.breach(Breach::Twice, seq, Some(reader), format!("{seq} came again"));
            }
        }
        self.judge_content(reader, seq, message, id, text);
    }

    fn judge_content(
        &mut self,
        reader: Reader,
        seq: Seq,
        message: Option<u32>,
        id: &str,
        text: &str,
    ) {
        let Some(message) = message else {
            let what = format!("{id} {text:?} was never sent");
            return self.breach(Breach::Forged, seq, Some(reader), what);
        };
        let sent = self.log.text(message);
        if sent != text {
            let what = format!("{id} was sent as {sent:?} and came as {text:?}");
            self.breach(Breach::WrongText, seq, Some(reader), what);
        }
        self.place(message, seq, Some(reader));
    }

    /// What the reader held is replaced by what ends at `as_of`.
    pub fn snapshot(&mut self, reader: Reader, as_of: Seq) {
        let reading = &mut self.readings[reader.0 as usize];
        self.findings.counts.skipped += reading.jump_to(as_of);
    }

    /// What the reader held below `first` is discarded; the next entry is not below it.
    pub fn truncated(&mut self, reader: Reader, first: Seq) {
        let reading = &mut self.readings[reader.0 as usize];
        self.findings.counts.skipped += reading.truncate(first);
    }

    /// The reader wishes to go. Answers the last entry that it must still be told: what is acknowledged
    /// by now.
    pub fn leaves(&mut self, reader: Reader) -> Seq {
        let head = self.log.head();
        self.readings[reader.0 as usize].leave_at(head)
    }

    /// The reader goes. It must have been told everything that was acknowledged when it wished to.
    pub fn left(&mut self, reader: Reader) {
        let head = self.log.head();
        let missing = self.readings[reader.0 as usize].leave(head);
        self.findings.counts.lost += missing.count;
        if let Some(seq) = missing.first {
            self.keep(Breach::Lost, seq, Some(reader), format!("{seq} never came"));
        }
    }

    /// The last entry that the reader was told.
    #[must_use]
    pub fn told(&self, reader: Reader) -> Seq {
        self.readings[reader.0 as usize].due() - 1
    }

    /// The greatest number that was acknowledged.
    #[must_use]
    pub fn head(&self) -> Seq {
        self.log.head()
    }

    /// Everybody is gone: what is left open is judged.
    #[must_use]
    pub fn finish(mut self) -> Findings {
        for reader in 0..self.readings.len() {
            self.left(Reader(reader as u32));
        }
        for (seq, what) in self.log.out_of_order() {
            self.breach(Breach::OutOfOrder, seq, None, what);
        }
        for what in self.log.unacknowledged() {
            self.breach(Breach::Unacknowledged, 0, None, what);
        }
        self.findings
    }

    /// The message is said to stand at `seq`.
    fn place(&mut self, message: u32, seq: Seq, reader: Option<Reader>) {
        let (breach, what) = match self.log.place(message, seq) {
            Placed::Fits => return,
            Placed::Elsewhere(other) => {
                let id = self.log.id(message);
                (Breach::Twice, format!("{id} stands at {seq} and at {other}"))
            }
            Placed::Occupied(other) => {
                let (id, other) = (self.log.id(message), self.log.id(other));
                (Breach::Misplaced, format!("{seq} is {id} for one and {other} for another"))
            }
            Placed::BelowFloor(floor) => {
                let id = self.log.id(message);
                let what =
                    format!("{id} stands at {seq}, and was sent after {floor} was acknowledged");
                (Breach::OutOfOrder, what)
            }
            Placed::GivenUp => {
                let id = self.log.id(message);
                (Breach::Forged, format!("{id} was refused, and stands at {seq}"))
            }
        };
        self.breach(breach, seq, reader, what);
    }

    fn breach(&mut self, breach: Breach, seq: Seq, reader: Option<Reader>, what: String) {
        self.findings.counts.count(breach);
        self.keep(breach, seq, reader, what);
    }

    /// Keeps the first violation, with both histories as they are now.
    fn keep(&mut self, breach: Breach, seq: Seq, reader: Option<Reader>, what: String) {
        if self.findings.first.is_some() {
            return;
        }
        let reading = reader.map(|reader| &self.readings[reader.0 as usize]);
        self.findings.first = Some(Violation {
            breach,
            room: self.findings.room.clone(),
            seq,
            what,
            reader: reading.map(|reading| reading.name().to_owned()),
            read: reading.map_or_else(Vec::new, |reading| reading.recent(&self.log)),
            log: self.log.around(seq),
        });
    }
}
