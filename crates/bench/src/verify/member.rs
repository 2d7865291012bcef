//! One client's own bookkeeping: what it was asked to send, what it was answered, what it was told.

use std::collections::HashMap;

use model::{Catchup, Message, MessageContent, MessageId, RoomName, Seq, Subscription};
use parlour_client::{Connection, Counters, NotPublished, Published};

use super::body::{Body, digest};
use super::plan::Seat;
use super::record::{Fate, Publish, Reading, Sends, Witness};
use crate::measure::monotonic_us;

/// Larger numbers are not of this contract; they would not fit into sums either.
const SEQ_MAX: Seq = 1 << 53;

/// A client and its history.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) seat: Seat,
    pub(super) name: String,
    /// Those that it reads or writes to.
    pub(super) rooms: Vec<InRoom>,
    /// How many messages it was asked to send.
    next: usize,
    pub(super) life: Life,
    pub(super) counters: Counters,
    /// Publishes that its client did not take.
    pub(super) not_taken: u64,
    /// Why the first of its messages was given up, or not taken.
    pub(super) given_up: Option<String>,
    pub(super) ended: bool,
}

/// What it does in one room.
#[derive(Debug)]
pub(super) struct InRoom {
    /// The room's place in the run.
    pub(super) room: usize,
    pub(super) name: RoomName,
    reads: bool,
    pub(super) sends: Sends,
    /// Those without an answer, by their place among the sends.
    pub(super) open: HashMap<MessageId, u32>,
    /// Once it is told the room.
    pub(super) reading: Option<Reading>,
}

/// Its connections: when it had none. Times are monotonic microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    was_up: bool,
    up: bool,
    down_since_us: u64,
    pub(super) longest_gap_us: u64,
}

/// What a change of connections was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// The first one.
    Came,
    Lost,
    /// One after another was lost.
    Redialed,
}

impl Life {
    pub(super) fn connected(&mut self, now_us: u64) -> Change {
        let change = match (self.was_up, self.up) {
            (false, _) => Change::Came,
            (true, false) => Change::Redialed,
            // The next one was up before the last one went.
            (true, true) => Change::Nothing,
        };
        if change == Change::Redialed {
            self.end_gap(now_us);
        }
        (self.was_up, self.up) = (true, true);
        change
    }

    pub(super) fn lost(&mut self, now_us: u64) -> Change {
        if !std::mem::replace(&mut self.up, false) {
            return Change::Nothing;
        }
        self.down_since_us = now_us;
        Change::Lost
    }

    /// The run is over; a gap ends with it.
    pub(super) fn finish(&mut self, now_us: u64) {
        if self.was_up && !self.up {
            self.end_gap(now_us);
        }
    }

    fn end_gap(&mut self, now_us: u64) {
        self.longest_gap_us = self.longest_gap_us.max(now_us.saturating_sub(self.down_since_us));
    }
}

impl Member {
    pub(super) fn new(seat: Seat, name: String, rooms: &[RoomName]) -> Member {
        let author = u32::try_from(seat.nth).unwrap_or(u32::MAX);
        let unread = seat.writes.iter().filter(|room| !seat.reads.contains(room));
        let in_rooms = seat.reads.iter().chain(unread).map(|room| InRoom {
            room: *room,
            name: rooms[*room].clone(),
            reads: seat.reads.contains(room),
            sends: Sends { author, name: name.clone(), publishes: Vec::new() },
            open: HashMap::new(),
            reading: None,
        });
        Member {
            rooms: in_rooms.collect(),
            seat,
            name,
            next: 0,
            life: Life::default(),
            counters: Counters::default(),
            not_taken: 0,
            given_up: None,
            ended: false,
        }
    }

    fn room(&mut self, name: &RoomName) -> Option<&mut InRoom> {
        self.rooms.iter_mut().find(|room| room.name == *name)
    }

