//! Everything that there is, and everything that may happen next.

use cluster::{Order, Reply};
use model::{NodeId, Now};
use stateright::{Model, Property};

use crate::Flaw;
use crate::node::{Call, Node, Sent, Transfer};
use crate::services::{Appended, Journal, Registry};

/// How much may happen. Every bound is on faults and orders; what follows from them is not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub publishes: u8,
    pub takeovers: u8,
    pub gives: u8,
    pub reclaims: u8,
    pub crashes: u8,
    pub losses: u8,
    pub restores: u8,
}

/// One slot in a cluster of `nodes`.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub nodes: usize,
    pub bounds: Bounds,
    pub flaw: Option<Flaw>,
}

/// The state of all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    registry: Registry,
    journal: Journal,
    nodes: Vec<Node>,
    transfers: Vec<Transfer>,
    /// Calls that nobody waits for any more, and that may still be carried out.
    late: Vec<(NodeId, Call)>,
    acknowledged: Vec<(usize, u8)>,
    /// Somebody began to serve without what had been acknowledged.
    stale: bool,
    published: u8,
    nonces: u8,
    left: Bounds,
}

/// Something that happens. Numbers are nodes, unless they are said to be something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The registry's record comes to its notice.
    Watch(usize),
    TakeOver(usize),
    Give(usize, usize),
    Reclaim(usize),
    Timeout(usize),
    /// The step's call is carried out.
    Carry(usize),
    Answer(usize),
    Lose(usize),
    Publish(usize),
    CarryAppend(usize),
    AnswerAppend(usize),
    LoseAppend(usize),
    /// The call at this index, after nobody waits for it any more.
    Late(usize),
    Flush(usize),
    /// The transfer at this index arrives.
    Hear(usize),
    AnswerTransfer(usize),
    FailTransfer(usize),
    /// It checks its fence.
    Verify(usize),
    Crash(usize),
    BackUp,
    Restore,
}

