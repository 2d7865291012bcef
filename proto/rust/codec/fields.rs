//! Protobuf's wire format, read and written field by field without decoding what is inside.
//!
//! It stands apart from prost because prost drops fields that it does not know. What somebody of a newer
//! version put into a content has to reach readers of that version, so contents are cut out of frames and
//! spliced into messages as bytes.
//!
//! # Invariants
//! - A [`Field`] is a slice of the input, key included: copying fields in order copies the message.
//! - Nothing is read beyond the input and nothing recurses, whatever the bytes claim.

use prost::encoding::{WireType, decode_varint, encode_key, encode_varint};

use super::Unreadable;

/// One field as it stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    /// Its number in the `.proto` file.
    pub(super) number: u32,
    /// Key, length and value: what to copy.
    pub(super) whole: &'a [u8],
    /// The value of a string, bytes or message; `None` of a number.
    pub(super) bytes: Option<&'a [u8]>,
}

/// The fields of one message, in the order of the wire.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub(super) fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, Unreadable> {
        let start = self.rest;
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| Unreadable::new("a field's number is out of range"))?;
        let bytes = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => {
                self.take(8)?;
                None
            }
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Some(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                None
            }
            other => {
                return Err(Unreadable::new(format!("field {number} has the wire type {other}")));
            }
        };
        let whole = &start[..start.len() - self.rest.len()];
        Ok(Field { number, whole, bytes })
    }

    fn varint(&mut self) -> Result<u64, Unreadable> {
        decode_varint(&mut self.rest)
            .map_err(|_| Unreadable::new("a number is cut off or too long"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (head, tail) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| Unreadable::new("a field is longer than its message"))?;
        self.rest = tail;
        Ok(head)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[]; // what follows a broken field cannot be told from it
        }
        Some(field)
    }
}

/// Appends a string, bytes or message whose value is at hand.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Appends a string unless it is empty, as proto3 does.
pub(super) fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, number, text.as_bytes());
    }
}

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

/// Appends a number unless it is 0, as proto3 does.
pub(super) fn put_nonzero(out: &mut Vec<u8>, number: u32, value: u64) {
    if value > 0 {
        put_number(out, number, value);
    }
}

/// Appends a message that `write` appends, and puts its length before it.
pub(super) fn put_message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(number, WireType::LengthDelimited, out);
    let start = out.len();
    write(out);
    let length = prost::encoding::encoded_len_varint((out.len() - start) as u64);
    let end = out.len();
    out.resize(end + length, 0);
    out.copy_within(start..end, start + length);
    let mut head = &mut out[start..start + length];
    encode_varint((end - start) as u64, &mut head);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_sum_of_its_fields() {
        let mut message = Vec::new();
        put_number(&mut message, 1, 1 << 60);
        put_text(&mut message, 2, "hello");
        put_message(&mut message, 3, |out| put_bytes(out, 1, &[7; 300]));
        message.extend([0x25, 1, 2, 3, 4]); // field 4, 32 bits
        message.extend([0x29, 1, 2, 3, 4, 5, 6, 7, 8]); // field 5, 64 bits
        let fields: Vec<Field<'_>> = Fields::of(&message).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(fields.iter().flat_map(|f| f.whole).copied().collect::<Vec<_>>(), message);
        assert_eq!(fields[1].bytes, Some(&b"hello"[..]));
        assert_eq!(fields[2].bytes.unwrap().len(), 303);
    }

    #[test]
    fn broken_bytes_are_an_error_and_then_nothing() {
        for broken in [
            &[0x80][..],
            &[0x0a, 5, 1],
            &[0x00],
            &[0x0b, 0x0c],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            let mut fields = Fields::of(broken);
            assert!(fields.next().unwrap().is_err(), "{broken:?}");
            assert!(fields.next().is_none(), "{broken:?}");
        }
    }
}
