//! One room on a lane: who reads it here, what the owner was told, how far its feed has come.

use std::collections::BTreeMap;

use model::{
    Entry, Fed, Fence, Generation, LogId, PresenceChange, RoomInfo, Roster, SessionId, User, Who,
};

use crate::{LocalKey, ShardSet};

/// A session that is attached, or is about to be.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) local: LocalKey,
    pub(crate) who: Who,
    /// The ask that attached it.
    pub(crate) ask: u64,
    /// Whether that ask was answered `Subscribed`: from then on it is this lane's to tell the owner
    /// again.
    pub(crate) stands: bool,
    /// The stream on which the owner was last told; 0 for none.
    pub(crate) told: u64,
}

/// The feed as far as it has come.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) fence: Fence,
    pub(crate) info: RoomInfo,
    pub(crate) presence: Option<Roster>,
}

#[derive(Debug, Default)]
pub(crate) struct Room {
    /// The shards that want it.
    pub(crate) shards: ShardSet,
    /// The generation that the owner was told on the current stream.
    pub(crate) watch: Option<u64>,
    /// Whether that generation's `Watching` has come.
    pub(crate) watching: bool,
    pub(crate) feed: Option<Feed>,
    pub(crate) attached: BTreeMap<SessionId, Attachment>,
    /// Whether it stands in the queue of rooms about which the owner has to be told something.
    pub(crate) queued: bool,
    /// Nothing is told before this moment, in microseconds of the monotonic clock.
    pub(crate) not_before: Option<u64>,
}

/// What becomes of a word of the feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Pass it on.
    Pass(Fed),
    /// It is old, or says nothing new.
    Inert,
    /// Something is missing before it: the room has to be watched anew.
    Gap,
    /// It comes from an owner that was superseded.
    Superseded,
}

impl Room {
    pub(crate) fn is_unused(&self) -> bool {
        self.shards.is_empty()
            && self.watch.is_none()
            && self.attached.is_empty()
            && !self.queued
            && self.not_before.is_none()
    }

    /// The stream is gone, and with it what the owner was told.
    pub(crate) fn forget_stream(&mut self) {
        self.watch = None;
        self.watching = false;
        self.queued = false;
        self.not_before = None;
    }

    /// An attachment that the owner has to be told of on stream `number`, behind session `after`.
    pub(crate) fn untold(
        &mut self,
        number: u64,
        after: Option<&SessionId>,
    ) -> Option<(&SessionId, &mut Attachment)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let behind = (after.map_or(Unbounded, Excluded), Unbounded);
        self.attached
            .range_mut::<SessionId, _>(behind)
            .find(|(_, attachment)| attachment.stands && attachment.told != number)
    }

    /// Whether `generation` of `session` is the one that is attached, or newer.
    pub(crate) fn is_attached(&self, session: &SessionId, generation: Generation) -> bool {
        self.attached.get(session).is_some_and(|a| a.who.generation <= generation)
    }

    /// The feed's first word for a shard that joins while it is running.
    pub(crate) fn watching_now(&self) -> Option<Fed> {
        let feed = self.feed.as_ref().filter(|_| self.watching)?;
        Some(Fed::Watching {
            watch: self.watch?,
            fence: feed.fence,
            info: feed.info.clone(),
            presence: feed.presence.clone(),
        })
    }

    /// Takes a word of the feed of the current generation.
    pub(crate) fn take(&mut self, fed: Fed) -> Verdict {
        if let Fed::Watching { fence, ref info, ref presence, .. } = fed {
            return match self.start(fence, info, presence.as_ref()) {
                true => Verdict::Pass(fed),
                false => Verdict::Superseded,
            };
        }
        let Some(feed) = self.feed.as_mut().filter(|_| self.watching) else {
            return Verdict::Inert;
        };
        match fed {
            Fed::Entries { watch, log, entries } => feed.entries(watch, log, entries),
            Fed::Trimmed { first, .. } if first <= feed.info.first => Verdict::Inert,
            Fed::Trimmed { first, .. } => {
                feed.info.first = first;
                Verdict::Pass(fed)
            }
            Fed::Presence { ref change, .. } => {
                feed.presence(change);
                Verdict::Pass(fed)
            }
            other => Verdict::Pass(other),
        }
    }

    /// A watch stands; `false` if its owner is older than the one that was heard before.
    fn start(&mut self, fence: Fence, info: &RoomInfo, presence: Option<&Roster>) -> bool {
        if let Some(known) = &self.feed
            && fence < known.fence
            && info.log == known.info.log
            && !info.log.is_none()
        {
            return false;
        }
        self.watching = true;
        self.feed = Some(Feed { fence, info: info.clone(), presence: presence.cloned() });
        true
    }
}

impl Feed {
    /// Passes on what comes next; drops what is known.
    fn entries(&mut self, watch: u64, log: LogId, mut entries: Vec<Entry>) -> Verdict {
        if !self.info.log.is_none() && self.info.log != log {
            return Verdict::Gap;
        }
        entries.retain(|entry| entry.seq > self.info.head);
        let Some(last) = entries.last() else {
            return Verdict::Inert;
        };
        let dense = entries.iter().zip(self.info.head + 1..).all(|(entry, seq)| entry.seq == seq);
        if !dense {
            return Verdict::Gap;
        }
        self.info.head = last.seq;
        self.info.ordinal = last.ordinal;
        self.info.first = self.info.first.max(1);
        self.info.log = log.clone();
        Verdict::Pass(Fed::Entries { watch, log, entries })
    }

    fn presence(&mut self, change: &PresenceChange) {
        match change {
            PresenceChange::Full(roster) => self.presence = Some(roster.clone()),
            PresenceChange::Delta { count, arrived, departed } => {
                let Some(roster) = &mut self.presence else {
                    return;
                };
                let listed = roster.users.len() as u64 == roster.count;
                roster.count = *count;
                if listed {
                    let gone = |user: &User| {
                        departed.contains(&user.id) || arrived.iter().any(|a| a.id == user.id)
                    };
                    roster.users.retain(|user| !gone(user));
                    roster.users.extend(arrived.iter().cloned());
                }
                if roster.users.len() as u64 != roster.count {
                    roster.users = Vec::new();
                }
            }
        }
    }
}
