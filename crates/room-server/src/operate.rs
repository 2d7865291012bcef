//! What operators, and whoever stops this process, ask of all slots together.

use std::sync::Arc;
use std::time::Duration;

use model::{Epoch, NodeId, SlotNo};
use tokio::sync::oneshot;
use tokio::time::timeout;
use wire::link as pb;

use crate::slots::{RoomState, Slots, ToSlot};
use crate::steward::ToSteward;

/// Milliseconds that a handoff may take in all: flush, transfer, and somebody's long append before.
pub(crate) const GIVE_MS: u64 = 5_000;
/// Milliseconds that giving everything away may take when an operator asks for it.
pub(crate) const GIVE_ALL_MS: u64 = 30_000;

/// Gives one slot to a node; the new epoch, or why not.
pub(crate) async fn give(slots: &Slots, slot: SlotNo, to: NodeId) -> Result<Epoch, String> {
    let (reply, answer) = oneshot::channel();
    let stopping = || "the server is stopping".to_owned();
    let give = async {
        let word = ToSlot::Give { to, reply };
        slots.inbox(slot).send(word).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    };
    let late = || format!("the slot was not handed over within {GIVE_MS} ms");
    timeout(Duration::from_millis(GIVE_MS), give).await.map_err(|_| late())?
}

/// Gives everything away, and takes nothing over any more; how many slots are left, at the latest then.
pub(crate) async fn give_all(slots: &Arc<Slots>, within: Duration) -> usize {
    slots.shared.leave();
    let (reply, left) = oneshot::channel();
    let giving = async {
        slots.shared.tell_steward_later(ToSteward::Drain { reply }).await;
        left.await
    };
    match timeout(within, giving).await {
        Ok(Ok(left)) => left,
        Ok(Err(_)) | Err(_) => slots.shared.fences().len(),
    }
}

/// The open rooms with the most watchers.
pub(crate) async fn rooms(slots: &Slots, limit: usize) -> Vec<pb::RoomState> {
    let mut all: Vec<RoomState> = Vec::new();
    for (_, inbox) in slots.started() {
        let (reply, rooms) = oneshot::channel();
        if inbox.send(ToSlot::Rooms { reply }).await.is_ok() {
            all.extend(rooms.await.unwrap_or_default());
        }
        if all.len() > 2 * limit {
            keep_busiest(&mut all, limit);
        }
    }
    keep_busiest(&mut all, limit);
    all.into_iter().map(encode).collect()
}

fn keep_busiest(rooms: &mut Vec<RoomState>, limit: usize) {
    rooms.sort_by(|a, b| (b.edges, b.present).cmp(&(a.edges, a.present)).then(a.room.cmp(&b.room)));
    rooms.truncate(limit);
}

fn encode(state: RoomState) -> pb::RoomState {
    pb::RoomState {
        room: state.room.as_str().to_owned(),
        slot: state.slot,
        head: state.head,
        ordinal: state.ordinal,
        present: state.present,
        edges: state.edges as u32,
    }
}
