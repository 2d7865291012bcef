//! `parlour-sim`: runs seeds, each in a process of its own.

mod chance;

use std::process::ExitCode;

use clap::Parser;
use sim::Options;

/// Simulates the whole cluster from seeds, and says which of them broke a promise.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Run this one seed here, and print what it has been through.
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens; with --seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Let the journal lie, which must be found out; with --seed.
    #[arg(long, requires = "seed")]
    lie: bool,
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many at once; by default, as many as there are processors.
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) => {
            chance::begin(seed);
            sim::one(Options { seed, shown: args.trace, lies: args.lie })
        }
        None => sim::many(args.from, args.seeds, args.jobs),
    }
}
