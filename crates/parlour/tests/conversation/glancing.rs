//! What one sees of a room without reading it: marks, unread counts, summaries.

use parlour_client::{Event, MessageContent, Reading};
use serde_json::json;

use crate::House;
use crate::support::person::{DOORS, Door, Person, patiently, room};
use crate::support::raw::Raw;

fn reaction(target: u64) -> MessageContent {
    MessageContent::Reaction { target, key: "+".into(), remove: false }
}

#[tokio::test]
async fn unread_counts_posts_only_and_a_mark_reaches_the_users_other_sessions() {
    let house = House::open();
    let bob = Person::come(&house.server, Door::WsProto, "bob").await;
    for text in ["one", "two", "three"] {
        bob.say("lobby", text).await;
    }
    bob.publish("lobby", reaction(1)).await;
    bob.publish("lobby", reaction(2)).await;
    let mut anns = Vec::new();
    for door in DOORS {
        let mut ann = Person::come(&house.server, door, "ann").await;
        let told = ann.enter("lobby", Reading::default()).await.subscription;
        assert_eq!((told.head, told.ordinal, told.mark.seq, told.unread), (5, 3, 0, 3), "{door:?}");
        anns.push(ann);
    }
    anns[0].handle.mark(&room("lobby"), 2).await.expect("connected");
    for ann in &mut anns {
        let marked = ann.until("the mark", |event| match event {
            Event::Marked { room, seq, unread } if room.as_str() == "lobby" => {
                Some((*seq, *unread))
            }
            _ => None,
        });
        assert_eq!(marked.await, (2, 1));
    }
    // Beyond the head is the head; lower than before changes nothing.
    let mut raw = Raw::hello(&house.server, "ann").await;
    let marked = raw.ask(json!({"mark": {"room": "lobby", "seq": 999}})).await;
    assert_eq!(marked["marked"], json!({"room": "lobby", "seq": 5, "unread": 0}));
    let marked = raw.ask(json!({"mark": {"room": "lobby", "seq": 1}})).await;
    assert_eq!(marked["marked"], json!({"room": "lobby", "seq": 5, "unread": 0}));
    // A mark is kept like everything else.
    let house = {
        drop((anns, raw));
        house.stop_and_restart()
    };
    let mut ann = Person::come(&house.server, Door::Grpc, "ann").await;
    let told = ann.enter("lobby", Reading::default()).await.subscription;
    assert_eq!((told.mark.seq, told.unread), (5, 0));
}

#[tokio::test]
async fn a_room_list_is_kept_by_summaries_without_joining() {
    let house = House::with(|start| start.set("limits.summary_interval_ms", 200));
    let mut bob = Person::come(&house.server, Door::WsProto, "bob").await;
    bob.enter("lobby", Reading::default()).await;
    bob.say("lobby", "one").await;
    bob.publish("lobby", reaction(1)).await;
    for (door, name) in DOORS.into_iter().zip(["ann", "cat", "dan"]) {
        let mut ann = Person::come(&house.server, door, name).await;
        let glance = Reading { summary: true, ..Reading::default() };
        ann.handle.subscribe(&room("lobby"), glance).await.expect("allowed");
        let first = ann.until("a summary", summary).await;
        assert_eq!(first.mark.map(|mark| mark.seq), Some(0), "{door:?}: an answer has the mark");
        let before = first.head;
        for number in 0..5 {
            bob.say("lobby", &format!("{name} {number}")).await;
        }
        let mut pushes = 0;
        let last = loop {
            let push = ann.until("a summary", summary).await;
            assert_eq!(push.mark, None, "{door:?}: a push is shared");
            pushes += 1;
            if push.head == before + 5 {
                break push;
            }
        };
        assert!(pushes <= 5, "{door:?}: {pushes} pushes");
        assert_eq!(last.ordinal, first.ordinal + 5, "{door:?}");
        let post = last.last.expect("the newest post");
        let posts = parlour_client::posts(
            &room("lobby"),
            &model::Page { posts: vec![post], ..Default::default() },
        );
        assert_eq!(posts.expect("readable")[0].content.text(), format!("{name} 4"), "{door:?}");
    }
    let mut raw = Raw::hello(&house.server, "eve").await;
    let answer = raw.ask(json!({"subscribe": {"room": "lobby"}})).await;
    let present = &answer["subscribed"]["presence"];
    assert_eq!(present["count"], 2, "bob and eve; nobody who only looks at the list: {answer}");
}

fn summary(event: &Event) -> Option<model::Summary> {
    match event {
        Event::Summary { room, summary } if room.as_str() == "lobby" => Some((**summary).clone()),
        _ => None,
    }
}

#[tokio::test]
async fn many_rooms_are_told_at_once_and_a_bad_one_hides_no_other() {
    let house = House::open();
    let bob = Person::come(&house.server, Door::WsProto, "bob").await;
    bob.say("a", "in a").await;
    bob.say("b", "in b").await;
    for door in DOORS {
        let ann = Person::come(&house.server, door, "ann").await;
        let asked = ["a", "b", "unborn", "_reserved"].map(room).to_vec();
        let told = patiently("summaries", ann.handle.summaries(asked)).await;
        let (mut rooms, refused) = told.unwrap_or_else(|error| panic!("{door:?}: {error}"));
        rooms.sort_by_key(|(room, _)| room.clone());
        let heads: Vec<_> =
            rooms.iter().map(|(room, summary)| (room.as_str(), summary.head)).collect();
        assert_eq!(heads, [("a", 1), ("b", 1), ("unborn", 0)], "{door:?}");
        let refused: Vec<_> =
            refused.iter().map(|(room, why)| (room.as_str(), why.code.reason())).collect();
        assert_eq!(refused, [("_reserved", "forbidden")], "{door:?}");
    }
}
