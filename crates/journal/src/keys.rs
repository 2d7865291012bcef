//! The keys of all rows.
//!
//! A room's rows start with its name and a zero byte, which no name holds: they lie together, and no
//! room's rows lie between another's. Numbers are big endian, so that order of bytes is order of
//! numbers.

use std::ops::Range;

use model::{RoomName, Seq, SlotNo, StateKey, UserId};

const HEADER: u8 = b'h';
const ORDINAL: u8 = b'o';
const TARGET: u8 = b't';
const MARK: u8 = b'm';
const FOLD: u8 = b'f';
const REACTION: u8 = b'r';
const ROOM: u8 = b'r';
const SLOT: u8 = b'c';
const SLOT_ROOM: u8 = b's';
const COMMITS: u8 = b'n';
const ERASING: u8 = b'e';

fn of_room(room: &RoomName, parts: &[&[u8]]) -> Vec<u8> {
    let length = room.as_str().len() + 1 + parts.iter().map(|p| p.len()).sum::<usize>();
    let mut key = Vec::with_capacity(length);
    key.extend(room.as_str().as_bytes());
    key.push(0);
    parts.iter().for_each(|part| key.extend(*part));
    key
}

/// `Log`: an entry's payload.
pub(crate) fn payload(room: &RoomName, seq: Seq) -> Vec<u8> {
    of_room(room, &[&seq.to_be_bytes()])
}

/// `Log`: payloads of these entries.
pub(crate) fn payloads(room: &RoomName, seqs: Range<Seq>) -> Range<Vec<u8>> {
    payload(room, seqs.start)..payload(room, seqs.end)
}

/// `Index`: everything of an entry but its payload.
pub(crate) fn header(room: &RoomName, seq: Seq) -> Vec<u8> {
    of_room(room, &[&[HEADER], &seq.to_be_bytes()])
}

/// `Index`: headers of these entries.
pub(crate) fn headers(room: &RoomName, seqs: Range<Seq>) -> Range<Vec<u8>> {
    header(room, seqs.start)..header(room, seqs.end)
}

/// `Index`: the post with this ordinal.
pub(crate) fn ordinal(room: &RoomName, ordinal: u64) -> Vec<u8> {
    of_room(room, &[&[ORDINAL], &ordinal.to_be_bytes()])
}

/// `Index`: posts with these ordinals.
pub(crate) fn ordinals(room: &RoomName, ordinals: Range<u64>) -> Range<Vec<u8>> {
    ordinal(room, ordinals.start)..ordinal(room, ordinals.end)
}

/// `Index`: the entry `seq` speaks of the post `target`.
pub(crate) fn target(room: &RoomName, target: Seq, seq: Seq) -> Vec<u8> {
    of_room(room, &[&[TARGET], &target.to_be_bytes(), &seq.to_be_bytes()])
}

/// `State`: a small value.
pub(crate) fn state(room: &RoomName, key: &StateKey) -> Vec<u8> {
    match key {
        StateKey::Mark(user) => of_room(room, &[&[MARK], user.as_str().as_bytes()]),
        StateKey::Fold(seq) => of_room(room, &[&[FOLD], &seq.to_be_bytes()]),
        StateKey::Reaction(seq, user, key) => of_room(
            room,
            &[&[REACTION], &seq.to_be_bytes(), user.as_str().as_bytes(), &[0], key.as_bytes()],
        ),
    }
}

/// `State`: folds of these posts.
pub(crate) fn folds(room: &RoomName, seqs: Range<Seq>) -> Range<Vec<u8>> {
    state(room, &StateKey::Fold(seqs.start))..state(room, &StateKey::Fold(seqs.end))
}

/// `State`: everybody's standing reactions to these posts.
pub(crate) fn reactions(room: &RoomName, seqs: Range<Seq>) -> Range<Vec<u8>> {
    let at = |seq: Seq| of_room(room, &[&[REACTION], &seq.to_be_bytes()]);
    at(seqs.start)..at(seqs.end)
}

/// `State`: one user's standing reactions to a post; what follows the range's start is the key.
pub(crate) fn reactions_of(room: &RoomName, seq: Seq, user: &UserId) -> Range<Vec<u8>> {
    let at = |end: u8| {
        of_room(room, &[&[REACTION], &seq.to_be_bytes(), user.as_str().as_bytes(), &[end]])
    };
    at(0)..at(1)
}

/// `State`: all values of a room.
pub(crate) fn states(room: &RoomName) -> Range<Vec<u8>> {
    let mut end = of_room(room, &[]);
    let start = end.clone();
    end.pop();
    end.push(1);
    start..end
}

