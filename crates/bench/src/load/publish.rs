//! `parlour bench publish`: how long it takes until a message is durable.

use std::fmt;

use clap::Args;
use serde::Serialize;

use super::{Speakers, check_descriptors, fresh_rooms};
use crate::error::BenchError;
use crate::measure::{Latency, Process, monotonic_us};
use crate::table::{Table, thousands};
use crate::target::{Dialer, Target};

/// Publish at a fixed rate from many sessions into many rooms; nobody reads.
#[derive(Clone, Debug, Args)]
pub struct PublishOptions {
    /// The server.
    #[command(flatten)]
    pub target: Target,
    /// Messages a second, all sessions together; each has 100 bytes.
    #[arg(long, value_name = "R")]
    pub rate: u64,
    /// For how long.
    #[arg(long, value_name = "S", default_value_t = 10)]
    pub seconds: u64,
    /// Rooms that they are spread over.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub rooms: usize,
    /// The server's process, to tell what a message costs it.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How long messages took to become durable.
#[derive(Clone, Debug, Serialize)]
pub struct PublishReport {
    /// Messages a second that were meant.
    pub rate: u64,
    /// For how long.
    pub seconds: u64,
    /// Sessions that published.
    pub sessions: u64,
    /// Rooms that were published to.
    pub rooms: u64,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Messages that were not.
    pub failed: u64,
    /// The first failure.
    pub fault: Option<String>,
    /// Acknowledged messages a second.
    pub acknowledged_per_second: f64,
    /// From the intended send to the acknowledgement.
    pub latency: Latency,
    /// User and system time of the server, per message.
    pub cpu_us_per_message: Option<f64>,
}

/// Publishes at a fixed rate.
///
/// # Errors
/// [`BenchError`], when the server or its process cannot be reached.
pub async fn publish(options: PublishOptions) -> Result<PublishReport, BenchError> {
    let process = options.pid.map(|pid| Process { pid });
    let dialer = Dialer::new(options.target.clone());
    dialer.probe().await?;
    let rooms = fresh_rooms("publish", options.rooms);
    let speakers = Speakers::gather(&dialer, rooms, options.rate).await?;
    let sessions = speakers.len();
    check_descriptors(sessions)?;
    let cpu_before = process.map(Process::cpu_us).transpose()?;
    let spoken = speakers.speak(options.seconds).await?;
    let took_us = monotonic_us().saturating_sub(spoken.start_us).max(1);
    let cpu_after = process.map(Process::cpu_us).transpose()?;
    let cpu_us = cpu_after.zip(cpu_before).map(|(after, before)| (after - before) as f64);
    Ok(PublishReport {
        rate: options.rate,
        seconds: options.seconds,
        sessions: sessions as u64,
        rooms: options.rooms as u64,
        acknowledged: spoken.acknowledged,
        failed: spoken.failed,
        fault: spoken.fault,
        acknowledged_per_second: spoken.acknowledged as f64 * 1e6 / took_us as f64,
        latency: spoken.latencies.summary(),
        cpu_us_per_message: cpu_us.map(|us| us / spoken.acknowledged.max(1) as f64),
    })
}

impl PublishReport {
    /// Whether everything was acknowledged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for PublishReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        table
            .row("meant", format!("{}/s for {} s", thousands(self.rate), self.seconds))
            .row("sessions", thousands(self.sessions))
            .row("rooms", thousands(self.rooms))
            .row("acknowledged", thousands(self.acknowledged))
            .row("failed", thousands(self.failed))
            .optional("first failure", self.fault.as_deref())
            .row("acknowledged/s", thousands(self.acknowledged_per_second as u64))
            .row("intended to acknowledged", self.latency)
            .optional("CPU per message", self.cpu_us_per_message.map(|us| format!("{us:.2} us")));
        table.fmt(f)
    }
}
