//! Words from streams and from the server itself, on their way to rooms.

use cluster::Reply;
use link::FromOwner;
use model::{Ask, Now, RoomInfo, RoomName};
use room::{AskId, Head};
use tokio::sync::oneshot;

use super::claim::Want;
use super::place::{No, OPENING_WORDS_MAX, Place, Scope, Waiting};
use super::{Hold, SlotTask, WAITING_MAX, open};
use crate::slots::{RoomState, ToSlot};
use crate::stream::{Peer, StreamNo};

impl SlotTask {
    /// Takes a word: to its room, or to where words wait.
    pub(super) fn take(&mut self, now: Now, word: ToSlot) {
        match word {
            ToSlot::Fenced { fence } => self.machine.handle_reply(now, Reply::Fenced { fence }),
            ToSlot::Verified(verified) => self.set_verified(now, verified),
            ToSlot::Drain { done } => self.drain(now, done),
            word @ ToSlot::Gone { .. } if self.hold == Hold::Everything => {
                self.waiting.push_back(word);
            }
            ToSlot::Gone { peer } => self.gone(now, peer),
            ToSlot::Trim { room, first, reply } => self.trim(room, first, reply),
            ToSlot::Record => self.record_changed(now),
            ToSlot::Own => self.own(now),
            ToSlot::Give { to, reply } => self.give(to, reply),
            ToSlot::TakeOn { transfer, reply } => self.take_on(now, *transfer, reply),
            ToSlot::Rooms { reply } => _ = reply.send(self.room_states()),
            word if self.draining || !self.verified => self.turn_away(now, word),
            word => self.take_for_room(now, word),
        }
    }

    /// Nobody is served here; perhaps elsewhere.
    fn turn_away(&mut self, now: Now, word: ToSlot) {
        match self.elsewhere() {
            Some(to) if self.machine.serving().is_none() => self.redirect(now, word, &to),
            _ => self.refuse(word, No::Unavailable),
        }
    }

    fn take_for_room(&mut self, now: Now, word: ToSlot) {
        let Some(name) = room_of(&word).cloned() else {
            return;
        };
        if self.holds() {
            return self.hold_back(word);
        }
        if self.machine.serving().is_some() {
            self.open_hinted(now, &name);
        }
        match self.rooms.get_mut(&name) {
            Some(Place::Open(_)) => self.tell(now, &name, word),
            Some(Place::Opening(opening)) if opening.words.len() < OPENING_WORDS_MAX => {
                opening.words.push(Waiting::Word(word));
            }
            Some(Place::Opening(_)) => self.refuse(word, No::Busy),
            None if self.machine.serving().is_none() => self.wait_for_slot(now, word),
            None => {
                let opening = self.open_room(&name);
                opening.words.push(Waiting::Word(word));
            }
        }
    }

    fn wait_for_slot(&mut self, now: Now, word: ToSlot) {
        match self.want(now) {
            Want::Ours => self.hold_back(word),
            Want::Theirs(to) => self.redirect(now, word, &to),
            Want::Nobodys => self.refuse(word, No::Unavailable),
        }
    }

    /// The word waits until the slot is served, or is lost.
    fn hold_back(&mut self, word: ToSlot) {
        if self.waiting.len() >= WAITING_MAX {
            self.refuse(word, No::Busy);
        } else {
            self.waiting.push_back(word);
        }
    }

    /// Tells an open room.
    pub(super) fn tell(&mut self, now: Now, name: &RoomName, word: ToSlot) {
        let Some(open) = open(&mut self.rooms, name) else {
            return;
        };
        match word {
            ToSlot::Watch { peer, watch, .. } => {
                open.room.handle_watch(now, room::Peer(peer.number), watch);
                self.peers.entry(peer.number).or_insert(peer);
            }
            ToSlot::Unwatch { peer, watch, .. } => {
                open.room.handle_unwatch(now, room::Peer(peer), watch);
            }
            ToSlot::Ask { peer, id, ask } => {
                self.shared.counters.asks.add(1);
                open.room.handle_ask(now, room::Peer(peer.number), AskId(id), ask);
                self.peers.entry(peer.number).or_insert(peer);
            }
            ToSlot::Gone { peer } => open.room.handle_peer_lost(now, room::Peer(peer)),
            ToSlot::Info { reply, .. } => {
                let Head { log, first, head, ordinal, .. } = open.room.head().clone();
                let _ = reply.send(RoomInfo { log, first, head, ordinal });
                return;
            }
            _ => {}
        }
        self.touch(name);
    }

