//! Tools that work on a folder while no server runs on it.

use std::process::ExitCode;

use journal::embedded;

use crate::cli::JournalCommand;

/// `parlour journal …`.
#[must_use]
pub fn journal(command: JournalCommand) -> ExitCode {
    let layout = embedded::Layout {
        slots: cluster::SLOTS_DEFAULT,
        slot_hash: cluster::SLOT_HASH,
        slot_of: &|room| cluster::slot_of(room, cluster::SLOTS_DEFAULT),
    };
    let reported = match &command {
        JournalCommand::Check { dir } => embedded::check(dir, &layout),
        JournalCommand::Salvage { dir, new_dir } => embedded::salvage(dir, new_dir, &layout),
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
