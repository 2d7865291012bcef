//! Faults drawn from a seed.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use crate::{Cluster, Events, Fault, Kind, Signal, Way};

/// One fault and how long it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// A node is asked to leave and started again.
    Redeploy(usize),
    /// `kill -9`; it stays away so long.
    Kill(usize, Duration),
    /// It is stopped, and goes on later as if nothing had been.
    Pause(usize, Duration),
    /// Others' way to a room server.
    CutLink(usize, Way, Duration),
    /// A node's way to etcd.
    CutEtcd(usize, Way, Duration),
    /// A room server's way to PostgreSQL.
    CutJournal(usize, Way, Duration),
    /// etcd elects another.
    KillEtcdLeader(Duration),
    /// Nobody is told that it does not answer.
    PauseEtcdLeader(Duration),
}

/// What happens next. Nothing lasts longer than `left`.
pub fn draw(rng: &mut Rng, cluster: &Cluster, left: Duration) -> Strike {
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

/// Does it, and undoes it when its time is over.
///
/// # Errors
/// When something does not leave or start.
pub async fn carry_out(
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