/// `State`: the key again, from the bytes behind the room's name and zero.
pub(crate) fn parse_state(rest: &[u8]) -> Option<StateKey> {
    let (kind, rest) = rest.split_first()?;
    let user = |bytes: &[u8]| UserId::new(std::str::from_utf8(bytes).ok()?).ok();
    match *kind {
        MARK => Some(StateKey::Mark(user(rest)?)),
        FOLD => Some(StateKey::Fold(number(rest)?)),
        REACTION => {
            let (seq, rest) = rest.split_at_checked(8)?;
            let zero = rest.iter().position(|byte| *byte == 0)?;
            let key = std::str::from_utf8(&rest[zero + 1..]).ok()?.to_owned();
            Some(StateKey::Reaction(number(seq)?, user(&rest[..zero])?, key))
        }
        _ => None,
    }
}

/// `Meta`: a room.
pub(crate) fn room(room: &RoomName) -> Vec<u8> {
    [&[ROOM], room.as_str().as_bytes()].concat()
}

/// `Meta`: rooms behind this one.
pub(crate) fn rooms(after: Option<&RoomName>) -> Range<Vec<u8>> {
    let start = after.map_or_else(|| vec![ROOM], |name| [&room(name)[..], &[0]].concat());
    start..vec![ROOM + 1]
}

/// `Meta`: a slot's claim.
pub(crate) fn slot(slot: SlotNo) -> Vec<u8> {
    [&[SLOT][..], &slot.to_be_bytes()].concat()
}

/// `Meta`: all slots' claims.
pub(crate) fn slots() -> Range<Vec<u8>> {
    vec![SLOT]..vec![SLOT + 1]
}

/// The slot of a key made by [`slot`].
pub(crate) fn slot_of(key: &[u8]) -> Option<SlotNo> {
    Some(SlotNo::from_be_bytes(key.strip_prefix(&[SLOT])?.try_into().ok()?))
}

/// `Meta`: a room was born in this slot.
pub(crate) fn slot_room(slot: SlotNo, room: &RoomName) -> Vec<u8> {
    [&[SLOT_ROOM][..], &slot.to_be_bytes(), room.as_str().as_bytes()].concat()
}

/// `Meta`: rooms of this slot behind this one.
pub(crate) fn slot_rooms(slot: SlotNo, after: Option<&RoomName>) -> Range<Vec<u8>> {
    let prefix = [&[SLOT_ROOM][..], &slot.to_be_bytes()].concat();
    let start = match after {
        None => prefix.clone(),
        Some(name) => [&slot_room(slot, name)[..], &[0]].concat(),
    };
    // Names are ASCII: no key of this slot lies above.
    start..[&prefix[..], &[0xff]].concat()
}

/// `Meta`: transactions so far.
pub(crate) fn commits() -> Vec<u8> {
    vec![COMMITS]
}

/// `Meta`: since when something that was erased is still in the engine's files.
pub(crate) fn erasing() -> Vec<u8> {
    vec![ERASING]
}

/// The room's name at the end of a `Meta` key with a prefix of this length.
pub(crate) fn room_behind(key: &[u8], prefix: usize) -> Option<RoomName> {
    RoomName::new(std::str::from_utf8(key.get(prefix..)?).ok()?).ok()
}

/// How long the prefix of [`room`] is.
pub(crate) const ROOM_PREFIX: usize = 1;
/// How long the prefix of [`slot_room`] is.
pub(crate) const SLOT_ROOM_PREFIX: usize = 5;

/// The number that a key ends with.
pub(crate) fn last_number(key: &[u8]) -> Option<u64> {
    number(key.get(key.len().checked_sub(8)?..)?)
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RoomName {
        RoomName::new(text).expect("a valid name")
    }

    #[test]
    fn no_rooms_rows_lie_between_those_of_another() {
        let (a, ab) = (name("a"), name("a+"));
        assert!(payload(&a, u64::MAX) < payload(&ab, 0));
        assert!(!states(&a).contains(&state(&ab, &StateKey::Fold(1))));
        assert!(rooms(Some(&a)).contains(&room(&ab)));
        assert!(!rooms(Some(&a)).contains(&room(&a)));
        assert!(!slot_rooms(7, None).contains(&slot_room(8, &a)));
    }

    #[test]
    fn a_states_key_survives_its_bytes() {
        let user = UserId::new("ann").expect("valid");
        let keys = [
            StateKey::Mark(user.clone()),
            StateKey::Fold(9),
            StateKey::Reaction(9, user, "👍\0x".into()),
        ];
        for key in keys {
            let bytes = state(&name("r"), &key);
            assert_eq!(parse_state(&bytes[2..]), Some(key));
        }
    }
}
