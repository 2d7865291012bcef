//! Frames to a client, written.
//!
//! In protobuf the posts of pages are put as bytes where prost would write them, so that the result is what
//! prost writes of the whole and fields of a newer version survive.

use bytes::Bytes;
use model::{Encoding, Says, ServerFrame, Summary};
use prost::Message;

use super::says::{self, Posts};
use crate::codec::fields::{Fields, put_bytes, put_message, put_nonzero};
use crate::codec::fold::put_folded;
use crate::v1::{self, server_frame::Frame};

/// Numbers of the members of `ServerFrame` that hold posts, and of what holds the posts in them.
const REF: u32 = 1;
const SUBSCRIBED: u32 = 4;
const MESSAGE: u32 = 6;
const HISTORY: u32 = 10;
const SUMMARY: u32 = 11;
const SUMMARIES: u32 = 12;
const SUBSCRIBED_SNAPSHOT: u32 = 11;
const SNAPSHOT_MESSAGES: u32 = 3;
const HISTORY_POSTS: u32 = 3;
const SUMMARY_LAST: u32 = 7;
const SUMMARIES_ROOMS: u32 = 1;

/// Appends one frame.
///
/// [`Says::PresenceIs`] and [`Says::Room`] answer unary calls and have no frame: an empty one is written,
/// which clients ignore.
pub fn encode_server(encoding: Encoding, frame: &ServerFrame, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => put_json(out, &says::frame(frame, Posts::Inside)),
        Encoding::Proto => put_proto(out, frame),
    }
}

/// Appends the push of a committed entry, whose payload is an encoded `Message`. In protobuf the payload is
/// copied and not looked at.
pub fn message_frame(encoding: Encoding, payload: &Bytes, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Proto => {
            out.reserve(payload.len() + 8); // key and length
            put_bytes(out, MESSAGE, payload);
        }
        Encoding::Json => {
            let message = v1::Message::decode(payload.clone()).unwrap_or_default();
            put_json(out, &v1::ServerFrame { r#ref: 0, frame: Some(Frame::Message(message)) });
        }
    }
}

fn put_json(out: &mut Vec<u8>, frame: &v1::ServerFrame) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, frame).is_err() {
        // Only a number that JSON lacks could do this, and those are refused where they come in.
        out.truncate(start);
        out.extend_from_slice(b"{}");
    }
}

fn put_proto(out: &mut Vec<u8>, frame: &ServerFrame) {
    let number = match frame.says {
        Says::Subscribed { .. } => SUBSCRIBED,
        Says::History { .. } => HISTORY,
        Says::Summary { .. } => SUMMARY,
        Says::Summaries { .. } => SUMMARIES,
        _ => return says::frame(frame, Posts::Apart).encode_raw(out),
    };
    put_nonzero(out, REF, u64::from(frame.r#ref));
    put_message(out, number, |out| put_answer(out, &frame.says));
}

/// Appends the message inside the frame, or the answer of a unary call, which is the same message.
pub(in crate::codec) fn put_answer(out: &mut Vec<u8>, says: &Says) {
    match says {
        Says::Subscribed { room, subscription, presence } => {
            let whole = says::subscribed(room, subscription, presence.as_ref(), Posts::Apart);
            let model::Catchup::Snapshot(snapshot) = &subscription.catchup else {
                return whole.encode_raw(out);
            };
            v1::Subscribed { catchup: None, ..whole }.encode_raw(out);
            put_message(out, SUBSCRIBED_SNAPSHOT, |out| {
                let whole = says::snapshot(snapshot, Posts::Apart);
                put_with_posts(out, &whole, SNAPSHOT_MESSAGES, &snapshot.page.posts);
            });
        }
        Says::History { room, log, page } => {
            let whole = says::history(room, log, page, Posts::Apart);
            put_with_posts(out, &whole, HISTORY_POSTS, &page.posts);
        }
        Says::Summary { room, summary } => put_summary(out, room, summary),
        Says::Summaries { rooms, refused } => {
            for (room, summary) in rooms {
                put_message(out, SUMMARIES_ROOMS, |out| put_summary(out, room, summary));
            }
            let refused = says::refused_rooms(refused);
            v1::Summaries { rooms: Vec::new(), refused }.encode_raw(out);
        }
        _ => {}
    }
}

fn put_summary(out: &mut Vec<u8>, room: &model::RoomName, summary: &Summary) {
    let whole = says::summary(room, summary, Posts::Apart);
    put_with_posts(out, &whole, SUMMARY_LAST, summary.last.as_slice());
}

/// Appends `whole` with the posts before its first field behind theirs.
fn put_with_posts(
    out: &mut Vec<u8>,
    whole: &impl Message,
    number: u32,
    posts: &[model::FoldedPost],
) {
    let whole = whole.encode_to_vec();
    let before = Fields::of(&whole).map_while(Result::ok).take_while(|field| field.number < number);
    let (before, behind) = whole.split_at(before.map(|field| field.whole.len()).sum());
    out.extend_from_slice(before);
    for post in posts {
        put_message(out, number, |out| put_folded(out, post));
    }
    out.extend_from_slice(behind);
}
