//! A lane between a shard and scripted room servers on real sockets.

mod owner;

use std::time::Duration;

use bytes::Bytes;
use model::{
    Content, ContentKind, Digest, Generation, MessageId, Publish, Rights, User, UserId, Who,
};
use registry::InProcess;
use session::log::Feed;
use tokio::time::timeout;
use tonic::transport::Endpoint;

use super::*;
use crate::config::link_settings;
use crate::shard::ToShard;
use owner::{Manner, Owner, SLOTS, World, lock, log};

/// Longer than anything in these tests takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn node(id: &str) -> NodeId {
    NodeId::new(id).expect("valid")
}

/// A room of a slot.
fn room_in(slot: u32) -> RoomName {
    let names = (0..).map(|number| RoomName::new(&format!("r{number}")).expect("valid"));
    names.into_iter().find(|name| slot_of(name, SLOTS) == slot).expect("there are many names")
}

fn publish(room: &RoomName, id: &str, bytes: usize) -> Ask {
    let content = Content {
        kind: ContentKind::Post,
        target: 0,
        key: String::new(),
        remove: false,
        digest: Digest::default(),
        body: Bytes::from(vec![0; bytes]),
    };
    let id = Some(MessageId::new(id).expect("valid"));
    let publish = Publish { room: room.clone(), id, since: None, after: None, content };
    let user =
        User { id: UserId::new("ann").expect("valid"), name: String::new(), data: Bytes::new() };
    let generation = Generation::default();
    let who = Who { user, session: None, generation, rights: Rights::FULL };
    Ask { room: room.clone(), who, body: AskBody::Publish(publish) }
}

/// Two owners, of which the first has slot 0 and the second slot 1; a lane, and the shard behind it.
struct Cluster {
    world: owner::Shared,
    owners: [Owner; 2],
    nodes: [InProcess; 2],
    lanes: Lanes,
    shard: mpsc::Receiver<ToShard>,
}

impl Cluster {
    async fn start() -> Cluster {
        let world = World { log: Vec::new(), fence: 1, reports: Vec::new() };
        let world: owner::Shared = Arc::new(std::sync::Mutex::new(world));
        let owners = [Owner::start("n1", &world), Owner::start("n2", &world)];
        let one = InProcess::new(owners[0].node.clone(), SLOTS);
        let two = one.join(owners[1].node.clone());
        one.swap(0, 0, 1).await.expect("reachable");
        two.swap(1, 0, 1).await.expect("reachable");
        let dial = |node: &cluster::Node| {
            let endpoint = Endpoint::from_shared(format!("http://{}", node.link));
            link_settings(endpoint.expect("an address")).connect_lazy()
        };
        let registry = Arc::new(one.clone());
        let owners_of = Owners { registry, dial: Arc::new(dial) };
        let (lanes, inboxes) = Lanes::new(1);
        let (shards, mut shard_inboxes) = Shards::new(1);
        let clock = Clock::start();
        let config = LaneConfig { edge: node("e1"), lane: 0, ask_wait_ms: 15_000 };
        let context = LaneContext::new(node("e1"), clock, owners_of, shards);
        inboxes.start(&config, &context, &mut Seed::new(7), clock.now());
        let shard = shard_inboxes.remove(0);
        Cluster { world, owners, nodes: [one, two], lanes, shard }
    }

    async fn publish(&self, room: &RoomName, id: &str) -> u64 {
        let answer = timeout(PATIENCE, self.lanes.ask(publish(room, id, 4))).await;
        match answer.expect("answered") {
            Answer::Published { seq, .. } => seq,
            other => panic!("{other:?}"),
        }
    }

    /// The next word for the shard.
    async fn told(&mut self) -> ToShard {
        timeout(PATIENCE, self.shard.recv()).await.expect("in time").expect("the lane runs")
    }

    /// The head of the next `Watching`.
    async fn watching(&mut self) -> u64 {
        match self.told().await {
            ToShard::Feed(_, Feed::Watching { info, .. }) => info.head,
            other => panic!("{other:?}"),
        }
    }

    /// Who took what was published, in order.
    fn takers(&self) -> Vec<String> {
        lock(&self.world).log.iter().map(|(_, taker)| taker.as_str().to_owned()).collect()
    }

