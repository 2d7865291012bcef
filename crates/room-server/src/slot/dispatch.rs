//! Words from streams and from the server itself, on their way to rooms.

use cluster::Reply;
use link::FromOwner;
use model::{Ask, Now, RoomName};
use room::AskId;
use tokio::sync::oneshot;

use super::place::{No, OPENING_WORDS_MAX, OpenRoom, Place, Scope, Waiting};
use super::{SlotTask, WAITING_MAX, open};
use crate::slots::ToSlot;
use crate::stream::{Peer, StreamNo};

impl SlotTask {
    /// Takes a word: to its room, or to where words wait.
    pub(super) fn take(&mut self, now: Now, word: ToSlot) {
        match word {
            ToSlot::Fenced { fence } => self.machine.handle_reply(now, Reply::Fenced { fence }),
            ToSlot::Verified(verified) => self.set_verified(now, verified),
            ToSlot::Drain { done } => self.drain(now, done),
            ToSlot::Gone { peer } => self.gone(now, peer),
            ToSlot::Trim { room, first, reply } => self.trim(room, first, reply),
            word if self.draining => self.refuse(word, No::Unavailable),
            word => self.take_for_room(now, word),
        }
    }

    fn take_for_room(&mut self, now: Now, word: ToSlot) {
        let Some(name) = room_of(&word).cloned() else { return };
        match self.rooms.get_mut(&name) {
            Some(Place::Open(_)) => self.tell(now, &name, word),
            Some(Place::Opening(opening)) if opening.words.len() < OPENING_WORDS_MAX => {
                opening.words.push(Waiting::Word(word));
            }
            Some(Place::Opening(_)) => self.refuse(word, No::Busy),
            None if self.machine.serving().is_some() => {
                let opening = self.open_room(&name);
                opening.words.push(Waiting::Word(word));
            }
            None => self.wait_for_slot(now, word),
        }
    }

    fn wait_for_slot(&mut self, now: Now, word: ToSlot) {
        if self.waiting.len() >= WAITING_MAX {
            self.refuse(word, No::Busy);
        } else if self.want(now) {
            self.waiting.push_back(word);
        } else {
            self.refuse(word, No::Unavailable);
        }
    }

    /// Tells an open room.
    pub(super) fn tell(&mut self, now: Now, name: &RoomName, word: ToSlot) {
        let Some(open) = open(&mut self.rooms, name) else { return };
        open.used_at = now;
        match word {
            ToSlot::Watch { peer, watch, .. } => {
                if !self.verified {
                    let fed = No::Unavailable.fed(watch);
                    peer.send(FromOwner::Fed { room: name.clone(), fed });
                    return;
                }
                open.watches.insert(peer.number, watch);
                open.room.handle_watch(now, room::Peer(peer.number), watch);
                self.peers.insert(peer.number, peer);
            }
            ToSlot::Unwatch { peer, watch, .. } => {
                if open.watches.get(&peer) == Some(&watch) {
                    open.watches.remove(&peer);
                }
                open.room.handle_unwatch(now, room::Peer(peer), watch);
            }
            ToSlot::Ask { peer, id, ask } => {
                self.shared.counters.asks.add(1);
                open.unanswered.insert((peer.number, id), Scope::of(&ask));
                let number = peer.number;
                self.peers.entry(number).or_insert(peer);
                open.room.handle_ask(now, room::Peer(number), AskId(id), ask);
            }
            ToSlot::Gone { peer } => {
                lose(now, open, peer);
            }
            ToSlot::Info { reply, .. } => {
                let _ = reply.send(open.room.info());
                return;
            }
            ToSlot::Trim { .. }
            | ToSlot::Fenced { .. }
            | ToSlot::Verified(_)
            | ToSlot::Drain { .. } => {}
        }
        self.touch(name);
    }

