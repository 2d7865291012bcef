//! Where the slot went, and how those who speak to its rooms learn of it.
//!
//! What the rooms of a lost slot would say last (refusals, ends of watches) is kept back until it is known
//! who owns the slot now. If another node does, each stream is told so once, and nothing is refused: what
//! was not answered here is asked there. If nobody turns up in time, or the slot comes back, the last words
//! are said after all.
//!
//! # Invariants
//! - A stream's books are settled before it is told: what it asks again is not taken for a repetition.
//! - Whatever was settled in silence, its stream is told `Moved` behind it.

use std::collections::BTreeMap;

use cluster::SlotRecord;
use link::FromOwner;
use model::{Epoch, NodeId, Now};

use super::SlotTask;
use super::claim::Want;
use super::place::{No, Scope};
use crate::slots::ToSlot;
use crate::stream::{Peer, StreamNo};

/// Milliseconds that last words wait for the registry to name an owner: what it takes to notice, and to
/// hear of a swap, many times over.
const OWNER_WAIT_MS: u64 = 2_000;
/// Milliseconds in which a stream that watches room after room is not told again where the slot is.
const MOVED_AGAIN_MS: u64 = 500;

/// Who owns the slot instead of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    pub(super) owner: NodeId,
    pub(super) epoch: Epoch,
}

/// What is left to say to streams of a slot that is lost, while nobody knows who owns it.
pub(super) struct Farewell {
    words: Vec<(Peer, FromOwner)>,
    pub(super) due: Now,
}

impl SlotTask {
    /// The living node that owns the slot instead of this one, as far as is known here.
    pub(super) fn elsewhere(&self) -> Option<Elsewhere> {
        let view = self.shared.registry.view();
        let record = view.slot(self.no);
        let given = self.given_to.as_ref();
        // Who was given the slot told us before the registry did.
        let newer = given.filter(|to| record.is_none_or(|record| record.epoch < to.epoch));
        let named = newer.cloned().or_else(|| {
            let SlotRecord { owner, epoch, .. } = record?.clone();
            Some(Elsewhere { owner, epoch })
        })?;
        let lives = view.nodes.contains_key(&named.owner);
        (named.owner != self.shared.config.node && lives).then_some(named)
    }

    /// A word for a slot that another node serves.
    pub(super) fn redirect(&mut self, now: Now, word: ToSlot, to: &Elsewhere) {
        let no = No::Unavailable;
        match word {
            ToSlot::Ask { peer, id, ask } => {
                self.shared.counters.asks_moved.add(1);
                peer.settle(vec![FromOwner::Answer { id, answer: no.answer(Scope::of(&ask)) }]);
                self.tell_moved(now, &peer, to);
            }
            ToSlot::Watch { peer, room, watch } => {
                peer.settle(vec![FromOwner::Fed { room, fed: no.fed(watch) }]);
                let again = |(at, epoch): &(Now, Epoch)| {
                    *epoch == to.epoch && !now.reached(at.plus_ms(MOVED_AGAIN_MS))
                };
                if !self.moved_told.get(&peer.number).is_some_and(again) {
                    self.tell_moved(now, &peer, to);
                }
            }
            ToSlot::Gone { peer } => _ = self.moved_told.remove(&peer),
            // Dropping the reply says no.
            _ => {}
        }
    }

    fn tell_moved(&mut self, now: Now, peer: &Peer, to: &Elsewhere) {
        let Elsewhere { owner, epoch } = to.clone();
        self.moved_told.insert(peer.number, (now, epoch));
        peer.send(FromOwner::Moved { slot: self.no, epoch, owner });
    }

    /// The registry tells something else of the slot, or of its owner.
    pub(super) fn record_changed(&mut self, now: Now) {
        let view = self.shared.registry.view();
        let record = view.slot(self.no);
        if self.shared.is_leaving() {
            self.machine.handle_drain(now);
        }
        self.machine.handle_record(now, record.cloned());
        let known = |to: &Elsewhere| record.is_some_and(|record| record.epoch >= to.epoch);
        if self.given_to.as_ref().is_some_and(known) {
            self.given_to = None;
        }
        self.told_wanted = false;
        self.part(now);
        if !self.owning && !self.waiting.is_empty() {
            self.want_again(now);
        }
    }

    /// Words wait for a slot that nobody served: perhaps somebody does now, perhaps it is this node's turn.
    fn want_again(&mut self, now: Now) {
        match self.want(now) {
            Want::Ours => {}
            Want::Nobodys => self.refuse_waiting(No::Unavailable),
            Want::Theirs(to) => {
                for word in std::mem::take(&mut self.waiting) {
                    self.redirect(now, word, &to);
                }
            }
        }
    }

    /// What is said to streams from here on are last words: they wait.
    pub(super) fn begin_farewell(&mut self) {
        self.parting.get_or_insert_default();
    }

    /// All last words were collected. They wait for an owner to be known.
    pub(super) fn end_farewell(&mut self, now: Now) {
        let Some(words) = self.parting.take() else {
            return;
        };
        let due = now.plus_ms(OWNER_WAIT_MS);
        let farewell = self.farewell.get_or_insert(Farewell { words: Vec::new(), due });
        farewell.words.extend(words);
        self.part(now);
    }

    /// Takes leave of the streams if it is known where they are to go; says the last words if it is too
    /// late for that.
    pub(super) fn part(&mut self, now: Now) {
        let Some(farewell) = &self.farewell else {
            return;
        };
        match self.elsewhere() {
            Some(to) => self.part_for(now, &to),
            None if now.reached(farewell.due) => self.say_farewell(),
            None => {}
        }
    }

    fn part_for(&mut self, now: Now, to: &Elsewhere) {
        let words = self.farewell.take().map(|farewell| farewell.words).unwrap_or_default();
        let mut peers = std::mem::take(&mut self.peers);
        let mut settled: BTreeMap<_, Vec<FromOwner>> = BTreeMap::new();
        for (peer, word) in words {
            settled.entry(peer.number).or_default().push(word);
            peers.entry(peer.number).or_insert(peer);
        }
        tracing::debug!(slot = self.no, owner = %to.owner, epoch = to.epoch, streams = peers.len(), "told where it went");
        for (number, peer) in peers {
            if let Some(frames) = settled.remove(&number) {
                peer.settle(frames);
            }
            self.tell_moved(now, &peer, to);
        }
        for word in std::mem::take(&mut self.waiting) {
            self.redirect(now, word, to);
        }
    }

    /// Says what was kept back.
    pub(super) fn say_farewell(&mut self) {
        let words = self.farewell.take().map(|farewell| farewell.words);
        for (peer, word) in words.into_iter().flatten() {
            peer.send(word);
        }
    }

    /// Says something to a stream; while rooms are dropped, these are last words.
    pub(super) fn say_to(&mut self, stream: StreamNo, word: FromOwner) {
        if let Some(peer) = self.peers.get(&stream) {
            speak(&mut self.parting, peer, word);
        }
    }

    /// The same, to a stream of which no room may have heard.
    pub(super) fn answer_to(&mut self, peer: &Peer, word: FromOwner) {
        speak(&mut self.parting, peer, word);
    }
}

fn speak(parting: &mut Option<Vec<(Peer, FromOwner)>>, peer: &Peer, word: FromOwner) {
    match parting {
        Some(words) => words.push((peer.clone(), word)),
        None => _ = peer.send(word),
    }
}
