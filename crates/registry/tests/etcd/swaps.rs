//! The compare-and-swap.

use cluster::{Registry, Swap};
use futures_util::future::join_all;
use registry::etcd::{Constants, Etcd};

use crate::gate::{Gate, Way};
use crate::members::Etcds;
use crate::{constants, id, made, node, owner, seen, settings, swapped, swapped_at_last};

#[tokio::test]
async fn of_many_swaps_on_one_revision_one_wins_and_all_see_the_same() {
    let etcds = Etcds::start(1).await;
    Etcd::init(settings(etcds.urls()), constants()).await.expect("made");
    let open = |name| Etcd::open(settings(etcds.urls()), node(name));
    let nodes = join_all(["n0", "n1", "n2", "n3"].map(open)).await;
    let nodes: Vec<Etcd> = nodes.into_iter().map(|node| node.expect("opened")).collect();

    let mut expected = 0;
    for epoch in 1..=25 {
        let outcomes = join_all(nodes.iter().map(|node| node.swap(7, expected, epoch))).await;
        let outcomes: Vec<Swap> = outcomes.into_iter().map(|o| o.expect("answered")).collect();
        let winners: Vec<usize> = (0..4).filter(|at| is_done(&outcomes[*at])).collect();
        let [winner] = winners[..] else { panic!("{outcomes:?}") };
        let Swap::Done(won) = &outcomes[winner] else { unreachable!() };
        assert_eq!((won.owner.as_str(), won.epoch), (format!("n{winner}").as_str(), epoch));
        assert!(won.revision > expected);
        for (at, outcome) in outcomes.iter().enumerate().filter(|(at, _)| *at != winner) {
            assert_eq!(*outcome, Swap::Conflict(Some(won.clone())), "n{at} is told who");
            let view = nodes[at].view();
            assert_eq!(view.slot(7), Some(won), "n{at} knows at once");
        }
        expected = won.revision;
    }
    for node in &nodes {
        let last = |view: &cluster::View| view.slot(7).map(|r| r.revision) == Some(expected);
        seen(node, "the last swap", last).await;
    }
}

fn is_done(outcome: &Swap) -> bool {
    matches!(outcome, Swap::Done(_))
}

#[tokio::test]
async fn a_swap_is_in_ones_own_view_when_it_returns_and_soon_in_everybodys() {
    let etcds = Etcds::start(1).await;
    let one = made(etcds.urls(), "n1").await;
    let watcher = Etcd::observe(settings(etcds.urls())).await.expect("opened");
    let version = one.view().version;
    let record = swapped(&one, 3, 0, 1).await;
    let view = one.view();
    assert_eq!(view.slot(3), Some(&record));
    assert!(view.version > version);
    seen(&watcher, "the swap", |view| view.slot(3) == Some(&record)).await;

    assert!(one.swap(64, 0, 1).await.is_err(), "there is no such slot");
    assert!(watcher.swap(3, record.revision, 2).await.is_err(), "it only reads");
    let slot = etcds.get("/parlour/main/slots/3").await.expect("stands");
    assert_eq!(slot, (r#"{"owner":"n1","epoch":1}"#.to_owned(), 0), "on no lease");
}

#[tokio::test]
async fn whoever_is_not_on_the_list_any_more_cannot_swap() {
    let etcds = Etcds::start(1).await;
    let one = made(etcds.urls(), "n1").await;
    let first = swapped(&one, 3, 0, 1).await;

    // Another process takes the id in the very moment in which the lease ends, so that there is no way
    // back onto the list.
    let other = etcds.client(0).await.lease_grant(600, None).await.expect("granted").id();
    etcds.put_on(other, "/parlour/main/nodes/n1", r#"{"role":"room","process":"other"}"#).await;
    let refused = one.swap(3, first.revision, 2).await;
    assert!(refused.is_err(), "{refused:?}");
    let slot = etcds.get("/parlour/main/slots/3").await.expect("stands").0;
    assert_eq!(slot, r#"{"owner":"n1","epoch":1}"#);

    etcds.delete("/parlour/main/nodes/n1").await;
    let second = swapped_at_last(&one, 3, first.revision, 2).await;
    assert!(second.revision > first.revision, "back on the list, it can");
}

#[tokio::test]
async fn a_swap_whose_answer_was_lost_is_known_as_done() {
    let etcds = Etcds::start(1).await;
    let (far, near) = (Gate::new(Way::To(etcds.at(0))).await, Gate::new(Way::Shut).await);
    let one = made(vec![far.url(), near.url()], "n1").await;
    seen(&one, "itself", |view| view.nodes.contains_key(&id("n1"))).await;

    near.turn(Way::To(etcds.at(0)));
    far.turn(Way::Deaf(etcds.at(0)));
    let record = swapped(&one, 5, 0, 1).await;
    assert_eq!(record.epoch, 1);
    assert_eq!(owner(&one.view(), 5), Some("n1"));
}

#[tokio::test]
async fn more_slots_than_an_answer_holds_are_taken_at_once_and_read_by_the_next() {
    let etcds = Etcds::start(1).await;
    let many = Constants { slots: 1100, ..constants() };
    Etcd::init(settings(etcds.urls()), many).await.expect("made");
    let one = Etcd::open(settings(etcds.urls()), node("n1")).await.expect("opened");
    let watcher = Etcd::observe(settings(etcds.urls())).await.expect("opened");
    let outcomes = join_all((0..1100).map(|slot| one.swap(slot, 0, 1))).await;
    let faults = outcomes.iter().filter(|outcome| !outcome.as_ref().is_ok_and(is_done));
    assert_eq!(faults.collect::<Vec<_>>(), Vec::<&Result<_, _>>::new());

    let all = |view: &cluster::View| (0..1100).all(|slot| owner(view, slot) == Some("n1"));
    seen(&watcher, "all of them", all).await;
    let next = Etcd::observe(settings(etcds.urls())).await.expect("opened");
    assert!(all(&next.view()), "in its first view");
    assert_eq!(next.view().slots, one.view().slots);
}
