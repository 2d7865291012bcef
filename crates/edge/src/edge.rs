//! An edge, wired.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::{Load, Registry, gateway};
use link::LaneConfig;
use model::{End, EndCode, Limits, NodeId, Seed};
use session::log::WireKind;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;

use crate::clock::Clock;
use crate::config::{Config, Owners};
use crate::directory::Directory;
use crate::drain::{Schedule, Step, WAVE_MS};
use crate::front::admission::{Admission, Place};
use crate::front::connections;
use crate::front::gateway::Gateway;
use crate::front::grpc::ChatService;
use crate::front::upgrade::Origins;
use crate::front::{http, pipe};
use crate::identity::Door;
use crate::lane::{LaneContext, Lanes};
use crate::shard::{self, Drain, Newcomer, Parked, ShardContext, Shards, ToShard, Wave};

/// How often a drain looks whether everybody has left.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What all parts of an edge share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<Limits>,
    pub(crate) door: Door,
    pub(crate) origins: Origins,
    pub(crate) directory: Directory,
    pub(crate) shards: Shards,
    pub(crate) lanes: Lanes,
    pub(crate) websocket: bool,
    pub(crate) node: NodeId,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) gateway: Gateway,
    admission: Arc<Admission>,
    draining: AtomicBool,
    readiness: Readiness,
}

/// Says why the process is not ready, if it is not.
pub type Readiness = Arc<dyn Fn() -> Option<String> + Send + Sync>;

impl Shared {
    /// A place for a session, or how it is told to come back.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Arc<Place>, End> {
        if self.is_draining() {
            return Err(End::new(EndCode::Restarting));
        }
        self.admission.admit(address).map(Arc::new)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn load(&self) -> Load {
        let count = |sessions: usize| u32::try_from(sessions).unwrap_or(u32::MAX);
        Load {
            sessions: count(self.admission.sessions()),
            sessions_max: count(self.limits.sessions_max),
        }
    }

    pub(crate) fn not_ready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("the server is leaving".to_owned());
        }
        (self.readiness)()
    }
}

/// Bound sockets: an address that is taken stops the start, before anything is built.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP and WebSocket.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: TcpListener,
}

impl Listeners {
    /// Binds both.
    ///
    /// # Errors
    /// A sentence that names the address and what to do.
    pub async fn bind(http: SocketAddr, grpc: SocketAddr) -> Result<Listeners, String> {
        Ok(Listeners { http: bind("listen", http).await?, grpc: bind("grpc", grpc).await? })
    }
}

async fn bind(name: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {name} = {address}: {error}; choose another with --{name}")
    })
}

/// A running edge.
pub struct Edge {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// An edge whose shards do not run yet.
struct Parts {
    shared: Arc<Shared>,
    shards: Vec<(ShardContext, mpsc::Receiver<ToShard>)>,
}

impl Parts {
    /// Wires an edge and starts its lanes.
    fn new(
        config: Config,
        owners: Owners,
        clock: Clock,
        readiness: Readiness,
        grpc_port: u16,
        mut seed: Seed,
    ) -> Parts {
        let (shards, shard_inboxes) = Shards::new(config.shard_count());
        let (lanes, lane_inboxes) = Lanes::new(config.lanes);
        let limits = Arc::clone(&config.limits);
        let gateway_seed = Seed::new(seed.next_u64());
        let shared = Arc::new(Shared {
            clock,
            limits: Arc::clone(&limits),
            door: config.door,
            origins: Origins::new(config.origins),
            directory: Directory::default(),
            shards: shards.clone(),
            lanes,
            websocket: config.websocket,
            node: config.node.clone(),
            registry: Arc::clone(&owners.registry),
            gateway: Gateway::new(config.connects_per_second, grpc_port, gateway_seed),
            admission: Admission::new(limits.sessions_max, limits.sessions_per_address_max),
            draining: AtomicBool::new(false),
            readiness,
        });
        let lane =
            LaneConfig { edge: config.node.clone(), lane: 0, ask_wait_ms: limits.publish_wait_ms };
        let lane_context = LaneContext::new(config.node, clock, owners, shards);
        lane_inboxes.start(&lane, &lane_context, &mut seed, clock.now());
        let context = |number| ShardContext {
            number,
            shared: Arc::clone(&shared),
            seed: Seed::new(seed.next_u64()),
        };
        let contexts = (0..).map(context);
        let shards = contexts.zip(shard_inboxes).collect();
        Parts { shared, shards }
    }
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

impl Edge {
    /// Starts shards, lanes and fronts.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        config: Config,
        owners: Owners,
        listeners: Listeners,
        readiness: Readiness,
        seed: Seed,
    ) -> std::io::Result<Edge> {
        let grpc_port = listeners.grpc.local_addr()?.port();
        let parts = Parts::new(config, owners, Clock::start(), readiness, grpc_port, seed);
        let shared = Arc::clone(&parts.shared);
        let threads = parts
            .shards
            .into_iter()
            .map(|(context, inbox)| shard::start(context, inbox))
            .collect::<Result<Vec<_>, _>>()?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(http::serve(listeners.http, Arc::clone(&shared), stopped.clone()));
        tokio::spawn(serve_grpc(listeners.grpc, Arc::clone(&shared), stopped));
        Ok(Edge { shared, stop, threads })
    }

