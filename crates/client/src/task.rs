//! The one task of a client: wishes in, events out, answers to whoever asked.

use std::collections::BTreeMap;

use model::MessageId;
use session::client::{Event, NotPublished, Published, Ticket, WishError};
use tokio::sync::{mpsc, oneshot};

use crate::connection::Connection;
use crate::error::ConnectError;
use crate::handle::{COMMANDS_MAX, Command, Events, Failed, Glances, Handle, RawPage, Reply, Sent};
use crate::options::Options;

/// Connects and waits for the first welcome. From then on a lost connection is dialled again by itself.
///
/// # Errors
/// [`ConnectError`]: nobody answers, or the server will not have this client.
pub async fn connect(options: Options) -> Result<(Handle, Events), ConnectError> {
    let mut connection = Connection::new(options.clone());
    let welcome = loop {
        match connection.next().await {
            Some(event @ Event::Connected(_)) => break event,
            Some(Event::Ended { code, message }) => {
                return Err(ConnectError::Ended { code, message });
            }
            Some(_) => match connection.dial_error() {
                // A gateway that says when is waited for.
                Some(error) if error.retry_after_ms().is_some() => continue,
                Some(error) => return Err(ConnectError::Dial(error.clone())),
                None => continue,
            },
            None => return Err(ConnectError::Over),
        }
    };
    Ok(run(connection, options.events_max, Some(welcome)))
}

/// Like [`connect`], without waiting: wishes are kept until there is a connection.
#[must_use]
pub fn start(options: Options) -> (Handle, Events) {
    let events_max = options.events_max;
    run(Connection::new(options), events_max, None)
}

fn run(connection: Connection, events_max: usize, first: Option<Event>) -> (Handle, Events) {
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (outbox, receiver) = mpsc::channel(events_max.max(1));
    let task = Task {
        connection,
        inbox,
        outbox,
        waiting: first,
        publishes: BTreeMap::new(),
        requests: BTreeMap::new(),
    };
    tokio::spawn(task.run());
    (Handle { commands }, Events { receiver })
}

struct Task {
    connection: Connection,
    inbox: mpsc::Receiver<Command>,
    outbox: mpsc::Sender<Event>,
    /// An event that the application has no space for yet; nothing is read meanwhile.
    waiting: Option<Event>,
    publishes: BTreeMap<MessageId, oneshot::Sender<Result<Published, NotPublished>>>,
    requests: BTreeMap<Ticket, Request>,
}

/// What happened.
enum Step {
    Command(Option<Command>),
    Event(Option<Event>),
    Space,
}

/// Who waits for an answer.
enum Request {
    History(Reply<Result<RawPage, Failed>>),
    Summaries(Reply<Result<Glances, Failed>>),
}

impl Task {
    async fn run(mut self) {
        loop {
            self.pass_on();
            match self.step().await {
                Step::Command(Some(command)) => self.handle_command(command),
                Step::Command(None) => return self.finish().await,
                Step::Event(Some(event)) => self.handle_event(event),
                Step::Event(None) => return,
                Step::Space => {}
            }
        }
    }

    async fn step(&mut self) -> Step {
        let Task { connection, inbox, outbox, waiting, .. } = self;
        tokio::select! {
            command = inbox.recv() => Step::Command(command),
            event = connection.next(), if waiting.is_none() => Step::Event(event),
            permit = outbox.reserve(), if waiting.is_some() => {
                // Without a permit the application wants no events.
                if let (Some(event), Ok(permit)) = (waiting.take(), permit) {
                    permit.send(event);
                }
                Step::Space
            }
        }
    }

    /// Nobody has wishes any more: leaves, without waiting for whoever reads events.
    async fn finish(mut self) {
        self.connection.client().close();
        while let Some(event) = self.connection.next().await {
            self.handle_event(event);
            self.pass_on();
            self.waiting = None;
        }
    }

    fn pass_on(&mut self) {
        use mpsc::error::TrySendError;
        let Some(event) = self.waiting.take() else {
            return;
        };
        if let Err(TrySendError::Full(event)) = self.outbox.try_send(event) {
            self.waiting = Some(event);
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.connection.now();
        let client = self.connection.client();
        match command {
            Command::Publish { room, content, reply } => {
                let sent = client.publish(&room, *content).map(|id| {
                    let (outcome, receiver) = oneshot::channel();
                    self.publishes.insert(id.clone(), outcome);
                    Sent { id, outcome: receiver }
                });
                let _ = reply.send(sent);
            }
            Command::Subscribe { room, reading, reply } => {
                let _ = reply.send(client.subscribe(&room, *reading));
            }
            Command::Unsubscribe { room, reply } => {
                let _ = reply.send(client.unsubscribe(&room));
            }
            Command::Signal { room, kind, data, reply } => {
                let _ = reply.send(client.signal(&room, &kind, data));
            }
            Command::Mark { room, seq, reply } => {
                let _ = reply.send(client.mark(&room, seq));
            }
            Command::History { room, ask, reply } => match client.history(&room, ask) {
                Ok(ticket) => drop(self.requests.insert(ticket, Request::History(reply))),
                Err(error) => drop(reply.send(Err(Failed::Wish(error)))),
            },
            Command::Summaries { rooms, reply } => match client.summaries(rooms) {
                Ok(ticket) => drop(self.requests.insert(ticket, Request::Summaries(reply))),
                Err(error) => drop(reply.send(Err(Failed::Wish(error)))),
            },
            Command::Authenticate { token } => client.authenticate(now, token),
            Command::Close { reply } => {
                client.close();
                let _ = reply.send(());
            }
        }
    }

    /// Answers go to whoever waits for them, everything else to the application.
    fn handle_event(&mut self, event: Event) {
        self.waiting = match event {
            Event::Published(published) => {
                let waiter = self.publishes.remove(&published.id);
                waiter.map(|waiter| waiter.send(Ok(published)));
                None
            }
            Event::NotPublished(not) => {
                let waiter = self.publishes.remove(&not.id);
                waiter.map(|waiter| waiter.send(Err(not)));
                None
            }
            Event::History { ticket, log, page, .. } => {
                if let Some(Request::History(reply)) = self.requests.remove(&ticket) {
                    let _ = reply.send(Ok((log, page)));
                }
                None
            }
            Event::Summaries { ticket, rooms, refused } => {
                if let Some(Request::Summaries(reply)) = self.requests.remove(&ticket) {
                    let _ = reply.send(Ok((rooms, refused)));
                }
                None
            }
            Event::Refused { ticket: Some(ticket), refusal } => {
                match self.requests.remove(&ticket) {
                    Some(Request::History(reply)) => {
                        drop(reply.send(Err(Failed::Refused(refusal))))
                    }
                    Some(Request::Summaries(reply)) => {
                        drop(reply.send(Err(Failed::Refused(refusal))));
                    }
                    None => {}
                }
                None
            }
            Event::Ended { .. } => {
                for (_, request) in std::mem::take(&mut self.requests) {
                    request.fail(WishError::Over);
                }
                Some(event)
            }
            told => Some(told),
        };
    }
}

impl Request {
    fn fail(self, error: WishError) {
        match self {
            Request::History(reply) => drop(reply.send(Err(Failed::Wish(error)))),
            Request::Summaries(reply) => drop(reply.send(Err(Failed::Wish(error)))),
        }
    }
}
