//! What goes wrong, and what operators do, drawn from a seed.
//!
//! Each run draws which kinds of trouble it knows at all: where everything happens all the time, little
//! gets far enough to be interesting.

use model::Seed;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Connections between two machines break.
    Cut,
    /// Nothing gets through between two machines.
    Partition,
    /// Nothing gets through one way.
    OneWay,
    /// A machine is cut off from everybody.
    Isolate,
    /// A room server dies, and its port refuses.
    Kill,
    /// A room server's machine dies: nobody hears anything.
    KillSilently,
    /// A room server is stopped for a while.
    Stop,
    /// A room server's process is replaced: drained, then ended.
    Roll,
    /// A slot is given to another node.
    Move,
    /// The registry is down.
    EtcdDown,
    /// Questions to the registry and answers get lost.
    EtcdLossy,
    /// News of the registry are late.
    EtcdLags,
    /// The registry is restored from an old snapshot.
    EtcdRestored,
    /// The journal is slow.
    DiskSlow,
    /// Writes to the journal fail in all ways.
    DiskFails,
    /// The journal is full.
    DiskFull,
    /// An edge dies.
    KillEdge,
    /// An edge is stopped for a while.
    StopEdge,
    /// An edge's process is replaced: its sessions are moved, then it ends.
    RollEdge,
    /// A client's connection breaks.
    CutClient,
}

const KINDS: [Kind; 20] = [
    Kind::Cut,
    Kind::Partition,
    Kind::OneWay,
    Kind::Isolate,
    Kind::Kill,
    Kind::KillSilently,
    Kind::Stop,
    Kind::Roll,
    Kind::Move,
    Kind::EtcdDown,
    Kind::EtcdLossy,
    Kind::EtcdLags,
    Kind::EtcdRestored,
    Kind::DiskSlow,
    Kind::DiskFails,
    Kind::DiskFull,
    Kind::KillEdge,
    Kind::StopEdge,
    Kind::RollEdge,
    Kind::CutClient,
];

/// The trouble of one run.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    kinds: Vec<Kind>,
    /// Microseconds between two, at most.
    every_us: u64,
}

impl Trouble {
    pub(crate) fn draw(seed: &mut Seed) -> Trouble {
        let one_in = 1 + seed.below(4);
        let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|_| seed.below(one_in) == 0).collect();
        // What the house is built for is always there.
        kinds.push(Kind::Move);
        let every_us = [300_000, 1_000_000, 2_500_000][seed.below(3) as usize];
        Trouble { kinds, every_us }
    }

    /// The next one, and after how many microseconds.
    pub(crate) fn next(&self, seed: &mut Seed) -> (u64, Kind) {
        let after_us = 1 + seed.below(self.every_us);
        let kind = self.kinds[seed.below(self.kinds.len() as u64) as usize];
        (after_us, kind)
    }
}

/// How long something lasts, in microseconds: often short, sometimes beyond every patience.
pub(crate) fn lasts_us(seed: &mut Seed) -> u64 {
    let most_us = [300_000, 1_500_000, 5_000_000, 10_000_000][seed.below(4) as usize];
    50_000 + seed.below(most_us)
}
