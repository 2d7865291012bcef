//! Who is here: persons, not connections.

use model::{PresenceChange, Roster};
use parlour_client::{Event, Reading};
use serde_json::json;

use crate::House;
use crate::support::person::{DOORS, Door, Person, room};
use crate::support::raw::Raw;

fn names(roster: &Roster) -> Vec<&str> {
    roster.users.iter().map(|user| user.id.as_str()).collect()
}

/// The next change of presence.
async fn change(person: &mut Person) -> PresenceChange {
    person
        .until("a change of presence", |event| match event {
            Event::Presence(frame) => Some(frame.change.clone()),
            _ => None,
        })
        .await
}

/// Waits until so many are told to be present, and answers who came and who left until then.
async fn until_count(person: &mut Person, wanted: u64) -> (Vec<String>, Vec<String>) {
    let (mut came, mut left) = (Vec::new(), Vec::new());
    loop {
        let count = match change(person).await {
            PresenceChange::Full(roster) => roster.count,
            PresenceChange::Delta { count, arrived, departed } => {
                came.extend(arrived.iter().map(|user| user.id.to_string()));
                left.extend(departed.iter().map(|user| user.to_string()));
                count
            }
        };
        if count == wanted {
            return (came, left);
        }
    }
}

#[tokio::test]
async fn three_tabs_are_one_person_who_leaves_with_the_last() {
    let house = House::with(|start| start.set("limits.presence_interval_ms", 50));
    let mut bob = Person::come(&house.server, Door::WsProto, "bob").await;
    let entered = bob.enter("lobby", Reading::default()).await;
    let roster = entered.presence.expect("it may be seen");
    assert!(roster.count <= 1, "{roster:?}");
    let mut tabs = Vec::new();
    for door in DOORS {
        let mut ann = Person::come(&house.server, door, "ann").await;
        ann.enter("lobby", Reading::default()).await;
        tabs.push(ann);
    }
    until_count(&mut bob, 2).await;
    let mut cat = Person::come(&house.server, Door::WsJson, "cat").await;
    cat.enter("lobby", Reading::default()).await;
    until_count(&mut bob, 3).await;
    // Two tabs close; then somebody else leaves: had ann left, it would have been told by then.
    for tab in &tabs[..2] {
        tab.handle.unsubscribe(&room("lobby")).await.expect("open");
    }
    cat.handle.unsubscribe(&room("lobby")).await.expect("open");
    assert_eq!(until_count(&mut bob, 2).await, (vec![], vec!["cat".to_owned()]));
    tabs[2].handle.unsubscribe(&room("lobby")).await.expect("open");
    assert_eq!(until_count(&mut bob, 1).await, (vec![], vec!["ann".to_owned()]));
}

#[tokio::test]
async fn a_reconnect_within_the_grace_shows_nobody_leaving_or_coming() {
    let house = House::with(|start| {
        start.set("limits.presence_interval_ms", 50).set("limits.presence_grace_ms", 2_000)
    });
    let mut ann = Raw::dial(&house.server).await;
    ann.say(json!({"ref": 1, "hello": {"name": "ann", "subscribe": [{"room": "lobby"}]}})).await;
    let token = ann.until("welcome").await["resumeToken"].take();
    ann.until("subscribed").await;
    let mut bob = Person::come(&house.server, Door::Grpc, "bob").await;
    bob.enter("lobby", Reading::default()).await;
    // A line that is cut, not a goodbye.
    drop(ann);
    let mut ann = Raw::dial(&house.server).await;
    ann.say(json!({"ref": 1, "hello": {"name": "ann", "resumeToken": token, "subscribe": [{"room": "lobby"}]}})).await;
    ann.until("subscribed").await;
    // What is told next is somebody else's coming, in good order behind whatever was told of ann.
    let mut cat = Person::come(&house.server, Door::WsJson, "cat").await;
    cat.enter("lobby", Reading::default()).await;
    assert_eq!(until_count(&mut bob, 3).await.1, Vec::<String>::new());
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    cat.handle.unsubscribe(&room("lobby")).await.expect("open");
    let (came, left) = until_count(&mut bob, 2).await;
    assert_eq!((came, left), (vec![], vec!["cat".to_owned()]), "the grace was not ann's end");
    // And one who stays away does leave, when the grace is over.
    drop(ann);
    assert_eq!(until_count(&mut bob, 1).await, (vec![], vec!["ann".to_owned()]));
}

