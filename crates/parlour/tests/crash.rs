//! `kill -9` at any moment: what was acknowledged stays where it was acknowledged, and what is sent again
//! stands once. And leaving on purpose, which loses nobody's time.

mod support;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use parlour_client::{Event, LogId, MessageContent, MessageId, Options, Position, Reading, Seq};
use serde_json::json;
use support::person::{DOORS, Door, Person, options, patiently, room};
use support::raw::Raw;
use support::{Server, Start};

const ROOMS: [&str; 3] = ["busy", "team:ops", "quiet"];
/// Each publisher keeps so many unacknowledged: enough that every kill catches some.
const IN_FLIGHT: usize = 8;

/// Between two sends of one publisher: the machine is to be busy with kills, not with traffic.
const PACE: Duration = Duration::from_millis(3);

/// What publishers were told stands where.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<BTreeMap<(String, MessageId), Seq>>>);

impl Ledger {
    fn note(&self, room: &str, id: MessageId, seq: Seq) {
        let before = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((room.to_owned(), id), seq);
        assert_eq!(before, None, "acknowledged twice");
    }

    fn of(&self, name: &str) -> Vec<(MessageId, Seq)> {
        let ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ledger
            .iter()
            .filter(|((room, _), _)| room == name)
            .map(|((_, id), seq)| (id.clone(), *seq))
            .collect()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn start(dir: &std::path::Path, at: Option<&Server>) -> Start {
    let start = Start::in_dir(dir)
        .set("limits.publishes_per_second", 1_000_000)
        .set("limits.replay_max", 100_000_000);
    match at {
        Some(server) => start.at(server.http, server.grpc),
        None => start,
    }
}

/// Whoever is cut off three times a second would soon wait half a minute before each dial.
fn often_cut(server: &Server, door: Door, name: &str) -> Options {
    let mut options = options(server, door).name(name);
    options.client.limits.stable_after_ms = 0;
    options
}

/// Publishes to every room until told to stop, then waits for what is left; answers how many it sent.
async fn publish_on_and_on(options: Options, ledger: Ledger, stop: Arc<AtomicBool>) -> usize {
    let person = Person::with(options).await;
    let mut waiting = VecDeque::new();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        if waiting.len() == IN_FLIGHT {
            let (name, oldest) = waiting.pop_front().expect("not empty");
            acknowledged(name, oldest, &ledger).await;
        }
        let name = ROOMS[sent % ROOMS.len()];
        let content = MessageContent::post(format!("{sent}"));
        let acknowledgement =
            person.handle.send(&room(name), content).await.expect("there is space");
        waiting.push_back((name, acknowledgement));
        sent += 1;
        tokio::time::sleep(PACE).await;
    }
    for (name, acknowledgement) in waiting {
        acknowledged(name, acknowledgement, &ledger).await;
    }
    sent
}

async fn acknowledged(
    name: &str,
    acknowledgement: parlour_client::Acknowledgement,
    ledger: &Ledger,
) {
    let id = acknowledgement.id().clone();
    let outcome = patiently("an acknowledgement", acknowledgement.outcome()).await;
    ledger.note(name, id, outcome.expect("it is sent until it stands").seq);
}

/// What stands in a room from `after` on: dense, each id once.
async fn standing(server: &Server, name: &str, after: Position) -> HashMap<MessageId, Seq> {
    let mut reader = Person::come(server, Door::WsProto, "auditor").await;
    let mut next = after.seq + 1;
    let entered = reader.enter(name, Reading::after(after)).await;
    let head = entered.subscription.head;
    assert_eq!(
        entered.missed(),
        head + 1 - next,
        "{name}: a resume brings what stands behind the position"
    );
    let mut found = HashMap::new();
    while next <= head {
        let message = reader.message(name).await;
        assert_eq!(message.seq, next, "{name}: a hole or a repeat");
        let before = found.insert(message.id, message.seq);
        assert_eq!(before, None, "{name}: {next} stands a second time");
        next += 1;
    }
    found
}

/// Everything acknowledged stands at its number; what was acknowledged long ago is looked at by the caller.
async fn compare(
    server: &Server,
    name: &str,
    acknowledged: &[(MessageId, Seq)],
    after: Position,
) -> usize {
    let from = after.seq;
    let found = standing(server, name, after).await;
    for (id, seq) in acknowledged.iter().filter(|(_, seq)| *seq > from) {
        assert_eq!(found.get(id), Some(seq), "{name}: {id} was acknowledged at {seq}");
    }
    found.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kills_at_any_moment_and_nothing_stands_twice() {
    let rounds: u64 =
        std::env::var("PARLOUR_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    let seed = std::env::var("SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(20_251_123);
    println!("SEED={seed} PARLOUR_CRASH_ROUNDS={rounds}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = start(dir.path(), None).start();
    let ledger = Ledger::default();
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = DOORS
        .into_iter()
        .zip(["ann", "bob", "cat"])
        .map(|(door, name)| {
            tokio::spawn(publish_on_and_on(
                often_cut(&server, door, name),
                ledger.clone(),
                Arc::clone(&stop),
            ))
        })
        .collect();
    // Somebody who reads through all of it.
    let mut witness = Person::with(often_cut(&server, Door::WsJson, "witness")).await;
    witness.enter("busy", Reading::after(Position::default())).await;
    let (mut logs, mut seen) = (HashMap::new(), 0);
    for round in 0..rounds {
        let before = ledger.len();
        let deadline = std::time::Instant::now() + support::PATIENCE;
        while ledger.len() < before + 30 {
            assert!(
                std::time::Instant::now() < deadline,
                "round {round}: nothing is acknowledged any more"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..150))).await;
        let next = start(dir.path(), Some(&server));
        server.kill();
        // As of now: whatever is noted later was acknowledged by the next process.
        let acknowledged = ROOMS.map(|name| ledger.of(name));
        server = next.start();
        for (name, acknowledged) in ROOMS.iter().zip(&acknowledged) {
            let last = acknowledged.iter().map(|(_, seq)| *seq).max().unwrap_or(0);
            let log = log_of(&server, name, &mut logs).await;
            // From well before the kill on; the whole is compared at the end.
            let after = Position { log, seq: last.saturating_sub(300) };
            compare(&server, name, acknowledged, after).await;
            if *name == "busy" {
                while seen < last {
                    seen += 1;
                    assert_eq!(witness.message("busy").await.seq, seen, "the witness");
                }
            }
        }
    }
    let mut sent = 0;
    stop.store(true, Ordering::Relaxed);
    for publisher in publishers {
        sent += patiently("a publisher", publisher).await.expect("it ends well");
    }
    assert_eq!(ledger.len(), sent, "everything sent is acknowledged in the end");
    let mut stand = 0;
    for name in ROOMS {
        stand += compare(&server, name, &ledger.of(name), Position::default()).await;
    }
    assert_eq!(stand, sent, "each stands once, and nothing else does");
    println!("{rounds} kills, {sent} messages");
    assert_eq!(server.terminate(), Some(0));
}

/// A room's log never changes.
async fn log_of(server: &Server, name: &'static str, logs: &mut HashMap<&str, LogId>) -> LogId {
    let mut raw = Raw::hello(server, "auditor").await;
    let answer = raw.ask(json!({"summaries": {"rooms": [name]}})).await;
    let log =
        LogId::new(answer["summaries"]["rooms"][0]["log"].as_str().expect("born")).expect("valid");
    assert_eq!(
        logs.entry(name).or_insert_with(|| log.clone()),
        &log,
        "{name}: the log is another one"
    );
    log
}

#[tokio::test]
async fn a_process_that_is_asked_to_leave_tells_everybody_when_to_come_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Start::in_dir(dir.path()).start();
    let mut ann = Raw::hello(&server, "ann").await;
    ann.ask(json!({"subscribe": {"room": "lobby"}})).await;
    let mut people = Vec::new();
    for (door, name) in DOORS.into_iter().zip(["bob", "cat", "dan"]) {
        let mut person = Person::come(&server, door, name).await;
        person.enter("lobby", Reading::default()).await;
        person.say("lobby", "before").await;
        people.push(person);
    }
    let begun = std::time::Instant::now();
    server.signal("TERM");
    let (end, close) = ann.end().await;
    assert_eq!((&end["code"], &end["reason"], close), (&json!(4001), &json!("restarting"), 4001));
    let retry_ms = end["retryAfterMs"].as_u64().expect("it says when");
    assert!((500..10_000).contains(&retry_ms), "{end}");
    assert_eq!(server.wait(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "leaving took {:?}", begun.elapsed());
    let server = Start::in_dir(dir.path()).at(server.http, server.grpc).start();
    for person in &mut people {
        let again = person.until("the end", |event| match event {
            Event::Disconnected { again_in_ms } => Some(*again_in_ms),
            _ => None,
        });
        assert!(again.await >= 500, "it obeys");
    }
    for person in &people {
        person.say("lobby", "after").await;
    }
    for person in &mut people {
        let messages = person.messages("lobby", 3).await;
        let first = messages[0].seq;
        assert!(
            messages.windows(2).all(|two| two[1].seq == two[0].seq + 1) && first <= 3,
            "{messages:?}"
        );
    }
    assert_eq!(server.terminate(), Some(0));
}