    /// A stream has ended; what it said before comes before.
    fn gone(&mut self, now: Now, peer: StreamNo) {
        self.peers.remove(&peer);
        let mut lost = Vec::new();
        for (name, place) in &mut self.rooms {
            match place {
                Place::Open(open) => {
                    lose(now, open, peer);
                    lost.push(name.clone());
                }
                Place::Opening(opening) => {
                    opening.words.push(Waiting::Word(ToSlot::Gone { peer }));
                }
            }
        }
        lost.iter().for_each(|name| self.touch(name));
        if !self.waiting.is_empty() {
            self.waiting.push_back(ToSlot::Gone { peer });
        }
    }

    /// Readers are detached when nobody can tell any more who owns the slot.
    fn set_verified(&mut self, now: Now, verified: bool) {
        self.verified = verified;
        if verified {
            return;
        }
        let mut detached = Vec::new();
        for (name, place) in &mut self.rooms {
            let Place::Open(open) = place else { continue };
            for (peer, watch) in std::mem::take(&mut open.watches) {
                open.room.handle_unwatch(now, room::Peer(peer), watch);
                if let Some(peer) = self.peers.get(&peer) {
                    let fed = No::Unavailable.fed(watch);
                    peer.send(FromOwner::Fed { room: name.clone(), fed });
                }
            }
            detached.push(name.clone());
        }
        detached.iter().for_each(|name| self.touch(name));
    }

    fn drain(&mut self, now: Now, done: oneshot::Sender<()>) {
        self.draining = true;
        self.drained.push(done);
        self.refuse_waiting(No::Unavailable);
        let names: Vec<RoomName> = self.rooms.keys().cloned().collect();
        for name in names {
            if let Some(open) = open(&mut self.rooms, &name) {
                open.room.handle_drain(now);
                self.touch(&name);
            }
        }
    }

    /// Answers a drain once nothing is left to append.
    pub(super) fn finish_drain(&mut self) {
        let is_quiet = self.appending.is_none() && self.ready.is_empty();
        if self.draining && is_quiet {
            self.drained.drain(..).for_each(|done| _ = done.send(()));
        }
    }

    pub(super) fn refuse_waiting(&mut self, no: No) {
        for word in std::mem::take(&mut self.waiting) {
            self.refuse(word, no);
        }
    }

    /// Says no to a word that no room will see.
    pub(super) fn refuse(&self, word: ToSlot, no: No) {
        match word {
            ToSlot::Watch { peer, room, watch } => {
                peer.send(FromOwner::Fed { room, fed: no.fed(watch) });
            }
            ToSlot::Ask { peer, id, ask } => self.refuse_ask(&peer, id, &ask, no),
            // Dropping the reply says no.
            _ => {}
        }
    }

    fn refuse_ask(&self, peer: &Peer, id: u64, ask: &Ask, no: No) {
        self.shared.counters.asks_refused.add(1);
        peer.send(FromOwner::Answer { id, answer: no.answer(Scope::of(ask)) });
    }

    /// Says no to everybody who waits for a room, or watches it.
    pub(super) fn say_no(&self, open: &OpenRoom, name: &RoomName, no: No) {
        for ((peer, id), scope) in &open.unanswered {
            if let Some(peer) = self.peers.get(peer) {
                peer.send(FromOwner::Answer { id: *id, answer: no.answer(*scope) });
            }
        }
        for (peer, watch) in &open.watches {
            if let Some(peer) = self.peers.get(peer) {
                peer.send(FromOwner::Fed { room: name.clone(), fed: no.fed(*watch) });
            }
        }
    }
}

fn lose(now: Now, open: &mut OpenRoom, peer: StreamNo) {
    open.watches.remove(&peer);
    open.unanswered.retain(|(asker, _), _| *asker != peer);
    open.room.handle_peer_lost(now, room::Peer(peer));
}

fn room_of(word: &ToSlot) -> Option<&RoomName> {
    match word {
        ToSlot::Watch { room, .. }
        | ToSlot::Unwatch { room, .. }
        | ToSlot::Info { room, .. }
        | ToSlot::Trim { room, .. } => Some(room),
        ToSlot::Ask { ask, .. } => Some(&ask.room),
        ToSlot::Gone { .. }
        | ToSlot::Fenced { .. }
        | ToSlot::Verified(_)
        | ToSlot::Drain { .. } => None,
    }
}
