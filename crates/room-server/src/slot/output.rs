//! What rooms want done: answers and news to streams, reads, fresh claims.

use std::sync::Arc;

use cluster::Order;
use link::FromOwner;
use model::{Now, RoomName};
use room::{Output, Read, ReadFailed, Ticket};

use super::place::Reclaim;
use super::{Done, SlotTask, open, read};

impl SlotTask {
    /// Takes a room's output, and asks it for an append when one can be made.
    pub(super) fn take_outputs(&mut self, now: Now, name: &RoomName) {
        self.drain_outputs(now, name);
        if let Some(open) = open(&mut self.rooms, name)
            && !std::mem::replace(&mut open.ready, true)
        {
            self.ready.push_back(name.clone());
        }
    }

    /// Takes a room's output until it has none, and arms its timer.
    pub(super) fn drain_outputs(&mut self, now: Now, name: &RoomName) {
        while let Some(open) = open(&mut self.rooms, name) {
            open.dirty = false;
            match open.room.poll_output() {
                Some(output) => self.output(now, name, output),
                None => break,
            }
        }
        let Some(open) = open(&mut self.rooms, name) else {
            return;
        };
        let due = open.room.poll_timeout().map(|at| at.mono_us);
        if open.armed != due {
            if let Some(armed) = std::mem::replace(&mut open.armed, due) {
                self.timers.remove(&(armed, name.clone()));
            }
            if let Some(due) = due {
                self.timers.insert((due, name.clone()));
            }
        }
    }

    fn output(&mut self, now: Now, name: &RoomName, output: Output) {
        match output {
            Output::Read { ticket, read } => self.read(name, ticket, read),
            Output::Reclaim { after } => {
                let reclaim = Reclaim { after, claims: self.claims };
                if let Some(open) = open(&mut self.rooms, name) {
                    open.reclaim = Some(reclaim);
                }
                self.machine.handle_order(now, Order::Reclaim);
            }
            output => self.say(name, output),
        }
    }

    /// Passes on what a room says; all that is left of the output of a room that was dropped.
    pub(super) fn say(&mut self, name: &RoomName, output: Output) {
        match output {
            Output::Answer { peer, id, answer } => {
                self.say_to(peer.0, FromOwner::Answer { id: id.0, answer });
            }
            Output::Feed { peer, fed } => {
                self.say_to(peer.0, FromOwner::Fed { room: name.clone(), fed });
            }
            Output::Damaged(why) => self.damaged(name, &why),
            Output::Read { .. } | Output::Reclaim { .. } => {}
        }
    }

    fn read(&mut self, name: &RoomName, ticket: Ticket, read: Read) {
        let Some(open) = open(&mut self.rooms, name) else {
            return;
        };
        let opened = open.opened;
        self.shared.counters.reads.add(1);
        let (shared, room) = (Arc::clone(&self.shared), name.clone());
        self.spawn(async move {
            let result = match shared.reads.acquire().await {
                Ok(_permit) => read::read(&*shared.journal, &room, read).await,
                Err(_) => Err(ReadFailed::Unavailable("the server is stopping".into())),
            };
            Done::Read { room, opened, ticket, result }
        });
    }

    /// An operator has to look at it; the room itself tells its readers.
    pub(super) fn damaged(&mut self, name: &RoomName, why: &str) {
        self.shared.counters.rooms_damaged.add(1);
        tracing::error!(room = %name, why, "a room is damaged and has stopped");
    }
}
