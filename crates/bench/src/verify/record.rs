//! What each client did and was told, in few bytes: a run may last an hour and deliver a hundred million
//! messages.
//!
//! A publish takes forty bytes. What a reader is told takes almost nothing, as readers mostly agree: the
//! first one of a thread who is told an entry writes it to the room's [`Witness`], and whoever is told the
//! same one notes only how far it came. What differs is noted in full, so that nothing is lost by this: a
//! reader's history can be read back entry by entry ([`Telling::entries`]).

use std::collections::HashMap;

use model::Seq;

/// Elements of one reader's history. A reader that is told the truth adds two with each snapshot; beyond,
/// so much is wrong that counting it is enough.
pub const TOLD_MAX: usize = 4_096;
/// Entries that a witness allocates at once.
const CHUNK: usize = 64;

/// A message as somebody was told it: who is said to have sent it, which one of theirs in this room, and
/// a digest of user, id and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The author's place in the run.
    pub author: u32,
    /// Of the author's messages in this room, from 0.
    pub number: u32,
    /// See [`super::body::digest`].
    pub digest: u64,
}

impl Entry {
    /// The author of what no client of this run wrote.
    pub const NOBODY: u32 = u32::MAX;
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nobody has said.
    Open,
    /// It stands at `seq`, the service said at `acked_us`.
    Acknowledged,
    /// It was refused for good, and no copy may stand anywhere.
    Refused,
    /// It was given up, and a copy may stand in the log.
    Unknown,
}

/// A message that a client was asked to send. Times are the machine's monotonic microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// What it looks like to whoever is told it.
    pub digest: u64,
    /// Read before the client was given it: it was not sent earlier.
    pub sent_us: u64,
    /// Read after the acknowledgement was told: it was not acknowledged later.
    pub acked_us: u64,
    /// Where it stands, as the service said.
    pub seq: Seq,
    /// How long before `sent_us` it was meant to be sent.
    pub late_us: u32,
    /// What became of it.
    pub fate: Fate,
}

impl Publish {
    /// How long it took, from when it was meant to be sent.
    #[must_use]
    pub fn took_us(&self) -> u64 {
        self.acked_us.saturating_sub(self.sent_us) + u64::from(self.late_us)
    }
}

/// What one client sent to one room, in order.
#[derive(Clone, Debug, Default)]
pub struct Sends {
    /// The client's place in the run.
    pub author: u32,
    /// For a person.
    pub name: String,
    /// In the order in which the client was given them.
    pub publishes: Vec<Publish>,
}

/// What one reader was told of one room.
#[derive(Clone, Debug)]
pub struct Reading {
    /// For a person.
    pub name: String,
    /// Which of the room's witnesses it was recorded with.
    pub witness: usize,
    /// It reads from behind this entry on.
    pub after: Seq,
    /// What came, in order.
    pub told: Vec<Told>,
    /// The last entry that was told, by itself or in a snapshot.
    pub at: Seq,
    /// Entries beyond [`TOLD_MAX`] elements: they came, and were not kept.
    pub unkept: u64,
    /// Whether the session was ended for good: what came later is not its loss.
    pub ended: bool,
}

/// An element of a reader's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// These, in order, each as the witness has it.
    Run {
        /// From this entry on.
        first: Seq,
        /// To this one, inclusive.
        last: Seq,
    },
    /// Not what the witness has.
    Entry(Seq, Entry),
    /// What was held is replaced by what ends here.
    Snapshot(Seq),
    /// What is held below is discarded; the next entry is not below it.
    Truncated(Seq),
}

/// An element of a reader's history, read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// See [`Told::Entry`].
    Entry(Seq, Entry),
    /// See [`Told::Snapshot`].
    Snapshot(Seq),
    /// See [`Told::Truncated`].
    Truncated(Seq),
}

impl Reading {
    /// Of somebody who reads from behind `after` on.
    #[must_use]
    pub fn new(name: String, witness: usize, after: Seq) -> Reading {
        Reading { name, witness, after, told: Vec::new(), at: after, unkept: 0, ended: false }
    }

