//! The handle: opening, the port, leaving.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::{Node, Registry, RegistryError, RegistryFuture, Swap, View};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use model::{Epoch, NodeId, SlotNo};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

use super::error::OpenError;
use super::follow::Follower;
use super::judge::Place;
use super::keys::Keys;
use super::load::load;
use super::members::Members;
use super::records::{Constants, write_constants};
use super::registrar::{Leave, Registrar, Said};
use super::settings::Settings;
use super::shared::{Shared, constants_in, get_constants};
use super::swap;

/// How long opening may begin attempts: over a change of etcd's leader.
const OPEN_BUDGET: Duration = Duration::from_secs(5);

/// How long an announcement or a farewell is waited for.
const SAY_BUDGET: Duration = Duration::from_secs(3);

/// One node's handle on a cluster's registry in etcd, or one that only reads. When it is dropped its
/// tasks end, and the node falls off the list when its lease ends; [`Registry::leave`] takes it off at
/// once.
pub struct Etcd {
    shared: Arc<Shared>,
    /// What a member has besides.
    member: Option<Member>,
    tasks: Vec<JoinHandle<()>>,
}

struct Member {
    said: watch::Sender<Said>,
    written: watch::Receiver<u64>,
    /// Taken by the first to leave.
    leave: Mutex<Option<oneshot::Sender<Leave>>>,
}

impl Etcd {
    /// Makes the cluster, once; saying the same again is no error.
    ///
    /// # Errors
    /// [`OpenError::Made`] with what it was made with if that is something else; else see
    /// [`OpenError`].
    pub async fn init(settings: Settings, constants: Constants) -> Result<(), OpenError> {
        if let Some(fault) = constants.fault() {
            return Err(OpenError::Foreign(fault));
        }
        let members = members(&settings, 0)?;
        let key = Keys::new(&settings.cluster).constants();
        let txn = Txn::new()
            .when([Compare::create_revision(&*key, CompareOp::Equal, 0)])
            .and_then([TxnOp::put(&*key, write_constants(&constants), None)])
            .or_else([TxnOp::get(&*key, None)]);
        let ask = |client: Client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        };
        let answer = members.call(OPEN_BUDGET, ask).await?.value;
        for response in answer.op_responses() {
            if let TxnOpResponse::Get(found) = response {
                match constants_in(&found)? {
                    Some(other) if other != constants => {
                        return Err(OpenError::Made(Box::new(other)));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Enters the cluster as `node`: from here on it is on the list and may swap.
    ///
    /// A key that an earlier process of this id left behind is waited for, up to its lease's end.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: Settings, node: Node) -> Result<Etcd, OpenError> {
        let process = random_text();
        let shared = shared(&settings, Some(node.id.clone()), &process).await?;
        let (said, heard) = watch::channel(Said { node, no: 1 });
        let (write, written) = watch::channel(0);
        let times = (settings.lease_ttl, settings.beat());
        let mut registrar = Registrar::new(Arc::clone(&shared), process, times, heard, write);
        registrar.enter().await?;
        let place = first_view(&shared).await?;
        let (leave, asked) = oneshot::channel();
        let tasks = vec![
            tokio::spawn(Follower::new(Arc::clone(&shared), place).run()),
            tokio::spawn(registrar.run(asked)),
        ];
        let member = Member { said, written, leave: Mutex::new(Some(leave)) };
        Ok(Etcd { shared, member: Some(member), tasks })
    }

    /// Looks at the cluster without being of it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn observe(settings: Settings) -> Result<Etcd, OpenError> {
        let shared = shared(&settings, None, &random_text()).await?;
        let place = first_view(&shared).await?;
        let tasks = vec![tokio::spawn(Follower::new(Arc::clone(&shared), place).run())];
        Ok(Etcd { shared, member: None, tasks })
    }

    /// What the cluster was made with, as it stood when this handle was opened.
    #[must_use]
    pub fn constants(&self) -> &Constants {
        &self.shared.constants
    }

    /// Whether changes are heard of now; while not, the last view stands.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.shared.following.load(Ordering::Relaxed)
    }

    /// Whether this node is on the list, as far as is known here.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.shared.registration.borrow().is_some()
    }

