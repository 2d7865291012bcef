//! The running process: what it is built of in each role, and how it leaves.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Front, Load, Node, Registry, Transport};
use edge::{Door, Edge, Listeners, Owners, Readiness};
use journal::Journal;
use model::{End, EndCode, Limits, NodeId, Seed};
use registry::InProcess;
use registry::etcd::Etcd;
use room_server::{Clock, RoomServer};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Server};

use super::member::Member;
use super::{etcd, identity, link, store};
use crate::settings::{Role, Settings};

/// When clients are told to come back after a drain, and over how long their return is spread.
const COME_BACK_MS: u64 = 1_000;
const COME_BACK_SPREAD_MS: u64 = 1_000;

/// What rooms get of a drain's time at least, however long sessions took.
const ROOMS_WITHIN_MIN: Duration = Duration::from_millis(500);
/// How long the registry is asked to forget a node that leaves; its lease does so anyway.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// How a node's internal listener is reached.
type Dial = Arc<dyn Fn(&Node) -> Channel + Send + Sync>;

/// The running process.
#[derive(Debug)]
pub struct App {
    role: Role,
    /// This process's id.
    id: NodeId,
    edge: Arc<Edge>,
    room_server: Option<RoomServer>,
    member: Option<(Member, Arc<Etcd>)>,
    drain_within: Duration,
    /// Where HTTP and WebSockets are.
    pub http: SocketAddr,
    /// Where gRPC is.
    pub grpc: SocketAddr,
    /// Where other nodes reach this room server.
    pub link: Option<SocketAddr>,
}

/// Sockets, bound before anything is built.
struct Bound {
    listeners: Listeners,
    http: SocketAddr,
    grpc: SocketAddr,
    link: Option<(TcpListener, SocketAddr)>,
}

impl Bound {
    async fn bind(settings: &Settings, role: Role) -> Result<Bound, String> {
        let address = |socket: std::io::Result<SocketAddr>| {
            socket.map_err(|error| format!("a socket has no address: {error}"))
        };
        let listeners = Listeners::bind(settings.listen, settings.grpc).await?;
        let link = match role {
            Role::Room => {
                let wanted = settings.cluster.link;
                let listener = TcpListener::bind(wanted).await.map_err(|error| {
                    format!("cannot listen on link = {wanted}: {error}; choose another with --link")
                })?;
                let bound = address(listener.local_addr())?;
                Some((listener, bound))
            }
            Role::Serve | Role::Edge => None,
        };
        let http = address(listeners.http.local_addr())?;
        let grpc = address(listeners.grpc.local_addr())?;
        Ok(Bound { listeners, http, grpc, link })
    }
}

impl App {
    /// Builds everything.
    ///
    /// # Errors
    /// A sentence for the person who started it.
    pub async fn start(settings: Settings, role: Role) -> Result<App, String> {
        let bound = Bound::bind(&settings, role).await?;
        let seed = Seed::new(identity::random());
        match role {
            Role::Serve => serve(settings, bound, seed).await,
            Role::Room => room(settings, bound, seed).await,
            Role::Edge => edge_alone(settings, bound, seed).await,
        }
    }

    /// Sessions that are open here.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.edge.sessions()
    }

    /// The first lines: where it listens, and what to try next.
    pub(super) fn greet(&self) {
        let (http, grpc) = (self.http, self.grpc);
        match (self.role, self.link) {
            (Role::Room, Some(link)) => {
                println!(
                    "Parlour room server {} is listening: gRPC on {grpc}, link on {link}, HTTP on {http}",
                    self.id
                );
            }
            (Role::Edge, _) => {
                println!(
                    "Parlour edge {} is listening: WebSocket on ws://{http}/v1/ws, gRPC on {grpc}",
                    self.id
                );
            }
            _ => println!("Parlour is listening: WebSocket on ws://{http}/v1/ws, gRPC on {grpc}"),
        }
        if self.role == Role::Serve && std::io::stdout().is_terminal() {
            println!(
                "Try:  python3 examples/chat.py Ann lobby ws://{http}/v1/ws\n      \
                 grpcurl -plaintext -H 'parlour-name: Ann' -d '{{\"room\":\"lobby\",\"post\":{{\"text\":\"hello\"}}}}' \
                 {grpc} parlour.v1.Chat/Publish\nStop: Ctrl-C"
            );
        }
    }

    /// Sessions move away or are told when to come back, slots are given away or closed; the journal
    /// closes when the last who uses it is gone. Answers how many sessions were left behind.
    pub async fn drain(self) -> usize {
        let deadline = tokio::time::Instant::now() + self.drain_within;
        if let Some((member, _)) = &self.member {
            member.leaving();
        }
        let end = End::new(EndCode::Restarting).retry_after(COME_BACK_MS);
        let sessions = self.edge.drain(end, COME_BACK_SPREAD_MS, self.drain_within);
        let (left, drained) = match (&self.room_server, &self.member) {
            (None, _) => (sessions.await, true),
            // In a cluster the rooms go on elsewhere, whatever sessions are still here.
            (Some(rooms), Some(_)) => tokio::join!(sessions, rooms.drain(self.drain_within)),
            (Some(rooms), None) => {
                let left = sessions.await;
                let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
                (left, rooms.drain(rest.max(ROOMS_WITHIN_MIN)).await)
            }
        };
        if !drained {
            tracing::warn!("not all rooms were closed or given away in time");
        }
        if let Some((member, registry)) = self.member {
            drop(member);
            if tokio::time::timeout(LEAVE_WITHIN, registry.leave()).await.is_err() {
                tracing::warn!("the registry was not told that this node left; its lease will end");
            }
        }
        left
    }
}

