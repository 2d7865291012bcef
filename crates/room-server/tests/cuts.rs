//! `link::Near` against a real room server over pipes, while streams are cut, appends fail in every way
//! and somebody else claims slots: what is published is there once, at the seq that was answered, and
//! the feed has no hole.

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::{Owner, config, node, person, post, room};
use journal::{Fault, Journal as _, Memory};
use link::{
    FromOwner, LocalKey, Near, NearConfig, NearCounts, StreamEvent, StreamOp, ToOwner, ToShards,
};
use model::{Answer, Ask, Fed, RoomName, Seed};
use room_server::{Clock, Counts};
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::codec::link as codec;
use wire::link::edge_frame::Frame as Says;
use wire::link::link_client::LinkClient;
use wire::link::owner_frame::Frame as Said;
use wire::link::{EdgeFrame, Heartbeat, Open, OwnerFrame, Unwatch, Watch};

const ROOMS: usize = 3;

struct Publish {
    room: RoomName,
    id: String,
    seq: Option<u64>,
}

/// A lane, and the clients behind it that send again what is refused as retryable.
struct Lane {
    owner: Owner,
    clock: Clock,
    near: Near,
    stream: Option<(mpsc::Sender<EdgeFrame>, Streaming<OwnerFrame>)>,
    publishes: BTreeMap<LocalKey, Publish>,
    again: VecDeque<LocalKey>,
    fed: BTreeMap<RoomName, u64>,
}

impl Lane {
    fn new(owner: Owner, seed: u64) -> Lane {
        let clock = common::clock();
        let config = NearConfig {
            edge: node("e1").id,
            lane: 0,
            owner: Some(node("n1").id),
            slots: 4,
            ask_wait_ms: 3_600_000,
        };
        let mut near = Near::new(clock.now(), config, Seed::new(seed));
        for number in 0..ROOMS {
            near.handle_watch(clock.now(), 0, &room(&format!("r{number}")));
        }
        let (publishes, again, fed) = (BTreeMap::new(), VecDeque::new(), BTreeMap::new());
        Lane { owner, clock, near, stream: None, publishes, again, fed }
    }

    fn publish(&mut self, number: usize) {
        let local = LocalKey(self.publishes.len() as u64);
        let (room, id) = (room(&format!("r{number}")), format!("message-{}", local.0));
        self.publishes.insert(local, Publish { room, id, seq: None });
        self.send(local);
    }

    fn send(&mut self, local: LocalKey) {
        let publish = &self.publishes[&local];
        let body = post(&publish.room, &publish.id, "text");
        let ask = Ask { room: publish.room.clone(), who: person("ann"), body };
        self.near.handle_ask(self.clock.now(), local, ask);
    }

    fn cut(&mut self) {
        if self.stream.take().is_some() {
            self.near.handle_stream(self.clock.now(), StreamEvent::Down);
        }
    }

    fn unanswered(&self) -> usize {
        self.publishes.values().filter(|publish| publish.seq.is_none()).count()
    }

