//! An edge with one room and one person who talks there: it goes where it is told, asks again what was
//! not answered, and holds what it is fed against what the service promises.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use link::FromOwner;
use model::{Answer, AskBody, Fed, MessageId, PresenceChange, Publish, RoomName, Roster};

use tokio::time::{sleep, timeout};

use super::nodes::Cluster;
use super::{Edge, attach, content, person};

/// Publishes of one talker that may be unanswered.
const IN_FLIGHT_MAX: usize = 8;

/// See the module.
pub struct Talker {
    name: String,
    room: RoomName,
    streams: BTreeMap<String, Edge>,
    /// The owner, as far as it is known here, and its epoch.
    pub at: String,
    pub epoch: u64,
    watch: u64,
    /// The attach that is under way.
    attach: Option<u64>,
    /// The last entry that was fed.
    pub seen: u64,
    unanswered: VecDeque<(String, Option<String>, u64)>,
    /// Ids and the seqs that they were answered with.
    pub answered: Vec<(String, u64)>,
    sent: u64,
    pub refused: u64,
    pub attached: u64,
    pub unwatched: u64,
    pub moves: u64,
    /// Every roster and change of presence that was told.
    pub rosters: Vec<Roster>,
    pub changes: Vec<PresenceChange>,
}

impl Talker {
    /// Connects to `at`, watches and attends the room.
    pub async fn join(cluster: &Cluster, at: &str, name: &str, room: &RoomName) -> Talker {
        let mut talker = Talker {
            name: name.to_owned(),
            room: room.clone(),
            streams: BTreeMap::new(),
            at: at.to_owned(),
            epoch: 0,
            watch: 0,
            attach: None,
            seen: 0,
            unanswered: VecDeque::new(),
            answered: Vec::new(),
            sent: 0,
            refused: 0,
            attached: 0,
            unwatched: 0,
            moves: 0,
            rosters: Vec::new(),
            changes: Vec::new(),
        };
        talker.go(cluster).await;
        while talker.attach.is_some() {
            talker.turn(cluster).await;
        }
        talker
    }

    /// Publishes so many messages, some at a time, and waits until all are answered and seen.
    pub async fn talk(&mut self, cluster: &Cluster, count: u64) {
        let last = self.sent + count;
        while self.sent < last || !self.unanswered.is_empty() {
            if self.sent < last && self.unanswered.len() < IN_FLIGHT_MAX {
                self.publish().await;
            } else {
                self.turn(cluster).await;
            }
        }
    }

    /// Takes in what is said until `seen` is reached.
    pub async fn listen(&mut self, cluster: &Cluster, seen: u64) {
        while self.seen < seen {
            self.turn(cluster).await;
        }
    }

    /// Says that it is there.
    pub async fn live(&self) {
        for stream in self.streams.values() {
            stream.heartbeat().await;
        }
    }

    async fn publish(&mut self) {
        self.sent += 1;
        let id = format!("{}-message-{}", self.name, self.sent);
        let after = self.unanswered.back().map(|(id, _, _)| id.clone());
        let ask = self.ask_publish(&id, after.as_deref()).await;
        self.unanswered.push_back((id, after, ask));
    }

    async fn ask_publish(&mut self, id: &str, after: Option<&str>) -> u64 {
        let body = AskBody::Publish(Publish {
            room: self.room.clone(),
            id: Some(MessageId::new(id).expect("valid")),
            since: None,
            after: after.map(|id| MessageId::new(id).expect("valid")),
            content: content(id),
        });
        let (room, who) = (self.room.clone(), person(&self.name));
        self.stream().ask(&room, who, body).await
    }

    fn stream(&mut self) -> &mut Edge {
        self.streams.get_mut(&self.at).expect("it was opened")
    }

    /// To the node that is the owner: watches, attends and asks there.
    async fn go(&mut self, cluster: &Cluster) {
        while !self.streams.contains_key(&self.at) {
            if let Some(stream) = cluster.try_edge(&self.at, &self.name).await {
                self.streams.insert(self.at.clone(), stream);
                break;
            }
            sleep(Duration::from_millis(5)).await;
            let record = cluster.record(cluster.slot_of(&self.room));
            if let Some(record) = record.filter(|record| record.epoch >= self.epoch) {
                (self.epoch, self.at) = (record.epoch, record.owner.as_str().to_owned());
            }
        }
        let (room, who) = (self.room.clone(), person(&self.name));
        self.watch = self.stream().watch(&room).await;
        self.attach = Some(self.stream().ask(&room, who, attach()).await);
        self.ask_again(0).await;
    }

