//! Logs: for a person on a terminal, JSON for machines. Secrets are types that do not print.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::settings::Settings;

/// Sets the process's logging up, once.
pub fn start(settings: &Settings) {
    let filter = EnvFilter::try_new(&settings.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if settings.log_json {
        builder.json().try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).with_target(false).try_init()
    };
    if let Err(error) = started {
        eprintln!("parlour: logging was set up before: {error}");
    }
}
