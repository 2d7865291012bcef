//! Whether the database can be written, as far as the last attempts tell.
//!
//! When a write is not answered in time, others would hang like it, each for as long and each leaving a
//! process behind that waits in the server. So nothing is tried then but a probe, one at a time; what is
//! refused meanwhile was surely not applied. Where connections fail at once everything goes on
//! trying: that costs nothing, and a failover is noticed by the first that succeeds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::outcome::Failure;
use super::shared::Shared;

/// How often a database that could not be written is tried.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Writes a few bytes that no table holds, and waits for them like an append.
const PROBE: &str = "SELECT pg_logical_emit_message(true, 'parlour', 'probe')";

#[derive(Default)]
pub(super) struct Condition {
    broken: Mutex<Option<Broken>>,
    changed: Notify,
}

struct Broken {
    why: String,
    /// Whether writes are not even tried.
    hangs: bool,
}

impl Condition {
    /// A write failed. Said once, until one works again.
    pub(super) fn failed(&self, failure: &Failure) {
        let hangs = matches!(failure, Failure::Silent | Failure::Warned(_));
        let mut broken = self.lock();
        match &mut *broken {
            None => {
                tracing::error!(%failure, "the journal cannot be written");
                *broken = Some(Broken { why: failure.to_string(), hangs });
            }
            // What it says while nothing is tried is this very reason.
            Some(broken) if broken.hangs => return,
            Some(broken) => *broken = Broken { why: failure.to_string(), hangs },
        }
        self.changed.notify_one();
    }

    /// A write was answered cleanly.
    pub(super) fn worked(&self) {
        if self.lock().take().is_some() {
            tracing::info!("the journal can be written again");
        }
    }

    /// The probe was refused, but answered: writes may be tried.
    fn answers(&self, failure: &Failure) {
        if let Some(broken) = &mut *self.lock() {
            *broken = Broken { why: failure.to_string(), hangs: false };
        }
    }

    /// Why nothing is tried now, if so.
    pub(super) fn refusal(&self) -> Option<Failure> {
        let broken = self.lock();
        let hanging = broken.as_ref().filter(|broken| broken.hangs);
        hanging.map(|broken| Failure::Unconnected(format!("writes hang: {}", broken.why)))
    }

    /// Why it cannot be written.
    pub(super) fn why(&self) -> Option<String> {
        self.lock().as_ref().map(|broken| broken.why.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Broken>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries a database that could not be written, so that a node without a publish knows when it can.
pub(super) async fn probe(shared: Arc<Shared>) {
    let mut hung: Option<String> = None;
    loop {
        if shared.condition.why().is_none() {
            shared.condition.changed.notified().await;
            continue;
        }
        let probed = async {
            let conn = shared.upkeep.take().await?;
            // A probe that hung is ended through the next connection, which may be to another host.
            if let Some(name) = &hung {
                conn.query(END_PROBE, &[name]).await?;
            }
            let probed = conn.query(PROBE, &[]).await;
            hung = matches!(probed, Err(Failure::Silent)).then(|| conn.name().to_owned());
            probed
        };
        match probed.await {
            Ok(_) => shared.condition.worked(),
            Err(failure) => {
                match failure {
                    Failure::RolledBack(..) => shared.condition.answers(&failure),
                    _ => shared.condition.failed(&failure),
                }
                tokio::time::sleep(PROBE_EVERY).await;
            }
        }
    }
}

/// Ends a session of ours by its name, which no other ever has.
const END_PROBE: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1::text";

#[cfg(test)]
mod tests {
    use tokio_postgres::error::SqlState;

    use super::*;

    #[test]
    fn writes_are_refused_while_they_hang_and_tried_while_connections_fail() {
        let condition = Condition::default();
        condition.failed(&Failure::Unconnected("refused".into()));
        assert!(condition.why().is_some() && condition.refusal().is_none());
        condition.failed(&Failure::Silent);
        assert!(condition.refusal().is_some());
        // One that was under way says something else; it still hangs.
        condition.failed(&Failure::Unconnected("refused".into()));
        assert!(condition.refusal().is_some());
        condition.answers(&Failure::RolledBack(SqlState::DISK_FULL, String::new()));
        assert!(condition.why().is_some() && condition.refusal().is_none());
        condition.worked();
        assert!(condition.why().is_none() && condition.refusal().is_none());
    }
}
