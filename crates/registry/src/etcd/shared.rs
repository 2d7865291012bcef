//! What the handle and its tasks share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cluster::{SlotRecord, View};
use etcd_client::{Client, Error, GetResponse};
use model::{NodeId, SlotNo};
use tokio::sync::{Notify, Semaphore, watch};

use super::error::OpenError;
use super::keys::Keys;
use super::members::{Failure, Members};
use super::picture::{Change, apply};
use super::records::{Constants, read_constants};

/// Under which this node stands on the list: both are compared in every swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registration {
    /// The lease of the node's key.
    pub(super) lease: i64,
    /// The revision at which the key was made.
    pub(super) created: i64,
}

pub(super) struct Shared {
    pub(super) members: Members,
    pub(super) keys: Keys,
    pub(super) constants: Constants,
    /// This node's id; none for a handle that only reads.
    pub(super) me: Option<NodeId>,
    pub(super) view: watch::Sender<Arc<View>>,
    /// None before the first registration, while it is lost, and after leaving.
    pub(super) registration: watch::Sender<Option<Registration>>,
    /// Rung when something suggests that the registration is lost.
    pub(super) doubt: Notify,
    /// One permit a swap in flight.
    pub(super) swaps: Semaphore,
    /// Whether the watch is up.
    pub(super) following: AtomicBool,
}

impl Shared {
    /// Applies changes to the view and shows it to readers if it is another one now.
    pub(super) fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        self.view.send_if_modified(|shared| {
            // A copy only if somebody holds the old view, and once for all changes.
            let view = Arc::make_mut(shared);
            let mut changed = false;
            for change in changes {
                changed |= apply(view, change);
            }
            view.version += u64::from(changed);
            changed
        });
    }

    /// Replaces the whole view.
    pub(super) fn replace(&self, mut new: View) {
        self.view.send_if_modified(|shared| {
            new.version = shared.version;
            let changed = new != **shared;
            if changed {
                new.version += 1;
                *shared = Arc::new(new);
            }
            changed
        });
    }

    /// A swap's answer tells of a slot before the watch does.
    pub(super) fn learn(&self, slot: SlotNo, record: &SlotRecord) {
        self.apply([Change::Slot(slot, record.clone())]);
    }
}

/// Reads what the cluster was made with.
pub(super) async fn get_constants(client: Client, keys: &Keys) -> Result<GetResponse, Error> {
    client.kv_client().get(keys.constants(), None).await
}

/// What an answer to [`get_constants`] says.
pub(super) fn constants_in(answer: &GetResponse) -> Result<Option<Constants>, OpenError> {
    let Some(kv) = answer.kvs().first() else {
        return Ok(None);
    };
    match read_constants(kv.value()) {
        Ok(constants) => match constants.fault() {
            Some(fault) => Err(OpenError::Foreign(fault)),
            None => Ok(Some(constants)),
        },
        Err(why) => Err(OpenError::Foreign(format!("its constants cannot be read: {why}"))),
    }
}

/// Whether an answer to [`get_constants`] is of the cluster that was opened. An etcd that was wiped, or
/// is another one, is as good as none: the last view stands.
pub(super) fn is_ours(answer: &GetResponse, constants: &Constants) -> bool {
    matches!(constants_in(answer), Ok(Some(found)) if found == *constants)
}

/// What is said when it is not.
pub(super) const NOT_OURS: &str =
    "etcd answers, but does not hold this cluster's constants; it was wiped or is another one";

/// A failure that is nobody's fault but that of what was read.
pub(super) fn not_ours() -> Failure {
    Failure { verdict: super::judge::Verdict::Refused, why: NOT_OURS.to_owned() }
}
