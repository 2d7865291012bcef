//! What runs on hosts: room servers and edges, wired as the program wires them, over the simulated network.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use cluster::{Front, Load, Node, Role, Transport};
use edge::{Door, Edge, Owners, Secret};
use futures_util::StreamExt;
use model::{Limits, NodeId, Seed};
use room_server::RoomServer;
use tonic::transport::Server;

use crate::disk::Disk;
use crate::etcd::{Etcd, Seat};
use crate::host::Host;
use crate::net::{Net, Pipe, channel};
use crate::time::Time;

/// What an edge says that it would take: everybody.
const SESSIONS_MAX: u32 = 100;

/// What every node is built of.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) net: Net,
    pub(crate) etcd: Etcd,
    pub(crate) disk: Disk,
    pub(crate) time: Time,
    pub(crate) limits: Arc<Limits>,
    pub(crate) slots: u32,
}

/// A room server's process.
pub(crate) struct RoomHost {
    pub(crate) host: Host,
    pub(crate) id: NodeId,
    pub(crate) server: Arc<RoomServer>,
}

/// An edge's process.
pub(crate) struct EdgeHost {
    pub(crate) host: Host,
    pub(crate) id: NodeId,
    pub(crate) edge: Arc<Edge>,
    pub(crate) registry: Arc<Seat>,
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).expect("hosts have short names")
}

impl Site {
    /// Starts a room server; `name` is new.
    pub(crate) fn room_server(&self, name: &str, mut seed: Seed) -> RoomHost {
        let (host, id) = (Host::new(name, &self.time), id(name));
        let me =
            Node { link: crate::net::machine(name).to_owned(), ..Node::in_process(id.clone()) };
        let registry = Arc::new(self.etcd.join(me));
        let listener = self.net.listen(name);
        let server = host.run(async {
            let time = self.time.clone();
            let config = room_server::Config {
                slots: self.slots,
                limits: Arc::clone(&self.limits),
                ..room_server::Config::new(id.clone())
            };
            let (net, from) = (self.net.clone(), name.to_owned());
            let server = RoomServer::new(
                config,
                self.disk.handle(name),
                Arc::clone(&registry) as _,
                room_server::Clock::with_wall(move || time.wall_ms()),
                seed.next_u64(),
                Some(Arc::new(move |node: &Node| channel(&net, &from, &node.link))),
            );
            let serving = Server::builder()
                .add_service(server.link_service())
                .add_service(server.peer_service())
                .serve_with_incoming(listener);
            tokio::spawn(async move { serving.await.expect("the port is open") });
            server
        });
        RoomHost { host, id, server: Arc::new(server) }
    }

    /// Starts an edge; `name` is new.
    pub(crate) fn edge(&self, name: &str, seed: Seed) -> EdgeHost {
        let (host, id) = (Host::new(name, &self.time), id(name));
        let url = crate::net::machine(name).to_owned();
        let me = Node {
            role: Role::Edge,
            weight: 0,
            load: Load { sessions: 0, sessions_max: SESSIONS_MAX },
            fronts: vec![Front { transport: Transport::Grpc, url }],
            ..Node::in_process(id.clone())
        };
        let registry = Arc::new(self.etcd.join(me));
        let mut listener = self.net.listen(name);
        let edge = host.run(async {
            let (net, from) = (self.net.clone(), name.to_owned());
            let owners = Owners {
                registry: Arc::clone(&registry) as _,
                dial: Arc::new(move |node: &Node| channel(&net, &from, &node.link)),
            };
            let config = edge::Config {
                node: id.clone(),
                limits: Arc::clone(&self.limits),
                shards: 2,
                lanes: 2,
                origins: Vec::new(),
                websocket: false,
                door: Door::new(None, "sim".to_owned(), &Secret::new(vec![7; 32])),
                connects_per_second: edge::CONNECTS_PER_SECOND,
            };
            let clock = edge::Clock::simulated(self.time.wall_ms());
            let edge = Arc::new(Edge::simulated(config, owners, clock, seed));
            let door = Arc::clone(&edge);
            tokio::spawn(async move {
                while let Some(Ok(pipe)) = listener.next().await {
                    tokio::spawn(carry(Arc::clone(&door), pipe));
                }
            });
            edge
        });
        EdgeHost { host, id, edge, registry }
    }
}

/// Between a client's connection and its session.
async fn carry(edge: Arc<Edge>, mut pipe: Pipe) {
    if let Ok(mut session) = edge.session(IpAddr::from(Ipv4Addr::LOCALHOST)).await {
        // Ends with either side; that is all there is to know.
        let _ = tokio::io::copy_bidirectional(&mut pipe, &mut session).await;
    }
}