    /// A stream has ended; what it said before comes before.
    fn gone(&mut self, now: Now, peer: StreamNo) {
        let names: Vec<RoomName> = self.rooms.keys().cloned().collect();
        for name in names {
            match self.rooms.get_mut(&name) {
                Some(Place::Opening(opening)) => {
                    opening.words.push(Waiting::Word(ToSlot::Gone { peer }));
                }
                _ => self.tell(now, &name, ToSlot::Gone { peer }),
            }
        }
        self.moved_told.remove(&peer);
        if self.waiting.is_empty() {
            self.peers.remove(&peer);
        } else {
            self.waiting.push_back(ToSlot::Gone { peer });
        }
    }

    /// Readers are detached when nobody can tell any more who owns the slot: an owner that was
    /// superseded would show them an old log for as long as nobody publishes.
    fn set_verified(&mut self, now: Now, verified: bool) {
        self.verified = verified;
        if verified {
            self.collect(now);
        } else {
            self.forget_rooms(now, No::Unavailable);
        }
    }

    /// What operators are told.
    fn room_states(&self) -> Vec<RoomState> {
        let state = |(name, place): (&RoomName, &Place)| match place {
            Place::Open(open) => Some(RoomState {
                room: name.clone(),
                slot: self.no,
                head: open.room.head().head,
                ordinal: open.room.head().ordinal,
                present: open.room.present(),
                edges: open.room.watchers(),
            }),
            Place::Opening(_) => None,
        };
        self.rooms.iter().filter_map(state).collect()
    }

    fn drain(&mut self, now: Now, done: oneshot::Sender<()>) {
        self.draining = true;
        self.drained.push(done);
        self.refuse_waiting(No::Unavailable);
        // Marks are written when their time has come: for them it has.
        let later = now.plus_ms(self.shared.config.limits.marks_interval_ms);
        let names: Vec<RoomName> = self.rooms.keys().cloned().collect();
        for name in names {
            if let Some(open) = open(&mut self.rooms, &name) {
                open.room.handle_timeout(later);
                self.touch(&name);
            }
        }
    }

    /// Answers a drain once nothing is left to append.
    pub(super) fn finish_drain(&mut self) {
        let is_quiet = self.appending.is_none() && self.ready.is_empty() && self.work.is_empty();
        if self.draining && is_quiet {
            self.drained.drain(..).for_each(|done| _ = done.send(()));
        }
    }

    pub(super) fn refuse_waiting(&mut self, no: No) {
        for word in std::mem::take(&mut self.waiting) {
            if let ToSlot::Gone { peer } = word {
                self.peers.remove(&peer);
            }
            self.refuse(word, no);
        }
    }

    /// Says no to a word that no room will see.
    pub(super) fn refuse(&mut self, word: ToSlot, no: No) {
        match word {
            ToSlot::Watch { peer, room, watch } => {
                self.answer_to(&peer, FromOwner::Fed { room, fed: no.fed(watch) });
            }
            ToSlot::Ask { peer, id, ask } => self.refuse_ask(&peer, id, &ask, no),
            // Dropping the reply says no.
            _ => {}
        }
    }

    fn refuse_ask(&mut self, peer: &Peer, id: u64, ask: &Ask, no: No) {
        if self.parting.is_none() {
            self.shared.counters.asks_refused.add(1);
        }
        self.answer_to(peer, FromOwner::Answer { id, answer: no.answer(Scope::of(ask)) });
    }
}

fn room_of(word: &ToSlot) -> Option<&RoomName> {
    match word {
        ToSlot::Watch { room, .. }
        | ToSlot::Unwatch { room, .. }
        | ToSlot::Info { room, .. }
        | ToSlot::Trim { room, .. } => Some(room),
        ToSlot::Ask { ask, .. } => Some(&ask.room),
        _ => None,
    }
}
