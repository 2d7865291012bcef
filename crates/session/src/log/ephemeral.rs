//! What travels beside the log: signals and presence, in a ring that a slow reader may skip.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::{Encoding, Says, ServerFrame, User};

use super::frame::{Frames, WireKind, strip};

/// Frames that a ring keeps: some seconds of a busy room, at the pace at which owners coalesce.
const RING_ENTRIES_MAX: usize = 64;
/// Bytes that a ring keeps, by estimate.
const RING_BYTES_MAX: usize = 64 * 1024;
/// What a user weighs in an estimate, besides its strings.
const USER_BYTES: usize = 64;

/// A push that all its readers share; its bytes are made once for each encoding.
#[derive(Debug)]
pub struct Shared {
    frame: ServerFrame,
    json: OnceLock<Bytes>,
    proto: OnceLock<Bytes>,
}

impl Shared {
    /// A push that nobody has read yet.
    #[must_use]
    pub fn new(frame: ServerFrame) -> Shared {
        Shared { frame, json: OnceLock::new(), proto: OnceLock::new() }
    }

    /// What it says.
    #[must_use]
    pub fn says(&self) -> &Says {
        &self.frame.says
    }

    /// The complete WebSocket message.
    pub(crate) fn message(&self, encoding: Encoding, frames: &dyn Frames) -> &Bytes {
        let (cell, wire) = match encoding {
            Encoding::Json => (&self.json, WireKind::WebSocketJson),
            Encoding::Proto => (&self.proto, WireKind::WebSocketProto),
        };
        cell.get_or_init(|| {
            let mut out = Vec::new();
            frames.says(wire, &self.frame, &mut out);
            out.into()
        })
    }

    /// What goes to a session on `wire`.
    pub(crate) fn bytes(&self, wire: WireKind, frames: &dyn Frames) -> &[u8] {
        strip(wire, self.message(wire.encoding(), frames))
    }

    /// Whether it tells who is present, which takes a right of its own.
    pub(crate) fn is_presence(&self) -> bool {
        matches!(self.frame.says, Says::Presence(_))
    }

    fn weight(&self) -> usize {
        let user = |u: &User| USER_BYTES + u.name.len() + u.data.len();
        USER_BYTES
            + match &self.frame.says {
                Says::Signal { from, kind, data, .. } => user(from) + kind.len() + data.len(),
                Says::Presence(frame) => match &frame.change {
                    model::PresenceChange::Full(roster) => roster.users.iter().map(user).sum(),
                    model::PresenceChange::Delta { arrived, departed, .. } => {
                        arrived.iter().map(user).sum::<usize>() + departed.len() * USER_BYTES
                    }
                },
                _ => 0,
            }
    }
}

/// The newest pushes of a room, numbered; a reader's cursor is the number it reads next.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    next: u64,
    bytes: usize,
    frames: VecDeque<Arc<Shared>>,
}

impl Ring {
    /// The number that the next push gets.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The number of the oldest push that is still here.
    pub(crate) fn first(&self) -> u64 {
        self.next - self.frames.len() as u64
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Shared>> {
        let index = number.checked_sub(self.first())?;
        self.frames.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn push(&mut self, frame: Arc<Shared>) {
        self.bytes += frame.weight();
        self.next += 1;
        self.frames.push_back(frame);
        while self.frames.len() > RING_ENTRIES_MAX || self.bytes > RING_BYTES_MAX {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{RoomName, UserId};

    fn signal(bytes: usize) -> Arc<Shared> {
        let id = UserId::new("ann").unwrap();
        let from = User { id, name: "Ann".into(), data: Bytes::new() };
        let (room, kind, data) =
            (RoomName::new("r").unwrap(), "typing".into(), vec![0; bytes].into());
        let says = Says::Signal { room, from, kind, data };
        Arc::new(Shared::new(ServerFrame { r#ref: 0, says }))
    }

    #[test]
    fn a_ring_is_bounded_by_frames_and_by_bytes_and_numbers_go_on() {
        let mut ring = Ring::default();
        (0..100).for_each(|_| ring.push(signal(10)));
        assert_eq!((ring.first(), ring.next()), (36, 100));
        assert!(ring.get(35).is_none() && ring.get(36).is_some() && ring.get(100).is_none());
        (0..100).for_each(|_| ring.push(signal(10_000)));
        assert_eq!((ring.next() - ring.first(), ring.next()), (6, 200));
        assert!(ring.bytes <= RING_BYTES_MAX);
    }
}
