//! What a client knows of one room: what it holds, what comes next, what it still has to send.
//!
//! While a session moves, a room is read over two connections. Whichever brings the next entry first is
//! the one that tells it; everything else is believed of one of them only, the room's lead: the old
//! connection until the new one has answered for this room, the new one from then on.
//!
//! # Invariants
//! - While the room is read, the next entry told is `held.seq + 1`; only a snapshot or `truncated`
//!   moves `held` otherwise, and the application is told of both.
//! - `known` never lags behind `held`: it is what a publish may state as `since`.

use model::{
    Catchup, LogId, Message, Position, PresenceChange, PresenceFrame, Seq, SnapshotReason,
    Subscription,
};

use super::chain::Chain;
use super::line::{Pair, Side};
use super::options::Reading;

/// Where the reading of a room stands on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not read, or no connection.
    #[default]
    Off,
    /// Asked for; no entry may come yet.
    Asked,
    /// Entries follow.
    Live,
    /// Ended by the server; to be asked for again at this time (monotonic microseconds).
    Again(u64),
    /// Ended by the server until a fresh token was taken.
    NeedsToken,
    /// Entries follow, but of what has been replaced over the other connection.
    Inert,
}

/// How an entry's number fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Next,
    Duplicate,
    /// It is of a reading that has been replaced.
    Inert,
}

/// The reading of a room over one connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) stage: Stage,
    /// The last entry that came over this connection, or that need not come.
    pub(super) cursor: Seq,
    /// The version of presence that is held; `None`: only a full one applies.
    presence: Option<u64>,
    /// Unsubscribes on their way: until they are answered, the room's frames are of a former reading.
    pub(super) leaving: u32,
    /// Whether this connection's hello asks for it; what does not fit there is asked for behind it.
    pub(super) in_hello: bool,
}

impl Reader {
    /// It is asked for, perhaps once more: until the answer comes, entries of the former reading count
    /// as they did.
    pub(super) fn ask(&mut self) {
        if !matches!(self.stage, Stage::Live | Stage::Inert) {
            self.stage = Stage::Asked;
        }
    }

    /// What still comes is of what the other connection has replaced.
    pub(super) fn make_inert(&mut self) {
        if self.stage == Stage::Live {
            self.stage = Stage::Inert;
        }
    }
}

/// What an owner's answer to a subscribe did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The room is read from here on.
    Read,
    /// The same, and the snapshot in it is of no use: what it shows was read already.
    ReadPast,
    /// It speaks of a log that is not held any more: to be asked for again.
    AskAgain,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    /// How the application wants it read; `None` where it is only published to.
    pub(super) wish: Option<Reading>,
    pub(super) readers: Pair<Reader>,
    /// Which connection is believed about the room.
    pub(super) lead: Side,
    /// What the application holds.
    pub(super) held: Option<Position>,
    /// The furthest position that was seen, by reading or by publishing.
    pub(super) known: Option<Position>,
    /// The head that was told with `subscribed`, until it is reached.
    catching_up_to: Option<Seq>,
    /// The furthest that the application marked; repeated when the server lags behind it.
    pub(super) mark: Seq,
    /// What was last sent as the mark.
    pub(super) mark_sent: Seq,
    /// Whether a mark waits to be sent, and whether one waits for its answer: one at a time.
    pub(super) mark_due: bool,
    pub(super) mark_out: bool,
    /// When a refused mark is sent again.
    pub(super) mark_again: Option<u64>,
    /// Ends of the reading in a row, without a `subscribed` between them.
    pub(super) ends: u32,
    pub(super) chain: Chain,
    /// Whether it stands in the list of rooms with something to publish.
    pub(super) listed: bool,
}

impl Room {
    pub(super) fn led_by(lead: Side) -> Room {
        Room { lead, ..Room::default() }
    }

    /// What to state as `after`: nothing where the log's name is not known.
    pub(super) fn resume_from(&self) -> Option<Position> {
        self.held.clone().filter(|held| !held.log.is_none() || held.seq == 0)
    }

