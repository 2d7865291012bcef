//! `parlour bench`: its subcommands, and the way from arguments to an exit code.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::bare::{self, BareOptions, BareServerOptions};
use crate::error::BenchError;
use crate::load::{self, FanoutOptions, IdleOptions, PublishOptions};
use crate::replay::{self, ReplayOptions};

/// The arguments of `parlour bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Replay a conversation: every nick is a session that comes, speaks, leaves, and checks what it
    /// is told.
    Replay(ReplayOptions),
    /// One room, N readers, R messages a second of 100 bytes.
    Fanout(FanoutOptions),
    /// Hold connections that do nothing, and tell what each costs the server in memory.
    Idle(IdleOptions),
    /// Publish at a fixed rate from many sessions into many rooms; nobody reads.
    Publish(PublishOptions),
    /// The least that a delivery can cost here: a bare loop of sends, measured like a server.
    Bare(BareOptions),
    /// The process that `bare` measures.
    #[command(hide = true)]
    BareServer(BareServerOptions),
}

/// Runs a subcommand on a runtime of its own, and prints its report: 0 if all was as it should be, 1 if
/// something was lost or failed, 2 if there is no report.
#[must_use]
pub fn run(args: BenchArgs) -> ExitCode {
    if let BenchCommand::BareServer(options) = &args.command {
        let served = bare::serve(options, std::io::stdin().lock(), std::io::stdout());
        return finish(served.map(|()| ExitCode::SUCCESS).map_err(BenchError::from));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    finish(runtime.map_err(BenchError::from).and_then(|runtime| runtime.block_on(measure(args))))
}

async fn measure(args: BenchArgs) -> Result<ExitCode, BenchError> {
    Ok(match args.command {
        BenchCommand::Replay(options) => {
            let json = options.json;
            let report = replay::replay(options).await?;
            print(&report, json, report.is_clean())
        }
        BenchCommand::Fanout(options) if options.beside_bare => {
            let json = options.json;
            let report = load::beside_bare(options).await?;
            print(&report, json, report.clean)
        }
        BenchCommand::Fanout(options) => {
            let json = options.json;
            let report = load::fanout(options).await?;
            print(&report, json, report.is_clean())
        }
        BenchCommand::Idle(options) => {
            let json = options.json;
            print(&load::idle(options).await?, json, true)
        }
        BenchCommand::Publish(options) => {
            let json = options.json;
            let report = load::publish(options).await?;
            print(&report, json, report.is_clean())
        }
        BenchCommand::Bare(options) => {
            let json = options.json;
            let report = bare::bare(options).await?;
            print(&report, json, report.is_clean())
        }
        BenchCommand::BareServer(_) => ExitCode::SUCCESS,
    })
}

pub(crate) fn print(report: &(impl Display + Serialize), json: bool, clean: bool) -> ExitCode {
    match json {
        true => {
            let text = serde_json::to_string(report).expect("a report is plain data");
            println!("{text}");
        }
        false => print!("{report}"),
    }
    ExitCode::from(u8::from(!clean))
}

fn finish(outcome: Result<ExitCode, BenchError>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("parlour bench: {error}");
        ExitCode::from(2)
    })
}
