//! Frames from a client, read.
//!
//! There are two ways of being wrong. Bytes that hold no frame end the session, as nobody can know what
//! was meant; a frame that holds what is not allowed is refused, and the session goes on.

use bytes::Bytes;
use model::{ClientFrame, ClientSays, Encoding, Refusal, RefusalCode};
use prost::Message;

use crate::codec::fault::{Fault, Inside};
use crate::codec::fields::Fields;
use crate::codec::{Unreadable, check, json, request};
use crate::v1;
use crate::v1::client_frame::Frame;

/// The number of `ClientFrame.publish`.
const PUBLISH: u32 = 6;
/// Numbers of the members of `ClientFrame`'s oneof.
const FRAMES: std::ops::RangeInclusive<u32> = 2..=11;
/// Numbers of the members of `Publish`'s oneof.
const CONTENTS: std::ops::RangeInclusive<u32> = 5..=9;

/// Reads one frame.
///
/// What is not allowed in it becomes [`ClientSays::Faulty`], with a message that names the field. Rooms of
/// `hello.subscribe` that are not allowed stand in [`model::Hello::faulty`]: they do not keep the others
/// from being read.
///
/// # Errors
/// [`Unreadable`], which says where the bytes stop being a frame: broken JSON or protobuf, a wrong type,
/// two members of one `oneof`, nesting that no limit allows.
pub fn decode_client(encoding: Encoding, frame: &[u8]) -> Result<ClientFrame, Unreadable> {
    let received = match encoding {
        Encoding::Json => from_json(frame)?,
        Encoding::Proto => from_proto(frame)?,
    };
    let r#ref = received.frame.r#ref;
    let says = says(received).unwrap_or_else(ClientSays::Faulty);
    Ok(ClientFrame { r#ref, says })
}

/// A frame as it was received.
struct Received<'a> {
    frame: v1::ClientFrame,
    source: Source<'a>,
}

enum Source<'a> {
    Json(&'a [u8]),
    /// The bytes of the publish's content, and the numbers of members that are not known.
    Proto {
        content: Option<&'a [u8]>,
        unknown: Option<u32>,
    },
}

fn from_json(bytes: &[u8]) -> Result<Received<'_>, Unreadable> {
    Ok(Received { frame: json::parse(bytes)?, source: Source::Json(bytes) })
}

fn from_proto(bytes: &[u8]) -> Result<Received<'_>, Unreadable> {
    let top = members(bytes, FRAMES)?;
    let inner = match top.known {
        Some((PUBLISH, publish)) => members(publish, CONTENTS)
            .map_err(|error| Unreadable::new(format!("publish: {}", error.message)))?,
        _ => Members { known: None, unknown: top.unknown },
    };
    let content = inner.known.map(|(_, content)| content);
    let frame = v1::ClientFrame::decode(bytes)?;
    Ok(Received { frame, source: Source::Proto { content, unknown: inner.unknown } })
}

/// What a message holds of a oneof.
struct Members<'a> {
    known: Option<(u32, &'a [u8])>,
    /// The first number beyond those that are known.
    unknown: Option<u32>,
}

/// Protobuf would merge a second member into the first or let it win. No encoder writes two; in JSON they
/// are an error too.
fn members(
    message: &[u8],
    oneof: std::ops::RangeInclusive<u32>,
) -> Result<Members<'_>, Unreadable> {
    let mut members = Members { known: None, unknown: None };
    for field in Fields::of(message) {
        let field = field?;
        let number = field.number;
        if number > *oneof.end() {
            members.unknown.get_or_insert(number);
        }
        let Some(bytes) = field.bytes.filter(|_| oneof.contains(&number)) else {
            continue;
        };
        if members.known.replace((number, bytes)).is_some() {
            let text = format!("field {number} is a second member of its oneof");
            return Err(Unreadable::new(text));
        }
    }
    Ok(members)
}