    /// Whether a publish may be sent now. Before the first `subscribed` of a room that is about to be
    /// read it waits: with a position, the owner can rule out every earlier copy.
    pub(super) fn may_publish(&self) -> bool {
        let waits_for_position =
            self.known.is_none() && self.wish.as_ref().is_some_and(|wish| !wish.summary);
        self.chain.is_ready() && !waits_for_position
    }

    /// Whether nothing would be lost if the room were forgotten, but for the position.
    pub(super) fn is_idle(&self) -> bool {
        let is_leaving = Side::BOTH.iter().any(|side| self.readers[*side].leaving > 0);
        self.wish.is_none() && self.chain.is_empty() && !is_leaving
    }

    /// Whether a mark waits to be sent or answered.
    pub(super) fn is_mark_under_way(&self) -> bool {
        self.mark_due || self.mark_out || self.mark_again.is_some()
    }

    /// Whether it is read over any connection.
    pub(super) fn is_live(&self) -> bool {
        Side::BOTH.iter().any(|side| self.readers[*side].stage == Stage::Live)
    }

    /// Whether the reading over `side` has come as far as the other: nothing is lost if that one ends.
    pub(super) fn is_level(&self, side: Side) -> bool {
        let reader = &self.readers[side];
        match (&self.wish, reader.stage) {
            (None, _) | (_, Stage::NeedsToken) => true,
            (Some(wish), Stage::Live) => {
                wish.summary || self.held.as_ref().is_none_or(|held| reader.cursor >= held.seq)
            }
            _ => false,
        }
    }

    /// The connection is gone: what was read over it is forgotten.
    pub(super) fn lose_reader(&mut self, side: Side) {
        self.readers[side] = Reader::default();
        if self.lead == side {
            self.catching_up_to = None;
        }
    }

    /// The connection is gone: what was sent over it may not have arrived.
    pub(super) fn lose_sends(&mut self) {
        self.mark_again = None;
        (self.mark_due, self.mark_out) = (false, false);
        self.chain.lose_connection();
    }

    /// The owner's answer to a subscribe over `side`, which leads from here on.
    pub(super) fn handle_subscribed(
        &mut self,
        side: Side,
        told: &Subscription,
        presence: Option<u64>,
    ) -> Result<Taken, String> {
        let rival = (self.lead != side).then_some(self.lead);
        let rival = rival.filter(|lead| self.readers[*lead].stage == Stage::Live);
        let was_unborn = told.log.is_none() && self.held.as_ref().is_some_and(|h| h.seq > 0);
        let taken = match &told.catchup {
            // The room was born since this was said.
            _ if rival.is_some() && was_unborn => return Ok(Taken::AskAgain),
            Catchup::Snapshot(snapshot) => {
                let is_read = snapshot.reason != SnapshotReason::Ahead
                    && self.held.as_ref().is_some_and(|h| h.log == told.log && h.seq >= told.head);
                if rival.is_some() && is_read {
                    Taken::ReadPast
                } else {
                    self.jump_to(&told.log, told.head);
                    // What the other connection brings is of what was replaced.
                    self.readers[side.other()].make_inert();
                    Taken::Read
                }
            }
            Catchup::Resumed { .. } => match self.resume(&told.log) {
                Err(_) if rival.is_some() => return Ok(Taken::AskAgain),
                outcome => outcome.map(|()| Taken::Read)?,
            },
        };
        let missed = match told.catchup {
            Catchup::Resumed { missed } => missed,
            Catchup::Snapshot(_) => 0,
        };
        self.ends = 0;
        self.lead = side;
        self.catching_up_to = Some(told.head);
        let reader = &mut self.readers[side];
        reader.stage = Stage::Live;
        reader.cursor = told.head.saturating_sub(missed);
        reader.presence = presence;
        Ok(taken)
    }

    /// Entries follow from a position that was held.
    fn resume(&mut self, log: &LogId) -> Result<(), String> {
        let Some(held) = &mut self.held else {
            return Err("resumed, although no position was stated".to_owned());
        };
        if held.log.is_none() && held.seq == 0 {
            held.log = log.clone();
        }
        if held.log != *log {
            return Err(format!("resumed in log {log}, although {} was held", held.log));
        }
        let held = held.clone();
        self.learn(held);
        Ok(())
    }

