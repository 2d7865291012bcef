//! What the application wishes. Most wishes are kept while there is no connection.

use bytes::Bytes;
use model::{
    ClientSays, Content, HistoryAsk, MessageId, Now, RoomName, Seq, Unsubscribed, UnsubscribedCode,
    limits,
};

use super::connection::Phase;
use super::line::Side;
use super::room::Stage;
use super::{Client, Control, Event, Reading, Ticket, WishError};

/// Characters of a message's id: 32 letters to choose from, so 130 bits, of which the seed gives 64.
const ID_LENGTH: usize = 26;

/// A content's protobuf bytes: a server ends the session of whoever sends a larger frame, so what is
/// surely too large stays here. The limits of its fields are the server's to check.
const CONTENT_BYTES_MAX: usize = limits::FRAME_BYTES_MAX / 2;

impl Client {
    /// Reads a room, now and after every reconnect, until `unsubscribe`.
    ///
    /// # Errors
    /// [`WishError`], when as many rooms are read as may be.
    pub fn subscribe(&mut self, name: &RoomName, reading: Reading) -> Result<(), WishError> {
        self.check_open()?;
        let read = self.rooms.values().filter(|room| room.wish.is_some()).count();
        let connected = self.is_connected();
        let limits = &self.options.limits;
        let (rooms_max, waiting_max) = (limits.rooms_max, self.waiting_max());
        let is_new = self.rooms.get(name).is_none_or(|room| room.wish.is_none());
        if is_new && read >= rooms_max {
            return Err(WishError::TooManyRooms);
        }
        if self.waiting() >= waiting_max {
            return Err(WishError::Full);
        }
        let main = self.main;
        let room = self.room_entry(name);
        if let Some(after) = reading.after.as_ref().filter(|_| is_new) {
            room.held = Some(after.clone());
            room.learn(after.clone());
        }
        room.wish = Some(reading);
        if connected {
            room.readers[main].ask();
            self.lines[main].controls.push_back(Control::Subscribe(name.clone()));
            self.ask_next(name);
        }
        Ok(())
    }

    /// Stops reading a room; what is held of it is the application's to keep or discard.
    ///
    /// # Errors
    /// [`WishError`], when too much waits to be sent.
    pub fn unsubscribe(&mut self, name: &RoomName) -> Result<(), WishError> {
        self.check_open()?;
        if self.waiting() >= self.waiting_max() {
            return Err(WishError::Full);
        }
        let Some(room) = self.rooms.get_mut(name).filter(|room| room.wish.is_some()) else {
            return Ok(());
        };
        room.wish = None;
        room.held = None;
        if !self.leave_room(name) {
            let why = Unsubscribed::new(UnsubscribedCode::Left);
            self.events.push_back(Event::Unsubscribed { room: name.clone(), why, again: false });
        }
        // Publishes that waited for a position wait no more.
        self.list_to_publish(name);
        self.forget_if_idle(name);
        self.note_level(name);
        Ok(())
    }

    /// Says so wherever the room was asked for. Answers whether the main connection will answer.
    fn leave_room(&mut self, name: &RoomName) -> bool {
        let Some(room) = self.rooms.get_mut(name) else {
            return false;
        };
        let mut is_answered = false;
        for side in Side::BOTH {
            let reader = &mut room.readers[side];
            let asked = matches!(reader.stage, Stage::Asked | Stage::Live | Stage::Inert);
            reader.stage = Stage::Off;
            if asked && self.lines[side].is_connected() {
                reader.leaving += 1;
                self.lines[side].controls.push_back(Control::Unsubscribe(name.clone()));
                is_answered |= side == self.main;
            }
        }
        is_answered
    }

    /// Publishes, sooner or later, once: the answer is an event that names the id.
    ///
    /// # Errors
    /// [`WishError::Full`] when as much is unacknowledged as may be, [`WishError::TooLarge`] when it
    /// would not fit into a frame: show it to whoever writes.
    pub fn publish(&mut self, name: &RoomName, content: Content) -> Result<MessageId, WishError> {
        self.check_open()?;
        if content.body.len() > CONTENT_BYTES_MAX {
            return Err(WishError::TooLarge);
        }
        if self.unacknowledged >= self.options.limits.unacknowledged_max {
            return Err(WishError::Full);
        }
        let id = MessageId::new(&self.seed.letters(ID_LENGTH)).expect("26 letters are an id");
        self.room_entry(name).chain.push(id.clone(), content);
        self.unacknowledged += 1;
        self.list_to_publish(name);
        Ok(id)
    }