    async fn eventually(&self, what: impl Fn(&Cluster) -> bool) {
        let holds = async {
            while !what(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, holds).await.expect("it comes true");
    }
}

#[tokio::test]
async fn a_slot_that_is_handed_over_takes_its_readers_and_publishes_along() {
    let mut cluster = Cluster::start().await;
    let room = room_in(0);
    cluster.lanes.send(ToLane::Watch(0, room.clone())).expect("it has room");
    assert_eq!(cluster.watching().await, 0);
    assert_eq!(cluster.publish(&room, "message-1").await, 1);

    // In band: the registry has not said so yet.
    lock(&cluster.world).fence = 2;
    let sends = Manner::Sends { times: u32::MAX, epoch: 2, to: node("n2") };
    cluster.owners[0].behave(sends);
    assert_eq!(cluster.publish(&room, "message-2").await, 2);
    assert_eq!(cluster.watching().await, 1, "what the shard has: no gap");
    assert_eq!(cluster.takers(), ["n1", "n2"]);

    // By the registry: the lane follows it without being asked anything.
    lock(&cluster.world).fence = 3;
    cluster.owners[0].behave(Manner::Serves);
    let revision = cluster.nodes[0].view().slot(0).expect("it has one").revision;
    cluster.nodes[0].swap(0, revision, 3).await.expect("reachable");
    assert_eq!(cluster.watching().await, 2);
    assert_eq!(cluster.publish(&room, "message-3").await, 3);
    assert_eq!(cluster.takers(), ["n1", "n2", "n1"]);
}

#[tokio::test]
async fn a_dead_owner_is_left_at_once_and_reported() {
    let mut cluster = Cluster::start().await;
    let room = room_in(0);
    assert_eq!(cluster.publish(&room, "message-1").await, 1);
    assert_eq!(cluster.publish(&room_in(1), "message-2").await, 2);
    cluster.owners[0].kill();
    let began = tokio::time::Instant::now();
    assert_eq!(cluster.publish(&room, "message-3").await, 3);
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(cluster.takers(), ["n1", "n2", "n2"]);
    let report = ("e1".to_owned(), "n1".to_owned(), node("n2"));
    cluster.eventually(|cluster| lock(&cluster.world).reports.contains(&report)).await;
}

#[tokio::test]
async fn a_silent_owner_is_left_in_well_under_two_seconds_with_its_segments() {
    let mut cluster = Cluster::start().await;
    let room = room_in(0);
    assert_eq!(cluster.publish(&room, "message-1").await, 1);
    cluster.owners[0].behave(Manner::Silent);
    let began = tokio::time::Instant::now();
    let segment = Segment { room: room.clone(), log: log(), number: 0, from: 1, question: 1 };
    cluster.lanes.send(ToLane::Segment(0, segment)).expect("it has room");
    assert_eq!(cluster.publish(&room, "message-2").await, 2);
    let took = began.elapsed();
    assert!(Duration::from_millis(400) < took && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(cluster.takers(), ["n1", "n2"]);
    match cluster.told().await {
        ToShard::Segment(_, Ok(frames)) => assert_eq!(frames.len(), 1),
        other => panic!("{other:?}"),
    }
    cluster.eventually(|cluster| !lock(&cluster.world).reports.is_empty()).await;
}

#[tokio::test]
async fn an_ask_that_is_sent_back_to_a_dead_owner_comes_again_and_is_answered_once() {
    let mut cluster = Cluster::start().await;
    let room = room_in(0);
    cluster.owners[0].kill();
    let sends = Manner::Sends { times: 3, epoch: 1, to: node("n1") };
    cluster.owners[1].behave(sends);
    assert_eq!(cluster.publish(&room, "message-1").await, 1);
    assert_eq!(*lock(&cluster.owners[1].asked), 4, "three times sent back");
    assert_eq!(cluster.takers(), ["n2"]);
}

#[tokio::test]
async fn an_owner_that_does_not_read_holds_up_nobody_else() {
    let cluster = Cluster::start().await;
    let (stuck, well) = (room_in(0), room_in(1));
    assert_eq!(cluster.publish(&stuck, "message-0").await, 1);
    assert_eq!(cluster.publish(&well, "message-1").await, 2);
    cluster.owners[0].behave(Manner::Stuck);
    let mut answers = Vec::new();
    for number in 0..600 {
        let (sender, receiver) = oneshot::channel();
        let ask = publish(&stuck, &format!("stuck-{number:04}"), 8 * 1024);
        cluster.lanes.send(ToLane::Unary(Box::new(ask), sender)).expect("it has room");
        answers.push(receiver);
    }
    // One frame of the others may have been on its way already.
    assert!(cluster.publish(&well, "message-2").await <= 4, "before any of the others");
    // And then it is found out: what it did not read is asked at the other, in order.
    let mut last = 0;
    for answer in answers {
        let answer = timeout(PATIENCE, answer).await.expect("in time").expect("answered");
        let Answer::Published { seq, .. } = answer else { panic!("{answer:?}") };
        assert!(seq > last);
        last = seq;
    }
    assert_eq!(last, 603);
}
