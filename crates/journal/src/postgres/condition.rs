//! Whether the database can be written, as far as the last attempts tell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::outcome::Failure;
use super::shared::Shared;

/// How often a database that could not be written is tried.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Writes a few bytes that no table holds, and waits for them like an append.
const PROBE: &str = "SELECT pg_logical_emit_message(true, 'parlour', 'probe')";

#[derive(Default)]
pub(super) struct Condition {
    broken: Mutex<Option<String>>,
}

impl Condition {
    /// A write failed. Said once, until one works again.
    pub(super) fn failed(&self, failure: &Failure) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.is_none() {
            tracing::error!(%failure, "the journal cannot be written");
        }
        *broken = Some(failure.to_string());
    }

    /// A write was answered cleanly.
    pub(super) fn worked(&self) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.take().is_some() {
            tracing::info!("the journal can be written again");
        }
    }

    /// Why it cannot be written.
    pub(super) fn why(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tries a database that could not be written, so that a node without a publish knows when it can.
pub(super) async fn probe(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        if shared.condition.why().is_none() {
            continue;
        }
        let probed = async {
            // The wait for a standby may last; one that hangs is as good as many.
            shared.upkeep.take().await?.run_unbounded(PROBE).await
        };
        match probed.await {
            Ok(()) => shared.condition.worked(),
            Err(failure) => shared.condition.failed(&failure),
        }
    }
}
