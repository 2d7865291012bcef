//! Publishes on their way out and their answers on their way back.

use model::limits;
use model::{ClientFrame, ClientSays, LogId, MessageId, Now, Position, Refusal, RoomName, Seq};

use super::chain::Verdict;
use super::line::Side;
use super::pace::Rate;
use super::room::Stage;
use super::{Client, Control, Event, Expected, NotPublished, Published, Reading, backoff};

/// What rooms may take of a hello: the rest is for the token and for JSON's own signs.
const HELLO_ROOMS_BYTES_MAX: usize = limits::HELLO_BYTES_MAX * 3 / 4;
const _: () =
    assert!(HELLO_ROOMS_BYTES_MAX + 2 * limits::TOKEN_BYTES_MAX < limits::HELLO_BYTES_MAX);

/// Heartbeats of the server during which a publish may stay without an answer: two whole intervals,
/// five times the ten seconds within which a server answers.
const UNANSWERED_HEARTBEATS_MAX: u32 = 3;
/// Milliseconds between two heartbeats that count, at least: those of a server in a hurry would be over
/// before the ten seconds are.
const COUNTED_MS: u64 = 6_000;

const _: () = assert!((UNANSWERED_HEARTBEATS_MAX as u64 - 1) * COUNTED_MS > 10_000);