#[tokio::test]
async fn beyond_the_list_only_the_count_is_told() {
    let house = House::with(|start| {
        start.set("limits.presence_interval_ms", 50).set("limits.presence_list_max", 3)
    });
    let mut ann = Person::come(&house.server, Door::WsProto, "ann").await;
    ann.enter("lobby", Reading::default()).await;
    let mut crowd = Vec::new();
    for number in 0..5 {
        let mut person =
            Person::come(&house.server, DOORS[number % 3], &format!("person{number}")).await;
        person.enter("lobby", Reading::default()).await;
        crowd.push(person);
    }
    until_count(&mut ann, 6).await;
    let mut last = Raw::hello(&house.server, "person0").await;
    let answer = last.ask(json!({"subscribe": {"room": "lobby"}})).await["subscribed"].take();
    assert_eq!(answer["presence"]["count"], 6, "{answer}");
    assert_eq!(answer["presence"].get("users"), None, "{answer}");
    // Whoever leaves on purpose makes the list short enough again.
    for person in &crowd[1..] {
        person.handle.unsubscribe(&room("lobby")).await.expect("open");
    }
    until_count(&mut ann, 2).await;
    let answer = last.ask(json!({"subscribe": {"room": "lobby"}})).await["subscribed"].take();
    assert_eq!(answer["presence"]["users"].as_array().map(Vec::len), Some(2), "{answer}");
}

#[tokio::test]
async fn presence_data_is_shown_and_the_last_one_wins() {
    let house = House::with(|start| start.set("limits.presence_interval_ms", 50));
    let mut bob = Raw::hello(&house.server, "bob").await;
    bob.ask(json!({"subscribe": {"room": "lobby"}})).await;
    let mut ann = Raw::hello(&house.server, "ann").await;
    for state in ["busy", "away"] {
        ann.ask(json!({"subscribe": {"room": "lobby", "presenceData": {"state": state}}})).await;
        let shown = |frame: &serde_json::Value| {
            let presence = &frame["presence"];
            let users =
                presence["delta"]["arrived"].as_array().or(presence["full"]["users"].as_array());
            users.is_some_and(|users| {
                users.iter().any(|user| user["id"] == "ann" && user["data"]["state"] == state)
            })
        };
        bob.take(state, shown).await;
    }
    let mut cat = Person::come(&house.server, Door::Grpc, "cat").await;
    let roster = cat.enter("lobby", Reading::default()).await.presence.expect("it may be seen");
    assert!(names(&roster).contains(&"ann"), "{roster:?}");
}

#[tokio::test]
async fn signals_reach_those_who_are_present_and_leave_no_trace() {
    let house = House::open();
    let mut people = Vec::new();
    for (door, name) in DOORS.into_iter().zip(["ann", "bob", "cat"]) {
        let mut person = Person::come(&house.server, door, name).await;
        person.enter("lobby", Reading::default()).await;
        people.push(person);
    }
    let mut raw = Raw::hello(&house.server, "dan").await;
    raw.ask(json!({"subscribe": {"room": "lobby"}})).await;
    raw.say(json!({"signal": {"room": "lobby", "type": "typing", "data": {"in": "thread"}}})).await;
    for person in &mut people {
        let (from, kind, data) = person
            .until("the signal", |event| match event {
                Event::Signal { from, kind, data, .. } => {
                    Some((from.id.to_string(), kind.clone(), data.len()))
                }
                _ => None,
            })
            .await;
        assert_eq!((from.as_str(), kind.as_str()), ("dan", "typing"));
        assert!(data > 0);
    }
    people[0].handle.signal(&room("lobby"), "typing", Default::default()).await.expect("connected");
    let told = raw.take("ann's signal", |frame| frame["signal"]["from"]["id"] == "ann").await;
    assert_eq!(told["signal"]["type"], "typing");
    assert_eq!(people[0].say("lobby", "the first entry").await.seq, 1);
}
