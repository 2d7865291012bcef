//! Rooms are opened when somebody speaks to them, and closed when nobody has for a while.

use std::sync::Arc;

use journal::ReadError;
use model::{LogId, Now, Record, RoomName, Seed};
use room::{Head, ReadDone, ReadFailed, Room, Ticket};

use super::place::{No, OpenRoom, Opening, Place, Waiting};
use super::{Done, SlotTask, Tail, open, read};

/// Milliseconds between two looks for rooms that can be closed, relative to `room_idle_ms`.
const SWEEPS_PER_IDLE: u64 = 4;
/// Entries with which a room is opened: what most publishes are checked against.
const RECENT_ENTRIES: usize = 256;
/// Letters of a log's id: 60 bits, so that no two logs of a room share one.
const LOG_LETTERS: usize = 12;

impl SlotTask {
    /// Asks the journal where a room stands. The slot is served.
    pub(super) fn open_room(&mut self, name: &RoomName) -> &mut Opening {
        self.attempts += 1;
        let attempt = self.attempts;
        let (shared, room) = (Arc::clone(&self.shared), name.clone());
        self.spawn(async move {
            let read = match shared.reads.acquire().await {
                Ok(_permit) => read::opening(&*shared.journal, &room, RECENT_ENTRIES).await,
                Err(_) => Err(ReadError::Unavailable("the server is stopping".into())),
            };
            Done::Opened { room, attempt, read }
        });
        let place = Place::Opening(Opening { attempt, words: Vec::new() });
        self.rooms.insert(name.clone(), place);
        match self.rooms.get_mut(name) {
            Some(Place::Opening(opening)) => opening,
            _ => unreachable!("it was inserted above"),
        }
    }

    /// Opens the room as its former owner handed it over, if it did; nothing is read for that.
    pub(super) fn open_hinted(&mut self, now: Now, name: &RoomName) {
        let Some(hints) = self.hints.take(name) else {
            return;
        };
        self.attempts += 1;
        self.shared.counters.rooms_hinted.add(1);
        self.place_room(now, name, self.attempts, None, Vec::new(), Some(hints));
    }

    pub(super) fn opened(&mut self, now: Now, name: RoomName, attempt: u64, read: Tail) {
        let words = match self.rooms.get_mut(&name) {
            Some(Place::Opening(opening)) if opening.attempt == attempt => {
                std::mem::take(&mut opening.words)
            }
            _ => return,
        };
        self.rooms.remove(&name);
        match read {
            Ok((head, recent)) => {
                self.place_room(now, &name, attempt, head, recent, None);
                for word in words {
                    self.tell_waiting(now, &name, word);
                }
                self.touch(&name);
            }
            Err(error) => {
                tracing::warn!(room = %name, ?error, "a room cannot be opened");
                let corrupt = matches!(error, ReadError::Corrupt(_));
                let no = if corrupt { No::Damaged } else { No::Unavailable };
                for word in words {
                    if let Waiting::Word(word) = word {
                        self.refuse(word, no);
                    }
                }
            }
        }
    }

    fn place_room(
        &mut self,
        now: Now,
        name: &RoomName,
        attempt: u64,
        head: Option<Head>,
        recent: Vec<Record>,
        hints: Option<room::Hints>,
    ) {
        let log = LogId::new(&self.seed.letters(LOG_LETTERS)).unwrap_or_default();
        let opening = room::Opening {
            room: name.clone(),
            head,
            log_if_born: log,
            fence: self.built_on,
            recent,
            seed: Seed::new(self.seed.next_u64()),
            collecting: self.hints.are_partial()
                || self.collect_until.is_some_and(|until| !now.reached(until)),
            hints,
        };
        let limits = Arc::clone(&self.shared.config.limits);
        let room = Room::new(now, limits, opening);
        self.shared.counters.rooms_open.add(1);
        self.rooms.insert(name.clone(), Place::Open(Box::new(OpenRoom::new(attempt, room))));
    }

    fn tell_waiting(&mut self, now: Now, name: &RoomName, word: Waiting) {
        match word {
            Waiting::Word(word) => self.tell(now, name, word),
            Waiting::Trimmed(head) => {
                if let Some(open) = open(&mut self.rooms, name) {
                    open.room.handle_trimmed(now, &head);
                }
            }
        }
    }

    pub(super) fn read_done(
        &mut self,
        now: Now,
        name: &RoomName,
        opened: u64,
        ticket: Ticket,
        result: Result<ReadDone, ReadFailed>,
    ) {
        let Some(open) = open(&mut self.rooms, name).filter(|open| open.opened == opened) else {
            return;
        };
        open.room.handle_read(now, ticket, result);
        self.touch(name);
    }

    pub(super) fn sweep_due(&self) -> Now {
        self.swept_at.plus_ms((self.shared.config.limits.room_idle_ms / SWEEPS_PER_IDLE).max(1))
    }

    /// Closes rooms that have nothing to do and that nobody has spoken to for a while.
    pub(super) fn sweep(&mut self, now: Now) {
        self.swept_at = now;
        let before = self.rooms.len();
        let timers = &mut self.timers;
        self.rooms.retain(|name, place| match place {
            Place::Open(open) if !open.dirty && !open.ready && open.room.is_idle(now) => {
                if let Some(due) = open.armed {
                    timers.remove(&(due, name.clone()));
                }
                false
            }
            _ => true,
        });
        self.shared.counters.rooms_open.sub((before - self.rooms.len()) as u64);
    }
}
