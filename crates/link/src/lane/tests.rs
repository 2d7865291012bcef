use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cluster::{Node, SlotRecord, View};
use model::{
    Answer, AskBody, Content, ContentKind, Digest, Fed, Generation, LogId, MessageId, Publish,
    RefusalCode, Rights, RoomInfo, RoomName, SessionId, User, UserId, Who,
};

use super::*;
use crate::ToOwner;

/// One slot, so that every room is in it.
const SLOT: SlotNo = 0;

fn at(ms: u64) -> Now {
    Now { mono_us: 1_000, wall_ms: 1_000 }.plus_ms(ms)
}

fn node(id: &str) -> NodeId {
    NodeId::new(id).expect("valid")
}

fn room() -> RoomName {
    RoomName::new("r").expect("valid")
}

fn view(version: u64, nodes: &[&str], record: Option<(u64, &str)>) -> Arc<View> {
    let mut view = View { version, ..View::empty(1) };
    view.nodes = nodes.iter().map(|id| (node(id), Node::in_process(node(id)))).collect();
    view.slots[0] =
        record.map(|(epoch, owner)| SlotRecord { owner: node(owner), epoch, revision: epoch });
    Arc::new(view)
}

fn publish(id: Option<&str>) -> AskBody {
    let content = Content {
        kind: ContentKind::Post,
        target: 0,
        key: String::new(),
        remove: false,
        digest: Digest::default(),
        body: Bytes::from_static(b"text"),
    };
    let id = id.map(|id| MessageId::new(id).expect("valid"));
    AskBody::Publish(Publish { room: room(), id, since: None, after: None, content })
}

fn moved(epoch: u64, owner: &str) -> FromOwner {
    FromOwner::Moved { slot: SLOT, epoch, owner: node(owner) }
}

/// A lane whose streams do what the test says.
struct Edge {
    lane: Lane,
    now: Now,
    /// Frames sent to each node since the last look.
    sent: BTreeMap<NodeId, Vec<ToOwner>>,
    /// Nodes that do not take streams.
    refusing: Vec<NodeId>,
    /// Nodes that give no sign of life.
    silent: Vec<NodeId>,
}

impl Edge {
    fn new(view: Arc<View>) -> Edge {
        let config = LaneConfig { edge: node("e1"), lane: 0, ask_wait_ms: 10_000 };
        let lane = Lane::new(at(0), config, view, Seed::new(1));
        Edge { lane, now: at(0), sent: BTreeMap::new(), refusing: Vec::new(), silent: Vec::new() }
    }

    fn pump(&mut self) {
        while let Some(id) = self.lane.poll_busy() {
            loop {
                match self.lane.poll_steer(&id).or_else(|| self.lane.poll_stream(&id)) {
                    None => break,
                    Some(StreamOp::Send(ToOwner::Heartbeat)) => {
                        if !self.silent.contains(&id) {
                            let heartbeat = StreamEvent::Frame(FromOwner::Heartbeat);
                            self.lane.handle_stream(self.now, &id, heartbeat);
                        }
                    }
                    Some(StreamOp::Send(frame)) => {
                        self.sent.entry(id.clone()).or_default().push(frame);
                    }
                    Some(StreamOp::Close) => {}
                    Some(StreamOp::Open { node }) => {
                        let event = match self.refusing.contains(&node) {
                            true => StreamEvent::Down,
                            false => StreamEvent::Up,
                        };
                        self.lane.handle_stream(self.now, &node, event);
                    }
                }
            }
        }
    }

    fn event(&mut self, from: &str, event: StreamEvent) {
        self.lane.handle_stream(self.now, &node(from), event);
        self.pump();
    }

    fn said(&mut self, from: &str, frame: FromOwner) {
        self.event(from, StreamEvent::Frame(frame));
    }

    fn view(&mut self, view: Arc<View>) {
        self.lane.handle_view(self.now, view);
        self.pump();
    }

