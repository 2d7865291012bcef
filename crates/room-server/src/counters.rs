//! What a room server counts, for whoever exports it.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counted by all tasks of a server.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        /// What a server has counted since it was built; gauges say what is now.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            pub(crate) fn read(&self) -> Counts {
                Counts { $($name: self.$name.get(),)+ }
            }
        }
    };
}

counters! {
    /// Streams of edges that stand. A gauge.
    streams,
    /// Streams ended because their edge did not read.
    streams_overrun,
    /// Slots that are served. A gauge.
    slots_serving,
    /// Rooms that are open in memory. A gauge.
    rooms_open,
    /// Asks taken from edges.
    asks,
    /// Asks refused here and not by a room.
    asks_refused,
    /// Asks for rooms of slots that another node serves: their edges were told where to go.
    asks_moved,
    /// Slots that were handed to another node.
    given,
    /// Handoffs that came to nothing.
    given_failed,
    /// Slots that were handed to this node, and are served.
    taken,
    /// Rooms that were opened without the journal, as their former owner handed them over.
    rooms_hinted,
    /// Appends handed to the journal.
    appends,
    /// Entries committed.
    entries,
    /// Appends whose outcome was unknown.
    appends_unknown,
    /// Appends that failed otherwise.
    appends_failed,
    /// Claims that committed.
    claims,
    /// Times that a slot was found claimed by somebody else.
    fenced,
    /// Reads of the journal for rooms.
    reads,
    /// Pieces of logs read for laggards.
    segments,
    /// Trims that moved a room's first kept entry.
    trims,
    /// Rooms stopped as damaged.
    rooms_damaged,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
