//! Free space: appends are refused before the disk is full, because a write that fails half-way
//! poisons the engine.

use std::path::PathBuf;

use super::faults::Faults;

/// Of the headroom this part is kept for what frees or recovers: claims, erasures, trims.
const RESERVE_PART: u64 = 4;
/// The headroom is at most this part of the disk.
const DISK_PART: u64 = 20;

#[derive(Clone, Debug)]
pub(super) struct Headroom {
    dir: PathBuf,
    bytes: u64,
    faults: Faults,
}

/// How much of the headroom is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Nothing may be written.
    None,
    /// Only what frees space or recovers.
    Reserve,
    /// Everything.
    Enough,
}

impl Headroom {
    pub(super) fn new(dir: PathBuf, bytes: u64, faults: Faults) -> Headroom {
        let disk = rustix::fs::statvfs(&dir)
            .map_or(u64::MAX, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
        Headroom { bytes: bytes.min(disk / DISK_PART), dir, faults }
    }

    /// The headroom that is in force.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.faults.free_bytes().unwrap_or_else(|| {
            // A disk that cannot be asked is judged by its writes.
            rustix::fs::statvfs(&self.dir)
                .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
        })
    }

    pub(super) fn room(&self) -> Room {
        let free = self.free_bytes();
        if free >= self.bytes {
            Room::Enough
        } else if free >= self.bytes / RESERVE_PART {
            Room::Reserve
        } else {
            Room::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept_for_what_recovers() {
        let faults = Faults::default();
        let headroom = Headroom::new(std::env::temp_dir(), 1_000, faults.clone());
        for (free, room) in [(1_000, Room::Enough), (999, Room::Reserve), (249, Room::None)] {
            faults.pretend_free_bytes(Some(free));
            assert_eq!(headroom.room(), room, "{free} free");
        }
    }
}
