//! Frames from a client, written: the client's side of [`super::decode_client`].

use model::{ClientFrame, ClientSays, Encoding, Hello, Publish, RoomName, Subscribe};
use prost::Message;

use crate::codec::contents::{generated, number_in_publish};
use crate::codec::fields::{put_bytes, put_message, put_nonzero};
use crate::codec::words;
use crate::v1::{self, client_frame::Frame};

/// Numbers in `ClientFrame`.
const REF: u32 = 1;
const PUBLISH: u32 = 6;

/// Appends one frame.
///
/// [`ClientSays::Faulty`] and [`Hello::faulty`] are what a server made of a fault; a client does not say
/// them, and nothing is written for them.
pub fn encode_client(encoding: Encoding, frame: &ClientFrame, out: &mut Vec<u8>) {
    match (encoding, &frame.says) {
        (Encoding::Proto, ClientSays::Publish(publish)) => {
            put_nonzero(out, REF, u64::from(frame.r#ref));
            put_message(out, PUBLISH, |out| put_publish(out, publish));
        }
        (Encoding::Proto, _) => whole(frame).encode_raw(out),
        (Encoding::Json, _) => {
            let start = out.len();
            if serde_json::to_writer(&mut *out, &whole(frame)).is_err() {
                // A number that JSON lacks: said as a frame that the server refuses.
                out.truncate(start);
                out.extend_from_slice(b"{}");
            }
        }
    }
}

fn whole(frame: &ClientFrame) -> v1::ClientFrame {
    v1::ClientFrame { r#ref: frame.r#ref, frame: member(&frame.says) }
}

/// The content goes as the bytes that it is.
fn put_publish(out: &mut Vec<u8>, publish: &Publish) {
    addressed(publish).encode_raw(out);
    if let Some(number) = number_in_publish(publish.content.kind) {
        put_bytes(out, number, &publish.content.body);
    }
}

fn member(says: &ClientSays) -> Option<Frame> {
    Some(match says {
        ClientSays::Hello(it) => Frame::Hello(hello(it)),
        ClientSays::Authenticate { token } => {
            Frame::Authenticate(v1::Authenticate { token: token.clone() })
        }
        ClientSays::Subscribe(wish) => Frame::Subscribe(subscribe(wish)),
        ClientSays::Unsubscribe { room } => {
            Frame::Unsubscribe(v1::Unsubscribe { room: text(room) })
        }
        ClientSays::Publish(publish) => Frame::Publish(v1::Publish {
            content: generated(&publish.content),
            ..addressed(publish)
        }),
        ClientSays::Signal { room, kind, data } => Frame::Signal(v1::Signal {
            room: text(room),
            r#type: kind.clone(),
            data: words::structure(data),
            from: None,
        }),
        ClientSays::Mark { room, seq } => {
            Frame::Mark(v1::Mark { room: text(room), seq: Some(*seq) })
        }
        ClientSays::History { room, ask } => {
            Frame::History(v1::HistoryRequest { room: text(room), ..words::history_to(*ask) })
        }
        ClientSays::Summaries { rooms } => {
            Frame::Summaries(v1::SummariesRequest { rooms: rooms.iter().map(text).collect() })
        }
        ClientSays::Heartbeat => Frame::Heartbeat(v1::Heartbeat {}),
        ClientSays::Faulty(_) => return None,
    })
}

fn text(room: &RoomName) -> String {
    room.as_str().to_owned()
}

fn hello(hello: &Hello) -> v1::Hello {
    v1::Hello {
        token: hello.token.clone().unwrap_or_default(),
        name: hello.name.clone().unwrap_or_default(),
        client: hello.client.clone(),
        resume_token: hello.resume_token.clone().unwrap_or_default(),
        subscribe: hello.subscribe.iter().map(subscribe).collect(),
        features: hello.features.clone(),
    }
}

fn subscribe(wish: &Subscribe) -> v1::Subscribe {
    v1::Subscribe {
        room: text(&wish.room),
        after: wish.after.as_ref().map(words::position_to),
        recent: wish.recent,
        summary: wish.summary,
        presence_data: words::structure(&wish.presence_data),
    }
}

/// A publish without its content.
fn addressed(publish: &Publish) -> v1::Publish {
    v1::Publish {
        room: text(&publish.room),
        id: words::id_to(publish.id.as_ref()),
        since: publish.since.as_ref().map(words::position_to),
        after: words::id_to(publish.after.as_ref()),
        content: None,
    }
}
