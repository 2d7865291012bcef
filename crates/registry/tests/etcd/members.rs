//! etcd members of a test's own, on free loopback ports and in a folder that goes with them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use etcd_client::{Client, GetOptions, PutOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::until;

/// Another process may take a port between our looking and etcd's listening.
const STARTS_MAX: usize = 5;

/// Some etcd members; they end with this value.
pub(crate) struct Etcds {
    members: Vec<Member>,
    dir: TempDir,
}

struct Member {
    args: Vec<String>,
    at: SocketAddr,
    child: Option<Child>,
}

fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("bound").port()
}

impl Etcds {
    pub(crate) async fn start(count: usize) -> Etcds {
        Etcds::start_with(count, |_| Vec::new()).await
    }

    /// With more arguments, which may name files in the folder given.
    pub(crate) async fn start_with(count: usize, more: impl Fn(&Path) -> Vec<String>) -> Etcds {
        for _ in 0..STARTS_MAX {
            let mut etcds = Etcds::new(count, &more, None);
            etcds.launch();
            if etcds.are_up().await {
                return etcds;
            }
        }
        panic!("etcd did not start in {STARTS_MAX} attempts; see above");
    }

    /// One member from a snapshot.
    pub(crate) async fn restored(snapshot: &Path) -> Etcds {
        for _ in 0..STARTS_MAX {
            let mut etcds = Etcds::new(1, &|_| Vec::new(), Some(snapshot));
            etcds.launch();
            if etcds.are_up().await {
                return etcds;
            }
        }
        panic!("etcd did not start in {STARTS_MAX} attempts; see above");
    }

    fn new(count: usize, more: &impl Fn(&Path) -> Vec<String>, snapshot: Option<&Path>) -> Etcds {
        let dir = tempfile::tempdir().expect("a folder");
        let more = more(dir.path());
        let scheme = if more.is_empty() { "http" } else { "https" };
        let peers: Vec<String> =
            (0..count).map(|_| format!("http://127.0.0.1:{}", free_port())).collect();
        let all: Vec<String> =
            peers.iter().enumerate().map(|(at, url)| format!("m{at}={url}")).collect();
        let all = all.join(",");
        if let Some(snapshot) = snapshot {
            restore(snapshot, dir.path(), &all, &peers[0]);
        }
        let member = |(at, peer): (usize, &String)| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            let url = format!("{scheme}://{address}");
            let data = dir.path().join(format!("m{at}")).display().to_string();
            let name = format!("m{at}");
            let args = [
                ("name", name.as_str()),
                ("data-dir", &data),
                ("listen-client-urls", &url),
                ("advertise-client-urls", &url),
                ("listen-peer-urls", peer),
                ("initial-advertise-peer-urls", peer),
                ("initial-cluster", &all),
                ("heartbeat-interval", "50"),
                ("election-timeout", "500"),
                ("logger", "zap"),
                ("log-level", "error"),
            ];
            let args = args.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
            Member { args: args.chain(more.clone()).collect(), at: address, child: None }
        };
        Etcds { members: peers.iter().enumerate().map(member).collect(), dir }
    }

    fn launch(&mut self) {
        for at in 0..self.members.len() {
            self.restart(at);
        }
    }

    /// Whether all of them listen; not if one has ended.
    async fn are_up(&mut self) -> bool {
        for member in &mut self.members {
            let ended = async |child: &mut Option<Child>| {
                let child = child.as_mut()?;
                matches!(child.try_wait(), Ok(Some(_))).then_some(())
            };
            while tokio::net::TcpStream::connect(member.at).await.is_err() {
                if ended(&mut member.child).await.is_some() {
                    return false;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        true
    }

    /// Starts a member, with what it had.
    pub(crate) fn restart(&mut self, at: usize) {
        let member = &mut self.members[at];
        let started = Command::new("etcd").args(&member.args).stdin(Stdio::null()).spawn();
        member.child = Some(started.unwrap_or_else(|error| {
            panic!(
                "etcd cannot be started ({error}); these tests need it on the PATH. On Debian: \
                 'apt-get install etcd-server etcd-client'"
            )
        }));
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.members[at].child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it is ours");
        }
    }

    /// As `kill -STOP` does: its sockets stay open.
    pub(crate) fn pause(&self, at: usize) {
        self.signal(at, Signal::STOP);
    }

    /// The end of [`Etcds::pause`].
    pub(crate) fn resume(&self, at: usize) {
        self.signal(at, Signal::CONT);
    }

    fn signal(&self, at: usize, signal: Signal) {
        let child = self.members[at].child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it is ours");
    }

    pub(crate) fn at(&self, at: usize) -> SocketAddr {
        self.members[at].at
    }

    pub(crate) fn url(&self, at: usize) -> String {
        format!("http://{}", self.at(at))
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        (0..self.members.len()).map(|at| self.url(at)).collect()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A client of this member alone, for what the registry is not asked to do.
    pub(crate) async fn client(&self, at: usize) -> Client {
        Client::connect([self.url(at)], None).await.expect("a URL")
    }

    /// Which member leads.
    pub(crate) async fn leader(&self) -> usize {
        until("somebody leads", || async {
            for at in 0..self.members.len() {
                let client = self.client(at).await;
                let status = client.maintenance_client().status().await.ok()?;
                let me = status.header().map(|header| header.member_id())?;
                if status.leader() == me {
                    return Some(at);
                }
            }
            None
        })
        .await
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        self.client(0).await.put(key, value, None).await.expect("written");
    }

    pub(crate) async fn put_on(&self, lease: i64, key: &str, value: &str) {
        let options = PutOptions::new().with_lease(lease);
        self.client(0).await.put(key, value, Some(options)).await.expect("written");
    }

    pub(crate) async fn get(&self, key: &str) -> Option<(String, i64)> {
        let found = self.client(0).await.get(key, None).await.expect("read");
        let kv = found.kvs().first()?;
        Some((kv.value_str().expect("text").to_owned(), kv.lease()))
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.client(0).await.delete(key, None).await.expect("deleted");
    }

    pub(crate) async fn revision(&self) -> i64 {
        let options = GetOptions::new().with_count_only();
        let answer = self.client(0).await.get("a", Some(options)).await.expect("read");
        answer.header().expect("has one").revision()
    }

    /// Forgets all history.
    pub(crate) async fn compact(&self) {
        let now = self.revision().await;
        self.client(0).await.compact(now, None).await.expect("compacted");
    }

    /// Saves what the first member holds.
    pub(crate) fn save(&self, to: &Path) {
        etcdctl(&["--endpoints", &self.url(0), "snapshot", "save", &to.display().to_string()]);
    }
}

fn restore(snapshot: &Path, dir: &Path, all: &str, peer: &str) {
    etcdctl(&[
        "snapshot",
        "restore",
        &snapshot.display().to_string(),
        "--name=m0",
        &format!("--data-dir={}", dir.join("m0").display()),
        &format!("--initial-cluster={all}"),
        &format!("--initial-advertise-peer-urls={peer}"),
    ]);
}

fn etcdctl(args: &[&str]) {
    let ran = Command::new("etcdctl").env("ETCDCTL_API", "3").args(args).output();
    let ran = ran.unwrap_or_else(|error| {
        panic!(
            "etcdctl cannot be started ({error}); these tests need it on the PATH. On Debian: \
             'apt-get install etcd-client'"
        )
    });
    assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

impl Drop for Etcds {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
    }
}
