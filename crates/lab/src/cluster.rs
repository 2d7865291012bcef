//! The whole cluster.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::node::World;
use crate::process::run;
use crate::{Etcd, Fault, Kind, Node, Postgres};

/// How large a cluster is wanted.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program.
    pub parlour: PathBuf,
    /// Where everything is kept; other users can enter it (PostgreSQL is one).
    pub folder: PathBuf,
    /// Members of etcd.
    pub etcd: usize,
    /// Whether PostgreSQL has a synchronous standby.
    pub standby: bool,
    /// Room servers.
    pub rooms: usize,
    /// Edges.
    pub edges: usize,
    /// Whether nodes speak over wires that can be cut.
    pub wires: bool,
    /// Further arguments of every node.
    pub extra: Vec<String>,
}

/// A running cluster. Dropping it kills all of it.
#[derive(Debug)]
pub struct Cluster {
    world: World,
    /// The members of etcd.
    pub etcd: Etcd,
    /// The journal's servers.
    pub postgres: Postgres,
    /// Room servers, then edges.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Starts everything and waits until it listens; `tell` is told what comes next.
    ///
    /// # Errors
    /// What is missing or did not start.
    pub async fn start(plan: Plan, mut tell: impl FnMut(&str)) -> Result<Cluster, Fault> {
        let folder = plan.folder.as_path();
        tell("etcd");
        let etcd = Etcd::start(folder, plan.etcd).await?;
        tell("PostgreSQL");
        let postgres = Postgres::start(folder, plan.standby).await?;
        let key_file = make_key(folder)?;
        let world =
            World { parlour: plan.parlour, folder: folder.to_owned(), key_file, extra: plan.extra };
        let mut cluster = Cluster { world, etcd, postgres, nodes: Vec::new() };
        tell("parlour admin init");
        cluster.admin(&["init"]).await?;
        let kinds = std::iter::repeat_n(Kind::Room, plan.rooms)
            .enumerate()
            .chain(std::iter::repeat_n(Kind::Edge, plan.edges).enumerate());
        for (number, kind) in kinds {
            let (urls, journal) = (cluster.etcd.urls().join(","), cluster.postgres.url());
            let mut node = Node::new(kind, number + 1, urls, journal)?;
            if plan.wires {
                let etcd = cluster.etcd.urls();
                let etcd: Vec<SocketAddr> =
                    etcd.iter().filter_map(|url| url.rsplit('/').next()?.parse().ok()).collect();
                let postgres = cluster.postgres.ports().into_iter();
                let postgres: Vec<SocketAddr> =
                    postgres.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
                node.wire(&etcd, &postgres).await?;
            }
            tell(&node.name);
            node.start(&cluster.world).await?;
            cluster.nodes.push(node);
        }
        Ok(cluster)
    }

    /// The nodes of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.kind == kind)
    }

    /// Starts a node that left or was killed, on its former ports and under a new id.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, index: usize) -> Result<(), Fault> {
        self.nodes[index].start(&self.world).await
    }

    /// `parlour admin …` against this cluster.
    ///
    /// # Errors
    /// With what it said.
    pub async fn admin(&self, args: &[&str]) -> Result<String, Fault> {
        let mut command = Command::new(&self.world.parlour);
        command
            .arg("admin")
            .args(args)
            .args(["--etcd", &self.etcd.urls().join(","), "--journal", &self.postgres.url()])
            .arg("--cluster-key-file")
            .arg(&self.world.key_file);
        run(&mut command).await
    }

    /// The arguments that `parlour admin` needs, for a person to copy.
    #[must_use]
    pub fn admin_flags(&self) -> String {
        let etcd = self.etcd.urls().join(",");
        format!("--etcd {etcd} --cluster-key-file {}", self.world.key_file.display())
    }

    /// Lets every node leave, edges first.
    ///
    /// # Errors
    /// The first node that did not leave cleanly; the others were asked all the same.
    pub async fn leave(mut self) -> Result<(), Fault> {
        let mut first = Ok(());
        for node in self.nodes.iter_mut().rev() {
            let left = node.leave().await;
            if first.is_ok() {
                first = left;
            }
        }
        first
    }
}

/// The cluster's key: 32 random bytes, as text.
fn make_key(folder: &Path) -> Result<PathBuf, Fault> {
    use std::io::Read;
    let path = folder.join("cluster.key");
    let mut bytes = [0u8; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .and_then(|()| {
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            std::fs::write(&path, text)
        })
        .map_err(|error| Fault::new(format!("{}: {error}", path.display())))?;
    Ok(path)
}
