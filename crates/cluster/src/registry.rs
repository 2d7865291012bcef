//! The port behind which the registry of nodes and slots lies.
//!
//! A port, so that machines and tasks stand on the promise (one compare-and-swap, one view that
//! recovers) and not on etcd's vocabulary. Futures are boxed: calls are rare, and the trait must be
//! usable as `dyn`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use model::{Epoch, SlotNo};

use crate::{Node, SlotRecord, View};

/// What a registry's calls return.
pub type RegistryFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a swap ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The record is ours now.
    Done(SlotRecord),
    /// Somebody was faster; this is what stands there.
    Conflict(Option<SlotRecord>),
}

/// The registry did not answer: what was asked may have been done or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError(pub String);

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RegistryError {}

/// The registry, as one node sees it.
pub trait Registry: Send + Sync {
    /// The newest view; never waits.
    fn view(&self) -> Arc<View>;

    /// Resolves with a view whose version is greater than `version`.
    fn changed(&self, version: u64) -> RegistryFuture<'_, Arc<View>>;

    /// Writes (this node, `epoch`) into the slot's record if its revision is still `expected` (0: there
    /// is no record), and if this node is still registered.
    fn swap(
        &self,
        slot: SlotNo,
        expected: u64,
        epoch: Epoch,
    ) -> RegistryFuture<'_, Result<Swap, RegistryError>>;

    /// Replaces what this node says of itself (its load, that it drains). Kept and said again by the
    /// registry's client whenever the node has to be registered anew.
    fn announce(&self, node: Node) -> RegistryFuture<'_, Result<(), RegistryError>>;

    /// Takes this node off the list, on purpose: it cannot swap any more.
    fn leave(&self) -> RegistryFuture<'_, Result<(), RegistryError>>;
}
