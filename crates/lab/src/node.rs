//! One process of the cluster, on ports that stay its own over restarts.

use std::net::SocketAddr;
use std::time::Duration;

use crate::process::bound;
use crate::{Fault, Process, Proxy, Signal, free_port};

/// How long a process may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a process that was asked to leave may take.
pub(crate) const LEAVE_WITHIN: Duration = Duration::from_secs(40);

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It owns rooms.
    Room,
    /// It holds sockets.
    Edge,
}

/// What its nodes are told of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) parlour: std::path::PathBuf,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) key_file: std::path::PathBuf,
    pub(crate) extra: Vec<String>,
}

/// A node's wires, when the cluster is to be cut.
#[derive(Debug)]
pub struct Wires {
    /// Others' way to its internal listener; edges have none.
    pub link: Option<Proxy>,
    /// Its way to each member of etcd.
    pub etcd: Vec<Proxy>,
    /// Its way to each server of PostgreSQL.
    pub postgres: Vec<Proxy>,
}

/// A room server or an edge.
#[derive(Debug)]
pub struct Node {
    /// What it does.
    pub kind: Kind,
    /// Its name in events; its id in the cluster has the number of its life behind it.
    pub name: String,
    lives: u32,
    process: Option<Process>,
    http: u16,
    grpc: u16,
    link: u16,
    etcd: String,
    journal: String,
    /// Present if the cluster is to be cut.
    pub wires: Option<Wires>,
}

impl Node {
    pub(crate) fn new(
        kind: Kind,
        number: usize,
        etcd: String,
        journal: String,
    ) -> Result<Node, Fault> {
        let name = match kind {
            Kind::Room => format!("room-{number}"),
            Kind::Edge => format!("edge-{number}"),
        };
        Ok(Node {
            kind,
            name,
            lives: 0,
            process: None,
            http: free_port()?,
            grpc: free_port()?,
            link: free_port()?,
            etcd,
            journal,
            wires: None,
        })
    }

    /// Lets it reach everything, and be reached, over wires that can be cut.
    pub(crate) async fn wire(
        &mut self,
        etcd: &[SocketAddr],
        postgres: &[SocketAddr],
    ) -> Result<(), Fault> {
        let link = match self.kind {
            Kind::Room => Some(Proxy::start(SocketAddr::from(([127, 0, 0, 1], self.link))).await?),
            Kind::Edge => None,
        };
        let (mut to_etcd, mut to_postgres) = (Vec::new(), Vec::new());
        for target in etcd {
            to_etcd.push(Proxy::start(*target).await?);
        }
        for target in postgres {
            to_postgres.push(Proxy::start(*target).await?);
        }
        let urls: Vec<String> = to_etcd.iter().map(|it| format!("http://{}", it.address)).collect();
        self.etcd = urls.join(",");
        self.journal = crate::Postgres::url_of(to_postgres.iter().map(|it| it.address.port()));
        self.wires = Some(Wires { link, etcd: to_etcd, postgres: to_postgres });
        Ok(())
    }

    /// Where clients ask for a usable URL, and where health is.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Its WebSocket.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}/v1/ws", self.http)
    }

    /// Its gRPC address.
    #[must_use]
    pub fn grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc)
    }

    /// Its id in the cluster.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.{}", self.name, self.lives)
    }

    /// Its process, if it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    pub(crate) async fn start(&mut self, world: &World) -> Result<(), Fault> {
        self.lives += 1;
        let mut command = bound(&world.parlour)?;
        let at = |port: u16| format!("127.0.0.1:{port}");
        command
            .arg(match self.kind {
                Kind::Room => "room",
                Kind::Edge => "edge",
            })
            .args(["--etcd", &self.etcd, "--node", &self.id(), "--log", "info"])
            .args(["--listen", &at(self.http), "--grpc", &at(self.grpc)])
            .arg("--cluster-key-file")
            .arg(&world.key_file)
            .args(&world.extra);
        if self.kind == Kind::Room {
            command.args(["--journal", &self.journal, "--link", &at(self.link)]);
            if let Some(link) = self.wires.as_ref().and_then(|wires| wires.link.as_ref()) {
                command.args(["--set", &format!("advertise_link={}", link.address)]);
            }
        }
        let from = Process::log_end(&self.name, &world.folder);
        let mut process = Process::start(&self.name, &mut command, &world.folder)?;
        process.says("is listening", from, READY_WITHIN).await?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGTERM, and waits until it has left.
    ///
    /// # Errors
    /// When it does not leave in time, or not cleanly.
    pub async fn leave(&mut self) -> Result<(), Fault> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::TERM);
        let status = process.ended(LEAVE_WITHIN).await?;
        if status.success() {
            Ok(())
        } else {
            Err(Fault::new(format!(
                "{} left with {status}; its log: {}",
                self.name,
                process.log().display()
            )))
        }
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }
}
