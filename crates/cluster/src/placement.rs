//! Which node should own a slot: weighted rendezvous hashing with a cap on load.
//!
//! A pure function of the candidates, so that nodes with the same view agree without talking. Its
//! result is *stored* per slot and only consulted when a slot needs an owner: views that differ for a
//! moment move nothing.

use model::{NodeId, SlotNo};

use crate::hash::fnv1a64;

/// How far above its fair share a node may be loaded before it is passed over, in percent: a little
/// slack keeps most slots at their first choice.
pub const LOAD_SLACK_PERCENT: u64 = 25;

/// A node that may be given a slot: live and not draining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub id: NodeId,
    /// Its share relative to the others'; 0 is never chosen.
    pub weight: u32,
    /// Slots that it owns now.
    pub slots_owned: u32,
}

/// The candidates in the order in which they should own `slot`, the best first; those without weight
/// are left out. On an owner's death the node at index i waits i steps before it takes over.
#[must_use]
pub fn rank(slot: SlotNo, candidates: &[Candidate]) -> Vec<&Candidate> {
    let mut ranked: Vec<(f64, &Candidate)> = candidates
        .iter()
        .filter(|candidate| candidate.weight > 0)
        .map(|candidate| (score(slot, candidate), candidate))
        .collect();
    ranked.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.id.cmp(&right.id)));
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Who should own `slot` of `slots`: the first in rank that owns less than its fair share and
/// [`LOAD_SLACK_PERCENT`]; the first of all if nobody does. `None` without candidates.
#[must_use]
pub fn place(slot: SlotNo, slots: u32, candidates: &[Candidate]) -> Option<&NodeId> {
    let weights: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
    let ranked = rank(slot, candidates);
    let below_cap = |candidate: &&&Candidate| {
        u64::from(candidate.slots_owned) < cap(slots, candidate.weight, weights)
    };
    ranked.iter().find(below_cap).or(ranked.first()).map(|candidate| &candidate.id)
}

/// Most slots that a node of this weight should own, among nodes of this weight altogether: its fair
/// share and [`LOAD_SLACK_PERCENT`].
#[must_use]
pub(crate) fn cap(slots: u32, weight: u32, weights: u64) -> u64 {
    let share = u64::from(slots) * u64::from(weight) * (100 + LOAD_SLACK_PERCENT);
    share.div_ceil(100 * weights.max(1))
}

/// Weighted rendezvous: `-weight / ln(u)`, `u` uniform in (0, 1) by the hash of slot and node. Raising
/// one node's weight moves slots to it and between no others.
fn score(slot: SlotNo, candidate: &Candidate) -> f64 {
    let bytes = slot.to_be_bytes().into_iter().chain(candidate.id.as_str().bytes());
    let uniform = ((mix(fnv1a64(bytes)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(candidate.weight) / uniform.ln()
}

/// MurmurHash3's finalizer: FNV's high bits hardly depend on the last bytes, and `uniform` is made of
/// the high ones.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: u32 = 1024;

    fn nodes(weights: &[u32]) -> Vec<Candidate> {
        let node = |(number, weight): (usize, &u32)| Candidate {
            id: NodeId::new(&format!("n{number}")).expect("valid"),
            weight: *weight,
            slots_owned: 0,
        };
        weights.iter().enumerate().map(node).collect()
    }

    fn counts(candidates: &[Candidate]) -> Vec<usize> {
        let mut counts = vec![0; candidates.len()];
        for slot in 0..SLOTS {
            let owner = &rank(slot, candidates)[0].id;
            let index = candidates.iter().position(|c| c.id == *owner).expect("one of them");
            counts[index] += 1;
        }
        counts
    }

    #[test]
    fn slots_follow_the_weights() {
        let counts = counts(&nodes(&[1, 1, 2, 0]));
        assert!((200..312).contains(&counts[0]) && (200..312).contains(&counts[1]), "{counts:?}");
        assert!((440..584).contains(&counts[2]), "{counts:?}");
        assert_eq!(counts[3], 0);
    }

    #[test]
    fn a_node_that_leaves_moves_only_its_own_slots() {
        let all = nodes(&[1, 1, 1]);
        let left = &all[..2];
        for slot in 0..SLOTS {
            let before = &rank(slot, &all)[0].id;
            if *before != all[2].id {
                assert_eq!(before, &rank(slot, left)[0].id);
            }
        }
    }

    #[test]
    fn a_node_above_its_cap_is_passed_over_unless_all_are() {
        let mut candidates = nodes(&[1, 1]);
        let first = rank(5, &candidates)[0].id.clone();
        let load = |candidates: &mut Vec<Candidate>, id: &NodeId| {
            let full = candidates.iter_mut().find(|c| c.id == *id).expect("one of them");
            full.slots_owned = 640;
        };
        load(&mut candidates, &first);
        let second = place(5, SLOTS, &candidates).expect("two candidates").clone();
        assert_ne!(second, first);
        load(&mut candidates, &second);
        assert_eq!(place(5, SLOTS, &candidates), Some(&first));
        assert_eq!(place(5, SLOTS, &[]), None);
    }
}