    /// An entry came.
    pub fn receive(&mut self, witness: &mut Witness, seq: Seq, entry: Entry) {
        self.at = self.at.max(seq);
        let continues = match self.told.last() {
            Some(Told::Run { last, .. }) => last.checked_add(1) == Some(seq),
            _ => false,
        };
        if self.told.len() >= TOLD_MAX && !continues {
            // The witness is not asked either: it would grow with every lie.
            self.unkept += 1;
            return;
        }
        match (witness.agrees(seq, entry), self.told.last_mut()) {
            (true, Some(Told::Run { last, .. })) if continues => *last = seq,
            (true, _) => self.keep(Told::Run { first: seq, last: seq }),
            (false, _) => self.keep(Told::Entry(seq, entry)),
        }
    }

    /// What was held is replaced by what ends at `as_of`.
    pub fn snapshot(&mut self, as_of: Seq) {
        self.at = as_of;
        self.keep(Told::Snapshot(as_of));
    }

    /// What was held below `first` is discarded.
    pub fn truncated(&mut self, first: Seq) {
        self.at = self.at.max(first.saturating_sub(1));
        self.keep(Told::Truncated(first));
    }

    fn keep(&mut self, told: Told) {
        match self.told.len() < TOLD_MAX {
            true => self.told.push(told),
            false => self.unkept += 1,
        }
    }
}

/// What the readers of one thread were told first, by number.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// Sparse: a snapshot may lead far ahead.
    chunks: HashMap<u64, Box<[Option<Entry>; CHUNK]>>,
}

impl Witness {
    /// Whether the entry is what stands there; the first to ask is believed.
    pub(super) fn agrees(&mut self, seq: Seq, entry: Entry) -> bool {
        let (chunk, at) = place(seq);
        let chunk = self.chunks.entry(chunk).or_insert_with(|| Box::new([None; CHUNK]));
        *chunk[at].get_or_insert(entry) == entry
    }

    /// What stands there.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<Entry> {
        let (chunk, at) = place(seq);
        self.chunks.get(&chunk).and_then(|chunk| chunk[at])
    }
}

fn place(seq: Seq) -> (u64, usize) {
    (seq / CHUNK as u64, (seq % CHUNK as u64) as usize)
}

impl Telling {
    /// A reader's history, read back in order.
    pub fn entries<'h>(
        reading: &'h Reading,
        witness: &'h Witness,
    ) -> impl Iterator<Item = Telling> + 'h {
        reading.told.iter().flat_map(move |told| {
            let (run, single) = match *told {
                Told::Run { first, last } => (Some(first..=last), None),
                Told::Entry(seq, entry) => (None, Some(Telling::Entry(seq, entry))),
                Told::Snapshot(seq) => (None, Some(Telling::Snapshot(seq))),
                Told::Truncated(first) => (None, Some(Telling::Truncated(first))),
            };
            let entry = |seq| witness.get(seq).map(|entry| Telling::Entry(seq, entry));
            run.into_iter().flatten().filter_map(entry).chain(single)
        })
    }
}

/// All that is known of one room. The checker needs nothing else.
#[derive(Clone, Debug, Default)]
pub struct RoomHistory {
    /// Its name.
    pub room: String,
    /// What was sent, by client.
    pub sends: Vec<Sends>,
    /// What was told, by client.
    pub readings: Vec<Reading>,
    /// One for each thread that recorded.
    pub witnesses: Vec<Witness>,
    /// The log in the end, as somebody read it who had been told nothing before; `None` if nobody could.
    pub log: Option<FinalLog>,
    /// What the same one was told who then resumed from before the first entry, with its own witness.
    pub resumed: Option<(Reading, Witness)>,
}

/// A room's log from its first kept entry to its last.
#[derive(Clone, Debug, Default)]
pub struct FinalLog {
    /// The first entry that is kept; 0 or 1 where nothing was trimmed.
    pub first: Seq,
    /// As they were told.
    pub entries: Vec<(Seq, Entry)>,
}