    fn ask(&mut self, local: u64, session: Option<&str>, body: AskBody) {
        let user = User {
            id: UserId::new("ann").expect("valid"),
            name: String::new(),
            data: Bytes::new(),
        };
        let session = session.map(|session| SessionId::new(session).expect("valid"));
        let generation = Generation { counter: 1, random: 0 };
        let who = Who { user, session, generation, rights: Rights::FULL };
        self.lane.handle_ask(self.now, LocalKey(local), Ask { room: room(), who, body });
        self.pump();
    }

    fn watch(&mut self) {
        self.lane.handle_watch(self.now, 0, &room());
        self.pump();
    }

    /// Lets time pass in the steps that the machine wants.
    fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        let mut steps = 0;
        while let Some(due) = self.lane.poll_timeout().filter(|due| end.reached(*due)) {
            self.now = self.now.max(due);
            self.lane.handle_timeout(self.now);
            self.pump();
            steps += 1;
            assert!(steps < 1_000, "no tight circle");
        }
        self.now = end;
    }

    /// What a node was told, but for the stream's own words.
    fn told(&mut self, id: &str) -> Vec<ToOwner> {
        let mut sent = self.sent.remove(&node(id)).unwrap_or_default();
        sent.retain(|frame| !matches!(frame, ToOwner::Open { .. }));
        sent
    }

    fn shards(&mut self) -> Vec<ToShards> {
        std::iter::from_fn(|| self.lane.poll_shards()).collect()
    }

    fn watching(&mut self, from: &str, watch: u64, fence: u64, head: u64) {
        let log = LogId::new("k3v9").expect("valid");
        let info = RoomInfo { log, first: 1, head, ordinal: head };
        let fed = Fed::Watching { watch, fence, info, presence: None };
        self.said(from, FromOwner::Fed { room: room(), fed });
    }

    fn routes_to(&self, id: &str) -> bool {
        self.lane.route(&room()) == Some(node(id))
    }
}

fn watch_of(told: &[ToOwner]) -> u64 {
    match told.first() {
        Some(ToOwner::Watch { watch, .. }) => *watch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slot_that_moves_takes_watch_and_asks_along_in_order_and_readers_get_no_gap() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], Some((1, "n1"))));
    edge.watch();
    let first = watch_of(&edge.told("n1"));
    edge.watching("n1", first, 1, 7);
    edge.ask(1, None, publish(Some("message-1")));
    edge.ask(2, None, publish(Some("message-2")));
    let asked = edge.told("n1");
    assert_eq!((asked.len(), edge.shards().len()), (2, 1));

    edge.said("n1", moved(2, "n2"));
    let told = edge.told("n2");
    let [
        ToOwner::Watch { watch, .. },
        ToOwner::Ask { ask: one, id },
        ToOwner::Ask { ask: two, .. },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert!(*watch > first);
    assert_eq!((&one.body, &two.body), (&publish(Some("message-1")), &publish(Some("message-2"))));
    let (watch, id) = (*watch, *id);

    let ToOwner::Ask { id: former, .. } = asked[0] else { panic!("{asked:?}") };
    let log = LogId::new("k3v9").expect("valid");
    let published = Answer::Published { log, seq: 8, at_ms: 0, duplicate: false };
    edge.said("n1", FromOwner::Answer { id: former, answer: published.clone() });
    assert_eq!(edge.shards(), [], "the former owner is not listened to any more");
    edge.watching("n2", watch, 2, 7);
    edge.said("n2", FromOwner::Answer { id, answer: published });
    let told = edge.shards();
    assert!(
        matches!(
            &told[..],
            [
                ToShards::Fed { fed: Fed::Watching { info, .. }, .. },
                ToShards::Answer { local: LocalKey(1), .. }
            ] if info.head == 7
        ),
        "{told:?}"
    );
}

