//! Members of etcd.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::process::{bound, run, until_ok};
use crate::{Fault, Process, find_program, free_port};

/// How long a member may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A cluster of etcd.
#[derive(Debug)]
pub struct Etcd {
    folder: PathBuf,
    program: PathBuf,
    control: PathBuf,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    process: Option<Process>,
    client: u16,
    peer: u16,
}

impl Etcd {
    /// Starts so many members and waits until they answer.
    ///
    /// # Errors
    /// When etcd is not installed, or does not start.
    pub async fn start(folder: &Path, members: usize) -> Result<Etcd, Fault> {
        let program = find_program("etcd", &[], "etcd-server")?;
        let control = find_program("etcdctl", &[], "etcd-client")?;
        let ports = || Ok(Member { process: None, client: free_port()?, peer: free_port()? });
        let members = (0..members).map(|_| ports()).collect::<Result<Vec<_>, Fault>>()?;
        let mut etcd = Etcd { folder: folder.to_owned(), program, control, members };
        for index in 0..etcd.members.len() {
            etcd.begin(index)?;
        }
        etcd.ready().await?;
        Ok(etcd)
    }

    /// The members' URLs.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| client_url(member.client)).collect()
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member's process, if it was not killed.
    pub fn member(&mut self, index: usize) -> Option<&mut Process> {
        self.members.get_mut(index)?.process.as_mut()
    }

    /// `kill -9`.
    pub async fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.members[index].process.take() {
            process.kill().await;
        }
    }

    /// Starts a member again, with what it has on disk.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self, index: usize) -> Result<(), Fault> {
        self.begin(index)
    }

    /// Which member leads, if one does.
    pub async fn leader(&self) -> Option<usize> {
        let mut command = Command::new(&self.control);
        command
            .env("ETCDCTL_API", "3")
            .args(["endpoint", "status", "--command-timeout=2s", "--dial-timeout=1s"])
            .arg(format!("--endpoints={}", self.urls().join(",")));
        // Some members may be down: the lines of the others are printed all the same.
        let output = command.output().await.ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.split(", ").nth(4) == Some("true"))?;
        self.urls().iter().position(|url| line.starts_with(url.as_str()))
    }

    /// Waits until every member that runs answers.
    ///
    /// # Errors
    /// When one does not.
    pub async fn ready(&self) -> Result<(), Fault> {
        let running = self.members.iter().filter(|member| member.process.is_some());
        let urls: Vec<String> = running.map(|member| client_url(member.client)).collect();
        until_ok(READY_WITHIN, || async {
            let mut command = Command::new(&self.control);
            command
                .env("ETCDCTL_API", "3")
                .args(["endpoint", "health", "--command-timeout=2s"])
                .arg(format!("--endpoints={}", urls.join(",")));
            run(&mut command).await
        })
        .await
        .map(drop)
    }

    fn begin(&mut self, index: usize) -> Result<(), Fault> {
        let name = format!("etcd-{index}");
        let all: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(other, member)| format!("etcd-{other}={}", client_url(member.peer)))
            .collect();
        let member = &mut self.members[index];
        let (client, peer) = (client_url(member.client), client_url(member.peer));
        let mut command = bound(&self.program)?;
        command
            .arg("--data-dir")
            .arg(self.folder.join(&name))
            .args(["--name", &name])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-token", "lab"])
            .args(["--logger", "zap", "--log-level", "warn"]);
        member.process = Some(Process::start(&name, &mut command, &self.folder)?);
        Ok(())
    }
}

fn client_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
