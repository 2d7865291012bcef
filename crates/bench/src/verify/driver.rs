//! Drives a share of the clients: one task for each processor, whatever the number of clients.
//!
//! # Invariants
//! - A message has a time at which it is meant to be sent, whatever the server answers: an open loop.
//! - Each client's history is its own; what drivers share is counters and the rooms' heads.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::{RoomName, Seq};
use parlour_client::{Event, Reading as Wish};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::body::Body;
use super::member::{Change, Member};
use super::plan::Seat;
use super::record::{Fate, Witness};
use super::tally::{Faults, Tally};
use crate::crowd::{Crowd, Key};
use crate::measure::{Ticker, monotonic_us};
use crate::target::Dialer;

/// Clients of one driver that are on their way in: a listening socket's backlog is far longer.
const ARRIVING_MAX: usize = 64;
/// How often a driver looks whether everything has settled.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long goodbyes may take; nobody waits for an answer to them.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Arriving,
    Publishing,
    Settling,
    Leaving,
}

/// What the drivers of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) body: Body,
    pub(super) dialers: Vec<Dialer>,
    pub(super) rooms: Vec<RoomName>,
    /// The last entry of each room that anybody was told of.
    pub(super) heads: Vec<AtomicU64>,
    pub(super) tallies: Vec<Tally>,
    pub(super) faults: Faults,
    /// Messages a second, all clients together, and how many in all.
    pub(super) rate: u64,
    pub(super) messages: u64,
    pub(super) publishers: usize,
}

impl Shared {
    fn head(&self, room: usize) -> Seq {
        self.heads[room].load(Ordering::Relaxed)
    }
}

/// What a driver has recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) members: Vec<Member>,
    /// By room.
    pub(super) witnesses: Vec<Witness>,
}

/// A message that nobody has answered yet, as far as is known.
#[derive(Debug)]
struct Outstanding {
    intended_us: u64,
    key: Key,
    /// Which of the client's rooms.
    at: usize,
    number: u32,
}

