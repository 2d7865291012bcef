//! Several room servers on one journal and one registry, which reach each other over pipes that can be
//! stopped and cut.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::{Registry as _, SlotRecord};
use hyper_util::rt::TokioIo;
use journal::Journal;
use model::{NodeId, RoomName, SlotNo};
use registry::InProcess;
use room_server::{Clock, Config, Dial, RoomServer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use wire::link::peer_client::PeerClient;

use super::{Edge, WALL_MS, node};

const PIPE_BYTES: usize = 256 * 1024;

/// What connects the nodes.
#[derive(Clone, Default)]
pub struct Net {
    ways: Arc<Mutex<BTreeMap<NodeId, Way>>>,
}

/// The way to one node.
struct Way {
    /// Where it accepts.
    listener: mpsc::Sender<DuplexStream>,
    /// Whether nobody listens there.
    refuses: bool,
    /// Whether bytes from and to it flow.
    flows: watch::Sender<bool>,
    /// Whether bytes that it answers flow.
    answers: watch::Sender<bool>,
    /// What carries its connections.
    relays: Vec<AbortHandle>,
}

impl Net {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, id: &NodeId, listener: mpsc::Sender<DuplexStream>) {
        let way = Way {
            listener,
            refuses: false,
            flows: watch::Sender::new(true),
            answers: watch::Sender::new(true),
            relays: Vec::new(),
        };
        self.lock().insert(id.clone(), way);
    }

    /// Bytes from and to the node stop, or flow again; connections stand.
    pub fn flow(&self, id: &str, flows: bool) {
        let id = NodeId::new(id).expect("valid");
        self.lock().get(&id).expect("a node").flows.send_replace(flows);
    }

    /// The node hears what it is told, and what it answers stops, or flows again.
    pub fn answer(&self, id: &str, answers: bool) {
        let id = NodeId::new(id).expect("valid");
        self.lock().get(&id).expect("a node").answers.send_replace(answers);
    }

    /// Every connection of the node breaks, and nobody listens there any more.
    pub fn cut(&self, id: &str) {
        let id = NodeId::new(id).expect("valid");
        let mut ways = self.lock();
        let way = ways.get_mut(&id).expect("a node");
        way.refuses = true;
        way.relays.drain(..).for_each(|relay| relay.abort());
    }

    /// It listens again.
    pub fn mend(&self, id: &str) {
        let id = NodeId::new(id).expect("valid");
        self.lock().get_mut(&id).expect("a node").refuses = false;
    }

    /// A connection from one node (or from outside) to another.
    async fn connect(&self, from: Option<&NodeId>, to: &NodeId) -> io::Result<DuplexStream> {
        let (near, near_far) = duplex(PIPE_BYTES);
        let (far_near, far) = duplex(PIPE_BYTES);
        let listener = {
            let mut ways = self.lock();
            let mut gates = Vec::new();
            for id in from.into_iter().chain([to]) {
                gates.extend(ways.get(id).map(|way| way.flows.subscribe()));
            }
            let listener = ways.get(to).filter(|way| !way.refuses).map(|way| way.listener.clone());
            let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near_read, near_write) = split(near_far);
            let (far_read, far_write) = split(far_near);
            let there = tokio::spawn(relay(near_read, far_write, gates.clone()));
            gates.extend(ways.get(to).map(|way| way.answers.subscribe()));
            let back = tokio::spawn(relay(far_read, near_write, gates));
            for id in from.into_iter().chain([to]) {
                if let Some(way) = ways.get_mut(id) {
                    way.relays.extend([there.abort_handle(), back.abort_handle()]);
                }
            }
            listener
        };
        listener.send(far).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(near)
    }

    /// A channel that connects when it is used.
    pub fn channel(&self, from: Option<NodeId>, to: NodeId) -> Channel {
        let net = self.clone();
        let connector = tower::service_fn(move |_: tonic::transport::Uri| {
            let (net, from, to) = (net.clone(), from.clone(), to.clone());
            async move { net.connect(from.as_ref(), &to).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://node.test").connect_with_connector_lazy(connector)
    }

    fn dial(&self, from: NodeId) -> Dial {
        let net = self.clone();
        Arc::new(move |to: &cluster::Node| net.channel(Some(from.clone()), to.id.clone()))
    }
}

/// Carries bytes one way while all gates are open.
async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gates: Vec<watch::Receiver<bool>>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else {
            return;
        };
        for gate in &mut gates {
            if gate.wait_for(|flows| *flows).await.is_err() {
                return;
            }
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A cluster of room servers.
pub struct Cluster {
    pub net: Net,
    pub registry: InProcess,
    pub slots: u32,
    pub nodes: BTreeMap<String, Member>,
    /// How often any node has looked at its clock: with every turn of a task.
    pub looks: Arc<AtomicU64>,
}

/// One of them.
pub struct Member {
    pub server: RoomServer,
    pub registry: InProcess,
    serving: JoinHandle<()>,
}

impl Cluster {
    /// A cluster without nodes.
    pub fn new(slots: u32) -> Cluster {
        // A registry is somebody's view of it; this one's owner leaves at once.
        let registry = InProcess::new(node("nobody"), slots);
        let leaving = registry.clone();
        tokio::spawn(async move { leaving.leave().await });
        Cluster {
            net: Net::default(),
            registry,
            slots,
            nodes: BTreeMap::new(),
            looks: Arc::default(),
        }
    }

    /// Starts a node; `seed` tells processes apart.
    pub fn start(&mut self, id: &str, journal: Arc<dyn Journal>, seed: u64) {
        self.start_with(Config { slots: self.slots, ..super::config(id) }, journal, seed);
    }

    pub fn start_with(&mut self, config: Config, journal: Arc<dyn Journal>, seed: u64) {
        assert_eq!(config.check(), Vec::<String>::new());
        let me = config.node.clone();
        let registry = self.registry.join(node(me.as_str()));
        let dial = self.net.dial(me.clone());
        let (looks, start) = (Arc::clone(&self.looks), tokio::time::Instant::now());
        let clock = Clock::with_wall(move || {
            looks.fetch_add(1, Ordering::Relaxed);
            WALL_MS + start.elapsed().as_millis() as u64
        });
        let server =
            RoomServer::new(config, journal, Arc::new(registry.clone()), clock, seed, Some(dial));
        let (listener, dialled) = mpsc::channel::<DuplexStream>(64);
        let incoming =
            tokio_stream::StreamExt::map(ReceiverStream::new(dialled), Ok::<_, io::Error>);
        let routes =
            Server::builder().add_service(server.link_service()).add_service(server.peer_service());
        let serving = tokio::spawn(async move {
            routes.serve_with_incoming(incoming).await.expect("pipes do not fail");
        });
        self.net.listen(&me, listener);
        self.nodes.insert(me.as_str().to_owned(), Member { server, registry, serving });
    }

    /// The process dies: its connections break, and nobody listens there. The registry hears nothing.
    pub fn kill(&mut self, id: &str) {
        let member = self.nodes.remove(id).expect("a node");
        member.serving.abort();
        self.net.cut(id);
    }

    pub fn server(&self, id: &str) -> &RoomServer {
        &self.nodes[id].server
    }

    /// An edge's stream to a node.
    pub async fn edge(&self, id: &str, name: &str) -> Edge {
        Edge::open(self.net.channel(None, NodeId::new(id).expect("valid")), name).await
    }

    /// The same, unless the node does not answer.
    pub async fn try_edge(&self, id: &str, name: &str) -> Option<Edge> {
        let opening = Edge::try_open(self.net.channel(None, NodeId::new(id).expect("valid")), name);
        timeout(Duration::from_millis(500), opening).await.ok()?.ok()
    }

    /// An operator's connection to a node.
    pub fn operator(&self, id: &str) -> PeerClient<Channel> {
        PeerClient::new(self.net.channel(None, NodeId::new(id).expect("valid")))
    }

    pub fn slot_of(&self, room: &RoomName) -> SlotNo {
        cluster::slot_of(room, self.slots)
    }

    pub fn record(&self, slot: SlotNo) -> Option<SlotRecord> {
        self.registry.view().slot(slot).cloned()
    }

    /// Waits until the registry names this owner; the epoch.
    pub async fn owned_by(&self, slot: SlotNo, id: &str) -> u64 {
        let mut view = self.registry.view();
        loop {
            if let Some(record) = view.slot(slot).filter(|record| record.owner.as_str() == id) {
                return record.epoch;
            }
            view = self.registry.changed(view.version).await;
        }
    }
}
