//! Joining, publishing, reading.

use parlour_client::{MessageContent, Reading};
use serde_json::json;

use crate::House;
use crate::support::person::{DOORS, Door, Person, patiently, room};
use crate::support::raw::Raw;

#[tokio::test]
async fn a_first_conversation_goes_as_the_manual_shows_it() {
    let house = House::open();
    let mut ann = Raw::dial(&house.server).await;
    ann.say(
        json!({"ref": 1, "hello": {"name": "Ann", "subscribe": [{"room": "lobby", "recent": 50}]}}),
    )
    .await;
    let welcome = ann.frame().await;
    assert_eq!(welcome["ref"], 1);
    assert_eq!(welcome["welcome"]["user"], json!({"id": "Ann", "name": "Ann"}));
    assert!(welcome["welcome"]["resumeToken"].is_string());
    assert_eq!(welcome["welcome"]["heartbeatMs"], 25_000);
    assert_eq!(welcome["welcome"]["limits"]["frameBytesMax"], 65_536);
    let subscribed = ann.frame().await;
    assert_eq!(subscribed.get("ref"), None);
    let subscribed = &subscribed["subscribed"];
    assert_eq!(subscribed.get("log"), None, "the room is unborn");
    for zero in ["first", "head", "ordinal", "mark", "unread"] {
        assert_eq!(subscribed[zero], 0, "{zero} of {subscribed}");
    }
    assert_eq!(subscribed["rights"], json!(["read", "publish", "signal", "presence"]));
    assert_eq!(subscribed["snapshot"], json!({"reason": "new", "asOf": 0}));
    ann.say(json!({"ref": 2, "publish":
        {"room": "lobby", "id": "01J9ZK5V8Q", "since": {}, "post": {"text": "hello"}}}))
        .await;
    let message = ann.until("message").await;
    let published = ann.take("published", |frame| frame["ref"] == 2).await["published"].take();
    let log = &message["log"];
    assert!(log.is_string(), "the entry of seq 1 names the log: {message}");
    assert_eq!(
        message,
        json!({"room": "lobby", "log": log, "seq": 1, "ordinal": 1, "id": "01J9ZK5V8Q",
            "atMs": message["atMs"].as_u64().expect("a number"),
            "from": {"id": "Ann", "name": "Ann"}, "post": {"text": "hello"}})
    );
    assert_eq!(
        published,
        json!({"room": "lobby", "log": log, "seq": 1, "atMs": message["atMs"], "duplicate": false})
    );
}

#[tokio::test]
async fn everybody_sees_the_same_messages_in_the_same_order_through_every_door() {
    const EACH: usize = 40;
    let house = House::open();
    let mut people = Vec::new();
    for (door, name) in DOORS.into_iter().zip(["ann", "bob", "cat"]) {
        let mut person = Person::come(&house.server, door, name).await;
        person.enter("team:ops", Reading::default()).await;
        people.push(person);
    }
    let mut waiting = Vec::new();
    for number in 0..EACH {
        for person in &people {
            let content = MessageContent::post(number.to_string());
            waiting.push(
                person.handle.send(&room("team:ops"), content).await.expect("there is space"),
            );
        }
    }
    for acknowledgement in waiting {
        patiently("an acknowledgement", acknowledgement.outcome()).await.expect("it stands");
    }
    let mut seen = Vec::new();
    for person in &mut people {
        let messages = person.messages("team:ops", 3 * EACH).await;
        let seqs: Vec<u64> = messages.iter().map(|message| message.seq).collect();
        assert_eq!(seqs, (1..=3 * EACH as u64).collect::<Vec<_>>());
        for name in ["ann", "bob", "cat"] {
            let own = messages.iter().filter(|message| message.from.name == name);
            let texts: Vec<String> = own.map(|message| message.content.text().to_owned()).collect();
            assert_eq!(
                texts,
                (0..EACH).map(|number| number.to_string()).collect::<Vec<_>>(),
                "{name}'s"
            );
        }
        seen.push(
            messages.into_iter().map(|message| (message.id, message.at_ms)).collect::<Vec<_>>(),
        );
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "readers differ");
    assert!(seen[0].windows(2).all(|two| two[0].1 <= two[1].1), "time goes back");
}