    fn member(&self) -> Result<&Member, RegistryError> {
        self.member.as_ref().ok_or_else(|| RegistryError("this handle only reads".to_owned()))
    }

    async fn say(&self, node: Node) -> Result<(), RegistryError> {
        let member = self.member()?;
        if Some(&node.id) != self.shared.me.as_ref() {
            return Err(RegistryError(format!("this handle speaks for no node {}", node.id)));
        }
        let mut no = 0;
        member.said.send_modify(|said| {
            no = said.no + 1;
            *said = Said { node, no };
        });
        let mut written = member.written.clone();
        let stands = written.wait_for(|written| *written >= no);
        match tokio::time::timeout(SAY_BUDGET, stands).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(RegistryError("this node has left".to_owned())),
            Err(_) => Err(RegistryError(format!(
                "etcd did not take it in {SAY_BUDGET:?}; it is said again until it does"
            ))),
        }
    }

    async fn go(&self) -> Result<(), RegistryError> {
        let member = self.member()?;
        let leave = member.leave.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (answer, answered) = oneshot::channel();
        // Who has left already, left.
        let Some(Ok(())) = leave.map(|leave| leave.send(answer)) else {
            return Ok(());
        };
        let unsure = |why: String| {
            RegistryError(format!("{why}; the node falls off the list when its lease ends"))
        };
        match tokio::time::timeout(SAY_BUDGET, answered).await {
            Ok(Ok(revoked)) => revoked.map_err(unsure),
            Ok(Err(_)) => Err(unsure("its task has ended".to_owned())),
            Err(_) => Err(unsure(format!("etcd did not answer in {SAY_BUDGET:?}"))),
        }
    }
}

impl Registry for Etcd {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.shared.view.borrow())
    }

    fn changed(&self, version: u64) -> RegistryFuture<'_, Arc<View>> {
        Box::pin(async move {
            let mut receiver = self.shared.view.subscribe();
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
        Box::pin(swap::swap(&self.shared, slot, expected, epoch))
    }

    fn announce(&self, node: Node) -> RegistryFuture<'_, Result<(), RegistryError>> {
        Box::pin(self.say(node))
    }

    fn leave(&self) -> RegistryFuture<'_, Result<(), RegistryError>> {
        Box::pin(self.go())
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("me", &self.shared.me).finish_non_exhaustive()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn members(settings: &Settings, first: usize) -> Result<Members, OpenError> {
    let faults = settings.faults();
    if !faults.is_empty() {
        return Err(OpenError::Settings(faults));
    }
    let options = settings.connect_options();
    Ok(Members::new(&settings.endpoints, options, settings.call_timeout, first))
}

async fn shared(
    settings: &Settings,
    me: Option<NodeId>,
    process: &str,
) -> Result<Arc<Shared>, OpenError> {
    let first = process.bytes().map(usize::from).sum();
    let members = members(settings, first)?;
    let keys = Keys::new(&settings.cluster);
    let answer = members.call(OPEN_BUDGET, |client| get_constants(client, &keys)).await?.value;
    let constants =
        constants_in(&answer)?.ok_or_else(|| OpenError::NotMade(settings.cluster.clone()))?;
    let view = View::empty(constants.slots);
    Ok(Arc::new(Shared {
        members,
        keys,
        constants,
        me,
        view: watch::Sender::new(Arc::new(view)),
        registration: watch::Sender::new(None),
        doubt: Notify::new(),
        swaps: Semaphore::new(swap::SWAPS_MAX),
        following: AtomicBool::new(false),
    }))
}

/// Reads the first view; with our own node in it, since that was registered before.
async fn first_view(shared: &Shared) -> Result<Place, OpenError> {
    let loaded = load(shared).await?;
    shared.replace(loaded.view);
    Ok(loaded.place)
}

/// What two processes never share.
fn random_text() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
