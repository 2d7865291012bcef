//! Faults drawn from a seed, one after the other, while people talk.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;
use lab::{Cluster, Events, Fault, Load, Plan, Verify, carry_out, draw, kill_primary};
use tokio::time::{Instant, sleep};

use crate::Size;
use crate::up::say;

/// People talk undisturbed before the first fault and after the last.
const QUIET: Duration = Duration::from_secs(3);
/// A run at least so long also loses all of etcd for a minute, and PostgreSQL's primary.
const LONG: u64 = 240;
/// How long all members of etcd are down in a long run.
const ETCD_DOWN: Duration = Duration::from_secs(60);

/// The arguments of `parlour-lab attack`.
#[derive(Debug, Args)]
pub(crate) struct AttackArgs {
    #[command(flatten)]
    size: Size,
    #[command(flatten)]
    load: Load,
    /// What happens is a function of this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

pub(crate) async fn run(args: &AttackArgs) -> Result<ExitCode, Fault> {
    let folder = args.size.folder()?;
    let plan = Plan { wires: true, ..args.size.plan(&folder)? };
    let parlour = plan.parlour.clone();
    let mut cluster = Cluster::start(plan, say).await?;
    println!("\n");
    let mut events = Events::to(&folder.path.join("events.jsonl"))?;
    let mut verify = Verify::start(&parlour, &cluster, &folder.path, &args.load, args.seconds)?;
    let ends = Instant::now() + Duration::from_secs(args.seconds).saturating_sub(QUIET);
    events.tell(&format!("people talk; seed {}", args.seed));
    sleep(QUIET).await;

    let mut rng = Rng::with_seed(args.seed);
    if args.seconds >= LONG {
        lose_etcd(&mut cluster, &mut events).await?;
    }
    let mut primary_lives = args.seconds >= LONG;
    let middle = Instant::now() + ends.saturating_duration_since(Instant::now()) / 2;
    while Instant::now() < ends && !verify.is_over() {
        if primary_lives && Instant::now() > middle {
            primary_lives = false;
            kill_primary(&mut cluster, &mut events).await?;
        }
        let left = ends.saturating_duration_since(Instant::now());
        let strike = draw(&mut rng, &cluster, left);
        carry_out(&mut cluster, &mut events, strike).await?;
        sleep(Duration::from_millis(rng.u64(200..2_500)).min(left)).await;
    }
    events.tell("the last fault is over");
    let (report, held) = verify.verdict().await?;
    println!("\n{report}");
    if !held && args.size.keep.is_none() {
        println!("To look at the logs, run seed {} again with --keep DIR.", args.seed);
    }
    cluster.leave().await?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn lose_etcd(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
    events.tell("kill -9 all members of etcd");
    for index in 0..cluster.etcd.len() {
        cluster.etcd.kill(index).await;
    }
    sleep(ETCD_DOWN).await;
    for index in 0..cluster.etcd.len() {
        cluster.etcd.restart(index)?;
    }
    cluster.etcd.ready().await?;
    events.tell("etcd is back");
    Ok(())
}
