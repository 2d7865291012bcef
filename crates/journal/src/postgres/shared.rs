//! What all parts of the engine see.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::claims::Claims;
use super::condition::Condition;
use super::conn::{Connector, Kind};
use super::pool::Pool;
use super::settings::Settings;

pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) appends: Arc<Pool>,
    pub(super) claimers: Arc<Pool>,
    pub(super) readers: Arc<Pool>,
    /// One connection: owners stop reading when fences cannot be verified, so no herd of readers and no
    /// claim that hangs may stand before it.
    pub(super) verifier: Arc<Pool>,
    pub(super) upkeep: Arc<Pool>,
    pub(super) condition: Condition,
    /// One for each append, claim or trim that was handed over and is not answered.
    pub(super) places: Arc<Semaphore>,
    /// Held by the one who deletes what was trimmed.
    pub(super) sweeping: tokio::sync::Mutex<()>,
    claims: Mutex<Claims>,
}

impl Shared {
    pub(super) fn new(settings: Settings, connector: Connector) -> Shared {
        let connector = Arc::new(connector);
        let pool =
            |kind, size| Pool::new(kind, Arc::clone(&connector), size, settings.answer_within);
        Shared {
            appends: pool(Kind::Append, settings.writers),
            claimers: pool(Kind::Claim, settings.claimers),
            readers: pool(Kind::Read, settings.readers),
            verifier: pool(Kind::Read, 1),
            // One trims, one deletes what was trimmed, one asks whether the database can be written.
            upkeep: pool(Kind::Upkeep, 3),
            condition: Condition::default(),
            places: Arc::new(Semaphore::new(settings.queue_max.max(1))),
            sweeping: tokio::sync::Mutex::default(),
            claims: Mutex::new(Claims::new(settings.part_bytes_max)),
            settings,
        }
    }

    /// Held for moments, never over an await.
    pub(super) fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