/// Some clients, in one task.
pub(super) struct Driver {
    shared: Arc<Shared>,
    nth: usize,
    crowd: Crowd,
    /// Not yet invited, the next one last.
    seats: Vec<Seat>,
    /// By the crowd's key: nobody leaves before the end.
    members: Vec<Member>,
    arriving: usize,
    witnesses: Vec<Witness>,
    /// By turn: who of this driver's clients it is.
    turns: Vec<Option<Key>>,
    /// How many of all messages had their time.
    ticked: u64,
    /// In the order in which they were meant to be sent; the front one is open.
    outstanding: VecDeque<Outstanding>,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, nth: usize, mut seats: Vec<Seat>) -> Driver {
        seats.reverse();
        let (rooms, publishers) = (shared.rooms.len(), shared.publishers);
        Driver {
            shared,
            nth,
            crowd: Crowd::default(),
            seats,
            members: Vec::new(),
            arriving: 0,
            witnesses: vec![Witness::default(); rooms],
            turns: vec![None; publishers],
            ticked: 0,
            outstanding: VecDeque::new(),
        }
    }

    fn tally(&self) -> &Tally {
        &self.shared.tallies[self.nth]
    }

    /// Until the stage is to leave.
    ///
    /// # Errors
    /// The kernel has no timer for us.
    pub(super) async fn run(mut self, mut stage: watch::Receiver<Stage>) -> io::Result<Recorded> {
        let mut ticker = None;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.invite();
        loop {
            let now = *stage.borrow();
            let publishing = now == Stage::Publishing && self.ticked < self.shared.messages;
            if publishing && ticker.is_none() {
                ticker = Some(Ticker::start(self.shared.rate)?);
            }
            tokio::select! {
                biased;
                changed = stage.changed() => {
                    if changed.is_err() || *stage.borrow() == Stage::Leaving {
                        break;
                    }
                }
                ticks = tick(&mut ticker), if publishing => ticks?.for_each(|us| self.tick(us)),
                _ = looks.tick(), if now == Stage::Settling => self.look(),
                (key, event) = self.crowd.next() => self.handle_event(key, event),
            }
        }
        Ok(self.leave().await)
    }

    fn invite(&mut self) {
        while self.arriving < ARRIVING_MAX
            && let Some(seat) = self.seats.pop()
        {
            let name = format!("verify-{}", seat.nth);
            let mut connection = self.shared.dialers[seat.server].connection(&name);
            for room in &seat.reads {
                let wished =
                    connection.client().subscribe(&self.shared.rooms[*room], Wish::recent(1));
                wished.expect("a client that has few rooms takes one");
            }
            let key = self.crowd.add(connection);
            if let Some(turn) = seat.turn {
                self.turns[turn] = Some(key);
            }
            self.members.push(Member::new(seat, name, &self.shared.rooms));
            self.arriving += 1;
        }
    }

    /// One message's time has come; it may be another driver's.
    fn tick(&mut self, intended_us: u64) {
        if self.ticked >= self.shared.messages {
            return;
        }
        let turn = (self.ticked % self.turns.len() as u64) as usize;
        self.ticked += 1;
        if let Some(key) = self.turns[turn]
            && let Some(connection) = self.crowd.member(key)
        {
            let sent = self.members[key].publish(connection, &self.shared.body, intended_us);
            if let Some((at, number)) = sent {
                self.outstanding.push_back(Outstanding { intended_us, key, at, number });
                self.note_oldest();
            }
        }
        if self.ticked == self.shared.messages {
            self.tally().published.store(true, Ordering::Release);
        }
    }

    fn note_oldest(&mut self) {
        let members = &self.members;
        let is_open = |one: &Outstanding| {
            let sends = &members[one.key].rooms[one.at].sends;
            sends.publishes[one.number as usize].fate == Fate::Open
        };
        while self.outstanding.front().is_some_and(|one| !is_open(one)) {
            self.outstanding.pop_front();
        }
        let oldest_us = self.outstanding.front().map_or(u64::MAX, |one| one.intended_us);
        self.tally().oldest_us.store(oldest_us, Ordering::Relaxed);
    }

    fn look(&self) {
        let settled =
            self.members.iter().all(|member| member.is_settled(|room| self.shared.head(room)));
        self.tally().settled.store(settled, Ordering::Release);
    }

    fn handle_event(&mut self, key: Key, event: Event) {
        let now_us = monotonic_us();
        match event {
            Event::Message(message) => {
                let member = &mut self.members[key];
                let room = member.received(&message, &self.shared.body, &mut self.witnesses);
                if let Some(room) = room {
                    self.shared.heads[room].fetch_max(message.seq, Ordering::Relaxed);
                    self.tally().deliveries.fetch_add(1, Ordering::Relaxed);
                }
            }
            Event::Published(published) => {
                if let Some((room, took_us)) = self.members[key].published(&published) {
                    self.shared.heads[room].fetch_max(published.seq, Ordering::Relaxed);
                    self.tally().took(took_us);
                    self.note_oldest();
                }
            }
            Event::NotPublished(told) => {
                self.members[key].not_published(&told);
                self.note_oldest();
            }
            Event::Subscribed { room, subscription, .. } => {
                if self.members[key].subscribed(&room, &subscription, self.nth) {
                    self.arriving -= 1;
                    self.tally().arrived.fetch_add(1, Ordering::Relaxed);
                    self.invite();
                }
            }
            Event::Truncated { room, first } => self.members[key].truncated(&room, first),
            Event::Connected(_) => {
                let change = self.members[key].life.connected(now_us);
                self.handle_change(change);
            }
            Event::Disconnected { .. } => {
                let change = self.members[key].life.lost(now_us);
                self.handle_change(change);
            }
            event => self.handle_fault(key, event),
        }
    }

    fn handle_change(&self, change: Change) {
        let tally = self.tally();
        match change {
            Change::Nothing => return,
            Change::Lost => tally.live.fetch_sub(1, Ordering::Relaxed),
            Change::Came | Change::Redialed => tally.live.fetch_add(1, Ordering::Relaxed),
        };
        if change == Change::Redialed {
            tally.redials.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What does not happen to a client of a sound server.
    fn handle_fault(&mut self, key: Key, event: Event) {
        let what = match event {
            Event::Violation(what) => format!("the server broke a rule: {what}"),
            Event::Unsubscribed { room, why, again: false } => {
                format!("lost {room}: {}", why.message)
            }
            Event::NotSubscribed { room, refusal } => {
                format!("may not read {room}: {}", refusal.message)
            }
            Event::NeedToken => "the token has expired".to_owned(),
            Event::Ended { code, message } => {
                let change = self.members[key].life.lost(monotonic_us());
                self.handle_change(change);
                self.members[key].end();
                format!("was ended: {message} ({code})")
            }
            _ => return,
        };
        self.shared.faults.note(format!("{}: {what}", self.members[key].name));
    }

    /// Everybody goes. What comes from here on is nobody's history, but for what is given up.
    async fn leave(mut self) -> Recorded {
        let now_us = monotonic_us();
        for (key, member) in self.members.iter_mut().enumerate() {
            member.life.finish(now_us);
            if let Some(connection) = self.crowd.member(key) {
                member.counters = connection.client().counters();
                connection.client().close();
            }
        }
        let mut left = self.members.iter().filter(|member| !member.ended).count();
        let until = Instant::now() + LEAVE_WITHIN;
        while left > 0 {
            match tokio::time::timeout_at(until, self.crowd.next()).await {
                Ok((key, Event::NotPublished(told))) => self.members[key].not_published(&told),
                Ok((_, Event::Ended { .. })) => left -= 1,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Recorded { members: self.members, witnesses: self.witnesses }
    }
}

/// The times of the messages that are due; never, without a ticker.
async fn tick(ticker: &mut Option<Ticker>) -> io::Result<impl Iterator<Item = u64> + use<>> {
    match ticker {
        Some(ticker) => ticker.tick().await,
        None => std::future::pending().await,
    }
}
