//! What is done to a cluster, step by step, as operators and accidents do it.

use std::time::Duration;

use tokio::time::sleep;

use crate::{Cluster, Events, Fault, Kind};

/// Quiet time between two steps, so that a picture shows what belongs to which.
const BETWEEN: Duration = Duration::from_secs(2);
/// How long a killed process stays away.
const AWAY: Duration = Duration::from_secs(2);

/// Edges first: nobody is left on an edge that does not know the newer room servers.
fn order(cluster: &Cluster) -> Vec<usize> {
    let (edges, rooms): (Vec<usize>, Vec<usize>) =
        (0..cluster.nodes.len()).partition(|index| cluster.nodes[*index].kind == Kind::Edge);
    edges.into_iter().chain(rooms).collect()
}

/// Asks every process to leave and starts it again, one after the other.
///
/// # Errors
/// When something does not leave, start or take over.
pub async fn redeploy_all(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
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

/// Kills every process and starts it again, one after the other.
///
/// # Errors
/// When something does not leave, start or take over.
pub async fn kill_all(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
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

/// Kills the member of etcd that leads, and starts it again.
///
/// # Errors
/// When something does not leave, start or take over.
pub async fn kill_etcd_leader(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
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

/// Kills PostgreSQL's primary for good, and promotes the standby.
///
/// # Errors
/// When something does not leave, start or take over.
pub async fn kill_primary(cluster: &mut Cluster, events: &mut Events) -> Result<(), Fault> {
    events.tell("kill -9 PostgreSQL's primary");
    cluster.postgres.kill(0).await;
    cluster.postgres.promote().await?;
    events.tell("the standby is promoted");
    Ok(())
}