    /// Lets things happen for `ms` milliseconds.
    async fn run(&mut self, ms: u64) {
        let end = tokio::time::Instant::now() + Duration::from_millis(ms);
        loop {
            self.pump().await;
            let wake = self.near.poll_timeout().map_or(end, |at| self.clock.instant(at));
            let frame = async {
                match &mut self.stream {
                    Some((_, from)) => from.message().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                frame = frame => match frame {
                    Ok(Some(frame)) => {
                        let frame = StreamEvent::Frame(decode(frame));
                        self.near.handle_stream(self.clock.now(), frame);
                    }
                    _ => self.cut(),
                },
                () = sleep_until(wake.min(end)) => self.near.handle_timeout(self.clock.now()),
            }
            if tokio::time::Instant::now() >= end {
                return;
            }
        }
    }

    async fn pump(&mut self) {
        loop {
            while let Some(told) = self.near.poll_shards() {
                self.told(told);
            }
            match self.near.poll_stream() {
                None => return,
                Some(StreamOp::Send(frame)) => {
                    let (to, _) = self.stream.as_ref().expect("it sends on a stream that stands");
                    if to.send(encode(&frame)).await.is_err() {
                        self.cut();
                    }
                }
                Some(StreamOp::Close) => self.cut(),
                Some(StreamOp::Open { .. }) => {
                    let (to, frames) = mpsc::channel(4_096);
                    let mut client = LinkClient::new(self.owner.channel().await);
                    let from = client.attach(ReceiverStream::new(frames)).await;
                    self.stream = Some((to, from.expect("accepted").into_inner()));
                    self.near.handle_stream(self.clock.now(), StreamEvent::Up);
                }
            }
        }
    }

    fn told(&mut self, told: ToShards) {
        match told {
            ToShards::Answer { local, answer: Answer::Published { seq, .. } } => {
                let publish = self.publishes.get_mut(&local).expect("it was published");
                assert_eq!(publish.seq, None, "answered once");
                publish.seq = Some(seq);
            }
            ToShards::Answer { local, answer: Answer::Refused(no) } => {
                assert!(no.is_retryable(), "{no:?}");
                self.again.push_back(local);
            }
            ToShards::Fed { room, fed: Fed::Watching { info, .. }, .. } => {
                let head = self.fed.entry(room).or_default();
                assert!(info.head >= *head, "the log went back");
                *head = info.head;
            }
            ToShards::Fed { room, fed: Fed::Entries { entries, .. }, .. } => {
                let head = self.fed.get_mut(&room).expect("Watching comes first");
                for entry in entries {
                    *head += 1;
                    assert_eq!(entry.seq, *head, "dense");
                }
            }
            ToShards::Fed { fed: Fed::Presence { .. } | Fed::Marked { .. }, .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn send_again(&mut self) {
        for local in std::mem::take(&mut self.again) {
            self.send(local);
        }
    }
}

fn encode(frame: &ToOwner) -> EdgeFrame {
    let says = match frame {
        ToOwner::Open { edge, lane } => {
            Says::Open(Open { edge: edge.as_str().to_owned(), lane: *lane })
        }
        ToOwner::Watch { room, watch } => {
            Says::Watch(Watch { room: room.as_str().to_owned(), watch: *watch })
        }
        ToOwner::Unwatch { room, watch } => {
            Says::Unwatch(Unwatch { room: room.as_str().to_owned(), watch: *watch })
        }
        ToOwner::Ask { id, ask } => Says::Ask(codec::encode_ask(*id, ask)),
        ToOwner::Heartbeat => Says::Heartbeat(Heartbeat {}),
    };
    EdgeFrame { frame: Some(says) }
}

fn decode(frame: OwnerFrame) -> FromOwner {
    match frame.frame.expect("a frame says something") {
        Said::Heartbeat(_) => FromOwner::Heartbeat,
        Said::Answer(answer) => {
            let (id, answer) = codec::decode_answer(answer).expect("readable");
            FromOwner::Answer { id, answer }
        }
        fed => {
            let (room, fed) = codec::decode_fed(fed).expect("readable").expect("news");
            FromOwner::Fed { room, fed }
        }
    }
}

async fn run(seed: u64) -> (Counts, NearCounts) {
    let mut random = fastrand::Rng::with_seed(seed);
    let journal = Memory::with_slots(4);
    let mut lane = Lane::new(Owner::start(&journal, config("n1"), seed), seed);
    for _ in 0..60 {
        for _ in 0..random.usize(0..8) {
            lane.publish(random.usize(0..ROOMS));
        }
        match random.u32(0..12) {
            0 | 1 => lane.cut(),
            2 => journal.fail_next(Fault::UnknownApplied),
            3 => journal.fail_next(Fault::UnknownLost),
            4 => journal.fail_next(Fault::Unavailable),
            5 => journal.fail_next(Fault::NoSpace),
            6 => {
                // Somebody claims a slot and is never heard of again.
                let _ = journal.claim(random.u32(0..4), random.u64(1..4), 7).await;
            }
            _ => {}
        }
        lane.run(random.u64(0..30)).await;
        lane.send_again();
    }
    for _ in 0..60 {
        lane.run(1_000).await;
        lane.send_again();
        if lane.unanswered() == 0 {
            break;
        }
    }
    assert_eq!(lane.unanswered(), 0, "seed {seed}");
    lane.run(1_000).await;
    for number in 0..ROOMS {
        let room = room(&format!("r{number}"));
        let records = journal.range(&room, 1, 10_000, usize::MAX).await.expect("readable");
        let written: BTreeMap<String, u64> =
            records.iter().map(|record| (record.id.as_str().to_owned(), record.seq)).collect();
        assert_eq!(written.len(), records.len(), "seed {seed}: none is there twice");
        let answered: BTreeMap<String, u64> = lane
            .publishes
            .values()
            .filter(|publish| publish.room == room)
            .map(|publish| (publish.id.clone(), publish.seq.expect("answered")))
            .collect();
        assert_eq!(written, answered, "seed {seed}");
        assert_eq!(lane.fed.get(&room).copied(), Some(records.len() as u64), "seed {seed}");
    }
    let positions = slot_positions(&journal).await;
    assert!(positions.values().all(|all| all.windows(2).all(|pair| pair[0] < pair[1])));
    (lane.owner.server.counts(), lane.near.counts())
}

/// The places of each room's entries in their slot.
async fn slot_positions(journal: &Memory) -> BTreeMap<RoomName, Vec<u64>> {
    let mut positions = BTreeMap::new();
    for entry in journal.rooms(None, None, 100).await.expect("readable") {
        let records = journal.range(&entry.room, 1, 10_000, usize::MAX).await.expect("readable");
        positions.insert(entry.room, records.iter().map(|record| record.slot_pos).collect());
    }
    positions
}

#[tokio::test(start_paused = true)]
async fn whatever_is_cut_or_fails_each_message_is_there_once_where_it_was_said_to_be() {
    let (mut unknown, mut fenced, mut resent) = (0, 0, 0);
    for seed in 0..40 {
        let (counts, near) = run(seed).await;
        unknown += counts.appends_unknown;
        fenced += counts.fenced;
        resent += near.streams - 1;
    }
    assert!(unknown > 40 && fenced > 40 && resent > 40, "{unknown} {fenced} {resent}");
}
