//! PostgreSQL servers of our own: in a folder of their own, on a free port, stopped with the test's
//! process whatever becomes of it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use journal::postgres::{Postgres, Settings};

/// What every wait in these tests is bounded by.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SLOTS: u32 = 64;

/// Stops the server and removes its folder when its standard input ends, which it does when the
/// test's process is gone.
const KEEPER: &str = "\"$1/postgres\" -D \"$2/data\" >>\"$2/log\" 2>&1 & server=$!
read -r _
kill -QUIT $server 2>&-; wait $server; rm -rf \"$2\"";

pub(crate) struct Server {
    dir: PathBuf,
    pub(crate) port: u16,
    keeper: Child,
}

impl Server {
    /// A primary, with these lines at the end of its settings.
    pub(crate) fn start(settings: &str) -> Server {
        let (dir, port) = (folder(), free_port());
        run(tool("initdb")
            .args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"])
            .arg(dir.join("data")));
        Server::begin(dir, port, settings)
    }

    /// A standby of this primary, which it knows under that name.
    pub(crate) fn standby(&self, name: &str) -> Server {
        let (dir, port) = (folder(), free_port());
        let from =
            format!("host=127.0.0.1 port={} user=postgres application_name={name}", self.port);
        let mut backup = tool("pg_basebackup");
        run(backup
            .args(["-R", "-c", "fast", "--no-sync", "-d", &from, "-D"])
            .arg(dir.join("data")));
        Server::begin(dir, port, "synchronous_standby_names = ''")
    }

    fn begin(dir: PathBuf, port: u16, settings: &str) -> Server {
        let path = dir.join("data/postgresql.conf");
        let mut text = fs::read_to_string(&path).expect("made by initdb");
        text.push_str(&format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
             fsync = on\nmax_connections = 300\nshared_buffers = 64MB\nwal_level = replica\n\
             wal_receiver_status_interval = 1s\nhot_standby = on\n{settings}\n"
        ));
        fs::write(&path, text).expect("written");
        let mut keeper = unprivileged("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(bin()).arg(&dir).stdin(Stdio::piped());
        let keeper = keeper.spawn().expect("a shell");
        let server = Server { dir, port, keeper };
        let started = Instant::now();
        while server.try_sql("SELECT 1").is_err() {
            assert!(started.elapsed() < PATIENCE, "no start: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub(crate) fn url(&self) -> String {
        url(&[self.port], "public")
    }

    /// Settings for an empty journal in a schema of its own, reached through these ports.
    pub(crate) fn journal(&self, ports: &[u16]) -> Settings {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let schema = format!("journal_{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE SCHEMA {schema}"));
        let settings = Settings::new(&url(ports, &schema), "test", SLOTS, "fnv");
        let direct = Settings { url: url(&[self.port], &schema), ..settings.clone() };
        Postgres::init(&direct).expect("made");
        settings
    }

    /// Runs statements; the first column of each row, as text.
    pub(crate) fn sql(&self, sql: &str) -> Vec<String> {
        self.try_sql(sql).unwrap_or_else(|why| panic!("{sql}: {why}\n{}", self.log()))
    }

    pub(crate) fn try_sql(&self, sql: &str) -> Result<Vec<String>, String> {
        sql_at(&self.url(), sql)
    }

    /// Waits until a query answers `true`.
    pub(crate) fn await_sql(&self, sql: &str) {
        let started = Instant::now();
        while self.try_sql(sql).ok().and_then(|rows| rows.first().cloned()).as_deref() != Some("t")
        {
            assert!(started.elapsed() < PATIENCE, "never true: {sql}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the server and all its processes, as a machine that stops does.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.dir.join("data/postmaster.pid")).expect("it runs");
        let pid = pid.lines().next().expect("its first line").to_owned();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &pid]).output();
        let children = String::from_utf8(children.expect("ps").stdout).expect("numbers");
        let mut kill = Command::new("kill");
        kill.arg(format!("-{signal}")).arg(&pid).args(children.split_whitespace());
        let _ = kill.stderr(Stdio::null()).status();
    }

    /// From now on whoever connects needs a password.
    pub(crate) fn require_passwords(&self) {
        let rules = "host all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(self.dir.join("data/pg_hba.conf"), rules).expect("written");
        self.sql("SELECT pg_reload_conf()");
        let started = Instant::now();
        while self.try_sql("SELECT 1").is_ok() {
            assert!(started.elapsed() < PATIENCE, "passwords are never asked for");
        }
    }

    pub(crate) fn promote(&self) {
        run(tool("pg_ctl").args(["promote", "-w", "-D"]).arg(self.dir.join("data")));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The server that tests share which do it no harm. Nobody drops it: its keeper sees to that.
pub(crate) fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(""))
}

pub(crate) fn url(ports: &[u16], schema: &str) -> String {
    let hosts = vec!["127.0.0.1"; ports.len()].join(",");
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    format!(
        "host={hosts} port={} user=postgres dbname=postgres options='-c search_path={schema}'",
        ports.join(",")
    )
}

pub(crate) fn sql_at(url: &str, sql: &str) -> Result<Vec<String>, String> {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            let messages = client.simple_query(&sql).await?;
            Ok(messages
                .iter()
                .filter_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => {
                        Some(row.get(0).unwrap_or("").to_owned())
                    }
                    _ => None,
                })
                .collect())
        })
    });
    let answer: Result<_, tokio_postgres::Error> = asked.join().expect("no panic");
    answer.map_err(|error| format!("{error:?}"))
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// A folder that the servers' user owns.
fn folder() -> PathBuf {
    let dir = tempfile::Builder::new().prefix("parlour-pg").tempdir().expect("a folder").keep();
    if let Some((user, group)) = stranger() {
        chown(&dir, Some(user), Some(group)).expect("root may");
    }
    dir
}

/// The user that servers run as when we are root, which they refuse.
fn stranger() -> Option<(u32, u32)> {
    let id = |args: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let user = if id(&["-u", "postgres"]).is_some() { "postgres" } else { "nobody" };
    Some((id(&["-u", user]).expect("it exists"), id(&["-g", user]).expect("it exists")))
}

fn unprivileged(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = stranger() {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    command
}

fn tool(name: &str) -> Command {
    unprivileged(bin().join(name))
}

fn run(command: &mut Command) {
    let output = command.output().expect("it starts");
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {says}");
}

/// Where the newest installed server's programs are.
fn bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let newest = versions
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .max()
            .filter(|version| *version >= 15);
        let Some(version) = newest else {
            panic!(
                "these tests start PostgreSQL, 15 or newer, from /usr/lib/postgresql/*/bin, where \
                 there is none: install the package postgresql"
            );
        };
        PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
    })
}
