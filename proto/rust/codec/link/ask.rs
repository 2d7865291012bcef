//! Asks.

use model::{
    Ask, AskBody, Content, Digest, Generation, Publish, Rights, RoomName, SessionId, User, Who,
};

use super::{kind, missing, pb};
use crate::codec::{Unreadable, words};
use pb::ask::Body;

/// An ask under the number that its answer will echo.
#[must_use]
pub fn encode_ask(id: u64, ask: &Ask) -> pb::Ask {
    pb::Ask {
        id,
        room: ask.room.as_str().to_owned(),
        who: Some(who_to(&ask.who)),
        body: Some(body_to(&ask.body)),
    }
}

/// The same, read.
///
/// # Errors
/// [`Unreadable`] if it asks nothing that this version knows, or a name in it is none.
pub fn decode_ask(ask: pb::Ask) -> Result<(u64, Ask), Unreadable> {
    let room = words::room(&ask.room)?;
    let who = who_from(ask.who.ok_or_else(|| missing("ask.who"))?)?;
    let body = body_from(&room, ask.body.ok_or_else(|| missing("ask.body"))?)?;
    Ok((ask.id, Ask { room, who, body }))
}

fn who_to(who: &Who) -> pb::Who {
    pb::Who {
        user: who.user.id.as_str().to_owned(),
        name: who.user.name.clone(),
        data: who.user.data.clone(),
        session: who.session.as_ref().map_or_else(String::new, |id| id.as_str().to_owned()),
        generation: who.generation.counter,
        generation_random: who.generation.random,
        rights: who.rights.bits(),
    }
}

fn who_from(who: pb::Who) -> Result<Who, Unreadable> {
    let session = match who.session.as_str() {
        "" => None,
        id => Some(SessionId::new(id).map_err(words::named)?),
    };
    Ok(Who {
        user: User { id: words::user_id(&who.user)?, name: who.name, data: who.data },
        session,
        generation: Generation { counter: who.generation, random: who.generation_random },
        rights: Rights::from_bits(who.rights),
    })
}

fn body_to(body: &AskBody) -> Body {
    match body {
        AskBody::Attach { after, recent } => {
            let after = after.as_ref().map(words::position_to);
            Body::Attach(pb::Attach { after, recent: *recent })
        }
        AskBody::Summary => Body::Summary(pb::Empty {}),
        AskBody::Detach { left } => Body::Detach(pb::Detach { left: *left }),
        AskBody::Publish(publish) => Body::Publish(publish_to(publish)),
        AskBody::Signal { kind, data } => {
            Body::Signal(pb::Signal { kind: kind.clone(), data: data.clone() })
        }
        AskBody::Mark { seq } => Body::Mark(pb::Mark { seq: *seq }),
        AskBody::History(ask) => Body::History(words::history_to(*ask)),
        AskBody::Presence => Body::Presence(pb::Empty {}),
        AskBody::Room => Body::Info(pb::Empty {}),
    }
}

fn body_from(room: &RoomName, body: Body) -> Result<AskBody, Unreadable> {
    Ok(match body {
        Body::Attach(it) => AskBody::Attach {
            after: it.after.as_ref().map(words::position_from).transpose()?,
            recent: it.recent,
        },
        Body::Summary(_) => AskBody::Summary,
        Body::Detach(it) => AskBody::Detach { left: it.left },
        Body::Publish(it) => AskBody::Publish(publish_from(room, it)?),
        Body::Signal(it) => AskBody::Signal { kind: it.kind, data: it.data },
        Body::Mark(it) => AskBody::Mark { seq: it.seq },
        Body::History(it) => AskBody::History(words::history_from(&it)),
        Body::Presence(_) => AskBody::Presence,
        Body::Info(_) => AskBody::Room,
    })
}

fn publish_to(publish: &Publish) -> pb::Publish {
    let content = &publish.content;
    pb::Publish {
        id: words::id_to(publish.id.as_ref()),
        since: publish.since.as_ref().map(words::position_to),
        after: words::id_to(publish.after.as_ref()),
        content: Some(pb::Content {
            kind: content.kind as u32,
            target: content.target,
            key: content.key.clone(),
            remove: content.remove,
            digest: content.digest.0,
            body: content.body.clone(),
        }),
    }
}

fn publish_from(room: &RoomName, publish: pb::Publish) -> Result<Publish, Unreadable> {
    let id = |id: &str| match id {
        "" => Ok(None),
        id => words::message_id(id).map(Some),
    };
    let content = publish.content.ok_or_else(|| missing("publish.content"))?;
    Ok(Publish {
        room: room.clone(),
        id: id(&publish.id)?,
        since: publish.since.as_ref().map(words::position_from).transpose()?,
        after: id(&publish.after)?,
        content: Content {
            kind: kind(content.kind)?,
            target: content.target,
            key: content.key,
            remove: content.remove,
            digest: Digest(content.digest),
            body: content.body,
        },
    })
}
