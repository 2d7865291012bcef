//! What the server says. This file branches; what a frame means for one room, one chain or one
//! request is decided there.

use model::{
    End, EndCode, FromServer, LogId, Message, MoveTo, Now, Refusal, RoomName, Roster, Says,
    ServerFrame, Subscription, Unsubscribed, UnsubscribedCode, Welcome,
};

use super::connection::{Phase, later};
use super::room::{Place, Room, Stage};
use super::{Action, Client, Control, Event, Expected, Reading, backoff};

/// A rule that the server broke, as a sentence.
type Broken = String;

impl Client {
    /// A frame came.
    pub fn handle_frame(&mut self, now: Now, frame: FromServer) {
        if !self.is_connected() {
            return;
        }
        (self.now_us, self.heard_us) = (now.mono_us, now.mono_us);
        let outcome = match frame {
            FromServer::Says(frame) => self.handle_says(now, frame),
            FromServer::Message(message) => self.handle_message(message),
            FromServer::Unknown => Ok(()),
        };
        if let Err(what) = outcome {
            self.violated(now, what);
        }
    }

    fn handle_says(&mut self, now: Now, frame: ServerFrame) -> Result<(), Broken> {
        let answers = self.expected.remove(&frame.r#ref);
        if let Some(Expected::Publish(..)) = &answers {
            self.publishes_out -= 1;
        }
        match frame.says {
            Says::Welcome(welcome) => return self.handle_welcome(now, welcome),
            Says::Authenticated { expires_at_ms } => self.handle_authenticated(now, expires_at_ms),
            Says::Subscribed { room, subscription, presence } => {
                return self.handle_subscribed(room, subscription, presence);
            }
            Says::Unsubscribed { room, why } => self.handle_unsubscribed(now, answers, &room, why),
            Says::Published { room, log, seq, at_ms, duplicate } => {
                if let Some(Expected::Publish(_, id)) = answers {
                    self.acknowledge(&room, &id, &log, seq, at_ms, duplicate);
                }
            }
            Says::Refused(refusal) => self.handle_refused(now, frame.r#ref, answers, refusal),
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
            Says::Truncated { room, first } => {
                if let Some(known) = self.listened_room(&room) {
                    known.handle_truncated(first)?;
                    let caught_up = known.poll_caught_up();
                    self.events.push_back(Event::Truncated { room: room.clone(), first });
                    let told = caught_up.map(|seq| Event::CaughtUp { room, seq });
                    self.events.extend(told);
                }
            }
            Says::Marked { room, seq, unread } => {
                if let Some(Expected::Mark(name)) = answers {
                    self.handle_mark_answered(&name);
                }
                self.events.push_back(Event::Marked { room, seq, unread });
            }
            Says::Heartbeat => {
                self.heartbeat_due = true;
                return self.check_answers(now);
            }
            Says::Move(to) => self.handle_move(now, to),
            Says::End(end) => self.handle_end(now, end),
            beside => self.handle_beside(beside),
        }
        Ok(())
    }

    /// What travels beside the log.
    fn handle_beside(&mut self, says: Says) {
        let event = match says {
            Says::Summary { room, summary } => {
                let Some(known) = self.listened_room(&room) else {
                    return;
                };
                known.stage = Stage::Live;
                known.learn(model::Position { log: summary.log.clone(), seq: summary.head });
                Event::Summary { room, summary }
            }
            Says::Presence(frame) => {
                let known = self.listened_room(&frame.room);
                if !known.is_some_and(|room| room.handle_presence(&frame)) {
                    return;
                }
                Event::Presence(frame)
            }
            Says::Signal { room, from, kind, data } if self.listened_room(&room).is_some() => {
                Event::Signal { room, from, kind, data }
            }
            Says::Rights { room, rights } if self.listened_room(&room).is_some() => {
                Event::Rights { room, rights }
            }
            _ => return,
        };
        self.events.push_back(event);
    }

    /// The room, unless its frames are of a reading that was given up.
    fn listened_room(&mut self, name: &RoomName) -> Option<&mut Room> {
        self.rooms.get_mut(name).map(Box::as_mut).filter(|room| room.leaving == 0)
    }

    fn answered(&mut self, answers: Option<Expected>) -> Option<super::Ticket> {
        match answers {
            Some(Expected::Ask(ticket)) if self.asks.answered(ticket) => Some(ticket),
            _ => None,
        }
    }

    fn handle_welcome(&mut self, now: Now, welcome: Box<Welcome>) -> Result<(), Broken> {
        if !matches!(self.phase, Phase::Greeting { .. }) {
            return Err("a second welcome".to_owned());
        }
        self.phase = Phase::Up { since_us: now.mono_us };
        self.counters.welcomes += 1;
        self.user = Some(welcome.user.id.clone());
        self.resume_token = Some(welcome.resume_token.clone());
        self.heartbeat_ms = welcome.heartbeat_ms;
        self.pace.handle_limits(&welcome.limits);
        self.renew_before(now, welcome.token_expires_at_ms);
        self.events.push_back(Event::Connected(welcome));
        Ok(())
    }

    fn handle_authenticated(&mut self, now: Now, expires_at_ms: Option<u64>) {
        self.renew_before(now, expires_at_ms);
        self.events.push_back(Event::Authenticated { expires_at_ms });
        for (name, room) in &mut self.rooms {
            if room.stage == Stage::NeedsToken {
                room.stage = Stage::Asked;
                self.controls.push_back(Control::Subscribe(name.clone()));
            }
            room.chain.needs_token = false;
            if room.may_publish() && !std::mem::replace(&mut room.listed, true) {
                self.to_publish.push_back(name.clone());
            }
        }
    }

    fn renew_before(&mut self, now: Now, expires_at_ms: Option<u64>) {
        let expires_at_ms = expires_at_ms.filter(|_| self.options.renews_token);
        self.renew_us = expires_at_ms.map(|at_ms| {
            let left_ms = at_ms.saturating_sub(now.wall_ms);
            later(now, left_ms.saturating_sub(self.options.limits.renew_before_ms))
        });
    }

    fn handle_subscribed(
        &mut self,
        name: RoomName,
        subscription: Box<Subscription>,
        presence: Option<(u64, Roster)>,
    ) -> Result<(), Broken> {
        if self.rooms.get(&name).is_some_and(|room| room.leaving > 0) {
            return Ok(());
        }
        let read = self.rooms.values().filter(|room| room.wish.is_some()).count();
        let room = self.rooms.entry(name.clone()).or_default();
        if room.wish.is_none() {
            // A service subscribed this user.
            if read >= self.options.limits.rooms_max {
                room.leaving += 1;
                self.controls.push_back(Control::Unsubscribe(name));
                return Ok(());
            }
            room.wish = Some(Reading::default());
        }
        let (version, roster) = presence.unzip();
        room.handle_subscribed(&subscription, version).map_err(|what| format!("{name}: {what}"))?;
        if subscription.mark.seq < room.mark && !std::mem::replace(&mut room.mark_due, true) {
            self.controls.push_back(Control::Mark(name.clone()));
        }
        let caught_up = room.poll_caught_up();
        let room = name.clone();
        self.events.push_back(Event::Subscribed { room, subscription, presence: roster });
        let told = caught_up.map(|seq| Event::CaughtUp { room: name.clone(), seq });
        self.events.extend(told);
        self.list_to_publish(&name);
        Ok(())
    }

    fn handle_unsubscribed(
        &mut self,
        now: Now,
        answers: Option<Expected>,
        name: &str,
        why: Unsubscribed,
    ) {
        if let Some(Expected::Unsubscribe(name)) = answers {
            return self.handle_left(name, why);
        }
        let Ok(name) = RoomName::new(name) else {
            return;
        };
        if self.rooms.get(&name).is_none_or(|room| room.wish.is_none() || room.leaving > 0) {
            return;
        }
        let again = self.put_off(now, &name, why.retry_after_ms, why.needs_token);
        self.events.push_back(Event::Unsubscribed { room: name.clone(), why, again });
        self.list_to_publish(&name);
        self.forget_if_idle(&name);
    }

    /// The application's own unsubscribe was answered.
    fn handle_left(&mut self, name: RoomName, why: Unsubscribed) {
        let Some(room) = self.rooms.get_mut(&name) else {
            return;
        };
        room.leaving = room.leaving.saturating_sub(1);
        let again = room.wish.is_some();
        self.events.push_back(Event::Unsubscribed { room: name.clone(), why, again });
        self.forget_if_idle(&name);
    }

    /// A reading has ended or did not begin: later, with a fresh token, or never. Answers whether the
    /// room will be asked for again.
    fn put_off(
        &mut self,
        now: Now,
        name: &RoomName,
        retry_after_ms: Option<u64>,
        needs_token: bool,
    ) -> bool {
        let Some(room) = self.rooms.get_mut(name) else {
            return false;
        };
        match retry_after_ms {
            _ if needs_token => {
                room.stage = Stage::NeedsToken;
                self.want_token();
                true
            }
            Some(ms) => {
                let at_us = later(now, backoff::retry_ms(&mut self.seed, ms, room.ends));
                room.ends = room.ends.saturating_add(1);
                room.stage = Stage::Again(at_us);
                self.wake_at(at_us);
                true
            }
            None => {
                room.stage = Stage::Off;
                room.wish = None;
                room.held = None;
                false
            }
        }
    }

    fn handle_refused(
        &mut self,
        now: Now,
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
                let again = self.put_off(now, &name, refusal.retry_after_ms, refusal.needs_token);
                if !again {
                    let event = Event::NotSubscribed { room: name.clone(), refusal };
                    self.events.push_back(event);
                    self.list_to_publish(&name);
                }
            }
            Some(Expected::Unsubscribe(name)) => {
                self.handle_left(name, Unsubscribed::new(UnsubscribedCode::Left));
            }
            Some(Expected::Hello) => self.handle_hello_refused(now, refusal),
            Some(Expected::Authenticate) | None => {
                self.events.push_back(Event::Refused { ticket: None, refusal });
            }
        }
    }

