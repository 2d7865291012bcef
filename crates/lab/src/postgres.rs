//! PostgreSQL: a primary, and a standby that every commit waits for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::process::{run, until_ok};
use crate::{Fault, Process, Signal, find_program, free_port};

/// How long a server may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// The name by which the primary knows its standby.
const STANDBY: &str = "lab_standby";

/// A primary and, if it was asked for, a synchronous standby.
#[derive(Debug)]
pub struct Postgres {
    programs: Programs,
    folder: PathBuf,
    /// The first primary, and the standby that may follow it.
    servers: Vec<Server>,
}

/// One server.
#[derive(Debug)]
pub struct Server {
    process: Option<Process>,
    data: PathBuf,
    /// Where it listens.
    pub port: u16,
}

/// Where the programs are, and as whom they run: the server refuses to run as root.
#[derive(Clone, Debug)]
struct Programs {
    folder: PathBuf,
    as_postgres: bool,
}

impl Programs {
    fn find() -> Result<Programs, Fault> {
        let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
            .unwrap_or_default();
        folders.sort();
        let initdb =
            folders.iter().rev().map(|folder| folder.join("initdb")).find(|it| it.is_file());
        let initdb = match initdb {
            Some(initdb) => initdb,
            None => find_program("initdb", &[], "postgresql")?,
        };
        let folder = initdb.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Programs { folder, as_postgres: rustix::process::getuid().is_root() })
    }

    /// A command that ends with the thread that starts it.
    fn command(&self, program: &str) -> Result<Command, Fault> {
        let setpriv = find_program("setpriv", &[], "util-linux")?;
        let mut command = Command::new(setpriv);
        if self.as_postgres {
            command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
        }
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.folder.join(program));
        command.env("LC_ALL", "C.UTF-8");
        Ok(command)
    }
}

impl Postgres {
    /// Starts a primary with the database `parlour`, and a synchronous standby if `standby`.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start.
    pub async fn start(folder: &Path, standby: bool) -> Result<Postgres, Fault> {
        let programs = Programs::find()?;
        let primary = Server { process: None, data: folder.join("primary"), port: free_port()? };
        let mut postgres = Postgres { programs, folder: folder.to_owned(), servers: vec![primary] };
        postgres.make_folder(0).await?;
        let mut init = postgres.programs.command("initdb")?;
        init.args(["--username", "parlour", "--auth", "trust", "--encoding", "UTF8", "--no-sync"])
            .arg("--pgdata")
            .arg(&postgres.servers[0].data);
        run(&mut init).await?;
        postgres.begin(0).await?;
        postgres.sql(0, "postgres", "CREATE DATABASE parlour").await?;
        if standby {
            postgres.add_standby().await?;
        }
        Ok(postgres)
    }

    /// The connection string of all servers: clients find the one that takes writes.
    #[must_use]
    pub fn url(&self) -> String {
        Postgres::url_of(self.servers.iter().map(|server| server.port))
    }

    /// The same for other ports, such as those of proxies in front of the servers.
    #[must_use]
    pub fn url_of(ports: impl Iterator<Item = u16>) -> String {
        let hosts: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        format!("postgres://parlour@{}/parlour?target_session_attrs=read-write", hosts.join(","))
    }

    /// The servers' ports, the first primary's first.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// A server's process, if it was not killed.
    pub fn server(&mut self, index: usize) -> Option<&mut Process> {
        self.servers.get_mut(index)?.process.as_mut()
    }

    /// `kill -9` of a whole server: its children notice at once that they are orphans.
    pub async fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.servers[index].process.take() {
            process.kill().await;
        }
    }

    /// Makes the standby the primary. It waits for no standby of its own.
    ///
    /// # Errors
    /// When it does not take writes in time.
    pub async fn promote(&mut self) -> Result<(), Fault> {
        let mut command = self.programs.command("pg_ctl")?;
        command.args(["promote", "--wait", "--timeout", "30", "-D"]).arg(&self.servers[1].data);
        run(&mut command).await.map(drop)
    }

    /// Runs SQL on a server.
    ///
    /// # Errors
    /// With what `psql` said.
    pub async fn sql(&self, index: usize, database: &str, sql: &str) -> Result<String, Fault> {
        let mut command = self.programs.command("psql")?;
        command
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--username",
                "parlour",
            ])
            .args(["--host", "127.0.0.1", "--port", &self.servers[index].port.to_string()])
            .args(["--dbname", database, "--command", sql]);
        run(&mut command).await
    }

    async fn add_standby(&mut self) -> Result<(), Fault> {
        let standby =
            Server { process: None, data: self.folder.join("standby"), port: free_port()? };
        self.servers.push(standby);
        self.make_folder(1).await?;
        let mut copy = self.programs.command("pg_basebackup")?;
        copy.args([
            "--username",
            "parlour",
            "--host",
            "127.0.0.1",
            "--no-sync",
            "--checkpoint=fast",
        ])
        .args(["--port", &self.servers[0].port.to_string(), "--wal-method=stream"])
        .arg("--write-recovery-conf")
        .arg("--pgdata")
        .arg(&self.servers[1].data);
        run(&mut copy).await?;
        let from = format!(
            "\nprimary_conninfo = 'host=127.0.0.1 port={} user=parlour application_name={STANDBY}'\n\
             synchronous_standby_names = ''\n",
            self.servers[0].port
        );
        let settings = self.servers[1].data.join("postgresql.auto.conf");
        let text = std::fs::read_to_string(&settings).unwrap_or_default() + &from;
        std::fs::write(&settings, text)
            .map_err(|error| Fault::new(format!("{}: {error}", settings.display())))?;
        self.begin(1).await?;
        let wait = format!("ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'");
        self.sql(0, "postgres", &wait).await?;
        self.sql(0, "postgres", "SELECT pg_reload_conf()").await?;
        until_ok(READY_WITHIN, || async {
            let state = self.sql(0, "postgres", "SELECT sync_state FROM pg_stat_replication");
            match state.await?.trim() {
                "sync" => Ok(()),
                other => Err(Fault::new(format!("the standby is not synchronous: {other:?}"))),
            }
        })
        .await
    }

    async fn make_folder(&self, index: usize) -> Result<(), Fault> {
        let data = &self.servers[index].data;
        let tell = |error: std::io::Error| Fault::new(format!("{}: {error}", data.display()));
        std::fs::create_dir_all(data).map_err(tell)?;
        if self.programs.as_postgres {
            let mut own = Command::new("chown");
            run(own.args(["postgres:postgres"]).arg(data)).await?;
        }
        let mut close = Command::new("chmod");
        run(close.arg("700").arg(data)).await.map(drop)
    }

    async fn begin(&mut self, index: usize) -> Result<(), Fault> {
        let name = if index == 0 { "postgres-primary" } else { "postgres-standby" };
        let port = self.servers[index].port;
        let mut command = self.programs.command("postgres")?;
        command
            .arg("-D")
            .arg(&self.servers[index].data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""])
            .args(["-c", "shared_buffers=128MB", "-c", "max_connections=200"])
            .args(["-c", "wal_level=replica", "-c", "max_wal_senders=8"])
            .args(["-c", "log_min_messages=warning"]);
        self.servers[index].process = Some(Process::start(name, &mut command, &self.folder)?);
        until_ok(READY_WITHIN, || self.sql(index, "postgres", "SELECT 1")).await.map(drop)
    }

    /// Lets a stopped server end at once, as `pg_ctl stop -m immediate` would.
    pub fn stop_at_once(&self, index: usize) {
        if let Some(process) = &self.servers[index].process {
            process.signal(Signal::QUIT);
        }
    }
}
