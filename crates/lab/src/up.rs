//! `parlour-lab up`: a cluster to try.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use lab::{Cluster, Fault, Kind};
use tokio::time::sleep;

use crate::Size;

/// How often it is looked whether all nodes run.
const LOOK: Duration = Duration::from_millis(500);
/// How long a node that ended stays away.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(size: &Size) -> Result<ExitCode, Fault> {
    let folder = size.folder()?;
    let plan = size.plan(&folder)?;
    let mut cluster = tokio::select! {
        started = Cluster::start(plan, say) => started?,
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::FAILURE),
    };
    println!("\n");
    greet(&cluster);
    println!("Logs: {}\nStop: Ctrl-C", folder.path.display());
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = bring_back(&mut cluster) => {}
    }
    println!("\nstopping");
    cluster.leave().await.map(|()| ExitCode::SUCCESS)
}

/// Says what is being started, on one line.
pub(crate) fn say(what: &str) {
    print!("{what} … ");
    // A closed pipe is not our trouble.
    let _ = std::io::stdout().flush();
}

fn greet(cluster: &Cluster) {
    println!("A cluster of {} nodes is running:", cluster.nodes.len());
    for node in &cluster.nodes {
        match node.kind {
            Kind::Room => {
                println!("  {:8}  room server, gRPC on {}", node.name, node.grpc_address())
            }
            Kind::Edge => println!(
                "  {:8}  edge, WebSocket on {}, gRPC on {}, gateway {}/v1/connect",
                node.name,
                node.ws_url(),
                node.grpc_address(),
                node.http_url()
            ),
        }
    }
    println!("  etcd      {}", cluster.etcd.urls().join(","));
    println!("  journal   {}\n", cluster.postgres.url());
    let edges: Vec<_> = cluster.of(Kind::Edge).collect();
    let rooms: Vec<_> = cluster.of(Kind::Room).collect();
    if let ([first, ..], [.., last], [room, ..]) = (&edges[..], &edges[..], &rooms[..]) {
        println!("Try, in other terminals:");
        println!("  python3 examples/chat.py Ann lobby {}", first.ws_url());
        println!("  python3 examples/chat.py Bob lobby {}", last.ws_url());
        println!(
            "  grpcurl -plaintext -H 'parlour-name: Cleo' -d '{{\"room\":\"lobby\",\"post\":{{\"text\":\"hello\"}}}}' {} parlour.v1.Chat/Publish",
            room.grpc_address()
        );
        println!("  curl {}/v1/connect", first.http_url());
        println!(
            "  parlour verify --url {} --url {} --rooms 10 --clients 50 --rate 200 --seconds 60",
            first.http_url(),
            last.http_url()
        );
        println!("and while that runs, move everything away from a room server, or kill it:");
        println!("  parlour admin nodes {}", cluster.admin_flags());
        println!("  parlour admin drain {} {}", room.id(), cluster.admin_flags());
    }
}

/// Does what a supervisor does: a node that ended, by whatever cause, is started again after a moment.
async fn bring_back(cluster: &mut Cluster) {
    loop {
        sleep(LOOK).await;
        for index in 0..cluster.nodes.len() {
            let node = &mut cluster.nodes[index];
            if node.process().is_some_and(|process| process.is_running()) {
                continue;
            }
            let name = node.name.clone();
            println!("{name} has ended; the others go on, and it is started again");
            sleep(PAUSE).await;
            match cluster.restart(index).await {
                Ok(()) => println!("{name} is back"),
                Err(fault) => eprintln!("{fault}"),
            }
        }
    }
}
