//! What the server says. This file branches; what a frame means for one room, one chain or one
//! request is decided there.

use model::{
    Catchup, End, EndCode, FromServer, LogId, Message, Now, Refusal, RoomName, Roster, Says, Seq,
    ServerFrame, Subscription, Summary, Unsubscribed, UnsubscribedCode, Welcome,
};

use super::connection::{Loss, Phase, later};
use super::line::{Side, SocketNo};
use super::room::{Place, Room, Stage, Taken};
use super::{Client, Control, Event, Expected, Reading, backoff};

/// A rule that the server broke, as a sentence.
type Broken = String;

impl Client {
    /// A frame came.
    pub fn handle_frame(&mut self, now: Now, socket: SocketNo, frame: FromServer) {
        let Some(side) = self.side_of(socket).filter(|side| self.lines[*side].is_connected())
        else {
            return;
        };
        (self.now_us, self.lines[side].heard_us) = (now.mono_us, now.mono_us);
        let outcome = match frame {
            FromServer::Says(frame) => self.handle_says(now, side, frame),
            FromServer::Message(message) => self.handle_message(side, message),
            FromServer::Unknown => Ok(()),
        };
        match outcome {
            Ok(()) => self.promote_if_level(now),
            Err(what) => self.violated(now, side, what),
        }
    }

