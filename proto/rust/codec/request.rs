//! Requests as generated types to requests as words, every limit checked.
//!
//! Frames of a session and unary calls pass through the same functions, so that a bot is held to what a
//! browser is held to, in the same sentences.

use bytes::Bytes;
use model::{ClientSays, Hello, HistoryAsk, Publish, RoomName, Subscribe, limits};

use super::check;
use super::fault::{Fault, Inside};
use super::{contents, words};
use crate::v1::{self, history_request::Anchor};

/// Bytes of what a client calls itself: a name and a version, for logs.
const CLIENT_BYTES_MAX: usize = 64;
/// Entries of `hello.subscribe` that may be faulty, each with a push that says why: a frame must not make
/// the server say more than it did.
const HELLO_FAULTY_MAX: usize = 100;

pub(super) fn hello(hello: v1::Hello) -> Result<ClientSays, Fault> {
    check_hello(&hello).inside("hello")?;
    let mut read = Hello {
        token: given(hello.token),
        name: given(hello.name),
        client: hello.client,
        resume_token: given(hello.resume_token),
        features: hello.features,
        ..Hello::default()
    };
    for (index, wish) in hello.subscribe.into_iter().enumerate() {
        let name = wish.room.clone();
        match subscribe(wish) {
            Ok(wish) => read.subscribe.push(wish),
            Err(fault) if read.faulty.len() < HELLO_FAULTY_MAX => {
                let fault = fault.inside(&format!("[{index}]")).inside("hello.subscribe");
                read.faulty.push((name, fault.to_string()));
            }
            Err(_) => {
                let what =
                    format!(" has more than {HELLO_FAULTY_MAX} entries that are not allowed");
                return Err(Fault::invalid("hello.subscribe", what));
            }
        }
    }
    Ok(ClientSays::Hello(Box::new(read)))
}

fn check_hello(hello: &v1::Hello) -> Result<(), Fault> {
    check::length("token", &hello.token, limits::TOKEN_BYTES_MAX)?;
    check::length("resumeToken", &hello.resume_token, limits::TOKEN_BYTES_MAX)?;
    check::length("name", &hello.name, limits::USER_NAME_BYTES_MAX)?;
    check::length("client", &hello.client, CLIENT_BYTES_MAX)
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(super) fn authenticate(request: v1::Authenticate) -> Result<ClientSays, Fault> {
    check::word("token", &request.token, limits::TOKEN_BYTES_MAX).inside("authenticate")?;
    Ok(ClientSays::Authenticate { token: request.token })
}

pub(super) fn subscribe(wish: v1::Subscribe) -> Result<Subscribe, Fault> {
    let presence_data = wish.presence_data.as_ref();
    check::data("presenceData", presence_data, limits::PRESENCE_DATA_BYTES_MAX)?;
    Ok(Subscribe {
        room: check::room(&wish.room)?,
        after: check::position("after", wish.after.as_ref())?,
        recent: check::posts("recent", wish.recent)?,
        summary: wish.summary,
        presence_data: check::data_bytes(presence_data),
    })
}

/// `body` holds the content's bytes as they were received; `None` when they came as JSON.
pub(super) fn publish(request: v1::Publish, body: Option<Bytes>) -> Result<Publish, Fault> {
    let content = request.content.as_ref().ok_or_else(|| {
        Fault::invalid("", " has no content: one of post, edit, redact, reaction and system")
    })?;
    Ok(Publish {
        room: check::room(&request.room)?,
        id: check::message_id("id", &request.id)?,
        since: check::position("since", request.since.as_ref())?,
        after: check::message_id("after", &request.after)?,
        content: contents::checked(content, body)?,
    })
}

pub(super) fn signal(signal: &v1::Signal) -> Result<ClientSays, Fault> {
    let room = check::room(&signal.room)?;
    check::word("type", &signal.r#type, limits::SIGNAL_TYPE_BYTES_MAX)?;
    check::data("data", signal.data.as_ref(), limits::SIGNAL_DATA_BYTES_MAX)?;
    let data = check::data_bytes(signal.data.as_ref());
    Ok(ClientSays::Signal { room, kind: signal.r#type.clone(), data })
}

pub(super) fn mark(mark: &v1::Mark) -> Result<ClientSays, Fault> {
    let room = check::room(&mark.room)?;
    let seq = mark.seq.ok_or_else(|| Fault::missing("seq"))?;
    Ok(ClientSays::Mark { room, seq: check::number("seq", seq)? })
}

pub(super) fn history(request: &v1::HistoryRequest) -> Result<(RoomName, HistoryAsk), Fault> {
    match request.anchor {
        None => {}
        Some(Anchor::Before(seq)) => check::number("before", seq).map(drop)?,
        Some(Anchor::After(seq)) => check::number("after", seq).map(drop)?,
        Some(Anchor::Around(seq)) => check::number("around", seq).map(drop)?,
    }
    check::posts("limit", request.limit)?;
    Ok((check::room(&request.room)?, words::history_from(request)))
}

pub(super) fn summaries(request: &v1::SummariesRequest) -> Result<Vec<RoomName>, Fault> {
    check::count("rooms", &request.rooms, limits::SUMMARIES_ROOMS_MAX)?;
    let named = |(index, name): (usize, &String)| {
        RoomName::new(name).map_err(|error| Fault::name(&format!("rooms[{index}]"), &error))
    };
    request.rooms.iter().enumerate().map(named).collect()
}
