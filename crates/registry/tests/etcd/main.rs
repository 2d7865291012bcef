//! The registry against real etcd members, which these tests start, stop, kill and cut off.

mod gate;
mod members;
mod nodes;
mod outages;
mod secure;
mod swaps;
mod trio;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Node, Registry, SLOT_HASH, SlotRecord, Swap, View};
use model::NodeId;
use registry::etcd::{Constants, Etcd, Settings};

/// How long anything may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(20);

const SLOTS: u32 = 64;

fn id(text: &str) -> NodeId {
    NodeId::new(text).expect("valid")
}

fn node(text: &str) -> Node {
    Node { link: format!("{text}:7000"), ..Node::in_process(id(text)) }
}

fn constants() -> Constants {
    Constants {
        cluster_id: "c1".to_owned(),
        slots: SLOTS,
        slot_hash: SLOT_HASH.to_owned(),
        record_format: 1,
    }
}

/// The shortest lease that leaves room for a change of leader.
fn settings(urls: Vec<String>) -> Settings {
    Settings { lease_ttl: Duration::from_secs(3), ..Settings::new(urls, "main".to_owned()) }
}

/// A made cluster, and a node of it.
async fn made(urls: Vec<String>, name: &str) -> Etcd {
    Etcd::init(settings(urls.clone()), constants()).await.expect("made");
    Etcd::open(settings(urls), node(name)).await.expect("opened")
}

async fn swapped(etcd: &Etcd, slot: u32, expected: u64, epoch: u64) -> SlotRecord {
    match etcd.swap(slot, expected, epoch).await {
        Ok(Swap::Done(record)) => record,
        other => panic!("slot {slot} at {expected}: {other:?}"),
    }
}

/// Swaps until etcd is there again; what it answered then.
async fn swapped_at_last(etcd: &Etcd, slot: u32, expected: u64, epoch: u64) -> SlotRecord {
    let attempt = || async { etcd.swap(slot, expected, epoch).await.ok() };
    match until("a swap is answered", attempt).await {
        Swap::Done(record) => record,
        // The answer to an earlier one was lost.
        Swap::Conflict(Some(record)) if record.epoch == epoch => record,
        other => panic!("slot {slot} at {expected}: {other:?}"),
    }
}

/// Waits for a view.
async fn seen(etcd: &Etcd, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
    let wait = async {
        let mut view = etcd.view();
        while !wanted(&view) {
            view = etcd.changed(view.version).await;
        }
        view
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(view) => view,
        Err(_) => panic!("{what}: not seen in {:?}", etcd.view()),
    }
}

/// Tries until there is an answer. For what cannot be waited for.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl Fn() -> F) -> T {
    let wait = async {
        loop {
            if let Some(answer) = attempt().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what}: not in {PATIENCE:?}"),
    }
}

fn names(view: &View) -> Vec<&str> {
    view.nodes.keys().map(NodeId::as_str).collect()
}

fn owner(view: &View, slot: u32) -> Option<&str> {
    view.slot(slot).map(|record| record.owner.as_str())
}
