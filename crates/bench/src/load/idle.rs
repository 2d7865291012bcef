//! `parlour bench idle`: connections that do nothing.

use std::fmt;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::{Audience, check_descriptors, fresh_rooms};
use crate::error::BenchError;
use crate::measure::Process;
use crate::table::{Table, thousands};
use crate::target::{Dialer, Target};

/// Hold connections that do nothing, and tell what each costs the server in memory.
#[derive(Clone, Debug, Args)]
pub struct IdleOptions {
    /// The server.
    #[command(flatten)]
    pub target: Target,
    /// Connections.
    #[arg(long, value_name = "N")]
    pub members: usize,
    /// Rooms that they are spread over; each reads one.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rooms: usize,
    /// The server's process.
    #[arg(long, value_name = "PID")]
    pub pid: u32,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What idle connections cost.
#[derive(Clone, Debug, Serialize)]
pub struct IdleReport {
    /// Connections.
    pub members: u64,
    /// The server's resident memory before, in bytes.
    pub resident_before: u64,
    /// With all connections there, and nobody being told anything.
    pub resident_after: u64,
    /// Of one connection.
    pub resident_per_connection: u64,
}

/// Holds connections that do nothing.
///
/// # Errors
/// [`BenchError`], when the server or its process cannot be reached, or too many are wanted.
pub async fn idle(options: IdleOptions) -> Result<IdleReport, BenchError> {
    check_descriptors(options.members)?;
    let process = Process { pid: options.pid };
    let dialer = Arc::new(Dialer::new(options.target.clone()));
    dialer.probe().await?;
    let resident_before = process.resident_bytes()?;
    let rooms = fresh_rooms("idle", options.rooms);
    let audience = Audience::gather(&dialer, &rooms, options.members).await?;
    audience.quiet().await?;
    let resident_after = process.resident_bytes()?;
    audience.leave().await;
    let members = options.members as u64;
    Ok(IdleReport {
        members,
        resident_before,
        resident_after,
        resident_per_connection: resident_after.saturating_sub(resident_before) / members.max(1),
    })
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
        let mut table = Table::default();
        table
            .row("connections", thousands(self.members))
            .row("resident before", mib(self.resident_before))
            .row("resident after", mib(self.resident_after))
            .row(
                "resident per connection",
                format!("{} bytes", thousands(self.resident_per_connection)),
            );
        table.fmt(f)
    }
}
