//! A room server over a pipe, and a link client that does what it is told.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod nodes;
pub mod talker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cluster::Node;
use hyper_util::rt::TokioIo;
use journal::{Journal, Memory};
use link::FromOwner;
use model::{
    Answer, Ask, AskBody, Content, Entry, Fed, Generation, MessageContent, MessageId, NodeId,
    Position, Publish, Rights, RoomName, SessionId, User, UserId, Who,
};
use registry::InProcess;
use room_server::{Clock, Config, RoomServer};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Status, Streaming};
use wire::codec::link as codec;
use wire::link::edge_frame::Frame as Says;
use wire::link::link_client::LinkClient;
use wire::link::owner_frame::Frame as Said;
use wire::link::{
    EdgeFrame, Heartbeat, Open, OwnerFrame, SegmentReply, SegmentRequest, Unwatch, Watch,
};

/// Longer than anything in these tests takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub const WALL_MS: u64 = 1_760_000_000_000;

pub fn node(id: &str) -> Node {
    Node::in_process(NodeId::new(id).expect("valid"))
}

pub fn config(id: &str) -> Config {
    Config { slots: 4, ..Config::new(NodeId::new(id).expect("valid")) }
}

/// A clock whose wall time moves with tokio's.
pub fn clock() -> Clock {
    let start = tokio::time::Instant::now();
    Clock::with_wall(move || WALL_MS + start.elapsed().as_millis() as u64)
}

/// A server with its way in.
pub struct Owner {
    pub server: RoomServer,
    pub registry: InProcess,
    dial: mpsc::Sender<DuplexStream>,
}

impl Owner {
    /// A server of its own registry. `seed` tells processes apart.
    pub fn start(journal: &Memory, config: Config, seed: u64) -> Owner {
        let registry = InProcess::new(node(config.node.as_str()), config.slots);
        Owner::join(journal, config, seed, registry)
    }

    pub fn join(journal: &Memory, config: Config, seed: u64, registry: InProcess) -> Owner {
        assert_eq!(config.check(), Vec::<String>::new());
        let journal: Arc<dyn Journal> = Arc::new(journal.clone());
        let server =
            RoomServer::new(config, journal, Arc::new(registry.clone()), clock(), seed, None);
        let (dial, dialled) = mpsc::channel::<DuplexStream>(4);
        let incoming =
            tokio_stream::StreamExt::map(ReceiverStream::new(dialled), Ok::<_, std::io::Error>);
        let service = server.link_service();
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Owner { server, registry, dial }
    }

    pub async fn channel(&self) -> Channel {
        let dial = self.dial.clone();
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let dial = dial.clone();
            async move {
                let (near, far) = tokio::io::duplex(64 * 1024);
                dial.send(far).await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(near))
            }
        });
        Endpoint::from_static("http://owner.test")
            .connect_with_connector(connector)
            .await
            .expect("the pipe stands")
    }

    /// An edge's stream that has said who it is.
    pub async fn edge(&self, name: &str) -> Edge {
        Edge::open(self.channel().await, name).await
    }
}

/// The edge's end of one stream.
pub struct Edge {
    client: LinkClient<Channel>,
    to: mpsc::Sender<EdgeFrame>,
    from: Streaming<OwnerFrame>,
    /// Read while something else was looked for.
    aside: VecDeque<FromOwner>,
    next: u64,
}

impl Edge {
    /// A stream that has not said who it is.
    pub async fn silent(channel: Channel) -> Edge {
        Edge::try_silent(channel).await.expect("accepted")
    }

    async fn try_silent(channel: Channel) -> Result<Edge, Status> {
        let mut client = LinkClient::new(channel);
        let (to, frames) = mpsc::channel(1_024);
        let from = client.attach(ReceiverStream::new(frames)).await?.into_inner();
        Ok(Edge { client, to, from, aside: VecDeque::new(), next: 0 })
    }

    /// A stream that has said who it is, if it stands.
    pub async fn try_open(channel: Channel, name: &str) -> Result<Edge, Status> {
        let edge = Edge::try_silent(channel).await?;
        edge.say(Says::Open(Open { edge: name.to_owned(), lane: 0 })).await;
        Ok(edge)
    }

    /// A stream that has said who it is.
    pub async fn open(channel: Channel, name: &str) -> Edge {
        Edge::try_open(channel, name).await.expect("accepted")
    }

    pub async fn say(&self, says: Says) {
        // If the stream is over, that is what is read next.
        let _ = self.to.send(EdgeFrame { frame: Some(says) }).await;
    }

