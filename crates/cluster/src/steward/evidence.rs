//! Who is thought to be dead: what this node observes of the others, and what they say.
//!
//! Apart from what is done about it because evidence comes in grades: a refused connection is certain,
//! silence is not, and one silent observer may itself be the one that is cut off.
//!
//! # Invariants
//! - A node that this node hears is not dead, whatever others say.
//! - Only nodes of the view are kept, each with a bounded number of observers.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, Now};

/// Observers remembered of one node; two are enough.
const OBSERVERS_MAX: usize = 16;

/// What this node observes of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answers.
    Heard,
    /// Its process is gone: the connection was reset, and then refused.
    Refused,
    /// It does not answer; it may be slow, stopped or cut off.
    Silent,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    own: Option<Sign>,
    /// When the others were last told that it is silent.
    told_at: Option<Now>,
    /// Who else finds it silent, since when at the latest.
    others: BTreeMap<NodeId, Now>,
    /// Two observers have agreed; holds until it is heard.
    condemned: bool,
}

/// The evidence about each node of the view.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    seen: BTreeMap<NodeId, Seen>,
    agree_ms: u64,
}

impl Peers {
    pub(super) fn new(agree_ms: u64) -> Peers {
        Peers { seen: BTreeMap::new(), agree_ms }
    }

    /// These are the nodes now. What is known of others is forgotten.
    pub(super) fn keep<'a>(&mut self, nodes: impl Iterator<Item = &'a NodeId>) {
        let mut before = std::mem::take(&mut self.seen);
        self.seen = nodes.map(|id| (id.clone(), before.remove(id).unwrap_or_default())).collect();
    }

    /// A sign of a node; of no account if it is not in the view.
    pub(super) fn observe(&mut self, now: Now, node: &NodeId, sign: Sign) {
        let Some(seen) = self.seen.get_mut(node) else {
            return;
        };
        if sign == Sign::Heard {
            *seen = Seen { own: Some(sign), ..Seen::default() };
        } else if seen.own != Some(Sign::Refused) {
            seen.own = Some(sign);
        }
        self.judge(now, node);
    }

    /// Somebody else finds it silent; of no account if it is not in the view.
    pub(super) fn suspect(&mut self, now: Now, observer: NodeId, node: &NodeId) {
        let Some(seen) = self.seen.get_mut(node).filter(|_| observer != *node) else {
            return;
        };
        if seen.others.len() < OBSERVERS_MAX || seen.others.contains_key(&observer) {
            seen.others.insert(observer, now);
        }
        self.judge(now, node);
    }

    /// Two observers, this node or others, within the time.
    fn judge(&mut self, now: Now, node: &NodeId) {
        let agree_ms = self.agree_ms;
        if let Some(seen) = self.seen.get_mut(node) {
            seen.others.retain(|_, at| !now.reached(at.plus_ms(agree_ms)));
            let observers = seen.others.len() + usize::from(seen.own == Some(Sign::Silent));
            seen.condemned |= observers >= 2 && seen.own != Some(Sign::Heard);
        }
    }

    pub(super) fn is_dead(&self, node: &NodeId) -> bool {
        let dead = |seen: &Seen| seen.own == Some(Sign::Refused) || seen.condemned;
        self.seen.get(node).is_some_and(dead)
    }

    /// Whether this node does not hear some other one.
    pub(super) fn misses_any(&self) -> bool {
        self.seen.values().any(|seen| matches!(seen.own, Some(Sign::Silent | Sign::Refused)))
    }

    /// Those whose silence is to be told to the others now; again and again, since the others may find
    /// out later.
    pub(super) fn take_due(&mut self, now: Now) -> BTreeSet<NodeId> {
        let mut nodes = BTreeSet::new();
        for (node, seen) in &mut self.seen {
            if next_telling(seen, self.agree_ms).is_some_and(|at| now.reached(at)) {
                seen.told_at = Some(now);
                nodes.insert(node.clone());
            }
        }
        nodes
    }

    pub(super) fn timeout(&self) -> Option<Now> {
        let tellings = self.seen.values().filter_map(|seen| next_telling(seen, self.agree_ms));
        tellings.min_by_key(|at| at.mono_us)
    }
}

fn next_telling(seen: &Seen, agree_ms: u64) -> Option<Now> {
    let silent = seen.own == Some(Sign::Silent);
    silent.then(|| seen.told_at.map_or(Now::default(), |at| at.plus_ms(agree_ms / 2)))
}
