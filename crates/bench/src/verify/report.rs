//! What a run tells at its end.

use std::fmt;

use serde::Serialize;

use super::check::{Counts, Violation};
use super::driver::Recorded;
use super::record::{Fate, Publish};
use super::tally::quantile;
use crate::measure::{Latency, monotonic_us};
use crate::table::{Table, thousands};

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Clients, and how many of them published.
    pub clients: u64,
    /// See `clients`.
    pub publishers: u64,
    /// Rooms.
    pub rooms: u64,
    /// Messages a second that were meant.
    pub rate: u64,
    /// How long clients published.
    pub seconds: u64,
    /// What was checked and what was wrong.
    #[serde(flatten)]
    pub counts: Counts,
    /// How long publishes took, and how long clients had no socket.
    #[serde(flatten)]
    pub service: Service,
    /// What else was not as it should be; the first ten.
    pub faults: Vec<String>,
    /// How many there were.
    pub faults_count: u64,
    /// The first broken promise.
    #[serde(serialize_with = "as_text")]
    pub first_violation: Option<Violation>,
    /// Whether no promise was broken and nothing else was wrong.
    pub clean: bool,
}

/// What clients felt.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Service {
    /// From the intended send to the acknowledgement, all clients.
    pub publish: Latency,
    /// The same of the client that waited longest.
    pub worst_client: Option<Worst>,
    /// The longest that a publish waited, those without an answer included.
    pub longest_wait_ms: f64,
    /// The longest that a client had no live socket.
    pub longest_gap_ms: f64,
    /// Whose gap it was.
    pub longest_gap_of: Option<String>,
    /// Sockets that were dialled again after they had been lost.
    pub redials: u64,
    /// Times that a server sent a client elsewhere.
    pub moves: u64,
    /// Entries that came again and were dropped by a client before it told anybody.
    pub dropped: u64,
    /// Why the first message was given up, or not taken by its client.
    pub given_up: Option<String>,
    /// The latest that this program itself handed a message to its client. Large: believe no latency.
    pub generator_late_ms: f64,
}

/// The client that waited longest.
#[derive(Clone, Debug, Serialize)]
pub struct Worst {
    /// Which.
    pub name: String,
    /// Where it dialled.
    pub url: String,
    /// How long its publishes took.
    pub publish: Latency,
}

fn as_text<S: serde::Serializer>(
    violation: &Option<Violation>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    violation.as_ref().map(Violation::to_string).serialize(serializer)
}

impl Service {
    /// Of what all drivers recorded.
    pub(super) fn of(recorded: &[Recorded], urls: &[String]) -> Service {
        let mut service = Service::default();
        let now_us = monotonic_us();
        let (mut all, mut worst_us) = (Vec::new(), 0);
        for member in recorded.iter().flat_map(|recorded| &recorded.members) {
            let mut took = Vec::new();
            for publish in member.rooms.iter().flat_map(|room| &room.sends.publishes) {
                let waited_us = waited_us(publish, now_us);
                service.longest_wait_ms = service.longest_wait_ms.max(ms(waited_us));
                service.generator_late_ms =
                    service.generator_late_ms.max(ms(u64::from(publish.late_us)));
                took.extend((publish.fate == Fate::Acknowledged).then_some(waited_us));
            }
            took.sort_unstable();
            if took.last().is_some_and(|us| *us > worst_us) {
                worst_us = took.last().copied().unwrap_or(0);
                let (name, url) = (member.name.clone(), urls[member.seat.server].clone());
                service.worst_client = Some(Worst { name, url, publish: latency(&took) });
            }
            all.append(&mut took);
            if ms(member.life.longest_gap_us) > service.longest_gap_ms {
                service.longest_gap_ms = ms(member.life.longest_gap_us);
                service.longest_gap_of = Some(member.name.clone());
            }
            service.given_up = service.given_up.or_else(|| member.given_up.clone());
            let counters = member.counters;
            service.redials += counters.welcomes.saturating_sub(1).saturating_sub(counters.moves);
            service.moves += counters.moves;
            service.dropped += counters.duplicates_dropped;
        }
        all.sort_unstable();
        service.publish = latency(&all);
        service
    }
}

/// How long it took, or has waited by now; nothing, if it was refused.
fn waited_us(publish: &Publish, now_us: u64) -> u64 {
    match publish.fate {
        Fate::Acknowledged => publish.took_us(),
        Fate::Open | Fate::Unknown => Publish { acked_us: now_us, ..*publish }.took_us(),
        Fate::Refused => 0,
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

fn latency(sorted_us: &[u64]) -> Latency {
    Latency {
        p50_ms: ms(quantile(sorted_us, 50)),
        p99_ms: ms(quantile(sorted_us, 99)),
        max_ms: ms(quantile(sorted_us, 100)),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { counts, service, .. } = self;
        let gap = match &service.longest_gap_of {
            Some(name) => format!("{:.1} ms ({name})", service.longest_gap_ms),
            None => "none".to_owned(),
        };
        let worst = service.worst_client.as_ref();
        let mut table = Table::default();
        table
            .row("clients", format!("{}, {} publish", thousands(self.clients), self.publishers))
            .row("rooms", thousands(self.rooms))
            .row("meant", format!("{}/s for {} s", thousands(self.rate), self.seconds))
            .row("messages acknowledged", thousands(counts.acknowledged))
            .row("lost", thousands(counts.lost))
            .row("twice", thousands(counts.twice))
            .row("out of order", thousands(counts.out_of_order))
            .row("forged", thousands(counts.forged))
            .row("refused", thousands(counts.refused))
            .row("unknown", thousands(counts.unknown))
            .optional("the first given up", service.given_up.as_deref())
            .row("deliveries", thousands(counts.deliveries))
            .optional("skipped by a snapshot", some(counts.skipped))
            .optional("trimmed by retention", some(counts.trimmed))
            .row("redials", thousands(service.redials))
            .row("moves", thousands(service.moves))
            .row("longest without a socket", gap)
            .row("longest wait of a publish", format!("{:.1} ms", service.longest_wait_ms))
            .row("publish, all clients", service.publish)
            .optional(
                "publish, the worst client",
                worst.map(|w| format!("{} ({})", w.publish, w.name)),
            )
            .row("generator late by at most", format!("{:.1} ms", service.generator_late_ms));
        table.fmt(f)?;
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        if self.faults_count > self.faults.len() as u64 {
            writeln!(f, "… {} faults in all", thousands(self.faults_count))?;
        }
        if let Some(violation) = &self.first_violation {
            writeln!(f, "the first broken promise:\n{violation}")?;
        }
        writeln!(f, "{counts}")
    }
}

fn some(count: u64) -> Option<String> {
    (count > 0).then(|| thousands(count))
}
