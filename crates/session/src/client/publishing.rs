//! Publishes on their way out and their answers on their way back.

use model::{ClientFrame, ClientSays, LogId, MessageId, Now, Position, Refusal, RoomName, Seq};

use super::chain::Verdict;
use super::{Client, Event, Expected, NotPublished, Published, backoff};

impl Client {
    /// The next publish, rooms in turn; never more out at a time than the server takes in a burst.
    pub(super) fn next_publish(&mut self) -> Option<ClientFrame> {
        if self.publishes_out >= self.options.limits.publishes_out_max {
            return None;
        }
        while let Some(name) = self.to_publish.pop_front() {
            let r#ref = self.next_ref();
            let Some(room) = self.rooms.get_mut(&name) else { continue };
            room.listed = false;
            if !room.may_publish() {
                continue;
            }
            let Some(publish) = room.chain.send(r#ref, &name, room.known.as_ref()) else { continue };
            if let Some(id) = publish.id.clone() {
                self.expected.insert(r#ref, Expected::Publish(name.clone(), id));
            }
            self.publishes_out += 1;
            self.counters.publishes_sent += 1;
            self.list_to_publish(&name);
            return Some(ClientFrame { r#ref, says: ClientSays::Publish(publish) });
        }
        None
    }

    /// Lists the room if it has something to send.
    pub(super) fn list_to_publish(&mut self, name: &RoomName) {
        if !self.is_connected() {
            return;
        }
        let Some(room) = self.rooms.get_mut(name) else { return };
        if room.may_publish() && !std::mem::replace(&mut room.listed, true) {
            self.to_publish.push_back(name.clone());
        }
    }

    /// A new connection: every room is asked for by hello, and every publish goes out again.
    pub(super) fn greet_rooms(&mut self) {
        let mut wake_us = None;
        for (name, room) in &mut self.rooms {
            if room.wish.is_some() {
                room.stage = super::room::Stage::Asked;
            }
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
        let Some(room) = self.rooms.get_mut(name) else { return };
        if !log.is_none() {
            room.learn(Position { log: log.clone(), seq });
        }
        if !room.chain.acknowledge(id) {
            return;
        }
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
        let Some(room) = self.rooms.get_mut(name) else { return };
        let refusals = room.chain.refusals;
        match room.chain.refuse(r#ref, id, &refusal) {
            Verdict::Stale => {}
            Verdict::Again => {
                let retry_after_ms = refusal.retry_after_ms.unwrap_or(0);
                let pause_ms = backoff::retry_ms(&mut self.seed, retry_after_ms, refusals);
                if pause_ms > 0 {
                    let at_us = now.plus_ms(pause_ms).mono_us;
                    room.chain.not_before = Some(at_us);
                    self.wake_at(at_us);
                }
                if refusal.needs_token {
                    self.events.push_back(Event::NeedToken);
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

    /// A room that is neither read nor written to is forgotten once more are remembered than may be:
    /// until then its position spares the next publish there a search.
    pub(super) fn forget_if_idle(&mut self, name: &RoomName) {
        let full = self.rooms.len() > self.options.limits.rooms_max;
        if full && self.rooms.get(name).is_some_and(super::room::Room::is_idle) {
            self.rooms.remove(name);
        }
    }
}
