//! `make cluster`, `make demo` and the attacks.

mod attack;
mod demo;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lab::{Fault, Plan};

/// A whole cluster of real processes on this machine.
#[derive(Debug, Parser)]
#[command(name = "parlour-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster, say where it is and what to try, and stop it on Ctrl-C.
    Up(Size),
    /// Redeploy, then kill, every process in turn while people talk, and draw what they saw.
    Demo(demo::DemoArgs),
    /// Do to a cluster what a seed says, for so long, and tell what was lost (nothing).
    Attack(attack::AttackArgs),
}

/// How large a cluster is wanted.
#[derive(Clone, Debug, Args)]
struct Size {
    /// Room servers.
    #[arg(long, default_value_t = 3)]
    rooms: usize,
    /// Edges.
    #[arg(long, default_value_t = 2)]
    edges: usize,
    /// Members of etcd.
    #[arg(long, default_value_t = 3)]
    etcd: usize,
    /// The program; by default the one beside this one.
    #[arg(long, value_name = "FILE")]
    parlour: Option<PathBuf>,
    /// A setting of every node, such as log=debug; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Keep logs and data in this folder instead of one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// A folder for all that a cluster writes; removed at the end unless it is to be kept.
struct Folder {
    path: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Size {
    fn folder(&self) -> Result<Folder, Fault> {
        use std::os::unix::fs::PermissionsExt;
        let tell =
            |error: std::io::Error| Fault::new(format!("no folder for the cluster: {error}"));
        if let Some(path) = &self.keep {
            std::fs::create_dir_all(path).map_err(tell)?;
            let path = path.canonicalize().map_err(tell)?;
            return Ok(Folder { path, _temporary: None });
        }
        // PostgreSQL may run as another user and has to get in.
        let open = std::fs::Permissions::from_mode(0o755);
        let temporary = tempfile::Builder::new()
            .prefix("parlour-lab-")
            .permissions(open)
            .tempdir()
            .map_err(tell)?;
        Ok(Folder { path: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    fn parlour(&self) -> Result<PathBuf, Fault> {
        let beside = || std::env::current_exe().ok()?.parent().map(|it| it.join("parlour"));
        match self.parlour.clone().or_else(beside) {
            Some(path) if path.is_file() => Ok(path),
            other => Err(Fault::new(format!(
                "the program is not at {}; build it, or name it with --parlour",
                other.unwrap_or_default().display()
            ))),
        }
    }

    fn extra(&self) -> Vec<String> {
        // All clients of a lab come from one address.
        let own = ["limits.sessions_per_address_max=20000".to_owned()];
        own.iter().chain(&self.set).flat_map(|set| ["--set".to_owned(), set.clone()]).collect()
    }

    fn plan(&self, folder: &Folder) -> Result<Plan, Fault> {
        Ok(Plan {
            parlour: self.parlour()?,
            folder: folder.path.clone(),
            etcd: self.etcd,
            standby: true,
            rooms: self.rooms,
            edges: self.edges,
            wires: false,
            extra: self.extra(),
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread: what is started ends with the thread that started it.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("parlour-lab: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Up(size) => up::run(&size).await,
            Command::Demo(args) => demo::run(&args).await,
            Command::Attack(args) => attack::run(&args).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("parlour-lab: {fault}");
            ExitCode::FAILURE
        }
    }
}
