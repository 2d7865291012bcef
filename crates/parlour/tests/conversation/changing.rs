//! Edits, reactions, replies, redactions: folded where they are listed, entries where they are read live.

use std::path::Path;
use std::time::{Duration, Instant};

use parlour_client::{HistoryAnchor, MessageContent, MessageId, Reading, Seq, UserId};
use serde_json::json;

use crate::House;
use crate::support::PATIENCE;
use crate::support::person::{DOORS, Door, Person, options, room};
use crate::support::raw::Raw;
use crate::support::token::{member, token};

fn edit(target: Seq, text: &str) -> MessageContent {
    MessageContent::Edit { target, text: text.into(), data: Default::default() }
}

fn reaction(target: Seq, key: &str, remove: bool) -> MessageContent {
    MessageContent::Reaction { target, key: key.into(), remove }
}

fn redact(target: Seq) -> MessageContent {
    MessageContent::Redact { target, reason: "a mistake".into() }
}

/// The reason with which a publish is refused for good.
async fn refused(person: &Person, name: &str, content: MessageContent) -> &'static str {
    match person.handle.publish(&room(name), content).await {
        Err(parlour_client::PublishError::NotPublished(not)) => {
            not.refusal.expect("the server refused it").code.reason()
        }
        other => panic!("it should be refused: {other:?}"),
    }
}

#[tokio::test]
async fn history_and_snapshots_are_folded_through_every_door() {
    let house = House::open();
    let ann = Person::come(&house.server, Door::WsProto, "ann").await;
    let bob = Person::come(&house.server, Door::Grpc, "bob").await;
    ann.say("lobby", "helo").await;
    ann.publish("lobby", edit(1, "hello")).await;
    ann.publish("lobby", reaction(1, "👍", false)).await;
    bob.publish("lobby", reaction(1, "👍", false)).await;
    bob.publish("lobby", reaction(1, "🎉", false)).await;
    bob.publish("lobby", reaction(1, "🎉", true)).await;
    let reply = MessageContent::Post {
        text: "hi Ann".into(),
        data: Default::default(),
        reply_to: Some(1),
        thread: Some(1),
        mentions: vec![UserId::new("ann").expect("valid")],
    };
    bob.publish("lobby", reply.clone()).await;
    for door in DOORS {
        let mut bob = Person::come(&house.server, door, "bob").await;
        let page = bob.page("lobby", HistoryAnchor::Newest, 50).await;
        let entered = bob.enter("lobby", Reading::default()).await;
        let (_, posts, snapshot) = entered.snapshot("lobby");
        assert_eq!(page.posts, posts, "{door:?}: a page and a snapshot fold alike");
        assert_eq!((page.as_of, page.mine.clone()), (7, snapshot.mine.clone()), "{door:?}");
        assert_eq!(page.mine, [(1, vec!["👍".to_owned()])], "{door:?}");
        let [first, second] = &page.posts[..] else { panic!("two posts: {:?}", page.posts) };
        assert_eq!((first.seq, first.ordinal, first.content.text()), (1, 1, "hello"), "{door:?}");
        assert!(first.edited_at_ms.is_some_and(|at| at >= first.at_ms), "{door:?}");
        let [thumbs] = &first.reactions[..] else { panic!("one kind: {:?}", first.reactions) };
        assert_eq!((thumbs.key.as_str(), thumbs.count), ("👍", 2), "{door:?}");
        let users: Vec<&str> = thumbs.users.iter().map(UserId::as_str).collect();
        assert_eq!(users, ["ann", "bob"], "{door:?}");
        assert_eq!((second.seq, second.ordinal, &second.content), (7, 2, &reply), "{door:?}");
    }
}

#[tokio::test]
async fn pages_go_both_ways_by_posts_whatever_lies_between() {
    let house = House::with(|start| start.set("limits.publishes_per_second", 10_000));
    let ann = Person::come(&house.server, Door::WsProto, "ann").await;
    // Posts 1, 12, 23, …: ten reactions and take-backs behind each.
    for post in 0..12 {
        let seq = ann.say("lobby", &post.to_string()).await.seq;
        assert_eq!(seq, 1 + 11 * post);
        for _ in 0..5 {
            ann.publish("lobby", reaction(seq, "+", false)).await;
            ann.publish("lobby", reaction(seq, "+", true)).await;
        }
    }
    for (door, (anchor, limit, wanted, more)) in DOORS.into_iter().cycle().zip([
        (HistoryAnchor::Newest, 3, vec![100, 111, 122], true),
        (HistoryAnchor::Before(100), 3, vec![67, 78, 89], true),
        (HistoryAnchor::Before(23), 3, vec![1, 12], false),
        (HistoryAnchor::After(0), 2, vec![1, 12], true),
        (HistoryAnchor::After(100), 5, vec![111, 122], false),
        (HistoryAnchor::Around(56), 4, vec![34, 45, 56, 67], true),
    ]) {
        let reader = Person::with(options(&house.server, door).name("bob")).await;
        let page = reader.page("lobby", anchor, limit).await;
        let seqs: Vec<Seq> = page.posts.iter().map(|post| post.seq).collect();
        assert_eq!((seqs, page.more, page.first), (wanted, more, 1), "{anchor:?}");
    }
}

