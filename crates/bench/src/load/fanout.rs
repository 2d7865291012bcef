//! `parlour bench fanout`: one room, many readers.

use std::fmt;
use std::sync::Arc;

use clap::Args;
use model::Encoding;
use serde::Serialize;

use super::{Audience, Speakers, check_descriptors, fresh_rooms};
use crate::bare::{self, BareOptions};
use crate::error::BenchError;
use crate::measure::{Latency, Process};
use crate::table::{Table, thousands};
use crate::target::{Dialer, Format, Target};

/// Pairs of runs of `--beside-bare`; medians are told.
const PAIRS: usize = 3;

/// One room, N readers, R messages a second of 100 bytes.
#[derive(Clone, Debug, Args)]
pub struct FanoutOptions {
    /// The server.
    #[command(flatten)]
    pub target: Target,
    /// Readers.
    #[arg(long, value_name = "N")]
    pub members: usize,
    /// Messages a second.
    #[arg(long, value_name = "R")]
    pub rate: u64,
    /// For how long.
    #[arg(long, value_name = "S", default_value_t = 10)]
    pub seconds: u64,
    /// The server's process, to tell what a delivery and a connection cost it.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Measure a bare loop in the same way, in three alternating pairs, and tell the ratio.
    #[arg(long, requires = "pid")]
    pub beside_bare: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// How deliveries went.
#[derive(Clone, Debug, Serialize)]
pub struct FanoutReport {
    /// Readers.
    pub members: u64,
    /// Messages a second that were meant.
    pub rate: u64,
    /// For how long.
    pub seconds: u64,
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Messages that were not.
    pub failed: u64,
    /// The first failure.
    pub fault: Option<String>,
    /// Messages that readers were told.
    pub deliveries: u64,
    /// Deliveries that did not come.
    pub missing: u64,
    /// Connections that were lost, and dials that failed.
    pub disconnects: u64,
    /// From the first intended send to the last delivery.
    pub deliveries_per_second: f64,
    /// From the intended send to the reader.
    pub latency: Latency,
    /// User and system time of the server, per delivery.
    pub cpu_us_per_delivery: Option<f64>,
    /// Resident memory of the server that the connections brought, before anything was said.
    pub resident_per_connection: Option<u64>,
}

impl FanoutReport {
    /// Whether everything was acknowledged and delivered.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.missing == 0
    }
}

/// One room, many readers.
///
/// # Errors
/// [`BenchError`], when the server or its process cannot be reached, or too many readers are wanted.
pub async fn fanout(options: FanoutOptions) -> Result<FanoutReport, BenchError> {
    let process = options.pid.map(|pid| Process { pid });
    check_descriptors(options.members)?;
    let dialer = Arc::new(Dialer::new(options.target.clone()));
    dialer.probe().await?;
    let rooms = fresh_rooms("fanout", 1);
    let resident_before = process.map(Process::resident_bytes).transpose()?;
    let speakers = Speakers::gather(&dialer, rooms.clone(), options.rate).await?;
    let audience = Audience::gather(&dialer, &rooms, options.members).await?;
    audience.quiet().await?;
    let resident_after = process.map(Process::resident_bytes).transpose()?;
    let connections = (options.members + speakers.len()).max(1) as u64;

    let cpu_before = process.map(Process::cpu_us).transpose()?;
    let spoken = speakers.speak(options.seconds).await?;
    let members = options.members as u64;
    let expected = spoken.acknowledged * members;
    let (deliveries, last_us) = audience.delivered(expected).await?;
    let cpu_after = process.map(Process::cpu_us).transpose()?;
    let (latencies, disconnects) = audience.leave().await;

    let took_us = last_us.saturating_sub(spoken.start_us).max(1);
    let cpu_us = cpu_after.zip(cpu_before).map(|(after, before)| (after - before) as f64);
    let resident = resident_after.zip(resident_before);
    Ok(FanoutReport {
        members,
        rate: options.rate,
        seconds: options.seconds,
        messages: spoken.acknowledged,
        failed: spoken.failed,
        fault: spoken.fault,
        deliveries,
        missing: expected.saturating_sub(deliveries),
        disconnects,
        deliveries_per_second: deliveries as f64 * 1e6 / took_us as f64,
        latency: latencies.summary(),
        cpu_us_per_delivery: cpu_us.map(|us| us / deliveries.max(1) as f64),
        resident_per_connection: resident
            .map(|(after, before)| after.saturating_sub(before) / connections),
    })
}

