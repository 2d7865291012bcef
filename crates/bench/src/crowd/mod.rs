//! Thousands of clients in one task: whoever is ready is polled, nobody else.
//!
//! It stands apart because a generator shares its machine with what it measures: a task and a channel for
//! each client would cost more than the client itself. Each member has a waker of its own, which puts its
//! index on a list; polling the crowd walks that list.
//!
//! # Invariants
//! - A member that has more to say is polled until it has not, before the next one is.
//! - A wish on a member gets it polled.

mod ready;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parlour_client::{Connection, Event};

use ready::{Bell, ReadyList};

/// A member's place; given to another one after it has left.
pub type Key = usize;

/// Events after which the runtime gets its turn: other crowds live on the same thread, and the crowd's
/// task is not subject to tokio's own budget (which would tell a member "not ready" when it is).
const EVENTS_PER_TURN: u32 = 256;

/// Clients that are driven together. Owned by one task.
#[derive(Debug, Default)]
pub struct Crowd {
    members: Vec<Slot>,
    free: Vec<Key>,
    ready: Arc<ReadyList>,
    current: Option<Key>,
    since_turn: u32,
}

#[derive(Debug)]
struct Slot {
    connection: Option<Box<Connection>>,
    bell: Arc<Bell>,
    waker: Waker,
}

impl Crowd {
    /// Takes a client in. It dials when the crowd is polled next.
    pub fn add(&mut self, connection: Connection) -> Key {
        let key = self.free.pop().unwrap_or_else(|| {
            let bell = Bell::new(self.members.len(), &self.ready);
            let waker = bell.waker();
            self.members.push(Slot { connection: None, bell, waker });
            self.members.len() - 1
        });
        let slot = &mut self.members[key];
        slot.connection = Some(Box::new(connection));
        slot.bell.ring();
        key
    }

    /// A member, to be wished something of; `None` if it has left.
    pub fn member(&mut self, key: Key) -> Option<&mut Connection> {
        let slot = self.members.get_mut(key)?;
        slot.bell.ring();
        slot.connection.as_deref_mut()
    }

    /// Drops a member, and with it its connection.
    pub fn remove(&mut self, key: Key) -> Option<Box<Connection>> {
        let connection = self.members.get_mut(key)?.connection.take()?;
        self.free.push(key);
        Some(connection)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len() - self.free.len()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next event of anybody; never resolves while nobody has one. May be dropped and called again.
    pub async fn next(&mut self) -> (Key, Event) {
        if self.since_turn >= EVENTS_PER_TURN {
            self.since_turn = 0;
            tokio::task::yield_now().await;
        }
        self.since_turn += 1;
        tokio::task::unconstrained(std::future::poll_fn(|cx| self.poll_event(cx))).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<(Key, Event)> {
        self.ready.register(cx);
        loop {
            let Some(key) = self.current.take().or_else(|| self.ready.pop()) else {
                return Poll::Pending;
            };
            let slot = &mut self.members[key];
            slot.bell.hush();
            let Some(connection) = &mut slot.connection else {
                continue;
            };
            let mut of_member = Context::from_waker(&slot.waker);
            // `None`: the session is over, and its last event has said so.
            if let Poll::Ready(Some(event)) = connection.poll_event(&mut of_member) {
                self.current = Some(key);
                return Poll::Ready((key, event));
            }
        }
    }
}
