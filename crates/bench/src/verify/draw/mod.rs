//! `parlour verify draw`: a run's timeline and what was done meanwhile, as one picture.
//!
//! Three panels over one axis of time: deliveries a second, how long publishes waited (on a logarithmic
//! scale: a pause of three seconds and a median of one millisecond fit on it), and live sockets. Each event
//! is a line through all of them with its words above. The picture has its own ground and follows the
//! reader's choice of light or dark.
//!
//! # Invariants
//! - What is drawn of a moment is its worst: the longest wait, the fewest sockets. Nothing is smoothed.
//!
//! Look elsewhere for: how the file comes to be (`timeline`).

mod columns;
mod input;
mod scale;
mod svg;

use std::path::PathBuf;

use clap::Args;

pub use input::EventMark;

use super::timeline::Line;
use crate::error::BenchError;

/// Draw a timeline that a run wrote, with what was done meanwhile.
#[derive(Clone, Debug, Args)]
pub struct DrawOptions {
    /// The timeline, as `--timeline` wrote it.
    #[arg(long, value_name = "FILE")]
    pub timeline: PathBuf,
    /// What was done: JSON lines of {"atMs": milliseconds since the epoch, "what": words}.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// The SVG to write.
    #[arg(long, value_name = "FILE.svg")]
    pub picture: PathBuf,
}

/// Reads, draws, writes.
///
/// # Errors
/// [`BenchError`], when a file cannot be read or written, or there is nothing in it.
pub fn draw(options: &DrawOptions) -> Result<(), BenchError> {
    let lines: Vec<Line> = input::read(&options.timeline)?;
    let events: Vec<EventMark> = match &options.events {
        Some(path) => input::read(path)?,
        None => Vec::new(),
    };
    if lines.len() < 2 {
        let why = format!("{} has no two lines to draw", options.timeline.display());
        return Err(BenchError::Usage(why));
    }
    let written = std::fs::write(&options.picture, picture(&lines, &events));
    written.map_err(|error| BenchError::Io(format!("{}: {error}", options.picture.display())))
}

/// The picture's text. There are two lines or more.
#[must_use]
pub fn picture(lines: &[Line], events: &[EventMark]) -> String {
    svg::Picture::new(lines, events).to_string()
}
