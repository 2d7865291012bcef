//! A registry whose answers are late or never come, and whose news reach each node when they do.
//!
//! Leases, too: a node that is not heard of for a while leaves the list, and comes back when it is heard.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use cluster::{Node, Registry, RegistryError, RegistryFuture, SlotRecord, Swap, View};
use model::{Epoch, NodeId, RoomName, Seed, SlotNo};
use tokio::sync::oneshot;

use crate::net::{Net, machine};
use crate::time::Time;
use crate::trace::{Trace, note};

/// The machine that it runs on.
pub(crate) const ETCD: &str = "etcd";
/// A node that is not heard of for so long leaves the list.
const LEASE_US: u64 = 3_000_000;
/// A request that gets no answer fails after so long.
const PATIENCE_US: u64 = 2_000_000;
/// A request that was not applied after so long never will be.
const FORGOTTEN_US: u64 = 3 * PATIENCE_US;
/// A usual way to it, or back, takes so long at most.
const DELAY_US: u64 = 4_000;

/// The registry. Clones share it.
#[derive(Clone)]
pub(crate) struct Etcd {
    state: Arc<Mutex<State>>,
    net: Net,
    time: Time,
    trace: Trace,
}

struct State {
    seed: Seed,
    view: View,
    /// Of the last change of a slot's record. It goes back with a restored snapshot, the view's never does.
    revision: u64,
    /// What was to be seen since when; the first is everybody's.
    news: Vec<(u64, Arc<View>)>,
    members: BTreeMap<NodeId, Member>,
    requests: VecDeque<Request>,
    is_down: bool,
    /// One answer of so many is lost, or its question; 0 for none.
    lost_one_in: u64,
    /// Microseconds that news take at most.
    lag_us: u64,
    owners_changed: u64,
}

/// A node, as the registry's client in its process sees things.
struct Member {
    node: Node,
    /// Whether its process runs.
    is_up: bool,
    heard_us: u64,
    /// The newest that it has seen, by its place among the news.
    seen: usize,
    /// When it sees the next.
    sees_us: u64,
    waiting: Vec<Waker>,
}

enum Question {
    Swap { slot: SlotNo, expected: u64, epoch: Epoch },
    Announce(Box<Node>),
    Leave,
}

type Answered = Result<Option<Swap>, RegistryError>;

struct Request {
    from: NodeId,
    question: Question,
    asked_us: u64,
    due_us: u64,
    /// Its answer, and when that arrives.
    answer: Option<(u64, Answered)>,
    /// Its question, or its answer, never arrives.
    is_lost: Option<Lost>,
    reply: Option<oneshot::Sender<Answered>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Question,
    Answer,
}

