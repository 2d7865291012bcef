//! Both shells against a scripted service on loopback.

mod front;
mod service;

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use model::{End, EndCode, HistoryAnchor, HistoryAsk};
use parlour_client::{
    ConnectError, Connection, Encoding, Event, Events, Handle, Message, MessageContent, Options,
    PublishError, Reading, RoomName, WishError,
};
use service::{Greeting, Service};

/// Far above anything that is awaited here: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum Door {
    WsProto,
    WsJson,
    Grpc,
}

const DOORS: [Door; 3] = [Door::WsProto, Door::WsJson, Door::Grpc];

fn room() -> RoomName {
    RoomName::new("team:ops").expect("valid")
}

async fn open(door: Door) -> (Service, Options) {
    let service = Service::new();
    let (url, encoding) = match door {
        Door::WsProto => (front::serve_ws(service.clone()).await, Encoding::Proto),
        Door::WsJson => (front::serve_ws(service.clone()).await, Encoding::Json),
        Door::Grpc => (front::serve_grpc(service.clone()).await, Encoding::Proto),
    };
    (service, Options::new(url).encoding(encoding))
}

async fn come(options: &Options, name: &str) -> (Handle, Events) {
    let connected = parlour_client::connect(options.clone().name(name));
    patiently(connected).await.expect("the service is there")
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it should not take so long")
}

/// The next entry, whatever else is told before it.
async fn next_message(events: &mut Events) -> Message {
    loop {
        match patiently(events.recv()).await.expect("the session goes on") {
            Event::Message(message) => return *message,
            Event::Violation(what) => panic!("{what}"),
            _ => {}
        }
    }
}

async fn until_subscribed(events: &mut Events) {
    while !matches!(patiently(events.recv()).await, Some(Event::Subscribed { .. })) {}
}

#[tokio::test]
async fn what_one_publishes_the_other_reads() {
    for door in DOORS {
        let (_service, options) = open(door).await;
        let (ann, _) = come(&options, "ann").await;
        let (bob, mut events) = come(&options, "bob").await;
        bob.subscribe(&room(), Reading::default()).await.expect("allowed");
        until_subscribed(&mut events).await;
        let published = patiently(ann.publish(&room(), MessageContent::post("deploy?"))).await;
        let published = published.expect("it is written");
        assert_eq!((published.seq, published.duplicate), (1, false), "{door:?}");
        let message = next_message(&mut events).await;
        assert_eq!((message.seq, &message.id), (1, &published.id), "{door:?}");
        assert_eq!((&*message.from.name, message.content.text()), ("ann", "deploy?"), "{door:?}");
    }
}

#[tokio::test]
async fn cuts_lose_nothing_and_double_nothing() {
    for door in DOORS {
        let (service, options) = open(door).await;
        let (ann, mut events) = come(&options, "ann").await;
        ann.subscribe(&room(), Reading::default()).await.expect("allowed");
        until_subscribed(&mut events).await;
        let mut ids = Vec::new();
        for round in 0..3 {
            service.cut_after(3);
            let mut acknowledgements = Vec::new();
            for number in 0..10 {
                let content = MessageContent::post(format!("{round}.{number}"));
                acknowledgements.push(ann.send(&room(), content).await.expect("there is space"));
            }
            for acknowledgement in acknowledgements {
                ids.push(acknowledgement.id().clone());
                let published = patiently(acknowledgement.outcome()).await.expect("it is written");
                assert_eq!(published.seq, ids.len() as u64, "{door:?}");
            }
        }
        assert_eq!(service.ids(&room()), ids, "{door:?}");
        assert_eq!(service.connections_so_far(), 4, "{door:?}");
        for seq in 1..=30 {
            assert_eq!(next_message(&mut events).await.seq, seq, "{door:?}");
        }
    }
}

