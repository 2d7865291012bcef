//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::settings::{Fault, Sources};

/// A chat backend of which every process can be replaced while people talk.
#[derive(Debug, Parser)]
#[command(name = "parlour", version)]
pub struct Cli {
    /// What to do; without a word: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in this process; what is acknowledged is on disk.
    Serve(SettingsArgs),
    /// Own rooms, as one of many; found through etcd, with a journal that all room servers share.
    Room(ClusterArgs),
    /// Hold clients' sockets, as one of many, and own nothing.
    Edge(ClusterArgs),
    /// Look at a cluster, and move what is in it.
    Admin(AdminArgs),
    /// Print the settings in force and where each came from.
    Config(SettingsArgs),
    /// Look after the embedded journal while no server runs on it.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Measure a running server, and check what it delivers.
    Bench(Box<bench::BenchArgs>),
    /// Publish and read from many clients while you do what you do, and check every promise over all of it.
    Verify(Box<bench::VerifyArgs>),
}

/// Tools for the embedded journal.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Read everything and tell what is damaged: rooms and ranges. A torn end is cut, as at any start.
    Check {
        /// The journal's folder, such as ./parlour-data.
        dir: PathBuf,
    },
    /// Copy what can be read into a new journal. Changes nothing in the old one.
    Salvage {
        /// The damaged journal's folder.
        dir: PathBuf,
        /// The new journal's folder; must not exist.
        new_dir: PathBuf,
    },
}

/// Where settings come from. Later wins: file, environment (PARLOUR_…), flags.
#[derive(Debug, Default, Args)]
pub struct SettingsArgs {
    /// A TOML file; `parlour config` prints one.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The folder in which everything is kept [default: ./parlour-data].
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<String>,
    /// HTTP and WebSocket; port 0 picks one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR", global = true)]
    pub listen: Option<String>,
    /// gRPC; port 0 picks one [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR", global = true)]
    pub grpc: Option<String>,
    /// A file whose bytes are the key that HS256 tokens are signed with.
    #[arg(long, value_name = "FILE", global = true)]
    pub token_key_file: Option<String>,
    /// Listen beyond loopback without a token key: anybody may claim any name.
    #[arg(long, global = true)]
    pub insecure: bool,
    /// What is logged: error, warn, info, debug, trace, or per module.
    #[arg(long, value_name = "FILTER", global = true)]
    pub log: Option<String>,
    /// Log JSON lines, for machines.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// Any setting, such as limits.heartbeat_ms=5000; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", global = true)]
    pub set: Vec<String>,
}

/// What a node of a cluster is told beside.
#[derive(Debug, Default, Args)]
pub struct ClusterArgs {
    /// As for `serve`.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// The members of etcd, such as http://10.0.0.1:2379,http://10.0.0.2:2379.
    #[arg(long, value_name = "URL[,URL…]", global = true)]
    pub etcd: Option<String>,
    /// The journal that all room servers share, such as postgres://parlour@10.0.0.1/parlour.
    #[arg(long, value_name = "URL", global = true)]
    pub journal: Option<String>,
    /// A file whose bytes are the key that all nodes of the cluster share.
    #[arg(long, value_name = "FILE", global = true)]
    pub cluster_key_file: Option<String>,
    /// This process's id in the cluster [default: a fresh one].
    #[arg(long, value_name = "ID", global = true)]
    pub node: Option<String>,
    /// Where other nodes reach this room server; port 0 picks one [default: 127.0.0.1:7070].
    #[arg(long, value_name = "ADDR", global = true)]
    pub link: Option<String>,
    /// The cluster's name [default: parlour].
    #[arg(long, value_name = "NAME", global = true)]
    pub cluster: Option<String>,
}

impl ClusterArgs {
    /// Reads the file and the environment.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let mut sources = self.settings.sources();
        let texts = [
            ("etcd", &self.etcd),
            ("journal", &self.journal),
            ("cluster_key_file", &self.cluster_key_file),
            ("node", &self.node),
            ("link", &self.link),
            ("cluster", &self.cluster),
        ];
        let given =
            texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?)));
        sources.flags.splice(0..0, given);
        sources
    }
}

/// A tool for operators.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AdminCommand,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// Where settings come from: the same as the nodes'.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// What an operator can do.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Create the cluster's constants in etcd and in the journal, once.
    Init {
        /// How many slots rooms are spread over; fixed for good.
        #[arg(long, default_value_t = cluster::SLOTS_DEFAULT)]
        slots: u32,
    },
    /// List the nodes that live.
    Nodes,
    /// List who owns which slots.
    Slots,
    /// List the busiest open rooms.
    Rooms {
        /// At most so many a room server.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Give all slots of a room server away.
    Drain {
        /// The room server's id.
        node: String,
    },
    /// Give one slot to a room server.
    Move {
        /// The slot's number.
        slot: u32,
        /// The room server's id.
        node: String,
    },
    /// Move slots until every room server has its share.
    Rebalance,
}

impl SettingsArgs {
    /// Reads the file and the environment. What cannot be read at all is kept as a fault, beside those
    /// that are found later.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let mut faults = Vec::new();
        let file = self.config.as_ref().and_then(|path| match std::fs::read_to_string(path) {
            Ok(text) => Some((path.clone(), text)),
            Err(error) => {
                let place = format!("--config {}", path.display());
                faults.push(Fault { place, text: error.to_string() });
                None
            }
        });
        let texts = [
            ("data", &self.data),
            ("listen", &self.listen),
            ("grpc", &self.grpc),
            ("token_key_file", &self.token_key_file),
            ("log", &self.log),
        ];
        let mut flags: Vec<(String, String)> = texts
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
            .collect();
        for (key, given) in [("insecure", self.insecure), ("log_json", self.log_json)] {
            if given {
                flags.push((key.to_owned(), "true".to_owned()));
            }
        }
        for pair in &self.set {
            match pair.split_once('=') {
                Some((key, value)) => flags.push((key.trim().to_owned(), value.trim().to_owned())),
                None => faults.push(Fault {
                    place: format!("--set {pair}"),
                    text: "write NAME=VALUE".to_owned(),
                }),
            }
        }
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("PARLOUR_"))
            .collect();
        Sources { faults, file, environment, flags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Loaded, Role};

    /// `--set listen` without a value, or a file that is not there, hid every other fault.
    #[test]
    fn what_cannot_be_read_at_all_hides_no_fault_elsewhere() {
        let line = ["parlour", "serve", "--config", "/no/such.toml", "--set", "bar", "--grpc", "x"];
        let Some(Command::Serve(args)) = Cli::try_parse_from(line).expect("a line").command else {
            panic!("it says serve");
        };
        let faults = Loaded::from(&args.sources(), Role::Serve).expect_err("faults");
        let places: Vec<_> = faults.iter().map(|fault| fault.place.as_str()).collect();
        assert_eq!(places, ["--config /no/such.toml", "--set bar", "--grpc"], "{faults:#?}");
    }
}