impl Etcd {
    pub(crate) fn new(slots: u32, net: Net, time: Time, trace: Trace, seed: Seed) -> Etcd {
        let view = View::empty(slots);
        let state = State {
            seed,
            news: vec![(0, Arc::new(view.clone()))],
            view,
            revision: 0,
            members: BTreeMap::new(),
            requests: VecDeque::new(),
            is_down: false,
            lost_one_in: 0,
            lag_us: 20_000,
            owners_changed: 0,
        };
        Etcd { state: Arc::new(Mutex::new(state)), net, time, trace }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node that joins.
    pub(crate) fn join(&self, node: Node) -> Seat {
        let (now_us, me) = (self.time.now_us(), node.id.clone());
        let mut state = self.lock();
        let seen = state.news.len() - 1;
        let member =
            Member { node, is_up: true, heard_us: now_us, seen, sees_us: 0, waiting: Vec::new() };
        state.members.insert(me.clone(), member);
        Seat { etcd: self.clone(), me }
    }

    /// A process stops, or runs (again).
    pub(crate) fn set_up(&self, node: &NodeId, is_up: bool) {
        if let Some(member) = self.lock().members.get_mut(node) {
            member.is_up = is_up;
        }
    }

    /// A process is gone for good; its lease goes on.
    pub(crate) fn gone(&self, node: &NodeId) {
        self.set_up(node, false);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    pub(crate) fn set_lost(&self, one_in: u64) {
        self.lock().lost_one_in = one_in;
    }

    pub(crate) fn set_lag_us(&self, lag_us: u64) {
        self.lock().lag_us = lag_us;
    }

    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        (state.is_down, state.lost_one_in, state.lag_us) = (false, 0, 20_000);
    }

    /// It comes back with the slots' records as they were some time ago.
    pub(crate) fn restore(&self) {
        let now_us = self.time.now_us();
        let mut state = self.lock();
        let news = state.news.len() as u64;
        let back = state.seed.below(news) as usize;
        let before = Arc::clone(&state.news[back].1);
        state.revision =
            before.slots.iter().flatten().map(|record| record.revision).max().unwrap_or(0);
        note!(self.trace, ETCD, "back at revision {}", state.revision);
        state.publish(now_us, |view| view.slots.clone_from(&before.slots));
    }

    /// As it is, whoever has seen it.
    pub(crate) fn truth(&self) -> View {
        self.lock().view.clone()
    }

    /// The epoch of a room's slot; 0 if nobody has owned it.
    pub(crate) fn epoch(&self, room: &RoomName) -> Epoch {
        let state = self.lock();
        let slot = cluster::slot_of(room, state.view.slot_count());
        state.view.slot(slot).map_or(0, |record| record.epoch)
    }

    /// How often a slot's record went from one owner to another.
    pub(crate) fn owners_changed(&self) -> u64 {
        self.lock().owners_changed
    }

    /// Time goes on.
    pub(crate) fn step(&self) {
        let now_us = self.time.now_us();
        let mut state = self.lock();
        self.leases(&mut state, now_us);
        let mut requests = std::mem::take(&mut state.requests);
        requests.retain_mut(|request| self.advance(&mut state, request, now_us));
        state.requests = requests;
        self.tell(&mut state, now_us);
    }

    fn reaches(&self, state: &State, node: &NodeId) -> bool {
        let from = machine(node.as_str());
        !state.is_down && !self.net.is_blocked(from, ETCD) && !self.net.is_blocked(ETCD, from)
    }

    fn leases(&self, state: &mut State, now_us: u64) {
        let nodes: Vec<NodeId> = state.members.keys().cloned().collect();
        for id in nodes {
            let is_heard = self.reaches(state, &id);
            let is_down = state.is_down;
            let member = state.members.get_mut(&id).expect("it is listed");
            if member.is_up && is_heard || is_down {
                member.heard_us = now_us;
            }
            let is_listed = state.view.nodes.contains_key(&id);
            if is_listed && now_us - member.heard_us > LEASE_US {
                note!(self.trace, ETCD, "the lease of {id} ends");
                state.publish(now_us, |view| _ = view.nodes.remove(&id));
            } else if !is_listed && member.is_up && is_heard {
                let node = member.node.clone();
                note!(self.trace, ETCD, "{id} is there");
                state.publish(now_us, |view| _ = view.nodes.insert(id.clone(), node));
            }
        }
    }

    /// Whether the request goes on.
    fn advance(&self, state: &mut State, request: &mut Request, now_us: u64) -> bool {
        let is_reached = self.reaches(state, &request.from);
        let waited_us = now_us - request.asked_us;
        if request.answer.is_none()
            && request.due_us <= now_us
            && is_reached
            && request.is_lost != Some(Lost::Question)
        {
            let answer = self.answer(state, &request.from, &request.question, now_us);
            let delay_us = state.seed.below(DELAY_US);
            request.answer = Some((now_us + delay_us, answer));
        }
        if let Some((due_us, answer)) = &request.answer
            && *due_us <= now_us
            && is_reached
            && request.is_lost.is_none()
            && let Some(reply) = request.reply.take()
        {
            // Who asked may be gone.
            let _ = reply.send(answer.clone());
            return false;
        }
        if waited_us > PATIENCE_US
            && let Some(reply) = request.reply.take()
        {
            note!(self.trace, ETCD, "no answer for {}", request.from);
            let _ = reply.send(Err(RegistryError("no answer in time".to_owned())));
        }
        let is_over = request.answer.is_some() || request.is_lost == Some(Lost::Question);
        request.reply.is_some() || !is_over && waited_us < FORGOTTEN_US
    }

    fn answer(
        &self,
        state: &mut State,
        from: &NodeId,
        question: &Question,
        now_us: u64,
    ) -> Answered {
        match question {
            Question::Swap { slot, expected, epoch } => {
                let swap = state.swap(now_us, from, *slot, *expected, *epoch);
                note!(self.trace, ETCD, "{from} swaps {slot} to {epoch}: {swap:?}");
                swap.map(Some)
            }
            Question::Announce(node) => {
                if let Some(member) = state.members.get_mut(from) {
                    member.node = (**node).clone();
                }
                if state.view.nodes.contains_key(from) {
                    let node = (**node).clone();
                    state.publish(now_us, |view| _ = view.nodes.insert(from.clone(), node));
                }
                Ok(None)
            }
            Question::Leave => {
                state.members.get_mut(from).into_iter().for_each(|member| member.is_up = false);
                state.publish(now_us, |view| _ = view.nodes.remove(from));
                Ok(None)
            }
        }
    }

    /// Nodes see what is new, each in its own time and in order.
    fn tell(&self, state: &mut State, now_us: u64) {
        let nodes: Vec<NodeId> = state.members.keys().cloned().collect();
        let newest = state.news.len() - 1;
        for id in nodes {
            if !self.reaches(state, &id) {
                continue;
            }
            let member = &state.members[&id];
            if member.seen == newest || member.sees_us > now_us {
                continue;
            }
            let lag_us = state.seed.below(state.lag_us.max(1));
            let next_us = state.news[member.seen + 1].0;
            let member = state.members.get_mut(&id).expect("it is listed");
            if next_us + lag_us <= now_us {
                member.seen += 1;
                member.waiting.drain(..).for_each(Waker::wake);
            }
        }
    }

    fn ask(&self, from: &NodeId, question: Question) -> oneshot::Receiver<Answered> {
        let (reply, answer) = oneshot::channel();
        let asked_us = self.time.now_us();
        let mut state = self.lock();
        let due_us = asked_us + state.seed.below(DELAY_US);
        let lost = [Lost::Question, Lost::Answer][state.seed.below(2) as usize];
        let is_lost = state.lost_one_in > 0 && {
            let one_in = state.lost_one_in;
            state.seed.below(one_in) == 0
        };
        state.requests.push_back(Request {
            from: from.clone(),
            question,
            asked_us,
            due_us,
            answer: None,
            is_lost: is_lost.then_some(lost),
            reply: Some(reply),
        });
        answer
    }
}

impl State {
    fn publish(&mut self, now_us: u64, how: impl FnOnce(&mut View)) {
        how(&mut self.view);
        self.view.version += 1;
        self.news.push((now_us, Arc::new(self.view.clone())));
    }