    /// The same for a simulation: shards are tasks of this runtime, time is its own, and nobody is let in
    /// but by [`Edge::session`].
    #[must_use]
    pub fn simulated(config: Config, owners: Owners, clock: Clock, seed: Seed) -> Edge {
        let parts = Parts::new(config, owners, clock, Arc::new(|| None), 0, seed);
        for (context, inbox) in parts.shards {
            tokio::spawn(shard::run(context, inbox));
        }
        let (stop, _) = watch::channel(false);
        Edge { shared: parts.shared, stop, threads: Vec::new() }
    }

    /// Opens a session that speaks through a pipe, as one behind a gRPC stream does: frames in protobuf,
    /// each behind its length in four bytes, and back each as a WebSocket message.
    ///
    /// # Errors
    /// How somebody who is not let in is told to come back.
    pub async fn session(&self, address: IpAddr) -> Result<DuplexStream, End> {
        let place = self.shared.admit(address)?;
        let (near, far) = pipe::pipe();
        let newcomer = Newcomer {
            socket: Parked::Pipe(Box::new(far)),
            wire: WireKind::WebSocketProto,
            place,
            received: Vec::new(),
            shown: None,
        };
        self.shared.shards.open(newcomer).await;
        Ok(near)
    }

    /// Sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.admission.sessions()
    }

    /// How busy it is, for what its node announces.
    #[must_use]
    pub fn load(&self) -> Load {
        self.shared.load()
    }

    /// Lets nobody in any more, and waits until all sessions have left, at most `within`: they are asked
    /// to go elsewhere, as fast as the other edges say that they take them. Who is left when the time
    /// is nearly over, and everybody if there is no other edge, is told the end. Answers how many had
    /// to be left behind.
    ///
    /// The node should have announced before that it drains, so that other gateways do not offer it.
    pub async fn drain(&self, end: End, spread_ms: u64, within: Duration) -> usize {
        self.shared.draining.store(true, Ordering::Release);
        let deadline = tokio::time::Instant::now() + within;
        // Whoever does not take its messages is not waited for.
        let _ = tokio::time::timeout_at(deadline, self.empty(end, spread_ms, within)).await;
        self.stop.send_replace(true);
        self.sessions()
    }

    async fn empty(&self, end: End, spread_ms: u64, within: Duration) {
        let Shared { clock, shards, registry, node, .. } = &*self.shared;
        let within_ms = within.as_millis() as u64;
        let mut schedule = Schedule::new(clock.now(), within_ms, self.sessions());
        let mut next_wave = tokio::time::Instant::now();
        while self.sessions() > 0 {
            if tokio::time::Instant::now() >= next_wave {
                next_wave += Duration::from_millis(WAVE_MS);
                let view = registry.view();
                match schedule.step(clock.now(), gateway::elsewhere(&view, node)) {
                    Step::Move { sessions, within_ms } => {
                        let wave = Arc::new(Wave::new(sessions, within_ms, view));
                        shards.drain(&Drain::Move(wave)).await;
                    }
                    Step::Pause => {}
                    Step::End => break,
                }
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
        // Also for those that were on their way in when the last one left.
        shards.drain(&Drain::End { end, spread_ms }).await;
        while self.sessions() > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// How many shards run.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.threads.len()
    }
}

async fn serve_grpc(listener: TcpListener, shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    health.set_service_status("parlour.v1.Chat", tonic_health::ServingStatus::Serving).await;
    let reflect = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (v1, v1alpha) = match (reflect().build_v1(), reflect().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => (v1, v1alpha),
        (v1, _) => {
            // The descriptors are part of the binary; a test builds them.
            tracing::error!(error = ?v1.err(), "reflection cannot be built");
            return;
        }
    };
    let routes = Routes::new(ChatService::new(Arc::clone(&shared)))
        .add_service(health_service)
        .add_service(v1)
        .add_service(v1alpha);
    connections::serve_grpc(listener, routes, shared, stopped).await;
}
