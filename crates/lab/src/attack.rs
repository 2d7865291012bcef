//! Faults drawn from a seed, one after the other, while people talk.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;
use lab::{Cluster, Fault, Kind, Plan, Signal, Way};
use tokio::time::{Instant, sleep};

use crate::Size;
use crate::events::Events;
use crate::up::say;
use crate::verify::{Load, Verify};

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

/// One fault and how long it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Strike {
    Redeploy(usize),
    Kill(usize, Duration),
    Pause(usize, Duration),
    /// Others' way to a room server.
    CutLink(usize, Way, Duration),
    CutEtcd(usize, Way, Duration),
    CutJournal(usize, Way, Duration),
    KillEtcdLeader(Duration),
    PauseEtcdLeader(Duration),
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
            events.tell("kill -9 PostgreSQL's primary");
            cluster.postgres.kill(0).await;
            cluster.postgres.promote().await?;
            events.tell("the standby is promoted");
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

/// What happens next. Nothing lasts longer than `left`.
fn draw(rng: &mut Rng, cluster: &Cluster, left: Duration) -> Strike {
    let node = rng.usize(0..cluster.nodes.len());
    let room = rng.usize(0..cluster.of(Kind::Room).count());
    // Short ones are common, long ones happen: 0.1 to 30 s, the logarithm even.
    let lasts = Duration::from_secs_f64(0.1 * 300f64.powf(rng.f64())).min(left);
    let way = *rng
        .choice(&[Way::Silent, Way::ThereOnly, Way::BackOnly, Way::Reset])
        .unwrap_or(&Way::Silent);
    match rng.u32(0..10) {
        0 | 1 => Strike::Redeploy(node),
        2 | 3 => Strike::Kill(node, lasts.min(Duration::from_secs(3))),
        4 | 5 => Strike::Pause(node, lasts),
        6 => Strike::CutLink(room, way, lasts),
        7 => Strike::CutEtcd(node, way, lasts),
        8 => Strike::CutJournal(room, way, lasts),
        _ if rng.bool() => Strike::KillEtcdLeader(lasts.min(Duration::from_secs(5))),
        _ => Strike::PauseEtcdLeader(lasts.min(Duration::from_secs(10))),
    }
}

async fn carry_out(
    cluster: &mut Cluster,
    events: &mut Events,
    strike: Strike,
) -> Result<(), Fault> {
    match strike {
        Strike::Redeploy(index) => {
            events.tell(&format!("{} is redeployed", cluster.nodes[index].name));
            cluster.nodes[index].leave().await?;
            cluster.restart(index).await?;
        }
        Strike::Kill(index, away) => {
            events.tell(&format!("kill -9 {}", cluster.nodes[index].name));
            cluster.nodes[index].kill().await;
            sleep(away).await;
            cluster.restart(index).await?;
        }
        Strike::Pause(index, lasts) => {
            events.tell(&format!(
                "{} is stopped for {:.1} s",
                cluster.nodes[index].name,
                lasts.as_secs_f64()
            ));
            signal(cluster, index, Signal::STOP);
            sleep(lasts).await;
            signal(cluster, index, Signal::CONT);
        }
        Strike::CutLink(index, way, lasts) => {
            cut(cluster, events, index, "its link", way, lasts).await
        }
        Strike::CutEtcd(index, way, lasts) => cut(cluster, events, index, "etcd", way, lasts).await,
        Strike::CutJournal(index, way, lasts) => {
            cut(cluster, events, index, "the journal", way, lasts).await
        }
        Strike::KillEtcdLeader(away) => {
            let leader = cluster.etcd.leader().await.unwrap_or(0);
            events.tell("kill -9 the leader of etcd");
            cluster.etcd.kill(leader).await;
            sleep(away).await;
            cluster.etcd.restart(leader)?;
        }
        Strike::PauseEtcdLeader(lasts) => {
            let leader = cluster.etcd.leader().await.unwrap_or(0);
            events.tell(&format!("the leader of etcd is stopped for {:.1} s", lasts.as_secs_f64()));
            if let Some(member) = cluster.etcd.member(leader) {
                member.signal(Signal::STOP);
                sleep(lasts).await;
                member.signal(Signal::CONT);
            }
        }
    }
    Ok(())
}

fn signal(cluster: &mut Cluster, index: usize, signal: Signal) {
    if let Some(process) = cluster.nodes[index].process() {
        process.signal(signal);
    }
}

async fn cut(
    cluster: &Cluster,
    events: &mut Events,
    index: usize,
    from: &str,
    way: Way,
    lasts: Duration,
) {
    let node = &cluster.nodes[index];
    let Some(wires) = &node.wires else { return };
    events.tell(&format!(
        "{} is cut off from {from} ({way:?}) for {:.1} s",
        node.name,
        lasts.as_secs_f64()
    ));
    let set = |way| match from {
        "its link" => wires.link.iter().for_each(|wire| wire.set(way)),
        "etcd" => wires.etcd.iter().for_each(|wire| wire.set(way)),
        _ => wires.postgres.iter().for_each(|wire| wire.set(way)),
    };
    set(way);
    sleep(lasts).await;
    set(Way::Open);
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
