//! Coming back: exactly what was missed, or a snapshot that says why.

use model::SnapshotReason;
use parlour_client::{Event, HistoryAnchor, LogId, MessageContent, Position, Reading};
use serde_json::{Value, json};

use crate::House;
use crate::support::person::{DOORS, Door, Person, options, room};
use crate::support::raw::Raw;

#[tokio::test]
async fn a_resume_brings_exactly_what_was_missed_and_then_goes_on_live() {
    let house = House::open();
    let bob = Person::come(&house.server, Door::WsProto, "bob").await;
    let mut ann = Raw::dial(&house.server).await;
    ann.say(json!({"ref": 1, "hello": {"name": "ann", "subscribe": [{"room": "lobby"}]}})).await;
    let token = ann.until("welcome").await["resumeToken"].take();
    ann.until("subscribed").await;
    bob.say("lobby", "1").await;
    let first = ann.until("message").await;
    drop(ann);
    for text in ["2", "3", "4"] {
        bob.say("lobby", text).await;
    }
    let mut ann = Raw::dial(&house.server).await;
    ann.say(json!({"ref": 1, "hello": {"name": "ann", "resumeToken": token,
        "subscribe": [{"room": "lobby", "after": {"log": first["log"], "seq": 1}}]}}))
        .await;
    let subscribed = ann.until("subscribed").await;
    assert_eq!((&subscribed["resumed"]["missed"], &subscribed["head"]), (&json!(3), &json!(4)));
    bob.say("lobby", "5").await;
    for seq in 2..=5 {
        let message = ann.until("message").await;
        assert_eq!(
            (&message["seq"], &message["post"]["text"]),
            (&json!(seq), &json!(seq.to_string()))
        );
    }
}

#[tokio::test]
async fn clients_outlive_a_kill_without_a_hole_or_a_repeat_through_every_door() {
    let mut house = House::open();
    let mut people = Vec::new();
    for (door, name) in DOORS.into_iter().zip(["ann", "bob", "cat"]) {
        let mut person = Person::come(&house.server, door, name).await;
        person.enter("lobby", Reading::default()).await;
        people.push(person);
    }
    people[0].say("lobby", "before").await;
    for round in 0..2 {
        house = house.crash_and_restart(|start| start);
        for person in &mut people {
            person
                .until("a new welcome", |event| {
                    matches!(event, Event::Disconnected { .. }).then_some(())
                })
                .await;
        }
        for person in &people {
            person.say("lobby", &round.to_string()).await;
        }
    }
    for person in &mut people {
        let messages = person.messages("lobby", 7).await;
        let seqs: Vec<u64> = messages.iter().map(|message| message.seq).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7]);
    }
}

#[tokio::test]
async fn too_far_behind_or_of_another_log_or_ahead_is_answered_by_a_snapshot_that_says_so() {
    let house = House::with(|start| start.set("limits.replay_max", 10));
    let ann = Person::come(&house.server, Door::WsProto, "ann").await;
    let mut log = None;
    for number in 1..=30 {
        log = Some(ann.say("lobby", &number.to_string()).await.log);
    }
    let log = log.expect("thirty were said");
    let at = |seq| Position { log: log.clone(), seq };
    let other = Position { log: LogId::new("another").expect("valid"), seq: 29 };
    for (door, (after, reason)) in DOORS.into_iter().cycle().zip([
        (at(19), SnapshotReason::TooFar),
        (at(31), SnapshotReason::Ahead),
        (other, SnapshotReason::LogChanged),
    ]) {
        let mut bob = Person::come(&house.server, door, "bob").await;
        let reading = Reading { recent: 5, ..Reading::after(after) };
        let entered = bob.enter("lobby", reading).await;
        let (said, posts, page) = entered.snapshot("lobby");
        let texts: Vec<&str> = posts.iter().map(|post| post.content.text()).collect();
        assert_eq!((said, texts), (reason, vec!["26", "27", "28", "29", "30"]));
        assert_eq!((page.more, page.as_of, entered.subscription.head), (true, 30, 30));
    }
    let mut cat = Person::come(&house.server, Door::WsJson, "cat").await;
    let entered = cat.enter("lobby", Reading::after(at(20))).await;
    assert_eq!(entered.missed(), 10, "ten may be replayed");
    assert_eq!(cat.messages("lobby", 10).await[0].seq, 21);
}

