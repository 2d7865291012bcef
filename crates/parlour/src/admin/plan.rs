//! Which slots to move so that every room server has its share.

use std::collections::BTreeMap;

use cluster::View;
use model::{NodeId, SlotNo};

/// One slot to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) slot: SlotNo,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

/// The fewest moves after which no living room server has more than its share of the owned slots,
/// rounded up. Slots of nodes that are gone are taken over by themselves.
pub(super) fn plan(view: &View) -> Vec<Move> {
    let mut held: BTreeMap<&NodeId, Vec<SlotNo>> = view
        .room_servers()
        .filter(|node| !node.draining && node.weight > 0)
        .map(|node| (&node.id, Vec::new()))
        .collect();
    for (slot, record) in view.slots.iter().enumerate() {
        if let Some(slots) = record.as_ref().and_then(|record| held.get_mut(&record.owner)) {
            slots.push(slot as SlotNo);
        }
    }
    let weight = |id: &NodeId| u64::from(view.nodes[id].weight);
    let weights: u64 = held.keys().map(|id| weight(id)).sum();
    let owned: u64 = held.values().map(|slots| slots.len() as u64).sum();
    if weights == 0 {
        return Vec::new();
    }
    let share = |id: &NodeId| (owned * weight(id)).div_ceil(weights) as usize;
    let least = |id: &NodeId| (owned * weight(id) / weights) as usize;
    let mut moves = Vec::new();
    let givers: Vec<&NodeId> =
        held.keys().copied().filter(|id| held[*id].len() > share(id)).collect();
    for giver in givers {
        while held[giver].len() > share(giver) {
            let Some(taker) =
                held.keys().copied().find(|id| held[*id].len() < least(id)).or_else(|| {
                    held.keys().copied().find(|id| *id != giver && held[*id].len() < share(id))
                })
            else {
                break;
            };
            let Some(slot) = held.get_mut(giver).and_then(Vec::pop) else { break };
            moves.push(Move { slot, from: giver.clone(), to: taker.clone() });
            if let Some(slots) = held.get_mut(taker) {
                slots.push(slot);
            }
        }
    }
    moves
}

#[cfg(test)]
mod tests {
    use cluster::{Node, SlotRecord};

    use super::*;

    fn view(owners: &[(&str, u32, usize)]) -> View {
        let mut view = View::empty(owners.iter().map(|(.., slots)| *slots as u32).sum());
        let mut slots = view.slots.iter_mut();
        for (id, weight, count) in owners {
            let id = NodeId::new(id).expect("valid");
            view.nodes.insert(id.clone(), Node { weight: *weight, ..Node::in_process(id.clone()) });
            for slot in slots.by_ref().take(*count) {
                *slot = Some(SlotRecord { owner: id.clone(), epoch: 1, revision: 1 });
            }
        }
        view
    }

    fn after(view: &View) -> BTreeMap<String, usize> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut owners: Vec<String> =
            view.slots.iter().flatten().map(|record| record.owner.to_string()).collect();
        for one in plan(view) {
            assert_eq!(owners[one.slot as usize], one.from.to_string());
            owners[one.slot as usize] = one.to.to_string();
        }
        owners.into_iter().for_each(|owner| *counts.entry(owner).or_default() += 1);
        counts
    }

    #[test]
    fn a_newcomer_gets_its_share_and_nobody_more_than_that() {
        let view = view(&[("a", 1, 20), ("b", 1, 10), ("c", 1, 0)]);
        assert_eq!(plan(&view).len(), 10, "b has its share already");
        assert!(after(&view).values().all(|slots| *slots == 10), "{:?}", after(&view));
    }

    #[test]
    fn what_is_even_stays() {
        assert_eq!(plan(&view(&[("a", 1, 4), ("b", 1, 3), ("c", 1, 3)])), []);
        assert_eq!(plan(&view(&[("a", 2, 20), ("b", 1, 10)])), []);
    }

    #[test]
    fn weights_count_and_a_node_that_leaves_gets_nothing() {
        let mut uneven = view(&[("a", 1, 30), ("b", 2, 0), ("c", 1, 0)]);
        let c = NodeId::new("c").expect("valid");
        uneven.nodes.get_mut(&c).expect("there").draining = true;
        let counts = after(&uneven);
        assert_eq!((counts["a"], counts["b"]), (10, 20), "{counts:?}");
    }
}
