//! etcd's members, asked one at a time.
//!
//! The client crate spreads calls over all its endpoints, those that are dead or hung among them. Here
//! each member has a client of its own; one member is asked until it fails, then the next. A client
//! that failed is thrown away, so that nothing of a broken connection is left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::time::{Instant, sleep, timeout};

use super::judge::{Verdict, judge};

/// Between two rounds over all members, when none could answer.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What to do about it.
    pub(super) verdict: Verdict,
    /// What was said last, and by whom.
    pub(super) why: String,
}

/// What a call returned.
pub(super) struct Answer<T> {
    pub(super) value: T,
    /// Whether it was asked more than once: an earlier attempt may have been carried out.
    pub(super) repeated: bool,
}

pub(super) struct Members {
    members: Vec<Member>,
    options: ConnectOptions,
    timeout: Duration,
    /// Whom all tasks of this process ask now.
    current: AtomicUsize,
}

struct Member {
    url: String,
    client: Mutex<Option<Client>>,
}

impl Members {
    /// `first` spreads processes over the members.
    pub(super) fn new(
        urls: &[String],
        options: ConnectOptions,
        timeout: Duration,
        first: usize,
    ) -> Members {
        let member = |url: &String| Member { url: url.clone(), client: Mutex::new(None) };
        Members {
            members: urls.iter().map(member).collect(),
            options,
            timeout,
            current: AtomicUsize::new(first % urls.len()),
        }
    }

    /// Asks one member after the other until one answers, an answer is final, or no attempt may begin
    /// any more because `budget` is used up.
    pub(super) async fn call<T, F>(
        &self,
        budget: Duration,
        ask: impl Fn(Client) -> F,
    ) -> Result<Answer<T>, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + budget;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let failure = match self.once(&ask).await {
                (_, Ok(value)) => return Ok(Answer { value, repeated: attempts > 1 }),
                (_, Err(failure)) => failure,
            };
            if attempts % self.members.len() == 0 {
                sleep(ROUND_PAUSE).await;
            }
            if failure.verdict != Verdict::Elsewhere || Instant::now() >= deadline {
                return Err(failure);
            }
        }
    }

    /// Asks the current member once; also tells which one that is. If it cannot tell, the next one is
    /// the current one.
    pub(super) async fn once<T, F>(&self, ask: impl Fn(Client) -> F) -> (usize, Result<T, Failure>)
    where
        F: Future<Output = Result<T, Error>>,
    {
        let index = self.current.load(Ordering::Relaxed);
        let attempt = async {
            let client = self.client(index).await?;
            ask(client).await
        };
        match within(self.timeout, attempt).await {
            Ok(value) => (index, Ok(value)),
            Err(Failure { verdict, why }) => {
                if verdict == Verdict::Elsewhere {
                    self.blame(index);
                }
                (index, Err(Failure { verdict, why: format!("{}: {why}", self.url(index)) }))
            }
        }
    }

    /// The URL of the member at `index`.
    pub(super) fn url(&self, index: usize) -> &str {
        &self.members[index].url
    }

    /// The member at `index` failed: its client is thrown away and the next member asked from now on.
    pub(super) fn blame(&self, index: usize) {
        *self.members[index].client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let next = (index + 1) % self.members.len();
        // Somebody else may have moved on already.
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Each connection is dialled, and the login done, within the time-out of the call that wants it.
    async fn client(&self, index: usize) -> Result<Client, Error> {
        let member = &self.members[index];
        let known = member.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let client = Client::connect([&member.url], Some(self.options.clone())).await?;
        *member.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// How long one member may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// Waits for `what`, for so long as a member may take.
pub(super) async fn within<T>(
    time: Duration,
    what: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    match timeout(time, what).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure { verdict: judge(&error), why: error.to_string() }),
        Err(_) => Err(Failure { verdict: Verdict::Elsewhere, why: format!("silent for {time:?}") }),
    }
}