    fn handle_says(&mut self, now: Now, side: Side, frame: ServerFrame) -> Result<(), Broken> {
        let line = &mut self.lines[side];
        let answers = line.expected.remove(&frame.r#ref);
        if let Some(Expected::Publish(..)) = &answers {
            line.publishes_out -= 1;
        }
        match frame.says {
            Says::Welcome(welcome) => return self.handle_welcome(now, side, welcome),
            Says::Authenticated { expires_at_ms } => {
                self.handle_authenticated(now, side, expires_at_ms);
            }
            Says::Subscribed { room, subscription, presence } => {
                return self.handle_subscribed(side, room, subscription, presence);
            }
            Says::Unsubscribed { room, why } => {
                self.handle_unsubscribed(now, side, answers, &room, why);
            }
            Says::Published { room, log, seq, at_ms, duplicate } => {
                if let Some(Expected::Publish(_, id)) = answers {
                    self.acknowledge(&room, &id, &log, seq, at_ms, duplicate);
                }
            }
            Says::Refused(refusal) => {
                self.handle_refused(now, side, frame.r#ref, answers, refusal);
            }
            Says::History { room, log, page } => {
                if let Some(ticket) = self.answered(answers) {
                    self.events.push_back(Event::History { ticket, room, log, page });
                }
            }
            Says::Summaries { rooms, refused } => {
                if let Some(ticket) = self.answered(answers) {
                    self.events.push_back(Event::Summaries { ticket, rooms, refused });
                }
            }
            Says::Truncated { room, first } => return self.handle_truncated(side, room, first),
            Says::Marked { room, seq, unread } => {
                if let Some(Expected::Mark(name)) = answers {
                    self.handle_mark_answered(&name);
                }
                self.events.push_back(Event::Marked { room, seq, unread });
            }
            Says::Heartbeat => {
                line.heartbeat_due = true;
                return if side == self.main { self.check_answers(now) } else { Ok(()) };
            }
            Says::Move(to) if side == self.main => self.handle_move(now, to),
            Says::Move(to) => self.handle_move_of_next(now, to),
            Says::End(end) => self.handle_end(now, side, end),
            beside => self.handle_beside(side, beside),
        }
        Ok(())
    }

    /// What travels beside the log: the room's lead alone is believed, so that nothing is told twice.
    fn handle_beside(&mut self, side: Side, says: Says) {
        let event = match says {
            Says::Summary { room, summary } => return self.handle_summary(side, room, summary),
            Says::Presence(frame) => {
                let known = self.led_room(side, &frame.room);
                if !known.is_some_and(|room| room.handle_presence(side, &frame)) {
                    return;
                }
                Event::Presence(frame)
            }
            Says::Signal { room, from, kind, data } if self.led_room(side, &room).is_some() => {
                Event::Signal { room, from, kind, data }
            }
            Says::Rights { room, rights } if self.led_room(side, &room).is_some() => {
                Event::Rights { room, rights }
            }
            _ => return,
        };
        self.events.push_back(event);
    }

    /// The answer to the wish for a summary, or a later one.
    fn handle_summary(&mut self, side: Side, name: RoomName, summary: Box<Summary>) {
        let Some(room) = self.listened_room(side, &name) else {
            return;
        };
        let is_answer = room.readers[side].stage == Stage::Asked;
        if room.lead != side && !is_answer {
            return;
        }
        room.readers[side].stage = Stage::Live;
        room.lead = side;
        room.learn(model::Position { log: summary.log.clone(), seq: summary.head });
        self.events.push_back(Event::Summary { room: name.clone(), summary });
        self.note_level(&name);
    }

    /// The room, unless its frames are of a reading that was given up.
    fn listened_room(&mut self, side: Side, name: &RoomName) -> Option<&mut Room> {
        let is_heard = |room: &&mut Room| room.readers[side].leaving == 0;
        self.rooms.get_mut(name).map(Box::as_mut).filter(is_heard)
    }

    /// The same, if this connection is the one that is believed about it.
    fn led_room(&mut self, side: Side, name: &RoomName) -> Option<&mut Room> {
        self.listened_room(side, name).filter(|room| room.lead == side)
    }

    fn handle_truncated(&mut self, side: Side, name: RoomName, first: Seq) -> Result<(), Broken> {
        let Some(room) = self.listened_room(side, &name) else {
            return Ok(());
        };
        if room.readers[side].stage == Stage::Inert {
            return Ok(());
        }
        if room.lead != side {
            // The lead reads on, or will say the same of what it has not read.
            room.readers[side].make_inert();
            return Ok(());
        }
        room.handle_truncated(side, first)?;
        let caught_up = room.poll_caught_up();
        self.events.push_back(Event::Truncated { room: name.clone(), first });
        let told = caught_up.map(|seq| Event::CaughtUp { room: name.clone(), seq });
        self.events.extend(told);
        self.note_level(&name);
        Ok(())
    }

    fn answered(&mut self, answers: Option<Expected>) -> Option<super::Ticket> {
        match answers {
            Some(Expected::Ask(ticket)) if self.asks.answered(ticket) => Some(ticket),
            _ => None,
        }
    }

    fn handle_welcome(
        &mut self,
        now: Now,
        side: Side,
        welcome: Box<Welcome>,
    ) -> Result<(), Broken> {
        let line = &mut self.lines[side];
        if !matches!(line.phase, Phase::Greeting { .. }) {
            return Err("a second welcome".to_owned());
        }
        line.phase = Phase::Up { since_us: now.mono_us };
        line.heartbeat_ms = welcome.heartbeat_ms;
        line.pace.handle_limits(&welcome.limits);
        self.counters.welcomes += 1;
        self.user = Some(welcome.user.id.clone());
        self.resume_token = Some(welcome.resume_token.clone());
        self.renew_before(now, side, welcome.token_expires_at_ms);
        if side == self.main {
            self.events.push_back(Event::Connected(welcome));
        } else {
            self.lines[side].welcome = Some(welcome);
        }
        Ok(())
    }

    fn handle_authenticated(&mut self, now: Now, side: Side, expires_at_ms: Option<u64>) {
        self.renew_before(now, side, expires_at_ms);
        for (name, room) in &mut self.rooms {
            if room.readers[side].stage == Stage::NeedsToken {
                room.readers[side].stage = Stage::Asked;
                self.lines[side].controls.push_back(Control::Subscribe(name.clone()));
            }
            if side != self.main {
                continue;
            }
            room.chain.needs_token = false;
            if room.may_publish() && !std::mem::replace(&mut room.listed, true) {
                self.to_publish.push_back(name.clone());
            }
        }
        if side == self.main {
            self.events.push_back(Event::Authenticated { expires_at_ms });
        }
    }

    fn renew_before(&mut self, now: Now, side: Side, expires_at_ms: Option<u64>) {
        let expires_at_ms = expires_at_ms.filter(|_| self.options.renews_token);
        self.lines[side].renew_us = expires_at_ms.map(|at_ms| {
            let left_ms = at_ms.saturating_sub(now.wall_ms);
            later(now, left_ms.saturating_sub(self.options.limits.renew_before_ms))
        });
    }

    fn handle_subscribed(
        &mut self,
        side: Side,
        name: RoomName,
        mut subscription: Box<Subscription>,
        presence: Option<(u64, Roster)>,
    ) -> Result<(), Broken> {
        let is_given_up = |room: &Room| {
            let reader = &room.readers[side];
            reader.leaving > 0 || (room.wish.is_none() && reader.stage == Stage::Inert)
        };
        if self.rooms.get(&name).is_some_and(|room| is_given_up(room)) {
            return Ok(());
        }
        if !self.wish_as_told(side, &name) {
            return Ok(());
        }
        let main = self.main;
        let Some(room) = self.rooms.get_mut(&name) else {
            return Ok(());
        };
        if side == main && room.lead != main {
            // The new connection has answered already.
            room.readers[main].stage = Stage::Inert;
            return Ok(());
        }
        let (version, roster) = presence.unzip();
        let taken = room.handle_subscribed(side, &subscription, version);
        match taken.map_err(|what| format!("{name}: {what}"))? {
            Taken::Read => {}
            Taken::ReadPast => subscription.catchup = Catchup::Resumed { missed: 0 },
            Taken::AskAgain => {
                room.readers[side].stage = Stage::Inert;
                self.lines[side].controls.push_back(Control::Subscribe(name));
                return Ok(());
            }
        }
        if subscription.mark.seq < room.mark && !room.is_mark_under_way() {
            room.mark_due = true;
            self.lines[main].controls.push_back(Control::Mark(name.clone()));
        }
        let caught_up = room.poll_caught_up();
        let told = name.clone();
        self.events.push_back(Event::Subscribed { room: told, subscription, presence: roster });
        let told = caught_up.map(|seq| Event::CaughtUp { room: name.clone(), seq });
        self.events.extend(told);
        self.list_to_publish(&name);
        self.note_level(&name);
        Ok(())
    }

    /// Where nobody wished to read the room, a service subscribed this user: that lasts. Answers false
    /// where there is no space for it.
    fn wish_as_told(&mut self, side: Side, name: &RoomName) -> bool {
        let read = self.rooms.values().filter(|room| room.wish.is_some()).count();
        let rooms_max = self.options.limits.rooms_max;
        let room = self.room_entry(name);
        if room.wish.is_some() {
            return true;
        }
        if read >= rooms_max {
            room.readers[side].leaving += 1;
            self.lines[side].controls.push_back(Control::Unsubscribe(name.clone()));
            return false;
        }
        room.wish = Some(Reading::default());
        room.lead = side;
        if side == self.main {
            self.ask_next(name);
        }
        true
    }

    fn handle_unsubscribed(
        &mut self,
        now: Now,
        side: Side,
        answers: Option<Expected>,
        name: &str,
        why: Unsubscribed,
    ) {
        if let Some(Expected::Unsubscribe(name)) = answers {
            return self.handle_left(side, name, why);
        }
        let Ok(name) = RoomName::new(name) else {
            return;
        };
        let main = self.main;
        let Some(room) = self.listened_room(side, &name).filter(|room| room.wish.is_some()) else {
            return;
        };
        if side == main && room.lead != main {
            // What is read is read over the new connection.
            room.readers[side].stage = Stage::Off;
            return;
        }
        if self.is_read_beside(side, &name) && (why.needs_token || why.retry_after_ms.is_some()) {
            return self.fall_back(now, side, &name, why.retry_after_ms, why.needs_token);
        }
        let again = self.put_off(now, side, &name, why.retry_after_ms, why.needs_token);
        self.events.push_back(Event::Unsubscribed { room: name.clone(), why, again });
        self.list_to_publish(&name);
        self.note_level(&name);
        self.forget_if_idle(&name);
    }

    /// Whether the new connection's no to a room leaves the old one, which reads it.
    fn is_read_beside(&self, side: Side, name: &RoomName) -> bool {
        let is_live = |room: &Room| room.readers[self.main].stage == Stage::Live;
        side != self.main && self.rooms.get(name).is_some_and(|room| is_live(room))
    }

    /// The new connection does not read the room right now; the old one does.
    fn fall_back(
        &mut self,
        now: Now,
        side: Side,
        name: &RoomName,
        retry_after_ms: Option<u64>,
        needs_token: bool,
    ) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.lead = self.main;
        }
        self.put_off(now, side, name, retry_after_ms, needs_token);
        self.note_level(name);
    }

