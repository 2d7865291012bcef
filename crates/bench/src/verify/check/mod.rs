//! The checker: was every promise kept, as far as the clients can tell?
//!
//! It stands apart from whoever drives clients: it knows what each was asked to send, what it was answered
//! and what it was told, and it has the log in the end as somebody read it who had been told nothing
//! before. Everything is compared after the run, so that what one client learned late can convict what
//! another one was told early. It takes time in proportion to what was sent and told (and sorts what was
//! sent, by time).
//!
//! # What is checked
//! - An acknowledged message stands in the log at the number at which it was acknowledged; one that was
//!   not stands there once or not at all, and not at all if it was refused for good.
//! - The log has no hole, and nothing that nobody sent.
//! - A reader is told n, n + 1, n + 2 … from its start on; only a snapshot or `truncated` moves it
//!   otherwise. In the end it has come as far as anybody.
//! - All readers, and the log, have the same message at the same number.
//! - What one client sent stands in the order in which it was sent.
//! - What was acknowledged before something else was sent stands below it.
//!
//! Look elsewhere for: a history that is judged while it is made (`history`), I/O (`driver`, `judge`).

mod excerpt;
mod findings;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use model::Seq;

pub use findings::{Breach, Counts, Excerpt, Findings, Violation};

use super::record::{Entry, Fate, Publish, Reading, RoomHistory, Sends, Telling, Witness};
use crate::history::reader::{Arrival, Reading as Order};
use excerpt::Writer;

/// Checks one room.
#[must_use]
pub fn check(history: &RoomHistory) -> Findings {
    let mut checker = Checker::new(history);
    checker.count_sends();
    checker.check_log();
    if history.log.is_some() {
        checker.check_acknowledged();
    }
    checker.check_authors();
    checker.check_real_time();
    let owed = checker.owed();
    for reading in &history.readings {
        if let Some(witness) = history.witnesses.get(reading.witness) {
            checker.check_reading(reading, witness, owed);
        }
    }
    if let Some((reading, witness)) = &history.resumed {
        let Counts { deliveries, skipped, .. } = checker.findings.counts;
        checker.check_reading(reading, witness, owed);
        // These are of no client of the run.
        (checker.findings.counts.deliveries, checker.findings.counts.skipped) =
            (deliveries, skipped);
    }
    checker.findings
}

struct Checker<'h> {
    history: &'h RoomHistory,
    /// Where an author's sends are, by its place in the run.
    authors: HashMap<u32, usize>,
    /// Where each publish stands in the log; 0 for nowhere.
    places: Vec<Vec<Seq>>,
    /// The log by number.
    log: Witness,
    /// What readers were told that is not in the log, by number.
    beside: Witness,
    findings: Findings,
}

