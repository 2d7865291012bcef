//! Parses, builds, waits, drains.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use parlour::cli::{Cli, Command, SettingsArgs};
use parlour::settings::{Loaded, Role, Sources};
use parlour::{admin, app, logging, tools};

fn main() -> ExitCode {
    let serve = || Command::Serve(SettingsArgs::default());
    match Cli::parse().command.unwrap_or_else(serve) {
        Command::Serve(args) => run(args.sources(), Role::Serve),
        Command::Room(args) => run(args.sources(), Role::Room),
        Command::Edge(args) => run(args.sources(), Role::Edge),
        Command::Admin(args) => admin::run(args),
        Command::Config(args) => with_settings(args.sources(), Role::Serve, |loaded| {
            // A closed pipe is not our trouble.
            let _ = std::io::stdout().write_all(loaded.print().as_bytes());
            ExitCode::SUCCESS
        }),
        Command::Journal(command) => tools::journal(command),
        Command::Bench(args) => bench::run(*args),
        Command::Verify(args) => bench::verify::run_args(*args),
    }
}

fn run(sources: Sources, role: Role) -> ExitCode {
    with_settings(sources, role, |loaded| {
        logging::start(&loaded.settings);
        app::run(loaded.settings, role)
    })
}

fn with_settings(sources: Sources, role: Role, then: impl FnOnce(Loaded) -> ExitCode) -> ExitCode {
    match Loaded::from(&sources, role) {
        Ok(loaded) => then(loaded),
        Err(faults) => {
            eprintln!("parlour: these settings cannot be used:");
            for fault in faults {
                eprintln!("  - {fault}");
            }
            ExitCode::from(2)
        }
    }
}
