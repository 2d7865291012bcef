//! A cluster of real processes: etcd, PostgreSQL, room servers and edges, as an operator runs them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use fastrand::Rng;
use lab::{Cluster, Events, Kind, Load, Plan, Verify, carry_out, draw, kill_primary, redeploy_all};
use serde_json::Value;
use tokio::process::Command;

/// How long anything may take before a test calls it stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that PostgreSQL, which may run as another user, can enter.
fn folder() -> tempfile::TempDir {
    let open = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(open).tempdir().expect("a folder")
}

fn plan(folder: &Path) -> Plan {
    Plan {
        parlour: PathBuf::from(env!("CARGO_BIN_EXE_parlour")),
        folder: folder.to_owned(),
        etcd: 1,
        standby: false,
        rooms: 2,
        edges: 1,
        wires: false,
        extra: ["--set", "limits.sessions_per_address_max=20000"].map(str::to_owned).into(),
    }
}

fn nothing(_: &str) {}

/// What grpcurl prints for one call.
async fn call(address: &str, method: &str, request: &str) -> Value {
    let output = Command::new("grpcurl")
        .args(["-plaintext", "-H", "parlour-name: Ann", "-d", request, address])
        .arg(format!("parlour.v1.Chat/{method}"))
        .output()
        .await
        .expect("grpcurl is on the PATH; `make tools` puts it there");
    let Output { status, stdout, stderr } = output;
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{method} at {address}: {said}");
    serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

async fn admin(cluster: &Cluster, args: &[&str]) -> Value {
    let printed = cluster.admin(&[args, &["--json"]].concat()).await.expect("admin works");
    serde_json::from_str(&printed).unwrap_or(Value::String(printed))
}

/// The owners of slots, and how many each has.
async fn owners(cluster: &Cluster) -> Vec<(String, u64)> {
    let slots = admin(cluster, &["slots"]).await;
    let rows = slots.as_array().expect("rows").iter();
    let owned = rows.map(|row| {
        let owner = row["owner"].as_str().expect("a name").to_owned();
        (owner, row["count"].as_u64().expect("a number"))
    });
    owned.filter(|(owner, _)| !owner.starts_with('(')).collect()
}

#[tokio::test]
async fn any_node_answers_for_any_room_and_operators_see_and_move_what_is_there() {
    let folder = folder();
    let cluster = Cluster::start(plan(folder.path()), nothing).await.expect("it starts");
    let addresses: Vec<String> = cluster.nodes.iter().map(lab::Node::grpc_address).collect();
    for (number, address) in addresses.iter().enumerate() {
        for room in 0..4 {
            let request = format!(
                r#"{{"room":"team:{room}","id":"from-{number}-{room}","post":{{"text":"from {number}"}}}}"#
            );
            let published = call(address, "Publish", &request).await;
            assert_eq!(published["seq"], (number + 1).to_string(), "{published}");
        }
    }
    for address in &addresses {
        let history = call(address, "History", r#"{"room":"team:2"}"#).await;
        let texts: Vec<&str> = history["posts"]
            .as_array()
            .expect("posts")
            .iter()
            .map(|post| post["post"]["text"].as_str().expect("a text"))
            .collect();
        assert_eq!(texts, ["from 0", "from 1", "from 2"]);
    }

    let nodes = admin(&cluster, &["nodes"]).await;
    assert_eq!(nodes.as_array().expect("rows").len(), 3, "{nodes}");
    let rooms = admin(&cluster, &["rooms"]).await;
    let open = rooms.as_array().expect("rows").iter().filter(|row| row["posts"] == 3).count();
    assert_eq!(open, 4, "{rooms}");

    // Everything to one of them, and on from there.
    let (giver, taker) = (cluster.nodes[0].id(), cluster.nodes[1].id());
    admin(&cluster, &["drain", &giver]).await;
    let after = owners(&cluster).await;
    assert!(after.iter().all(|(owner, _)| *owner == taker), "{after:?}");
    let refused = cluster.admin(&["move", "0", "nobody"]).await.expect_err("there is no such node");
    assert!(refused.to_string().contains(&taker), "{refused}");
    for address in &addresses {
        let again = r#"{"room":"team:1","id":"from-0-1","post":{"text":"from 0"}}"#;
        let published = call(address, "Publish", again).await;
        assert_eq!((&published["seq"], &published["duplicate"]), (&"1".into(), &true.into()));
    }
    cluster.leave().await.expect("every process leaves with 0");
}

#[tokio::test]
async fn who_has_another_key_is_no_node_and_who_lacks_one_is_told() {
    let folder = folder();
    let cluster = Cluster::start(plan(folder.path()), nothing).await.expect("it starts");
    let other = folder.path().join("other.key");
    std::fs::write(&other, [b'x'; 40]).expect("written");
    let asked = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_parlour"))
        .args(["admin", "drain", &cluster.nodes[0].id(), "--etcd", &cluster.etcd.urls().join(",")])
        .arg("--cluster-key-file")
        .arg(&other)
        .output()
        .await
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(asked.elapsed() < PATIENCE);
    let none =
        Command::new(env!("CARGO_BIN_EXE_parlour")).arg("room").output().await.expect("runs");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(2));
    for part in ["--etcd", "--journal", "cluster_key_file"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

/// People talk for so long while something is done; what the judge printed if all was kept.
async fn judged<F>(
    cluster: &mut Cluster,
    folder: &Path,
    seconds: u64,
    load: &Load,
    what: F,
) -> String
where
    F: AsyncFnOnce(&mut Cluster, &mut Events),
{
    let mut events = Events::to(&folder.join("events.jsonl")).expect("a file");
    let parlour = Path::new(env!("CARGO_BIN_EXE_parlour"));
    let verify = Verify::start(parlour, cluster, folder, load, seconds).expect("it starts");
    what(cluster, &mut events).await;
    let (report, kept) = verify.verdict().await.expect("a verdict");
    assert!(kept, "{report}");
    report
}

#[tokio::test]
async fn nothing_is_lost_while_every_process_is_redeployed_and_the_primary_is_killed() {
    let folder = folder();
    let plan = Plan { standby: true, rooms: 3, edges: 2, ..plan(folder.path()) };
    let mut cluster = Cluster::start(plan, nothing).await.expect("it starts");
    let load = Load { clients: 24, grpc_clients: 4, talk_in: 8, rate: 40 };
    let report = judged(&mut cluster, folder.path(), 25, &load, async |cluster, events| {
        redeploy_all(cluster, events).await.expect("every process leaves and comes back");
        kill_primary(cluster, events).await.expect("the standby takes over");
    });
    let report = report.await;
    let moves = report.lines().find(|line| line.starts_with("moves")).expect("a row");
    assert!(!moves.ends_with(" 0"), "sessions were moved while edges were redeployed: {report}");
}

#[tokio::test]
async fn nothing_is_lost_while_faults_are_drawn_from_a_seed() {
    const SEED: u64 = 7;
    let folder = folder();
    let plan = Plan { etcd: 3, rooms: 3, edges: 2, wires: true, ..plan(folder.path()) };
    let mut cluster = Cluster::start(plan, nothing).await.expect("it starts");
    let load = Load { clients: 24, grpc_clients: 4, talk_in: 8, rate: 40 };
    judged(&mut cluster, folder.path(), 30, &load, async |cluster, events| {
        let ends = Instant::now() + Duration::from_secs(27);
        let mut rng = Rng::with_seed(SEED);
        while Instant::now() < ends {
            let left = ends.saturating_duration_since(Instant::now());
            let strike = draw(&mut rng, cluster, left.min(Duration::from_secs(6)));
            carry_out(cluster, events, strike).await.expect("it is undone");
        }
    })
    .await;
    assert_eq!(cluster.of(Kind::Edge).count(), 2);
}