    /// The application's own unsubscribe was answered.
    fn handle_left(&mut self, side: Side, name: RoomName, why: Unsubscribed) {
        let Some(room) = self.rooms.get_mut(&name) else {
            return;
        };
        let leaving = &mut room.readers[side].leaving;
        let is_awaited = std::mem::replace(leaving, leaving.saturating_sub(1)) > 0;
        let again = room.wish.is_some();
        if side == self.main && is_awaited {
            self.events.push_back(Event::Unsubscribed { room: name.clone(), why, again });
        }
        self.forget_if_idle(&name);
    }

    /// A reading has ended or did not begin: later, with a fresh token, or never. Answers whether the
    /// room will be asked for again.
    fn put_off(
        &mut self,
        now: Now,
        side: Side,
        name: &RoomName,
        retry_after_ms: Option<u64>,
        needs_token: bool,
    ) -> bool {
        let Some(room) = self.rooms.get_mut(name) else {
            return false;
        };
        match retry_after_ms {
            _ if needs_token => {
                room.readers[side].stage = Stage::NeedsToken;
                self.want_token();
                true
            }
            Some(ms) => {
                let at_us = later(now, backoff::retry_ms(&mut self.seed, ms, room.ends));
                room.ends = room.ends.saturating_add(1);
                room.readers[side].stage = Stage::Again(at_us);
                self.wake_at(at_us);
                true
            }
            None => {
                room.readers[side].stage = Stage::Off;
                room.wish = None;
                room.held = None;
                room.lead = side;
                let other = side.other();
                if matches!(room.readers[other].stage, Stage::Asked | Stage::Live | Stage::Inert) {
                    // Nobody waits for that answer: what was told here is told.
                    room.readers[other].stage = Stage::Inert;
                    self.lines[other].controls.push_back(Control::Unsubscribe(name.clone()));
                }
                false
            }
        }
    }

