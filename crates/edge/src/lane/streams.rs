//! The streams of one lane, one to each owner, polled in turn.

use std::task::{Context, Poll};

use model::NodeId;
use tonic::transport::Channel;

use super::stream::{Happened, OwnerStream};

/// A stream with the channel that carries it.
struct Entry {
    node: NodeId,
    channel: Channel,
    stream: OwnerStream,
}

/// Few: as many as there are room servers that this lane needs.
#[derive(Default)]
pub(super) struct Streams {
    entries: Vec<Entry>,
    /// Whose turn it is to be looked at first, so that a busy owner does not starve the others.
    turn: usize,
}

impl Streams {
    /// Opens a stream to `node`; a former one is dropped.
    pub(super) fn open(&mut self, node: &NodeId, channel: Channel) {
        self.remove(node);
        let stream = OwnerStream::open(node, channel.clone());
        self.entries.push(Entry { node: node.clone(), channel, stream });
    }

    /// Drops the stream to `node` and its channel.
    pub(super) fn remove(&mut self, node: &NodeId) {
        self.entries.retain(|entry| entry.node != *node);
    }

    pub(super) fn get_mut(&mut self, node: &NodeId) -> Option<&mut OwnerStream> {
        self.entries.iter_mut().find(|entry| entry.node == *node).map(|entry| &mut entry.stream)
    }

    /// The owners that can be called beside `node`, with their channels.
    pub(super) fn others(&self, node: &NodeId) -> impl Iterator<Item = (&NodeId, &Channel)> {
        self.entries
            .iter()
            .filter(move |entry| entry.node != *node && entry.stream.is_wanted())
            .map(|entry| (&entry.node, &entry.channel))
    }

    /// The next thing that happens to any of them.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(NodeId, Happened)> {
        let count = self.entries.len();
        for offset in 0..count {
            let index = (self.turn + offset) % count;
            let Entry { node, stream, .. } = &mut self.entries[index];
            if let Poll::Ready(happened) = stream.poll_next(cx) {
                self.turn = index + 1;
                return Poll::Ready((node.clone(), happened));
            }
        }
        Poll::Pending
    }
}
