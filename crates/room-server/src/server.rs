//! The server itself: wiring, and leaving on purpose.

use std::sync::Arc;
use std::time::Duration;

use cluster::Registry;
use journal::Journal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use wire::link::link_server::LinkServer;
use wire::link::peer_server::PeerServer;

use crate::clock::Clock;
use crate::config::Config;
use crate::counters::Counts;
use crate::peers::{Dial, PeerOwner, PeerService};
use crate::service::{LinkOwner, LinkService};
use crate::slots::{Shared, Slots, ToSlot};
use crate::{operate, retention, steward, verify};

/// Bytes of one message of the link: a batch of the largest frames and their envelope.
pub const LINK_MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(LINK_MESSAGE_BYTES_MAX > 8 * model::limits::HELLO_BYTES_MAX);

/// Owns rooms on behalf of a journal, and serves them to edges over links.
///
/// It is built inside a tokio runtime. Slots are claimed when somebody speaks to one of their rooms.
/// Dropping it ends its tasks once the last stream is gone.
pub struct RoomServer {
    slots: Arc<Slots>,
    /// The checks of fences, retention, and the steward.
    background: [JoinHandle<()>; 3],
}

impl RoomServer {
    /// A server that owns nothing yet. `seed` must be drawn anew for each process: it makes the nonce
    /// that tells this process's claims from those of its former self, and the ids of new logs.
    ///
    /// `dial` reaches the other room servers of the cluster; `None` if there never are any: then nothing is
    /// taken over but what somebody speaks to, and nothing is given away.
    ///
    /// `config` has no fault ([`Config::check`]).
    #[must_use]
    pub fn new(
        config: Config,
        journal: Arc<dyn Journal>,
        registry: Arc<dyn Registry>,
        clock: Clock,
        seed: u64,
        dial: Option<Dial>,
    ) -> RoomServer {
        let (to_steward, words) = mpsc::channel(steward::words_max(config.slots));
        let shared = Shared::new(config, journal, registry, clock, seed, dial, to_steward);
        let slots = Arc::new(Slots::new(Arc::new(shared)));
        let background = [
            tokio::spawn(steward::run(Arc::downgrade(&slots), words)),
            tokio::spawn(verify::run(Arc::downgrade(&slots))),
            tokio::spawn(retention::run(Arc::downgrade(&slots))),
        ];
        RoomServer { slots, background }
    }

    /// The service for `tonic::transport::Server::add_service`.
    #[must_use]
    pub fn link_service(&self) -> LinkService {
        LinkServer::new(LinkOwner::new(Arc::clone(&self.slots)))
            .max_decoding_message_size(LINK_MESSAGE_BYTES_MAX)
    }

    /// What the other room servers and operators call, on the same listener.
    #[must_use]
    pub fn peer_service(&self) -> PeerService {
        PeerServer::new(PeerOwner::new(Arc::clone(&self.slots)))
            .max_decoding_message_size(LINK_MESSAGE_BYTES_MAX)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.slots.counters().read()
    }

    /// Whether the journal takes writes; if not, why.
    #[must_use]
    pub fn health(&self) -> journal::Health {
        self.slots.shared.journal.health()
    }

    /// Leaves on purpose. Every slot is given to another room server, while what it serves goes on being
    /// served; what nobody takes takes nothing new in, appends and answers what it has, and writes its
    /// marks. Whether that was done when the deadline came.
    pub async fn drain(&self, deadline: Duration) -> bool {
        let started = Instant::now();
        // Some slot may be impossible to give: then there is time left to end it well here.
        let left = operate::give_all(&self.slots, deadline * 3 / 4).await;
        if left > 0 && self.slots.shared.peers.is_some() {
            tracing::info!(slots = left, "nobody took these; their rooms end here");
        }
        let all = async {
            let mut slots = Vec::new();
            for (_, inbox) in self.slots.started() {
                let (done, drained) = oneshot::channel();
                if inbox.send(ToSlot::Drain { done }).await.is_ok() {
                    slots.push(drained);
                }
            }
            for drained in slots {
                // A task that is gone has nothing left.
                let _ = drained.await;
            }
        };
        timeout(deadline.saturating_sub(started.elapsed()), all).await.is_ok()
    }
}

impl Drop for RoomServer {
    fn drop(&mut self) {
        self.background.iter().for_each(JoinHandle::abort);
    }
}

impl std::fmt::Debug for RoomServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoomServer").field("counts", &self.counts()).finish()
    }
}
