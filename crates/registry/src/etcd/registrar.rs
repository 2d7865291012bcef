//! The task that keeps this node on the list: a lease, the node's key on it, and a sign of life about
//! every second.
//!
//! Everything that is written of this node is written here, one thing after the other, so that the
//! newest announcement is the one that stands. The key is changed against its revision only: a write
//! that hung in a stopped member and comes out of it later changes nothing.

use std::sync::Arc;
use std::time::Duration;

use cluster::Node;
use etcd_client::{
    Client, Compare, CompareOp, Error, GetResponse, KeyValue, LeaseGrantOptions, PutOptions, Txn,
    TxnOp, TxnOpResponse, TxnResponse,
};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::error::OpenError;
use super::judge::Verdict;
use super::members::Failure;
use super::records::{process_of, write_node};
use super::shared::{NOT_OURS, Registration, Shared, is_ours};

/// How long one step may begin attempts: over a change of etcd's leader.
const STEP_BUDGET: Duration = Duration::from_secs(2);

/// How often one looks whether an earlier process of this id is still alive.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// How much longer than foretold a lease may live before it must have been renewed: etcd tells
/// remaining times in whole seconds, and looks for expired ones twice a second.
const LEASE_SLACK: Duration = Duration::from_millis(2000);

/// What this node says of itself, and the how-manieth thing that is.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) node: Node,
    pub(super) no: u64,
}

/// Asks the task to take the node off the list; it answers there, or says why it is unsure.
pub(super) type Leave = oneshot::Sender<Result<(), String>>;

/// Who holds the node's key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    /// Nobody.
    Nobody,
    /// This process, by a key of this revision, made at this one, on this lease.
    Us { changed: i64, created: i64, lease: i64 },
    /// Another process, on this lease.
    Other { lease: i64 },
}

/// Why a step came to nothing.
#[derive(Debug)]
enum No {
    /// See there.
    Failed(Failure),
    /// Another process holds the key.
    Taken,
    /// etcd does not hold our cluster.
    NotOurs,
}

impl From<Failure> for No {
    fn from(failure: Failure) -> No {
        No::Failed(failure)
    }
}

impl No {
    fn why(&self) -> &str {
        match self {
            No::Failed(failure) => &failure.why,
            No::Taken => "another process holds this node's id",
            No::NotOurs => NOT_OURS,
        }
    }
}

/// Owned by its task, once it runs.
pub(super) struct Registrar {
    shared: Arc<Shared>,
    /// This process: a random text.
    process: String,
    ttl: Duration,
    beat: Duration,
    said: watch::Receiver<Said>,
    /// The last that was written.
    written: watch::Sender<u64>,
    /// The lease that is kept alive, even while the key is not on it yet.
    lease: Option<i64>,
    /// The revision of our key; 0 for none.
    changed: i64,
    /// Whether the last step failed: only the first failure and the end of it are told aloud.
    failing: bool,
}

impl Registrar {
    pub(super) fn new(
        shared: Arc<Shared>,
        process: String,
        (ttl, beat): (Duration, Duration),
        said: watch::Receiver<Said>,
        written: watch::Sender<u64>,
    ) -> Registrar {
        let (lease, changed, failing) = (None, 0, false);
        Registrar { shared, process, ttl, beat, said, written, lease, changed, failing }
    }

