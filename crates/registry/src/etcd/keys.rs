//! Where things lie in etcd.

use model::{NodeId, SlotNo};

/// The keys of one cluster, all under `/parlour/<cluster>/`.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// What a key is the key of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// What the cluster was made with.
    Constants,
    /// What a node says of itself.
    Node(NodeId),
    /// Who owns a slot.
    Slot(SlotNo),
}

impl Keys {
    pub(super) fn new(cluster: &str) -> Keys {
        Keys { prefix: format!("/parlour/{cluster}/") }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn constants(&self) -> String {
        format!("{}constants", self.prefix)
    }

    pub(super) fn node(&self, id: &NodeId) -> String {
        format!("{}nodes/{id}", self.prefix)
    }

    pub(super) fn slot(&self, slot: SlotNo) -> String {
        format!("{}slots/{slot}", self.prefix)
    }

    /// What `key` is the key of; nothing for one that a later version of us may have written.
    pub(super) fn read(&self, key: &[u8]) -> Option<Key> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        match rest.split_once('/') {
            None => (rest == "constants").then_some(Key::Constants),
            Some(("nodes", id)) => NodeId::new(id).ok().map(Key::Node),
            Some(("slots", number)) => {
                let slot: SlotNo = number.parse().ok()?;
                // `+7` and `007` would be second keys of slot 7.
                (slot.to_string() == number).then_some(Key::Slot(slot))
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_is_written_and_a_strange_one_is_nobodys() {
        let keys = Keys::new("main");
        let id = NodeId::new("n-1.a").expect("valid");
        for (written, key) in [
            (keys.constants(), Key::Constants),
            (keys.node(&id), Key::Node(id)),
            (keys.slot(0), Key::Slot(0)),
            (keys.slot(1023), Key::Slot(1023)),
        ] {
            assert_eq!(keys.read(written.as_bytes()), Some(key), "{written}");
        }
        for strange in [
            "/parlour/other/constants",
            "/parlour/main/slots/+7",
            "/parlour/main/slots/007",
            "/parlour/main/nodes/a b",
            "/parlour/main/plans/7",
            "/parlour/main/constants2",
        ] {
            assert_eq!(keys.read(strange.as_bytes()), None, "{strange}");
        }
        assert_eq!(keys.read(b"/parlour/main/nodes/\xff"), None);
    }
}
