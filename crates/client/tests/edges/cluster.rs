//! Two edges and a room server in one process, which meet over pipes; clients come over loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Front, Load, Node, Registry, Role, Transport};
use edge::{Config, Door, Edge, Listeners, Owners, Secret};
use hyper_util::rt::TokioIo;
use journal::{Journal, Memory};
use model::{End, EndCode, Limits, NodeId, Seed};
use registry::InProcess;
use room_server::{Clock, LinkService, RoomServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy_bidirectional, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};

const SLOTS: u32 = 4;
/// Sessions that each edge says that it holds at most.
pub(crate) const SESSIONS_MAX: u32 = 5_000;

pub(crate) struct Cluster {
    _room_server: RoomServer,
    pub(crate) one: TestEdge,
    pub(crate) two: TestEdge,
}

/// An edge and what it announces.
pub(crate) struct TestEdge {
    pub(crate) edge: Edge,
    registry: InProcess,
    node: Node,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("valid")
}

/// How fast gateways let clients in; far above what the tests ask.
pub(crate) const CONNECTS_PER_SECOND: u32 = 10_000;

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        Cluster::paced(CONNECTS_PER_SECOND).await
    }

    pub(crate) async fn paced(connects_per_second: u32) -> Cluster {
        let owner = id("owner");
        let registry = InProcess::new(Node::in_process(owner.clone()), SLOTS);
        let journal = Arc::new(Memory::with_slots(SLOTS));
        let room_server = RoomServer::new(
            room_server::Config { slots: SLOTS, ..room_server::Config::new(owner) },
            journal as Arc<dyn Journal>,
            Arc::new(registry.clone()),
            Clock::system(),
            7,
            None,
        );
        let link = room_server.link_service();
        let one = TestEdge::start("e1", &registry, &link, connects_per_second).await;
        let two = TestEdge::start("e2", &registry, &link, connects_per_second).await;
        Cluster { _room_server: room_server, one, two }
    }
}

impl TestEdge {
    async fn start(
        name: &str,
        registry: &InProcess,
        link: &LinkService,
        connects_per_second: u32,
    ) -> TestEdge {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = Listeners::bind(local, local).await.expect("free ports");
        let http = listeners.http.local_addr().expect("bound");
        let grpc = listeners.grpc.local_addr().expect("bound");
        let node = Node {
            role: Role::Edge,
            fronts: vec![
                Front { transport: Transport::WebSocket, url: format!("ws://{http}/v1/ws") },
                Front { transport: Transport::Grpc, url: format!("http://{grpc}") },
            ],
            load: Load { sessions: 0, sessions_max: SESSIONS_MAX },
            weight: 0,
            ..Node::in_process(id(name))
        };
        let registry = registry.join(node.clone());
        let channel = in_process(link.clone());
        let owners = Owners {
            registry: Arc::new(registry.clone()),
            dial: Arc::new(move |_: &Node| channel.clone()),
        };
        let sessions_max = SESSIONS_MAX as usize;
        let config = Config {
            node: node.id.clone(),
            limits: Arc::new(Limits { sessions_max, ..Limits::default() }),
            shards: 2,
            lanes: 2,
            origins: vec!["https://app.example".to_owned()],
            websocket: true,
            door: Door::new(None, "test".to_owned(), &Secret::new(vec![7; 32])),
            connects_per_second,
        };
        let ready = Arc::new(|| None);
        let seed = Seed::new(u64::from(http.port()));
        let edge = Edge::start(config, owners, listeners, ready, seed);
        TestEdge { edge: edge.expect("threads start"), registry, node, http, grpc }
    }

    /// Says something else of itself than at the start.
    pub(crate) async fn announce(&mut self, change: impl FnOnce(&mut Node)) {
        change(&mut self.node);
        self.registry.announce(self.node.clone()).await.expect("it is in this process");
    }

    /// Leaves as a process does that is redeployed. Answers how many sessions were left behind.
    pub(crate) async fn drain(&mut self, within: Duration) -> usize {
        self.announce(|node| node.draining = true).await;
        let end = End::new(EndCode::Restarting).retry_after(100);
        self.edge.drain(end, 100, within).await
    }

    pub(crate) fn gateway(&self) -> String {
        format!("http://{}", self.http)
    }

    pub(crate) fn ws(&self) -> String {
        format!("ws://{}", self.http)
    }

    pub(crate) fn grpc(&self) -> String {
        format!("grpc://{}", self.grpc)
    }

    /// `GET /v1/connect`: status line and headers, and the body.
    pub(crate) async fn connect(&self, query: &str, header: &str) -> (String, serde_json::Value) {
        let mut stream = TcpStream::connect(self.http).await.expect("it listens");
        let request = format!(
            "GET /v1/connect{query} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{header}\r\n",
            self.http
        );
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        (head.to_lowercase(), serde_json::from_str(body).expect("JSON"))
    }
}

/// Serves the link on pipes, and gives the channel that reaches it.
fn in_process(service: LinkService) -> Channel {
    let (sender, receiver) = mpsc::channel::<DuplexStream>(16);
    let incoming = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    Endpoint::from_static("http://owner.in-process").connect_with_connector_lazy(tower::service_fn(
        move |_| {
            let sender = sender.clone();
            async move {
                let (near, far) = duplex(256 * 1024);
                let sent = sender.send(far).await;
                sent.map_err(|_| std::io::Error::other("the link service is gone"))?;
                Ok::<_, std::io::Error>(TokioIo::new(near))
            }
        },
    ))
}

/// The network in front of an edge, which can be taken away at a stroke.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Cable {
    pub(crate) async fn to(target: SocketAddr) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut far = TcpStream::connect(target).await?;
                    copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Cable { address, task }
    }

    /// Whoever is connected is cut off, and whoever dials is refused.
    pub(crate) fn cut(self) {
        self.task.abort();
    }
}
