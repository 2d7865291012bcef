//! What a message says: checked on the way in, decoded for those who show it.

use bytes::Bytes;
use model::{Content, ContentKind, Digest, MessageContent, Seq, limits};
use prost::Message as _;

use super::check;
use super::fault::{Fault, Inside};
use super::words;
use super::{Unreadable, fields};
use crate::v1::{self, message, publish};

/// The content of a publish, every limit checked. `body` holds its bytes as they were received; without
/// them it is encoded again.
pub(super) fn checked(content: &publish::Content, body: Option<Bytes>) -> Result<Content, Fault> {
    let parts = match content {
        publish::Content::Post(post) => checked_post(post).inside("post"),
        publish::Content::Edit(edit) => checked_edit(edit).inside("edit"),
        publish::Content::Redact(redact) => checked_redact(redact).inside("redact"),
        publish::Content::Reaction(reaction) => checked_reaction(reaction).inside("reaction"),
        publish::Content::System(system) => checked_system(system).inside("system"),
    }?;
    Ok(parts.with(body.unwrap_or_else(|| encoded(content))))
}

fn encoded(content: &publish::Content) -> Bytes {
    match content {
        publish::Content::Post(post) => post.encode_to_vec(),
        publish::Content::Edit(edit) => edit.encode_to_vec(),
        publish::Content::Redact(redact) => redact.encode_to_vec(),
        publish::Content::Reaction(reaction) => reaction.encode_to_vec(),
        publish::Content::System(system) => system.encode_to_vec(),
    }
    .into()
}

/// What a room must know of a content.
struct Parts<'a> {
    kind: ContentKind,
    target: Seq,
    key: &'a str,
    remove: bool,
    text: &'a str,
}

impl<'a> Parts<'a> {
    fn of(kind: ContentKind, target: Seq, text: &'a str) -> Parts<'a> {
        Parts { kind, target, key: "", remove: false, text }
    }

    fn with(self, body: Bytes) -> Content {
        let Parts { kind, target, key, remove, text } = self;
        let digest = Digest::of(kind, target, key, remove, text);
        Content { kind, target, key: key.to_owned(), remove, digest, body }
    }
}

fn checked_post(post: &v1::Post) -> Result<Parts<'_>, Fault> {
    check::length("text", &post.text, limits::TEXT_BYTES_MAX)?;
    check::data("data", post.data.as_ref(), limits::DATA_BYTES_MAX)?;
    check::number("replyTo", post.reply_to)?;
    check::number("thread", post.thread)?;
    check::count("mentions", &post.mentions, limits::MENTIONS_MAX)?;
    for (index, user) in post.mentions.iter().enumerate() {
        check::user("", user).inside(&format!("mentions[{index}]"))?;
    }
    Ok(Parts::of(ContentKind::Post, 0, &post.text))
}

fn checked_edit(edit: &v1::Edit) -> Result<Parts<'_>, Fault> {
    let target = check::seq("target", edit.target)?;
    check::length("text", &edit.text, limits::TEXT_BYTES_MAX)?;
    check::data("data", edit.data.as_ref(), limits::DATA_BYTES_MAX)?;
    Ok(Parts::of(ContentKind::Edit, target, &edit.text))
}

/// The reason is not part of the digest: a redaction sent again is the same, however it is explained.
fn checked_redact(redact: &v1::Redact) -> Result<Parts<'_>, Fault> {
    let target = check::seq("target", redact.target)?;
    check::length("reason", &redact.reason, limits::REASON_BYTES_MAX)?;
    Ok(Parts::of(ContentKind::Redact, target, ""))
}

fn checked_reaction(reaction: &v1::Reaction) -> Result<Parts<'_>, Fault> {
    let target = check::seq("target", reaction.target)?;
    check::word("key", &reaction.key, limits::REACTION_KEY_BYTES_MAX)?;
    let parts = Parts::of(ContentKind::Reaction, target, "");
    Ok(Parts { key: &reaction.key, remove: reaction.remove, ..parts })
}

fn checked_system(system: &v1::System) -> Result<Parts<'_>, Fault> {
    check::length("text", &system.text, limits::TEXT_BYTES_MAX)?;
    check::data("data", system.data.as_ref(), limits::DATA_BYTES_MAX)?;
    Ok(Parts::of(ContentKind::System, 0, &system.text))
}

