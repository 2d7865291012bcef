//! What an application holds of a client that runs in a task.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use model::{
    Content, HistoryAsk, LogId, Message, MessageContent, MessageId, Page, Refusal, RoomName, Seq,
    Summary,
};
use session::client::{Event, NotPublished, Published, Reading, WishError};
use tokio::sync::{mpsc, oneshot};

use crate::error::{PublishError, RequestError};

/// Wishes that wait for the task; a caller beyond waits with them.
pub(crate) const COMMANDS_MAX: usize = 16;

pub(crate) type Reply<T> = oneshot::Sender<T>;

/// A wish on its way to the task.
#[derive(Debug)]
pub(crate) enum Command {
    Publish { room: RoomName, content: Box<Content>, reply: Reply<Result<Sent, WishError>> },
    Subscribe { room: RoomName, reading: Box<Reading>, reply: Reply<Result<(), WishError>> },
    Unsubscribe { room: RoomName, reply: Reply<Result<(), WishError>> },
    Signal { room: RoomName, kind: String, data: Bytes, reply: Reply<Result<(), WishError>> },
    Mark { room: RoomName, seq: Seq, reply: Reply<Result<(), WishError>> },
    History { room: RoomName, ask: HistoryAsk, reply: Reply<Result<RawPage, Failed>> },
    Summaries { rooms: Vec<RoomName>, reply: Reply<Result<Glances, Failed>> },
    Authenticate { token: String },
    Close { reply: Reply<()> },
}

/// A publish that was taken, and where its outcome will be told.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) id: MessageId,
    pub(crate) outcome: oneshot::Receiver<Result<Published, NotPublished>>,
}

pub(crate) type RawPage = (LogId, Box<Page>);
pub(crate) type Glances = (Vec<(RoomName, Summary)>, Vec<(RoomName, Refusal)>);

#[derive(Debug)]
pub(crate) enum Failed {
    Wish(WishError),
    Refused(Refusal),
}

impl From<Failed> for RequestError {
    fn from(failed: Failed) -> RequestError {
        match failed {
            Failed::Wish(error) => RequestError::Wish(error),
            Failed::Refused(refusal) => RequestError::Refused(refusal),
        }
    }
}

/// Wishes of an application; may be cloned. When the last one is dropped, the session is closed.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
}

/// A page of a room.
#[derive(Clone, Debug)]
pub struct History {
    /// The room's log.
    pub log: LogId,
    /// The posts, folded, ascending.
    pub posts: Vec<Message>,
    /// The room's first kept entry; 0 while there is none.
    pub first: Seq,
    /// Whether there are more posts beyond, in the direction that was asked.
    pub more: bool,
    /// Everything up to this entry is folded in.
    pub as_of: Seq,
    /// The keys with which this user reacts, by post.
    pub mine: Vec<(Seq, Vec<String>)>,
}

/// The promise of a publish's outcome. Dropping it changes nothing about the publish.
#[derive(Debug)]
pub struct Acknowledgement {
    sent: Sent,
}

impl Acknowledgement {
    /// The message's id.
    #[must_use]
    pub fn id(&self) -> &MessageId {
        &self.sent.id
    }

    /// Waits until the publish is durable or given up, however often it has to be sent.
    ///
    /// # Errors
    /// [`PublishError::NotPublished`], with whether it may have been sent.
    pub async fn outcome(self) -> Result<Published, PublishError> {
        match self.sent.outcome.await {
            Ok(outcome) => outcome.map_err(PublishError::NotPublished),
            Err(_) => Err(PublishError::Wish(WishError::Over)),
        }
    }
}

impl Handle {
    /// Publishes and waits until that is durable.
    ///
    /// # Errors
    /// [`PublishError`]: it was not taken, or was given up.
    pub async fn publish(
        &self,
        room: &RoomName,
        content: MessageContent,
    ) -> Result<Published, PublishError> {
        self.send(room, content).await?.outcome().await
    }

