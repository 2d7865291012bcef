//! Everything that a link carries comes out as it went in, and nothing that is large is copied.

use std::ops::Range;

use bytes::Bytes;
use model::{Answer, AskBody, Catchup, Entry, Fed};
use prost::Message;

use super::samples;
use crate::codec::link::{
    decode_answer, decode_ask, decode_entries, decode_fed, encode_answer, encode_ask,
    encode_entries, encode_fed,
};
use crate::link as pb;

/// Over the wire, as tonic would: decoded out of one buffer.
fn sent<M: Message + Default>(message: &M) -> (M, Range<*const u8>) {
    let buffer = Bytes::from(message.encode_to_vec());
    let range = buffer.as_ptr_range();
    (M::decode(buffer).expect("what was encoded"), range)
}

fn is_slice(bytes: &Bytes, buffer: &Range<*const u8>) -> bool {
    bytes.is_empty() || buffer.contains(&bytes.as_ptr())
}

#[test]
fn asks_come_out_as_they_went_in() {
    for (id, ask) in (1..).zip(samples::asks()) {
        let (received, buffer) = sent(&encode_ask(id, &ask));
        let (echoed, decoded) = decode_ask(received).expect("valid");
        if let AskBody::Publish(publish) = &decoded.body {
            assert!(is_slice(&publish.content.body, &buffer), "{ask:?} was copied");
        }
        assert_eq!((echoed, decoded), (id, ask));
    }
}

#[test]
fn answers_come_out_as_they_went_in() {
    for (id, answer) in (1..).zip(samples::answers()) {
        let (received, buffer) = sent(&encode_answer(id, &answer));
        let (echoed, decoded) = decode_answer(received).expect("valid");
        let posts = match &decoded {
            Answer::History { page, .. } => page.posts.as_slice(),
            Answer::Subscribed(subscription) => match &subscription.catchup {
                Catchup::Snapshot(snapshot) => snapshot.page.posts.as_slice(),
                Catchup::Resumed { .. } => &[],
            },
            Answer::Summary(summary) => summary.last.as_slice(),
            _ => &[],
        };
        assert!(posts.iter().all(|post| is_slice(&post.payload, &buffer)), "{answer:?} was copied");
        assert_eq!((echoed, decoded), (id, answer));
    }
}

#[test]
fn feeds_come_out_as_they_went_in() {
    for fed in samples::feds() {
        let (received, buffer) = sent(&encode_fed(&samples::room(), &fed));
        let frame = received.frame.expect("a frame");
        let (room, decoded) = decode_fed(frame).expect("valid").expect("a feed");
        if let Fed::Entries { entries, .. } | Fed::Erased { entries, .. } = &decoded {
            assert!(
                entries.iter().all(|entry| is_slice(&entry.payload, &buffer)),
                "{fed:?} was copied"
            );
        }
        assert_eq!((room, decoded), (samples::room(), fed));
    }
}

#[test]
fn segments_come_out_as_they_went_in() {
    let feds = samples::feds();
    let entries: Vec<Entry> = feds
        .into_iter()
        .find_map(|fed| match fed {
            Fed::Entries { entries, .. } => Some(entries),
            _ => None,
        })
        .expect("a sample");
    assert_eq!(decode_entries(encode_entries(&entries)), Ok(entries));
}

#[test]
fn an_answer_and_a_heartbeat_are_not_feeds() {
    let answer = pb::owner_frame::Frame::Answer(encode_answer(1, &Answer::Done));
    assert_eq!(decode_fed(answer), Ok(None));
    assert_eq!(decode_fed(pb::owner_frame::Frame::Heartbeat(pb::Heartbeat {})), Ok(None));
}

#[test]
fn what_lacks_its_subject_or_names_nothing_is_unreadable() {
    assert!(decode_ask(pb::Ask::default()).is_err());
    assert!(decode_answer(pb::Answer::default()).is_err());
    let entry = pb::Entry { kind: 99, ..pb::Entry::default() };
    assert!(decode_entries(vec![entry]).is_err());
    let mut ask = encode_ask(1, &samples::asks()[0]);
    ask.room = "no room".into();
    assert!(decode_ask(ask).expect_err("a space").message.contains("0x20"));
    let unwatched = pb::Unwatched { room: "lobby".into(), watch: 3, why: None };
    assert!(decode_fed(pb::owner_frame::Frame::Unwatched(unwatched)).is_err());
}
