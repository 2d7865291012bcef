//! stub
use std::sync::{Arc, Weak};
use model::NodeId;
use tokio::sync::{mpsc, oneshot};
use crate::slots::{Slots, ToSlot};

pub(crate) const STEWARD_WORDS_MAX: usize = 1_024;

#[derive(Debug)]
pub(crate) enum ToSteward {
    Suspected { observer: NodeId, node: NodeId, silent_ms: u64 },
    Drain { reply: oneshot::Sender<usize> },
}

pub(crate) async fn run(slots: Weak<Slots>, mut words: mpsc::Receiver<ToSteward>) {
    let Some(strong) = slots.upgrade() else { return };
    let registry = Arc::clone(&strong.shared.registry);
    drop(strong);
    let mut version = 0;
    loop {
        tokio::select! {
            view = registry.changed(version) => {
                version = view.version;
                let Some(slots) = slots.upgrade() else { return };
                for (_, inbox) in slots.started() { let _ = inbox.send(ToSlot::Record).await; }
            }
            word = words.recv() => match word {
                None => return,
                Some(ToSteward::Drain { reply }) => { let _ = reply.send(0); }
                Some(_) => {}
            }
        }
    }
}
