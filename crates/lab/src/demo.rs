//! `make demo`: every process in turn is redeployed, then killed, while people talk.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use lab::{
    Cluster, Events, Fault, Load, Verify, kill_all, kill_etcd_leader, kill_primary, redeploy_all,
};
use tokio::process::Command;
use tokio::time::sleep;

use crate::Size;
use crate::up::say;

/// People talk undisturbed before the first step.
const QUIET: Duration = Duration::from_secs(4);
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
    sleep(QUIET).await;

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
