//! The view, as etcd's keys and events change it. Pure.

use cluster::{Node, SlotRecord, View};
use etcd_client::{Event, EventType, KeyValue};
use model::{NodeId, SlotNo};

use super::keys::{Key, Keys};
use super::records::{read_node, read_slot};

/// What a key's new value, or its end, means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Node(Node),
    NodeGone(NodeId),
    Slot(SlotNo, SlotRecord),
    /// The slot's record was deleted, at this revision.
    SlotGone(SlotNo, u64),
}

/// Reads a key that is there.
pub(super) fn read_kv(keys: &Keys, kv: &KeyValue) -> Option<Change> {
    read_put(keys, kv.key(), kv.value(), revision(kv.mod_revision()))
}

/// Reads an event.
pub(super) fn read_event(keys: &Keys, event: &Event) -> Option<Change> {
    let kv = event.kv()?;
    match event.event_type() {
        EventType::Put => read_kv(keys, kv),
        EventType::Delete => match keys.read(kv.key())? {
            Key::Node(id) => Some(Change::NodeGone(id)),
            Key::Slot(slot) => Some(Change::SlotGone(slot, revision(kv.mod_revision()))),
            Key::Constants => None,
        },
    }
}

/// etcd's revisions are signed, and never negative.
pub(super) fn revision(etcds: i64) -> u64 {
    u64::try_from(etcds).unwrap_or(0)
}

/// A record that cannot be read is as if it were not there: it was written by a later version, or by
/// hand.
fn read_put(keys: &Keys, key: &[u8], value: &[u8], revision: u64) -> Option<Change> {
    match keys.read(key)? {
        Key::Constants => None,
        Key::Node(id) => match read_node(id.clone(), value) {
            Ok(node) => Some(Change::Node(node)),
            Err(why) => {
                tracing::warn!(node = %id, %why, "a node's record cannot be read");
                Some(Change::NodeGone(id))
            }
        },
        Key::Slot(slot) => match read_slot(value, revision) {
            Ok(record) => Some(Change::Slot(slot, record)),
            Err(why) => {
                tracing::error!(slot, %why, "a slot's record cannot be read");
                Some(Change::SlotGone(slot, revision))
            }
        },
    }
}

/// Changes the view; whether it is another one now. A slot's record gives way to a newer one only:
/// what a swap answered may be ahead of the events.
pub(super) fn apply(view: &mut View, change: Change) -> bool {
    match change {
        Change::Node(node) => {
            let same = view.nodes.get(&node.id) == Some(&node);
            if !same {
                view.nodes.insert(node.id.clone(), node);
            }
            !same
        }
        Change::NodeGone(id) => view.nodes.remove(&id).is_some(),
        Change::Slot(slot, record) => {
            let Some(held) = view.slots.get_mut(slot as usize) else {
                return false;
            };
            let newer = held.as_ref().is_none_or(|held| held.revision < record.revision);
            if newer {
                *held = Some(record);
            }
            newer
        }
        Change::SlotGone(slot, revision) => {
            let Some(held) = view.slots.get_mut(slot as usize) else {
                return false;
            };
            let gone = held.as_ref().is_some_and(|held| held.revision <= revision);
            if gone {
                *held = None;
            }
            gone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> NodeId {
        NodeId::new(text).expect("valid")
    }

    fn record(owner: &str, epoch: u64, revision: u64) -> SlotRecord {
        SlotRecord { owner: id(owner), epoch, revision }
    }

    #[test]
    fn a_slots_record_gives_way_to_a_newer_one_only() {
        let mut view = View::empty(4);
        assert!(apply(&mut view, Change::Slot(1, record("n1", 1, 10))));
        assert!(apply(&mut view, Change::Slot(1, record("n2", 2, 30))), "a swap's answer");
        assert!(!apply(&mut view, Change::Slot(1, record("n3", 2, 20))), "a late event");
        assert!(!apply(&mut view, Change::SlotGone(1, 25)), "a late event");
        assert!(!apply(&mut view, Change::Slot(1, record("n2", 2, 30))), "the swap's own event");
        assert_eq!(view.slot(1), Some(&record("n2", 2, 30)));
        assert!(apply(&mut view, Change::SlotGone(1, 31)));
        assert_eq!(view.slot(1), None);
        assert!(!apply(&mut view, Change::Slot(4, record("n1", 1, 40))), "there is no such slot");
    }

    #[test]
    fn a_node_that_says_the_same_again_is_no_change() {
        let mut view = View::empty(4);
        let node = Node::in_process(id("n1"));
        assert!(apply(&mut view, Change::Node(node.clone())));
        assert!(!apply(&mut view, Change::Node(node.clone())));
        assert!(apply(&mut view, Change::Node(Node { draining: true, ..node })));
        assert!(apply(&mut view, Change::NodeGone(id("n1"))));
        assert!(!apply(&mut view, Change::NodeGone(id("n1"))));
    }

    #[test]
    fn what_cannot_be_read_is_as_if_it_were_not_there() {
        let keys = Keys::new("main");
        let put = |key: String, value: &[u8]| read_put(&keys, key.as_bytes(), value, 7);
        assert_eq!(put(keys.node(&id("n1")), b"{"), Some(Change::NodeGone(id("n1"))));
        assert_eq!(put(keys.slot(3), b"[]"), Some(Change::SlotGone(3, 7)));
        assert_eq!(put(keys.constants(), b"{}"), None);
        assert_eq!(
            put(keys.slot(3), br#"{"owner":"n1","epoch":2}"#),
            Some(Change::Slot(3, record("n1", 2, 7)))
        );
    }
}