#[tokio::test]
async fn two_hundred_rooms_come_back_in_one_round_trip_and_none_waits_for_a_bad_one() {
    const ROOMS: usize = 200;
    let house = House::with(|start| start.set("limits.publishes_per_second", 10_000));
    let ann = Person::come(&house.server, Door::WsProto, "ann").await;
    for number in 0..ROOMS {
        ann.say(&format!("room:{number}"), "first").await;
    }
    let mut rooms: Vec<_> =
        (0..ROOMS).map(|number| json!({"room": format!("room:{number}"), "after": {}})).collect();
    rooms.insert(77, json!({"room": "not a name"}));
    rooms.insert(3, json!({"room": "_reserved"}));
    let mut bob = Raw::dial(&house.server).await;
    bob.say(json!({"ref": 1, "hello": {"name": "bob", "subscribe": rooms}})).await;
    assert!(bob.frame().await["welcome"].is_object(), "welcome waits for no room");
    let (mut subscribed, mut told, mut refused) = (0, 0, Vec::new());
    while subscribed < ROOMS || told < ROOMS || refused.len() < 2 {
        let frame = bob.frame().await;
        if let Some(answer) = frame.get("subscribed") {
            assert_eq!(answer["resumed"]["missed"], 1, "{answer}");
            subscribed += 1;
        } else if let Some(message) = frame.get("message") {
            assert_eq!(message["post"]["text"], "first");
            told += 1;
        } else if let Some(refusal) = frame.get("unsubscribed") {
            refused.push((refusal["room"].clone(), refusal["code"].clone()));
        }
    }
    refused.sort_by_key(|(room, _)| room.to_string());
    assert_eq!(refused, [(json!("_reserved"), json!(201)), (json!("not a name"), json!(206))]);
}

fn nested(levels: usize) -> serde_json::Value {
    (0..levels).fold(json!(7), |inside, _| json!({"in": inside}))
}

#[tokio::test]
async fn what_a_client_may_not_send_is_refused_by_the_fields_name() {
    let house = House::open();
    let mut ann = Raw::hello(&house.server, "ann").await;
    let long = "x".repeat(16 * 1024 + 1);
    let post = |room: &str, id: &str, text: &str| json!({"publish": {"room": room, "id": id, "post": {"text": text}}});
    for (frame, code, named) in [
        (post("no room", "12345678", "x"), 100, "publish.room"),
        (post("lobby", "short", "x"), 100, "publish.id"),
        (post("lobby", "12345678", &long), 102, "publish.post.text"),
        (json!({"publish": {"room": "lobby", "post": {"text": "x"}}}), 100, "publish.id"),
        (json!({"publish": {"room": "lobby", "id": "12345678"}}), 100, "publish"),
        (
            json!({"publish": {"room": "lobby", "id": "12345678", "poll": {"text": "x"}}}),
            100,
            "poll",
        ),
        (
            json!({"publish": {"room": "lobby", "id": "12345678", "post": {"text": "x", "mentions":
            (0..51).map(|n| n.to_string()).collect::<Vec<_>>()}}}),
            102,
            "mentions",
        ),
        (
            json!({"publish": {"room": "lobby", "id": "12345678", "post": {"text": "x", "data": nested(17)}}}),
            102,
            "publish.post.data",
        ),
        (
            json!({"publish": {"room": "lobby", "id": "12345678", "reaction": {"target": 7, "key": "+"}}}),
            134,
            "post",
        ),
        (json!({"publish": {"room": "lobby", "id": "12345678", "system": {"text": "x"}}}), 110, ""),
        (json!({"history": {"room": "lobby", "limit": 101}}), 102, "history.limit"),
        (json!({"signal": {"room": "lobby", "type": "t".repeat(65)}}), 102, "signal.type"),
        (json!({"hello": {"name": "bob"}}), 103, "hello"),
        (json!({"unsubscribe": {"room": "elsewhere"}}), 138, ""),
        (json!({}), 101, ""),
        (json!({"dance": {}}), 101, ""),
    ] {
        let refused = ann.refusal(frame.clone()).await;
        assert_eq!(refused["code"], code, "{frame}: {refused}");
        assert!(
            refused["message"].as_str().expect("a sentence").contains(named),
            "{frame}: {refused}"
        );
        assert_eq!(refused.get("retryAfterMs"), None, "{frame} is refused for good: {refused}");
    }
    let answer = ann.ask(post("lobby", "12345678", "still here")).await;
    assert_eq!(answer["published"]["seq"], 1, "{answer}");
}
