//! The compare-and-swap of a slot's record.

use std::time::Duration;

use cluster::{RegistryError, SlotRecord, Swap};
use etcd_client::{Client, Compare, CompareOp, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse};
use model::{Epoch, NodeId, SlotNo};
use tokio::time::timeout;

use super::picture::revision;
use super::records::{read_slot, write_slot};
use super::shared::{Registration, Shared};

/// How long a swap may begin attempts: over a change of etcd's leader, within the wait of a publish.
const SWAP_BUDGET: Duration = Duration::from_secs(2);

/// Swaps in flight at once: enough to keep etcd busy, few enough that each is answered within a call's
/// time-out when a node takes all slots at once. The others wait their turn.
pub(super) const SWAPS_MAX: usize = 64;

/// How long a swap waits its turn: as long as a publish waits.
const TURN_BUDGET: Duration = Duration::from_secs(10);

/// What stands in etcd when a swap did not pass.
struct Standing {
    /// The revision of the slot's key; 0 if there is none.
    revision: u64,
    /// Its record; none also if it cannot be read.
    record: Option<SlotRecord>,
}

pub(super) async fn swap(
    shared: &Shared,
    slot: SlotNo,
    expected: u64,
    epoch: Epoch,
) -> Result<Swap, RegistryError> {
    let Some(me) = &shared.me else {
        return Err(RegistryError("this handle only reads".to_owned()));
    };
    if slot >= shared.constants.slots {
        return Err(RegistryError(format!("there is no slot {slot}")));
    }
    let Ok(Ok(_permit)) = timeout(TURN_BUDGET, shared.swaps.acquire()).await else {
        return Err(RegistryError("etcd answers too slowly for all that is asked".to_owned()));
    };
    let registration = *shared.registration.borrow();
    let Some(registration) = registration else {
        return Err(RegistryError(format!("{me} is not registered")));
    };
    let txn = transaction(shared, me, registration, (slot, expected, epoch));
    let ask = |client: Client| {
        let txn = txn.clone();
        async move { client.kv_client().txn(txn).await }
    };
    let answer = match shared.members.call(SWAP_BUDGET, ask).await {
        Ok(answer) => answer,
        Err(failure) => return Err(RegistryError(failure.why)),
    };
    if answer.value.succeeded() {
        let revision = answer.value.header().map_or(0, |header| revision(header.revision()));
        let record = SlotRecord { owner: me.clone(), epoch, revision };
        shared.learn(slot, &record);
        return Ok(Swap::Done(record));
    }
    let outcome = judge((me, expected, epoch), standing(&answer.value), answer.repeated);
    match &outcome {
        Some(Swap::Done(record) | Swap::Conflict(Some(record))) => shared.learn(slot, record),
        Some(Swap::Conflict(None)) => {}
        None => {
            shared.doubt.notify_one();
            return Err(RegistryError(format!("{me} is not registered any more")));
        }
    }
    Ok(outcome.expect("the other case has returned"))
}

/// Writes the record if the slot's is as expected and our own key is the one that this process
/// registered; else tells what stands.
fn transaction(
    shared: &Shared,
    me: &NodeId,
    registration: Registration,
    (slot, expected, epoch): (SlotNo, u64, Epoch),
) -> Txn {
    let (key, mine) = (shared.keys.slot(slot), shared.keys.node(me));
    // A revision above what etcd can have matches nothing.
    let expected = i64::try_from(expected).unwrap_or(i64::MAX);
    Txn::new()
        .when([
            Compare::mod_revision(&*key, CompareOp::Equal, expected),
            Compare::create_revision(&*mine, CompareOp::Equal, registration.created),
            Compare::lease(&*mine, CompareOp::Equal, registration.lease),
        ])
        .and_then([TxnOp::put(&*key, write_slot(me, epoch), None)])
        .or_else([TxnOp::get(&*key, None)])
}

fn standing(answer: &TxnResponse) -> Standing {
    let kv = answer.op_responses().into_iter().find_map(|response| match response {
        TxnOpResponse::Get(found) => found.kvs().first().cloned(),
        _ => None,
    });
    let at = kv.as_ref().map_or(0, |kv| revision(kv.mod_revision()));
    Standing { revision: at, record: kv.as_ref().and_then(|kv| read(kv, at)) }
}

fn read(kv: &KeyValue, revision: u64) -> Option<SlotRecord> {
    read_slot(kv.value(), revision).ok()
}

/// How a swap ended that etcd says did not pass. `None`: the slot is as expected, so that it was our own
/// registration that was not. `repeated`: an earlier attempt may be what stands there.
fn judge(
    (me, expected, epoch): (&NodeId, u64, Epoch),
    standing: Standing,
    repeated: bool,
) -> Option<Swap> {
    if standing.revision == expected {
        return None;
    }
    Some(match standing.record {
        Some(record) if repeated && record.owner == *me && record.epoch == epoch => {
            Swap::Done(record)
        }
        other => Swap::Conflict(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> NodeId {
        NodeId::new(text).expect("valid")
    }

    fn stands(owner: &str, epoch: Epoch, revision: u64) -> Standing {
        Standing { revision, record: Some(SlotRecord { owner: id(owner), epoch, revision }) }
    }

    #[test]
    fn what_a_lost_answer_had_done_is_done() {
        let asked = (&id("n1"), 10, 3);
        let record = |owner: &str, epoch| SlotRecord { owner: id(owner), epoch, revision: 12 };
        assert_eq!(
            judge(asked, stands("n1", 3, 12), true),
            Some(Swap::Done(record("n1", 3))),
            "our own first attempt"
        );
        assert_eq!(
            judge(asked, stands("n1", 3, 12), false),
            Some(Swap::Conflict(Some(record("n1", 3)))),
            "an earlier process of this id"
        );
        assert_eq!(
            judge(asked, stands("n2", 3, 12), true),
            Some(Swap::Conflict(Some(record("n2", 3))))
        );
        assert_eq!(
            judge(asked, stands("n1", 4, 12), true),
            Some(Swap::Conflict(Some(record("n1", 4))))
        );
    }

    #[test]
    fn a_slot_that_is_as_expected_means_that_we_are_not_registered() {
        assert_eq!(judge((&id("n1"), 10, 3), stands("n2", 2, 10), false), None);
        let nothing = || Standing { revision: 0, record: None };
        assert_eq!(judge((&id("n1"), 0, 1), nothing(), true), None);
        assert_eq!(judge((&id("n1"), 10, 3), nothing(), false), Some(Swap::Conflict(None)));
        let unreadable = Standing { revision: 11, record: None };
        assert_eq!(judge((&id("n1"), 10, 3), unreadable, false), Some(Swap::Conflict(None)));
    }
}