#[tokio::test]
async fn a_page_comes_decoded_with_the_room_and_what_was_written() {
    for door in DOORS {
        let (_service, options) = open(door).await;
        let (ann, _events) = come(&options, "ann").await;
        for text in ["one", "two"] {
            patiently(ann.publish(&room(), MessageContent::post(text))).await.expect("written");
        }
        let ask = HistoryAsk { anchor: HistoryAnchor::Newest, limit: 10 };
        let page = patiently(ann.history(&room(), ask)).await.expect("a page");
        let texts: Vec<_> = page.posts.iter().map(|post| post.content.text()).collect();
        assert_eq!((texts, page.as_of), (vec!["one", "two"], 2), "{door:?}");
        assert!(page.posts.iter().all(|post| post.room == room()), "{door:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    for url in ["ws://127.0.0.1:1", "grpc://127.0.0.1:1", "wss://127.0.0.1:1"] {
        let error = patiently(parlour_client::connect(Options::new(url))).await;
        assert!(matches!(error, Err(ConnectError::Dial(_))), "{url}");
    }
}

#[tokio::test]
async fn a_final_end_and_a_final_close_code_say_so() {
    for (door, greeting) in [
        (Door::WsProto, Greeting::End(End::new(EndCode::TokenInvalid))),
        (Door::Grpc, Greeting::End(End::new(EndCode::TokenInvalid))),
        (Door::WsJson, Greeting::Close(4504)),
    ] {
        let (service, options) = open(door).await;
        service.greet_with(greeting);
        let error = patiently(parlour_client::connect(options)).await;
        assert!(matches!(error, Err(ConnectError::Ended { code: 4504, .. })), "{door:?}");
    }
}

#[tokio::test]
async fn wishes_before_the_connection_are_kept() {
    for door in DOORS {
        let (_service, options) = open(door).await;
        let (ann, mut events) = parlour_client::start(options.name("ann"));
        ann.subscribe(&room(), Reading::default()).await.expect("kept");
        let published = patiently(ann.publish(&room(), MessageContent::post("early"))).await;
        assert_eq!(published.expect("it is written").seq, 1, "{door:?}");
        assert_eq!(next_message(&mut events).await.seq, 1, "{door:?}");
    }
}

#[tokio::test]
async fn events_that_nobody_reads_wait_and_none_is_lost() {
    let (_service, mut options) = open(Door::WsProto).await;
    let (ann, _events) = come(&options, "ann").await;
    options.events_max = 4;
    let (bob, mut events) = come(&options, "bob").await;
    bob.subscribe(&room(), Reading::default()).await.expect("allowed");
    until_subscribed(&mut events).await;
    for number in 0..200 {
        let content = MessageContent::post(number.to_string());
        patiently(ann.publish(&room(), content)).await.expect("it is written");
    }
    for seq in 1..=200 {
        assert_eq!(next_message(&mut events).await.seq, seq);
    }
}

#[tokio::test]
async fn closing_gives_back_what_was_not_acknowledged_and_frees_the_socket() {
    for door in DOORS {
        let (service, options) = open(door).await;
        let (ann, mut events) = come(&options, "ann").await;
        service.until_open(1).await;
        ann.close().await;
        assert!(matches!(patiently(events.recv()).await, Some(Event::Connected(_))));
        assert!(matches!(patiently(events.recv()).await, Some(Event::Ended { .. })));
        assert_eq!(patiently(events.recv()).await, None);
        let late = ann.publish(&room(), MessageContent::post("late")).await;
        assert!(matches!(late, Err(PublishError::Wish(WishError::Over))), "{door:?}");
        patiently(service.until_open(0)).await;
    }
}

#[tokio::test]
async fn a_dropped_handle_leaves() {
    for door in DOORS {
        let (service, options) = open(door).await;
        let (ann, events) = come(&options, "ann").await;
        service.until_open(1).await;
        drop((ann, events));
        patiently(service.until_open(0)).await;
    }
}

/// What a load generator does: no task and no channel per client.
#[tokio::test]
async fn a_thousand_connections_live_in_one_task() {
    const READERS: usize = 1_000;
    let (service, options) = open(Door::WsProto).await;
    let (ann, _events) = come(&options, "ann").await;
    patiently(ann.publish(&room(), MessageContent::post("first"))).await.expect("written");
    let read_two = |mut reader: Connection| async move {
        reader.client().subscribe(&room(), Reading::default()).expect("allowed");
        let mut read = 0;
        while read < 2 {
            match reader.next().await.expect("the session goes on") {
                Event::Message(_) => read += 1,
                Event::Violation(what) => panic!("{what}"),
                _ => {}
            }
        }
    };
    let readers: FuturesUnordered<_> = (0..READERS)
        .map(|number| Connection::new(options.clone().name(format!("reader{number}"))))
        .map(read_two)
        .collect();
    let writer = tokio::spawn(async move {
        service.until_subscribed(READERS).await;
        for text in ["second", "third"] {
            ann.publish(&room(), MessageContent::post(text)).await.expect("written");
        }
    });
    let done = tokio::time::timeout(3 * PATIENCE, readers.count()).await;
    assert_eq!(done.expect("they all read"), READERS);
    writer.await.expect("it is written");
}
