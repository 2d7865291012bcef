//! A run as a file of JSON lines, one for each tenth of a second, to be drawn (`draw`) or read.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::tally::Sample;

/// Lines after which the file is written out: whoever follows it sees every second.
const FLUSH_EVERY: u32 = 10;

/// What happened since the line before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// Entries that readers were told.
    pub deliveries: u64,
    /// Publishes that were acknowledged.
    pub acks: u64,
    /// The longest that one of these took, from when it was meant to be sent.
    pub publish_max_ms: f64,
    /// 99 of 100 of these took at most this.
    pub publish_p99_ms: f64,
    /// How long the oldest publish without an answer has waited by now.
    #[serde(default)]
    pub waiting_ms: f64,
    /// Clients with a live socket now.
    pub live: u64,
    /// Sockets that were dialled again.
    pub redials: u64,
}

impl Line {
    /// From two samples.
    pub(super) fn between(before: &Sample, now: &Sample, at_ms: u64) -> Line {
        let ms = |us: u64| us as f64 / 1_000.0;
        Line {
            at_ms,
            deliveries: now.deliveries - before.deliveries,
            acks: now.acknowledged - before.acknowledged,
            publish_max_ms: ms(now.publish_max_us),
            publish_p99_ms: ms(now.publish_p99_us),
            waiting_ms: ms(now.waiting_us),
            live: now.live,
            redials: now.redials - before.redials,
        }
    }
}

/// Milliseconds since the epoch.
pub(super) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The file.
#[derive(Debug)]
pub(super) struct Timeline {
    file: BufWriter<File>,
    lines: u32,
}

impl Timeline {
    pub(super) fn create(path: &Path) -> io::Result<Timeline> {
        Ok(Timeline { file: BufWriter::new(File::create(path)?), lines: 0 })
    }

    pub(super) fn write(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, line)?;
        self.file.write_all(b"\n")?;
        self.lines += 1;
        match self.lines.is_multiple_of(FLUSH_EVERY) {
            true => self.file.flush(),
            false => Ok(()),
        }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.flush()
    }
}
