//! What lies under the keys: JSON, in which a field that this version does not know is left alone.

use cluster::{Front, Load, Node, Role, SLOT_HASH, SLOTS_MAX, SlotRecord, Transport};
use model::{Epoch, NodeId};
use serde::{Deserialize, Serialize};

/// What a cluster was made with, once and for all. It stands in etcd and in the journal; a program for
/// which they differ must not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Constants {
    /// The cluster's random id.
    pub cluster_id: String,
    /// How many slots rooms are spread over.
    pub slots: u32,
    /// The algorithm that does it; [`cluster::SLOT_HASH`].
    pub slot_hash: String,
    /// The format of the journal's records.
    pub record_format: u32,
}

impl Constants {
    /// Why this program cannot serve such a cluster, if it cannot.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.slot_hash != SLOT_HASH {
            let other = &self.slot_hash;
            return Some(format!(
                "its rooms are spread by {other:?}, and this program knows {SLOT_HASH:?}"
            ));
        }
        let right = (1..=SLOTS_MAX).contains(&self.slots);
        (!right).then(|| format!("it has {} slots; 1 to {SLOTS_MAX} are possible", self.slots))
    }
}

#[derive(Serialize, Deserialize)]
struct FrontJson {
    transport: String,
    url: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LoadJson {
    sessions: u32,
    sessions_max: u32,
}

#[derive(Serialize, Deserialize)]
struct NodeJson {
    role: String,
    #[serde(default)]
    link: String,
    #[serde(default)]
    fronts: Vec<FrontJson>,
    #[serde(default)]
    weight: u32,
    #[serde(default)]
    load: LoadJson,
    #[serde(default)]
    version: String,
    #[serde(default)]
    draining: bool,
    /// Which process says so: a random text. Two that were given one id are told apart by it.
    #[serde(default)]
    process: String,
}

#[derive(Serialize, Deserialize)]
struct SlotJson {
    owner: String,
    epoch: Epoch,
}

/// Writes a record. None of ours can fail: there are no maps with strange keys in them.
fn write(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("strings and numbers are JSON")
}

fn read<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

pub(super) fn write_constants(constants: &Constants) -> Vec<u8> {
    write(constants)
}

pub(super) fn read_constants(value: &[u8]) -> Result<Constants, String> {
    read(value)
}

pub(super) fn write_node(node: &Node, process: &str) -> Vec<u8> {
    let role = match node.role {
        Role::Room => "room",
        Role::Edge => "edge",
    };
    let front = |front: &Front| FrontJson {
        transport: front.transport.as_str().to_owned(),
        url: front.url.clone(),
    };
    write(&NodeJson {
        role: role.to_owned(),
        link: node.link.clone(),
        fronts: node.fronts.iter().map(front).collect(),
        weight: node.weight,
        load: LoadJson { sessions: node.load.sessions, sessions_max: node.load.sessions_max },
        version: node.version.clone(),
        draining: node.draining,
        process: process.to_owned(),
    })
}

/// A node, or why it is none to us. Ways to speak to it that we do not know are left out.
pub(super) fn read_node(id: NodeId, value: &[u8]) -> Result<Node, String> {
    let json: NodeJson = read(value)?;
    let role = match json.role.as_str() {
        "room" => Role::Room,
        "edge" => Role::Edge,
        other => return Err(format!("its role {other:?} is unknown here")),
    };
    let front = |front: FrontJson| {
        let known = [Transport::WebSocket, Transport::Grpc];
        let transport = known.into_iter().find(|known| known.as_str() == front.transport)?;
        Some(Front { transport, url: front.url })
    };
    Ok(Node {
        id,
        role,
        link: json.link,
        fronts: json.fronts.into_iter().filter_map(front).collect(),
        weight: json.weight,
        load: Load { sessions: json.load.sessions, sessions_max: json.load.sessions_max },
        version: json.version,
        draining: json.draining,
    })
}

/// The process that wrote a node's record; empty when it cannot be told.
pub(super) fn process_of(value: &[u8]) -> String {
    read::<NodeJson>(value).map(|json| json.process).unwrap_or_default()
}

pub(super) fn write_slot(owner: &NodeId, epoch: Epoch) -> Vec<u8> {
    write(&SlotJson { owner: owner.as_str().to_owned(), epoch })
}

pub(super) fn read_slot(value: &[u8], revision: u64) -> Result<SlotRecord, String> {
    let json: SlotJson = read(value)?;
    let owner = NodeId::new(&json.owner).map_err(|error| error.to_string())?;
    Ok(SlotRecord { owner, epoch: json.epoch, revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> NodeId {
        NodeId::new(text).expect("valid")
    }

    #[test]
    fn a_node_comes_back_as_it_was_written() {
        let node = Node {
            role: Role::Edge,
            link: "10.0.0.7:7000".to_owned(),
            fronts: vec![
                Front { transport: Transport::WebSocket, url: "ws://a/v1/ws".to_owned() },
                Front { transport: Transport::Grpc, url: "http://a:9090".to_owned() },
            ],
            weight: 3,
            load: Load { sessions: 7, sessions_max: 1000 },
            version: "0.2.0".to_owned(),
            draining: true,
            ..Node::in_process(id("e1"))
        };
        let written = write_node(&node, "p-1");
        assert_eq!(read_node(id("e1"), &written), Ok(node));
        assert_eq!(process_of(&written), "p-1");
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let node = read_node(
            id("n1"),
            br#"{"role":"room","weight":1,"zone":"b","fronts":[{"transport":"quic","url":"q"}]}"#,
        );
        assert_eq!(node, Ok(Node::in_process(id("n1"))));
        let slot = read_slot(br#"{"owner":"n1","epoch":4,"since":9}"#, 12);
        assert_eq!(slot, Ok(SlotRecord { owner: id("n1"), epoch: 4, revision: 12 }));
        assert!(read_node(id("n1"), br#"{"role":"oracle"}"#).is_err());
        assert!(read_slot(br#"{"owner":"","epoch":4}"#, 12).is_err());
    }

    #[test]
    fn a_cluster_that_spreads_its_rooms_otherwise_cannot_be_served() {
        let constants = Constants {
            cluster_id: "c".to_owned(),
            slots: 1024,
            slot_hash: SLOT_HASH.to_owned(),
            record_format: 1,
        };
        assert_eq!(constants.fault(), None);
        assert_eq!(read_constants(&write_constants(&constants)), Ok(constants.clone()));
        assert!(Constants { slot_hash: "md5".to_owned(), ..constants.clone() }.fault().is_some());
        assert!(Constants { slots: 0, ..constants.clone() }.fault().is_some());
        assert!(Constants { slots: SLOTS_MAX + 1, ..constants }.fault().is_some());
    }
}
