//! The other room servers of the cluster: signs of life, handoffs, and what operators ask for.
//!
//! Apart from the link, which is between an owner and edges: what is said here moves slots, and says
//! nothing to anybody who talks.

pub(crate) mod convert;
mod pulse;
mod service;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::Node;
use model::{Epoch, NodeId, RoomName, SlotNo};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status};
use wire::link::peer_client::PeerClient;
use wire::link::transfer_reply::Outcome;
use wire::link::{SuspectRequest, TransferReply, TransferRequest, WarmRequest};

pub(crate) use pulse::{SILENCE_MS, watch};
pub use service::{PeerOwner, PeerService};

/// How other room servers are reached: the channel to a node's internal listener, which may connect
/// lazily. Called anew after a node was silent, so that it must not hand out a channel whose connection
/// is known to be dead.
pub type Dial = Arc<dyn Fn(&Node) -> Channel + Send + Sync>;

/// Milliseconds that a taker has to serve a slot: far beyond what it takes, far below what a publish
/// waits.
pub(crate) const TRANSFER_MS: u64 = 1_000;
/// Milliseconds that the hint before a handoff may take; it is owed nothing.
const WARM_MS: u64 = 200;
/// Milliseconds that a word of suspicion may take.
const SUSPECT_MS: u64 = 300;
/// Names of rooms in the hint before a handoff.
pub(crate) const WARM_ROOMS_MAX: usize = 1_024;

const _: () = assert!(TRANSFER_MS > 2 * pulse::CONNECT_MS);

/// The calling side.
pub(crate) struct Peers {
    dial: Dial,
    /// One channel per node for calls; beats have their own, so that no transfer holds them up.
    channels: Mutex<BTreeMap<NodeId, Channel>>,
}

impl Peers {
    pub(crate) fn new(dial: Dial) -> Peers {
        Peers { dial, channels: Mutex::default() }
    }

    pub(crate) fn dial(&self) -> Dial {
        Arc::clone(&self.dial)
    }

    /// Tells `to` that it will be given a slot.
    pub(crate) async fn warm(&self, to: &Node, slot: SlotNo, rooms: &[RoomName]) {
        let rooms = rooms.iter().take(WARM_ROOMS_MAX).map(|room| room.as_str().to_owned());
        let request = WarmRequest { slot, rooms: rooms.collect() };
        let mut client = self.client(to);
        let _ = self.within(to, WARM_MS, client.warm(request)).await;
    }

    /// Hands a frozen slot to `to`; the epoch under which it serves the slot, or why it does not.
    pub(crate) async fn transfer(
        &self,
        to: &Node,
        request: TransferRequest,
    ) -> Result<Epoch, String> {
        let mut client = self.client(to);
        let reply: TransferReply = self.within(to, TRANSFER_MS, client.transfer(request)).await?;
        match reply.outcome {
            Some(Outcome::Serving(epoch)) => Ok(epoch),
            Some(Outcome::Refused(why)) => Err(why),
            None => Err("it answered nothing".to_owned()),
        }
    }

    /// Tells `to` that a node is silent.
    pub(crate) async fn suspect(&self, to: &Node, request: SuspectRequest) {
        let mut client = self.client(to);
        let _ = self.within(to, SUSPECT_MS, client.suspect(request)).await;
    }

    /// Forgets how nodes that are not there any more were reached.
    pub(crate) fn retain(&self, lives: impl Fn(&NodeId) -> bool) {
        self.lock().retain(|node, _| lives(node));
    }

    fn client(&self, to: &Node) -> PeerClient<Channel> {
        let mut channels = self.lock();
        let channel = channels.entry(to.id.clone()).or_insert_with(|| (self.dial)(to));
        PeerClient::new(channel.clone())
    }

    /// The reply, if it comes in time. A node that does not answer is dialled anew the next time.
    async fn within<T>(
        &self,
        to: &Node,
        wait_ms: u64,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, String> {
        let why = match timeout(Duration::from_millis(wait_ms), call).await {
            Ok(Ok(reply)) => return Ok(reply.into_inner()),
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => format!("no answer within {wait_ms} ms"),
        };
        self.lock().remove(&to.id);
        Err(why)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
