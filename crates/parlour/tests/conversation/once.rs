//! Once and in order, however often and however late something is sent.

use std::time::{Duration, Instant};

use parlour_client::{Event, HistoryAnchor, MessageContent, Reading};
use serde_json::{Value, json};

use crate::House;
use crate::support::person::{DOORS, Person, patiently, room};
use crate::support::raw::Raw;

fn publish(id: &str, text: &str) -> Value {
    json!({"publish": {"room": "lobby", "id": id, "since": {}, "post": {"text": text}}})
}

fn published(answer: &Value) -> (u64, bool) {
    let published = &answer["published"];
    let seq = published["seq"].as_u64().unwrap_or_else(|| panic!("not published: {answer}"));
    (seq, published["duplicate"].as_bool().expect("it is always said"))
}

#[tokio::test]
async fn the_same_id_twice_at_once_stands_once() {
    let house = House::open();
    let mut first = Raw::hello(&house.server, "ann").await;
    let mut second = Raw::hello(&house.server, "ann").await;
    let mut bob = Raw::hello(&house.server, "bob").await;
    for round in 0..20 {
        let frame = publish(&format!("id-{round:05}"), "once");
        let (one, other) = tokio::join!(first.ask(frame.clone()), second.ask(frame));
        let (one, other) = (published(&one), published(&other));
        assert_eq!(one.0, other.0, "both are told the same place");
        assert_eq!(u8::from(one.1) + u8::from(other.1), 1, "one of them is the duplicate");
        assert_eq!(one.0, round + 1);
    }
    // The key is (room, user, id): somebody else's id is another's.
    assert_eq!(published(&bob.ask(publish("id-00000", "once")).await), (21, false));
}

#[tokio::test]
async fn the_same_id_after_a_kill_is_known_and_with_other_content_it_is_a_conflict() {
    let house = House::open();
    let mut ann = Raw::hello(&house.server, "ann").await;
    let answer = ann.ask(publish("the-first-id", "one")).await;
    let log = answer["published"]["log"].clone();
    assert_eq!(published(&answer), (1, false));
    for number in 2..=5 {
        ann.ask(publish(&format!("number-{number}"), "more")).await;
    }
    let house = house.crash_and_restart(|start| start);
    let mut ann = Raw::hello(&house.server, "ann").await;
    let again = ann.ask(publish("the-first-id", "one")).await;
    assert_eq!((published(&again), &again["published"]["log"]), ((1, true), &log));
    assert_eq!(ann.refusal(publish("the-first-id", "another")).await["code"], 133);
    // `data` is not compared.
    let mut with_data = publish("the-first-id", "one");
    with_data["publish"]["post"]["data"] = json!({"card": 7});
    assert_eq!(published(&ann.ask(with_data).await), (1, true));
    // Without `since` the last entries are checked, which is enough here.
    let mut without = publish("number-3", "more");
    without["publish"].as_object_mut().expect("an object").remove("since");
    assert_eq!(published(&ann.ask(without).await), (3, true));
}

#[tokio::test]
async fn what_stands_behind_an_unknown_publish_waits_for_it() {
    let house = House::open();
    let mut ann = Raw::hello(&house.server, "ann").await;
    let mut behind = publish("second-one", "2");
    behind["publish"]["after"] = json!("first-one");
    let refused = ann.refusal(behind.clone()).await;
    assert_eq!(
        (&refused["code"], &refused["reason"]),
        (&json!(130), &json!("predecessor_missing"))
    );
    assert!(refused["retryAfterMs"].is_u64(), "it may be sent again: {refused}");
    assert_eq!(published(&ann.ask(publish("first-one", "1")).await), (1, false));
    assert_eq!(published(&ann.ask(behind.clone()).await), (2, false));
    assert_eq!(published(&ann.ask(behind).await), (2, true));
}

#[tokio::test]
async fn a_position_of_another_log_does_not_decide() {
    let house = House::open();
    let mut ann = Raw::hello(&house.server, "ann").await;
    ann.ask(publish("first-one", "1")).await;
    let mut other = publish("second-one", "2");
    other["publish"]["since"] = json!({"log": "another", "seq": 1});
    let refused = ann.refusal(other).await;
    assert_eq!((&refused["code"], &refused["reason"]), (&json!(132), &json!("log_changed")));
}

#[tokio::test]
async fn a_burst_beyond_the_rate_is_refused_with_a_time_and_the_client_obeys_it() {
    let house = House::with(|start| start.set("limits.publishes_per_second", 10));
    let mut raw = Raw::hello(&house.server, "raw").await;
    for number in 0..30 {
        let mut frame = publish(&format!("number-{number}"), "fast");
        frame["ref"] = json!(number + 1);
        raw.say(frame).await;
    }
    let mut refused = 0;
    for _ in 0..30 {
        let frame = raw.frame().await;
        if frame.get("refused").is_some() {
            assert_eq!(frame["refused"]["code"], 120, "{frame}");
            assert!(frame["refused"]["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0), "{frame}");
            refused += 1;
        }
    }
    assert!((1..=20).contains(&refused), "{refused} of 30 were refused");
    let mut everybody = Vec::new();
    for door in DOORS {
        let ann = Person::come(&house.server, door, &format!("{door:?}")).await;
        everybody.push(tokio::spawn(send_in_a_burst(ann, format!("{door:?}"))));
    }
    for one in everybody {
        one.await.expect("it is sent until it stands");
    }
}

/// Sends far more than the burst at once, and has all of it stand, in order, without being ended.
async fn send_in_a_burst(mut ann: Person, name: String) {
    const COUNT: u64 = 60;
    ann.enter(&name, Reading::default()).await;
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for number in 0..COUNT {
        let content = MessageContent::post(number.to_string());
        waiting.push(ann.handle.send(&room(&name), content).await.expect("there is space"));
    }
    for (number, acknowledgement) in (1..).zip(waiting) {
        let published = patiently("an acknowledgement", acknowledgement.outcome()).await;
        let published =
            published.unwrap_or_else(|error| panic!("{name}: {number} of {COUNT}: {error}"));
        assert_eq!(published.seq, number, "{name}: in order");
    }
    assert!(
        begun.elapsed() >= Duration::from_secs(4),
        "{name}: 50 beyond the burst, at 10 a second"
    );
    let page = ann.page(&name, HistoryAnchor::Newest, 100).await;
    assert_eq!((page.posts.len() as u64, page.as_of), (COUNT, COUNT), "{name}: nothing twice");
    let last = |event: &Event| match event {
        Event::Ended { message, .. } => panic!("{name}: ended: {message}"),
        Event::Message(message) if message.seq == COUNT => Some(()),
        _ => None,
    };
    ann.until("the last message", last).await;
}