#[tokio::test]
async fn retention_trims_and_says_what_is_kept() {
    let house = House::with(|start| {
        start
            .set("retention", "brief:* count=20")
            .set("retention_interval_ms", 200)
            .set("limits.publishes_per_second", 10_000)
    });
    let ann = Person::come(&house.server, Door::WsProto, "ann").await;
    let mut log = None;
    for number in 1..=100 {
        log = Some(ann.say("brief:1", &number.to_string()).await.log);
        ann.say("long:1", "kept").await;
    }
    let mut first = 0;
    for _ in 0..600 {
        first = ann.page("brief:1", HistoryAnchor::Newest, 100).await.first;
        if first > 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!((2..=81).contains(&first), "the first kept entry is {first}");
    let page = ann.page("brief:1", HistoryAnchor::After(0), 100).await;
    assert_eq!(page.posts[0].seq, page.first);
    assert_eq!(ann.page("long:1", HistoryAnchor::After(0), 1).await.first, 1);
    let mut bob = Person::come(&house.server, Door::WsJson, "bob").await;
    let after = Position { log: log.expect("said"), seq: 1 };
    let entered = bob.enter("brief:1", Reading::after(after)).await;
    assert_eq!(entered.snapshot("brief:1").0, SnapshotReason::Trimmed);
    assert!(entered.subscription.first >= first);
}

#[tokio::test]
async fn the_older_of_two_connections_of_one_session_is_replaced() {
    let house = House::open();
    let mut first = Raw::dial(&house.server).await;
    first.say(json!({"ref": 1, "hello": {"name": "ann", "subscribe": [{"room": "lobby"}]}})).await;
    let welcome = first.until("welcome").await;
    first.until("subscribed").await;
    let hello = json!({"ref": 1, "hello": {"name": "ann", "resumeToken": welcome["resumeToken"],
        "subscribe": [{"room": "lobby"}]}});
    let mut second = Raw::dial(&house.server).await;
    second.say(hello.clone()).await;
    assert_eq!(second.until("welcome").await["session"], welcome["session"]);
    let (end, close) = first.end().await;
    assert_eq!((&end["code"], &end["reason"], close), (&json!(4506), &json!("replaced"), 4506));
    // The same token once more: the newest connection wins, whatever token it came with.
    let mut third = Raw::dial(&house.server).await;
    third.say(hello).await;
    third.until("subscribed").await;
    assert_eq!(second.end().await.1, 4506);
    // Somebody else's resume token is worth nothing.
    let mut bob = Raw::dial(&house.server).await;
    bob.say(json!({"ref": 1, "hello": {"name": "bob", "resumeToken": welcome["resumeToken"]}}))
        .await;
    assert_ne!(bob.until("welcome").await["session"], welcome["session"]);
    let answer = third
        .ask(json!({"publish": {"room": "lobby", "id": "12345678", "post": {"text": "here"}}}))
        .await;
    assert_eq!(answer["published"]["seq"], 1);
}

#[tokio::test]
async fn an_unsubscribe_is_the_last_frame_of_a_room_until_the_next_subscribed() {
    let house = House::with(|start| start.set("limits.publishes_per_second", 10_000));
    let bob = Person::with(options(&house.server, Door::Grpc).name("bob")).await;
    bob.say("lobby", "first").await;
    let mut ann = Raw::hello(&house.server, "ann").await;
    let mut waiting = Vec::new();
    for number in 0..200 {
        let content = MessageContent::post(number.to_string());
        waiting.push(bob.handle.send(&room("lobby"), content).await.expect("there is space"));
    }
    // Twenty readings, each given up while messages arrive.
    let mut reading = false;
    for _ in 0..20 {
        ann.say(json!({"subscribe": {"room": "lobby", "after": {}}})).await;
        ann.say(json!({"unsubscribe": {"room": "lobby"}})).await;
    }
    ann.say(json!({"ref": 9, "subscribe": {"room": "lobby", "after": {}}})).await;
    let mut next = 0;
    let mut last = false;
    while !(last && next > 201) {
        let frame = ann.frame().await;
        if frame.get("unsubscribed").is_some() {
            reading = false;
        } else if frame.get("subscribed").is_some() {
            (reading, next) = (true, 1);
            last = frame["ref"] == 9;
        } else if let Some(message) = frame.get("message") {
            assert!(reading, "a message between unsubscribed and subscribed: {message}");
            assert_eq!(message["seq"], json!(next), "a hole or a repeat");
            next += 1;
        }
    }
    for acknowledgement in waiting {
        acknowledgement.outcome().await.expect("it stands");
    }
    assert_eq!(Value::Null, ann.ask(json!({"unsubscribe": {"room": "lobby"}})).await["refused"]);
}
