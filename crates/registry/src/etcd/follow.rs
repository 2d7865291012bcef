//! The watch that recovers: one task, which is the one to publish views.
//!
//! It reads everything once, then follows from the next revision on. A watch that ends, is silent or
//! has lost its leader goes on at another member from where it was; history that was compacted away, or
//! is not the history that was followed, is read whole again. While nobody answers, the last view
//! stands.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{Client, Error, Event, KeyValue, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::judge::{Heard, Place, Verdict, hear, judge};
use super::load::{ANSWER_BYTES_MAX, load};
use super::members::within;
use super::picture::{Change, read_event};
use super::shared::{Shared, get_constants, is_ours, not_ours};

/// How often a quiet watch is asked whether it lives. If the answer is not there when it is asked
/// again, it does not: a stopped member keeps its sockets open.
const ASK: Duration = Duration::from_millis(1000);

/// Between attempts, when the last ended as soon as it began.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a watch ended.
enum End {
    /// Go on from the same place, at whoever is asked next.
    Resume(String),
    /// Read everything again.
    Reload(String),
}

/// Owned by its task.
pub(super) struct Follower {
    shared: Arc<Shared>,
    /// Where the view that is published stands.
    place: Place,
    /// When etcd was last heard of.
    heard: Instant,
    /// Whether it was told that the watch is down.
    told: bool,
}

impl Follower {
    /// `place` is where the view that is published stands.
    pub(super) fn new(shared: Arc<Shared>, place: Place) -> Follower {
        Follower { shared, place, heard: Instant::now(), told: false }
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) {
        loop {
            let began = Instant::now();
            let end = self.watch().await;
            self.shared.following.store(false, Ordering::Relaxed);
            let end = match end {
                End::Reload(why) => {
                    tracing::debug!(%why, "the registry's view is read whole again");
                    self.reload().await
                }
                End::Resume(why) => Err(why),
            };
            if let Err(why) = end
                && !std::mem::replace(&mut self.told, true)
            {
                tracing::warn!(%why, "etcd's watch ended; the last view stands until it is up again");
            }
            if began.elapsed() < PAUSE {
                sleep(PAUSE).await;
            }
        }
    }

    async fn reload(&mut self) -> Result<(), String> {
        let loaded = load(&self.shared).await.map_err(|failure| failure.why)?;
        self.place = loaded.place;
        self.heard = Instant::now();
        let me = self.shared.me.as_ref();
        let missing = me.is_some_and(|me| !loaded.view.nodes.contains_key(me));
        self.shared.replace(loaded.view);
        if missing {
            self.shared.doubt.notify_one();
        }
        Ok(())
    }

    /// One watch, from opening to end.
    async fn watch(&mut self) -> End {
        let (shared, from) = (Arc::clone(&self.shared), (self.place, self.heard.elapsed()));
        let (member, opened) = shared.members.once(|client| open(client, &shared, from)).await;
        let (now, stream) = match opened {
            Ok(Opened::Stream(now, stream)) => (now, stream),
            Ok(Opened::Another) => {
                return End::Reload(
                    "etcd's history need not be the one that was followed".to_owned(),
                );
            }
            Ok(Opened::NotOurs) => return End::Resume(not_ours().why),
            Err(failure) if failure.verdict == Verdict::Reload => return End::Reload(failure.why),
            Err(failure) => return End::Resume(failure.why),
        };
        self.place.term = now.term;
        shared.following.store(true, Ordering::Relaxed);
        if std::mem::take(&mut self.told) {
            tracing::info!(member = shared.members.url(member), "etcd's watch is up again");
        }
        let end = self.listen(stream).await;
        if matches!(end, End::Resume(_)) {
            shared.members.blame(member);
        }
        end
    }

    /// Listens until the watch ends or is silent.
    async fn listen(&mut self, mut stream: Box<WatchStream>) -> End {
        let mut ask = interval_at(Instant::now() + ASK, ASK);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answered = true;
        loop {
            let answer = tokio::select! {
                biased;
                answer = stream.message() => answer,
                _ = ask.tick() => {
                    if !std::mem::replace(&mut answered, false) {
                        return End::Resume(format!("the watch was silent for {ASK:?}"));
                    }
                    match within(self.shared.members.timeout(), stream.request_progress()).await {
                        Ok(()) => continue,
                        Err(failure) => return End::Resume(failure.why),
                    }
                }
            };
            let answer = match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => return End::Resume("the member ended the watch".to_owned()),
                Err(error) if judge(&error) == Verdict::Reload => {
                    return End::Reload(error.to_string());
                }
                Err(error) => return End::Resume(error.to_string()),
            };
            answered = true;
            self.heard = Instant::now();
            match hear(&answer) {
                Heard::Life => {}
                Heard::Progress(revision) => {
                    self.place.revision = self.place.revision.max(revision);
                }
                Heard::Events => self.take(&answer),
                Heard::Over => {
                    return End::Resume(format!("cancelled: {}", answer.cancel_reason()));
                }
                Heard::Compacted => return End::Reload("history was compacted".to_owned()),
            }
        }
    }

    /// Applies events. Revisions arrive whole, so that the next one is the one after the last event's;
    /// the answer's own revision may be ahead of the events while the watch catches up.
    fn take(&mut self, answer: &WatchResponse) {
        let shared = &self.shared;
        let events = answer.events();
        let last = events.iter().filter_map(Event::kv).map(KeyValue::mod_revision).max();
        let changes: Vec<Change> =
            events.iter().filter_map(|event| read_event(&shared.keys, event)).collect();
        let me = shared.me.as_ref();
        let gone = |change: &Change| matches!(change, Change::NodeGone(id) if Some(id) == me);
        let missing = changes.iter().any(gone);
        shared.apply(changes);
        self.place.revision = self.place.revision.max(last.unwrap_or(0));
        if missing {
            shared.doubt.notify_one();
        }
    }
}

/// What came of opening a watch.
enum Opened {
    /// It is up, at a member that has this place or a later one.
    Stream(Place, Box<WatchStream>),
    /// The member's history need not be the one that was followed.
    Another,
    /// The member does not hold our cluster.
    NotOurs,
}

/// Looks whether the member's history is ours gone on, and watches from `from` on. Both at one member,
/// so that nothing lies between.
async fn open(
    client: Client,
    shared: &Shared,
    (from, gap): (Place, Duration),
) -> Result<Opened, Error> {
    let answer = get_constants(client.clone(), &shared.keys).await?;
    if !is_ours(&answer, &shared.constants) {
        return Ok(Opened::NotOurs);
    }
    let now = Place::of(answer.header());
    if !from.goes_on_as(&now, gap) {
        return Ok(Opened::Another);
    }
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(from.revision + 1)
        .with_progress_notify();
    let mut watches = client.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
    let stream = watches.watch(shared.keys.prefix(), Some(options)).await?;
    Ok(Opened::Stream(now, Box::new(stream)))
}