    /// Tells those who are present, if there is a connection.
    ///
    /// # Errors
    /// [`WishError::NotConnected`]: a signal is worth nothing later.
    pub fn signal(&mut self, name: &RoomName, kind: &str, data: Bytes) -> Result<(), WishError> {
        self.check_open()?;
        if data.len() > limits::DATA_BYTES_MAX || kind.len() > limits::DATA_BYTES_MAX {
            return Err(WishError::TooLarge);
        }
        if !self.is_connected() {
            return Err(WishError::NotConnected);
        }
        if self.waiting() >= self.waiting_max() {
            return Err(WishError::Full);
        }
        let says = ClientSays::Signal { room: name.clone(), kind: kind.to_owned(), data };
        self.lines[self.main].controls.push_back(Control::Signal(Box::new(says)));
        Ok(())
    }

    /// Everything up to `seq` has been read. Said again by itself after a reconnect, if need be.
    ///
    /// # Errors
    /// [`WishError`], when too much waits to be sent.
    pub fn mark(&mut self, name: &RoomName, seq: Seq) -> Result<(), WishError> {
        self.check_open()?;
        if self.waiting() >= self.waiting_max() {
            return Err(WishError::Full);
        }
        let connected = self.is_connected();
        let Some(room) = self.rooms.get_mut(name).filter(|room| room.mark < seq) else {
            return Ok(());
        };
        room.mark = seq;
        if connected && room.is_live() && !room.is_mark_under_way() {
            room.mark_due = true;
            self.lines[self.main].controls.push_back(Control::Mark(name.clone()));
        }
        Ok(())
    }

    /// A page of a room.
    ///
    /// # Errors
    /// [`WishError`], when too many requests have no answer.
    pub fn history(&mut self, name: &RoomName, ask: HistoryAsk) -> Result<Ticket, WishError> {
        self.ask(ClientSays::History { room: name.clone(), ask })
    }

    /// Many rooms at a glance.
    ///
    /// # Errors
    /// [`WishError`], when too many requests have no answer.
    pub fn summaries(&mut self, rooms: Vec<RoomName>) -> Result<Ticket, WishError> {
        if rooms.len() > limits::SUMMARIES_ROOMS_MAX {
            return Err(WishError::TooLarge);
        }
        self.ask(ClientSays::Summaries { rooms })
    }

    fn ask(&mut self, says: ClientSays) -> Result<Ticket, WishError> {
        self.check_open()?;
        if self.asks.len() >= self.options.limits.requests_max {
            return Err(WishError::Full);
        }
        Ok(self.asks.push(says))
    }

    /// A fresh token: for this connection, if there is one, and for all that follow.
    pub fn authenticate(&mut self, now: Now, token: impl Into<String>) {
        self.options.token = Some(token.into());
        self.token_wanted = false;
        for side in Side::BOTH {
            let line = &mut self.lines[side];
            match line.phase {
                Phase::AwaitingToken => self.dial(now, side, None),
                // Before hello went out, hello carries it.
                _ => line.authenticate_due = line.is_connected() && !line.hello_due,
            }
        }
    }

    /// Leaves for good. What was not acknowledged is given back as events.
    pub fn close(&mut self) {
        if !self.is_over() {
            Side::BOTH.into_iter().for_each(|side| self.close_line(side));
            self.end(0, "Closed by its own wish.".to_owned());
        }
    }

    fn check_open(&self) -> Result<(), WishError> {
        match self.is_over() {
            true => Err(WishError::Over),
            false => Ok(()),
        }
    }

    /// What waits to be sent or answered on this connection, publishes and asks aside.
    fn waiting(&self) -> usize {
        let line = &self.lines[self.main];
        line.controls.len() + line.expected.len()
    }

    fn waiting_max(&self) -> usize {
        let limits = &self.options.limits;
        limits.requests_max + limits.rooms_max + limits.publishes_out_max
    }
}