/// Everything in one process.
async fn serve(settings: Settings, bound: Bound, mut seed: Seed) -> Result<App, String> {
    let id = NodeId::new("local").map_err(|error| error.to_string())?;
    // It makes the folder in which the key lies.
    let journal = store::embedded(&settings).await?;
    let cluster_key = identity::cluster_key(&settings.data)?;
    let me =
        Node { fronts: fronts(&settings, &bound, Role::Serve), ..Node::in_process(id.clone()) };
    let registry: Arc<dyn Registry> = Arc::new(InProcess::new(me, cluster::SLOTS_DEFAULT));
    let room_server = RoomServer::new(
        rooms_config(&settings, id.clone(), cluster::SLOTS_DEFAULT),
        Arc::clone(&journal),
        Arc::clone(&registry),
        Clock::system(),
        seed.next_u64(),
        None,
    );
    let channel = link::in_process(room_server.link_service());
    let owners = Owners { registry, dial: Arc::new(move |_| channel.clone()) };
    let door = Door::new(settings.token_key.as_ref(), "local".to_owned(), &cluster_key);
    let config = edge_config(&settings, id.clone(), door, true);
    let edge = start_edge(config, owners, bound.listeners, journal_readiness(&journal), seed)?;
    Ok(App {
        role: Role::Serve,
        id,
        edge,
        room_server: Some(room_server),
        member: None,
        drain_within: Duration::from_millis(settings.drain_within_ms),
        http: bound.http,
        grpc: bound.grpc,
        link: None,
    })
}

/// A room server, with an edge for native clients.
async fn room(settings: Settings, mut bound: Bound, mut seed: Seed) -> Result<App, String> {
    let (listener, link_at) = bound.link.take().ok_or("a room server needs a link")?;
    let key = settings.cluster.cluster_key.clone().ok_or("no cluster key is set")?;
    let advertised = match settings.cluster.advertise_link.as_str() {
        "" => link_at.to_string(),
        given => given.to_owned(),
    };
    let id = node_id(&settings, "room", &mut seed)?;
    let me = Node {
        link: advertised,
        fronts: fronts(&settings, &bound, Role::Room),
        weight: settings.cluster.weight,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Node::in_process(id.clone())
    };
    // The nonce tells this process's claims from those of its former self.
    let nonce = seed.next_u64();
    let etcd = join(&settings, me.clone()).await?;
    let slots = etcd.constants().slots;
    let registry: Arc<dyn Registry> = Arc::clone(&etcd) as _;
    let journal = store::shared(&settings.cluster, etcd.constants(), nonce).await?;
    let dialer = link::Dialer::new(key.clone());
    let dial: Dial = Arc::new(move |node| dialer.dial(node));
    let room_server = RoomServer::new(
        rooms_config(&settings, id.clone(), slots),
        Arc::clone(&journal),
        Arc::clone(&registry),
        Clock::system(),
        nonce,
        Some(Arc::clone(&dial)),
    );
    let internal = Server::builder()
        .add_service(room_server.link_service())
        .add_service(room_server.peer_service())
        .serve_with_incoming(link::listen(listener, key.clone()));
    tokio::spawn(async move {
        if let Err(error) = internal.await {
            tracing::error!(%error, "the internal listener failed");
        }
    });
    let own = link::in_process(room_server.link_service());
    let me_id = id.clone();
    let owners = Owners {
        registry: Arc::clone(&registry),
        dial: Arc::new(move |node| if node.id == me_id { own.clone() } else { dial(node) }),
    };
    let door = Door::new(settings.token_key.as_ref(), settings.cluster.name.clone(), &key);
    let config = edge_config(&settings, id.clone(), door, false);
    let edge = start_edge(config, owners, bound.listeners, journal_readiness(&journal), seed)?;
    let member = Member::start(registry, me, load_of(&edge));
    Ok(App {
        role: Role::Room,
        id,
        edge,
        room_server: Some(room_server),
        member: Some((member, etcd)),
        drain_within: Duration::from_millis(settings.drain_within_ms),
        http: bound.http,
        grpc: bound.grpc,
        link: Some(link_at),
    })
}