#[tokio::test]
async fn only_the_author_edits_and_a_reaction_stands_once() {
    let house = House::open();
    let ann = Person::come(&house.server, Door::WsJson, "ann").await;
    let bob = Person::come(&house.server, Door::Grpc, "bob").await;
    ann.say("lobby", "mine").await;
    assert_eq!(refused(&bob, "lobby", edit(1, "yours")).await, "not_author");
    assert_eq!(refused(&bob, "lobby", redact(1)).await, "not_author");
    assert_eq!(refused(&bob, "lobby", edit(99, "nothing")).await, "target_missing");
    let first = bob.publish("lobby", reaction(1, "+", false)).await;
    let again = bob.publish("lobby", reaction(1, "+", false)).await;
    assert_eq!((first.seq, first.duplicate), (2, false));
    assert_eq!((again.seq, again.duplicate), (2, true), "a reaction that stands writes no entry");
    ann.publish("lobby", redact(1)).await;
    assert_eq!(refused(&ann, "lobby", edit(1, "too late")).await, "target_redacted");
    assert_eq!(refused(&bob, "lobby", reaction(1, "-", false)).await, "target_redacted");
    assert_eq!(ann.page("lobby", HistoryAnchor::Newest, 1).await.as_of, 3);
}

#[tokio::test]
async fn a_moderator_redacts_and_the_text_is_gone_from_everywhere() {
    // Nothing that compression could shorten: as long as a text is stored, it can be found.
    let [secret, edited, other] = &[1, 2, 3].map(|seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        std::iter::repeat_with(|| random.alphanumeric()).take(60).collect::<String>()
    });
    let house = House::with(|start| start.with_tokens().set("erase_within_ms", 1_000));
    let mut rights = member();
    let with_token =
        |door, name: &str, rights| options(&house.server, door).token(token(name, 600, rights));
    let mut ann = Person::with(with_token(Door::WsJson, "ann", rights.clone())).await;
    let bob = Person::with(with_token(Door::Grpc, "bob", rights.clone())).await;
    rights["lobby"] = json!(["moderate"]);
    let moderator = Person::with(with_token(Door::WsProto, "mod", rights.clone())).await;
    ann.enter("lobby", Reading::default()).await;
    let said = ann.say("lobby", secret).await;
    ann.publish("lobby", edit(1, edited)).await;
    ann.say("lobby", other).await;
    assert_eq!(ann.messages("lobby", 3).await[0].content.text(), secret);
    assert!(stands_in_files(house.dir.path(), secret), "the test can see what is stored");

    assert_eq!(refused(&bob, "lobby", redact(1)).await, "not_author");
    moderator.publish("lobby", redact(1)).await;

    let told = ann.message("lobby").await;
    assert_eq!((told.seq, told.content), (4, redact(1)));
    let page = bob.page("lobby", HistoryAnchor::Newest, 50).await;
    let tombstone = &page.posts[0];
    assert_eq!((tombstone.seq, &tombstone.id), (1, &said.id));
    assert!(
        matches!(&tombstone.content, MessageContent::Tombstone { by, reason }
            if by.as_str() == "mod" && reason == "a mistake"),
        "{tombstone:?}"
    );
    let shows = |what: String| [secret, edited].iter().any(|text| what.contains(*text));
    assert!(!shows(format!("{page:?}")), "{page:?}");
    for door in DOORS {
        let mut late = Person::with(with_token(door, "late", rights.clone())).await;
        let entered = late.enter("lobby", Reading::after(Default::default())).await;
        assert_eq!(entered.missed(), 4);
        let replayed = late.messages("lobby", 4).await;
        assert_eq!(replayed.iter().map(|message| message.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(!shows(format!("{replayed:?}")), "{door:?}: {replayed:?}");
    }
    let deadline = Instant::now() + PATIENCE;
    while [secret, edited].iter().any(|text| stands_in_files(house.dir.path(), text)) {
        assert!(Instant::now() < deadline, "a redacted text is still in the files");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(stands_in_files(house.dir.path(), other), "and only that");
    assert_eq!(ann.texts("lobby").await, [(1, String::new()), (3, other.clone())]);
}

/// Whether a text can be read in any file of a folder.
fn stands_in_files(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return stands_in_files(&path, text);
        }
        // A file may go away between listing and reading.
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn what_the_application_adds_comes_back_as_it_was_written() {
    let house = House::open();
    let mut ann = Raw::dial(&house.server).await;
    ann.say(json!({"ref": 1, "hello": {"name": "ann", "subscribe": [{"room": "lobby"}]}})).await;
    let post = json!({"text": "naïve \u{1f600} \"quoted\"", "mentions": ["bob"], "replyTo": 7, "thread": 5,
        "data": {"card": 7, "price": 1.5, "tags": ["a", null, true], "deep": {"er": {"0": -12}}}});
    ann.say(json!({"publish": {"room": "lobby", "id": "12345678", "post": post}})).await;
    assert_eq!(ann.until("message").await["post"], post);
    let mut bob = Person::come(&house.server, Door::Grpc, "bob").await;
    let (_, posts, _) = bob.enter("lobby", Reading::default()).await.snapshot("lobby");
    assert_eq!(posts[0].id, MessageId::new("12345678").expect("valid"));
    assert_eq!(posts[0].content.text(), "naïve \u{1f600} \"quoted\"");
    let page = ann.ask(json!({"history": {"room": "lobby"}})).await["history"].take();
    assert_eq!(page["posts"][0]["post"], post, "{page}");
}