    fn handle_hello_refused(&mut self, now: Now, refusal: Refusal) {
        if refusal.needs_token {
            self.await_token(now, refusal.code.code(), refusal.message.into_owned());
        } else if refusal.is_retryable() {
            self.hang_up(now, refusal.retry_after_ms);
        } else {
            self.actions.push_back(Action::Close);
            self.end(refusal.code.code(), refusal.message.into_owned());
        }
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
            self.controls.push_back(Control::Mark(name.clone()));
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
    fn handle_message(&mut self, message: Message) -> Result<(), Broken> {
        let name = message.room.clone();
        let Some(room) = self.rooms.get_mut(&name) else {
            return Err(format!("{name}: entry {} of a room that is not read", message.seq));
        };
        if room.leaving > 0 {
            return Ok(());
        }
        let place = room.handle_message(&message).map_err(|what| format!("{name}: {what}"))?;
        let log = room.held.as_ref().map_or_else(LogId::none, |held| held.log.clone());
        let caught_up = room.poll_caught_up();
        let own = self.user.as_ref() == Some(&message.from.id);
        let own = own.then(|| (message.id.clone(), message.seq, message.at_ms));
        match place {
            Place::Next => self.events.push_back(Event::Message(Box::new(message))),
            Place::Duplicate => self.counters.duplicates_dropped += 1,
        }
        if let Some((id, seq, at_ms)) = own {
            self.acknowledge(&name, &id, &log, seq, at_ms, false);
        }
        self.events.extend(caught_up.map(|seq| Event::CaughtUp { room: name, seq }));
        Ok(())
    }

    /// Goes where it is sent. One socket at a time: this one closes before the other opens, and
    /// whatever was on its way is sent again there.
    fn handle_move(&mut self, now: Now, to: MoveTo) {
        self.counters.moves += 1;
        self.resume_token = Some(to.resume_token);
        self.moved_to = to.url;
        self.hang_up(now, Some(0));
    }

    fn handle_end(&mut self, now: Now, end: End) {
        let message = end.message.into_owned();
        match end.code {
            code if code.come_back() => self.hang_up(now, end.retry_after_ms),
            EndCode::TokenExpired | EndCode::TokenInvalid => {
                self.await_token(now, end.code.code(), message);
            }
            code => {
                self.actions.push_back(Action::Close);
                self.end(code.code(), message);
            }
        }
    }
}
