//! A scripted room server on loopback, in a thread of its own, so that it can be killed with all its
//! sockets.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use cluster::{Node, slot_of};
use link::{Far, FarOp, FromOwner};
use model::{
    Answer, AskBody, Catchup, ContentKind, Entry, Fed, LogId, Mark, NodeId, Rights, RoomInfo,
    RoomName, Subscription,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use wire::codec::link as codec;
use wire::link::edge_frame::Frame as Says;
use wire::link::link_server::{Link, LinkServer};
use wire::link::owner_frame::Frame as Said;
use wire::link::peer_server::{Peer, PeerServer};
use wire::link::*;

pub(super) const SLOTS: u32 = 2;

/// How an owner behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It serves whatever it is asked.
    Serves,
    /// It says whose the slot is, so many times, then serves.
    Sends { times: u32, epoch: u64, to: NodeId },
    /// It reads and says nothing.
    Silent,
    /// It does not even read.
    Stuck,
}

/// What all owners share, and what the test looks at.
#[derive(Debug)]
pub(super) struct World {
    /// Ids of what was published, and by whom it was taken.
    pub(super) log: Vec<(String, NodeId)>,
    pub(super) fence: u64,
    /// (observer, suspect, who was told).
    pub(super) reports: Vec<(String, String, NodeId)>,
}

pub(super) type Shared = Arc<Mutex<World>>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics with it")
}

pub(super) struct Owner {
    pub(super) node: Node,
    pub(super) manner: Arc<Mutex<Manner>>,
    /// Publishes that it was asked.
    pub(super) asked: Arc<Mutex<u32>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Owner {
    pub(super) fn start(id: &str, world: &Shared) -> Owner {
        let id = NodeId::new(id).expect("valid");
        let (manner, asked) = (Arc::new(Mutex::new(Manner::Serves)), Arc::default());
        let service = Scripted {
            id: id.clone(),
            world: Arc::clone(world),
            manner: Arc::clone(&manner),
            asked: Arc::clone(&asked),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                bound.send(listener.local_addr().expect("bound")).expect("awaited");
                let serving = Server::builder()
                    .add_service(LinkServer::new(service.clone()))
                    .add_service(PeerServer::new(service))
                    .serve_with_incoming(TcpListenerStream::new(listener));
                tokio::select! {
                    served = serving => served.expect("it serves"),
                    _ = stopped => {}
                }
            });
        });
        let link = address.recv().expect("it starts").to_string();
        let node = Node { link, ..Node::in_process(id) };
        Owner { node, manner, asked, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn behave(&self, manner: Manner) {
        *lock(&self.manner) = manner;
    }

    /// Ends it with all its sockets; whoever dials it is refused.
    pub(super) fn kill(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends");
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Clone)]
struct Scripted {
    id: NodeId,
    world: Shared,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<Mutex<u32>>,
}

impl Scripted {
    async fn talk(self, mut inbound: Streaming<EdgeFrame>, out: mpsc::Sender<OwnerFrame>) {
        let mut far = Far::new();
        loop {
            if *lock(&self.manner) == Manner::Stuck {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            }
            let Ok(Some(frame)) = inbound.message().await else {
                return;
            };
            let op = far.handle_frame(decode(frame));
            if *lock(&self.manner) == Manner::Silent {
                continue;
            }
            for frame in self.replies(&mut far, op) {
                if out.send(frame).await.is_err() {
                    return;
                }
            }
        }
    }

    fn replies(&self, far: &mut Far, op: FarOp) -> Vec<OwnerFrame> {
        match op {
            FarOp::Send(FromOwner::Heartbeat) => vec![frame(Said::Heartbeat(Heartbeat {}))],
            FarOp::Watch { room, watch } => {
                if let Some(moved) = self.sends_on(&room) {
                    return vec![moved];
                }
                let world = lock(&self.world);
                let head = world.log.len() as u64;
                let info = RoomInfo { log: log(), first: 1, head, ordinal: head };
                let fed = Fed::Watching { watch, fence: world.fence, info, presence: None };
                vec![codec::encode_fed(&room, &fed)]
            }
            FarOp::Ask { id, ask } => {
                if matches!(ask.body, AskBody::Publish(_)) {
                    *lock(&self.asked) += 1;
                }
                if let Some(moved) = self.sends_on(&ask.room) {
                    far.handle_moved(|room| *room == ask.room);
                    return vec![moved];
                }
                let answer = self.answer(ask.body);
                match far.handle_answer(id, answer) {
                    Some(FromOwner::Answer { id, answer }) => {
                        vec![frame(Said::Answer(codec::encode_answer(id, &answer)))]
                    }
                    _ => vec![],
                }
            }
            _ => vec![],
        }
    }