#[test]
fn of_view_and_owner_the_greater_epoch_is_believed() {
    let mut edge = Edge::new(view(1, &["n1", "n2", "n3"], Some((1, "n1"))));
    edge.watch();
    edge.said("n1", moved(3, "n3"));
    assert!(edge.routes_to("n3"));
    edge.view(view(2, &["n1", "n2", "n3"], Some((2, "n2"))));
    assert!(edge.routes_to("n3"), "the view is late");
    edge.view(view(3, &["n1", "n2", "n3"], Some((4, "n2"))));
    assert!(edge.routes_to("n2"));
    edge.said("n3", moved(3, "n1"));
    assert!(edge.routes_to("n2"));
    edge.view(view(4, &["n1", "n2", "n3"], Some((2, "n1"))));
    assert!(edge.routes_to("n1"), "the registry itself went back");
    edge.view(Arc::new(View::empty(7)));
    assert!(edge.routes_to("n1") && edge.lane.counts().foreign_views == 1);
}

#[test]
fn a_refused_owner_is_reported_and_its_slots_are_asked_at_the_next_until_it_is_heard_again() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], Some((1, "n1"))));
    edge.watch();
    edge.pass(2_000);
    edge.refusing.push(node("n1"));
    edge.event("n1", StreamEvent::Down);
    assert!(edge.routes_to("n1"), "a stream that broke is no dead node");
    edge.pass(5);
    assert!(edge.routes_to("n2"), "refused");
    watch_of(&edge.told("n2"));
    edge.pass(2_500);
    let reports: Vec<Suspect> = std::iter::from_fn(|| edge.lane.poll_suspect()).collect();
    assert_eq!(reports.len(), 3, "at once, and once a second: {reports:?}");
    assert!(reports.iter().all(|report| report.node == node("n1")));
    assert!(reports[2].silent_ms >= 2_000);

    edge.refusing.clear();
    edge.pass(2_000);
    assert!(edge.routes_to("n1"), "it is back, and the record is its own");
    while edge.lane.poll_suspect().is_some() {}
    edge.pass(3_000);
    assert_eq!(edge.lane.poll_suspect(), None);
}

#[test]
fn a_silent_owner_is_left_in_well_under_a_second_and_asked_again_when_it_speaks() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], Some((1, "n1"))));
    edge.watch();
    edge.pass(5_000);
    assert!(edge.routes_to("n1") && edge.lane.poll_suspect().is_none());
    edge.silent.push(node("n1"));
    edge.pass(crate::SILENCE_MS);
    assert!(edge.routes_to("n2"));
    let suspect = edge.lane.poll_suspect().expect("it is reported");
    assert!(suspect.silent_ms < 1_000, "{suspect:?}");
    // The stream is taken again: it lives.
    edge.silent.clear();
    edge.pass(2_000);
    assert!(edge.routes_to("n1"));
}

#[test]
fn a_node_that_finds_the_owner_alive_is_not_asked_in_a_circle() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], Some((1, "n1"))));
    edge.refusing.push(node("n1"));
    edge.ask(1, None, publish(Some("message-1")));
    let mut asked = 0;
    for _ in 0..1_000 {
        let told = edge.told("n2").len();
        asked += told;
        if told > 0 {
            edge.said("n2", moved(1, "n1"));
        }
        edge.pass(5);
    }
    assert!((3..40).contains(&asked), "{asked} times in five seconds");
    assert_eq!(edge.shards(), [], "it waits");
    edge.refusing.clear();
    edge.pass(2_000);
    assert_eq!(edge.told("n1").len(), 1, "where it is heard again, it is asked at once");
}

#[test]
fn two_nodes_that_send_each_other_the_slot_with_ever_greater_epochs_are_asked_slowly() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], Some((1, "n1"))));
    edge.ask(1, None, publish(Some("message-1")));
    let (mut asked, mut epoch) = (0, 1);
    for _ in 0..1_000 {
        for (from, to) in [("n1", "n2"), ("n2", "n1")] {
            let told = edge.told(from).len();
            asked += told;
            if told > 0 {
                epoch += 1;
                edge.said(from, moved(epoch, to));
            }
        }
        edge.pass(5);
    }
    assert!((5..40).contains(&asked), "{asked} times in five seconds");
}

