//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::settings::Sources;

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
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder in which everything is kept [default: ./parlour-data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// HTTP and WebSocket; port 0 picks one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// gRPC; port 0 picks one [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDR")]
    pub grpc: Option<String>,
    /// A file whose bytes are the key that HS256 tokens are signed with.
    #[arg(long, value_name = "FILE")]
    pub token_key_file: Option<String>,
    /// Listen beyond loopback without a token key: anybody may claim any name.
    #[arg(long)]
    pub insecure: bool,
    /// What is logged: error, warn, info, debug, trace, or per module.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Log JSON lines, for machines.
    #[arg(long)]
    pub log_json: bool,
    /// Any setting, such as limits.heartbeat_ms=5000; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

impl SettingsArgs {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read or a `--set` has no `=`.
    pub fn sources(&self) -> Result<Sources, String> {
        let file = self
            .config
            .as_ref()
            .map(|path| {
                std::fs::read_to_string(path)
                    .map(|text| (path.clone(), text))
                    .map_err(|error| format!("--config {}: {error}", path.display()))
            })
            .transpose()?;
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
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("--set {pair}: write NAME=VALUE"))?;
            flags.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("PARLOUR_"))
            .collect();
        Ok(Sources { file, environment, flags })
    }
}
