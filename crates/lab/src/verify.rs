//! `parlour verify` beside a cluster: the judge of what is done to it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::{Cluster, Fault, Kind};
use clap::Args;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long the judge may take beyond what it was told to run.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);

/// Who talks, and how much.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// Clients over WebSocket.
    #[arg(long, default_value_t = 100)]
    pub clients: usize,
    /// Clients over gRPC beside them.
    #[arg(long, default_value_t = 10)]
    pub grpc_clients: usize,
    /// Rooms.
    #[arg(long, default_value_t = 20)]
    pub talk_in: usize,
    /// Publishes a second, all clients together.
    #[arg(long, default_value_t = 200)]
    pub rate: u32,
}

/// A running judge.
#[derive(Debug)]
pub struct Verify {
    child: Child,
    seconds: u64,
    /// What was delivered when.
    pub timeline: PathBuf,
}

impl Verify {
    /// Lets people talk for so many seconds, through the cluster's gateways.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        parlour: &Path,
        cluster: &Cluster,
        folder: &Path,
        load: &Load,
        seconds: u64,
    ) -> Result<Verify, Fault> {
        let timeline = folder.join("timeline.jsonl");
        let mut command = Command::new(parlour);
        command.arg("verify");
        // Clients are spread evenly over the URLs: one that stands there more often gets more.
        let shares = load.clients.div_ceil(load.grpc_clients.max(1));
        for edge in cluster.of(Kind::Edge) {
            for _ in 0..shares {
                command.args(["--url", &edge.http_url()]);
            }
            if load.grpc_clients > 0 {
                command.args(["--url", &format!("{}?transport=grpc", edge.http_url())]);
            }
        }
        let child = command
            .args(["--rooms", &load.talk_in.to_string()])
            .args(["--clients", &(load.clients + load.grpc_clients).to_string()])
            .args(["--rate", &load.rate.to_string(), "--seconds", &seconds.to_string()])
            .arg("--timeline")
            .arg(&timeline)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Fault::new(format!("parlour verify cannot be started: {error}")))?;
        Ok(Verify { child, seconds, timeline })
    }

    /// Whether it has come to its verdict already.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Its verdict: what it printed, and whether every promise held.
    ///
    /// # Errors
    /// When it comes to none.
    pub async fn verdict(self) -> Result<(String, bool), Fault> {
        let within = Duration::from_secs(self.seconds) + SETTLE_WITHIN;
        match timeout(within, self.child.wait_with_output()).await {
            Ok(Ok(output)) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                Ok((text, output.status.success()))
            }
            Ok(Err(error)) => Err(Fault::new(format!("parlour verify: {error}"))),
            Err(_) => Err(Fault::new("parlour verify came to no verdict")),
        }
    }
}