/// An edge without rooms.
async fn edge_alone(settings: Settings, bound: Bound, mut seed: Seed) -> Result<App, String> {
    let key = settings.cluster.cluster_key.clone().ok_or("no cluster key is set")?;
    let id = node_id(&settings, "edge", &mut seed)?;
    let me = Node {
        role: cluster::Role::Edge,
        fronts: fronts(&settings, &bound, Role::Edge),
        weight: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Node::in_process(id.clone())
    };
    let etcd = join(&settings, me.clone()).await?;
    let registry: Arc<dyn Registry> = Arc::clone(&etcd) as _;
    let dialer = link::Dialer::new(key.clone());
    let owners =
        Owners { registry: Arc::clone(&registry), dial: Arc::new(move |node| dialer.dial(node)) };
    let door = Door::new(settings.token_key.as_ref(), settings.cluster.name.clone(), &key);
    let config = edge_config(&settings, id.clone(), door, true);
    let view = Arc::clone(&registry);
    let readiness: Readiness = Arc::new(move || {
        let nobody = view.view().room_servers().next().is_none();
        nobody.then(|| "no room server is known; is one running with the same etcd?".to_owned())
    });
    let edge = start_edge(config, owners, bound.listeners, readiness, seed)?;
    let member = Member::start(registry, me, load_of(&edge));
    Ok(App {
        role: Role::Edge,
        id,
        edge,
        room_server: None,
        member: Some((member, etcd)),
        drain_within: Duration::from_millis(settings.drain_within_ms),
        http: bound.http,
        grpc: bound.grpc,
        link: None,
    })
}

/// Registers this node in etcd.
async fn join(settings: &Settings, me: Node) -> Result<Arc<Etcd>, String> {
    let etcd = Etcd::open(etcd::settings(&settings.cluster)?, me).await;
    etcd.map(Arc::new).map_err(|error| error.to_string())
}

fn node_id(settings: &Settings, role: &str, seed: &mut Seed) -> Result<NodeId, String> {
    match &settings.cluster.node {
        Some(id) => Ok(id.clone()),
        None => NodeId::new(&format!("{role}-{:08x}", seed.next_u64() as u32))
            .map_err(|error| error.to_string()),
    }
}

/// Where clients reach this process, as they must dial it.
fn fronts(settings: &Settings, bound: &Bound, role: Role) -> Vec<Front> {
    let or = |given: &str, made: String| if given.is_empty() { made } else { given.to_owned() };
    let ws = || Front {
        transport: Transport::WebSocket,
        url: or(&settings.cluster.advertise_ws, format!("ws://{}/v1/ws", bound.http)),
    };
    let grpc = Front {
        transport: Transport::Grpc,
        url: or(&settings.cluster.advertise_grpc, format!("http://{}", bound.grpc)),
    };
    match role {
        Role::Room => vec![grpc],
        Role::Serve | Role::Edge => vec![ws(), grpc],
    }
}

fn rooms_config(settings: &Settings, node: NodeId, slots: u32) -> room_server::Config {
    room_server::Config {
        limits: Arc::new(settings.limits.clone()),
        slots,
        retention: settings.retention.iter().map(store::rule).collect(),
        retention_interval_ms: settings.retention_interval_ms,
        ..room_server::Config::new(node)
    }
}

fn edge_config(settings: &Settings, node: NodeId, door: Door, websocket: bool) -> edge::Config {
    edge::Config {
        node,
        limits: Arc::<Limits>::new(settings.limits.clone()),
        shards: settings.shards,
        lanes: settings.lanes,
        origins: settings.origins.clone(),
        websocket,
        door,
        connects_per_second: settings.connects_per_second,
    }
}

fn start_edge(
    config: edge::Config,
    owners: Owners,
    listeners: Listeners,
    readiness: Readiness,
    seed: Seed,
) -> Result<Arc<Edge>, String> {
    Edge::start(config, owners, listeners, readiness, seed)
        .map(Arc::new)
        .map_err(|error| format!("cannot start the shards: {error}"))
}

/// Asks the edge, for as long as there is one.
fn load_of(edge: &Arc<Edge>) -> impl Fn() -> Load + Send + 'static {
    let edge = Arc::downgrade(edge);
    move || edge.upgrade().map(|edge| edge.load()).unwrap_or_default()
}

/// A process that keeps rooms is ready while its journal takes writes.
fn journal_readiness(journal: &Arc<dyn Journal>) -> Readiness {
    let journal = Arc::clone(journal);
    Arc::new(move || {
        let health = journal.health();
        (!health.writable).then(|| {
            health.why.unwrap_or_else(|| "the journal takes no writes right now".to_owned())
        })
    })
}
