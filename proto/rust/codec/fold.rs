//! A post and what became of it, merged into one message: what pages and snapshots hold.
//!
//! The merge works on bytes, so that fields of a newer version survive it; JSON is made of its result.

use model::{ContentKind, FoldedPost};
use prost::Message as _;

use super::contents::number_in_message;
use super::fields::{Fields, put_message, put_number};
use super::words;
use crate::v1;

/// Numbers in `Message`.
const ROOM: u32 = 1;
const EDITED_AT_MS: u32 = 14;
const REACTIONS: u32 = 15;
/// Numbers in `Post` and `Edit`.
const POST_TEXT: u32 = 1;
const POST_DATA: u32 = 2;
const EDIT_TEXT: u32 = 2;
const EDIT_DATA: u32 = 3;

/// Appends the `Message`: without its room, which the page names once; with the text and data of its last
/// edit, and with its reactions. Bytes that are broken end where they break: they are what a room encoded,
/// and a page is not worth a session.
pub(super) fn put_folded(out: &mut Vec<u8>, post: &FoldedPost) {
    for field in Fields::of(&post.payload).map_while(Result::ok) {
        match (field.number, field.bytes, &post.edit) {
            (ROOM, ..) => {}
            (number, Some(body), Some((_, edit)))
                if number == number_in_message(ContentKind::Post) =>
            {
                put_message(out, number, |out| put_edited(out, body, edit));
            }
            _ => out.extend_from_slice(field.whole),
        }
    }
    if let Some((at_ms, _)) = post.edit {
        put_number(out, EDITED_AT_MS, at_ms);
    }
    for reaction in words::reactions_to(&post.reactions) {
        put_message(out, REACTIONS, |out| reaction.encode_raw(out));
    }
}

/// The post with the edit's text and data in the place of its own.
fn put_edited(out: &mut Vec<u8>, post: &[u8], edit: &[u8]) {
    for (from, to) in [(EDIT_TEXT, POST_TEXT), (EDIT_DATA, POST_DATA)] {
        let values = Fields::of(edit).map_while(Result::ok).filter(|field| field.number == from);
        for value in values.filter_map(|field| field.bytes) {
            super::fields::put_bytes(out, to, value);
        }
    }
    for field in Fields::of(post).map_while(Result::ok) {
        if !matches!(field.number, POST_TEXT | POST_DATA) {
            out.extend_from_slice(field.whole);
        }
    }
}

/// The same as a generated type, for JSON; empty if the bytes are broken.
pub(super) fn folded(post: &FoldedPost) -> v1::Message {
    let mut bytes = Vec::with_capacity(post.payload.len() + 64);
    put_folded(&mut bytes, post);
    v1::Message::decode(bytes.as_slice()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{ReactionCount, UserId};

    use super::*;
    use crate::v1::message::Content;

    fn stored(content: Content) -> v1::Message {
        v1::Message {
            room: "lobby".into(),
            seq: 7,
            ordinal: Some(5),
            id: "01J9ZK5V8Q".into(),
            at_ms: 1_760_000_000_123,
            from: Some(v1::User { id: "ann".into(), name: "Ann".into(), data: None }),
            content: Some(content),
            ..v1::Message::default()
        }
    }

    fn post(text: &str) -> v1::Post {
        let data = crate::Struct { fields: [("a".into(), crate::Value { kind: None })].into() };
        v1::Post { text: text.into(), data: Some(data), reply_to: 3, ..v1::Post::default() }
    }

    fn fold(payload: Vec<u8>, edit: Option<v1::Edit>) -> FoldedPost {
        FoldedPost {
            payload: payload.into(),
            edit: edit.map(|edit| (9, edit.encode_to_vec().into())),
            reactions: vec![ReactionCount {
                key: "👍".into(),
                count: 2,
                users: vec![UserId::new("bob").unwrap()],
            }],
        }
    }

    #[test]
    fn an_edit_replaces_text_and_data_and_nothing_else() {
        let payload = stored(Content::Post(post("helo"))).encode_to_vec();
        let edit = v1::Edit { target: 7, text: "hello".into(), data: None };
        let merged = folded(&fold(payload, Some(edit)));
        let edited = v1::Post { text: "hello".into(), data: None, ..post("") };
        let expected = v1::Message {
            room: String::new(),
            edited_at_ms: 9,
            reactions: vec![v1::ReactionCount {
                key: "👍".into(),
                count: 2,
                users: vec!["bob".into()],
            }],
            ..stored(Content::Post(edited))
        };
        assert_eq!(merged, expected);
    }

    #[test]
    fn the_bytes_are_those_that_prost_writes() {
        let payload = stored(Content::Post(post("helo"))).encode_to_vec();
        let edit = v1::Edit { target: 7, text: "x".repeat(300), data: post("").data };
        let folded_post = fold(payload, Some(edit));
        let mut bytes = Vec::new();
        put_folded(&mut bytes, &folded_post);
        assert_eq!(bytes, folded(&folded_post).encode_to_vec());
    }

    #[test]
    fn fields_of_a_newer_version_survive_the_merge() {
        let mut newer = post("helo").encode_to_vec();
        put_number(&mut newer, 99, 1);
        let mut payload = stored(Content::Post(post(""))).encode_to_vec();
        let content = Fields::of(&payload).map(|f| f.unwrap()).find(|f| f.number == 8).unwrap();
        payload.truncate(payload.len() - content.whole.len());
        super::super::fields::put_bytes(&mut payload, 8, &newer);
        let edit = v1::Edit { target: 7, text: "hello".into(), data: None };
        let mut merged = Vec::new();
        put_folded(&mut merged, &fold(payload, Some(edit)));
        let content = Fields::of(&merged).map(|f| f.unwrap()).find(|f| f.number == 8).unwrap();
        assert!(Fields::of(content.bytes.unwrap()).any(|field| field.unwrap().number == 99));
    }

    #[test]
    fn broken_payloads_make_an_empty_message() {
        let broken =
            FoldedPost { payload: Bytes::from_static(b"\xff"), edit: None, reactions: vec![] };
        assert_eq!(folded(&broken), v1::Message::default());
    }
}
