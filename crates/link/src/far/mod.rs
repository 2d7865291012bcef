//! The owner's half of a link: [`Far`], what one stream of one edge may ask.
//!
//! It checks the order of frames and keeps the stream's watches and unanswered asks, so that what comes
//! too late for either is not sent. What an ask means is the room's to know.

use std::collections::BTreeMap;

use model::{Answer, Ask, Fed, NodeId, Refusal, RefusalCode, RoomName};

use crate::{FromOwner, ToOwner};

#[cfg(test)]
mod tests;

/// Asks of one stream that may be unanswered: as many as a lane sends, and attachments told again. An
/// edge that keeps more has lost count.
pub const STREAM_ASKS_MAX: usize = 4 * crate::OUTBOX_ASKS_MAX;
/// Rooms that one stream may watch: those that a large node owns.
pub const STREAM_WATCHES_MAX: usize = 1_000_000;

/// What a stream's task shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "most are asks; each is moved once")]
pub enum FarOp {
    /// The edge said who it is.
    Opened {
        /// The edge.
        edge: NodeId,
        /// The lane.
        lane: u32,
    },
    /// Feed this room to the stream; replaces an older generation.
    Watch {
        /// The room.
        room: RoomName,
        /// The generation.
        watch: u64,
    },
    /// Stop feeding it.
    Unwatch {
        /// The room.
        room: RoomName,
        /// The generation that ends.
        watch: u64,
    },
    /// Ask the room.
    Ask {
        /// To be named in the answer.
        id: u64,
        /// What.
        ask: Ask,
    },
    /// Send this at once.
    Send(FromOwner),
    /// End the stream: the edge does not keep to the protocol.
    Close(&'static str),
}

/// The owner's half of one stream. Owned by the stream's task.
///
/// [`Far::handle_frame`] for what comes in; [`Far::handle_answer`] and [`Far::handle_fed`] for what goes
/// out, which say whether it still may.
#[derive(Debug, Default)]
pub struct Far {
    edge: Option<NodeId>,
    watches: BTreeMap<RoomName, u64>,
    watch_last: u64,
    asks: BTreeMap<u64, RoomName>,
}

impl Far {
    /// A stream of which nothing is known.
    #[must_use]
    pub fn new() -> Far {
        Far::default()
    }

    /// What a frame asks for.
    pub fn handle_frame(&mut self, frame: ToOwner) -> FarOp {
        match (self.edge.is_some(), frame) {
            (false, ToOwner::Open { edge, lane }) => {
                self.edge = Some(edge.clone());
                FarOp::Opened { edge, lane }
            }
            (false, _) => FarOp::Close("the first frame must be open"),
            (true, ToOwner::Open { .. }) => FarOp::Close("open came twice"),
            (true, ToOwner::Heartbeat) => FarOp::Send(FromOwner::Heartbeat),
            (true, ToOwner::Watch { room, watch }) => self.watch(room, watch),
            (true, ToOwner::Unwatch { room, watch }) => {
                if self.watches.get(&room) == Some(&watch) {
                    self.watches.remove(&room);
                }
                FarOp::Unwatch { room, watch }
            }
            (true, ToOwner::Ask { id, ask }) => self.ask(id, ask),
        }
    }

    /// A room answered; `None` if nobody waits for it.
    pub fn handle_answer(&mut self, id: u64, answer: Answer) -> Option<FromOwner> {
        self.asks.remove(&id).map(|_| FromOwner::Answer { id, answer })
    }

    /// A room has news; `None` if its watch is over.
    pub fn handle_fed(&mut self, room: RoomName, watch: u64, fed: Fed) -> Option<FromOwner> {
        if self.watches.get(&room) != Some(&watch) {
            return None;
        }
        if matches!(fed, Fed::Unwatched { .. }) {
            self.watches.remove(&room);
        }
        Some(FromOwner::Fed { room, fed })
    }

    /// The rooms for which `is_moved` holds are another owner's, and the edge is told so: whatever it
    /// watched or asked of them here is over.
    pub fn handle_moved(&mut self, is_moved: impl Fn(&RoomName) -> bool) {
        self.watches.retain(|room, _| !is_moved(room));
        self.asks.retain(|_, room| !is_moved(room));
    }

    /// The edge, once it has said who it is.
    #[must_use]
    pub fn edge(&self) -> Option<&NodeId> {
        self.edge.as_ref()
    }

    /// Asks that were not answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.asks.len()
    }

    fn watch(&mut self, room: RoomName, watch: u64) -> FarOp {
        if watch <= self.watch_last {
            return FarOp::Close("a watch's generation must be greater than all before");
        }
        if self.watches.len() >= STREAM_WATCHES_MAX {
            return FarOp::Close("too many rooms are watched on one stream");
        }
        self.watch_last = watch;
        self.watches.insert(room.clone(), watch);
        FarOp::Watch { room, watch }
    }

    fn ask(&mut self, id: u64, ask: Ask) -> FarOp {
        if self.asks.contains_key(&id) {
            return FarOp::Close("an ask's id must be unique");
        }
        if self.asks.len() >= STREAM_ASKS_MAX {
            let busy = Refusal::new(RefusalCode::Busy).retry_after(250);
            return FarOp::Send(FromOwner::Answer { id, answer: Answer::Refused(busy) });
        }
        self.asks.insert(id, ask.room.clone());
        FarOp::Ask { id, ask }
    }
}