impl Model for Cluster {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let id = |n| NodeId::new(&format!("n{n}")).expect("valid");
        vec![World {
            registry: Registry::default(),
            journal: Journal::default(),
            nodes: (0..self.nodes).map(|n| Node::new(id(n), n as u8 + 1)).collect(),
            transfers: Vec::new(),
            late: Vec::new(),
            acknowledged: Vec::new(),
            stale: false,
            published: 0,
            nonces: self.nodes as u8,
            left: self.bounds,
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        if world.left == self.bounds && world.published == 0 {
            // Before anything has happened, one node is like the other.
            return events.push(Event::TakeOver(0));
        }
        (0..self.nodes).for_each(|n| world.of_node(n, events));
        events.extend((0..world.late.len()).map(Event::Late));
        events.extend((0..world.transfers.len()).map(Event::Hear));
        if world.left.restores > 0 {
            events.push(Event::BackUp);
        }
        if world.registry.can_restore() {
            events.push(Event::Restore);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        next.happen(self.flaw, event);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Cluster>> {
        vec![
            Property::always("there is one log", |_, world: &World| !world.journal.forked),
            Property::always(
                "what was acknowledged is in the log, at its seq",
                |_, world: &World| {
                    let stands =
                        |(seq, value): &(usize, u8)| world.journal.log.get(seq - 1) == Some(value);
                    world.acknowledged.iter().all(stands)
                },
            ),
            Property::always("nobody serves without what was acknowledged", |_, world: &World| {
                !world.stale
            }),
            Property::always("what an owner knows is the log", |_, world: &World| {
                let serving = world.nodes.iter().filter(|node| node.slot.appending().is_some());
                serving.into_iter().all(|node| world.journal.log.starts_with(&node.log))
            }),
            Property::sometimes(
                "everything is acknowledged",
                |cluster: &Cluster, world: &World| {
                    world.acknowledged.len() == usize::from(cluster.bounds.publishes)
                },
            ),
            Property::sometimes(
                "a handoff is served from hints",
                |cluster: &Cluster, world: &World| {
                    let hinted = |node: &Node| node.hinted && !node.log.is_empty();
                    cluster.bounds.gives == 0 || world.nodes.iter().any(hinted)
                },
            ),
        ]
    }
}

impl World {
    fn of_node(&self, n: usize, events: &mut Vec<Event>) {
        let node = &self.nodes[n];
        let mut may = |possible: bool, event: Event| {
            if possible {
                events.push(event);
            }
        };
        let current = self.registry.record.as_ref().map_or(0, |record| record.revision);
        may(node.told != current, Event::Watch(n));
        let at_rest = node.slot.appending().is_none() && node.slot.giving().is_none();
        may(self.left.takeovers > 0 && at_rest, Event::TakeOver(n));
        let serves = node.slot.serving().is_some();
        may(self.left.reclaims > 0 && serves, Event::Reclaim(n));
        may(node.slot.poll_timeout().is_some(), Event::Timeout(n));
        let faulty = self.left.losses > 0;
        // A claim waits for the append in flight.
        let waits = matches!(node.step, Sent::Out(Call::Claim { .. })) && node.append != Sent::No;
        may(matches!(node.step, Sent::Out(_)) && !waits, Event::Carry(n));
        may(matches!(node.step, Sent::Done(..)), Event::Answer(n));
        may(node.step != Sent::No && !waits && faulty, Event::Lose(n));
        let can_append = node.slot.appending().is_some() && node.append == Sent::No;
        may(can_append && !node.uncertain && self.left.publishes > 0, Event::Publish(n));
        may(matches!(node.append, Sent::Out(_)), Event::CarryAppend(n));
        may(matches!(node.append, Sent::Done(..)), Event::AnswerAppend(n));
        may(node.append != Sent::No && faulty, Event::LoseAppend(n));
        let flushed = node.append == Sent::No && !node.uncertain;
        may(node.freezing && flushed, Event::Flush(n));
        if let Some((to, _)) = &node.transfer {
            let served = |taker: &Node| taker.id == *to && taker.slot.serving().is_some();
            may(self.nodes.iter().any(served), Event::AnswerTransfer(n));
            may(true, Event::FailTransfer(n));
        }
        let superseded = node.built_on != 0 && node.built_on != self.journal.fence;
        let checks = node.slot.appending().is_some() || node.slot.giving().is_some();
        may(superseded && checks, Event::Verify(n));
        may(self.left.crashes > 0, Event::Crash(n));
        for other in (0..self.nodes.len()).filter(|other| *other != n) {
            may(self.left.gives > 0 && serves, Event::Give(n, other));
        }
    }

    fn happen(&mut self, flaw: Option<Flaw>, event: Event) {
        match event {
            Event::Watch(n) => {
                let record = self.registry.record.clone();
                self.nodes[n].told = record.as_ref().map_or(0, |record| record.revision);
                self.nodes[n].slot.handle_record(Now::default(), record);
                self.run(flaw, n);
            }
            Event::TakeOver(n) => {
                self.left.takeovers -= 1;
                self.order(flaw, n, Order::TakeOver);
            }
            Event::Give(n, to) => {
                self.left.gives -= 1;
                let to = self.nodes[to].id.clone();
                self.order(flaw, n, Order::Give { to });
            }
            Event::Reclaim(n) => {
                self.left.reclaims -= 1;
                self.order(flaw, n, Order::Reclaim);
            }
            Event::Timeout(n) => {
                let at = self.nodes[n].slot.poll_timeout().unwrap_or_default();
                self.nodes[n].slot.handle_timeout(at);
                self.run(flaw, n);
            }
            Event::Flush(n) => self.reply(flaw, n, Reply::Flushed),
            Event::Verify(n) => {
                let fence = self.nodes[n].built_on;
                self.reply(flaw, n, Reply::Fenced { fence });
            }
            Event::Late(index) => {
                let (id, call) = self.late.remove(index);
                self.carry(flaw, &id, &call);
            }
            Event::Crash(n) => self.crash(n),
            Event::BackUp => {
                self.left.restores -= 1;
                self.registry.back_up();
            }
            Event::Restore => self.registry.restore(),
            Event::Carry(n) | Event::Answer(n) | Event::Lose(n) => self.step(flaw, n, &event),
            Event::Publish(n)
            | Event::CarryAppend(n)
            | Event::AnswerAppend(n)
            | Event::LoseAppend(n) => self.append(flaw, n, &event),
            Event::Hear(_) | Event::AnswerTransfer(_) | Event::FailTransfer(_) => {
                self.transfer(flaw, &event);
            }
        }
    }

    fn order(&mut self, flaw: Option<Flaw>, n: usize, order: Order) {
        self.nodes[n].order(order, flaw);
        self.run(flaw, n);
    }

    fn reply(&mut self, flaw: Option<Flaw>, n: usize, reply: Reply) {
        self.nodes[n].reply(reply);
        self.run(flaw, n);
    }

    fn run(&mut self, flaw: Option<Flaw>, n: usize) {
        let node = &mut self.nodes[n];
        self.transfers.extend(node.run(flaw, &self.journal.log));
        if let Some(fence) = node.serves.take() {
            // One that was superseded before it knew is fenced as soon as it writes.
            let knows = |(seq, value): &(usize, u8)| node.log.get(seq - 1) == Some(value);
            self.stale |= fence == self.journal.fence && !self.acknowledged.iter().all(knows);
        }
    }

    fn step(&mut self, flaw: Option<Flaw>, n: usize, event: &Event) {
        let sent = std::mem::replace(&mut self.nodes[n].step, Sent::No);
        match (event, sent) {
            (Event::Carry(_), Sent::Out(call)) => {
                let id = self.nodes[n].id.clone();
                let reply = match &call {
                    Call::Tail => {
                        self.nodes[n].tail = Some(self.journal.log.clone());
                        Reply::TailRead
                    }
                    call => self.carry(flaw, &id, call),
                };
                self.nodes[n].step = Sent::Done(call, reply);
            }
            (Event::Answer(_), Sent::Done(_, reply)) => self.reply(flaw, n, reply),
            (Event::Lose(_), Sent::Out(call)) => {
                let reply = lost(&call);
                if call != Call::Tail {
                    self.late.push((self.nodes[n].id.clone(), call));
                }
                self.lose(flaw, n, reply);
            }
            (Event::Lose(_), Sent::Done(call, _)) => self.lose(flaw, n, lost(&call)),
            (_, sent) => self.nodes[n].step = sent,
        }
    }

    fn lose(&mut self, flaw: Option<Flaw>, n: usize, reply: Reply) {
        self.left.losses -= 1;
        self.nodes[n].tail = None;
        self.reply(flaw, n, reply);
    }

    fn append(&mut self, flaw: Option<Flaw>, n: usize, event: &Event) {
        let sent = std::mem::replace(&mut self.nodes[n].append, Sent::No);
        match (event, sent) {
            (Event::Publish(_), Sent::No) => self.publish(flaw, n),
            (Event::CarryAppend(_), Sent::Out(call)) => {
                let Call::Append { fence, seq, value } = call else { return };
                let appended = self.journal.append(flaw, fence, seq, value);
                self.nodes[n].append = Sent::Done(call, appended);
            }
            (Event::AnswerAppend(_), Sent::Done(call, appended)) => {
                let Call::Append { fence, seq, value } = call else { return };
                let node = &mut self.nodes[n];
                match appended {
                    Appended::Committed => {
                        if node.built_on == fence {
                            node.log.push(value);
                        }
                        if flaw != Some(Flaw::AckBeforeCommit) {
                            self.acknowledged.push((seq, value));
                        }
                    }
                    Appended::Fenced => self.reply(flaw, n, Reply::Fenced { fence }),
                }
            }
            (Event::LoseAppend(_), sent) => {
                self.left.losses -= 1;
                if let Sent::Out(call) = sent {
                    self.late.push((self.nodes[n].id.clone(), call));
                }
                self.nodes[n].uncertain = self.nodes[n].built_on != 0;
                self.order(flaw, n, Order::Reclaim);
            }
            (_, sent) => self.nodes[n].append = sent,
        }
    }

    fn publish(&mut self, flaw: Option<Flaw>, n: usize) {
        let Some(fence) = self.nodes[n].slot.appending() else { return };
        self.left.publishes -= 1;
        self.published += 1;
        let (seq, value) = (self.nodes[n].log.len() + 1, self.published);
        if flaw == Some(Flaw::AckBeforeCommit) {
            self.acknowledged.push((seq, value));
        }
        self.nodes[n].append = Sent::Out(Call::Append { fence, seq, value });
    }

    fn carry(&mut self, flaw: Option<Flaw>, id: &NodeId, call: &Call) -> Reply {
        match *call {
            Call::Cas { expected, epoch } => self.registry.swap(id, expected, epoch),
            Call::Claim { epoch, nonce } => self.journal.claim(flaw, epoch, nonce),
            Call::Append { fence, seq, value } => {
                self.journal.append(flaw, fence, seq, value);
                Reply::TailRead
            }
            Call::Tail => Reply::TailRead,
        }
    }

    fn transfer(&mut self, flaw: Option<Flaw>, event: &Event) {
        match *event {
            Event::Hear(index) => {
                let Transfer { to, hints } = self.transfers.remove(index);
                if let Some(n) = self.nodes.iter().position(|node| node.id == to) {
                    self.nodes[n].hints = Some(hints);
                    self.order(flaw, n, Order::TakeOver);
                }
            }
            Event::AnswerTransfer(n) => {
                if let Some((_, epoch)) = self.nodes[n].transfer.take() {
                    self.reply(flaw, n, Reply::Transferred { epoch: epoch + 1 });
                }
            }
            Event::FailTransfer(n) => {
                self.nodes[n].transfer = None;
                match (flaw, self.nodes[n].before_give.take()) {
                    (Some(Flaw::ThawWithoutClaim), Some(before)) => self.nodes[n].slot = *before,
                    _ => self.reply(flaw, n, Reply::TransferFailed),
                }
            }
            _ => {}
        }
    }

    /// Another process with the same id. What the former one had sent may still be carried out.
    fn crash(&mut self, n: usize) {
        self.left.crashes -= 1;
        self.nonces += 1;
        let id = self.nodes[n].id.clone();
        let before = std::mem::replace(&mut self.nodes[n], Node::new(id.clone(), self.nonces));
        if let Sent::Out(call) = before.append {
            self.late.push((id.clone(), call));
        }
        if let Sent::Out(call) = before.step
            && call != Call::Tail
        {
            self.late.push((id, call));
        }
    }
}

fn lost(call: &Call) -> Reply {
    match call {
        Call::Cas { .. } => Reply::SwapLost,
        Call::Claim { .. } => Reply::ClaimLost,
        Call::Append { .. } | Call::Tail => Reply::TailLost,
    }
}
