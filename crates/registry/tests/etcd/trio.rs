//! Three members, of which some are stopped, killed or never there.

use cluster::Registry;
use registry::etcd::Etcd;

use crate::members::Etcds;
use crate::{constants, made, names, node, owner, seen, settings, swapped, swapped_at_last, until};

#[tokio::test]
async fn members_that_were_never_there_cost_nothing_but_a_moment() {
    let etcds = Etcds::start(1).await;
    let dead = || "http://127.0.0.1:1".to_owned();
    let urls = vec![dead(), etcds.url(0), dead()];
    Etcd::init(settings(urls.clone()), constants()).await.expect("made");
    // Whichever each begins with.
    for name in ["n1", "n2", "n3", "n4", "n5", "n6"] {
        let one = Etcd::open(settings(urls.clone()), node(name)).await.expect("opened");
        let before = one.view().slot(1).map_or(0, |record| record.revision);
        swapped(&one, 1, before, 1).await;
        one.leave().await.expect("taken");
    }
}

#[tokio::test]
async fn a_stopped_member_is_left_for_another_whoever_it_is() {
    let etcds = Etcds::start(3).await;
    let one = made(etcds.urls(), "n1").await;
    let watcher = Etcd::observe(settings(etcds.urls())).await.expect("opened");
    let mut last = swapped(&one, 1, 0, 1).await;
    // Followers and the leader, those that are asked and those that are not.
    for at in 0..3 {
        etcds.pause(at);
        last = swapped_at_last(&one, 1, last.revision, last.epoch + 1).await;
        seen(&watcher, "the swap", |view| view.slot(1) == Some(&last)).await;
        etcds.resume(at);
    }
    assert_eq!(names(&watcher.view()), ["n1"]);
}

#[tokio::test]
async fn a_killed_leader_and_then_all_of_them_are_outlived() {
    let mut etcds = Etcds::start(3).await;
    let one = made(etcds.urls(), "n1").await;
    let two = Etcd::open(settings(etcds.urls()), node("n2")).await.expect("opened");
    let mut last = swapped(&one, 1, 0, 1).await;

    let leader = etcds.leader().await;
    etcds.kill(leader);
    last = swapped_at_last(&one, 1, last.revision, 2).await;
    seen(&two, "the swap", |view| view.slot(1) == Some(&last)).await;
    etcds.restart(leader);

    for at in 0..3 {
        etcds.kill(at);
    }
    until("both notice", || async { (!one.is_following() && !two.is_following()).then_some(()) })
        .await;
    assert!(two.swap(2, 0, 1).await.is_err(), "nobody is there");
    for etcd in [&one, &two] {
        assert_eq!(names(&etcd.view()), ["n1", "n2"], "the view stands");
        assert_eq!(etcd.view().slot(1), Some(&last));
    }
    for at in 0..3 {
        etcds.restart(at);
    }
    swapped_at_last(&two, 2, 0, 1).await;
    seen(&one, "what came after", |view| owner(view, 2) == Some("n2")).await;
    assert_eq!(names(&one.view()), ["n1", "n2"], "nobody has fallen off the list");
}