    /// Hands its next message to its client. Answers which of its rooms it was for, and the message's
    /// place there.
    pub(super) fn publish(
        &mut self,
        connection: &mut Connection,
        body: &Body,
        intended_us: u64,
    ) -> Option<(usize, u32)> {
        let room = self.seat.writes[self.next % self.seat.writes.len()];
        self.next += 1;
        let at = self.rooms.iter().position(|in_room| in_room.room == room)?;
        let in_room = &mut self.rooms[at];
        let number = u32::try_from(in_room.sends.publishes.len()).ok()?;
        let text = body.text(in_room.sends.author, number);
        let content = MessageContent::post(&*text);
        let content = wire::codec::content(&content).expect("a post can be published");
        let client = connection.client();
        let user = client.user().map(|user| user.as_str().to_owned()).unwrap_or_default();
        // Before: it cannot have been sent earlier.
        let sent_us = monotonic_us();
        let id = match client.publish(&in_room.name, content) {
            Ok(id) => id,
            Err(error) => {
                self.not_taken += 1;
                self.given_up.get_or_insert_with(|| error.to_string());
                return None;
            }
        };
        in_room.sends.publishes.push(Publish {
            digest: digest(&in_room.name, &user, id.as_str(), &text),
            sent_us,
            acked_us: 0,
            seq: 0,
            late_us: u32::try_from(sent_us.saturating_sub(intended_us)).unwrap_or(u32::MAX),
            fate: Fate::Open,
        });
        in_room.open.insert(id, number);
        Some((at, number))
    }

    /// Answers the room's place in the run and how long the publish took.
    pub(super) fn published(&mut self, told: &Published) -> Option<(usize, u64)> {
        // After: it cannot have been acknowledged later.
        let acked_us = monotonic_us();
        let in_room = self.room(&told.room)?;
        let number = in_room.open.remove(&told.id)?;
        let publish = &mut in_room.sends.publishes[number as usize];
        publish.fate = Fate::Acknowledged;
        (publish.acked_us, publish.seq) = (acked_us, told.seq.min(SEQ_MAX));
        Some((in_room.room, publish.took_us()))
    }

    pub(super) fn not_published(&mut self, told: &NotPublished) {
        let Some(in_room) = self.room(&told.room) else {
            return;
        };
        if let Some(number) = in_room.open.remove(&told.id) {
            let publish = &mut in_room.sends.publishes[number as usize];
            publish.fate = if told.may_have_been_sent { Fate::Unknown } else { Fate::Refused };
            self.given_up.get_or_insert_with(|| told.to_string());
        }
    }

    /// Answers whether it is told all its rooms now, and was not before.
    pub(super) fn subscribed(
        &mut self,
        name: &RoomName,
        subscription: &Subscription,
        witness: usize,
    ) -> bool {
        let (reader, head) = (self.name.clone(), subscription.head.min(SEQ_MAX));
        let Some(in_room) = self.room(name) else {
            return false;
        };
        match (&mut in_room.reading, &subscription.catchup) {
            (Some(reading), Catchup::Snapshot(_)) => reading.snapshot(head),
            (Some(_), Catchup::Resumed { .. }) => {}
            (none, _) => {
                *none = Some(Reading::new(reader, witness, head));
                return self.rooms.iter().all(|room| room.reading.is_some() || !room.reads);
            }
        }
        false
    }

    pub(super) fn truncated(&mut self, name: &RoomName, first: Seq) {
        let in_room = self.room(name);
        if let Some(reading) = in_room.and_then(|room| room.reading.as_mut()) {
            reading.truncated(first.min(SEQ_MAX));
        }
    }

    /// Answers the room's place in the run.
    pub(super) fn received(
        &mut self,
        message: &Message,
        body: &Body,
        witnesses: &mut [Witness],
    ) -> Option<usize> {
        let in_room = self.room(&message.room)?;
        let reading = in_room.reading.as_mut()?;
        let seq = message.seq.min(SEQ_MAX);
        reading.receive(&mut witnesses[in_room.room], seq, body.entry(message));
        Some(in_room.room)
    }

    /// Whether it owes and is owed nothing, with the rooms' heads as they are known.
    pub(super) fn is_settled(&self, head: impl Fn(usize) -> Seq) -> bool {
        self.ended
            || self.rooms.iter().all(|room| {
                let reading = room.reading.as_ref();
                room.open.is_empty() && reading.is_none_or(|reading| reading.at >= head(room.room))
            })
    }

    /// Its session is over: what comes later is not its loss.
    pub(super) fn end(&mut self) {
        self.ended = true;
        for reading in self.rooms.iter_mut().filter_map(|room| room.reading.as_mut()) {
            reading.ended = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_the_time_without_any_connection() {
        let mut life = Life::default();
        assert_eq!(life.lost(5), Change::Nothing, "it never had one");
        assert_eq!(life.connected(10), Change::Came);
        assert_eq!(life.lost(100), Change::Lost);
        assert_eq!(life.lost(120), Change::Nothing, "a dial that failed");
        assert_eq!(life.connected(150), Change::Redialed);
        assert_eq!(life.connected(900), Change::Nothing, "the next before the last");
        assert_eq!(life.longest_gap_us, 50);
        life.lost(1_000);
        life.finish(1_200);
        assert_eq!(life.longest_gap_us, 200);
    }
}