    /// Registers for the first time. An earlier process of this id that died has its key until its
    /// lease ends; one that lives renews it, and is let be.
    pub(super) async fn enter(&mut self) -> Result<(), OpenError> {
        let mut first: Option<(i64, Instant)> = None;
        loop {
            let lease = match self.holder().await {
                Ok(Holder::Other { lease }) => lease,
                Ok(_) => match self.register().await {
                    Ok(()) => return Ok(()),
                    Err(No::Taken) => continue,
                    Err(no) => return Err(self.unopened(no)),
                },
                Err(no) => return Err(self.unopened(no)),
            };
            let remaining = self.remaining(lease).await?;
            let ends = Instant::now() + remaining;
            let (same, foretold) = *first.get_or_insert((lease, ends));
            if lease == 0 || lease != same || ends > foretold + LEASE_SLACK {
                return Err(OpenError::Taken(self.said.borrow().node.id.clone()));
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    fn unopened(&self, no: No) -> OpenError {
        match no {
            No::Failed(failure) => failure.into(),
            No::Taken => OpenError::Taken(self.said.borrow().node.id.clone()),
            No::NotOurs => OpenError::Foreign(NOT_OURS.to_owned()),
        }
    }

    /// Keeps the node on the list until `leave` is asked for, then revokes the lease and answers.
    pub(super) async fn run(mut self, leave: oneshot::Receiver<Leave>) {
        let answer = tokio::select! {
            biased;
            Ok(answer) = leave => answer,
            () = self.serve() => return,
        };
        self.shared.registration.send_replace(None);
        let revoked = match self.lease.take() {
            Some(lease) => self.revoke(lease).await,
            None => Ok(()),
        };
        // Whoever asked may have given up waiting.
        let _ = answer.send(revoked);
    }

    async fn serve(&mut self) {
        let mut beat = interval(self.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        loop {
            let step = tokio::select! {
                _ = beat.tick() => self.beat().await,
                () = shared.doubt.notified() => self.look_again().await,
                changed = self.said.changed() => match changed {
                    Ok(()) => self.write().await,
                    // The handle is gone, and this task about to be.
                    Err(_) => return,
                },
            };
            match step {
                Ok(()) if std::mem::take(&mut self.failing) => {
                    tracing::info!("this node is on etcd's list again");
                }
                Ok(()) => {}
                Err(no) if !std::mem::replace(&mut self.failing, true) => {
                    tracing::warn!(why = no.why(), "this node cannot keep itself on etcd's list");
                }
                Err(_) => {}
            }
        }
    }

    /// A sign of life; and what could not be done before.
    async fn beat(&mut self) -> Result<(), No> {
        if let Some(lease) = self.lease {
            let beaten = self.shared.members.call(self.beat, |client| keep_alive(client, lease));
            match beaten.await {
                Ok(_) => {}
                Err(Failure { verdict: Verdict::LeaseGone, .. }) => self.lose("its lease ended"),
                Err(failure) => return Err(failure.into()),
            }
        }
        self.write().await
    }

    /// Something suggests that the registration is lost: asks a majority.
    async fn look_again(&mut self) -> Result<(), No> {
        match self.holder().await? {
            Holder::Us { changed, lease, .. } if Some(lease) == self.lease => {
                self.changed = changed;
            }
            _ => self.lose("its key is gone"),
        }
        self.write().await
    }

    fn lose(&mut self, why: &str) {
        self.lease = None;
        self.changed = 0;
        if self.shared.registration.send_replace(None).is_some() {
            tracing::warn!(why, "this node fell off etcd's list; it registers anew");
        }
    }

    /// Sees to it that the newest thing said is what stands.
    async fn write(&mut self) -> Result<(), No> {
        if self.shared.registration.borrow().is_none() {
            return self.register().await;
        }
        let Said { node, no } = self.said.borrow_and_update().clone();
        let Some(lease) = self.lease.filter(|_| no > *self.written.borrow()) else {
            return Ok(());
        };
        if self.put(&node, lease).await? {
            self.written.send_replace(no);
            return Ok(());
        }
        // An attempt of ours whose answer was lost, or the key is gone.
        match self.holder().await? {
            Holder::Us { changed, lease: found, .. } if found == lease => self.changed = changed,
            _ => {
                self.lose("its key is gone");
                return self.register().await;
            }
        }
        if self.put(&node, lease).await? {
            self.written.send_replace(no);
        }
        // Else the next beat goes on.
        Ok(())
    }

    /// Puts the node on the list, on a new lease.
    async fn register(&mut self) -> Result<(), No> {
        self.changed = match self.holder().await? {
            Holder::Nobody => 0,
            Holder::Us { changed, .. } => changed,
            Holder::Other { .. } => return Err(No::Taken),
        };
        let lease = match self.lease {
            Some(lease) => lease,
            None => self.grant().await?,
        };
        self.lease = Some(lease);
        let Said { node, no } = self.said.borrow_and_update().clone();
        match self.put(&node, lease).await {
            Ok(_) => {}
            Err(Failure { verdict: Verdict::LeaseGone, why }) => {
                self.lease = None;
                return Err(Failure { verdict: Verdict::Elsewhere, why }.into());
            }
            Err(failure) => return Err(failure.into()),
        }
        // Whether this attempt or an earlier one did it: what stands is what counts.
        match self.holder().await? {
            Holder::Us { changed, created, lease: found } if found == lease => {
                self.changed = changed;
                self.written.send_replace(no);
                self.shared.registration.send_replace(Some(Registration { lease, created }));
                Ok(())
            }
            Holder::Other { .. } => Err(No::Taken),
            _ => Err(Failure {
                verdict: Verdict::Elsewhere,
                why: "the node's key changed meanwhile".to_owned(),
            }
            .into()),
        }
    }

    /// Writes the node's key if it still is as we know it; whether it was.
    async fn put(&mut self, node: &Node, lease: i64) -> Result<bool, Failure> {
        let key = self.shared.keys.node(&node.id);
        let options = PutOptions::new().with_lease(lease);
        let value = write_node(node, &self.process);
        let txn = Txn::new()
            .when([Compare::mod_revision(&*key, CompareOp::Equal, self.changed)])
            .and_then([TxnOp::put(&*key, value, Some(options))]);
        let answer = self.transact(txn).await?;
        if answer.succeeded() {
            self.changed = answer.header().map_or(0, |header| header.revision());
        }
        Ok(answer.succeeded())
    }

    /// Who holds the node's key, in the cluster that was opened.
    async fn holder(&self) -> Result<Holder, No> {
        let keys = &self.shared.keys;
        let key = keys.node(&self.said.borrow().node.id);
        let txn =
            Txn::new().and_then([TxnOp::get(keys.constants(), None), TxnOp::get(&*key, None)]);
        let answer = self.transact(txn).await?;
        let mut found = answer.op_responses().into_iter().filter_map(|found| match found {
            TxnOpResponse::Get(found) => Some(found),
            _ => None,
        });
        let constants = found.next();
        if !constants.is_some_and(|constants| is_ours(&constants, &self.shared.constants)) {
            return Err(No::NotOurs);
        }
        Ok(holder_of(found.next().as_ref().and_then(first), &self.process))
    }

    async fn transact(&self, txn: Txn) -> Result<TxnResponse, Failure> {
        let ask = |client: Client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        };
        self.shared.members.call(STEP_BUDGET, ask).await.map(|answer| answer.value)
    }

    /// A lease that is granted and never heard of ends by itself.
    async fn grant(&self) -> Result<i64, Failure> {
        let seconds = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let ask = |client: Client| async move {
            client.lease_client().grant(seconds, Some(LeaseGrantOptions::new())).await
        };
        let granted = self.shared.members.call(STEP_BUDGET, ask).await?;
        Ok(granted.value.id())
    }

    /// How long a lease of somebody else's has to live; nothing if it is gone.
    async fn remaining(&self, lease: i64) -> Result<Duration, Failure> {
        let ask =
            |client: Client| async move { client.lease_client().time_to_live(lease, None).await };
        let answer = self.shared.members.call(STEP_BUDGET, ask).await?;
        Ok(Duration::from_secs(u64::try_from(answer.value.ttl()).unwrap_or(0)))
    }

    async fn revoke(&self, lease: i64) -> Result<(), String> {
        let ask = |client: Client| async move { client.lease_client().revoke(lease).await };
        match self.shared.members.call(STEP_BUDGET, ask).await {
            Ok(_) | Err(Failure { verdict: Verdict::LeaseGone, .. }) => Ok(()),
            Err(failure) => Err(failure.why),
        }
    }
}

/// One sign of life. The call waits for its answer, and a lease that is gone is an error; the stream
/// ends with it, so that there is none that could be dead without anybody's noticing.
async fn keep_alive(client: Client, lease: i64) -> Result<(), Error> {
    client.lease_client().keep_alive(lease).await.map(drop)
}

fn first(answer: &GetResponse) -> Option<&KeyValue> {
    answer.kvs().first()
}

fn holder_of(kv: Option<&KeyValue>, process: &str) -> Holder {
    match kv {
        None => Holder::Nobody,
        Some(kv) if process_of(kv.value()) == process => Holder::Us {
            changed: kv.mod_revision(),
            created: kv.create_revision(),
            lease: kv.lease(),
        },
        Some(kv) => Holder::Other { lease: kv.lease() },
    }
}
