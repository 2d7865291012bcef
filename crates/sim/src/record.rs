//! What the people of a run did and were told, as the checker wants it.

use std::collections::BTreeMap;

use bench::verify::body::{Body, digest};
use bench::verify::record::{Fate, Publish, Reading, RoomHistory, Sends, Witness};
use model::{Catchup, Epoch, Message, MessageId, RoomName, Seq, Subscription};
use session::client::{NotPublished, Published};

/// The texts of a run.
pub(crate) fn body() -> Body {
    Body::new("sim")
}

/// One person's history.
pub(crate) struct Record {
    pub(crate) name: String,
    author: u32,
    pub(crate) rooms: BTreeMap<RoomName, InRoom>,
    /// Rules that the service broke, as the client found.
    pub(crate) violations: Vec<String>,
    pub(crate) ended: Option<String>,
    pub(crate) counts: Counts,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connected: u64,
    pub(crate) moved: u64,
    pub(crate) resumed: u64,
    /// Resumed with something missed, from another owner than the last time.
    pub(crate) resumed_elsewhere: u64,
    pub(crate) snapshots: u64,
    pub(crate) duplicates: u64,
    pub(crate) given_up: u64,
}

/// What somebody does in a room.
pub(crate) struct InRoom {
    pub(crate) reads: bool,
    sends: Sends,
    open: BTreeMap<MessageId, u32>,
    pub(crate) reading: Option<Reading>,
    witness: Witness,
    /// The slot's epoch when the room was last subscribed.
    epoch: Epoch,
}

impl Record {
    pub(crate) fn new(
        author: u32,
        name: &str,
        rooms: impl IntoIterator<Item = (RoomName, bool)>,
    ) -> Record {
        let in_room = |reads| InRoom {
            reads,
            sends: Sends { author, name: name.to_owned(), publishes: Vec::new() },
            open: BTreeMap::new(),
            reading: None,
            witness: Witness::default(),
            epoch: 0,
        };
        Record {
            name: name.to_owned(),
            author,
            rooms: rooms.into_iter().map(|(room, reads)| (room, in_room(reads))).collect(),
            violations: Vec::new(),
            ended: None,
            counts: Counts::default(),
        }
    }

    /// The text of its next message.
    pub(crate) fn next_text(&self, room: &RoomName) -> String {
        body().text(self.author, self.rooms[room].sends.publishes.len() as u32)
    }

    pub(crate) fn sent(&mut self, now_us: u64, room: &RoomName, id: MessageId, text: &str) {
        let user = self.name.clone();
        let in_room = self.rooms.get_mut(room).expect("it writes there");
        let number = in_room.sends.publishes.len() as u32;
        in_room.sends.publishes.push(Publish {
            digest: digest(room, &user, id.as_str(), text),
            sent_us: now_us,
            acked_us: 0,
            seq: 0,
            late_us: 0,
            fate: Fate::Open,
        });
        in_room.open.insert(id, number);
    }

    pub(crate) fn published(&mut self, now_us: u64, told: &Published) {
        self.counts.duplicates += u64::from(told.duplicate);
        let Some(in_room) = self.rooms.get_mut(&told.room) else { return };
        if let Some(number) = in_room.open.remove(&told.id) {
            let publish = &mut in_room.sends.publishes[number as usize];
            publish.fate = Fate::Acknowledged;
            (publish.acked_us, publish.seq) = (now_us, told.seq);
        }
    }

    pub(crate) fn not_published(&mut self, told: &NotPublished) {
        self.counts.given_up += 1;
        let Some(in_room) = self.rooms.get_mut(&told.room) else { return };
        if let Some(number) = in_room.open.remove(&told.id) {
            let publish = &mut in_room.sends.publishes[number as usize];
            publish.fate = if told.may_have_been_sent { Fate::Unknown } else { Fate::Refused };
        }
    }

    /// `epoch`: that of the room's slot now.
    pub(crate) fn subscribed(
        &mut self,
        room: &RoomName,
        subscription: &Subscription,
        epoch: Epoch,
    ) {
        let (name, head) = (self.name.clone(), subscription.head);
        let Some(in_room) = self.rooms.get_mut(room) else { return };
        let is_resumed = matches!(subscription.catchup, Catchup::Resumed { .. });
        let has_missed = matches!(subscription.catchup, Catchup::Resumed { missed: 1.. });
        let before = std::mem::replace(&mut in_room.epoch, epoch);
        if in_room.reading.is_some() && has_missed && before != epoch {
            self.counts.resumed_elsewhere += 1;
        }
        match (&mut in_room.reading, is_resumed) {
            (Some(_), true) => self.counts.resumed += 1,
            (Some(reading), false) => {
                reading.snapshot(head);
                self.counts.snapshots += 1;
            }
            // Everybody reads from the beginning, unless there is too much of it.
            (none, true) => *none = Some(Reading::new(name, 0, 0)),
            (none, false) => *none = Some(Reading::new(name, 0, head)),
        }
    }

    pub(crate) fn truncated(&mut self, room: &RoomName, first: Seq) {
        if let Some(reading) = self.rooms.get_mut(room).and_then(|room| room.reading.as_mut()) {
            reading.truncated(first);
        }
    }

    pub(crate) fn received(&mut self, message: &Message) {
        let Some(in_room) = self.rooms.get_mut(&message.room) else { return };
        if let Some(reading) = &mut in_room.reading {
            reading.receive(&mut in_room.witness, message.seq, body().entry(message));
        }
    }

    /// What it still waits for, with the rooms' heads.
    pub(crate) fn owed(&self, head: impl Fn(&RoomName) -> Seq) -> Option<String> {
        for (name, room) in &self.rooms {
            if !room.open.is_empty() {
                return Some(format!("{} publishes to {name} have no answer", room.open.len()));
            }
            let at = room.reading.as_ref().map(|reading| reading.at);
            if room.reads && at.is_none_or(|at| at < head(name)) {
                return Some(format!("{name} is told to {at:?} of {}", head(name)));
            }
        }
        None
    }
}

/// All that is known of a room, of everybody's records; the log comes from whoever came last.
pub(crate) fn history(room: &RoomName, records: &mut [&mut Record]) -> RoomHistory {
    let mut history = RoomHistory { room: room.to_string(), ..RoomHistory::default() };
    for record in records {
        let Some(in_room) = record.rooms.get_mut(room) else { continue };
        history.sends.push(std::mem::take(&mut in_room.sends));
        if let Some(mut reading) = in_room.reading.take() {
            reading.witness = history.witnesses.len();
            history.witnesses.push(std::mem::take(&mut in_room.witness));
            history.readings.push(reading);
        }
    }
    history
}
