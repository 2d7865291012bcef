//! Each limit to the byte: what is as large as allowed passes, one more is refused with both numbers.

use model::{ClientFrame, ClientSays, Encoding, RefusalCode, limits};

use crate::codec::decode_client;

fn read(json: &str) -> ClientFrame {
    decode_client(Encoding::Json, json.as_bytes()).expect("readable")
}

fn publish(content: &str) -> String {
    format!(r#"{{"ref":1,"publish":{{"room":"lobby","id":"01J9ZK5V8Q",{content}}}}}"#)
}

/// `frame` makes a frame with so many of something.
fn holds_to_the_byte(allowed: usize, frame: impl Fn(usize) -> String) {
    let says = read(&frame(allowed)).says;
    assert!(!matches!(says, ClientSays::Faulty(_)), "{allowed} should be allowed: {says:?}");
    let ClientSays::Faulty(refusal) = read(&frame(allowed + 1)).says else {
        panic!("{} should be refused", allowed + 1);
    };
    assert_eq!(refusal.code, RefusalCode::TooLarge, "{refusal:?}");
    assert!(refusal.message.contains(&allowed.to_string()), "{refusal:?}");
}

#[test]
fn texts_keys_and_reasons() {
    let text =
        |text: &'static str| move |bytes: usize| publish(&text.replace('@', &"x".repeat(bytes)));
    holds_to_the_byte(limits::TEXT_BYTES_MAX, text(r#""post":{"text":"@"}"#));
    holds_to_the_byte(limits::TEXT_BYTES_MAX, text(r#""edit":{"target":1,"text":"@"}"#));
    holds_to_the_byte(limits::TEXT_BYTES_MAX, text(r#""system":{"text":"@"}"#));
    holds_to_the_byte(limits::REASON_BYTES_MAX, text(r#""redact":{"target":1,"reason":"@"}"#));
    holds_to_the_byte(limits::REACTION_KEY_BYTES_MAX, text(r#""reaction":{"target":1,"key":"@"}"#));
}

#[test]
fn data_in_bytes_of_its_protobuf() {
    // A member of one letter and a string of n bytes is 12 bytes and n, while n takes two bytes to say.
    let data = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 12));
    let post = |bytes| publish(&format!(r#""post":{{"data":{}}}"#, data(bytes)));
    holds_to_the_byte(limits::DATA_BYTES_MAX, post);
    holds_to_the_byte(limits::SIGNAL_DATA_BYTES_MAX, |bytes| {
        format!(r#"{{"signal":{{"room":"lobby","type":"x","data":{}}}}}"#, data(bytes))
    });
    holds_to_the_byte(limits::PRESENCE_DATA_BYTES_MAX, |bytes| {
        format!(r#"{{"subscribe":{{"room":"lobby","presenceData":{}}}}}"#, data(bytes))
    });
}

#[test]
fn depth_of_data() {
    let nested = |depth: usize| {
        // The object itself is the first level; objects and arrays count alike, empty ones too.
        let lists = depth / 2;
        let objects = depth - 1 - lists;
        let (open, close) = (r#"{"b":"#.repeat(objects) + &"[".repeat(lists), "]".repeat(lists));
        publish(&format!(r#""post":{{"data":{{"a":{open}{close}{}}}}}"#, "}".repeat(objects)))
    };
    assert!(matches!(read(&nested(2)).says, ClientSays::Publish(_)));
    holds_to_the_byte(limits::DATA_DEPTH_MAX, nested);
}

#[test]
fn lists_and_pages() {
    let list = |count: usize| (0..count).map(|n| format!("\"u{n}\"")).collect::<Vec<_>>().join(",");
    holds_to_the_byte(limits::MENTIONS_MAX, |n| {
        publish(&format!(r#""post":{{"mentions":[{}]}}"#, list(n)))
    });
    holds_to_the_byte(limits::SUMMARIES_ROOMS_MAX, |n| {
        format!(r#"{{"summaries":{{"rooms":[{}]}}}}"#, list(n))
    });
    let posts = limits::PAGE_POSTS_MAX as usize;
    holds_to_the_byte(posts, |n| format!(r#"{{"history":{{"room":"lobby","limit":{n}}}}}"#));
    holds_to_the_byte(posts, |n| format!(r#"{{"subscribe":{{"room":"lobby","recent":{n}}}}}"#));
}

#[test]
fn tokens_and_words() {
    let text = |frame: &'static str| move |bytes: usize| frame.replace('@', &"x".repeat(bytes));
    holds_to_the_byte(limits::TOKEN_BYTES_MAX, text(r#"{"hello":{"token":"@"}}"#));
    holds_to_the_byte(limits::TOKEN_BYTES_MAX, text(r#"{"hello":{"resumeToken":"@"}}"#));
    holds_to_the_byte(limits::TOKEN_BYTES_MAX, text(r#"{"authenticate":{"token":"@"}}"#));
    holds_to_the_byte(limits::USER_NAME_BYTES_MAX, text(r#"{"hello":{"name":"@"}}"#));
    holds_to_the_byte(64, text(r#"{"hello":{"client":"@"}}"#));
    let kind = text(r#"{"signal":{"room":"lobby","type":"@"}}"#);
    holds_to_the_byte(limits::SIGNAL_TYPE_BYTES_MAX, kind);
}
