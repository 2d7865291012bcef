//! The way from `parlour verify`'s arguments to an exit code.

use std::process::ExitCode;

use clap::Args;

use super::run::{VerifyOptions, verify};
use crate::error::BenchError;

/// The arguments of `parlour verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// A run.
    #[command(flatten)]
    pub run: VerifyOptions,
}

/// Runs on a runtime of its own, and prints the report: 0 if every promise was kept, 1 if one was broken,
/// 2 if there is no report.
#[must_use]
pub fn run(args: VerifyArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let report =
        runtime.map_err(BenchError::from).and_then(|runtime| runtime.block_on(verified(args)));
    report.unwrap_or_else(|error| {
        eprintln!("parlour verify: {error}");
        ExitCode::from(2)
    })
}

async fn verified(args: VerifyArgs) -> Result<ExitCode, BenchError> {
    let json = args.run.json;
    let report = verify(args.run).await?;
    Ok(crate::cli::print(&report, json, report.clean))
}