    fn swap(
        &mut self,
        now_us: u64,
        from: &NodeId,
        slot: SlotNo,
        expected: u64,
        epoch: Epoch,
    ) -> Result<Swap, RegistryError> {
        if !self.view.nodes.contains_key(from) {
            return Err(RegistryError(format!("{from} is not registered")));
        }
        let record = self.view.slots.get(slot as usize).cloned();
        let record = record.ok_or_else(|| RegistryError(format!("there is no slot {slot}")))?;
        if record.as_ref().map_or(0, |record| record.revision) != expected {
            return Ok(Swap::Conflict(record));
        }
        if record.is_some_and(|record| record.owner != *from) {
            self.owners_changed += 1;
        }
        self.revision += 1;
        let revision = self.revision;
        let record = SlotRecord { owner: from.clone(), epoch, revision };
        let won = record.clone();
        self.publish(now_us, move |view| view.slots[slot as usize] = Some(won));
        Ok(Swap::Done(record))
    }
}

/// One node's handle.
pub(crate) struct Seat {
    etcd: Etcd,
    pub(crate) me: NodeId,
}

impl Registry for Seat {
    fn view(&self) -> Arc<View> {
        let state = self.etcd.lock();
        Arc::clone(&state.news[state.members[&self.me].seen].1)
    }

    fn changed(&self, version: u64) -> RegistryFuture<'_, Arc<View>> {
        Box::pin(poll_fn(move |cx| {
            let mut state = self.etcd.lock();
            let view = Arc::clone(&state.news[state.members[&self.me].seen].1);
            if view.version > version {
                return Poll::Ready(view);
            }
            let member = state.members.get_mut(&self.me).expect("a member stays");
            member.waiting.push(cx.waker().clone());
            Poll::Pending
        }))
    }

    fn swap(
        &self,
        slot: SlotNo,
        expected: u64,
        epoch: Epoch,
    ) -> RegistryFuture<'_, Result<Swap, RegistryError>> {
        let answer = self.etcd.ask(&self.me, Question::Swap { slot, expected, epoch });
        Box::pin(async move {
            let swap = answer.await.unwrap_or_else(|_| Err(RegistryError("gone".to_owned())))?;
            Ok(swap.expect("a swap is answered by a swap"))
        })
    }

    fn announce(&self, node: Node) -> RegistryFuture<'_, Result<(), RegistryError>> {
        let answer = self.etcd.ask(&self.me, Question::Announce(Box::new(node)));
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(RegistryError("gone".to_owned()))).map(drop)
        })
    }

    fn leave(&self) -> RegistryFuture<'_, Result<(), RegistryError>> {
        let answer = self.etcd.ask(&self.me, Question::Leave);
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| Err(RegistryError("gone".to_owned()))).map(drop)
        })
    }
}
