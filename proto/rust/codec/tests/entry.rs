//! Entries are what prost would write, carry contents as received, and forget what was redacted.

use bytes::Bytes;
use model::{Content, ContentKind, Digest, Encode, Encoding, UserId};
use prost::Message;

use super::samples::{ann, id, log, newer_post, room};
use crate::codec::fields::{Fields, put_bytes, put_text};
use crate::codec::{Codec, content, message_frame};
use crate::v1::{self, message};

fn entry(content: &Content) -> Bytes {
    Codec.message(&room(), None, 813, 641, &id("01J9ZK5V8Q"), 1_760_000_000_123, &ann(), content)
}

#[test]
fn an_entry_is_byte_for_byte_what_prost_writes() {
    let edit = model::MessageContent::Edit {
        target: 7,
        text: "x".repeat(200),
        data: super::samples::data(),
    };
    let edit = content(&edit).expect("may be published");
    let body = v1::Edit::decode(edit.body.clone()).expect("an edit");
    for (seq, ordinal, at_ms) in [(1, 0, 1), (2, 1, 1_760_000_000_123), (u64::MAX, u64::MAX, 0)] {
        for log in [None, Some(log())] {
            let ours = Codec.message(
                &room(),
                log.as_ref(),
                seq,
                ordinal,
                &id("01J9ZK5V8Q"),
                at_ms,
                &ann(),
                &edit,
            );
            let theirs = v1::Message {
                room: "team:ops".into(),
                log: log.map_or_else(String::new, |log| log.as_str().to_owned()),
                seq,
                ordinal: Some(ordinal),
                id: "01J9ZK5V8Q".into(),
                at_ms,
                from: Some(v1::User { id: "ann".into(), name: "Ann".into(), data: None }),
                content: Some(message::Content::Edit(body.clone())),
                ..v1::Message::default()
            };
            assert_eq!(ours, theirs.encode_to_vec());
        }
    }
}

#[test]
fn presence_data_is_not_stored_with_a_message() {
    let user = model::User { data: super::samples::data(), ..ann() };
    let with = Codec.message(&room(), None, 1, 1, &id("01J9ZK5V8Q"), 1, &user, &newer_post());
    let without = Codec.message(&room(), None, 1, 1, &id("01J9ZK5V8Q"), 1, &ann(), &newer_post());
    assert_eq!(with, without);
}

#[test]
fn a_field_of_a_newer_version_is_in_the_entry_and_in_its_push() {
    let payload = entry(&newer_post());
    let newer = newer_post().body;
    let holds = |bytes: &[u8]| bytes.windows(newer.len()).any(|window| window == newer);
    assert!(holds(&payload));
    let mut push = Vec::new();
    message_frame(Encoding::Proto, &payload, &mut push);
    assert!(holds(&push));
    let frame = v1::ServerFrame::decode(push.as_slice()).expect("a frame");
    assert!(matches!(frame.frame, Some(v1::server_frame::Frame::Message(_))));
}

#[test]
fn a_tombstone_keeps_who_and_when_and_nothing_of_what() {
    // A field beside the content that this version does not know might hold some of it.
    let mut payload = entry(&newer_post()).to_vec();
    put_text(&mut payload, 99, "a secret of a newer version");
    let by = UserId::new("bob").expect("valid");
    let blanked = Codec.tombstone(&payload.clone().into(), &by, "wrong room");

    let before = v1::Message::decode(payload.as_slice()).expect("a message");
    let tombstone = v1::Tombstone { by: "bob".into(), reason: "wrong room".into() };
    let expected = v1::Message { content: Some(message::Content::Tombstone(tombstone)), ..before };
    assert_eq!(blanked, expected.encode_to_vec());
    assert!(!blanked.windows(6).any(|window| window == b"secret" || window == b"hello\x18"));
}

#[test]
fn a_damaged_payload_still_becomes_a_tombstone() {
    let payload = entry(&newer_post());
    let by = UserId::new("bob").expect("valid");
    for cut in 0..payload.len() {
        let blanked = Codec.tombstone(&payload.slice(..cut), &by, "");
        let message = v1::Message::decode(blanked).expect("a message");
        assert!(matches!(message.content, Some(message::Content::Tombstone(_))));
    }
}

#[test]
fn the_reason_of_a_redaction_is_read_from_its_bytes() {
    let mut body = v1::Redact { target: 7, reason: "wrong room".into() }.encode_to_vec();
    put_bytes(&mut body, 99, b"new");
    assert_eq!(Codec.redact_reason(&body.into()), "wrong room");
    assert_eq!(Codec.redact_reason(&Bytes::new()), "");
    assert_eq!(Codec.redact_reason(&Bytes::from_static(b"\xff\xff")), "");
}

#[test]
fn the_json_of_an_entry_is_its_message() {
    let mut push = Vec::new();
    message_frame(Encoding::Json, &entry(&newer_post()), &mut push);
    let json = String::from_utf8(push).expect("text");
    let expected = r#"{"message":{"room":"team:ops","seq":813,"ordinal":641,"id":"01J9ZK5V8Q","atMs":1760000000123,"from":{"id":"ann","name":"Ann"},"post":{"text":"hello","replyTo":3}}}"#;
    assert_eq!(json, expected);
}

#[test]
fn what_a_client_publishes_is_what_prost_writes_and_the_server_computes_the_same_digest() {
    use model::MessageContent as Says;
    let data = super::samples::data();
    for says in [
        Says::post("hello"),
        Says::Post {
            text: "hello".into(),
            data: data.clone(),
            reply_to: Some(3),
            thread: Some(1),
            mentions: vec![ann().id],
        },
        Says::Edit { target: 7, text: "hello".into(), data: data.clone() },
        Says::redact(7, "wrong room"),
        Says::reaction(7, "👍"),
        Says::Reaction { target: 7, key: "👍".into(), remove: true },
        Says::System { text: "hello".into(), data },
    ] {
        let made = content(&says).expect("may be published");
        let mut request =
            v1::Publish { room: "lobby".into(), ..v1::Publish::default() }.encode_to_vec();
        let number =
            crate::codec::contents::number_in_publish(made.kind).expect("may be published");
        put_bytes(&mut request, number, &made.body);
        let whole = v1::Publish::decode(request.as_slice()).expect("a publish");
        assert_eq!(whole.encode_to_vec(), request, "{says:?}: not as prost writes it");
        let read = crate::codec::decode_publish(&request).expect("allowed");
        let crate::codec::Unary::Publish(publish) = read else { panic!("{read:?}") };
        assert_eq!(publish.content, made);
    }
    let by = ann().id;
    assert_eq!(content(&Says::Tombstone { by, reason: String::new() }), None);
    assert_eq!(content(&Says::Unknown), None);
}

#[test]
fn a_digest_leaves_out_data_and_reasons() {
    let with = content(&model::MessageContent::redact(7, "a")).expect("may be published");
    let without = content(&model::MessageContent::redact(7, "")).expect("may be published");
    assert_eq!(with.digest, without.digest);
    assert_eq!(with.digest, Digest::of(ContentKind::Redact, 7, "", false, ""));
}

#[test]
fn fields_of_an_entry_are_in_the_order_of_their_numbers() {
    let payload = entry(&newer_post());
    let numbers: Vec<u32> =
        Fields::of(&payload).map(|field| field.expect("whole").number).collect();
    assert_eq!(numbers, [1, 3, 4, 5, 6, 7, 8]);
}
