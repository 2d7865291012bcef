//! `parlour bench bare`: the least that a delivery can cost on this machine, to be quoted beside what a
//! server takes.
//!
//! It is a process of its own that writes the very bytes that Parlour would push, made once a message, to
//! each socket with one `send`; no sessions, no rooms, no journal. The readers are the same as for the real
//! one, so that the machine's other half does the same work in both.

mod server;

use std::process::Stdio;
use std::sync::Arc;

use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

pub use server::{BareServerOptions, serve};

use crate::error::BenchError;
use crate::load::{Audience, FanoutReport, check_descriptors};
use crate::measure::{Process, monotonic_us};
use crate::target::{Dialer, Format, Target};

/// The least that a delivery can cost here: a bare loop of sends, measured like a server.
#[derive(Clone, Debug, Args)]
pub struct BareOptions {
    /// The bytes that are sent are those of a push in this encoding.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub encoding: Format,
    /// Readers.
    #[arg(long, value_name = "N")]
    pub members: usize,
    /// Messages a second.
    #[arg(long, value_name = "R")]
    pub rate: u64,
    /// For how long.
    #[arg(long, value_name = "S", default_value_t = 10)]
    pub seconds: u64,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Measures a bare loop in a process of its own.
///
/// # Errors
/// [`BenchError`], when the process cannot be started, or too many readers are wanted.
pub async fn bare(options: BareOptions) -> Result<FanoutReport, BenchError> {
    check_descriptors(options.members)?;
    let mut child = spawn(&options)?;
    let measured = measure_child(&options, &mut child).await;
    // It ends when its input does; one that has not by now is stopped.
    let _ = child.kill().await;
    measured
}

fn spawn(options: &BareOptions) -> Result<Child, BenchError> {
    let encoding = match options.encoding {
        Format::Json => "json",
        Format::Proto => "proto",
    };
    let numbers = [
        ("--members", options.members as u64),
        ("--rate", options.rate),
        ("--seconds", options.seconds),
    ];
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "bare-server", "--encoding", encoding]);
    for (name, number) in numbers {
        command.arg(name).arg(number.to_string());
    }
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?)
}

async fn measure_child(
    options: &BareOptions,
    child: &mut Child,
) -> Result<FanoutReport, BenchError> {
    let pid = child.id().ok_or_else(dead)?;
    let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or_else(dead)?;
    measure(options, Process { pid }, input, output).await
}

fn dead() -> BenchError {
    BenchError::Io("the bare loop ended before its time".to_owned())
}

/// `input` and `output` are the other side's.
async fn measure(
    options: &BareOptions,
    process: Process,
    mut input: impl AsyncWrite + Unpin,
    output: impl AsyncRead + Unpin,
) -> Result<FanoutReport, BenchError> {
    let mut lines = BufReader::new(output).lines();
    let port = lines.next_line().await?.ok_or_else(dead)?;
    let target = Target { url: format!("ws://127.0.0.1:{port}"), encoding: options.encoding };

    let resident_before = process.resident_bytes()?;
    let rooms = [server::room()];
    let audience =
        Audience::gather(&Arc::new(Dialer::new(target)), &rooms, options.members).await?;
    audience.quiet().await?;
    let resident_after = process.resident_bytes()?;

    let cpu_before = process.cpu_us()?;
    let start_us = monotonic_us();
    input.write_all(b"go\n").await?;
    let (messages, members) = (options.rate * options.seconds, options.members as u64);
    let (deliveries, last_us) = audience.delivered(messages * members).await?;
    let cpu_us = (process.cpu_us()? - cpu_before) as f64;
    let (latencies, disconnects) = audience.leave().await;
    Ok(FanoutReport {
        members,
        rate: options.rate,
        seconds: options.seconds,
        messages,
        failed: 0,
        fault: None,
        deliveries,
        missing: (messages * members).saturating_sub(deliveries),
        disconnects,
        deliveries_per_second: deliveries as f64 * 1e6
            / last_us.saturating_sub(start_us).max(1) as f64,
        latency: latencies.summary(),
        cpu_us_per_delivery: Some(cpu_us / deliveries.max(1) as f64),
        resident_per_connection: Some(
            resident_after.saturating_sub(resident_before) / members.max(1),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::net::unix::pipe;

    use super::*;

    #[tokio::test]
    async fn the_bare_loop_delivers_every_message_to_every_reader() {
        let options =
            BareOptions { encoding: Format::Json, members: 20, rate: 100, seconds: 1, json: false };
        let served =
            BareServerOptions { encoding: Format::Json, members: 20, rate: 100, seconds: 1 };
        let (our_output, their_output) = io::pipe().expect("a pipe");
        let (their_input, our_input) = io::pipe().expect("a pipe");
        let server = std::thread::spawn(move || {
            serve(&served, io::BufReader::new(their_input), their_output)
        });
        let input = pipe::Sender::from_owned_fd(our_input.into()).expect("a pipe");
        let output = pipe::Receiver::from_owned_fd(our_output.into()).expect("a pipe");
        let process = Process { pid: std::process::id() };
        let report = measure(&options, process, input, output).await.expect("a report");
        assert_eq!((report.deliveries, report.missing), (2_000, 0), "{report}");
        assert!(report.latency.max_ms < 10_000.0, "{report}");
        server.join().expect("no panic").expect("no error");
    }
}