/// Whose history shows a violation.
#[derive(Clone, Copy)]
enum Whose<'h> {
    Sends(&'h Sends, usize),
    Reading(Told<'h>),
    Log,
}

/// A reader's history, and the witness that completes it.
type Told<'h> = (&'h Reading, &'h Witness);

impl<'h> Checker<'h> {
    fn new(history: &'h RoomHistory) -> Checker<'h> {
        let sends = &history.sends;
        Checker {
            history,
            authors: sends.iter().enumerate().map(|(at, sends)| (sends.author, at)).collect(),
            places: sends.iter().map(|sends| vec![0; sends.publishes.len()]).collect(),
            log: Witness::default(),
            beside: Witness::default(),
            findings: Findings::default(),
        }
    }

    fn count_sends(&mut self) {
        let counts = &mut self.findings.counts;
        for publish in self.history.sends.iter().flat_map(|sends| &sends.publishes) {
            counts.sent += 1;
            match publish.fate {
                Fate::Acknowledged => counts.acknowledged += 1,
                Fate::Refused => counts.refused += 1,
                Fate::Open | Fate::Unknown => counts.unknown += 1,
            }
        }
    }

    /// The log is dense, and everything in it was sent, once.
    fn check_log(&mut self) {
        let Some(log) = &self.history.log else {
            return;
        };
        let mut due = log.first.max(1);
        for &(seq, entry) in &log.entries {
            // Before it is compared: a second entry at a number is found by the number.
            self.log.agrees(seq, entry);
            if seq > due {
                self.findings.counts.lost += seq - due;
                let what = format!("the log goes on with {seq} where {due} is due");
                self.breach(Breach::Hole, seq, what, &[Whose::Log]);
            } else if seq < due {
                let what = format!("{seq} stands in the log again where {due} is due");
                self.breach(Breach::Twice, seq, what, &[Whose::Log]);
            }
            due = due.max(seq.saturating_add(1));
            self.place(seq, entry);
        }
    }

    fn place(&mut self, seq: Seq, entry: Entry) {
        let Some((author, publish)) = self.find(entry) else {
            let what = format!("{} stands in the log, and was not sent so", self.name(entry));
            return self.breach(Breach::Forged, seq, what, &[Whose::Log]);
        };
        let number = entry.number as usize;
        let sends = Whose::Sends(&self.history.sends[author], number);
        if publish.fate == Fate::Refused {
            let what = format!("{} was refused for good, and stands in the log", self.name(entry));
            self.breach(Breach::Forged, seq, what, &[sends, Whose::Log]);
        }
        match self.places[author][number] {
            0 => self.places[author][number] = seq,
            before if before == seq => {}
            before => {
                let what = format!("{} stands at {before} and at {seq}", self.name(entry));
                self.breach(Breach::Twice, seq, what, &[sends, Whose::Log]);
            }
        }
    }

    /// What was acknowledged stands where it was said to.
    fn check_acknowledged(&mut self) {
        let first = self.history.log.as_ref().map_or(0, |log| log.first);
        for (author, sends) in self.history.sends.iter().enumerate() {
            for (number, publish) in sends.publishes.iter().enumerate() {
                let place = self.places[author][number];
                if publish.fate != Fate::Acknowledged || place == publish.seq {
                    continue;
                }
                let (seq, name) = (publish.seq, &sends.name);
                let whose = [Whose::Sends(sends, number), Whose::Log];
                if place > 0 {
                    let what = format!(
                        "{name} #{number} was acknowledged at {seq}, and stands at {place}"
                    );
                    self.breach(Breach::Misplaced, seq, what, &whose);
                } else if seq < first {
                    self.findings.counts.trimmed += 1;
                } else {
                    let what =
                        format!("{name} #{number} was acknowledged at {seq}, and does not stand");
                    self.breach(Breach::Lost, seq, what, &whose);
                }
            }
        }
    }

    /// One client's messages keep its order.
    fn check_authors(&mut self) {
        for (author, sends) in self.history.sends.iter().enumerate() {
            let mut before = (0, 0);
            for number in 0..sends.publishes.len() {
                let Some(place) = self.standing(author, number) else {
                    continue;
                };
                if place < before.0 {
                    let what = format!(
                        "{name} #{number} stands at {place}, and #{earlier}, sent before it, at {at}",
                        name = sends.name,
                        earlier = before.1,
                        at = before.0,
                    );
                    let whose = [Whose::Sends(sends, number), Whose::Log];
                    self.breach(Breach::OutOfOrder, place, what, &whose);
                }
                before = before.max((place, number));
            }
        }
    }

    /// Where a publish stands: in the log, else as it was acknowledged.
    fn standing(&self, author: usize, number: usize) -> Option<Seq> {
        let publish = &self.history.sends[author].publishes[number];
        match self.places[author][number] {
            0 => (publish.fate == Fate::Acknowledged).then_some(publish.seq),
            place => Some(place),
        }
    }

    /// Whatever was acknowledged before something was sent stands below it.
    fn check_real_time(&mut self) {
        let (mut sent, mut acked) = (Vec::new(), Vec::new());
        for (author, sends) in self.history.sends.iter().enumerate() {
            for (number, publish) in sends.publishes.iter().enumerate() {
                let who = (author as u32, number as u32);
                if let Some(place) = self.standing(author, number) {
                    sent.push((publish.sent_us, place, who));
                }
                if publish.fate == Fate::Acknowledged {
                    acked.push((publish.acked_us, publish.seq, who));
                }
            }
        }
        sent.sort_unstable();
        acked.sort_unstable();
        let mut acked = acked.into_iter().peekable();
        let mut highest = (0, (0, 0));
        for (sent_us, place, (author, number)) in sent {
            while let Some((_, seq, who)) = acked.next_if(|(acked_us, ..)| *acked_us < sent_us) {
                highest = highest.max((seq, who));
            }
            let (above, (other, other_number)) = highest;
            if place < above {
                let sends = &self.history.sends;
                let (later, earlier) = (&sends[author as usize], &sends[other as usize]);
                let what = format!(
                    "{} #{number} stands at {place}, and was sent after {} #{other_number} had been \
                     acknowledged at {above}",
                    later.name, earlier.name,
                );
                let whose = [
                    Whose::Sends(earlier, other_number as usize),
                    Whose::Sends(later, number as usize),
                ];
                self.breach(Breach::OutOfOrder, place, what, &whose);
            }
        }
    }

    /// The last entry that anybody was told of: every reader must be told it.
    fn owed(&self) -> Seq {
        let publishes = self.history.sends.iter().flat_map(|sends| &sends.publishes);
        let acked = publishes.filter(|publish| publish.fate == Fate::Acknowledged);
        let told = self.history.readings.iter().map(|reading| reading.at);
        acked.map(|publish| publish.seq).chain(told).max().unwrap_or(0)
    }

    /// One reader: in order, without a hole, to the end; and the same as everybody's.
    fn check_reading(&mut self, reading: &'h Reading, witness: &'h Witness, owed: Seq) {
        let mut order = Order::new("", reading.after);
        for telling in Telling::entries(reading, witness) {
            match telling {
                Telling::Snapshot(as_of) => {
                    self.findings.counts.skipped += order.jump_to(as_of);
                }
                Telling::Truncated(first) => {
                    self.findings.counts.skipped += order.truncate(first);
                }
                Telling::Entry(seq, entry) => {
                    self.findings.counts.deliveries += 1;
                    self.check_arrival((reading, witness), &mut order, seq);
                    self.compare((reading, witness), seq, entry);
                }
            }
        }
        self.check_end((reading, witness), order, owed);
    }

    fn check_arrival(&mut self, told: Told<'h>, order: &mut Order, seq: Seq) {
        let due = order.due();
        let (breach, what) = match order.arrive(seq, None) {
            Arrival::Next => return,
            Arrival::Hole { .. } => (Breach::Hole, format!("was told {seq} when {due} was due")),
            Arrival::Late => (Breach::OutOfOrder, format!("was told {seq} when {due} was due")),
            Arrival::Again => (Breach::Twice, format!("was told {seq} again when {due} was due")),
        };
        let what = format!("{} {what}", told.0.name);
        self.breach(breach, seq, what, &[Whose::Reading(told), Whose::Log]);
    }

    /// What a reader was told is what the log has, or would have if it had not been trimmed.
    fn compare(&mut self, told: Told<'h>, seq: Seq, entry: Entry) {
        let stands = self.log.get(seq);
        if stands == Some(entry) {
            return;
        }
        let (breach, why) = if self.find(entry).is_none() {
            (Breach::Forged, "nobody sent it so".to_owned())
        } else if let Some(stands) = stands {
            (Breach::Misplaced, format!("{} stands there", self.name(stands)))
        } else {
            let is_new = self.beside.get(seq).is_none();
            let is_kept = self.history.log.as_ref().is_some_and(|log| seq >= log.first);
            match self.beside.agrees(seq, entry) {
                false => (Breach::Misplaced, "others were told something else".to_owned()),
                true if is_new && is_kept => (Breach::Lost, "it is gone".to_owned()),
                true => return,
            }
        };
        let what = format!("{} was told {} at {seq}, and {why}", told.0.name, self.name(entry));
        self.breach(breach, seq, what, &[Whose::Reading(told), Whose::Log]);
    }

    fn check_end(&mut self, told: Told<'h>, mut order: Order, owed: Seq) {
        let due = order.due();
        self.findings.counts.lost += order.leave(due - 1).count;
        let (reading, whose) = (told.0, [Whose::Reading(told), Whose::Log]);
        if reading.unkept > 0 {
            let what = format!("{}: {} entries were not kept", reading.name, reading.unkept);
            self.breach(Breach::Unkept, due, what, &whose);
        } else if due <= owed && !reading.ended {
            let what = format!("{} was told all below {due}, not {due} to {owed}", reading.name);
            self.breach(Breach::Behind, due, what, &whose);
        }
    }

    /// The publish that an entry is a copy of.
    fn find(&self, entry: Entry) -> Option<(usize, &'h Publish)> {
        let author = *self.authors.get(&entry.author)?;
        let publish = self.history.sends[author].publishes.get(entry.number as usize)?;
        (publish.digest == entry.digest).then_some((author, publish))
    }

    fn name(&self, entry: Entry) -> String {
        excerpt::name(self.history, entry)
    }

    /// Counts a breach; of the first one, the histories are kept.
    fn breach(&mut self, breach: Breach, seq: Seq, what: String, whose: &[Whose<'h>]) {
        self.findings.counts.count(breach);
        if self.findings.first.is_some() {
            return;
        }
        let writer = Writer::new(self.history);
        let histories = whose.iter().map(|whose| match *whose {
            Whose::Sends(sends, number) => writer.sends(sends, number),
            Whose::Reading((reading, witness)) => writer.reading(reading, witness, seq),
            Whose::Log => writer.log(&self.log, seq),
        });
        let histories = histories.collect();
        let room = self.history.room.clone();
        self.findings.first = Some(Violation { breach, room, seq, what, histories });
    }
}
