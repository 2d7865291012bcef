//! A room's place in its slot, being opened or open; and the ways in which the slot itself says no.

use model::{Answer, Ask, AskBody, Fed, Refusal, RefusalCode, Seq, Unsubscribed, UnsubscribedCode};
use room::{Head, Room};

use crate::slots::ToSlot;

/// Words that may wait for one room to be opened; more are refused as busy.
pub(super) const OPENING_WORDS_MAX: usize = 4_096;

/// A room's place.
pub(super) enum Place {
    /// The journal was asked where it stands.
    Opening(Opening),
    /// It is here.
    Open(Box<OpenRoom>),
}

/// A room on its way into memory.
pub(super) struct Opening {
    /// Which attempt; the answer to a former one is void.
    pub(super) attempt: u64,
    /// What came meanwhile, in order.
    pub(super) words: Vec<Waiting>,
}

/// A word that waits, or something that happened in between.
#[allow(clippy::large_enum_variant, reason = "nearly all are words")]
pub(super) enum Waiting {
    Word(ToSlot),
    Trimmed(Head),
}

/// A room's wish for a fresh claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reclaim {
    /// The last entry that it knows.
    pub(super) after: Seq,
    /// Claims that had begun when it was made: none of them will do.
    pub(super) claims: u64,
}

/// A room in memory, with what the slot keeps of it.
pub(super) struct OpenRoom {
    pub(super) room: Room,
    /// The attempt that opened it: what was begun for a former life of the room is void.
    pub(super) opened: u64,
    /// The room's entry in the slot's timers.
    pub(super) armed: Option<u64>,
    /// Whether it stands in the queue of rooms whose output is to be taken.
    pub(super) dirty: bool,
    /// Whether it stands in the queue of rooms that may have something to append.
    pub(super) ready: bool,
    /// It wants to be told what lies above an entry, after a fresh claim.
    pub(super) reclaim: Option<Reclaim>,
}

impl OpenRoom {
    pub(super) fn new(opened: u64, room: Room) -> OpenRoom {
        OpenRoom { room, opened, armed: None, dirty: false, ready: false, reclaim: None }
    }
}

/// In which of the three scopes a kind of ask is answered no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Request,
    Room,
}

impl Scope {
    pub(super) fn of(ask: &Ask) -> Scope {
        match ask.body {
            AskBody::Attach { .. } | AskBody::Summary => Scope::Room,
            _ => Scope::Request,
        }
    }
}

/// Why what was asked cannot be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum No {
    /// Too much waits already.
    Busy,
    /// Not here, or not now.
    Unavailable,
    /// No room on the disk.
    StorageFull,
    /// What is stored is damaged.
    Damaged,
}

impl No {
    /// When to come back, in milliseconds.
    fn retry_ms(self) -> Option<u64> {
        match self {
            No::Busy => Some(250),
            No::Unavailable => Some(200),
            No::StorageFull => Some(5_000),
            No::Damaged => None,
        }
    }

    pub(super) fn answer(self, scope: Scope) -> Answer {
        match scope {
            Scope::Room => Answer::Unsubscribed(self.unsubscribed()),
            Scope::Request => {
                let code = match self {
                    No::Busy => RefusalCode::Busy,
                    No::Unavailable => RefusalCode::Unavailable,
                    No::StorageFull => RefusalCode::StorageFull,
                    No::Damaged => RefusalCode::RoomDamaged,
                };
                Answer::Refused(Refusal { retry_after_ms: self.retry_ms(), ..Refusal::new(code) })
            }
        }
    }

    pub(super) fn fed(self, watch: u64) -> Fed {
        Fed::Unwatched { watch, why: self.unsubscribed() }
    }

    fn unsubscribed(self) -> Unsubscribed {
        let code = match self {
            No::Damaged => UnsubscribedCode::RoomDamaged,
            _ => UnsubscribedCode::Unavailable,
        };
        Unsubscribed { retry_after_ms: self.retry_ms(), ..Unsubscribed::new(code) }
    }
}
