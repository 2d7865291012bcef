//! One gRPC stream to an owner, as a lane holds it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use model::NodeId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use wire::link::link_client::LinkClient;
use wire::link::{EdgeFrame, OwnerFrame};

/// Frames between the lane and HTTP/2; what does not fit waits in the machine, where it is bounded
/// and can still be refused.
const FRAMES_WAITING_MAX: usize = 256;

/// Bytes of one message from an owner: twice what one sends, so that an older edge reads a newer owner.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<OwnerFrame>, Status>> + Send>>;
type Room = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A stream in one of its states.
#[derive(Default)]
pub(super) enum OwnerStream {
    /// None is wanted.
    #[default]
    Closed,
    /// The owner was called.
    Opening(Opening, mpsc::Sender<EdgeFrame>),
    /// It stands.
    Open {
        from: Box<Streaming<OwnerFrame>>,
        to: mpsc::Sender<EdgeFrame>,
        /// While it is full: becomes ready when it is not.
        room: Option<Room>,
    },
}

/// What happened to it.
pub(super) enum Happened {
    Opened,
    Frame(OwnerFrame),
    Broke,
    /// A full stream takes frames again.
    HasRoom,
}

impl OwnerStream {
    pub(super) fn open(node: &NodeId, channel: Channel) -> OwnerStream {
        let (sender, receiver) = mpsc::channel(FRAMES_WAITING_MAX);
        let node = node.clone();
        let opening = async move {
            let answer = LinkClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .attach(ReceiverStream::new(receiver))
                .await;
            if let Err(status) = &answer {
                tracing::warn!(%node, %status, "cannot reach an owner of rooms; trying again");
            }
            answer.map(tonic::Response::into_inner)
        };
        OwnerStream::Opening(Box::pin(opening), sender)
    }

    /// Room for one more frame, if the stream is there and has it; else [`Happened::HasRoom`] will tell.
    pub(super) fn try_reserve(&mut self) -> Option<mpsc::Permit<'_, EdgeFrame>> {
        let OwnerStream::Open { to, room, .. } = self else {
            return None;
        };
        if room.is_some() {
            return None;
        }
        if to.capacity() == 0 {
            let sender = to.clone();
            *room = Some(Box::pin(async move {
                // A sender that is closed has room, too: its stream breaks with the next word.
                let _ = sender.reserve().await;
            }));
            return None;
        }
        // Closed: the stream is about to break.
        to.try_reserve().ok()
    }

    /// Whether frames could be sent at all.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, OwnerStream::Open { .. })
    }

    /// Whether the owner was called, or answered.
    pub(super) fn is_wanted(&self) -> bool {
        !matches!(self, OwnerStream::Closed)
    }

    /// The next thing that happens.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        match self {
            OwnerStream::Closed => Poll::Pending,
            OwnerStream::Opening(opening, to) => match opening.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(from)) => {
                    *self = OwnerStream::Open { from: Box::new(from), to: to.clone(), room: None };
                    Poll::Ready(Happened::Opened)
                }
                Poll::Ready(Err(_)) => Poll::Ready(self.broke()),
            },
            OwnerStream::Open { from, room, .. } => {
                match Pin::new(from.as_mut()).poll_next(cx) {
                    Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Happened::Frame(frame)),
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(self.broke()),
                    Poll::Pending => {}
                }
                if room.as_mut().is_some_and(|room| room.as_mut().poll(cx).is_ready()) {
                    *room = None;
                    return Poll::Ready(Happened::HasRoom);
                }
                Poll::Pending
            }
        }
    }

    fn broke(&mut self) -> Happened {
        *self = OwnerStream::Closed;
        Happened::Broke
    }
}
