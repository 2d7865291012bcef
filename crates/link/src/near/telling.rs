//! What an owner is told, in the order in which it has to know it.

use model::{Ask, AskBody, Position, RoomName};

use super::Near;
use crate::ToOwner;

impl Near {
    /// The next frame for a stream that stands: watches and attachments before asks, which may need them.
    pub(super) fn next_frame(&mut self) -> Option<ToOwner> {
        loop {
            if let Some(frame) = self.next_attachment() {
                return Some(frame);
            }
            match self.queue.pop_front() {
                Some(room) => {
                    if let Some(frame) = self.tell_watch(room) {
                        return Some(frame);
                    }
                }
                None => break,
            }
        }
        self.outbox.next_unsent().map(|(id, ask)| ToOwner::Ask { id, ask })
    }

    /// Says whatever the owner does not know yet of a room's watch; its attachments come next.
    fn tell_watch(&mut self, name: RoomName) -> Option<ToOwner> {
        let number = self.stream.number;
        let state = self.rooms.get_mut(&name)?;
        state.queued = false;
        if state.not_before.is_some() {
            return None;
        }
        let frame = match (state.shards.is_empty(), state.watch) {
            (false, None) => {
                let watch = self.next_watch;
                self.next_watch += 1;
                state.watch = Some(watch);
                state.watching = false;
                Some(ToOwner::Watch { room: name.clone(), watch })
            }
            (true, Some(watch)) => {
                state.watch = None;
                state.watching = false;
                state.feed = None;
                Some(ToOwner::Unwatch { room: name.clone(), watch })
            }
            _ => None,
        };
        if state.untold(number, None).is_some() {
            self.telling = Some((name, None));
        } else {
            self.forget_unused(&name);
        }
        frame
    }

    /// The next attachment that the current stream has not carried.
    fn next_attachment(&mut self) -> Option<ToOwner> {
        let (room, last) = self.telling.take()?;
        let state = self.rooms.get_mut(&room)?;
        let known = state
            .feed
            .as_ref()
            .map(|feed| Position { log: feed.info.log.clone(), seq: feed.info.head });
        let (session, attachment) = state.untold(self.stream.number, last.as_ref())?;
        let (session, who) = (session.clone(), attachment.who.clone());
        attachment.told = self.stream.number;
        let id = self.next_ask;
        self.next_ask += 1;
        self.counts.resent += 1;
        self.retelling.insert(id, (room.clone(), session.clone()));
        // From its own position on, so that the owner has nothing to fold.
        let body = AskBody::Attach { after: Some(known.unwrap_or_default()), recent: 0 };
        let ask = Ask { room: room.clone(), who, body };
        self.telling = Some((room, Some(session)));
        Some(ToOwner::Ask { id, ask })
    }
}
