//! This process as a node of its cluster: what it says of itself in the registry, for as long as it runs.

use std::sync::Arc;
use std::time::Duration;

use cluster::{Load, Node, Registry};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks at the load. What others pick by is older than that anyway.
const LOOK: Duration = Duration::from_secs(1);
/// A load that changed by less than this part of the sessions it was is not worth a write.
const WORTH_TELLING: u32 = 20;

/// Says what this node is, and how busy.
#[derive(Debug)]
pub(super) struct Member {
    draining: watch::Sender<bool>,
    telling: JoinHandle<()>,
}

impl Member {
    /// Begins to tell; `node` is what was registered, `load` is asked each time.
    pub(super) fn start(
        registry: Arc<dyn Registry>,
        node: Node,
        load: impl Fn() -> Load + Send + 'static,
    ) -> Member {
        let (draining, told) = watch::channel(false);
        let telling = tokio::spawn(tell(registry, node, load, told));
        Member { draining, telling }
    }

    /// From now on it is leaving: it gets no new slots and no new sessions.
    pub(super) fn leaving(&self) {
        self.draining.send_replace(true);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

async fn tell(
    registry: Arc<dyn Registry>,
    mut node: Node,
    load: impl Fn() -> Load,
    mut draining: watch::Receiver<bool>,
) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            changed = draining.changed() => if changed.is_err() { return },
        }
        let said = Node { load: load(), draining: *draining.borrow_and_update(), ..node.clone() };
        if !is_news(&node, &said) {
            continue;
        }
        match registry.announce(said.clone()).await {
            Ok(()) => node = said,
            // It is said again with the next look, or when the node is registered anew.
            Err(error) => {
                tracing::debug!(%error, "the registry was not told how busy this node is")
            }
        }
    }
}

fn is_news(told: &Node, now: &Node) -> bool {
    let moved = told.load.sessions.abs_diff(now.load.sessions);
    told.draining != now.draining
        || told.load.sessions_max != now.load.sessions_max
        || moved > told.load.sessions / WORTH_TELLING
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::*;

    #[test]
    fn a_node_speaks_when_something_changed_that_others_choose_by() {
        let node = Node::in_process(NodeId::new("n1").expect("valid"));
        let with = |sessions, draining| Node {
            load: Load { sessions, sessions_max: 1_000 },
            draining,
            ..node.clone()
        };
        assert!(!is_news(&with(0, false), &with(0, false)));
        assert!(is_news(&with(0, false), &with(1, false)));
        assert!(!is_news(&with(100, false), &with(105, false)));
        assert!(is_news(&with(100, false), &with(94, false)));
        assert!(is_news(&with(100, false), &with(100, true)));
    }

    #[tokio::test(start_paused = true)]
    async fn leaving_is_told_at_once() {
        let node = Node::in_process(NodeId::new("n1").expect("valid"));
        let registry = Arc::new(registry::InProcess::new(node.clone(), 4));
        let member = Member::start(Arc::clone(&registry) as _, node.clone(), Load::default);
        member.leaving();
        let mut version = registry.view().version;
        while !registry.view().nodes[&node.id].draining {
            version = registry.changed(version).await.version;
        }
    }
}
