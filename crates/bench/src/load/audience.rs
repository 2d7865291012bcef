//! Members of rooms that only listen.
//!
//! # Invariants
//! - One task for each processor, whatever the number of members.
//! - At most [`ARRIVING_MAX`] members of a task are on their way in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::RoomName;
use parlour_client::{Event, Reading};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::stamp;
use crate::crowd::Crowd;
use crate::error::BenchError;
use crate::measure::{Latencies, monotonic_us};
use crate::target::Dialer;

/// Members of one task that are on their way in: a listening socket's backlog is far longer.
const ARRIVING_MAX: usize = 64;
/// Nobody is told anything for so long: the room is quiet.
const QUIET_US: u64 = 1_000_000;
/// A room that has not become quiet by then will not.
const QUIET_WITHIN_US: u64 = 60_000_000;
/// Somebody is owed something, and nobody is told anything for so long: it will not come.
const STALLED_US: u64 = 20_000_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Listening members.
#[derive(Debug)]
pub(crate) struct Audience {
    tally: Arc<Tally>,
    members: u64,
    tasks: JoinSet<Latencies>,
    stop: watch::Sender<bool>,
}

/// What all tasks count.
#[derive(Debug, Default)]
struct Tally {
    arrived: AtomicU64,
    deliveries: AtomicU64,
    disconnects: AtomicU64,
    /// When anybody was told anything, in the machine's monotonic microseconds.
    stirred_us: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl Tally {
    fn stir(&self) {
        self.stirred_us.store(monotonic_us(), Ordering::Relaxed);
    }

    fn fault(&self, what: String) {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }

    fn since_stirred_us(&self) -> u64 {
        monotonic_us().saturating_sub(self.stirred_us.load(Ordering::Relaxed))
    }

    fn check(&self) -> Result<(), BenchError> {
        match &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(fault) => Err(BenchError::Server(fault.clone())),
            None => Ok(()),
        }
    }
}

impl Audience {
    /// `members` sessions, spread over `rooms`; answers when each is being told its room.
    ///
    /// # Errors
    /// [`BenchError::Server`], when one of them may not come, or nobody comes any more.
    pub(crate) async fn gather(
        dialer: &Arc<Dialer>,
        rooms: &[RoomName],
        members: usize,
    ) -> Result<Audience, BenchError> {
        let (stop, stopped) = watch::channel(false);
        let tally = Arc::new(Tally::default());
        tally.stir();
        let mut tasks = JoinSet::new();
        let tasks_count = std::thread::available_parallelism().map_or(1, usize::from);
        for task in 0..tasks_count {
            let places = (task..members).step_by(tasks_count);
            let places =
                places.map(|nth| (format!("listener-{nth}"), rooms[nth % rooms.len()].clone()));
            let listeners = Listeners {
                dialer: dialer.clone(),
                tally: tally.clone(),
                places: places.collect(),
                latencies: Latencies::default(),
            };
            tasks.spawn(listeners.listen(stopped.clone()));
        }
        let audience = Audience { tally, members: members as u64, tasks, stop };
        audience.all_arrived().await?;
        Ok(audience)
    }

    async fn all_arrived(&self) -> Result<(), BenchError> {
        while self.tally.arrived.load(Ordering::Relaxed) < self.members {
            self.tally.check()?;
            if self.tally.since_stirred_us() > STALLED_US {
                let arrived = self.tally.arrived.load(Ordering::Relaxed);
                let why = format!("{arrived} of {} members came, then nobody", self.members);
                return Err(BenchError::Server(why));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until nobody is told anything any more (who came is told for a while after).
    ///
    /// # Errors
    /// [`BenchError::Server`], when that does not happen.
    pub(crate) async fn quiet(&self) -> Result<(), BenchError> {
        let since_us = monotonic_us();
        while self.tally.since_stirred_us() < QUIET_US {
            self.tally.check()?;
            if monotonic_us() - since_us > QUIET_WITHIN_US {
                let why = "nobody says anything, and members are told something all the time";
                return Err(BenchError::Server(why.to_owned()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits for that many deliveries. Answers how many there were, and when the last one came.
    pub(crate) async fn delivered(&self, expected: u64) -> Result<(u64, u64), BenchError> {
        self.tally.stir();
        loop {
            self.tally.check()?;
            let deliveries = self.tally.deliveries.load(Ordering::Relaxed);
            if deliveries >= expected || self.tally.since_stirred_us() > STALLED_US {
                return Ok((deliveries, self.tally.stirred_us.load(Ordering::Relaxed)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Everybody leaves. Answers how old the messages were when they came, and how many connections were
    /// lost.
    pub(crate) async fn leave(mut self) -> (Latencies, u64) {
        // Nobody listens any more if all tasks have failed.
        let _ = self.stop.send(true);
        let mut latencies = Latencies::default();
        while let Some(heard) = self.tasks.join_next().await {
            if let Ok(heard) = heard {
                latencies.add(&heard);
            }
        }
        (latencies, self.tally.disconnects.load(Ordering::Relaxed))
    }
}

/// The members of one task.
struct Listeners {
    dialer: Arc<Dialer>,
    tally: Arc<Tally>,
    places: Vec<(String, RoomName)>,
    latencies: Latencies,
}

impl Listeners {
    async fn listen(mut self, mut stopped: watch::Receiver<bool>) -> Latencies {
        let mut crowd = Crowd::default();
        let mut arriving = 0;
        let mut is_here = vec![false; self.places.len()];
        loop {
            while arriving < ARRIVING_MAX && crowd.len() < self.places.len() {
                self.invite(&mut crowd);
                arriving += 1;
            }
            tokio::select! {
                biased;
                (key, event) = crowd.next() => {
                    if self.handle_event(key, event) && !std::mem::replace(&mut is_here[key], true) {
                        arriving -= 1;
                        self.tally.arrived.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ = stopped.changed() => return self.latencies,
            }
        }
    }

    fn invite(&self, crowd: &mut Crowd) {
        let (name, room) = &self.places[crowd.len()];
        let mut connection = self.dialer.connection(name);
        if let Err(error) = connection.client().subscribe(room, Reading::recent(1)) {
            self.tally.fault(format!("{name}: {error}"));
        }
        crowd.add(connection);
    }

    /// Answers whether the member is being told the room from here on.
    fn handle_event(&mut self, key: usize, event: Event) -> bool {
        match event {
            Event::Message(message) => {
                if let Some(age_us) = stamp::age_us(message.content.text()) {
                    self.latencies.record(age_us);
                    self.tally.deliveries.fetch_add(1, Ordering::Relaxed);
                }
            }
            Event::Subscribed { .. } => {
                self.tally.stir();
                return true;
            }
            Event::Disconnected { .. } => {
                self.tally.disconnects.fetch_add(1, Ordering::Relaxed);
            }
            Event::Ended { code, message } => {
                self.tally.fault(format!("{}: {message} ({code})", self.places[key].0));
            }
            Event::NotSubscribed { refusal, .. } => {
                self.tally.fault(format!("{}: {}", self.places[key].0, refusal.message));
            }
            Event::Violation(what) => self.tally.fault(what),
            _ => {}
        }
        self.tally.stir();
        false
    }
}
