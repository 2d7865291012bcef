//! One process: its slot machine, and what its task and its room would keep.

use cluster::{Order, Reply, Slot, Step};
use model::{Epoch, Fence, NodeId, Now};

use crate::Flaw;
use crate::services::Appended;

/// What a giver passes on: the fence under which it is true, and the log as the giver knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hints {
    pub named: Fence,
    pub log: Vec<u8>,
}

/// A request to the registry or the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Cas { expected: u64, epoch: Epoch },
    Claim { epoch: Epoch, nonce: u8 },
    Append { fence: Fence, seq: usize, value: u8 },
    Tail,
}

/// How far a request is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sent<R> {
    No,
    /// On its way.
    Out(Call),
    /// Done; the reply is on its way.
    Done(Call, R),
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub id: NodeId,
    pub nonce: u8,
    pub slot: Slot,
    /// The revision that it was last told of.
    pub told: u64,
    /// The step that is out.
    pub step: Sent<Reply>,
    /// The append that is out.
    pub append: Sent<Appended>,
    /// An append has no answer: only the journal's tail tells.
    pub uncertain: bool,
    /// The log as its room knows it: committed entries only.
    pub log: Vec<u8>,
    /// What was read from the journal behind the last claim.
    pub tail: Option<Vec<u8>>,
    /// The fence on which `log` stands; 0 for none.
    pub built_on: Fence,
    pub hints: Option<Hints>,
    pub freezing: bool,
    /// To whom a transfer is out, until it is answered.
    pub transfer: Option<(NodeId, Epoch)>,
    /// It has just begun to serve: what was acknowledged by then has to be known.
    pub serves: Option<Fence>,
    /// What it serves stands on hints.
    pub hinted: bool,
    /// Kept only where a flaw thaws by a change of mind.
    pub before_give: Option<Box<Slot>>,
}

impl Node {
    pub fn new(id: NodeId, nonce: u8) -> Node {
        Node {
            slot: Slot::new(id.clone()),
            id,
            nonce,
            told: 0,
            step: Sent::No,
            append: Sent::No,
            uncertain: false,
            log: Vec::new(),
            tail: None,
            built_on: 0,
            hints: None,
            freezing: false,
            transfer: None,
            serves: None,
            hinted: false,
            before_give: None,
        }
    }

    pub fn order(&mut self, order: Order, flaw: Option<Flaw>) {
        if matches!(order, Order::Give { .. }) && flaw == Some(Flaw::ThawWithoutClaim) {
            self.before_give = Some(Box::new(self.slot.clone()));
        }
        self.slot.handle_order(Now::default(), order);
    }

    pub fn reply(&mut self, reply: Reply) {
        self.slot.handle_reply(Now::default(), reply);
    }

    /// Carries out steps as the slot's task does, until one has to be waited for.
    pub fn run(&mut self, flaw: Option<Flaw>, journal_log: &[u8]) -> Option<Transfer> {
        let mut transfer = None;
        while let Some(step) = self.slot.poll_step() {
            match step {
                Step::Cas { expected, epoch } => {
                    self.step = Sent::Out(Call::Cas { expected, epoch });
                }
                Step::Claim { epoch } => {
                    self.freezing = false;
                    if flaw == Some(Flaw::TailBeforeClaim) {
                        self.tail = Some(journal_log.to_vec());
                    }
                    self.step = Sent::Out(Call::Claim { epoch, nonce: self.nonce });
                }
                Step::ReadTail { .. } => match flaw {
                    Some(Flaw::TailBeforeClaim) => self.reply(Reply::TailRead),
                    Some(Flaw::ServeBeforeTail) => {
                        self.uncertain = false;
                        self.reply(Reply::TailRead);
                    }
                    _ => self.step = Sent::Out(Call::Tail),
                },
                Step::Serve { fence, old } => self.serve(flaw, fence, old),
                Step::Freeze => self.freezing = true,
                Step::Transfer { to, epoch, fence } => {
                    self.freezing = false;
                    let log = self.log.clone();
                    self.transfer = Some((to.clone(), epoch));
                    transfer = Some(Transfer { to, hints: Hints { named: fence, log } });
                }
                Step::Drop(_) => self.drop_room(),
            }
        }
        transfer
    }

    /// The room goes on if nobody claimed in between; else it stands on hints that count, or on what the
    /// journal holds.
    fn serve(&mut self, flaw: Option<Flaw>, fence: Fence, old: Fence) {
        let continues = self.built_on != 0 && self.built_on == old && !self.uncertain;
        let hints = self.hints.take();
        let counts = |hints: &Hints| hints.named == old || flaw == Some(Flaw::HintsWithoutFence);
        let tail = self.tail.take();
        if !continues {
            if let Some(hints) = hints.filter(counts) {
                self.log = hints.log;
                self.hinted = true;
            } else if let Some(tail) = tail {
                self.log = tail;
            }
        }
        self.uncertain = false;
        self.built_on = fence;
        self.serves = Some(fence);
    }

    fn drop_room(&mut self) {
        self.log.clear();
        self.hinted = false;
        self.built_on = 0;
        self.uncertain = false;
        self.freezing = false;
    }
}

/// A transfer on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    pub to: NodeId,
    pub hints: Hints,
}
