//! The registry of one process: a view behind a lock.

use std::sync::Arc;

use cluster::{Node, Registry, RegistryError, RegistryFuture, SlotRecord, Swap, View};
use model::{Epoch, NodeId, SlotNo};
use tokio::sync::watch;

/// One node's handle on a registry that lives in this process. Nothing is persisted: after a restart
/// the first claim of a slot is refused by the journal, which names the epoch to go beyond.
#[derive(Clone, Debug)]
pub struct InProcess {
    me: NodeId,
    view: Arc<watch::Sender<Arc<View>>>,
}

impl InProcess {
    /// A registry of `slots` slots with one node.
    #[must_use]
    pub fn new(me: Node, slots: u32) -> InProcess {
        let view = Arc::new(watch::Sender::new(Arc::new(View::empty(slots))));
        InProcess::register(view, me)
    }

    /// The same registry as another node of this process sees it.
    #[must_use]
    pub fn join(&self, node: Node) -> InProcess {
        InProcess::register(Arc::clone(&self.view), node)
    }

    fn register(view: Arc<watch::Sender<Arc<View>>>, me: Node) -> InProcess {
        let id = me.id.clone();
        change(&view, |view| _ = view.nodes.insert(me.id.clone(), me));
        InProcess { me: id, view }
    }

    fn swap_now(&self, slot: SlotNo, expected: u64, epoch: Epoch) -> Result<Swap, RegistryError> {
        let mut outcome = Err(RegistryError(format!("there is no slot {slot}")));
        self.view.send_if_modified(|shared| {
            let Some(record) = shared.slots.get(slot as usize) else {
                return false;
            };
            if !shared.nodes.contains_key(&self.me) {
                outcome = Err(RegistryError(format!("{} is not registered", self.me)));
                return false;
            }
            if record.as_ref().map_or(0, |record| record.revision) != expected {
                outcome = Ok(Swap::Conflict(record.clone()));
                return false;
            }
            let view = Arc::make_mut(shared);
            view.version += 1;
            let record = SlotRecord { owner: self.me.clone(), epoch, revision: view.version };
            view.slots[slot as usize] = Some(record.clone());
            outcome = Ok(Swap::Done(record));
            true
        });
        outcome
    }
}

fn change(view: &watch::Sender<Arc<View>>, how: impl FnOnce(&mut View)) {
    view.send_modify(|shared| {
        let view = Arc::make_mut(shared);
        view.version += 1;
        how(view);
    });
}

impl Registry for InProcess {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    fn changed(&self, version: u64) -> RegistryFuture<'_, Arc<View>> {
        Box::pin(async move {
            let mut receiver = self.view.subscribe();
            let newer = receiver.wait_for(|view| view.version > version).await;
            Arc::clone(&newer.expect("the sender lives as long as this handle"))
        })
    }

    fn swap(
        &self,
        slot: SlotNo,
        expected: u64,
        epoch: Epoch,
    ) -> RegistryFuture<'_, Result<Swap, RegistryError>> {
        Box::pin(std::future::ready(self.swap_now(slot, expected, epoch)))
    }

    fn announce(&self, node: Node) -> RegistryFuture<'_, Result<(), RegistryError>> {
        change(&self.view, |view| _ = view.nodes.insert(self.me.clone(), node));
        Box::pin(std::future::ready(Ok(())))
    }

    fn leave(&self) -> RegistryFuture<'_, Result<(), RegistryError>> {
        change(&self.view, |view| _ = view.nodes.remove(&self.me));
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> Node {
        Node::in_process(NodeId::new(id).expect("valid"))
    }

    #[tokio::test]
    async fn of_two_swaps_on_one_revision_one_wins_and_the_other_is_told_who() {
        let one = InProcess::new(node("n1"), 4);
        let two = one.join(node("n2"));
        let won = one.swap(3, 0, 1).await.expect("reachable");
        let Swap::Done(record) = won else { panic!("{won:?}") };
        assert_eq!(two.swap(3, 0, 1).await, Ok(Swap::Conflict(Some(record.clone()))));
        let taken = two.swap(3, record.revision, 2).await.expect("reachable");
        assert!(matches!(&taken, Swap::Done(r) if r.revision > record.revision), "{taken:?}");
        assert_eq!(one.view().slot(3).map(|r| r.owner.as_str().to_owned()), Some("n2".to_owned()));
    }

    #[tokio::test]
    async fn a_node_that_left_cannot_swap_and_a_missing_slot_is_an_error() {
        let one = InProcess::new(node("n1"), 4);
        assert!(one.swap(4, 0, 1).await.is_err());
        one.leave().await.expect("reachable");
        assert!(one.swap(0, 0, 1).await.is_err());
        assert_eq!(one.view().slot(0), None);
    }

    #[tokio::test]
    async fn who_waits_for_a_change_gets_the_whole_view() {
        let one = InProcess::new(node("n1"), 4);
        let version = one.view().version;
        let waiting = tokio::spawn({
            let one = one.clone();
            async move { one.changed(version).await }
        });
        one.swap(2, 0, 1).await.expect("reachable");
        let view = waiting.await.expect("not cancelled");
        assert!(view.version > version && view.slot(2).is_some());
    }
}