fn says(received: Received<'_>) -> Result<ClientSays, Refusal> {
    let Received { frame, source } = received;
    let Some(frame) = frame.frame else {
        return Err(unknown_request(&source));
    };
    Ok(match frame {
        Frame::Hello(hello) => request::hello(hello)?,
        Frame::Authenticate(request) => request::authenticate(request)?,
        Frame::Subscribe(wish) => {
            ClientSays::Subscribe(request::subscribe(wish).inside("subscribe")?)
        }
        Frame::Unsubscribe(request) => {
            ClientSays::Unsubscribe { room: check::room(&request.room).inside("unsubscribe")? }
        }
        Frame::Publish(request) => identified(publish(request, &source)?)?,
        Frame::Signal(signal) => request::signal(&signal).inside("signal")?,
        Frame::Mark(mark) => request::mark(&mark).inside("mark")?,
        Frame::History(request) => {
            let (room, ask) = request::history(&request).inside("history")?;
            ClientSays::History { room, ask }
        }
        Frame::Summaries(request) => {
            ClientSays::Summaries { rooms: request::summaries(&request).inside("summaries")? }
        }
        Frame::Heartbeat(_) => ClientSays::Heartbeat,
    })
}

fn publish(request: v1::Publish, source: &Source<'_>) -> Result<model::Publish, Refusal> {
    if request.content.is_none() {
        return Err(unknown_content(source));
    }
    let body = match source {
        Source::Proto { content, .. } => content.map(Bytes::copy_from_slice),
        Source::Json(_) => None,
    };
    Ok(request::publish(request, body).inside("publish")?)
}

/// Only a session's publish needs an id.
fn identified(publish: model::Publish) -> Result<ClientSays, Refusal> {
    match publish.id {
        None => Err(Fault::missing("publish.id").into()),
        Some(_) => Ok(ClientSays::Publish(publish)),
    }
}

/// Reads the request of the unary call, which is the same message.
pub(in crate::codec) fn unary_publish(bytes: &[u8]) -> Result<model::Publish, Refusal> {
    let broken = |error: Unreadable| Refusal::because(RefusalCode::Invalid, error.message);
    let Members { known, unknown } = members(bytes, CONTENTS).map_err(broken)?;
    let request = v1::Publish::decode(bytes).map_err(|error| broken(error.into()))?;
    publish(request, &Source::Proto { content: known.map(|(_, content)| content), unknown })
}

/// A frame without a request that is known; what it holds instead is named, as it is often a slip.
fn unknown_request(source: &Source<'_>) -> Refusal {
    const KNOWN: &[&str] = &[
        "hello",
        "authenticate",
        "subscribe",
        "unsubscribe",
        "publish",
        "signal",
        "mark",
        "history",
        "summaries",
        "heartbeat",
    ];
    let found = found(source, json::members, KNOWN, &["ref"]);
    let text = format!("the frame holds {found}; one of {} is needed", KNOWN.join(", "));
    Refusal::because(RefusalCode::UnknownRequest, text)
}

/// A publish without a content that is known: never taken for an empty one.
fn unknown_content(source: &Source<'_>) -> Refusal {
    const KNOWN: &[&str] = &["post", "edit", "redact", "reaction", "system"];
    let found = found(source, json::members_of_publish, KNOWN, &["room", "id", "since", "after"]);
    let text = format!("publish holds {found}; one of {} is needed", KNOWN.join(", "));
    Refusal::because(RefusalCode::Invalid, text)
}

/// What stands where a member of a oneof should be, for a person to read. Known members are there too if
/// they are null.
fn found(
    source: &Source<'_>,
    names: fn(&[u8]) -> Vec<String>,
    known: &[&str],
    beside: &[&str],
) -> String {
    /// A name longer than this is nobody's slip.
    const NAME_BYTES_MAX: usize = 64;
    let strange = |name: &String| {
        let named = |list: &[&str]| list.contains(&name.as_str());
        name.len() <= NAME_BYTES_MAX && !named(known) && !named(beside)
    };
    let name = match source {
        Source::Json(json) => names(json).into_iter().find(strange).map(|name| format!("`{name}`")),
        Source::Proto { unknown, .. } => {
            unknown.map(|number| format!("the unknown field {number}"))
        }
    };
    name.unwrap_or_else(|| "nothing".to_owned())
}
