//! The journal of a role.

use std::sync::Arc;
use std::time::Duration;

use journal::postgres::{self, Postgres};
use journal::{Embedded, Journal};
use registry::etcd::Constants;
use room_server::RetentionRule;

use crate::settings::{ClusterSettings, Retention, Settings};

/// Opens the journal in the folder `data`.
///
/// # Errors
/// A sentence for the person who started it.
pub(super) async fn embedded(settings: &Settings) -> Result<Arc<dyn Journal>, String> {
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

/// How a node reaches the journal that all room servers share.
///
/// # Errors
/// A sentence, when the settings name none.
pub(crate) fn postgres_settings(
    cluster: &ClusterSettings,
    constants: &Constants,
) -> Result<postgres::Settings, String> {
    let url = cluster.journal.as_ref().ok_or("no journal is set")?;
    let url = std::str::from_utf8(url.expose()).map_err(|_| "the journal's URL is not a text")?;
    Ok(postgres::Settings {
        writers: cluster.journal_writers,
        readers: cluster.journal_readers,
        ..postgres::Settings::new(url, &constants.cluster_id, constants.slots, &constants.slot_hash)
    })
}

/// Opens the journal that all room servers share; `nonce` tells this process's claims from all others.
///
/// # Errors
/// A sentence for the person who started it.
pub(super) async fn shared(
    cluster: &ClusterSettings,
    constants: &Constants,
    nonce: u64,
) -> Result<Arc<dyn Journal>, String> {
    let settings = postgres_settings(cluster, constants)?;
    let opened = tokio::task::spawn_blocking(move || Postgres::open(settings, nonce)).await;
    match opened {
        Ok(Ok(journal)) => Ok(Arc::new(journal)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("opening the journal failed: {error}")),
    }
}

/// A setting as the room server takes it.
pub(super) fn rule(retention: &Retention) -> RetentionRule {
    RetentionRule {
        pattern: retention.rooms.clone(),
        age_ms: retention.age_ms,
        entries_max: retention.count,
        bytes_max: retention.bytes,
    }
}
