//! Everything in one process: journal, room server and edge, which meet over the link here too.

mod identity;
mod link;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cluster::Node;
use edge::{Door, Edge, Listeners, Owners};
use journal::{Embedded, Journal};
use model::{End, EndCode, NodeId, Seed};
use registry::InProcess;
use room_server::{Clock, RetentionRule, RoomServer};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::{Retention, Settings};

/// When clients are told to come back after a drain, and over how long their return is spread.
const COME_BACK_MS: u64 = 1_000;
const COME_BACK_SPREAD_MS: u64 = 1_000;

/// What rooms get of a drain's time at least, however long sessions took.
const ROOMS_WITHIN_MIN: Duration = Duration::from_millis(500);

/// Runs until a signal, then drains. Exit 0 after a clean drain, 1 when something failed.
#[must_use]
pub fn run(settings: Settings) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(async {
        let stop = match Stop::new() {
            Ok(stop) => stop,
            Err(error) => return fail(&format!("cannot watch for signals: {error}")),
        };
        match App::start(settings).await {
            Ok(app) => {
                app.greet();
                serve_until(app, stop).await
            }
            Err(text) => fail(&text),
        }
    });
    // What is left are reads for clients that are gone.
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

fn fail(text: &str) -> ExitCode {
    eprintln!("parlour: {text}");
    ExitCode::FAILURE
}

/// SIGTERM and Ctrl-C.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The first signal drains; a second one does not wait for it.
async fn serve_until(app: App, mut stop: Stop) -> ExitCode {
    stop.asked().await;
    tracing::info!(
        sessions = app.edge.sessions(),
        "leaving: telling every session when to come back"
    );
    tokio::select! {
        left = app.drain() => {
            if left > 0 {
                tracing::warn!(sessions = left, "some sessions did not leave in time");
            }
            ExitCode::SUCCESS
        }
        () = stop.asked() => fail("stopped at once, as asked twice; what was acknowledged is on disk"),
    }
}

/// The running process.
#[derive(Debug)]
pub struct App {
    edge: Edge,
    room_server: RoomServer,
    drain_within: Duration,
    /// Where HTTP and WebSockets are.
    pub http: SocketAddr,
    /// Where gRPC is.
    pub grpc: SocketAddr,
}

impl App {
    /// Builds everything.
    ///
    /// # Errors
    /// A sentence for the person who started it.
    pub async fn start(settings: Settings) -> Result<App, String> {
        let listeners = Listeners::bind(settings.listen, settings.grpc).await?;
        let address = |socket: std::io::Result<SocketAddr>| {
            socket.map_err(|error| format!("a socket has no address: {error}"))
        };
        let http = address(listeners.http.local_addr())?;
        let grpc = address(listeners.grpc.local_addr())?;
        let journal = open_journal(&settings).await?;
        let mut seed = Seed::new(identity::random());
        let node_id = NodeId::new("local").map_err(|error| error.to_string())?;
        let limits = Arc::new(settings.limits.clone());
        let registry =
            Arc::new(InProcess::new(Node::in_process(node_id.clone()), cluster::SLOTS_DEFAULT));
        let config = room_server::Config {
            limits: Arc::clone(&limits),
            retention: settings.retention.iter().map(rule).collect(),
            retention_interval_ms: settings.retention_interval_ms,
            ..room_server::Config::new(node_id.clone())
        };
        let room_server = RoomServer::new(
            config,
            Arc::clone(&journal) as Arc<dyn Journal>,
            Arc::clone(&registry) as Arc<dyn cluster::Registry>,
            Clock::system(),
            seed.next_u64(),
            None,
        );
        let channel = link::in_process(room_server.link_service());
        let owners = Owners { registry, dial: Arc::new(move |_: &NodeId| channel.clone()) };
        let config = edge::Config {
            node: node_id.clone(),
            limits,
            shards: settings.shards,
            lanes: settings.lanes,
            origins: settings.origins.clone(),
            door: Door::new(
                settings.token_key.as_ref(),
                "local".to_owned(),
                &identity::cluster_key(&settings.data)?,
            ),
        };
        let health = Arc::clone(&journal);
        let readiness = Arc::new(move || {
            let health = health.health();
            (!health.writable).then(|| {
                health.why.unwrap_or_else(|| "the journal takes no writes right now".to_owned())
            })
        });
        let edge = Edge::start(config, node_id, owners, listeners, readiness, seed)
            .map_err(|error| format!("cannot start the shards: {error}"))?;
        let drain_within = Duration::from_millis(settings.drain_within_ms);
        Ok(App { edge, room_server, drain_within, http, grpc })
    }

    /// The first lines: where it listens, and what to try next.
    fn greet(&self) {
        let (http, grpc) = (self.http, self.grpc);
        println!("Parlour is listening: WebSocket on ws://{http}/v1/ws, gRPC on {grpc}");
        if std::io::stdout().is_terminal() {
            println!(
                "Try:  python3 examples/chat.py Ann lobby ws://{http}/v1/ws\n      \
                 grpcurl -plaintext -H 'parlour-name: Ann' -d '{{\"room\":\"lobby\",\"post\":{{\"text\":\"hello\"}}}}' \
                 {grpc} parlour.v1.Chat/Publish\nStop: Ctrl-C"
            );
        }
    }

    /// Sessions first, then rooms; the journal closes when the last who uses it is gone. Answers how many sessions were left behind.
    pub async fn drain(self) -> usize {
        let deadline = tokio::time::Instant::now() + self.drain_within;
        let end = End::new(EndCode::Restarting).retry_after(COME_BACK_MS);
        let left = self.edge.drain(end, COME_BACK_SPREAD_MS, self.drain_within).await;
        let rest = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !self.room_server.drain(rest.max(ROOMS_WITHIN_MIN)).await {
            tracing::warn!("not all markers were written in time");
        }
        left
    }
}

async fn open_journal(settings: &Settings) -> Result<Arc<Embedded>, String> {
    let engine = journal::embedded::Settings {
        headroom_bytes: settings.headroom_bytes,
        erase_within: Duration::from_millis(settings.erase_within_ms),
        ..journal::embedded::Settings::new(
            &settings.data,
            cluster::SLOTS_DEFAULT,
            cluster::SLOT_HASH,
        )
    };
    let opened = tokio::task::spawn_blocking(move || Embedded::open(engine)).await;
    match opened {
        Ok(Ok(journal)) => Ok(Arc::new(journal)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("opening the journal failed: {error}")),
    }
}

fn rule(retention: &Retention) -> RetentionRule {
    RetentionRule {
        pattern: retention.rooms.clone(),
        age_ms: retention.age_ms,
        entries_max: retention.count,
        bytes_max: retention.bytes,
    }
}
