//! The way from `parlour verify`'s arguments to an exit code.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::draw::{DrawOptions, draw};
use super::run::{VerifyOptions, verify};
use crate::error::BenchError;

/// The arguments of `parlour verify`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct VerifyArgs {
    /// What to do; without a word: a run.
    #[command(subcommand)]
    pub command: Option<VerifyCommand>,
    /// A run; `None` where something else is to be done.
    #[command(flatten)]
    pub run: Option<VerifyOptions>,
}

/// What can be done beside a run.
#[derive(Clone, Debug, Subcommand)]
pub enum VerifyCommand {
    /// Draw a timeline that a run wrote, with what was done meanwhile.
    Draw(DrawOptions),
}

/// Runs on a runtime of its own, and prints the report: 0 if every promise was kept, 1 if one was broken,
/// 2 if there is no report.
#[must_use]
pub fn run(args: VerifyArgs) -> ExitCode {
    let outcome = match args {
        VerifyArgs { command: Some(VerifyCommand::Draw(options)), .. } => {
            draw(&options).map(|()| ExitCode::SUCCESS)
        }
        VerifyArgs { run: Some(options), .. } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            runtime
                .map_err(BenchError::from)
                .and_then(|runtime| runtime.block_on(verified(options)))
        }
        VerifyArgs { .. } => Err(BenchError::Usage("--url names a server".to_owned())),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("parlour verify: {error}");
        ExitCode::from(2)
    })
}

async fn verified(options: VerifyOptions) -> Result<ExitCode, BenchError> {
    let json = options.json;
    let report = verify(options).await?;
    Ok(crate::cli::print(&report, json, report.clean))
}
