//! Connections of one kind, at most so many.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::conn::{Conn, Connector, Kind};
use super::outcome::Failure;

pub(super) struct Pool {
    kind: Kind,
    connector: Arc<Connector>,
    idle: Mutex<Vec<Conn>>,
    places: Arc<Semaphore>,
    /// How long one may be waited for.
    within: Duration,
}

impl Pool {
    pub(super) fn new(
        kind: Kind,
        connector: Arc<Connector>,
        size: usize,
        within: Duration,
    ) -> Arc<Pool> {
        let places = Arc::new(Semaphore::new(size.max(1)));
        Arc::new(Pool { kind, connector, idle: Mutex::default(), places, within })
    }

    /// A connection: one that is idle, or a new one. Waits while all are in use.
    pub(super) async fn take(self: &Arc<Pool>) -> Result<Leased, Failure> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(self.within, place).await;
        let busy = || Failure::Unconnected("all connections are busy".into());
        let place = place
            .map_err(|_| busy())?
            .map_err(|_| Failure::Unconnected("the journal is closed".into()))?;
        let idle = loop {
            match self.idle().pop() {
                Some(conn) if !conn.is_fit() => drop(conn),
                other => break other,
            }
        };
        let conn = match idle {
            Some(conn) => conn,
            None => self.connector.connect(self.kind).await?,
        };
        Ok(Leased { conn: Some(conn), pool: Arc::clone(self), _place: place })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use; when dropped it is idle again, if it may be.
pub(super) struct Leased {
    conn: Option<Conn>,
    pool: Arc<Pool>,
    _place: OwnedSemaphorePermit,
}

impl Deref for Leased {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take().filter(Conn::is_fit) {
            self.pool.idle().push(conn);
        }
    }
}