    /// What was held is replaced by what ends at `head`.
    fn jump_to(&mut self, log: &LogId, head: Seq) {
        let changed = self.held.as_ref().is_some_and(|held| !held.speaks_of(log));
        if changed || head < self.mark {
            self.mark = 0;
        }
        let position = Position { log: log.clone(), seq: head };
        self.held = Some(position.clone());
        self.known = Some(position);
    }

    /// Whether the application has just been told everything up to the head it was promised.
    pub(super) fn poll_caught_up(&mut self) -> Option<Seq> {
        let held = self.held.as_ref()?.seq;
        self.catching_up_to.take_if(|head| held >= *head)
    }

    /// Places an entry, and takes it as held if it is the next one.
    pub(super) fn handle_message(
        &mut self,
        side: Side,
        message: &Message,
    ) -> Result<Place, String> {
        let reader = &mut self.readers[side];
        if reader.stage == Stage::Inert {
            return Ok(Place::Inert);
        }
        let live = reader.stage == Stage::Live;
        let Some(held) = self.held.as_mut().filter(|_| live) else {
            return Err(format!("entry {} of a room that is not read", message.seq));
        };
        reader.cursor = reader.cursor.max(message.seq);
        if message.seq <= held.seq {
            return Ok(Place::Duplicate);
        }
        if message.seq != held.seq + 1 {
            return Err(format!("entry {} came after entry {}", message.seq, held.seq));
        }
        match &message.log {
            Some(log) if held.log.is_none() => held.log = log.clone(),
            Some(log) if held.log != *log => {
                return Err(format!("entry {} is of log {log}, not {}", message.seq, held.log));
            }
            _ => {}
        }
        held.seq = message.seq;
        let held = held.clone();
        self.learn(held);
        Ok(Place::Next)
    }

    /// The next entry is not below `first`.
    pub(super) fn handle_truncated(&mut self, side: Side, first: Seq) -> Result<(), String> {
        let reader = &mut self.readers[side];
        let live = reader.stage == Stage::Live;
        let Some(held) = self.held.as_mut().filter(|_| live) else {
            return Err("truncated, although the room is not read".to_owned());
        };
        let last = first.saturating_sub(1);
        reader.cursor = reader.cursor.max(last);
        held.seq = held.seq.max(last);
        let held = held.clone();
        self.learn(held);
        Ok(())
    }

    /// Whether a change of presence applies to what is held.
    pub(super) fn handle_presence(&mut self, side: Side, frame: &PresenceFrame) -> bool {
        let reader = &mut self.readers[side];
        let applies = match frame.change {
            PresenceChange::Full(_) => true,
            PresenceChange::Delta { .. } => {
                reader.presence.is_some_and(|held| held.checked_add(1) == Some(frame.version))
            }
        };
        reader.presence = applies.then_some(frame.version);
        applies && reader.stage == Stage::Live
    }

