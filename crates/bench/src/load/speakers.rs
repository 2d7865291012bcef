//! Sessions that publish at a fixed rate, whatever the server answers: an open loop.
//!
//! A loop that waited for answers would slow down together with the server and hide what it is there to
//! measure; so each message has a time at which it was meant to be sent, and latency counts from there.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use model::{MessageContent, MessageId, RoomName};
use parlour_client::Event;
use tokio::time::Instant;

use super::stamp;
use crate::crowd::{Crowd, Key};
use crate::error::BenchError;
use crate::measure::{Latencies, Ticker, monotonic_us};
use crate::target::Dialer;

/// Messages a second of one speaker: below the 50 that a server allows a session.
const SPEAKER_RATE: u64 = 40;
/// Speakers that are on their way in.
const ARRIVING_MAX: usize = 64;
/// Nothing is acknowledged for so long: it will not be.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// Speaking sessions. They read no room.
#[derive(Debug)]
pub(crate) struct Speakers {
    crowd: Crowd,
    keys: Vec<Key>,
    rooms: Vec<RoomName>,
    rate: u64,
    next: usize,
    /// When each was meant to be sent.
    unacknowledged: HashMap<MessageId, u64>,
    spoken: Spoken,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Spoken {
    /// From the intended send to the acknowledgement.
    pub(crate) latencies: Latencies,
    pub(crate) acknowledged: u64,
    /// Refused for good, not taken by a client whose queue was full, or never answered.
    pub(crate) failed: u64,
    /// The first failure.
    pub(crate) fault: Option<String>,
    /// When the first message was meant to be sent.
    pub(crate) start_us: u64,
}

impl Spoken {
    fn fail(&mut self, what: impl std::fmt::Display) {
        self.failed += 1;
        self.fault.get_or_insert_with(|| what.to_string());
    }
}

impl Speakers {
    /// As many as the rate takes, spread over `rooms`; answers when all are connected.
    ///
    /// # Errors
    /// [`BenchError::Server`], when one may not come.
    pub(crate) async fn gather(
        dialer: &Dialer,
        rooms: Vec<RoomName>,
        rate: u64,
    ) -> Result<Speakers, BenchError> {
        let count = usize::try_from(rate.div_ceil(SPEAKER_RATE)).unwrap_or(usize::MAX);
        let mut crowd = Crowd::default();
        let mut keys = Vec::with_capacity(count);
        let mut arrived = 0;
        let mut moved = Instant::now();
        while arrived < count {
            while keys.len() < count && keys.len() - arrived < ARRIVING_MAX {
                keys.push(crowd.add(dialer.connection(&format!("speaker-{}", keys.len()))));
            }
            let event = tokio::time::timeout_at(moved + STALLED_AFTER, crowd.next()).await;
            match event.map(|(_, event)| event) {
                Ok(Event::Connected(_)) => {
                    arrived += 1;
                    moved = Instant::now();
                }
                Ok(Event::Ended { code, message }) => {
                    return Err(BenchError::Server(format!("{message} ({code})")));
                }
                Ok(_) => {}
                Err(_) => {
                    let why = format!("{arrived} of {count} speakers came, then nobody");
                    return Err(BenchError::Server(why));
                }
            }
        }
        Ok(Speakers {
            crowd,
            keys,
            rooms,
            rate,
            next: 0,
            unacknowledged: HashMap::new(),
            spoken: Spoken::default(),
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Speaks for so long; answers when everything is acknowledged, or will not be.
    ///
    /// # Errors
    /// The kernel has no timer for us.
    pub(crate) async fn speak(mut self, seconds: u64) -> io::Result<Spoken> {
        let mut left = self.rate * seconds;
        let mut ticker = Ticker::start(self.rate)?;
        let mut moved = Instant::now();
        while left > 0 || !self.unacknowledged.is_empty() {
            tokio::select! {
                biased;
                ticks = ticker.tick(), if left > 0 => {
                    for intended_us in ticks?.take(left as usize) {
                        self.say(intended_us);
                        left -= 1;
                    }
                    moved = Instant::now();
                }
                (_, event) = self.crowd.next() => {
                    if self.handle_event(event) {
                        moved = Instant::now();
                    }
                }
                () = tokio::time::sleep_until(moved + STALLED_AFTER) => {
                    self.spoken.failed += self.unacknowledged.len() as u64;
                    self.spoken.fault.get_or_insert("nothing is acknowledged any more".to_owned());
                    break;
                }
            }
        }
        Ok(self.spoken)
    }

    fn say(&mut self, intended_us: u64) {
        if self.spoken.start_us == 0 {
            self.spoken.start_us = intended_us;
        }
        let (speaker, room) = (self.next % self.keys.len(), self.next % self.rooms.len());
        self.next += 1;
        let content = MessageContent::post(stamp::body(intended_us));
        let content = wire::codec::content(&content).expect("a post can be published");
        let Some(member) = self.crowd.member(self.keys[speaker]) else {
            return;
        };
        match member.client().publish(&self.rooms[room], content) {
            Ok(id) => {
                self.unacknowledged.insert(id, intended_us);
            }
            Err(error) => self.spoken.fail(error),
        }
    }

    /// Answers whether something came to its end.
    fn handle_event(&mut self, event: Event) -> bool {
        match event {
            Event::Published(published) => {
                self.spoken.acknowledged += 1;
                if let Some(intended_us) = self.unacknowledged.remove(&published.id) {
                    self.spoken.latencies.record(monotonic_us().saturating_sub(intended_us));
                }
                true
            }
            Event::NotPublished(given_up) => {
                self.unacknowledged.remove(&given_up.id);
                self.spoken.fail(given_up);
                true
            }
            Event::Violation(what) => {
                self.spoken.fail(what);
                false
            }
            _ => false,
        }
    }
}
