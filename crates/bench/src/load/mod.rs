//! `parlour bench fanout | idle | publish`: what a server can do, and what it costs.
//!
//! Every figure is measured from the time at which a message was meant to be sent (each body says it), so
//! that a generator or a server that falls behind shows as latency and is not hidden.

mod audience;
mod fanout;
mod idle;
mod publish;
mod speakers;
pub(crate) mod stamp;

pub(crate) use audience::Audience;
pub use fanout::{BesideBareReport, FanoutOptions, FanoutReport, beside_bare, fanout};
pub use idle::{IdleOptions, IdleReport, idle};
pub use publish::{PublishOptions, PublishReport, publish};
pub(crate) use speakers::Speakers;

use model::{RoomName, Seed};

use crate::error::BenchError;
use crate::measure::{DESCRIPTORS_SPARED, raise_descriptor_limit};

/// Rooms that nobody has used before: what a run leaves behind does not reach the next one.
pub(crate) fn fresh_rooms(what: &str, count: usize) -> Vec<RoomName> {
    let mut seed = Seed::new(crate::measure::monotonic_us());
    let run = seed.letters(10);
    let name = |nth| RoomName::new(&format!("bench:{what}:{run}:{nth}"));
    (0..count.max(1)).map(|nth| name(nth).expect("letters, digits and colons are a name")).collect()
}

/// Whether this process may open so many connections.
pub(crate) fn check_descriptors(connections: usize) -> Result<(), BenchError> {
    let most = raise_descriptor_limit().saturating_sub(DESCRIPTORS_SPARED);
    match connections as u64 <= most {
        true => Ok(()),
        false => Err(BenchError::Usage(format!(
            "{connections} connections are wanted, and the limit of open files allows {most}"
        ))),
    }
}
