//! One gRPC stream to an owner, as a lane holds it.

use std::future::Future;
use std::pin::Pin;

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

/// A stream in one of its states.
#[derive(Default)]
pub(super) enum OwnerStream {
    /// None is wanted.
    #[default]
    Closed,
    /// The owner was called.
    Opening(Opening, mpsc::Sender<EdgeFrame>),
    /// It stands.
    Open(Box<Streaming<OwnerFrame>>, mpsc::Sender<EdgeFrame>),
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
                tracing::warn!(%node, %status, "cannot reach the owner of rooms; trying again");
            }
            answer.map(tonic::Response::into_inner)
        };
        OwnerStream::Opening(Box::pin(opening), sender)
    }

    /// Room for one more frame, if the stream is there and has it.
    pub(super) fn try_reserve(&self) -> Option<mpsc::Permit<'_, EdgeFrame>> {
        match self {
            OwnerStream::Open(_, sender) => sender.try_reserve().ok(),
            _ => None,
        }
    }

    /// Whether frames could be sent at all.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, OwnerStream::Open(..))
    }

    /// The next thing that happens; safe to drop in between. Room is waited for if `is_full`.
    pub(super) async fn next(&mut self, is_full: bool) -> Happened {
        match self {
            OwnerStream::Closed => std::future::pending().await,
            OwnerStream::Opening(opening, sender) => match opening.await {
                Ok(stream) => {
                    *self = OwnerStream::Open(Box::new(stream), sender.clone());
                    Happened::Opened
                }
                Err(_) => self.broke(),
            },
            OwnerStream::Open(stream, sender) => {
                let message = tokio::select! {
                    message = stream.message() => message,
                    room = sender.reserve(), if is_full => match room {
                        Ok(_) => return Happened::HasRoom,
                        Err(_) => Ok(None),
                    },
                };
                match message {
                    Ok(Some(frame)) => Happened::Frame(frame),
                    Ok(None) | Err(_) => self.broke(),
                }
            }
        }
    }

    fn broke(&mut self) -> Happened {
        *self = OwnerStream::Closed;
        Happened::Broke
    }
}
