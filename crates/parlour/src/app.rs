//! A process in one of its roles: everything in one (`serve`), or a node of a cluster (`room`, `edge`).
//! Edge and rooms meet over the link in all of them.

pub(crate) mod etcd;
mod identity;
pub(crate) mod link;
mod member;
mod node;
pub(crate) mod store;

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

pub use node::App;

use crate::settings::{Role, Settings};

/// Runs until a signal, then drains. Exit 0 after a clean drain, 1 when something failed.
#[must_use]
pub fn run(settings: Settings, role: Role) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(async {
        let stop = match Stop::new() {
            Ok(stop) => stop,
            Err(error) => return fail(&format!("cannot watch for signals: {error}")),
        };
        match App::start(settings, role).await {
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
    tracing::info!(sessions = app.sessions(), "leaving: telling every session when to come back");
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
