//! The way from slots to one edge's stream: a queue that is bounded in frames and bytes.
//!
//! A slot never waits for an edge. When an edge does not read, its queue fills, and its stream is
//! ended: the edge opens another and goes on by position, so that nothing is lost and nobody else is
//! held up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use link::FromOwner;
use model::{Answer, Catchup, Entry, Fed, FoldedPost};
use tokio::sync::mpsc;

/// Frames that may wait for one stream: some seconds of a busy edge.
pub(crate) const STREAM_FRAMES_MAX: usize = 16_384;
/// What a frame weighs beside its payloads.
const FRAME_BYTES: usize = 128;

/// Names a stream among all that this process ever had.
pub(crate) type StreamNo = u64;

/// What a slot has for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// To be sent, if it is still wanted.
    Say(FromOwner),
    /// Not to be sent: the asks and watches that these would end are over here without a word, as the
    /// edge goes on at another owner.
    Settle(Vec<FromOwner>),
}

/// The sending half, cloned into every slot that serves the stream.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) number: StreamNo,
    words: mpsc::Sender<Word>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    bytes_max: usize,
    bytes: AtomicUsize,
    overrun: AtomicBool,
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct Outbox {
    words: mpsc::Receiver<Word>,
    state: Arc<State>,
}

/// A queue for the stream `number`, of at most so many bytes.
pub(crate) fn queue(number: StreamNo, bytes_max: usize) -> (Peer, Outbox) {
    let (sender, receiver) = mpsc::channel(STREAM_FRAMES_MAX);
    let state =
        Arc::new(State { bytes_max, bytes: AtomicUsize::new(0), overrun: AtomicBool::new(false) });
    (Peer { number, words: sender, state: Arc::clone(&state) }, Outbox { words: receiver, state })
}

impl Peer {
    /// Queues a frame; `false` if the stream is over, or is ended hereby.
    pub(crate) fn send(&self, frame: FromOwner) -> bool {
        self.queue(Word::Say(frame))
    }

    /// Takes what these frames would end off the stream's books, in silence.
    pub(crate) fn settle(&self, frames: Vec<FromOwner>) {
        self.queue(Word::Settle(frames));
    }

    fn queue(&self, word: Word) -> bool {
        if self.state.overrun.load(Ordering::Acquire) {
            return false;
        }
        let weight = weight(&word);
        let waiting = self.state.bytes.fetch_add(weight, Ordering::AcqRel);
        let fits = waiting == 0 || waiting + weight <= self.state.bytes_max;
        if fits && self.words.try_send(word).is_ok() {
            return true;
        }
        self.state.overrun.store(true, Ordering::Release);
        false
    }
}

impl Outbox {
    /// The next word; `Err` once the edge has been too slow.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Word, Overrun>> {
        if self.state.overrun.load(Ordering::Acquire) {
            return Poll::Ready(Err(Overrun));
        }
        match self.words.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(Err(Overrun)),
            Poll::Ready(Some(word)) => {
                self.state.bytes.fetch_sub(weight(&word), Ordering::AcqRel);
                Poll::Ready(Ok(word))
            }
        }
    }
}

/// The edge did not read what waited for it.
#[derive(Debug)]
pub(crate) struct Overrun;

fn weight(word: &Word) -> usize {
    let frame = match word {
        Word::Say(frame) => frame,
        // Refusals, and nothing but.
        Word::Settle(frames) => return FRAME_BYTES * frames.len().max(1),
    };
    let entries = |entries: &[Entry]| -> usize {
        entries.iter().map(|entry| FRAME_BYTES / 2 + entry.payload.len()).sum()
    };
    let posts = |posts: &[FoldedPost]| -> usize {
        let one = |post: &FoldedPost| {
            let edit = post.edit.as_ref().map_or(0, |(_, body)| body.len());
            FRAME_BYTES + post.payload.len() + edit
        };
        posts.iter().map(one).sum()
    };
    let payload = match frame {
        FromOwner::Fed {
            fed: Fed::Entries { entries: e, .. } | Fed::Erased { entries: e, .. },
            ..
        } => entries(e),
        FromOwner::Answer { answer: Answer::History { page, .. }, .. } => posts(&page.posts),
        FromOwner::Answer { answer: Answer::Subscribed(subscription), .. } => {
            match &subscription.catchup {
                Catchup::Snapshot(snapshot) => posts(&snapshot.page.posts),
                Catchup::Resumed { .. } => 0,
            }
        }
        _ => 0,
    };
    FRAME_BYTES + payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use model::{ContentKind, LogId, RoomName};
    use std::task::Waker;

    const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;

    fn entries(bytes: usize) -> FromOwner {
        let payload = Bytes::from(vec![0; bytes]);
        let entry = Entry { seq: 1, ordinal: 1, kind: ContentKind::Post, payload };
        let fed = Fed::Entries { watch: 1, log: LogId::none(), entries: vec![entry] };
        FromOwner::Fed { room: RoomName::new("r").expect("valid"), fed }
    }

    #[test]
    fn a_stream_that_is_not_read_is_ended_by_bytes_and_by_frames() {
        let mut context = Context::from_waker(Waker::noop());
        for size in [1024 * 1024, 0] {
            let (peer, mut outbox) = queue(1, STREAM_BYTES_MAX);
            let sent = (0..).take_while(|_| peer.send(entries(size))).count();
            assert!(sent * size <= STREAM_BYTES_MAX && sent <= STREAM_FRAMES_MAX);
            assert!(sent == STREAM_FRAMES_MAX || (sent + 2) * size > STREAM_BYTES_MAX);
            assert!(!peer.send(FromOwner::Heartbeat), "it stays ended");
            assert!(matches!(outbox.poll(&mut context), Poll::Ready(Err(Overrun))));
        }
    }

    #[test]
    fn what_was_read_makes_room() {
        let mut context = Context::from_waker(Waker::noop());
        let (peer, mut outbox) = queue(1, STREAM_BYTES_MAX);
        for _ in 0..1_000 {
            assert!(peer.send(entries(1024 * 1024)));
            assert!(matches!(outbox.poll(&mut context), Poll::Ready(Ok(_))));
        }
    }
}
