//! etcd goes away, comes back, comes back without its history, or as another.

use std::time::Duration;

use cluster::{Node, Registry};
use registry::etcd::Etcd;

use crate::gate::{Gate, Way};
use crate::members::Etcds;
use crate::{
    constants, id, made, names, node, owner, seen, settings, swapped, swapped_at_last, until,
};

/// A node that reaches its etcd through a gate, and one that reaches it at all times.
struct Two {
    gate: Gate,
    cut: Etcd,
    well: Etcd,
}

async fn two(etcds: &Etcds) -> Two {
    let gate = Gate::new(Way::To(etcds.at(0))).await;
    let well = made(etcds.urls(), "well").await;
    let cut = Etcd::open(settings(vec![gate.url()]), node("cut")).await.expect("opened");
    until("it follows", || async { cut.is_following().then_some(()) }).await;
    seen(&well, "both", |view| names(view) == ["cut", "well"]).await;
    Two { gate, cut, well }
}

#[tokio::test]
async fn while_etcd_is_away_the_last_view_stands_and_then_it_goes_on() {
    let etcds = Etcds::start(1).await;
    let Two { gate, cut, well } = two(&etcds).await;
    let before = swapped(&cut, 1, 0, 1).await;
    gate.turn(Way::Shut);

    // Long enough for its lease to end, which the other one sees.
    seen(&well, "the lease's end", |view| names(view) == ["well"]).await;
    assert!(!cut.is_following());
    assert_eq!(names(&cut.view()), ["cut", "well"], "the view stands");
    assert!(cut.swap(2, 0, 1).await.is_err(), "etcd is away");
    let draining = Node { draining: true, ..node("cut") };
    assert!(cut.announce(draining.clone()).await.is_err(), "etcd is away");
    let taken = swapped(&well, 1, before.revision, 2).await;
    well.announce(Node { weight: 5, ..node("well") }).await.expect("taken");

    gate.turn(Way::To(etcds.at(0)));
    seen(&cut, "the takeover", |view| view.slot(1) == Some(&taken)).await;
    seen(&cut, "what was said", |view| view.nodes[&id("well")].weight == 5).await;
    seen(&well, "it comes back, and says what it could not", |view| {
        view.nodes.get(&id("cut")) == Some(&draining)
    })
    .await;
    swapped_at_last(&cut, 2, 0, 1).await;
}

#[tokio::test]
async fn history_that_was_compacted_away_meanwhile_is_made_up_for() {
    let etcds = Etcds::start(1).await;
    let Two { gate, cut, well } = two(&etcds).await;
    let old = swapped(&well, 9, 0, 1).await;
    seen(&cut, "the old owner", |view| view.slot(9) == Some(&old)).await;
    gate.turn(Way::Shut);
    let mut last = old;
    for epoch in 2..6 {
        last = swapped(&well, 9, last.revision, epoch).await;
    }
    etcds.delete("/parlour/main/slots/9").await;
    swapped(&well, 10, 0, 1).await;
    etcds.compact().await;

    gate.turn(Way::To(etcds.at(0)));
    let view = seen(&cut, "the new one", |view| owner(view, 10) == Some("well")).await;
    assert_eq!(view.slot(9), None, "a deletion that no event told of");
    swapped(&well, 11, 0, 1).await;
    seen(&cut, "what came after", |view| owner(view, 11) == Some("well")).await;
}

#[tokio::test]
async fn an_etcd_that_was_killed_goes_on_where_it_was() {
    let mut etcds = Etcds::start(1).await;
    let one = made(etcds.urls(), "n1").await;
    let first = swapped(&one, 1, 0, 1).await;
    etcds.kill(0);
    until("it notices", || async { (!one.is_following()).then_some(()) }).await;
    assert_eq!(names(&one.view()), ["n1"]);
    etcds.restart(0);
    let second = swapped_at_last(&one, 1, first.revision, 2).await;
    seen(&one, "its own swap", |view| view.slot(1) == Some(&second)).await;
    until("it follows", || async { one.is_following().then_some(()) }).await;
    etcds.put("/parlour/main/slots/2", r#"{"owner":"n2","epoch":8}"#).await;
    seen(&one, "what came after", |view| owner(view, 2) == Some("n2")).await;
}

#[tokio::test]
async fn an_older_snapshot_is_read_whole() {
    let etcds = Etcds::start(1).await;
    let Two { gate, cut, well } = two(&etcds).await;
    let first = swapped(&well, 1, 0, 1).await;
    etcds.save(&etcds.dir().join("saved"));
    let mut last = first.clone();
    for epoch in 2..40 {
        last = swapped(&well, 1, last.revision, epoch).await;
    }
    swapped(&well, 2, 0, 1).await;
    seen(&cut, "the newest", |view| owner(view, 2) == Some("well")).await;

    gate.turn(Way::Shut);
    let restored = Etcds::restored(&etcds.dir().join("saved")).await;
    gate.turn(Way::To(restored.at(0)));
    let view = seen(&cut, "the old owner", |view| view.slot(1) == Some(&first)).await;
    assert_eq!(view.slot(2), None, "it has not happened");
    // It swaps against what stands there now.
    let mine = swapped_at_last(&cut, 1, first.revision, 2).await;
    assert!(mine.revision < last.revision);
    seen(&cut, "its own swap", |view| view.slot(1) == Some(&mine)).await;
}

#[tokio::test]
async fn a_wiped_etcd_is_none_until_the_cluster_is_made_again() {
    let etcds = Etcds::start(1).await;
    let Two { gate, cut, well } = two(&etcds).await;
    swapped(&well, 1, 0, 1).await;
    seen(&cut, "the owner", |view| owner(view, 1) == Some("well")).await;
    let empty = Etcds::start(1).await;
    gate.turn(Way::To(empty.at(0)));

    until("it notices", || async { (!cut.is_registered()).then_some(()) }).await;
    assert!(cut.swap(2, 0, 1).await.is_err());
    assert_eq!(names(&cut.view()), ["cut", "well"], "the view stands");
    assert_eq!(empty.get("/parlour/main/nodes/cut").await, None, "it is not made by accident");

    Etcd::init(settings(empty.urls()), constants()).await.expect("made");
    let view = seen(&cut, "the new cluster", |view| names(view) == ["cut"]).await;
    assert_eq!(view.slot(1), None);
    swapped_at_last(&cut, 1, 0, 1).await;
    seen(&cut, "its own swap", |view| owner(view, 1) == Some("cut")).await;
}

#[tokio::test]
async fn a_long_silence_is_not_waited_out_by_those_who_ask() {
    let etcds = Etcds::start(1).await;
    let one = made(etcds.urls(), "n1").await;
    etcds.pause(0);
    let patient = Duration::from_secs(6);
    let swap = tokio::time::timeout(patient, one.swap(1, 0, 1)).await.expect("an answer in time");
    assert!(swap.is_err());
    let said = tokio::time::timeout(patient, one.announce(node("n1"))).await.expect("in time");
    assert!(said.is_err());
    let left = tokio::time::timeout(patient, one.leave()).await.expect("in time");
    assert!(left.is_err());
    etcds.resume(0);
}
