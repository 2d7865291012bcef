//! The host on which all clients live, and the operators.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{RoomName, Seed, SlotNo};
use tokio::time::timeout;
use wire::link::peer_client::PeerClient;
use wire::link::{DrainRequest, MoveRequest};

use crate::host::Host;
use crate::net::channel;
use crate::nodes::Site;
use crate::person::{Person, Plan, Shared};
use crate::record::Record;
use crate::trace::{Trace, note};

/// The machine of whoever operates.
pub(crate) const OPERATOR: &str = "operator";
/// An operator who is not answered gives up.
const ORDER_WITHIN: Duration = Duration::from_secs(5);

/// Everybody outside the cluster.
pub(crate) struct People {
    pub(crate) host: Host,
    pub(crate) all: Vec<Shared>,
    /// Machines that have an order in work.
    pub(crate) orders: Orders,
    site: Site,
    trace: Trace,
}

/// Orders in work, and what became of the others. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders(Arc<Mutex<Vec<Order>>>);

/// One order.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The machines that it needs.
    pub(crate) machines: Vec<String>,
    pub(crate) outcome: Option<Result<(), String>>,
    /// Whether one of them died or stopped meanwhile.
    pub(crate) is_overtaken: bool,
}

impl Orders {
    fn with<T>(&self, with: impl FnOnce(&mut Vec<Order>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, machines: Vec<String>) -> usize {
        self.with(|orders| {
            orders.push(Order { machines, outcome: None, is_overtaken: false });
            orders.len() - 1
        })
    }

    /// A machine's process dies or stops.
    pub(crate) fn overtake(&self, machine: &str) {
        self.with(|orders| {
            for order in orders.iter_mut().filter(|order| order.outcome.is_none()) {
                order.is_overtaken |= order.machines.iter().any(|other| other == machine);
            }
        });
    }

    pub(crate) fn overtaken(&self) -> u64 {
        self.with(|orders| orders.iter().filter(|order| order.is_overtaken).count() as u64)
    }

    /// What became of a drain; `None` while it goes on.
    pub(crate) fn outcome(&self, order: usize) -> Option<Result<(), String>> {
        self.with(|orders| orders[order].outcome.clone())
    }
}

impl People {
    pub(crate) fn new(site: &Site, trace: &Trace) -> People {
        People {
            host: Host::new("people", &site.time),
            all: Vec::new(),
            orders: Orders::default(),
            site: site.clone(),
            trace: trace.clone(),
        }
    }

    /// Somebody comes.
    pub(crate) fn come(&mut self, plan: Plan, seed: Seed) -> Shared {
        let unread = plan.writes.iter().filter(|room| !plan.reads.contains(room));
        let rooms: Vec<(RoomName, bool)> = plan
            .reads
            .iter()
            .map(|room| (room.clone(), true))
            .chain(unread.map(|room| (room.clone(), false)))
            .collect();
        let record = Record::new(self.all.len() as u32, &plan.name, rooms);
        let shared = Shared::new(record, !plan.writes.is_empty());
        let (theirs, trace) = (shared.clone(), self.trace.clone());
        self.host.run(async {
            let person = Person::new(plan, &self.site, trace, seed, theirs);
            tokio::spawn(person.run());
        });
        self.all.push(shared.clone());
        shared
    }

    /// Orders one machine to give a slot to a node on another.
    pub(crate) fn order_move(&self, from: &str, slot: SlotNo, to: &str, to_machine: &str) {
        let order = self.orders.begin(vec![from.to_owned(), to_machine.to_owned()]);
        let request = MoveRequest { slot, to: to.to_owned() };
        let (orders, trace, to) = (self.orders.clone(), self.trace.clone(), to.to_owned());
        self.host.run(async {
            let mut peer = PeerClient::new(channel(&self.site.net, OPERATOR, from));
            tokio::spawn(async move {
                let moved = timeout(ORDER_WITHIN, peer.r#move(request)).await;
                let outcome = match moved {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(status)) => Err(status.message().to_owned()),
                    Err(_) => Err("no answer".to_owned()),
                };
                note!(trace, OPERATOR, "slot {slot} to {to}: {outcome:?}");
                orders.with(|orders| orders[order].outcome = Some(outcome));
            });
        });
    }

    /// Orders a machine to give everything away; the order's number.
    pub(crate) fn order_drain(&self, from: &str) -> usize {
        let order = self.orders.begin(vec![from.to_owned()]);
        let (orders, trace, from) = (self.orders.clone(), self.trace.clone(), from.to_owned());
        self.host.run(async {
            let mut peer = PeerClient::new(channel(&self.site.net, OPERATOR, &from));
            tokio::spawn(async move {
                let drained = timeout(ORDER_WITHIN, peer.drain(DrainRequest {})).await;
                let outcome = match drained {
                    Ok(Ok(reply)) if reply.get_ref().left == 0 => Ok(()),
                    Ok(Ok(reply)) => Err(format!("{} are left", reply.get_ref().left)),
                    Ok(Err(status)) => Err(status.message().to_owned()),
                    Err(_) => Err("no answer".to_owned()),
                };
                note!(trace, OPERATOR, "{from} drained: {outcome:?}");
                orders.with(|orders| orders[order].outcome = Some(outcome));
            });
        });
        order
    }
}
