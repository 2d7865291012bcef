//! What a room server is told when it is built.

use std::sync::Arc;

use model::limits::PAGE_BYTES_MAX;
use model::{Limits, NodeId};

/// Reads of the journal that may run at once: more only wait for the same disk.
pub const READS_DEFAULT: usize = 64;
/// Reads for laggards that may run at once, apart from those that answer asks and appends.
pub const SEGMENT_READS_DEFAULT: usize = 16;
/// Bytes that may wait for one stream of an edge before it is ended: a second's worth of a fast link.
pub const STREAM_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
/// An edge that reads at its pace must not lose its stream to a few answers.
const STREAM_BYTES_LEAST: usize = 4 * PAGE_BYTES_MAX;
/// Milliseconds between two rounds of retention.
pub const RETENTION_INTERVAL_MS: u64 = 60_000;

/// The settings of a room server.
#[derive(Clone, Debug)]
pub struct Config {
    /// This process.
    pub node: NodeId,
    /// Bounds of rooms.
    pub limits: Arc<Limits>,
    /// How many slots the cluster has; the journal was made for as many.
    pub slots: u32,
    /// See [`READS_DEFAULT`].
    pub reads_max: usize,
    /// See [`SEGMENT_READS_DEFAULT`].
    pub segment_reads_max: usize,
    /// See [`STREAM_BYTES_DEFAULT`].
    pub stream_bytes_max: usize,
    /// What is kept of which rooms; the first rule whose pattern matches holds. Empty: everything.
    pub retention: Vec<RetentionRule>,
    /// See [`RETENTION_INTERVAL_MS`].
    pub retention_interval_ms: u64,
}

/// What is kept of the rooms whose names match a pattern. What any bound does not cover goes; without
/// a bound everything is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionRule {
    /// Of room names; `*` stands for any run of characters.
    pub pattern: String,
    /// Entries older than this are trimmed.
    pub age_ms: Option<u64>,
    /// At most so many entries are kept.
    pub entries_max: Option<u64>,
    /// At most so many bytes of payload are kept.
    pub bytes_max: Option<u64>,
}

impl Config {
    /// The defaults for a node.
    #[must_use]
    pub fn new(node: NodeId) -> Config {
        Config {
            node,
            limits: Arc::new(Limits::default()),
            slots: cluster::SLOTS_DEFAULT,
            reads_max: READS_DEFAULT,
            segment_reads_max: SEGMENT_READS_DEFAULT,
            stream_bytes_max: STREAM_BYTES_DEFAULT,
            retention: Vec::new(),
            retention_interval_ms: RETENTION_INTERVAL_MS,
        }
    }

    /// What is wrong with it, each fault as a sentence.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut faults = self.limits.check();
        if !(1..=cluster::SLOTS_MAX).contains(&self.slots) {
            faults.push(format!(
                "slots ({}) must be between 1 and {}",
                self.slots,
                cluster::SLOTS_MAX
            ));
        }
        for (name, value) in [
            ("reads_max", self.reads_max as u64),
            ("segment_reads_max", self.segment_reads_max as u64),
            ("retention_interval_ms", self.retention_interval_ms),
        ] {
            if value == 0 {
                faults.push(format!("{name} must be more than 0"));
            }
        }
        if self.stream_bytes_max < STREAM_BYTES_LEAST {
            faults.push(format!(
                "stream_bytes_max ({}) must hold a few pages: at least {STREAM_BYTES_LEAST}",
                self.stream_bytes_max
            ));
        }
        for rule in &self.retention {
            rule.check(&mut faults);
        }
        faults
    }
}

impl RetentionRule {
    /// Whether it trims anything.
    #[must_use]
    pub fn bounds(&self) -> bool {
        self.age_ms.is_some() || self.entries_max.is_some() || self.bytes_max.is_some()
    }

    fn check(&self, faults: &mut Vec<String>) {
        if self.pattern.is_empty() {
            faults.push("a retention rule has an empty pattern, which matches no room".to_owned());
        }
        for (name, value) in [
            ("age_ms", self.age_ms),
            ("entries_max", self.entries_max),
            ("bytes_max", self.bytes_max),
        ] {
            if value == Some(0) {
                faults.push(format!(
                    "retention of {}: {name} must be more than 0; leave it out to keep everything",
                    self.pattern
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once() {
        let node = NodeId::new("n1").expect("valid");
        assert_eq!(Config::new(node.clone()).check(), Vec::<String>::new());
        let rule = RetentionRule { age_ms: Some(0), ..RetentionRule::default() };
        let bad = Config { slots: 0, reads_max: 0, retention: vec![rule], ..Config::new(node) };
        assert_eq!(bad.check().len(), 4, "{:?}", bad.check());
    }
}