impl Client {
    /// The next publish, rooms in turn; never more out at a time than the server takes in a burst.
    pub(super) fn next_publish(&mut self) -> Option<ClientFrame> {
        let main = self.main;
        if self.lines[main].publishes_out >= self.lines[main].pace.window() {
            return None;
        }
        while let Some(name) = self.to_publish.front() {
            if !self.rooms.get(name).is_some_and(|room| room.may_publish()) {
                self.unlist();
                continue;
            }
            if !self.admit(main, Rate::Publishes) {
                return None;
            }
            let name = self.unlist()?;
            let r#ref = self.next_ref();
            let room = self.rooms.get_mut(&name)?;
            let Some(publish) = room.chain.send(r#ref, &name, room.known.as_ref()) else {
                continue;
            };
            if let Some(id) = publish.id.clone() {
                self.lines[main].expected.insert(r#ref, Expected::Publish(name.clone(), id));
            }
            self.lines[main].publishes_out += 1;
            self.counters.publishes_sent += 1;
            self.list_to_publish(&name);
            return Some(ClientFrame { r#ref, says: ClientSays::Publish(publish) });
        }
        None
    }

    /// Takes the first room off the list.
    fn unlist(&mut self) -> Option<RoomName> {
        let name = self.to_publish.pop_front()?;
        if let Some(room) = self.rooms.get_mut(&name) {
            room.listed = false;
        }
        Some(name)
    }

    /// Lists the room if it has something to send.
    pub(super) fn list_to_publish(&mut self, name: &RoomName) {
        if !self.is_connected() {
            return;
        }
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if room.may_publish() && !std::mem::replace(&mut room.listed, true) {
            self.to_publish.push_back(name.clone());
        }
    }

    /// A new connection: rooms are asked for by hello, as far as it may grow.
    pub(super) fn greet_rooms(&mut self, side: Side) {
        let mut hello_bytes = 0;
        for (name, room) in &mut self.rooms {
            let Some(wish) = &room.wish else { continue };
            hello_bytes += bytes_in_hello(name, wish);
            let reader = &mut room.readers[side];
            reader.stage = Stage::Asked;
            reader.in_hello = hello_bytes <= HELLO_ROOMS_BYTES_MAX;
            if !reader.in_hello {
                self.lines[side].controls.push_back(Control::Subscribe(name.clone()));
            }
            if let Some(moving) = &mut self.moving {
                moving.note_behind(name);
            }
        }
    }

    /// Another connection to publish over: every publish goes out again.
    pub(super) fn queue_publishes(&mut self) {
        let mut wake_us = None;
        for (name, room) in &mut self.rooms {
            room.chain.needs_token = false;
            wake_us = wake_us.into_iter().chain(room.chain.not_before).min();
            room.listed = room.may_publish();
            if room.listed {
                self.to_publish.push_back(name.clone());
            }
        }
        if let Some(at_us) = wake_us {
            self.wake_at(at_us);
        }
    }

    /// A publish stands in the log: its answer, or its own message, came first.
    #[allow(clippy::too_many_arguments, reason = "the fields of one answer, each of another type")]
    pub(super) fn acknowledge(
        &mut self,
        name: &RoomName,
        id: &MessageId,
        log: &LogId,
        seq: Seq,
        at_ms: u64,
        duplicate: bool,
    ) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if !log.is_none() {
            room.learn(Position { log: log.clone(), seq });
        }
        let Some(item) = room.chain.acknowledge(id, duplicate) else {
            return;
        };
        // The own message came first: its answer is not waited for any more.
        let line = &mut self.lines[self.main];
        if item.out.is_some_and(|r#ref| line.expected.remove(&r#ref).is_some()) {
            line.publishes_out -= 1;
        }
        line.pace.handle_acknowledged();
        self.unacknowledged -= 1;
        self.events.push_back(Event::Published(Published {
            room: name.clone(),
            id: id.clone(),
            log: log.clone(),
            seq,
            at_ms,
            duplicate,
        }));
        self.forget_if_idle(name);
    }

    /// The send of a publish under `ref` was refused.
    pub(super) fn handle_publish_refused(
        &mut self,
        now: Now,
        r#ref: u32,
        name: &RoomName,
        id: &MessageId,
        refusal: Refusal,
    ) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let refusals = room.chain.refusals;
        match room.chain.refuse(r#ref, id, &refusal) {
            Verdict::Stale => {}
            Verdict::Again => {
                self.lines[self.main].pace.handle_refused();
                let retry_after_ms = refusal.retry_after_ms.unwrap_or(0);
                let pause_ms = backoff::retry_ms(&mut self.seed, retry_after_ms, refusals);
                if pause_ms > 0 {
                    let at_us = now.plus_ms(pause_ms).mono_us;
                    room.chain.not_before = Some(at_us);
                    self.wake_at(at_us);
                }
                if refusal.needs_token {
                    self.want_token();
                }
            }
            Verdict::Dropped(item) => {
                self.unacknowledged -= 1;
                self.events.push_back(Event::NotPublished(NotPublished {
                    room: name.clone(),
                    id: id.clone(),
                    refusal: Some(refusal),
                    may_have_been_sent: item.may_have_been_sent(),
                }));
            }
        }
        self.list_to_publish(name);
        self.forget_if_idle(name);
    }

    /// A heartbeat of the server: publishes that it does not answer at all are a broken rule. One that
    /// comes far ahead of its time does not count.
    pub(super) fn check_answers(&mut self, now: Now) -> Result<(), String> {
        let interval_us = self.lines[self.main].heartbeat_ms.saturating_mul(1_000);
        let counted_us = (interval_us / 2).max(COUNTED_MS * 1_000);
        if now.mono_us.saturating_sub(self.checked_us) < counted_us {
            return Ok(());
        }
        self.checked_us = now.mono_us;
        let late = self.rooms.iter_mut().find_map(|(name, room)| {
            let is_late = room.chain.handle_heartbeat() > UNANSWERED_HEARTBEATS_MAX;
            is_late.then_some(name)
        });
        match late {
            Some(name) => Err(format!("{name}: a publish is not answered")),
            None => Ok(()),
        }
    }

    /// A room that is neither read nor written to is forgotten once more are remembered than may be:
    /// until then its position spares the next publish there a search.
    pub(super) fn forget_if_idle(&mut self, name: &RoomName) {
        let full = self.rooms.len() > self.options.limits.rooms_max;
        if full && self.rooms.get(name).is_some_and(|room| room.is_idle()) {
            self.rooms.remove(name);
        }
    }
}

/// At most what a room takes in a hello: its name, a position and names of fields, and presence data
/// that takes up to four times its protobuf bytes as JSON.
fn bytes_in_hello(name: &RoomName, wish: &Reading) -> usize {
    name.as_str().len() + 160 + 4 * wish.presence_data.len()
}