    fn handle_refused(
        &mut self,
        now: Now,
        side: Side,
        r#ref: u32,
        answers: Option<Expected>,
        refusal: Refusal,
    ) {
        match answers {
            Some(Expected::Publish(room, id)) => {
                self.handle_publish_refused(now, r#ref, &room, &id, refusal);
            }
            Some(Expected::Ask(ticket)) => self.handle_ask_refused(now, ticket, refusal),
            Some(Expected::Mark(room)) => self.handle_mark_refused(now, &room, refusal),
            Some(Expected::Subscribe(name)) => {
                self.handle_subscribe_refused(now, side, name, refusal);
            }
            Some(Expected::Unsubscribe(name)) => {
                self.handle_left(side, name, Unsubscribed::new(UnsubscribedCode::Left));
            }
            Some(Expected::Hello) => self.handle_hello_refused(now, side, refusal),
            Some(Expected::Authenticate) | None => {
                self.events.push_back(Event::Refused { ticket: None, refusal });
            }
        }
    }

    fn handle_subscribe_refused(&mut self, now: Now, side: Side, name: RoomName, refusal: Refusal) {
        let (retry_after_ms, needs_token) = (refusal.retry_after_ms, refusal.needs_token);
        if self.is_read_beside(side, &name) && (needs_token || retry_after_ms.is_some()) {
            return self.fall_back(now, side, &name, retry_after_ms, needs_token);
        }
        if !self.put_off(now, side, &name, retry_after_ms, needs_token) {
            self.events.push_back(Event::NotSubscribed { room: name.clone(), refusal });
            self.list_to_publish(&name);
        }
        self.note_level(&name);
    }

    fn handle_hello_refused(&mut self, now: Now, side: Side, refusal: Refusal) {
        let (code, message) = (refusal.code.code(), refusal.message.into_owned());
        let loss = match refusal.retry_after_ms {
            _ if refusal.needs_token => Loss::Token { code, message },
            Some(ms) => Loss::Broken(Some(ms)),
            None => Loss::Final { code, message },
        };
        self.leave(now, side, loss);
    }

    fn handle_ask_refused(&mut self, now: Now, ticket: super::Ticket, refusal: Refusal) {
        let tries_max = self.options.limits.request_tries_max;
        let seed = &mut self.seed;
        match self.asks.refused(ticket, &refusal, now.mono_us, tries_max, seed) {
            super::asks::Outcome::AgainAt(at_us) => self.wake_at(at_us),
            super::asks::Outcome::Final => {
                self.events.push_back(Event::Refused { ticket: Some(ticket), refusal });
            }
        }
    }

    /// The application may have read on meanwhile.
    fn handle_mark_answered(&mut self, name: &RoomName) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.mark_out = false;
        room.mark_due = room.mark > room.mark_sent;
        if room.mark_due {
            self.lines[self.main].controls.push_back(Control::Mark(name.clone()));
        }
    }

