//! The lab's own parts, on the real programs.

use std::time::Duration;

use lab::{Etcd, Postgres, Proxy, Signal, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn three_members_of_etcd_elect_a_leader_and_another_when_it_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut etcd = Etcd::start(folder.path(), 3).await.expect("started");
    let first = etcd.leader().await.expect("a leader");
    etcd.kill(first).await;
    let second = timeout(SOON, async {
        loop {
            if let Some(leader) = etcd.leader().await.filter(|leader| *leader != first) {
                break leader;
            }
        }
    });
    assert_ne!(second.await.expect("in time"), first);
    etcd.restart(first).expect("started");
    etcd.ready().await.expect("all answer");
}

#[tokio::test]
async fn what_was_committed_before_the_primary_was_killed_is_on_the_promoted_standby() {
    // PostgreSQL runs as another user and has to get into the folder.
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a folder");
    let mut postgres = Postgres::start(folder.path(), true).await.expect("started");
    postgres.sql(0, "parlour", "CREATE TABLE t (i int)").await.expect("made");
    postgres.sql(0, "parlour", "INSERT INTO t VALUES (7)").await.expect("committed");
    postgres.kill(0).await;
    postgres.promote().await.expect("promoted");
    let found = postgres.sql(1, "parlour", "SELECT i FROM t").await.expect("read");
    assert_eq!(found.trim(), "7");
    postgres.sql(1, "parlour", "INSERT INTO t VALUES (8)").await.expect("it takes writes");
}

#[tokio::test]
async fn a_process_that_was_stopped_goes_on_and_one_that_was_killed_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut etcd = Etcd::start(folder.path(), 1).await.expect("started");
    let member = etcd.member(0).expect("runs");
    member.signal(Signal::STOP);
    assert!(member.is_running());
    member.signal(Signal::CONT);
    etcd.ready().await.expect("it answers again");
    let member = etcd.member(0).expect("runs");
    member.kill().await;
    assert!(!member.is_running());
}

#[tokio::test]
async fn a_wire_is_cut_one_way_both_ways_and_for_good() {
    let target = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let proxy = Proxy::start(target.local_addr().expect("bound")).await.expect("a proxy");
    let mut near = TcpStream::connect(proxy.address).await.expect("taken");
    let (mut far, _) = target.accept().await.expect("forwarded");

    let mut byte = [0];
    near.write_all(b"a").await.expect("sent");
    far.read_exact(&mut byte).await.expect("arrived");

    proxy.set(Way::ThereOnly);
    far.write_all(b"b").await.expect("sent");
    near.write_all(b"c").await.expect("sent");
    far.read_exact(&mut byte).await.expect("arrived");
    let nothing = timeout(Duration::from_millis(50), near.read_exact(&mut byte)).await;
    assert!(nothing.is_err(), "the way back is closed");

    proxy.set(Way::Open);
    near.read_exact(&mut byte).await.expect("what waited arrives");
    assert_eq!(&byte, b"b");

    proxy.set(Way::Reset);
    assert!(matches!(near.read(&mut byte).await, Ok(0) | Err(_)));
}
