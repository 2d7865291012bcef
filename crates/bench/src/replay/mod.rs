//! `parlour bench replay`: a real conversation, said again, and what everybody was told of it.
//!
//! Every nick of a room is a session of its own, which comes, speaks and leaves as the log says, and leaves
//! at the end of its room's day at the latest. Rooms run beside each other, as many as the number of open
//! connections allows. A server that is killed and started again in the middle changes nothing: clients
//! come back and go on.
//!
//! # Order
//! A session's own messages keep the log's order, and a message is handed to its session only after the
//! one before it in the log was. Several may be in flight, so between sessions the server decides; what was
//! acknowledged before something was sent must stand below it, and the checker holds the server to that.

mod outcome;
mod pace;
mod report;
mod room;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use pace::Speed;
pub use report::Report;

use crate::conversation::{self, Script};
use crate::error::BenchError;
use crate::measure::{DESCRIPTORS_SPARED, raise_descriptor_limit};
use crate::target::{Dialer, Target};
use outcome::Outcome;
use room::{RoomReplay, Shared};

/// Replay a conversation: every nick is a session that comes, speaks, leaves, and checks what it is told.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    /// JSON lines, plain or compressed with zstd.
    pub file: PathBuf,
    /// The server.
    #[command(flatten)]
    pub target: Target,
    /// How many times faster than it was, or max: as fast as is acknowledged.
    #[arg(long, value_name = "X|max", default_value_t = Speed::Max)]
    pub speed: Speed,
    /// Only the first N rooms.
    #[arg(long, value_name = "N")]
    pub rooms: Option<usize>,
    /// Sessions in each room that only read, from its first message to its last.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub readers: usize,
    /// The most connections open at one time; rooms wait for each other beyond it.
    #[arg(long, value_name = "N", default_value_t = 12_000)]
    pub connections: usize,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Replays a conversation.
///
/// # Errors
/// [`BenchError`], when it cannot begin: the file, the server, or the number of connections.
pub async fn replay(options: ReplayOptions) -> Result<Report, BenchError> {
    let scripts = read(&options).await?;
    let connections = connections_max(&options, &scripts)?;
    let shared = Arc::new(Shared {
        dialer: Dialer::new(options.target.clone()),
        speed: options.speed,
        readers: options.readers,
        progress: outcome::Progress::default(),
    });
    shared.dialer.probe().await?;
    let rooms = scripts.len() as u64;
    let bar = bar(&options, &scripts);
    let start = Instant::now();
    let running = run(shared.clone(), scripts, connections);
    let outcome = watch(&bar, &shared, running).await;
    bar.finish_and_clear();
    Ok(Report {
        rooms,
        sessions: outcome.sessions,
        reconnects: outcome.reconnects,
        seconds: start.elapsed().as_secs_f64(),
        publish: outcome.publish.summary(),
        delivery: outcome.delivery.summary(),
        counts: outcome.findings.counts,
        faults: outcome.faults,
        faults_count: outcome.faults_count,
        first_violation: outcome.findings.first,
    })
}

async fn read(options: &ReplayOptions) -> Result<Vec<Script>, BenchError> {
    let (file, rooms) = (options.file.clone(), options.rooms.unwrap_or(usize::MAX));
    let reading = tokio::task::spawn_blocking(move || conversation::read(&file, rooms));
    Ok(reading.await.map_err(|error| BenchError::Io(error.to_string()))??)
}

/// How many connections may be open: what was asked for, as far as descriptors go.
fn connections_max(options: &ReplayOptions, scripts: &[Script]) -> Result<usize, BenchError> {
    let descriptors = raise_descriptor_limit().saturating_sub(DESCRIPTORS_SPARED);
    let most = options.connections.min(usize::try_from(descriptors).unwrap_or(usize::MAX));
    let crowded = scripts.iter().find(|script| script.peak + options.readers > most);
    match crowded {
        None => Ok(most),
        Some(script) => Err(BenchError::Usage(format!(
            "{} has up to {} sessions at one time; {most} connections are allowed (--connections, \
             and the limit of open files)",
            script.room,
            script.peak + options.readers,
        ))),
    }
}

/// Rooms in order, each as soon as there are connections left for all its people.
async fn run(shared: Arc<Shared>, scripts: Vec<Script>, connections: usize) -> Outcome {
    let connections = Arc::new(Semaphore::new(connections));
    let mut rooms = JoinSet::new();
    for script in scripts {
        let wanted = u32::try_from(script.peak + shared.readers).unwrap_or(u32::MAX);
        let permit = connections.clone().acquire_many_owned(wanted).await;
        let permit = permit.expect("the semaphore is never closed");
        let room = RoomReplay::new(shared.clone(), script);
        rooms.spawn(async move {
            tracing::debug!(room = %room.room(), "begins");
            let outcome = room.run().await;
            drop(permit);
            outcome
        });
    }
    let mut all = Outcome::default();
    while let Some(outcome) = rooms.join_next().await {
        match outcome {
            Ok(outcome) => all.add(outcome),
            Err(error) => all.fault(error.to_string()),
        }
    }
    all
}

/// Hidden when nobody watches.
fn bar(options: &ReplayOptions, scripts: &[Script]) -> ProgressBar {
    if options.json {
        return ProgressBar::hidden();
    }
    let messages: usize = scripts.iter().map(Script::messages).sum();
    let style = ProgressStyle::with_template(
        "{bar:30} {human_pos}/{human_len} messages  {msg}  {elapsed_precise} (eta {eta})",
    );
    let bar = ProgressBar::new(messages as u64);
    bar.set_style(style.expect("the template is sound"));
    bar
}

async fn watch(
    bar: &ProgressBar,
    shared: &Shared,
    running: impl Future<Output = Outcome>,
) -> Outcome {
    let mut running = std::pin::pin!(running);
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            outcome = &mut running => return outcome,
            _ = ticks.tick() => {
                let (messages, deliveries) = shared.progress.read();
                bar.set_position(messages);
                bar.set_message(format!("{} deliveries", crate::table::thousands(deliveries)));
            }
        }
    }
}