    fn handle_mark_refused(&mut self, now: Now, name: &RoomName, refusal: Refusal) {
        match (refusal.retry_after_ms, self.rooms.get_mut(name)) {
            (Some(ms), Some(room)) => {
                room.mark_out = false;
                let at_us = later(now, backoff::retry_ms(&mut self.seed, ms, 1));
                room.mark_again = Some(at_us);
                self.wake_at(at_us);
            }
            (None, room) => {
                room.into_iter().for_each(|room| room.mark_out = false);
                self.events.push_back(Event::Refused { ticket: None, refusal });
            }
            (Some(_), None) => {}
        }
    }

    /// The next entry of a room; one's own acknowledges a publish.
    fn handle_message(&mut self, side: Side, message: Message) -> Result<(), Broken> {
        let name = message.room.clone();
        let Some(room) = self.rooms.get_mut(&name) else {
            return Err(format!("{name}: entry {} of a room that is not read", message.seq));
        };
        if room.readers[side].leaving > 0 {
            return Ok(());
        }
        let placed = room.handle_message(side, &message);
        let place = placed.map_err(|what| format!("{name}: {what}"))?;
        if place == Place::Inert {
            return Ok(());
        }
        let log = room.held.as_ref().map_or_else(LogId::none, |held| held.log.clone());
        let caught_up = room.poll_caught_up();
        let own = self.user.as_ref() == Some(&message.from.id);
        let own = own.then(|| (message.id.clone(), message.seq, message.at_ms));
        match place {
            Place::Next => self.events.push_back(Event::Message(Box::new(message))),
            Place::Duplicate | Place::Inert => self.counters.duplicates_dropped += 1,
        }
        if let Some((id, seq, at_ms)) = own {
            self.acknowledge(&name, &id, &log, seq, at_ms, false);
        }
        self.events.extend(caught_up.map(|seq| Event::CaughtUp { room: name.clone(), seq }));
        self.note_level(&name);
        Ok(())
    }

    fn handle_end(&mut self, now: Now, side: Side, end: End) {
        let (code, message) = (end.code.code(), end.message.into_owned());
        let loss = match end.code {
            come_back if come_back.come_back() => Loss::Broken(end.retry_after_ms),
            EndCode::TokenExpired | EndCode::TokenInvalid => Loss::Token { code, message },
            _ => Loss::Final { code, message },
        };
        self.leave(now, side, loss);
    }
}
