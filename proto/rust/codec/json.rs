//! Reading JSON: where it is broken, and numbers in each of their spellings.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, Unexpected, Visitor};

use super::Unreadable;

/// Reads one frame; whatever follows it makes it unreadable.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(json).map_err(|error| {
        let path = path_at(json, offset(json, error.line(), error.column()));
        Unreadable::new(match path.as_str() {
            "" => error.to_string(),
            path => format!("{path}: {error}"),
        })
    })
}

/// The names of a frame's members.
pub(super) fn members(json: &[u8]) -> Vec<String> {
    serde_json::from_slice::<Names>(json).map(Names::list).unwrap_or_default()
}

/// The names of the members of a frame's `publish`.
pub(super) fn members_of_publish(json: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Frame {
        publish: Option<Names>,
    }
    let frame = serde_json::from_slice::<Frame>(json).ok();
    frame.and_then(|frame| frame.publish).map(Names::list).unwrap_or_default()
}

/// An object's names; what they hold is skipped without a copy and without recursion.
#[derive(Deserialize)]
struct Names(BTreeMap<String, IgnoredAny>);

impl Names {
    fn list(self) -> Vec<String> {
        self.0.into_keys().collect()
    }
}

/// A number as ProtoJSON may write it: `7`, `7.0`, `7e0` or `"7"`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number<T>(pub(crate) T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number<T>, D::Error> {
        deserializer.deserialize_any(NumberVisitor(PhantomData)).map(Number)
    }
}

struct NumberVisitor<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for NumberVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of at most {} bits", 8 * size_of::<T>())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &"a smaller number"))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        // Up to here every whole double is exact.
        let whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        match whole {
            true => self.visit_u64(number as u64),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<T, E> {
        match digits.parse::<u64>() {
            Ok(number) if !digits.starts_with('+') => self.visit_u64(number),
            _ => Err(E::invalid_value(Unexpected::Str(digits), &self)),
        }
    }
}

/// Where the line and column of an error lie; both count from 1, and columns count bytes.
fn offset(json: &[u8], line: usize, column: usize) -> usize {
    let lines = json.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column).min(json.len())
}

/// The members around the byte at `end`, such as `hello.subscribe[2].room`.
fn path_at(json: &[u8], end: usize) -> String {
    let mut path = Path::default();
    let mut at = 0;
    while at < end {
        match json[at] {
            b'"' => {
                let close = string_end(json, at + 1).min(end);
                path.string(&json[at + 1..close]);
                at = close;
            }
            byte => path.byte(byte),
        }
        at += 1;
    }
    path.to_string()
}

/// The place of the quote that ends a string, or the input's end.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < json.len() && json[at] != b'"' {
        at += if json[at] == b'\\' { 2 } else { 1 };
    }
    at.min(json.len())
}

/// Where a scan through JSON stands.
#[derive(Default)]
struct Path<'a> {
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Member { name: &'a [u8], named: bool },
    Element(usize),
}

impl<'a> Path<'a> {
    fn string(&mut self, text: &'a [u8]) {
        if let Some(Step::Member { name, named: named @ false }) = self.steps.last_mut() {
            (*name, *named) = (text, true);
        }
    }

    fn byte(&mut self, byte: u8) {
        match (byte, self.steps.last_mut()) {
            (b'{', _) => self.steps.push(Step::Member { name: &[], named: false }),
            (b'[', _) => self.steps.push(Step::Element(0)),
            (b'}' | b']', _) => drop(self.steps.pop()),
            (b',', Some(Step::Member { named, .. })) => *named = false,
            (b',', Some(Step::Element(index))) => *index += 1,
            _ => {}
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Steps that are told; deeper ones help nobody.
        const STEPS_MAX: usize = 8;
        if let Some(Step::Element(_)) = self.steps.first() {
            return Ok(()); // no frame begins so
        }
        for (index, step) in self.steps.iter().take(STEPS_MAX).enumerate() {
            match step {
                Step::Member { name: [], .. } => {}
                Step::Member { name, .. } => {
                    let dot = if index > 0 { "." } else { "" };
                    write!(f, "{dot}{}", String::from_utf8_lossy(name))?;
                }
                Step::Element(element) => write!(f, "[{element}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    fn why(json: &str) -> String {
        parse::<v1::ClientFrame>(json.as_bytes()).unwrap_err().message
    }

    #[test]
    fn the_place_of_an_error_is_told() {
        assert!(
            why(r#"{"ref":1,"publish":{"post":{"text":7}}}"#)
                .starts_with("publish.post.text: invalid type")
        );
        assert!(
            why("{\"hello\":\n {\"subscribe\":[{\"room\":\"a\"},\n {\"room\":[]}]}}")
                .starts_with("hello.subscribe[1].room: invalid type")
        );
        assert!(
            why(r#"{"ref":-1}"#)
                .starts_with("ref: invalid type: integer `-1`, expected a whole number")
        );
        assert!(why(r#"{"mark":{"seq":"x"}}"#).contains("a whole number of at most 64 bits"));
        assert!(why(r#"{"hello":{},"publish":{}}"#).starts_with("publish: duplicate field"));
        assert!(why("[]").contains("expected struct"));
        assert!(why("{} {}").contains("trailing characters"));
        assert!(why("").contains("EOF"));
    }

    #[test]
    fn a_number_has_many_spellings_and_null_is_absent() {
        for seq in ["7", "7.0", "70e-1", "\"7\""] {
            let frame: v1::ClientFrame =
                parse(format!(r#"{{"ref":null,"mark":{{"room":null,"seq":{seq}}}}}"#).as_bytes())
                    .unwrap();
            let mark = v1::Mark { room: String::new(), seq: Some(7) };
            assert_eq!(frame.frame, Some(v1::client_frame::Frame::Mark(mark)), "{seq}");
        }
        for seq in ["7.5", "-7", "1e300", "\"7.0\"", "\"+7\"", "\"\"", "true", "[7]"] {
            why(&format!(r#"{{"mark":{{"seq":{seq}}}}}"#));
        }
    }

    #[test]
    fn depth_is_an_error_and_unknown_depth_is_skipped() {
        let deep = |name: &str| {
            format!(
                r#"{{"signal":{{"{name}":{{"a":{}{}}}}}}}"#,
                "[".repeat(9_000),
                "]".repeat(9_000)
            )
        };
        assert!(why(&deep("data")).contains("recursion limit"));
        assert!(parse::<v1::ClientFrame>(deep("unknown").as_bytes()).is_ok());
    }
}
