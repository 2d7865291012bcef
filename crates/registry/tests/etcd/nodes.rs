//! Making a cluster, entering and leaving it.

use std::time::Instant;

use cluster::{Load, Node, Registry};
use registry::etcd::{Constants, Etcd, OpenError};

use crate::gate::{Gate, Way};
use crate::members::Etcds;
use crate::{PATIENCE, constants, id, made, names, node, seen, settings, swapped, until};

#[tokio::test]
async fn a_cluster_is_made_once() {
    let etcds = Etcds::start(1).await;
    let opened = Etcd::open(settings(etcds.urls()), node("n1")).await;
    assert!(matches!(opened, Err(OpenError::NotMade(_))), "{opened:?}");

    Etcd::init(settings(etcds.urls()), constants()).await.expect("made");
    Etcd::init(settings(etcds.urls()), constants()).await.expect("made already, so");
    let other = Constants { cluster_id: "c2".to_owned(), ..constants() };
    let again = Etcd::init(settings(etcds.urls()), other).await;
    assert_eq!(again, Err(OpenError::Made(Box::new(constants()))));

    let one = Etcd::open(settings(etcds.urls()), node("n1")).await.expect("opened");
    assert_eq!(*one.constants(), constants());
    assert_eq!(one.view().slot_count(), 64);
    assert_eq!(names(&one.view()), ["n1"], "it finds itself in its first view");
}

#[tokio::test]
async fn a_cluster_that_cannot_be_served_and_one_that_cannot_be_reached_are_told_apart() {
    let etcds = Etcds::start(1).await;
    let strange = r#"{"clusterId":"c","slots":64,"slotHash":"md5","recordFormat":1}"#;
    etcds.put("/parlour/main/constants", strange).await;
    let opened = Etcd::observe(settings(etcds.urls())).await;
    assert!(matches!(opened, Err(OpenError::Foreign(_))), "{opened:?}");

    let nobody = Etcd::observe(settings(vec!["http://127.0.0.1:1".to_owned()])).await;
    assert!(matches!(nobody, Err(OpenError::Unreachable(_))), "{nobody:?}");
    let wrong = Etcd::observe(settings(Vec::new())).await;
    assert!(matches!(wrong, Err(OpenError::Settings(_))), "{wrong:?}");
}

#[tokio::test]
async fn nodes_come_say_things_of_themselves_and_go() {
    let etcds = Etcds::start(1).await;
    let one = made(etcds.urls(), "n1").await;
    let watcher = Etcd::observe(settings(etcds.urls())).await.expect("opened");
    let two = Etcd::open(settings(etcds.urls()), node("n2")).await.expect("opened");
    seen(&one, "both", |view| names(view) == ["n1", "n2"]).await;
    seen(&watcher, "both", |view| names(view) == ["n1", "n2"]).await;

    let busy = Node { load: Load { sessions: 7, sessions_max: 100 }, draining: true, ..node("n2") };
    two.announce(busy.clone()).await.expect("taken");
    seen(&watcher, "what it said", |view| view.nodes[&id("n2")] == busy).await;
    assert!(two.announce(node("n1")).await.is_err(), "of itself only");
    assert!(watcher.announce(node("n3")).await.is_err(), "it only reads");

    let record = swapped(&two, 1, 0, 1).await;
    two.leave().await.expect("taken");
    seen(&watcher, "that it left", |view| names(view) == ["n1"]).await;
    assert!(two.swap(1, record.revision, 2).await.is_err(), "it has left");
    assert!(two.announce(busy).await.is_err(), "it has left");
    two.leave().await.expect("no error to leave twice");
    assert_eq!(etcds.get("/parlour/main/nodes/n2").await, None);
}

#[tokio::test]
async fn of_many_things_said_at_once_the_last_one_stands() {
    let etcds = Etcds::start(1).await;
    let one = made(etcds.urls(), "n1").await;
    let said = |sessions| Node { load: Load { sessions, sessions_max: 999 }, ..node("n1") };
    let all = futures_util::future::join_all((1..=50).map(|n| one.announce(said(n)))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    seen(&one, "the last", |view| view.nodes[&id("n1")].load.sessions == 50).await;
}

#[tokio::test]
async fn an_id_that_a_living_process_holds_is_refused_and_a_dead_ones_is_waited_for() {
    let etcds = Etcds::start(1).await;
    let one = made(etcds.urls(), "n1").await;
    let second = Etcd::open(settings(etcds.urls()), node("n1")).await;
    assert_eq!(second.err(), Some(OpenError::Taken(id("n1"))));
    swapped(&one, 1, 0, 1).await;

    // As if it had been killed: nothing is revoked.
    drop(one);
    let began = Instant::now();
    let again = Etcd::open(settings(etcds.urls()), node("n1")).await.expect("opened");
    assert!(began.elapsed() < PATIENCE);
    swapped(&again, 2, 0, 1).await;
}

#[tokio::test]
async fn a_node_whose_key_is_deleted_comes_back_by_itself_with_what_it_said_last() {
    let etcds = Etcds::start(1).await;
    let one = made(etcds.urls(), "n1").await;
    let last = Node { draining: true, ..node("n1") };
    one.announce(last.clone()).await.expect("taken");
    // Its lease lives on, so that no sign of life tells.
    etcds.delete("/parlour/main/nodes/n1").await;
    until("the key is back", || etcds.get("/parlour/main/nodes/n1")).await;
    seen(&one, "what it said", |view| view.nodes.get(&id("n1")) == Some(&last)).await;
    until("registered", || async { one.is_registered().then_some(()) }).await;
    swapped(&one, 1, 0, 1).await;
}

#[tokio::test]
async fn what_was_said_long_ago_and_arrives_late_changes_nothing() {
    let etcds = Etcds::start(1).await;
    let far = Gate::new(Way::To(etcds.at(0))).await;
    let near = Gate::new(Way::Shut).await;
    let one = made(vec![far.url(), near.url()], "n1").await;
    until("it follows", || async { one.is_following().then_some(()) }).await;

    // What comes first after the gate is turned is held back; nearly always that is the announcement.
    near.turn(Way::To(etcds.at(0)));
    far.turn(Way::Late(etcds.at(0)));
    one.announce(Node { weight: 2, ..node("n1") }).await.expect("taken, by the other way");
    let last = Node { weight: 3, draining: true, ..node("n1") };
    one.announce(last.clone()).await.expect("taken");
    far.turn(Way::To(etcds.at(0)));
    far.delivered().await;
    etcds.put("/parlour/main/slots/1", r#"{"owner":"n2","epoch":1}"#).await;
    seen(&one, "what came after", |view| view.slot(1).is_some()).await;
    assert_eq!(one.view().nodes[&id("n1")], last);
}