    /// Publishes without waiting for the outcome: what is sent next stands behind it.
    ///
    /// # Errors
    /// [`PublishError::Wish`], when too much is unacknowledged.
    pub async fn send(
        &self,
        room: &RoomName,
        content: MessageContent,
    ) -> Result<Acknowledgement, PublishError> {
        let content = wire::codec::content(&content).ok_or(PublishError::Content)?;
        let (room, content) = (room.clone(), Box::new(content));
        let sent = self.call(|reply| Command::Publish { room, content, reply }).await??;
        Ok(Acknowledgement { sent })
    }

    /// Reads a room, now and after every reconnect; what comes of it is told by [`Events`].
    ///
    /// # Errors
    /// [`WishError`], when as many rooms are read as may be.
    pub async fn subscribe(&self, room: &RoomName, reading: Reading) -> Result<(), WishError> {
        let (room, reading) = (room.clone(), Box::new(reading));
        self.call(|reply| Command::Subscribe { room, reading, reply }).await?
    }

    /// Stops reading a room.
    ///
    /// # Errors
    /// [`WishError`], when too much waits to be sent.
    pub async fn unsubscribe(&self, room: &RoomName) -> Result<(), WishError> {
        let room = room.clone();
        self.call(|reply| Command::Unsubscribe { room, reply }).await?
    }

    /// Tells those who are present, if there is a connection. `data` is `Struct` bytes.
    ///
    /// # Errors
    /// [`WishError::NotConnected`]: a signal is worth nothing later.
    pub async fn signal(&self, room: &RoomName, kind: &str, data: Bytes) -> Result<(), WishError> {
        let (room, kind) = (room.clone(), kind.to_owned());
        self.call(|reply| Command::Signal { room, kind, data, reply }).await?
    }

    /// Everything up to `seq` has been read.
    ///
    /// # Errors
    /// [`WishError`], when too much waits to be sent.
    pub async fn mark(&self, room: &RoomName, seq: Seq) -> Result<(), WishError> {
        let room = room.clone();
        self.call(|reply| Command::Mark { room, seq, reply }).await?
    }

    /// A page of a room.
    ///
    /// # Errors
    /// [`RequestError`]: it was not taken, was refused, or cannot be read.
    pub async fn history(&self, room: &RoomName, ask: HistoryAsk) -> Result<History, RequestError> {
        let asked = room.clone();
        let command = |reply| Command::History { room: asked, ask, reply };
        let (log, page) = self.call(command).await??;
        let posts = crate::posts(room, &page).map_err(|e| RequestError::Unreadable(e.message))?;
        let Page { first, more, as_of, mine, .. } = *page;
        Ok(History { log, posts, first, more, as_of, mine })
    }

    /// Many rooms at a glance: those that answered, and those that did not.
    ///
    /// # Errors
    /// [`RequestError`]: it was not taken, or was refused.
    #[allow(clippy::type_complexity, reason = "two lists, each of pairs")]
    pub async fn summaries(
        &self,
        rooms: Vec<RoomName>,
    ) -> Result<(Vec<(RoomName, Summary)>, Vec<(RoomName, Refusal)>), RequestError> {
        Ok(self.call(|reply| Command::Summaries { rooms, reply }).await??)
    }

    /// A fresh token, for now and for every reconnect; whether it was taken is told by [`Events`].
    ///
    /// # Errors
    /// [`WishError::Over`].
    pub async fn authenticate(&self, token: impl Into<String>) -> Result<(), WishError> {
        let command = Command::Authenticate { token: token.into() };
        self.commands.send(command).await.map_err(|_| WishError::Over)
    }

    /// Leaves for good. What is not acknowledged is given up: wait for it first.
    pub async fn close(&self) {
        let _ = self.call(|reply| Command::Close { reply }).await;
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, WishError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| WishError::Over)?;
        answer.await.map_err(|_| WishError::Over)
    }
}

/// What the application is told, in order. Not reading it stops the socket from being read; dropping it
/// is allowed and means that nobody wants to know.
#[derive(Debug)]
pub struct Events {
    pub(crate) receiver: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` once the session is over.
    pub async fn recv(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.receiver.poll_recv(cx)
    }
}
