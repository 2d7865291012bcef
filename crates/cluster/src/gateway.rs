//! Which edges a client is sent to.
//!
//! Loads are hints of some seconds ago. Whoever always took the least loaded edge would send a whole
//! herd to one; of two random ones the less loaded keeps all of them level without anybody knowing
//! anything precisely.

use std::cmp::Ordering;

use model::{NodeId, Seed};

use crate::{Front, Load, Node, Transport, View};

/// Edges named in one answer: if four of them are gone, the client asks again.
pub const OFFERS_MAX: usize = 4;

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// How it speaks; `None`: in any way.
    pub transport: Option<Transport>,
    /// A node that it does not want, such as the one that it has just lost.
    pub exclude: Option<&'a NodeId>,
}

impl Load {
    /// How many sessions more it would hold.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.sessions_max.saturating_sub(self.sessions)
    }

    /// Compares how full two nodes are, whatever their sizes.
    #[must_use]
    pub fn compare(&self, other: &Load) -> Ordering {
        let mine = u64::from(self.sessions) * u64::from(other.sessions_max.max(1));
        let theirs = u64::from(other.sessions) * u64::from(self.sessions_max.max(1));
        mine.cmp(&theirs)
    }
}

impl Wish<'_> {
    /// Whether a node may be offered: it stays, it has room, and it speaks as asked.
    fn takes(&self, node: &Node) -> bool {
        !node.draining
            && node.load.room() > 0
            && self.exclude != Some(&node.id)
            && self.fronts(node).next().is_some()
    }

    fn fronts<'n>(&self, node: &'n Node) -> impl Iterator<Item = &'n Front> {
        let transport = self.transport;
        let fits = move |front: &&Front| transport.is_none_or(|wish| wish == front.transport);
        node.fronts.iter().filter(fits)
    }
}

/// The fronts of at most [`OFFERS_MAX`] edges, best first: the less loaded of two random ones, the
/// other one, then further random ones. Empty if none has room.
#[must_use]
pub fn offers<'n>(
    nodes: impl IntoIterator<Item = &'n Node>,
    wish: &Wish<'_>,
    seed: &mut Seed,
) -> Vec<&'n Front> {
    let mut nodes: Vec<&Node> = nodes.into_iter().filter(|node| wish.takes(node)).collect();
    let offered = nodes.len().min(OFFERS_MAX);
    for at in 0..offered {
        let left = (nodes.len() - at) as u64;
        nodes.swap(at, at + seed.below(left) as usize);
    }
    nodes.truncate(offered);
    if let [first, second, ..] = nodes.as_mut_slice()
        && first.load.compare(&second.load) == Ordering::Greater
    {
        std::mem::swap(first, second);
    }
    nodes.into_iter().flat_map(|node| wish.fronts(node)).collect()
}

/// How many sessions the nodes beside `me` would take, and how many nodes that are. Whether clients
/// are told a URL or find their way by themselves makes no difference to the room.
#[must_use]
pub fn elsewhere(view: &View, me: &NodeId) -> Elsewhere {
    let others = view.nodes.values().filter(|node| {
        node.id != *me && !node.draining && node.load.room() > 0 && !node.fronts.is_empty()
    });
    others.fold(Elsewhere::default(), |sum, node| Elsewhere {
        edges: sum.edges + 1,
        room: sum.room.saturating_add(node.load.room() as usize),
    })
}

/// What other edges report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Edges that stay and have room.
    pub edges: usize,
    /// Sessions that they would take.
    pub room: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    fn edge(number: u32, sessions: u32, sessions_max: u32) -> Node {
        let front =
            |transport, scheme: &str| Front { transport, url: format!("{scheme}://e{number}") };
        Node {
            role: Role::Edge,
            fronts: vec![front(Transport::WebSocket, "ws"), front(Transport::Grpc, "http")],
            load: Load { sessions, sessions_max },
            ..Node::in_process(id(number))
        }
    }

    fn id(number: u32) -> NodeId {
        NodeId::new(&format!("e{number}")).expect("valid")
    }

    fn view(nodes: impl IntoIterator<Item = Node>) -> View {
        let nodes = nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
        View { nodes, ..View::empty(4) }
    }

    const WEBSOCKET: Wish<'_> = Wish { transport: Some(Transport::WebSocket), exclude: None };

    fn urls(view: &View, wish: &Wish<'_>, seed: &mut Seed) -> Vec<String> {
        offers(view.nodes.values(), wish, seed).into_iter().map(|front| front.url.clone()).collect()
    }

    #[test]
    fn full_draining_excluded_and_mute_edges_are_not_offered() {
        let draining = Node { draining: true, ..edge(1, 0, 10) };
        let mute = Node { fronts: Vec::new(), ..edge(2, 0, 10) };
        let view = view([draining, mute, edge(3, 10, 10), edge(4, 0, 10), edge(5, 9, 10)]);
        let mut seed = Seed::new(3);
        for _ in 0..50 {
            let wish = Wish { exclude: Some(&id(4)), ..WEBSOCKET };
            assert_eq!(urls(&view, &wish, &mut seed), ["ws://e5"]);
        }
        let any = urls(&view, &Wish { exclude: Some(&id(4)), ..Wish::default() }, &mut seed);
        assert_eq!(any, ["ws://e5", "http://e5"]);
        assert_eq!(elsewhere(&view, &id(5)), Elsewhere { edges: 1, room: 10 });
    }

    #[test]
    fn four_at_most_all_different_and_the_second_is_not_the_better_one() {
        let view = view((0..9).map(|number| edge(number, number * 10, 100)));
        let mut seed = Seed::new(5);
        for _ in 0..200 {
            let offered = urls(&view, &WEBSOCKET, &mut seed);
            let number = |url: &String| url[url.len() - 1..].parse::<u32>().expect("a digit");
            assert_eq!(offered.len(), OFFERS_MAX);
            assert!(number(&offered[0]) < number(&offered[1]), "{offered:?}");
            let different: std::collections::BTreeSet<_> = offered.iter().collect();
            assert_eq!(different.len(), OFFERS_MAX);
        }
        assert!(urls(&View::empty(4), &WEBSOCKET, &mut seed).is_empty());
    }

    #[test]
    fn ten_thousand_newcomers_fill_edges_of_all_sizes_evenly() {
        let mut view = view([edge(0, 0, 5_000), edge(1, 4_000, 10_000), edge(2, 0, 10_000)]);
        let mut seed = Seed::new(7);
        for _ in 0..10_000 {
            let url = offers(view.nodes.values(), &WEBSOCKET, &mut seed)[0].url.clone();
            let node = view.nodes.values_mut().find(|node| node.fronts[0].url == url);
            node.expect("it was offered").load.sessions += 1;
        }
        for node in view.nodes.values() {
            let percent = node.load.sessions * 100 / node.load.sessions_max;
            assert!((50..=62).contains(&percent), "{}: {percent} %", node.id);
        }
    }
}
