//! What the threads of the embedded engine share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use model::{Fence, SlotNo};
use tokio::sync::Semaphore;

use super::engine::Engine;
use super::erase::Eraser;
use super::settings::Settings;
use super::space::{Headroom, Room};
use crate::Health;

/// A commit that takes longer is told as a fault: the engine is known to stall when its workers die.
const COMMIT_STALLS_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) headroom: Headroom,
    pub(super) eraser: Eraser,
    /// Places for reads at a time.
    pub(super) readers: Arc<Semaphore>,
    /// Places in the committer's queue.
    pub(super) places: Arc<Semaphore>,
    /// `None` while it is closed. Held for reading by whoever uses it, for writing to replace it.
    engine: RwLock<Option<Engine>>,
    claims: RwLock<HashMap<SlotNo, Fence>>,
    broken: Mutex<Option<String>>,
    started: Instant,
    /// Milliseconds since `started`, plus one; 0 while nothing is committed.
    committing_since_ms: AtomicU64,
}

impl Shared {
    pub(super) fn new(settings: Settings, headroom: Headroom, engine: Engine) -> Shared {
        Shared {
            eraser: Eraser::new(settings.erase_within),
            readers: Arc::new(Semaphore::new(settings.readers.max(1))),
            places: Arc::new(Semaphore::new(settings.queue_max.max(1))),
            engine: RwLock::new(Some(engine)),
            claims: RwLock::default(),
            broken: Mutex::default(),
            started: Instant::now(),
            committing_since_ms: AtomicU64::new(0),
            settings,
            headroom,
        }
    }

    pub(super) fn read_engine(&self) -> RwLockReadGuard<'_, Option<Engine>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_engine(&self) -> RwLockWriteGuard<'_, Option<Engine>> {
        self.engine.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_claims(&self, fences: impl Iterator<Item = (SlotNo, Fence)>) {
        let mut claims = self.claims.write().unwrap_or_else(PoisonError::into_inner);
        claims.clear();
        claims.extend(fences);
    }

    /// Those of the slots that are not claimed under this fence.
    pub(super) fn superseded(&self, fences: &[(SlotNo, Fence)]) -> Vec<SlotNo> {
        let claims = self.claims.read().unwrap_or_else(PoisonError::into_inner);
        let lost = fences.iter().filter(|(slot, fence)| claims.get(slot) != Some(fence));
        lost.map(|(slot, _)| *slot).collect()
    }

    pub(super) fn set_broken(&self, why: Option<String>) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn commit_begins(&self) {
        let since = self.started.elapsed().as_millis() as u64 + 1;
        self.committing_since_ms.store(since, Ordering::Relaxed);
    }

    pub(super) fn commit_ended(&self) {
        self.committing_since_ms.store(0, Ordering::Relaxed);
    }

    pub(super) fn health(&self) -> Health {
        let free_bytes = self.headroom.free_bytes();
        let why = self.broken().or_else(|| self.stalled()).or_else(|| {
            (self.headroom.room() < Room::Enough)
                .then(|| format!("{free_bytes} bytes are free, too few to go on writing"))
        });
        Health { writable: why.is_none(), why, free_bytes }
    }

    fn stalled(&self) -> Option<String> {
        let since = Duration::from_millis(match self.committing_since_ms.load(Ordering::Relaxed) {
            0 => return None,
            since => since - 1,
        });
        let takes = self.started.elapsed().saturating_sub(since);
        (takes > COMMIT_STALLS_AFTER).then(|| format!("a commit takes {} s", takes.as_secs()))
    }
}
