//! The gRPC service of peers, on the link's listener.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cluster::View;
use futures_util::Stream;
use model::{Epoch, NodeId, SlotNo};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};
use wire::link::peer_server::{Peer, PeerServer};
use wire::link::transfer_reply::Outcome;
use wire::link::{
    Beat, DrainReply, DrainRequest, MoveReply, MoveRequest, RoomsReply, RoomsRequest, SuspectReply,
    SuspectRequest, TransferReply, TransferRequest, WarmReply, WarmRequest,
};

use super::{TRANSFER_MS, convert, pulse};
use crate::operate;
use crate::slots::{Slots, ToSlot};
use crate::steward::ToSteward;

/// Milliseconds that the registry's news of the giver may be late.
const RECORD_WAIT_MS: u64 = 300;
/// Rooms in one answer to an operator.
const ROOMS_MAX: usize = 10_000;

const _: () = assert!(2 * RECORD_WAIT_MS < TRANSFER_MS);

/// The service, as tonic mounts it.
pub type PeerService = PeerServer<PeerOwner>;

/// What a room server answers to the others, and to operators.
#[derive(Clone)]
pub struct PeerOwner {
    slots: Arc<Slots>,
}

impl PeerOwner {
    pub(crate) fn new(slots: Arc<Slots>) -> PeerOwner {
        PeerOwner { slots }
    }

    fn slot(&self, slot: u32) -> Result<SlotNo, Status> {
        let slots = self.slots.shared.config.slots;
        if slot < slots {
            Ok(slot)
        } else {
            Err(Status::invalid_argument(format!("there are {slots} slots, and no slot {slot}")))
        }
    }

    /// The registry may tell this node of the giver's last claim later than the giver itself.
    async fn known(&self, slot: SlotNo, epoch: Epoch) {
        let registry = &self.slots.shared.registry;
        let knows = |view: &View| view.slot(slot).is_some_and(|record| record.epoch >= epoch);
        let wait = async {
            let mut view = registry.view();
            while !knows(&view) {
                view = registry.changed(view.version).await;
            }
        };
        // If it does not, the slot's task refuses.
        let _ = timeout(Duration::from_millis(RECORD_WAIT_MS), wait).await;
    }

    async fn take_on(&self, request: TransferRequest) -> Result<Epoch, String> {
        let slot = request.slot;
        let transfer = convert::decode(request)?;
        self.known(slot, transfer.epoch).await;
        let (reply, answer) = oneshot::channel();
        let word = ToSlot::TakeOn { transfer: Box::new(transfer), reply };
        let stopping = || "the server is stopping".to_owned();
        self.slots.inbox(slot).send(word).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

fn node(id: &str) -> Result<NodeId, Status> {
    NodeId::new(id).map_err(|why| Status::invalid_argument(why.0))
}

#[tonic::async_trait]
impl Peer for PeerOwner {
    type PulseStream = Pin<Box<dyn Stream<Item = Result<Beat, Status>> + Send>>;

    async fn pulse(
        &self,
        request: Request<Streaming<Beat>>,
    ) -> Result<Response<Self::PulseStream>, Status> {
        let me = self.slots.shared.config.node.clone();
        Ok(Response::new(Box::pin(pulse::answer(me, request.into_inner()))))
    }

    async fn suspect(
        &self,
        request: Request<SuspectRequest>,
    ) -> Result<Response<SuspectReply>, Status> {
        let SuspectRequest { observer, node: silent, .. } = request.into_inner();
        let (observer, node) = (node(&observer)?, node(&silent)?);
        // A steward that is busy hears it again with the next beat that is missed.
        self.slots.shared.tell_steward(ToSteward::Suspected { observer, node });
        Ok(Response::new(SuspectReply {}))
    }

    async fn warm(&self, request: Request<WarmRequest>) -> Result<Response<WarmReply>, Status> {
        let slot = self.slot(request.into_inner().slot)?;
        // The connection stands now, and the slot's task.
        drop(self.slots.inbox(slot));
        Ok(Response::new(WarmReply {}))
    }

    async fn transfer(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferReply>, Status> {
        let request = request.into_inner();
        self.slot(request.slot)?;
        let outcome = match self.take_on(request).await {
            Ok(epoch) => Outcome::Serving(epoch),
            Err(why) => Outcome::Refused(why),
        };
        Ok(Response::new(TransferReply { outcome: Some(outcome) }))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        let within = Duration::from_millis(operate::GIVE_ALL_MS);
        let left = operate::give_all(&self.slots, within).await;
        Ok(Response::new(DrainReply { left: left as u32 }))
    }

    async fn r#move(&self, request: Request<MoveRequest>) -> Result<Response<MoveReply>, Status> {
        let MoveRequest { slot, to } = request.into_inner();
        let (slot, to) = (self.slot(slot)?, node(&to)?);
        let epoch = operate::give(&self.slots, slot, to).await;
        let epoch = epoch.map_err(Status::failed_precondition)?;
        Ok(Response::new(MoveReply { epoch }))
    }

    async fn rooms(&self, request: Request<RoomsRequest>) -> Result<Response<RoomsReply>, Status> {
        let limit = (request.into_inner().limit as usize).min(ROOMS_MAX);
        let rooms = operate::rooms(&self.slots, limit).await;
        Ok(Response::new(RoomsReply { rooms }))
    }
}
