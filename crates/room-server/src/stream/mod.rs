//! One edge's stream: [`Conversation`] reads what the edge asks, hands it to slots, and is itself the
//! stream of what they answer.
//!
//! It is polled by the connection that carries it: no task and no hop of its own lie between a slot
//! and HTTP/2.
//!
//! # Invariants
//! - What one edge says is handed to slots in its order: while one slot's inbox is full, nothing more
//!   is read from this edge.
//! - A stream ends after [`SILENCE_MS`] without a word, when its edge breaks the order of frames,
//!   or when it does not read ([`peer`]).
//! - Every slot that this stream ever reached learns that it is gone.

mod convert;
mod peer;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use link::{Far, FarOp, FromOwner};
use model::{Fed, RoomName, SlotNo};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Status, Streaming};
use wire::link::{EdgeFrame, OwnerFrame};

use crate::slots::{Slots, ToSlot};
pub(crate) use convert::room;
use peer::{Outbox, Word};
pub(crate) use peer::{Peer, StreamNo, queue};

/// Milliseconds without a word from the edge after which its stream ends: it says that it lives every
/// [`link::IDLE_HEARTBEAT_MS`].
const SILENCE_MS: u64 = 15_000;
/// Frames sent before the edge is listened to again, so that neither way starves the other.
const FRAMES_PER_TURN: u32 = 64;

const _: () = assert!(SILENCE_MS > 2 * link::IDLE_SILENCE_MS);

type Handing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The owner's side of one `Attach`.
pub struct Conversation {
    far: Far,
    peer: Peer,
    inbound: Streaming<EdgeFrame>,
    outbox: Outbox,
    /// Frames that are ready to be sent: one word may take several.
    ready: VecDeque<OwnerFrame>,
    slots: Arc<Slots>,
    reached: HashMap<SlotNo, mpsc::Sender<ToSlot>>,
    /// What could not be handed to a full slot yet.
    handing: Option<Handing>,
    turn: u32,
    heard_at: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Conversation {
    pub(crate) fn new(inbound: Streaming<EdgeFrame>, slots: Arc<Slots>) -> Conversation {
        let (peer, outbox) = queue(slots.next_stream(), slots.shared.config.stream_bytes_max);
        slots.counters().streams.add(1);
        let heard_at = Instant::now();
        Conversation {
            far: Far::new(),
            peer,
            inbound,
            outbox,
            ready: VecDeque::new(),
            slots,
            reached: HashMap::new(),
            handing: None,
            turn: 0,
            heard_at,
            silence: Box::pin(sleep_until(heard_at + Duration::from_millis(SILENCE_MS))),
        }
    }

    /// The next frame for the edge.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<OwnerFrame, Status>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Ok(frame));
            }
            match ready!(self.outbox.poll(cx)) {
                Ok(Word::Say(frame)) => self.admit(frame),
                Ok(Word::Settle(frames)) => {
                    frames.into_iter().for_each(|frame| _ = self.wanted(frame));
                }
                Err(_) => {
                    self.slots.counters().streams_overrun.add(1);
                    tracing::warn!(edge = ?self.far.edge(), "an edge does not read; its stream ends");
                    return Poll::Ready(Err(Status::resource_exhausted("the edge does not read")));
                }
            }
        }
    }

    /// Lets a slot's word out, if it is still wanted.
    fn admit(&mut self, frame: FromOwner) {
        if let Some(frame) = self.wanted(frame) {
            convert::from_owner(frame, |frame| self.ready.push_back(frame));
        }
    }

    /// Takes what the frame ends off the books; the frame, if anybody waits for it.
    fn wanted(&mut self, frame: FromOwner) -> Option<FromOwner> {
        match frame {
            FromOwner::Answer { id, answer } => self.far.handle_answer(id, answer),
            FromOwner::Fed { room, fed } => {
                let watch = watch_of(&fed);
                self.far.handle_fed(room, watch, fed)
            }
            frame @ FromOwner::Heartbeat => Some(frame),
            FromOwner::Moved { slot, epoch, owner } => {
                self.far.handle_moved(|room| self.slots.slot_of(room) == slot);
                Some(FromOwner::Moved { slot, epoch, owner })
            }
        }
    }

    /// Takes in what the edge says until there is no more, or a slot is full. `Ready` ends the stream.
    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            if let Some(handing) = &mut self.handing {
                ready!(handing.as_mut().poll(cx));
                self.handing = None;
            }
            match ready!(Pin::new(&mut self.inbound).poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(status)) => return Poll::Ready(Err(status)),
                Some(Ok(frame)) => {
                    self.heard_at = Instant::now();
                    if let Err(status) = self.take(frame) {
                        return Poll::Ready(Err(status));
                    }
                }
            }
        }
    }

    fn take(&mut self, frame: EdgeFrame) -> Result<(), Status> {
        let Some(frame) = convert::to_owner(frame)? else {
            return Ok(());
        };
        match self.far.handle_frame(frame) {
            FarOp::Opened { edge, lane } => {
                tracing::debug!(%edge, lane, stream = self.peer.number, "an edge opened a stream");
            }
            FarOp::Watch { room, watch } => {
                let peer = self.peer.clone();
                self.hand(room.clone(), ToSlot::Watch { peer, room, watch })?;
            }
            FarOp::Unwatch { room, watch } => {
                let peer = self.peer.number;
                self.hand(room.clone(), ToSlot::Unwatch { peer, room, watch })?;
            }
            FarOp::Ask { id, ask } => {
                let peer = self.peer.clone();
                self.hand(ask.room.clone(), ToSlot::Ask { peer, id, ask })?;
            }
            FarOp::Send(frame) => {
                // With each heartbeat: whoever only reads learns here that a slot's task has ended.
                if self.reached.values().any(mpsc::Sender::is_closed) {
                    return Err(slot_ended());
                }
                convert::from_owner(frame, |frame| self.ready.push_back(frame));
            }
            FarOp::Close(why) => return Err(Status::invalid_argument(why)),
        }
        Ok(())
    }

    /// Hands a word to its room's slot; a full slot is waited for before the next is read.
    fn hand(&mut self, room: RoomName, word: ToSlot) -> Result<(), Status> {
        let slot = self.slots.slot_of(&room);
        let inbox = self.reached.entry(slot).or_insert_with(|| self.slots.inbox(slot));
        match inbox.try_send(word) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(slot_ended()),
            Err(mpsc::error::TrySendError::Full(word)) => {
                let inbox = inbox.clone();
                self.handing = Some(Box::pin(async move {
                    // If the slot ends meanwhile, so does this stream, with the next word.
                    let _ = inbox.send(word).await;
                }));
            }
        }
        Ok(())
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.silence.as_mut().poll(cx));
            let until = self.heard_at + Duration::from_millis(SILENCE_MS);
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            self.silence.as_mut().reset(until);
        }
    }
}

