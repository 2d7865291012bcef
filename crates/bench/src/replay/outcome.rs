//! What came of a room, and how far a run is.

use std::sync::atomic::{AtomicU64, Ordering};

use parlour_client::Counters;

use crate::history::Findings;
use crate::measure::Latencies;

/// Faults that are kept to be shown; the first ones tell most.
const FAULTS_MAX: usize = 10;

/// What came of one room, or of several.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) findings: Findings,
    /// From the intended send to the acknowledgement.
    pub(super) publish: Latencies,
    /// From the intended send to each reader.
    pub(super) delivery: Latencies,
    pub(super) sessions: u64,
    pub(super) reconnects: u64,
    pub(super) faults: Vec<String>,
    pub(super) faults_count: u64,
}

impl Outcome {
    /// Something because of which the run is not clean.
    pub(super) fn fault(&mut self, what: String) {
        self.faults_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }

    /// The client's machine dropped a connection because the server broke a rule. It asks again, and the
    /// checker never sees the hole; it is one all the same.
    pub(super) fn violation(&mut self, what: String) {
        self.findings.counts.out_of_order += 1;
        self.fault(what);
    }

    /// What the machine of a client that has left kept from the checker.
    pub(super) fn count_client(&mut self, counters: Counters) {
        self.reconnects += counters.welcomes.saturating_sub(1);
        self.findings.counts.twice += counters.duplicates_dropped;
    }

    pub(super) fn add(&mut self, other: Outcome) {
        self.findings.add(other.findings);
        self.publish.add(&other.publish);
        self.delivery.add(&other.delivery);
        self.sessions += other.sessions;
        self.reconnects += other.reconnects;
        self.faults_count += other.faults_count;
        let free = FAULTS_MAX - self.faults.len();
        self.faults.extend(other.faults.into_iter().take(free));
    }
}

/// How far a run is; written by all rooms, read by the progress bar.
#[derive(Debug, Default)]
pub(super) struct Progress {
    acknowledged: AtomicU64,
    deliveries: AtomicU64,
}

impl Progress {
    pub(super) fn acknowledged(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn delivered(&self) {
        self.deliveries.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages and deliveries so far.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.deliveries.load(Ordering::Relaxed))
    }
}
