//! What was done to a cluster and when: printed as it happens, and kept for the picture.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Fault;

/// Prints and keeps events.
#[derive(Debug)]
pub struct Events {
    file: File,
    began: Instant,
}

impl Events {
    /// Keeps them in this file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn to(path: &Path) -> Result<Events, Fault> {
        let tell = |error: std::io::Error| Fault::new(format!("{}: {error}", path.display()));
        Ok(Events { file: File::create(path).map_err(tell)?, began: Instant::now() })
    }

    /// Something was done, or is about to be.
    pub fn tell(&mut self, what: &str) {
        println!("{:7.1} s  {what}", self.began.elapsed().as_secs_f64());
        let at_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as u64);
        let line = serde_json::json!({"atMs": at_ms, "what": what});
        if let Err(error) = writeln!(self.file, "{line}") {
            eprintln!("the event cannot be kept: {error}");
        }
    }
}