    fn sends_on(&self, room: &RoomName) -> Option<OwnerFrame> {
        let mut manner = lock(&self.manner);
        let Manner::Sends { times, epoch, to } = &mut *manner else {
            return None;
        };
        let moved = codec::encode_moved(slot_of(room, SLOTS), *epoch, to);
        *times -= 1;
        if *times == 0 {
            *manner = Manner::Serves;
        }
        Some(frame(Said::Moved(moved)))
    }

    fn answer(&self, body: AskBody) -> Answer {
        let mut world = lock(&self.world);
        match body {
            AskBody::Publish(publish) => {
                let id = publish.id.expect("all have one").as_str().to_owned();
                let known = world.log.iter().position(|(held, _)| *held == id);
                if known.is_none() {
                    world.log.push((id, self.id.clone()));
                }
                let seq = known.map_or(world.log.len(), |at| at + 1) as u64;
                Answer::Published { log: log(), seq, at_ms: 0, duplicate: known.is_some() }
            }
            AskBody::Attach { .. } => Answer::Subscribed(Subscription {
                log: log(),
                first: 1,
                head: world.log.len() as u64,
                ordinal: world.log.len() as u64,
                mark: Mark::default(),
                unread: 0,
                rights: Rights::FULL,
                catchup: Catchup::Resumed { missed: 0 },
            }),
            _ => Answer::Done,
        }
    }
}

#[tonic::async_trait]
impl Link for Scripted {
    type AttachStream = tokio_stream::adapters::Map<
        ReceiverStream<OwnerFrame>,
        fn(OwnerFrame) -> Result<OwnerFrame, Status>,
    >;

    async fn attach(
        &self,
        request: Request<Streaming<EdgeFrame>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (out, frames) = mpsc::channel(64);
        tokio::spawn(self.clone().talk(request.into_inner(), out));
        let ok: fn(OwnerFrame) -> Result<OwnerFrame, Status> = Ok;
        Ok(Response::new(tokio_stream::StreamExt::map(ReceiverStream::new(frames), ok)))
    }

    async fn segment(
        &self,
        request: Request<SegmentRequest>,
    ) -> Result<Response<SegmentReply>, Status> {
        if matches!(*lock(&self.manner), Manner::Silent | Manner::Stuck) {
            std::future::pending::<()>().await;
        }
        let seq = request.into_inner().from;
        let kind = ContentKind::Post;
        let entry = Entry { seq, ordinal: seq, kind, payload: bytes::Bytes::new() };
        Ok(Response::new(SegmentReply { first: 1, entries: codec::encode_entries(&[entry]) }))
    }
}

type Beats = Pin<Box<dyn futures_util::Stream<Item = Result<Beat, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for Scripted {
    type PulseStream = Beats;

    async fn suspect(
        &self,
        request: Request<SuspectRequest>,
    ) -> Result<Response<SuspectReply>, Status> {
        let SuspectRequest { observer, node, .. } = request.into_inner();
        lock(&self.world).reports.push((observer, node, self.id.clone()));
        Ok(Response::new(SuspectReply {}))
    }

    async fn pulse(&self, _: Request<Streaming<Beat>>) -> Result<Response<Beats>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn warm(&self, _: Request<WarmRequest>) -> Result<Response<WarmReply>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn transfer(
        &self,
        _: Request<TransferRequest>,
    ) -> Result<Response<TransferReply>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn r#move(&self, _: Request<MoveRequest>) -> Result<Response<MoveReply>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn rooms(&self, _: Request<RoomsRequest>) -> Result<Response<RoomsReply>, Status> {
        Err(Status::unimplemented("not in this script"))
    }
}

fn frame(said: Said) -> OwnerFrame {
    OwnerFrame { frame: Some(said) }
}

fn decode(frame: EdgeFrame) -> link::ToOwner {
    let room = |name: &str| RoomName::new(name).expect("valid");
    match frame.frame.expect("a frame says something") {
        Says::Open(open) => {
            let edge = NodeId::new(&open.edge).expect("valid");
            link::ToOwner::Open { edge, lane: open.lane }
        }
        Says::Watch(it) => link::ToOwner::Watch { room: room(&it.room), watch: it.watch },
        Says::Unwatch(it) => link::ToOwner::Unwatch { room: room(&it.room), watch: it.watch },
        Says::Ask(ask) => {
            let (id, ask) = codec::decode_ask(ask).expect("readable");
            link::ToOwner::Ask { id, ask }
        }
        Says::Heartbeat(_) => link::ToOwner::Heartbeat,
    }
}

pub(super) fn log() -> LogId {
    LogId::new("k3v9").expect("valid")
}
