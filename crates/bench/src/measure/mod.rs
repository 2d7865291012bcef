//! How things are measured: one clock for all processes, latencies, and what a process costs.

mod clock;
mod descriptors;
mod latency;
mod metronome;
mod process;

pub use clock::monotonic_us;
pub use descriptors::{DESCRIPTORS_SPARED, raise_descriptor_limit};
pub use latency::{Latencies, Latency};
pub use metronome::{Metronome, Ticker};
pub use process::{Process, ProcessError};
