//! What edges that watch the room are told, and how a watch begins and ends.
//!
//! Apart from those who have news because all news go the same way: one copy per watching peer, with
//! the payload shared.
//!
//! # Invariants
//! - A peer has at most one watch; what speaks of an older generation is inert.
//! - `Watching` precedes everything else of a watch, and what it tells is what later news build on.

use model::{Fed, Mark, Now, RoomInfo, SessionId, Unsubscribed, UnsubscribedCode, UserId};

use crate::{Output, Peer, Room, State};

impl Room {
    /// An edge wants to be fed. A greater generation replaces the peer's watch.
    pub fn handle_watch(&mut self, now: Now, from: Peer, watch: u64) {
        self.active = now;
        if self.watches.get(&from).is_some_and(|held| *held > watch) {
            return;
        }
        if let Some(why) = self.unwatched() {
            let fed = Fed::Unwatched { watch, why };
            return self.outputs.push_back(Output::Feed { peer: from, fed });
        }
        self.watches.insert(from, watch);
        let fed = Fed::Watching {
            watch,
            fence: self.fence,
            info: self.info(),
            presence: self.presence.told(),
        };
        self.outputs.push_back(Output::Feed { peer: from, fed });
        self.pump(now);
    }

    /// An edge wants to be fed no longer; of no effect on another generation.
    pub fn handle_unwatch(&mut self, now: Now, from: Peer, watch: u64) {
        self.active = now;
        if self.watches.get(&from) == Some(&watch) {
            self.watches.remove(&from);
        }
        self.pump(now);
    }

    pub(crate) fn feed(&mut self, fed: impl Fn(u64) -> Fed) {
        for (peer, watch) in &self.watches {
            self.outputs.push_back(Output::Feed { peer: *peer, fed: fed(*watch) });
        }
    }

    /// Ends every watch.
    pub(crate) fn unwatch_all(&mut self, why: &Unsubscribed) {
        for (peer, watch) in std::mem::take(&mut self.watches) {
            let fed = Fed::Unwatched { watch, why: why.clone() };
            self.outputs.push_back(Output::Feed { peer, fed });
        }
    }

    /// Why the room cannot be watched, if it cannot.
    pub(crate) fn unwatched(&self) -> Option<Unsubscribed> {
        match self.state {
            State::Open => None,
            State::Fenced => Some(Unsubscribed::new(UnsubscribedCode::Unavailable).retry_after(0)),
            State::Damaged => Some(Unsubscribed::new(UnsubscribedCode::RoomDamaged)),
        }
    }

    /// Moves a user's mark forward and tells the user's other sessions.
    pub(crate) fn move_mark(&mut self, user: &UserId, session: Option<&SessionId>, mark: Mark) {
        if !self.marks.advance(user, mark) {
            return;
        }
        for peer in self.presence.peers_of(user, session) {
            if let Some(watch) = self.watches.get(&peer) {
                let fed = Fed::Marked { watch: *watch, user: user.clone(), mark };
                self.outputs.push_back(Output::Feed { peer, fed });
            }
        }
    }

    pub(crate) fn info(&self) -> RoomInfo {
        RoomInfo {
            log: self.head.log.clone(),
            first: self.head.first,
            head: self.head.head,
            ordinal: self.head.ordinal,
        }
    }
}
