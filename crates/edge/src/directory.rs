//! Which connection is a session's: the newest.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::{Generation, SessionId};
use session::log::SessionKey;

/// Where a session's newest connection on this edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) shard: u32,
    pub(crate) session: SessionKey,
    pub(crate) generation: Generation,
}

/// Finds the older connection that a newer one replaces ("duplicate tab" copies a session's storage).
#[derive(Debug, Default)]
pub(crate) struct Directory {
    sessions: Mutex<HashMap<SessionId, Whereabouts>>,
}

impl Directory {
    /// Notes a connection; answers the older one that it replaces. A connection that is itself older
    /// than the one that stands is answered as the one to end.
    pub(crate) fn enter(&self, session: &SessionId, here: Whereabouts) -> Option<Whereabouts> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        match sessions.get(session) {
            Some(standing) if standing.generation > here.generation => Some(here),
            _ => sessions.insert(session.clone(), here),
        }
    }

    /// Forgets a connection, unless a newer one has taken its place.
    pub(crate) fn leave(&self, session: &SessionId, generation: Generation) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.get(session).is_some_and(|standing| standing.generation == generation) {
            sessions.remove(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_connection_stays_whichever_comes_first() {
        let directory = Directory::default();
        let session = SessionId::new("s1").expect("valid");
        let at = |counter| Whereabouts {
            shard: 0,
            session: SessionKey(counter as u32),
            generation: Generation { counter, random: 0 },
        };
        assert_eq!(directory.enter(&session, at(1)), None);
        assert_eq!(directory.enter(&session, at(3)), Some(at(1)));
        assert_eq!(directory.enter(&session, at(2)), Some(at(2)));
        directory.leave(&session, at(1).generation);
        assert_eq!(directory.enter(&session, at(4)), Some(at(3)));
    }
}
