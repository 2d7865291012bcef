//! `parlour admin`: looks at a cluster through etcd, and asks its nodes to move what is in it.
//!
//! It decides nothing about who may write: whatever it asks for, nodes carry out by claims.

mod grid;
mod plan;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use cluster::{Node, Registry, Role as NodeRole, View};
use journal::postgres::Postgres;
use model::{NodeId, SlotNo};
use registry::etcd::{Constants, Etcd, OpenError};
use serde_json::json;
use tonic::transport::Channel;
use wire::link::peer_client::PeerClient;
use wire::link::{DrainRequest, MoveRequest, RoomsRequest};

use crate::app::link::Dialer;
use crate::app::{etcd, store};
use crate::cli::{AdminArgs, AdminCommand};
use crate::settings::{ClusterSettings, Loaded, Role};
use grid::Grid;

/// How long a node may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a node may take to give all its slots away.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// Runs one command. Exit 0 when it was done, 1 when something failed, 2 when it was not understood.
#[must_use]
pub fn run(args: AdminArgs) -> ExitCode {
    let cluster = match Loaded::from(&args.cluster.sources(), Role::Serve) {
        Ok(loaded) => loaded.settings.cluster,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("parlour: {fault}"));
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(command(&cluster, args.command, args.json)),
        Err(error) => Err(format!("cannot start the runtime: {error}")),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            if !text.ends_with('\n') {
                println!();
            }
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("parlour: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn command(
    cluster: &ClusterSettings,
    command: AdminCommand,
    json: bool,
) -> Result<String, String> {
    if cluster.etcd.is_empty() {
        return Err("which cluster? pass --etcd http://HOST:2379[,…]".to_owned());
    }
    if let AdminCommand::Init { slots } = command {
        return init(cluster, slots).await;
    }
    let etcd = Etcd::observe(etcd::settings(cluster)?).await.map_err(|e| e.to_string())?;
    let view = etcd.view();
    let show = |grid: Grid| if json { grid.json() } else { grid.table() };
    match command {
        AdminCommand::Init { .. } => unreachable!("it was handled above"),
        AdminCommand::Nodes => Ok(show(nodes(&view))),
        AdminCommand::Slots => Ok(show(slots(&view))),
        AdminCommand::Rooms { limit } => rooms(&Peers::new(cluster)?, &view, limit).await.map(show),
        AdminCommand::Drain { node } => drain(&Peers::new(cluster)?, &view, &node).await,
        AdminCommand::Move { slot, node } => {
            move_slot(&Peers::new(cluster)?, &view, slot, &node).await
        }
        AdminCommand::Rebalance => rebalance(&Peers::new(cluster)?, &view).await,
    }
}

/// Creates the constants in etcd and in the journal; says so if they stand already.
async fn init(cluster: &ClusterSettings, slots: u32) -> Result<String, String> {
    if !(1..=cluster::SLOTS_MAX).contains(&slots) {
        return Err(format!("--slots must be between 1 and {}", cluster::SLOTS_MAX));
    }
    let wanted = Constants {
        cluster_id: random_id(),
        slots,
        slot_hash: cluster::SLOT_HASH.to_owned(),
        record_format: journal::postgres::RECORD_FORMAT,
    };
    let constants = match Etcd::init(etcd::settings(cluster)?, wanted.clone()).await {
        Ok(()) => wanted,
        // Made before: the journal may still lack what etcd has.
        Err(OpenError::Made(made)) if made.slots == slots => *made,
        Err(error) => return Err(error.to_string()),
    };
    let postgres = store::postgres_settings(cluster, &constants)
        .map_err(|_| "init also prepares the journal: pass --journal postgres://…".to_owned())?;
    let made = tokio::task::spawn_blocking(move || Postgres::init(&postgres)).await;
    made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    Ok(format!("The cluster {:?} has {slots} slots; its nodes can be started.", cluster.name))
}

/// The id of a new cluster: what tells its etcd and its journal from all others.
fn random_id() -> String {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    format!("{:016x}", u64::from_le_bytes(bytes))
}

fn nodes(view: &View) -> Grid {
    let mut owned: BTreeMap<&NodeId, u64> = BTreeMap::new();
    for record in view.slots.iter().flatten() {
        *owned.entry(&record.owner).or_default() += 1;
    }
    let mut grid = Grid::new(&[
        "node",
        "role",
        "link",
        "fronts",
        "slots",
        "weight",
        "sessions",
        "sessionsMax",
        "version",
        "draining",
    ]);
    for node in view.nodes.values() {
        let role = match node.role {
            NodeRole::Room => "room",
            NodeRole::Edge => "edge",
        };
        let fronts: Vec<&str> = node.fronts.iter().map(|front| front.url.as_str()).collect();
        grid.row(vec![
            json!(node.id.as_str()),
            json!(role),
            json!(node.link),
            json!(fronts),
            json!(owned.get(&node.id).unwrap_or(&0)),
            json!(node.weight),
            json!(node.load.sessions),
            json!(node.load.sessions_max),
            json!(node.version),
            json!(node.draining),
        ]);
    }
    grid
}

/// A row for each owner, with its slots as ranges.
fn slots(view: &View) -> Grid {
    let mut owners: BTreeMap<Option<&NodeId>, (Vec<SlotNo>, u64)> = BTreeMap::new();
    for (slot, record) in view.slots.iter().enumerate() {
        let (slots, epoch) = owners.entry(record.as_ref().map(|record| &record.owner)).or_default();
        slots.push(slot as SlotNo);
        *epoch = record.as_ref().map_or(*epoch, |record| record.epoch.max(*epoch));
    }
    let mut grid = Grid::new(&["owner", "lives", "count", "epochMax", "slots"]);
    for (owner, (slots, epoch)) in owners {
        let lives = owner.is_some_and(|owner| view.nodes.contains_key(owner));
        let owner = owner.map_or("(nobody yet)", NodeId::as_str);
        let ranges = ranges(&slots);
        grid.row(vec![json!(owner), json!(lives), json!(slots.len()), json!(epoch), json!(ranges)]);
    }
    grid
}

fn ranges(slots: &[SlotNo]) -> String {
    let mut text: Vec<String> = Vec::new();
    for run in slots.chunk_by(|a, b| a + 1 == *b) {
        match run {
            [one] => text.push(one.to_string()),
            [first, .., last] => text.push(format!("{first}-{last}")),
            [] => {}
        }
    }
    text.join(",")
}

async fn rooms(peers: &Peers, view: &View, limit: u32) -> Result<Grid, String> {
    let mut all = Vec::new();
    for node in view.room_servers() {
        let reply = peers.ask(node, ANSWER_WITHIN, |mut peer| async move {
            peer.rooms(RoomsRequest { limit }).await
        });
        all.extend(reply.await?.rooms.into_iter().map(|room| (node.id.clone(), room)));
    }
    all.sort_by(|(_, a), (_, b)| b.edges.cmp(&a.edges).then_with(|| b.present.cmp(&a.present)));
    let mut grid = Grid::new(&["room", "node", "slot", "head", "posts", "present", "edges"]);
    for (node, room) in all {
        grid.row(vec![
            json!(room.room),
            json!(node.as_str()),
            json!(room.slot),
            json!(room.head),
            json!(room.ordinal),
            json!(room.present),
            json!(room.edges),
        ]);
    }
    Ok(grid)
}

async fn drain(peers: &Peers, view: &View, id: &str) -> Result<String, String> {
    let node = room_server(view, id)?;
    let reply = peers
        .ask(node, DRAIN_WITHIN, |mut peer| async move { peer.drain(DrainRequest {}).await })
        .await?;
    match reply.left {
        0 => Ok(format!("{id} has given all its slots away.")),
        left => Err(format!("{id} could not give {left} slots away; its log says why")),
    }
}

async fn move_slot(peers: &Peers, view: &View, slot: SlotNo, to: &str) -> Result<String, String> {
    let taker = room_server(view, to)?;
    let record = view.slots.get(slot as usize).ok_or_else(|| {
        format!("there is no slot {slot}; this cluster has {}", view.slot_count())
    })?;
    let record = record.as_ref().ok_or_else(|| {
        format!("nobody owns slot {slot} yet; it is claimed when one of its rooms is spoken to")
    })?;
    if record.owner == taker.id {
        return Ok(format!("{to} owns slot {slot} already."));
    }
    let owner = room_server(view, record.owner.as_str())?;
    let epoch = peers.give(owner, slot, &taker.id).await?;
    Ok(format!("{to} owns slot {slot} now, at epoch {epoch}."))
}

async fn rebalance(peers: &Peers, view: &View) -> Result<String, String> {
    let moves = plan::plan(view);
    for (done, one) in moves.iter().enumerate() {
        let owner = room_server(view, one.from.as_str())?;
        peers.give(owner, one.slot, &one.to).await.map_err(|error| {
            format!("{error}; {done} of {} slots were moved, the rest stayed", moves.len())
        })?;
    }
    Ok(match moves.len() {
        0 => "Every room server has its share already.".to_owned(),
        count => format!("{count} slots were moved."),
    })
}

fn room_server<'a>(view: &'a View, id: &str) -> Result<&'a Node, String> {
    view.room_servers().find(|node| node.id.as_str() == id).ok_or_else(|| {
        let known: Vec<&str> = view.room_servers().map(|node| node.id.as_str()).collect();
        format!("there is no room server {id:?}; there are: {}", known.join(", "))
    })
}

/// The way to the nodes themselves.
struct Peers(Dialer);

impl Peers {
    fn new(cluster: &ClusterSettings) -> Result<Peers, String> {
        let key = cluster.cluster_key.clone().ok_or(
            "this asks the nodes themselves, which want the cluster's key: pass --cluster-key-file",
        )?;
        Ok(Peers(Dialer::new(key)))
    }

    async fn ask<T, F>(
        &self,
        node: &Node,
        within: Duration,
        call: impl FnOnce(PeerClient<Channel>) -> F,
    ) -> Result<T, String>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let answer = tokio::time::timeout(within, call(PeerClient::new(self.0.dial(node)))).await;
        match answer {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(format!("{} at {}: {}", node.id, node.link, status.message())),
            Err(_) => Err(format!("{} at {} does not answer", node.id, node.link)),
        }
    }

    async fn give(&self, owner: &Node, slot: SlotNo, to: &NodeId) -> Result<u64, String> {
        let request = MoveRequest { slot, to: to.as_str().to_owned() };
        let reply =
            self.ask(owner, ANSWER_WITHIN, |mut peer| async move { peer.r#move(request).await });
        Ok(reply.await?.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_told_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[]), "");
    }
}
