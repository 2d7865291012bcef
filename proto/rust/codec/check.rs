//! Checks of single fields: lengths, numbers, names and an application's data.

use bytes::Bytes;
use model::{LogId, MessageId, Position, RoomName, Seq, UserId, limits};
use prost::Message;

use super::fault::{Fault, Inside};
use crate::{Kind, Struct, Value, v1};

/// Numbers of 64 bits stay below this, so that a browser's doubles hold them.
pub(super) const NUMBER_BOUND: u64 = 1 << 53;

/// A 64-bit number that a browser can hold.
pub(super) fn number(field: &str, value: u64) -> Result<u64, Fault> {
    match value < NUMBER_BOUND {
        true => Ok(value),
        false => Err(Fault::invalid(field, format!(" is {value}; less than 2^53 is allowed"))),
    }
}

/// The seq of an entry, which has to be there.
pub(super) fn seq(field: &str, value: u64) -> Result<Seq, Fault> {
    match value {
        0 => Err(Fault::missing(field)),
        _ => number(field, value),
    }
}

/// A text of at most `max` bytes.
pub(super) fn length(field: &str, text: &str, max: usize) -> Result<(), Fault> {
    match text.len() <= max {
        true => Ok(()),
        false => Err(Fault::too_large(field, text.len(), "bytes", max)),
    }
}

/// A text of 1 to `max` bytes.
pub(super) fn word(field: &str, text: &str, max: usize) -> Result<(), Fault> {
    match text {
        "" => Err(Fault::missing(field)),
        _ => length(field, text, max),
    }
}

/// A list of at most `max` elements.
pub(super) fn count<T>(field: &str, list: &[T], max: usize) -> Result<(), Fault> {
    match list.len() <= max {
        true => Ok(()),
        false => Err(Fault::too_large(field, list.len(), "elements", max)),
    }
}

/// A number of posts: at most [`limits::PAGE_POSTS_MAX`].
pub(super) fn posts(field: &str, value: u32) -> Result<u32, Fault> {
    match value <= limits::PAGE_POSTS_MAX {
        true => Ok(value),
        false => Err(Fault::beyond(field, value, limits::PAGE_POSTS_MAX)),
    }
}

/// A room's name.
pub(super) fn room(text: &str) -> Result<RoomName, Fault> {
    match text {
        "" => Err(Fault::missing("room")),
        _ => RoomName::new(text).map_err(|error| Fault::name("room", &error)),
    }
}

/// A user's id.
pub(super) fn user(field: &str, text: &str) -> Result<UserId, Fault> {
    UserId::new(text).map_err(|error| Fault::name(field, &error))
}

/// A message's id; `None` when it is absent.
pub(super) fn message_id(field: &str, text: &str) -> Result<Option<MessageId>, Fault> {
    match text {
        "" => Ok(None),
        _ => MessageId::new(text).map(Some).map_err(|error| Fault::name(field, &error)),
    }
}

/// A place in a log.
pub(super) fn position(
    field: &str,
    position: Option<&v1::Position>,
) -> Result<Option<Position>, Fault> {
    position.map(place).transpose().inside(field)
}

fn place(position: &v1::Position) -> Result<Position, Fault> {
    let log = LogId::new(&position.log).map_err(|error| Fault::name("log", &error))?;
    let seq = number("seq", position.seq.unwrap_or(0))?;
    match log.is_none() && seq > 0 {
        true => Err(Fault::invalid("log", " is missing; only seq 0 needs none")),
        false => Ok(Position { log, seq }),
    }
}

/// An application's object: bytes, depth, and numbers that JSON has.
pub(super) fn data(field: &str, data: Option<&Struct>, bytes_max: usize) -> Result<(), Fault> {
    let Some(data) = data else { return Ok(()) };
    let bytes = data.encoded_len();
    if bytes > bytes_max {
        return Err(Fault::too_large(field, bytes, "bytes as protobuf", bytes_max));
    }
    object(data, 1).inside(field)
}

/// Recursion is bounded by the limit itself.
fn object(object: &Struct, depth: usize) -> Result<(), Fault> {
    object.fields.values().try_for_each(|value| element(value, depth))
}

/// A value whose container is the `depth`th.
fn element(value: &Value, depth: usize) -> Result<(), Fault> {
    match &value.kind {
        None => Err(Fault::invalid("", " holds a value of no kind")),
        Some(Kind::Null(number)) if *number != 0 => {
            Err(Fault::invalid("", format!(" holds {number} for null, which is 0")))
        }
        Some(Kind::Number(number)) if !number.is_finite() => {
            Err(Fault::invalid("", format!(" holds {number}, for which JSON has no number")))
        }
        Some(Kind::Struct(_) | Kind::List(_)) if depth == limits::DATA_DEPTH_MAX => {
            Err(Fault::deep("", limits::DATA_DEPTH_MAX))
        }
        Some(Kind::Struct(inner)) => object(inner, depth + 1),
        Some(Kind::List(list)) => {
            list.values.iter().try_for_each(|value| element(value, depth + 1))
        }
        _ => Ok(()),
    }
}

/// The protobuf bytes of an application's object that was checked; empty for none.
pub(super) fn data_bytes(data: Option<&Struct>) -> Bytes {
    data.map_or_else(Bytes::new, |data| data.encode_to_vec().into())
}
