//! What a replay tells at its end.

use std::fmt;

use serde::Serialize;

use crate::history::{Counts, Violation};
use crate::measure::Latency;
use crate::table::{Table, thousands};

/// The result of a replay.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Rooms that were replayed.
    pub rooms: u64,
    /// Sessions that came.
    pub sessions: u64,
    /// Connections that were lost and resumed.
    pub reconnects: u64,
    /// How long it took.
    pub seconds: f64,
    /// From the intended send to the acknowledgement.
    pub publish: Latency,
    /// From the intended send to each reader.
    pub delivery: Latency,
    /// What was checked and what was wrong.
    pub counts: Counts,
    /// Sessions that could not go on, and the like; the first ten.
    pub faults: Vec<String>,
    /// How many there were.
    pub faults_count: u64,
    /// The first breach.
    #[serde(serialize_with = "as_text")]
    pub first_violation: Option<Violation>,
}

fn as_text<S: serde::Serializer>(
    violation: &Option<Violation>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    violation.as_ref().map(Violation::to_string).serialize(serializer)
}

impl Report {
    /// Whether everything was seen once, in order, as it was written.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.is_clean() && self.faults_count == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { acknowledged, deliveries, skipped, .. } = self.counts;
        let per_second = |count: u64| thousands((count as f64 / self.seconds.max(0.001)) as u64);
        let mut table = Table::default();
        table
            .row("rooms", thousands(self.rooms))
            .row("sessions", thousands(self.sessions))
            .row("connections resumed", thousands(self.reconnects))
            .row("messages", thousands(acknowledged))
            .row("deliveries", thousands(deliveries))
            .optional("skipped by a snapshot", (skipped > 0).then(|| thousands(skipped)))
            .row("seconds", format!("{:.1}", self.seconds))
            .row("messages/s", per_second(acknowledged))
            .row("deliveries/s", per_second(deliveries))
            .row("sent to acknowledged", self.publish)
            .row("sent to delivered", self.delivery);
        table.fmt(f)?;
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        if self.faults_count > self.faults.len() as u64 {
            writeln!(f, "… {} faults in all", thousands(self.faults_count))?;
        }
        if let Some(violation) = &self.first_violation {
            writeln!(f, "{violation}")?;
        }
        writeln!(f, "{}", self.counts)
    }
}