    pub async fn heartbeat(&self) {
        self.say(Says::Heartbeat(Heartbeat {})).await;
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Watches; the generation.
    pub async fn watch(&mut self, room: &RoomName) -> u64 {
        let watch = self.number();
        self.say(Says::Watch(Watch { room: room.as_str().to_owned(), watch })).await;
        watch
    }

    pub async fn unwatch(&mut self, room: &RoomName, watch: u64) {
        self.say(Says::Unwatch(Unwatch { room: room.as_str().to_owned(), watch })).await;
    }

    /// Asks; the ask's id.
    pub async fn ask(&mut self, room: &RoomName, who: Who, body: AskBody) -> u64 {
        let id = self.number();
        let ask = Ask { room: room.clone(), who, body };
        self.say(Says::Ask(codec::encode_ask(id, &ask))).await;
        id
    }

    /// Asks and waits for the answer.
    pub async fn asked(&mut self, room: &RoomName, who: Who, body: AskBody) -> Answer {
        let id = self.ask(room, who, body).await;
        self.answer(id).await
    }

    /// Publishes and waits for the answer.
    pub async fn publish(&mut self, room: &RoomName, id: &str, text: &str) -> Answer {
        self.asked(room, person("ann"), post(room, id, text)).await
    }

    /// Publishes; the seq.
    pub async fn published(&mut self, room: &RoomName, id: &str, text: &str) -> u64 {
        match self.publish(room, id, text).await {
            Answer::Published { seq, .. } => seq,
            other => panic!("{other:?}"),
        }
    }

    /// The next frame, or how the stream ended.
    pub async fn next(&mut self) -> Result<FromOwner, Option<Status>> {
        let frame = timeout(PATIENCE, self.from.message()).await.expect("in time");
        match frame {
            Ok(Some(frame)) => Ok(decode(frame)),
            Ok(None) => Err(None),
            Err(status) => Err(Some(status)),
        }
    }

    /// The answer to an ask; what is fed meanwhile is laid aside.
    pub async fn answer(&mut self, wanted: u64) -> Answer {
        let is_it =
            |frame: &FromOwner| matches!(frame, FromOwner::Answer { id, .. } if *id == wanted);
        match self.find(is_it).await {
            FromOwner::Answer { answer, .. } => answer,
            _ => unreachable!("only answers are looked for"),
        }
    }

    /// The next news that `wanted` looks for, in order; what comes before is laid aside.
    pub async fn fed(&mut self, wanted: impl Fn(&Fed) -> bool) -> Fed {
        let is_it = |frame: &FromOwner| matches!(frame, FromOwner::Fed { fed, .. } if wanted(fed));
        match self.find(is_it).await {
            FromOwner::Fed { fed, .. } => fed,
            _ => unreachable!("only news are looked for"),
        }
    }

    /// Where it is told that the rooms of a slot went.
    pub async fn moved(&mut self) -> (model::SlotNo, model::Epoch, NodeId) {
        match self.find(|frame| matches!(frame, FromOwner::Moved { .. })).await {
            FromOwner::Moved { slot, epoch, owner } => (slot, epoch, owner),
            _ => unreachable!("only that is looked for"),
        }
    }

    async fn find(&mut self, wanted: impl Fn(&FromOwner) -> bool) -> FromOwner {
        if let Some(at) = self.aside.iter().position(&wanted) {
            return self.aside.remove(at).expect("it is there");
        }
        loop {
            match self.next().await {
                Ok(frame) if wanted(&frame) => return frame,
                Ok(frame) => self.aside.push_back(frame),
                Err(end) => panic!("the stream ended: {end:?}"),
            }
        }
    }

    /// Watches and waits until that stands; where the room stands then.
    pub async fn watching(&mut self, room: &RoomName) -> model::RoomInfo {
        let wanted = self.watch(room).await;
        let is_it = |fed: &Fed| matches!(fed, Fed::Watching { watch, .. } if *watch == wanted);
        match self.fed(is_it).await {
            Fed::Watching { info, .. } => info,
            _ => unreachable!("only that is looked for"),
        }
    }

    /// The next so many entries that are fed.
    pub async fn entries(&mut self, count: usize) -> Vec<Entry> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.fed(|fed| matches!(fed, Fed::Entries { .. })).await {
                Fed::Entries { entries, .. } => all.extend(entries),
                _ => unreachable!("only entries are looked for"),
            }
        }
        all
    }

    /// Waits until the stream has ended.
    pub async fn end(&mut self) -> Option<Status> {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    pub async fn segment(
        &mut self,
        room: &RoomName,
        log: &str,
        from: u64,
    ) -> Result<SegmentReply, Status> {
        let request =
            SegmentRequest { room: room.as_str().to_owned(), log: log.to_owned(), from, limit: 64 };
        self.client.segment(request).await.map(tonic::Response::into_inner)
    }
}

fn decode(frame: OwnerFrame) -> FromOwner {
    match frame.frame.expect("a frame says something") {
        Said::Heartbeat(_) => FromOwner::Heartbeat,
        Said::Moved(moved) => {
            let (slot, epoch, owner) = codec::decode_moved(&moved).expect("readable");
            FromOwner::Moved { slot, epoch, owner }
        }
        Said::Answer(answer) => {
            let (id, answer) = codec::decode_answer(answer).expect("readable");
            FromOwner::Answer { id, answer }
        }
        fed => {
            let (room, fed) = codec::decode_fed(fed).expect("readable").expect("news");
            FromOwner::Fed { room, fed }
        }
    }
}

pub fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("valid")
}

/// A user's session, as an edge that checked a token names it.
pub fn person(name: &str) -> Who {
    let user = User {
        id: UserId::new(name).expect("valid"),
        name: name.to_owned(),
        data: bytes::Bytes::new(),
    };
    let session = Some(SessionId::new(&format!("session{name}")).expect("valid"));
    Who { user, session, generation: Generation { counter: 1, random: 1 }, rights: Rights::FULL }
}

pub fn content(text: &str) -> Content {
    wire::codec::content(&MessageContent::post(text)).expect("a post can be published")
}

/// A publish that is checked against the room's newest entries.
pub fn post(room: &RoomName, id: &str, text: &str) -> AskBody {
    AskBody::Publish(Publish {
        room: room.clone(),
        id: Some(MessageId::new(id).expect("valid")),
        since: None,
        after: None,
        content: content(text),
    })
}

pub fn attach() -> AskBody {
    AskBody::Attach { after: Some(Position::origin()), recent: 0 }
}