#[test]
fn without_anybody_asks_wait_for_their_deadline_and_are_asked_when_somebody_comes() {
    let mut edge = Edge::new(view(1, &[], None));
    edge.ask(1, None, publish(Some("message-1")));
    edge.pass(5_000);
    edge.ask(2, None, publish(Some("message-2")));
    edge.pass(5_000);
    let told = edge.shards();
    let [ToShards::Answer { local: LocalKey(1), answer: Answer::Refused(no) }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((no.code, no.is_retryable()), (RefusalCode::DeadlineExceeded, true));
    edge.view(view(2, &["n1"], None));
    assert_eq!(edge.told("n1").len(), 1);
    assert_eq!(edge.lane.unanswered(), 1);
}

#[test]
fn an_owner_that_was_superseded_is_neither_believed_nor_waited_for() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], Some((2, "n2"))));
    edge.watch();
    let watch = watch_of(&edge.told("n2"));
    edge.watching("n2", watch, 5, 120);
    edge.shards();
    // n2 is cut off, and n1 has not noticed that it was superseded.
    edge.refusing.push(node("n2"));
    edge.event("n2", StreamEvent::Down);
    edge.pass(50);
    let attach = AskBody::Attach { after: None, recent: 0 };
    edge.ask(1, Some("s1"), attach);
    let told = edge.told("n1");
    let [ToOwner::Watch { watch, .. }, ToOwner::Ask { id, .. }] = told[..] else {
        panic!("{told:?}")
    };
    edge.watching("n1", watch, 4, 110);
    edge.said("n1", FromOwner::Answer { id, answer: Answer::Done });
    assert_eq!(edge.shards(), [], "neither its head nor its answer");
    edge.refusing.clear();
    edge.pass(2_000);
    let told = edge.told("n2");
    assert!(matches!(told[..], [ToOwner::Watch { .. }, ToOwner::Ask { .. }]), "{told:?}");
}

#[test]
fn a_node_that_leaves_is_forgotten_unless_nobody_can_take_its_place() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], Some((1, "n1"))));
    edge.watch();
    edge.view(view(2, &[], Some((1, "n1"))));
    assert!(edge.routes_to("n1"), "the registry has lost everybody: who is connected stays");
    assert_eq!(edge.lane.poll_gone(), None);
    edge.view(view(3, &["n2"], Some((1, "n1"))));
    assert!(edge.routes_to("n2"));
    assert_eq!(edge.lane.poll_gone(), Some(node("n1")));
    assert_eq!(edge.lane.reached(), 1);
}

#[test]
fn a_node_that_is_leaving_keeps_what_it_owns_and_gets_nothing_new() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], None));
    let (first, other) = if edge.routes_to("n1") { ("n1", "n2") } else { ("n2", "n1") };
    let leaving = |version, record| {
        let mut view = (*view(version, &["n1", "n2"], record)).clone();
        view.nodes.get_mut(&node(first)).expect("it is there").draining = true;
        Arc::new(view)
    };
    edge.view(leaving(2, None));
    assert!(edge.routes_to(other));
    edge.view(leaving(3, Some((1, first))));
    assert!(edge.routes_to(first));
}

#[test]
fn what_was_sent_and_must_not_be_sent_twice_is_refused_when_the_slot_moves() {
    let mut edge = Edge::new(view(1, &["n1", "n2"], Some((1, "n1"))));
    edge.ask(1, None, publish(None));
    assert_eq!(edge.told("n1").len(), 1);
    edge.said("n1", moved(2, "n2"));
    let told = edge.shards();
    let [ToShards::Answer { local: LocalKey(1), answer: Answer::Refused(no) }] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(!no.is_retryable());
    assert_eq!(edge.told("n2"), []);
}
