//! From a room's name to its slot, by an algorithm with a name and test vectors.
//!
//! The algorithm's name stands in the registry and in the journal: two nodes that disagree about it
//! would look for the same room in two places, so a mismatch refuses to start.

use model::{RoomName, SlotNo};

/// The name of the algorithm of [`slot_of`]: FNV-1a, 64 bits, over the name's bytes,
/// modulo the number of slots.
pub const SLOT_HASH: &str = "fnv1a64-mod";

/// Slots of a new cluster: enough that a hundred nodes can share them evenly, few enough that a view
/// of all of them is small.
pub const SLOTS_DEFAULT: u32 = 1024;

/// Most slots of a cluster: a view of as many is still under two megabytes.
pub const SLOTS_MAX: u32 = 16_384;

const _: () = assert!(SLOTS_DEFAULT <= SLOTS_MAX);

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a over `bytes`.
pub(crate) fn fnv1a64(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// The slot of `room` among `slots` slots: `fnv1a64(name) mod slots`. `slots` is at least 1.
#[must_use]
pub fn slot_of(room: &RoomName, slots: u32) -> SlotNo {
    let reduced = fnv1a64(room.as_str().bytes()) % u64::from(slots.max(1));
    reduced as SlotNo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_has_the_published_vectors_of_fnv_1a() {
        assert_eq!(fnv1a64(*b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(*b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(*b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn rooms_keep_their_slots_for_ever() {
        for (room, of_1024, of_7) in
            [("a", 140, 5), ("foobar", 1000, 6), ("team:ops", 386, 3), ("dm:7", 821, 6)]
        {
            let room = RoomName::new(room).expect("valid");
            assert_eq!((slot_of(&room, 1024), slot_of(&room, 7)), (of_1024, of_7), "{room}");
        }
    }

    #[test]
    fn rooms_spread_evenly_over_slots() {
        let mut counts = [0u32; 64];
        for number in 0..64_000 {
            let room = RoomName::new(&format!("team:{number}")).expect("valid");
            counts[slot_of(&room, 64) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (800..1_200).contains(c)), "{counts:?}");
    }
}