/// The content of a publish, from what a client wants to say; `None` for what nobody may publish (a
/// tombstone, a kind of a later contract). Limits are the server's to check.
#[must_use]
pub fn content(says: &MessageContent) -> Option<Content> {
    let mut body = Vec::new();
    let parts = match says {
        MessageContent::Post { text, data, reply_to, thread, mentions } => {
            fields::put_text(&mut body, 1, text);
            put_data(&mut body, 2, data);
            fields::put_nonzero(&mut body, 3, reply_to.unwrap_or(0));
            fields::put_nonzero(&mut body, 4, thread.unwrap_or(0));
            mentions
                .iter()
                .for_each(|user| fields::put_bytes(&mut body, 5, user.as_str().as_bytes()));
            Parts::of(ContentKind::Post, 0, text)
        }
        MessageContent::Edit { target, text, data } => {
            fields::put_nonzero(&mut body, 1, *target);
            fields::put_text(&mut body, 2, text);
            put_data(&mut body, 3, data);
            Parts::of(ContentKind::Edit, *target, text)
        }
        MessageContent::Redact { target, reason } => {
            fields::put_nonzero(&mut body, 1, *target);
            fields::put_text(&mut body, 2, reason);
            Parts::of(ContentKind::Redact, *target, "")
        }
        MessageContent::Reaction { target, key, remove } => {
            fields::put_nonzero(&mut body, 1, *target);
            fields::put_text(&mut body, 2, key);
            fields::put_nonzero(&mut body, 3, u64::from(*remove));
            Parts { key, remove: *remove, ..Parts::of(ContentKind::Reaction, *target, "") }
        }
        MessageContent::System { text, data } => {
            fields::put_text(&mut body, 1, text);
            put_data(&mut body, 2, data);
            Parts::of(ContentKind::System, 0, text)
        }
        MessageContent::Tombstone { .. } | MessageContent::Unknown => return None,
    };
    Some(parts.with(body.into()))
}

fn put_data(body: &mut Vec<u8>, number: u32, data: &[u8]) {
    if !data.is_empty() {
        fields::put_bytes(body, number, data);
    }
}

/// The number of the content's member in `Publish`.
pub(super) fn number_in_publish(kind: ContentKind) -> Option<u32> {
    Some(match kind {
        ContentKind::Post => 5,
        ContentKind::Edit => 6,
        ContentKind::Redact => 7,
        ContentKind::Reaction => 8,
        ContentKind::System => 9,
        ContentKind::Tombstone => return None,
    })
}

/// The number of the content's member in `Message`.
pub(super) fn number_in_message(kind: ContentKind) -> u32 {
    match kind {
        ContentKind::Post => 8,
        ContentKind::Edit => 9,
        ContentKind::Redact => 10,
        ContentKind::Reaction => 11,
        ContentKind::System => 12,
        ContentKind::Tombstone => 13,
    }
}

/// The content of a publish as its generated type, for JSON; `None` when its bytes are not one.
pub(super) fn generated(content: &Content) -> Option<publish::Content> {
    let body = content.body.clone();
    Some(match content.kind {
        ContentKind::Post => publish::Content::Post(v1::Post::decode(body).ok()?),
        ContentKind::Edit => publish::Content::Edit(v1::Edit::decode(body).ok()?),
        ContentKind::Redact => publish::Content::Redact(v1::Redact::decode(body).ok()?),
        ContentKind::Reaction => publish::Content::Reaction(v1::Reaction::decode(body).ok()?),
        ContentKind::System => publish::Content::System(v1::System::decode(body).ok()?),
        ContentKind::Tombstone => return None,
    })
}

/// The content of a committed message, for those who show it.
pub(super) fn decoded(content: Option<message::Content>) -> Result<MessageContent, Unreadable> {
    Ok(match content {
        Some(message::Content::Post(post)) => MessageContent::Post {
            data: check::data_bytes(post.data.as_ref()),
            reply_to: words::some_seq(post.reply_to),
            thread: words::some_seq(post.thread),
            mentions: words::user_ids(&post.mentions)?,
            text: post.text,
        },
        Some(message::Content::Edit(edit)) => MessageContent::Edit {
            target: edit.target,
            data: check::data_bytes(edit.data.as_ref()),
            text: edit.text,
        },
        Some(message::Content::Redact(v1::Redact { target, reason })) => {
            MessageContent::Redact { target, reason }
        }
        Some(message::Content::Reaction(v1::Reaction { target, key, remove })) => {
            MessageContent::Reaction { target, key, remove }
        }
        Some(message::Content::System(system)) => MessageContent::System {
            data: check::data_bytes(system.data.as_ref()),
            text: system.text,
        },
        Some(message::Content::Tombstone(tombstone)) => MessageContent::Tombstone {
            by: words::user_id(&tombstone.by)?,
            reason: tombstone.reason,
        },
        None => MessageContent::Unknown,
    })
}
