//! What a lane hands to shards: the owner's feed with its bytes already shared.

use std::sync::Arc;

use model::{
    Fed, Fence, LogId, Mark, PresenceChange, RoomInfo, RoomName, Roster, Says, Seq, ServerFrame,
    Unsubscribed, UserId,
};

use super::ephemeral::Shared;
use super::frame::{Frame, Frames};

/// A [`Fed`] whose entries and signals are framed once for all shards: cloning shares them.
#[derive(Clone, Debug)]
pub enum Feed {
    /// See [`Fed::Watching`].
    Watching {
        /// Generation of the watch.
        watch: u64,
        /// The owner's fence.
        fence: Fence,
        /// The room as of now.
        info: RoomInfo,
        /// Who is present; `None` while that is being collected.
        presence: Option<Arc<Roster>>,
    },
    /// See [`Fed::Entries`].
    Entries {
        /// Generation of the watch.
        watch: u64,
        /// The room's log.
        log: LogId,
        /// The entries, dense.
        frames: Arc<[Arc<Frame>]>,
    },
    /// See [`Fed::Erased`].
    Erased {
        /// Generation of the watch.
        watch: u64,
        /// The tombstones.
        frames: Arc<[Arc<Frame>]>,
    },
    /// See [`Fed::Trimmed`].
    Trimmed {
        /// Generation of the watch.
        watch: u64,
        /// The first kept entry.
        first: Seq,
    },
    /// See [`Fed::Signal`].
    Signal {
        /// Generation of the watch.
        watch: u64,
        /// The push.
        signal: Arc<Shared>,
    },
    /// See [`Fed::Presence`].
    Presence {
        /// Generation of the watch.
        watch: u64,
        /// What changed.
        change: Arc<PresenceChange>,
    },
    /// See [`Fed::Marked`].
    Marked {
        /// Generation of the watch.
        watch: u64,
        /// Whose.
        user: UserId,
        /// Where it stands.
        mark: Mark,
    },
    /// See [`Fed::Unwatched`].
    Unwatched {
        /// Generation of the watch.
        watch: u64,
        /// Told to every reader.
        why: Unsubscribed,
    },
}

impl Feed {
    /// Frames what the owner fed, once for all shards of the edge.
    #[must_use]
    pub fn share(room: &RoomName, fed: Fed, frames: &dyn Frames) -> Feed {
        match fed {
            Fed::Watching { watch, fence, info, presence } => {
                Feed::Watching { watch, fence, info, presence: presence.map(Arc::new) }
            }
            Fed::Entries { watch, log, entries } => {
                Feed::Entries { watch, log, frames: Frame::share(&entries, frames) }
            }
            Fed::Erased { watch, entries } => {
                Feed::Erased { watch, frames: Frame::share(&entries, frames) }
            }
            Fed::Trimmed { watch, first } => Feed::Trimmed { watch, first },
            Fed::Signal { watch, from, kind, data } => {
                let says = Says::Signal { room: room.clone(), from, kind, data };
                Feed::Signal {
                    watch,
                    signal: Arc::new(Shared::new(ServerFrame { r#ref: 0, says })),
                }
            }
            Fed::Presence { watch, change } => Feed::Presence { watch, change: Arc::new(change) },
            Fed::Marked { watch, user, mark } => Feed::Marked { watch, user, mark },
            Fed::Unwatched { watch, why } => Feed::Unwatched { watch, why },
        }
    }

    /// Generation of the watch that it speaks of.
    #[must_use]
    pub fn watch(&self) -> u64 {
        match self {
            Feed::Watching { watch, .. }
            | Feed::Entries { watch, .. }
            | Feed::Erased { watch, .. }
            | Feed::Trimmed { watch, .. }
            | Feed::Signal { watch, .. }
            | Feed::Presence { watch, .. }
            | Feed::Marked { watch, .. }
            | Feed::Unwatched { watch, .. } => *watch,
        }
    }
}
