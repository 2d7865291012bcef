//! The unary calls: decoded by wrapping their bytes into the session's frame of the same kind, so
//! that one set of checks and one set of sentences serves all transports.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use model::{Answer, Ask, AskBody, Generation, Refusal, RefusalCode, RoomName, Says, Summary, Who};
use tonic::Status;
use tonic::metadata::MetadataMap;
use wire::codec;

use super::grpc::shown;
use crate::edge::Shared;
use crate::identity::{Credentials, Verified};
use crate::shard::entrance::refusal;

/// What may be asked without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Publish,
    History,
    Presence,
    GetRoom,
    Summaries,
}

impl Method {
    pub(super) fn named(name: &str) -> Option<Method> {
        Some(match name {
            "Publish" => Method::Publish,
            "History" => Method::History,
            "Presence" => Method::Presence,
            "GetRoom" => Method::GetRoom,
            "Summaries" => Method::Summaries,
            _ => return None,
        })
    }
}

/// Verifies who asks, asks, and encodes the answer.
pub(super) async fn call(
    shared: &Arc<Shared>,
    method: Method,
    metadata: &MetadataMap,
    body: &Bytes,
) -> Result<Bytes, Status> {
    let verified = verify(shared, metadata)?;
    let refused = |refusal: Refusal| codec::refusal_status(&refusal);
    let said = match method {
        Method::Publish => codec::decode_publish(body),
        Method::History => codec::decode_history(body),
        Method::Presence => codec::decode_presence(body),
        Method::GetRoom => codec::decode_get_room(body),
        Method::Summaries => codec::decode_summaries(body),
    }
    .map_err(refused)?;
    let says = match said {
        codec::Unary::Publish(publish) => {
            let room = publish.room.clone();
            one(shared, &verified, room, AskBody::Publish(publish)).await
        }
        codec::Unary::History { room, ask } => {
            one(shared, &verified, room, AskBody::History(ask)).await
        }
        codec::Unary::Presence { room } => one(shared, &verified, room, AskBody::Presence).await,
        codec::Unary::GetRoom { room } => one(shared, &verified, room, AskBody::Room).await,
        codec::Unary::Summaries { rooms } => Ok(many(shared, &verified, rooms).await),
    }
    .map_err(refused)?;
    let mut out = BytesMut::new();
    codec::encode_unary(&says, &mut out);
    Ok(out.freeze())
}

fn verify(shared: &Shared, metadata: &MetadataMap) -> Result<Verified, Status> {
    let shown = shown(metadata)?;
    let credentials = Credentials { token: shown.token.as_deref(), name: shown.name.as_deref() };
    shared
        .door
        .verify(credentials, shared.clock.now())
        .map_err(|why| codec::refusal_status(&refusal(why)))
}

fn who(verified: &Verified, room: &RoomName) -> Who {
    Who {
        user: verified.user.clone(),
        session: None,
        generation: Generation::default(),
        rights: verified.roles.rights(room),
    }
}

async fn one(
    shared: &Shared,
    verified: &Verified,
    room: RoomName,
    body: AskBody,
) -> Result<Says, Refusal> {
    let ask = Ask { room: room.clone(), who: who(verified, &room), body };
    says(room, shared.lanes.ask(ask).await)
}

/// Every room by itself: those that cannot be told do not hide the others.
async fn many(shared: &Shared, verified: &Verified, rooms: Vec<RoomName>) -> Says {
    let asked = rooms.into_iter().map(|room| async {
        let ask = Ask { room: room.clone(), who: who(verified, &room), body: AskBody::Summary };
        (room, shared.lanes.ask(ask).await)
    });
    let mut answered: Vec<(RoomName, Summary)> = Vec::new();
    let mut refused = Vec::new();
    for (room, answer) in join_all(asked).await {
        match answer {
            Answer::Summary(summary) => answered.push((room, summary)),
            Answer::Refused(refusal) => refused.push((room, refusal)),
            Answer::Unsubscribed(why) => refused.push((
                room,
                Refusal {
                    code: RefusalCode::Forbidden,
                    message: why.message,
                    retry_after_ms: why.retry_after_ms,
                    needs_token: why.needs_token,
                },
            )),
            other => refused.push((room, unexpected(&other))),
        }
    }
    Says::Summaries { rooms: answered, refused }
}

fn says(room: RoomName, answer: Answer) -> Result<Says, Refusal> {
    Ok(match answer {
        Answer::Published { log, seq, at_ms, duplicate } => {
            Says::Published { room, log, seq, at_ms, duplicate }
        }
        Answer::History { log, page } => Says::History { room, log, page: Box::new(page) },
        Answer::Presence(roster) => Says::PresenceIs { room, roster },
        Answer::Room(info) => Says::Room { room, info },
        Answer::Refused(refusal) => return Err(refusal),
        other => return Err(unexpected(&other)),
    })
}

/// An owner that answers another question than was asked: told as a failure, and logged.
fn unexpected(answer: &Answer) -> Refusal {
    tracing::error!(?answer, "an owner answered a question that was not asked");
    Refusal::new(RefusalCode::Unavailable).retry_after(1_000)
}
