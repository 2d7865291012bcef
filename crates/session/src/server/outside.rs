//! What befalls a session from outside the protocol: pings of the transport, a client that has said
//! its last word, an attachment that a cut of the link has cost.

use model::{Now, RoomName, Unsubscribed};

use super::{Phase, Session};
use crate::log::Logs;

impl Session {
    /// The transport's ping or pong: a sign of life. `pong` is the answer, whole and framed, or
    /// nothing; it goes out between two frames.
    pub fn handle_ping(&mut self, now: Now, pong: &[u8]) {
        self.timers.heard(now);
        if !pong.is_empty() && !matches!(self.phase, Phase::Ending | Phase::Closed) {
            self.out.get_or_insert_default().append(pong);
        }
    }

    /// Whether something asked for is still to be answered, or something to be written, what a resume
    /// has missed among it: a client that has said all it will say is heard out.
    #[must_use]
    pub fn is_busy(&self, logs: &Logs) -> bool {
        self.phase == Phase::Greeting
            || self.work.is_some()
            || self.out.is_some()
            || self.rooms.ready_count() > 0
            || self.rooms.are_behind(logs)
    }

    /// The owner did not take the session in again after the link was cut.
    pub fn handle_detached(
        &mut self,
        now: Now,
        room: &RoomName,
        why: Unsubscribed,
        logs: &mut Logs,
    ) {
        if let Some(slot) = self.rooms.find(room, logs) {
            self.drop_room(now, slot, 0, why, logs);
        }
    }
}