    /// A position that is durable: the greatest of a log counts.
    pub(super) fn learn(&mut self, position: Position) {
        let replaces = match &self.known {
            None => true,
            Some(known) if known.log == position.log => known.seq < position.seq,
            Some(known) => known.log.is_none(),
        };
        if replaces && (!position.log.is_none() || position.seq == 0) {
            self.known = Some(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{
        Mark, MessageContent, MessageId, Page, Rights, RoomName, Roster, Snapshot, SnapshotReason,
        User, UserId,
    };

    use super::*;

    fn log() -> LogId {
        LogId::new("k3v9q2").expect("valid")
    }

    fn told(head: Seq, catchup: Catchup) -> Subscription {
        Subscription {
            log: log(),
            first: 1,
            head,
            ordinal: head,
            mark: Mark::default(),
            unread: 0,
            rights: Rights::OPEN,
            catchup,
        }
    }

    fn snapshot() -> Catchup {
        Catchup::Snapshot(Snapshot { reason: SnapshotReason::New, page: Page::default() })
    }

    fn entry(seq: Seq) -> Message {
        Message {
            room: RoomName::new("r").expect("valid"),
            log: (seq == 1).then(log),
            seq,
            ordinal: seq,
            id: MessageId::new("abcdefgh").expect("valid"),
            at_ms: 0,
            from: User {
                id: UserId::new("ann").expect("valid"),
                name: String::new(),
                data: bytes::Bytes::new(),
            },
            content: MessageContent::post("x"),
            edited_at_ms: None,
            reactions: Vec::new(),
        }
    }

    fn at(head: Seq) -> Room {
        let mut room = Room::default();
        room.handle_subscribed(Side::Left, &told(head, snapshot()), None)
            .expect("a snapshot always fits");
        room
    }

    #[test]
    fn entries_follow_a_snapshot_without_a_hole() {
        let mut room = at(10);
        assert_eq!(room.poll_caught_up(), Some(10));
        assert_eq!(room.handle_message(Side::Left, &entry(10)), Ok(Place::Duplicate));
        assert_eq!(room.handle_message(Side::Left, &entry(11)), Ok(Place::Next));
        assert_eq!(room.handle_message(Side::Left, &entry(11)), Ok(Place::Duplicate));
        assert!(room.handle_message(Side::Left, &entry(13)).is_err(), "a hole is never accepted");
        assert_eq!(room.resume_from(), Some(Position { log: log(), seq: 11 }));
    }

    #[test]
    fn an_entry_before_subscribed_is_a_broken_rule() {
        let mut room = at(10);
        room.lose_reader(Side::Left);
        assert!(room.handle_message(Side::Left, &entry(11)).is_err());
        assert_eq!(room.resume_from(), Some(Position { log: log(), seq: 10 }));
    }

    #[test]
    fn truncated_moves_the_next_entry_and_nothing_else_does() {
        let mut room = at(10);
        room.handle_truncated(Side::Left, 900).expect("the room is read");
        assert!(room.handle_message(Side::Left, &entry(901)).is_err());
        assert_eq!(room.handle_message(Side::Left, &entry(900)), Ok(Place::Next));
        room.handle_truncated(Side::Left, 5).expect("what lies below is discarded only");
        assert_eq!(room.handle_message(Side::Left, &entry(901)), Ok(Place::Next));
    }

    #[test]
    fn an_unborn_room_is_read_from_its_first_entry_which_names_the_log() {
        let mut room = Room::default();
        let unborn = Subscription { log: LogId::none(), first: 0, ..told(0, snapshot()) };
        room.handle_subscribed(Side::Left, &unborn, None).expect("a snapshot always fits");
        assert_eq!(room.resume_from(), Some(Position::origin()));
        assert_eq!(room.handle_message(Side::Left, &entry(1)), Ok(Place::Next));
        assert_eq!(room.resume_from(), Some(Position { log: log(), seq: 1 }));
    }

    #[test]
    fn a_resume_in_another_log_is_a_broken_rule_and_a_snapshot_of_it_is_not() {
        let other = LogId::new("other").expect("valid");
        let mut room = at(10);
        room.mark = 9;
        let resumed =
            Subscription { log: other.clone(), ..told(12, Catchup::Resumed { missed: 2 }) };
        assert!(room.handle_subscribed(Side::Left, &resumed, None).is_err());
        let replaced = Subscription { log: other.clone(), ..told(3, snapshot()) };
        room.handle_subscribed(Side::Left, &replaced, None).expect("a snapshot always fits");
        assert_eq!(room.resume_from(), Some(Position { log: other, seq: 3 }));
        assert_eq!(room.mark, 0, "a mark of the old log means nothing in the new one");
    }

    #[test]
    fn a_delta_of_presence_applies_at_the_version_before_only() {
        let mut room = at(1);
        room.handle_subscribed(Side::Left, &told(1, snapshot()), Some(9)).expect("fits");
        let frame = |version, change| PresenceFrame {
            room: RoomName::new("r").expect("valid"),
            version,
            change,
        };
        let delta = PresenceChange::Delta { count: 1, arrived: Vec::new(), departed: Vec::new() };
        assert!(room.handle_presence(Side::Left, &frame(10, delta.clone())));
        assert!(!room.handle_presence(Side::Left, &frame(12, delta.clone())));
        assert!(
            !room.handle_presence(Side::Left, &frame(13, delta.clone())),
            "waits for a full one"
        );
        assert!(
            room.handle_presence(Side::Left, &frame(14, PresenceChange::Full(Roster::default())))
        );
        assert!(room.handle_presence(Side::Left, &frame(15, delta)));
    }
}