    async fn ask_again(&mut self, from: usize) {
        for index in from..self.unanswered.len() {
            let (id, after, _) = self.unanswered[index].clone();
            let ask = self.ask_publish(&id, after.as_deref()).await;
            self.unanswered[index].2 = ask;
        }
    }

    /// One thing that happens; when nothing does for long, the registry is asked where the owner is.
    pub async fn turn(&mut self, cluster: &Cluster) {
        let frame = match timeout(Duration::from_secs(1), self.stream().next()).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(_)) => return self.find(cluster, true).await,
            Err(_) => return self.find(cluster, false).await,
        };
        match frame {
            FromOwner::Moved { epoch, owner, .. } if epoch > self.epoch => {
                (self.epoch, self.at) = (epoch, owner.as_str().to_owned());
                self.moves += 1;
                self.go(cluster).await;
            }
            FromOwner::Answer { id, answer } => self.answered(id, answer).await,
            FromOwner::Fed { fed, .. } => self.fed(fed).await,
            FromOwner::Moved { .. } | FromOwner::Heartbeat => {}
        }
    }

    /// Goes where the registry says that the owner is.
    async fn find(&mut self, cluster: &Cluster, broken: bool) {
        if broken {
            self.streams.remove(&self.at);
            sleep(Duration::from_millis(5)).await;
        }
        let record = cluster.record(cluster.slot_of(&self.room)).expect("it was owned");
        if broken || record.owner.as_str() != self.at {
            self.epoch = record.epoch.max(self.epoch);
            self.at = record.owner.as_str().to_owned();
            self.go(cluster).await;
        }
    }

    async fn answered(&mut self, ask: u64, answer: Answer) {
        if self.attach == Some(ask) {
            self.attach = None;
            self.attached += u64::from(matches!(answer, Answer::Subscribed(_)));
            return;
        }
        let Some(index) = self.unanswered.iter().position(|(_, _, sent)| *sent == ask) else {
            return;
        };
        match answer {
            Answer::Published { seq, .. } => {
                assert_eq!(index, 0, "answers keep the order of what was asked");
                let (id, _, _) = self.unanswered.pop_front().expect("it was found");
                self.answered.push((id, seq));
            }
            Answer::Refused(no) => {
                assert!(no.is_retryable(), "{no:?}");
                self.refused += 1;
                sleep(Duration::from_millis(no.retry_after_ms.unwrap_or_default().max(5))).await;
                self.ask_again(index).await;
            }
            other => panic!("{other:?}"),
        }
    }

    async fn fed(&mut self, fed: Fed) {
        match fed {
            Fed::Watching { watch, info, presence, .. } if watch == self.watch => {
                self.rosters.extend(presence);
                while self.seen < info.head {
                    let (room, from) = (self.room.clone(), self.seen + 1);
                    let log = info.log.as_str().to_owned();
                    let piece = self.stream().segment(&room, &log, from);
                    let Ok(Ok(piece)) = timeout(Duration::from_secs(1), piece).await else {
                        // The owner has gone meanwhile, or has only just come.
                        sleep(Duration::from_millis(5)).await;
                        self.watch = self.stream().watch(&room).await;
                        return;
                    };
                    piece.entries.iter().for_each(|entry| self.see(entry.seq));
                }
            }
            Fed::Entries { watch, entries, .. } if watch == self.watch => {
                entries.iter().for_each(|entry| self.see(entry.seq));
            }
            Fed::Presence { watch, change } if watch == self.watch => self.changes.push(change),
            Fed::Unwatched { watch, .. } if watch == self.watch => {
                self.unwatched += 1;
                sleep(Duration::from_millis(5)).await;
                let room = self.room.clone();
                self.watch = self.stream().watch(&room).await;
            }
            _ => {}
        }
    }

    /// Lower is known already, higher is a hole.
    fn see(&mut self, seq: u64) {
        assert!(seq <= self.seen + 1, "{}: {seq} comes after {}", self.name, self.seen);
        self.seen = self.seen.max(seq);
    }
}