impl Stream for Conversation {
    type Item = Result<OwnerFrame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.turn < FRAMES_PER_TURN
            && let Poll::Ready(frame) = this.poll_out(cx)
        {
            this.turn += 1;
            return Poll::Ready(Some(frame));
        }
        this.turn = 0;
        match this.poll_in(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(None),
            Poll::Ready(Err(status)) => return Poll::Ready(Some(Err(status))),
            Poll::Pending => {}
        }
        if this.poll_silence(cx).is_ready() {
            return Poll::Ready(Some(Err(Status::deadline_exceeded(
                "nothing was heard from the edge",
            ))));
        }
        // What was read may have been answered at once, and the turn may have been over.
        this.poll_out(cx).map(Some)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.slots.counters().streams.sub(1);
        let (peer, reached) = (self.peer.number, std::mem::take(&mut self.reached));
        let (Ok(runtime), false) = (tokio::runtime::Handle::try_current(), reached.is_empty())
        else {
            return;
        };
        let handing = self.handing.take();
        runtime.spawn(async move {
            // What was read before the end comes before the end.
            if let Some(handing) = handing {
                handing.await;
            }
            for inbox in reached.into_values() {
                let _ = inbox.send(ToSlot::Gone { peer }).await;
            }
        });
    }
}

/// The task of a slot that this stream reached is gone: the edge comes back to a new one.
fn slot_ended() -> Status {
    Status::unavailable("rooms of this stream start anew")
}

fn watch_of(fed: &Fed) -> u64 {
    match fed {
        Fed::Watching { watch, .. }
        | Fed::Entries { watch, .. }
        | Fed::Erased { watch, .. }
        | Fed::Trimmed { watch, .. }
        | Fed::Signal { watch, .. }
        | Fed::Presence { watch, .. }
        | Fed::Marked { watch, .. }
        | Fed::Unwatched { watch, .. } => *watch,
    }
}