/// A server and a bare loop in turn, and medians of both.
#[derive(Clone, Debug, Serialize)]
pub struct BesideBareReport {
    /// The run of each pair whose report is shown: the first.
    pub server: FanoutReport,
    /// The server's, each run.
    pub server_cpu_us_per_delivery: Vec<f64>,
    /// The bare loop's, each run.
    pub bare_cpu_us_per_delivery: Vec<f64>,
    /// The median of the server's by that of the bare loop's.
    pub cpu_ratio: f64,
    /// Whether each run delivered everything.
    pub clean: bool,
}

/// The same load for the server and for a bare loop, in alternating pairs.
///
/// # Errors
/// As for [`fanout`]; or the bare loop cannot be started.
pub async fn beside_bare(options: FanoutOptions) -> Result<BesideBareReport, BenchError> {
    let bare_options = BareOptions {
        encoding: options.target.encoding,
        members: options.members,
        rate: options.rate,
        seconds: options.seconds,
        json: options.json,
    };
    let (mut servers, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        servers.push(fanout(options.clone()).await?);
        bares.push(bare::bare(bare_options.clone()).await?);
    }
    let cpu = |reports: &[FanoutReport]| -> Vec<f64> {
        reports.iter().filter_map(|report| report.cpu_us_per_delivery).collect()
    };
    let (server_cpu, bare_cpu) = (cpu(&servers), cpu(&bares));
    let clean = servers.iter().chain(&bares).all(FanoutReport::is_clean);
    Ok(BesideBareReport {
        server: servers.swap_remove(0),
        cpu_ratio: median(&server_cpu) / median(&bare_cpu).max(f64::MIN_POSITIVE),
        server_cpu_us_per_delivery: server_cpu,
        bare_cpu_us_per_delivery: bare_cpu,
        clean,
    })
}

/// Of nothing: 0.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

impl fmt::Display for FanoutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resident = self.resident_per_connection;
        let mut table = Table::default();
        table
            .row("readers", thousands(self.members))
            .row("meant", format!("{}/s for {} s", thousands(self.rate), self.seconds))
            .row("messages", thousands(self.messages))
            .row("failed", thousands(self.failed))
            .optional("first failure", self.fault.as_deref())
            .row("deliveries", thousands(self.deliveries))
            .row("missing", thousands(self.missing))
            .row("connections lost", thousands(self.disconnects))
            .row("deliveries/s", thousands(self.deliveries_per_second as u64))
            .row("intended to delivered", self.latency)
            .optional("CPU per delivery", self.cpu_us_per_delivery.map(|us| format!("{us:.2} us")))
            .optional(
                "resident per connection",
                resident.map(|bytes| format!("{} bytes", thousands(bytes))),
            );
        table.fmt(f)
    }
}

impl fmt::Display for BesideBareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[f64]| {
            let shown: Vec<String> = numbers.iter().map(|us| format!("{us:.2}")).collect();
            format!("{:.2} us (runs: {})", median(numbers), shown.join(", "))
        };
        self.server.fmt(f)?;
        let mut table = Table::default();
        table
            .row("CPU per delivery, server", list(&self.server_cpu_us_per_delivery))
            .row("CPU per delivery, bare loop", list(&self.bare_cpu_us_per_delivery))
            .row("ratio", format!("{:.2}", self.cpu_ratio));
        table.fmt(f)
    }
}

impl From<Format> for Encoding {
    fn from(format: Format) -> Encoding {
        match format {
            Format::Json => Encoding::Json,
            Format::Proto => Encoding::Proto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
