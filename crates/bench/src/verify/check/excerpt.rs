//! Histories around a violation, for a person.

use model::Seq;

use super::findings::Excerpt;
use crate::verify::record::{Entry, Fate, Reading, RoomHistory, Sends, Telling, Witness};

/// Lines on each side of a violation.
const AROUND: usize = 4;

/// Writes excerpts of a room's histories.
pub(super) struct Writer<'h> {
    history: &'h RoomHistory,
    /// Times are told from here on.
    start_us: u64,
}

impl<'h> Writer<'h> {
    pub(super) fn new(history: &'h RoomHistory) -> Writer<'h> {
        let sent = history.sends.iter().flat_map(|sends| &sends.publishes);
        let start_us = sent.map(|publish| publish.sent_us).min().unwrap_or(0);
        Writer { history, start_us }
    }

    /// What an author sent, around one of its messages.
    pub(super) fn sends(&self, sends: &Sends, number: usize) -> Excerpt {
        let from = number.saturating_sub(AROUND);
        let around = sends.publishes.iter().enumerate().skip(from).take(2 * AROUND + 1);
        let lines = around.map(|(nth, publish)| {
            let sent = self.seconds(publish.sent_us);
            let fate = match publish.fate {
                Fate::Open => "no answer".to_owned(),
                Fate::Refused => "refused".to_owned(),
                Fate::Unknown => "given up, may have been sent".to_owned(),
                Fate::Acknowledged => {
                    format!("acknowledged at {} {}", publish.seq, self.seconds(publish.acked_us))
                }
            };
            format!("#{nth} sent {sent}, {fate}")
        });
        Excerpt { whose: format!("{} sent", sends.name), lines: lines.collect() }
    }

    /// What a reader was told, around the last time that it was told `seq` (or came past it).
    pub(super) fn reading(&self, reading: &Reading, witness: &Witness, seq: Seq) -> Excerpt {
        let mut recent = std::collections::VecDeque::with_capacity(2 * AROUND + 2);
        let (mut kept, mut wanted) = (Vec::new(), 0);
        for telling in Telling::entries(reading, witness) {
            recent.push_back(telling);
            if recent.len() > 2 * AROUND + 1 {
                recent.pop_front();
            }
            let reaches = matches!(telling, Telling::Entry(at, _) if at == seq);
            wanted = if reaches { AROUND + 1 } else { wanted };
            if wanted > 0 {
                wanted -= 1;
                kept = recent.iter().copied().collect();
            }
        }
        if kept.is_empty() {
            kept = recent.into_iter().collect();
        }
        let lines = kept.into_iter().map(|telling| match telling {
            Telling::Entry(seq, entry) => self.entry(seq, entry),
            Telling::Snapshot(as_of) => format!("snapshot as of {as_of}"),
            Telling::Truncated(first) => format!("truncated below {first}"),
        });
        Excerpt { whose: format!("{} was told", reading.name), lines: lines.collect() }
    }

    /// The log around a number.
    pub(super) fn log(&self, log: &Witness, seq: Seq) -> Excerpt {
        let around = AROUND as Seq;
        let numbers = seq.saturating_sub(around).max(1)..=seq.saturating_add(around);
        let lines = numbers.filter_map(|seq| Some(self.entry(seq, log.get(seq)?)));
        Excerpt { whose: "the log in the end".to_owned(), lines: lines.collect() }
    }

    fn entry(&self, seq: Seq, entry: Entry) -> String {
        format!("{seq} {}", name(self.history, entry))
    }

    fn seconds(&self, us: u64) -> String {
        format!("at {:.6} s", us.saturating_sub(self.start_us) as f64 / 1e6)
    }
}

/// Who wrote it, and which of theirs it is.
pub(super) fn name(history: &RoomHistory, entry: Entry) -> String {
    match history.sends.iter().find(|sends| sends.author == entry.author) {
        Some(sends) => format!("{} #{}", sends.name, entry.number),
        None => format!("a stranger's message ({:016x})", entry.digest),
    }
}
