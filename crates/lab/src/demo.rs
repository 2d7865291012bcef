//! `make demo`: every process in turn is redeployed, then killed, while people talk.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lab::{Cluster, Fault, Kind};
use tokio::process::Command;
use tokio::time::sleep;

use crate::Size;
use crate::events::Events;
use crate::up::say;
use crate::verify::{Load, Verify};

/// Quiet time between two events, so that the picture shows what belongs to which.
const BETWEEN: Duration = Duration::from_secs(2);
/// How long a killed process stays away.
const AWAY: Duration = Duration::from_secs(2);
/// How long all events take at most; people go on talking that long.
const SECONDS: u64 = 75;

/// The arguments of `parlour-lab demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    size: Size,
    #[command(flatten)]
    load: Load,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = "demo.svg")]
    picture: PathBuf,
}

pub(crate) async fn run(args: &DemoArgs) -> Result<ExitCode, Fault> {
    let folder = args.size.folder()?;
    let plan = args.size.plan(&folder)?;
    let parlour = plan.parlour.clone();
    let mut cluster = Cluster::start(plan, say).await?;
    println!("\n");
    let events_file = folder.path.join("events.jsonl");
    let mut events = Events::to(&events_file)?;
    let verify = Verify::start(&parlour, &cluster, &folder.path, &args.load, SECONDS)?;
    let timeline = verify.timeline.clone();
    events.tell("people talk");
    sleep(BETWEEN * 2).await;

    redeploy_all(&mut cluster, &mut events).await?;
    kill_all(&mut cluster, &mut events).await?;
    kill_etcd_leader(&mut cluster, &mut events).await?;
    kill_primary(&mut cluster, &mut events).await?;

    let (report, held) = verify.verdict().await?;
    println!("\n{report}");
    draw(&parlour, &timeline, &events_file, &args.picture).await?;
    println!("The picture is {}.", args.picture.display());
    cluster.leave().await?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Edges first: nobody is left on an edge that does not know the newer room servers.
fn order(cluster: &Cluster) -> Vec<usize> {
    let (edges, rooms): (Vec<usize>, Vec<usize>) =
        (0..cluster.nodes.len()).partition(|index| cluster.nodes[*index].kind == Kind::Edge);
    edges.into_iter().chain(rooms).collect()
}

async fn redeploy_all(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
    for index in order(cluster) {
        let name = cluster.nodes[index].name.clone();
        events.tell(&format!("{name} is redeployed"));
        cluster.nodes[index].leave().await?;
        cluster.restart(index).await?;
        events.tell(&format!("{name} is back"));
        sleep(BETWEEN).await;
    }
    Ok(())
}

async fn kill_all(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
    for index in order(cluster) {
        let name = cluster.nodes[index].name.clone();
        events.tell(&format!("kill -9 {name}"));
        cluster.nodes[index].kill().await;
        sleep(AWAY).await;
        cluster.restart(index).await?;
        events.tell(&format!("{name} is back"));
        sleep(BETWEEN).await;
    }
    Ok(())
}

async fn kill_etcd_leader(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
    let leader = cluster.etcd.leader().await.unwrap_or(0);
    events.tell("kill -9 the leader of etcd");
    cluster.etcd.kill(leader).await;
    sleep(AWAY).await;
    cluster.etcd.restart(leader)?;
    cluster.etcd.ready().await?;
    events.tell("etcd is whole again");
    sleep(BETWEEN).await;
    Ok(())
}

async fn kill_primary(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
    events.tell("kill -9 PostgreSQL's primary");
    cluster.postgres.kill(0).await;
    cluster.postgres.promote().await?;
    events.tell("the standby is promoted");
    Ok(())
}

async fn draw(parlour: &Path, timeline: &Path, events: &Path, picture: &Path) -> Result<(), Fault> {
    let mut command = Command::new(parlour);
    command.args(["verify", "draw", "--picture"]).arg(picture);
    command.arg("--timeline").arg(timeline).arg("--events").arg(events);
    match command.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Fault::new(format!("the picture was not drawn: {status}"))),
        Err(error) => Err(Fault::new(format!("the picture was not drawn: {error}"))),
    }
}
