//! Tools that work on a folder while no server runs on it.

use std::process::ExitCode;

use journal::embedded;

use crate::cli::JournalCommand;

/// `parlour journal …`.
#[must_use]
pub fn journal(command: JournalCommand) -> ExitCode {
    let reported = match &command {
        JournalCommand::Check { dir } => embedded::check(dir),
        JournalCommand::Salvage { dir, new_dir } => {
            embedded::salvage(dir, new_dir, &|room| cluster::slot_of(room, cluster::SLOTS_DEFAULT))
        }
    };
    match reported {
        Ok(report) => {
            println!("{report}");
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("parlour: {error}");
            ExitCode::from(2)
        }
    }
}
