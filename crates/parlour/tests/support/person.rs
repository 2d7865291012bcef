//! Somebody who talks through the Rust client, over any of its transports.

use std::collections::VecDeque;

use model::{Catchup, Page, Roster, Snapshot, SnapshotReason, Subscription};
use parlour_client::{
    Encoding, Event, Events, Handle, History, HistoryAnchor, HistoryAsk, Message, MessageContent,
    Options, Published, Reading, RoomName, Seq,
};

use super::{PATIENCE, Server};

/// How somebody comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    WsJson,
    WsProto,
    Grpc,
}

/// Every way in.
pub const DOORS: [Door; 3] = [Door::WsJson, Door::WsProto, Door::Grpc];

/// A client and what it was told.
pub struct Person {
    pub handle: Handle,
    events: Events,
    kept: VecDeque<Event>,
}

/// What `subscribed` said.
#[derive(Debug)]
pub struct Entered {
    pub subscription: Subscription,
    pub presence: Option<Roster>,
}

impl Entered {
    /// The snapshot, with its posts decoded.
    pub fn snapshot(&self, name: &str) -> (SnapshotReason, Vec<Message>, Page) {
        match &self.subscription.catchup {
            Catchup::Snapshot(Snapshot { reason, page }) => {
                let posts = parlour_client::posts(&room(name), page).expect("readable");
                (*reason, posts, page.clone())
            }
            Catchup::Resumed { missed } => panic!("resumed with {missed} instead of a snapshot"),
        }
    }

    /// How many entries follow a resume.
    pub fn missed(&self) -> u64 {
        match &self.subscription.catchup {
            Catchup::Resumed { missed } => *missed,
            Catchup::Snapshot(snapshot) => {
                panic!("a snapshot ({:?}) instead of a resume", snapshot.reason)
            }
        }
    }
}

/// A room's name.
pub fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("valid")
}

/// Fails the test if it takes too long.
pub async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: it took too long"))
}

/// How a client comes to this server through this door.
pub fn options(server: &Server, door: Door) -> Options {
    let mut options = match door {
        Door::WsJson => Options::new(server.ws_url()).encoding(Encoding::Json),
        Door::WsProto => Options::new(server.ws_url()).encoding(Encoding::Proto),
        Door::Grpc => Options::new(server.grpc_url()),
    };
    // A test that looks away for a while must not stop the socket from being read.
    options.events_max = 100_000;
    options
}

impl Person {
    /// Comes by name.
    pub async fn come(server: &Server, door: Door, name: &str) -> Person {
        Person::with(options(server, door).name(name)).await
    }

    /// Comes as told.
    pub async fn with(options: Options) -> Person {
        let connected = patiently("connecting", parlour_client::connect(options)).await;
        let (handle, events) =
            connected.unwrap_or_else(|error| panic!("there is no session: {error}"));
        Person { handle, events, kept: VecDeque::new() }
    }

    /// Reads a room, and answers what `subscribed` said.
    pub async fn enter(&mut self, name: &str, reading: Reading) -> Entered {
        let name = room(name);
        self.handle.subscribe(&name, reading).await.expect("it may be read");
        self.until("subscribed", |event| match event {
            Event::Subscribed { room, subscription, presence } if *room == name => {
                Some(Entered { subscription: (**subscription).clone(), presence: presence.clone() })
            }
            Event::NotSubscribed { refusal, .. } => panic!("not subscribed: {refusal:?}"),
            _ => None,
        })
        .await
    }

    /// Says something and waits until it stands.
    pub async fn say(&self, name: &str, text: &str) -> Published {
        self.publish(name, MessageContent::post(text)).await
    }

    /// Publishes and waits until it stands.
    pub async fn publish(&self, name: &str, content: MessageContent) -> Published {
        let published = patiently("publishing", self.handle.publish(&room(name), content)).await;
        published.unwrap_or_else(|error| panic!("not published: {error}"))
    }

    /// The next entry of a room.
    pub async fn message(&mut self, name: &str) -> Message {
        let name = room(name);
        self.until("a message", |event| match event {
            Event::Message(message) if message.room == name => Some((**message).clone()),
            _ => None,
        })
        .await
    }

    /// The next entries of a room.
    pub async fn messages(&mut self, name: &str, count: usize) -> Vec<Message> {
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            messages.push(self.message(name).await);
        }
        messages
    }

    /// A page.
    pub async fn page(&self, name: &str, anchor: HistoryAnchor, limit: u32) -> History {
        let ask = HistoryAsk { anchor, limit };
        let page = patiently("a page", self.handle.history(&room(name), ask)).await;
        page.unwrap_or_else(|error| panic!("no page: {error}"))
    }

    /// The newest posts' texts, with their numbers.
    pub async fn texts(&self, name: &str) -> Vec<(Seq, String)> {
        let page = self.page(name, HistoryAnchor::Newest, 100).await;
        page.posts.iter().map(|post| (post.seq, post.content.text().to_owned())).collect()
    }

    /// The first event that is wanted; the others are kept for later, in order.
    pub async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        for at in 0..self.kept.len() {
            if let Some(found) = wanted(&self.kept[at]) {
                self.kept.remove(at);
                return found;
            }
        }
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let event =
                event.unwrap_or_else(|_| panic!("{what} did not come; kept: {:?}", self.kept));
            let event = event
                .unwrap_or_else(|| panic!("the session is over, without {what}: {:?}", self.kept));
            if let Some(found) = wanted(&event) {
                return found;
            }
            self.keep(event);
        }
    }

    fn keep(&mut self, event: Event) {
        assert!(!matches!(event, Event::Violation(_)), "the server broke a rule: {event:?}");
        self.kept.push_back(event);
    }
}
