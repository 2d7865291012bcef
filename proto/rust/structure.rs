//! An application's JSON object, `google.protobuf.Struct`.
//!
//! Apart from the well-known type that libraries ship, because theirs prints every number with a fraction
//! (`7.0` for `7`) and keeps keys in a hash map's order: what an application sent would come back looking
//! different, and differently each time.
//!
//! # Invariants
//! - The protobuf encoding is that of `google/protobuf/struct.proto`.
//! - The same value encodes to the same bytes and prints the same text: keys are in order, and a number
//!   without a fraction below 10^21 is printed without one.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, Serializer};

/// A JSON object: `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    /// The object's members.
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Value>,
}

/// Any JSON value: `google.protobuf.Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// Absent only in a message that somebody encoded wrongly; it is read as null.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<Kind>,
}

/// What a [`Value`] is.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Kind {
    /// JSON's null; the number is `google.protobuf.NullValue`'s only one, 0.
    #[prost(int32, tag = "1")]
    Null(i32),
    /// A number. JSON has no other kind.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A string.
    #[prost(string, tag = "3")]
    String(String),
    /// `true` or `false`.
    #[prost(bool, tag = "4")]
    Bool(bool),
    /// An object.
    #[prost(message, tag = "5")]
    Struct(Struct),
    /// An array.
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// A JSON array: `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListValue {
    /// The array's elements.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// From here on `JSON.stringify` prints an exponent.
const DIGITS_MAX: f64 = 1e21;

impl Serialize for Struct {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.fields)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.kind {
            None | Some(Kind::Null(_)) => serializer.serialize_unit(),
            Some(Kind::Number(number)) => serialize_number(*number, serializer),
            Some(Kind::String(string)) => serializer.serialize_str(string),
            Some(Kind::Bool(bool)) => serializer.serialize_bool(*bool),
            Some(Kind::Struct(object)) => object.serialize(serializer),
            Some(Kind::List(list)) => serializer.collect_seq(&list.values),
        }
    }
}

fn serialize_number<S: Serializer>(number: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if !number.is_finite() {
        return Err(ser::Error::custom("JSON has no number for NaN or infinity"));
    }
    if number.fract() == 0.0 && number.abs() < DIGITS_MAX {
        // Exact: the range fits. -0.0 becomes 0, which no JSON reader tells apart.
        return match i64::try_from(number as i128) {
            Ok(small) => serializer.serialize_i64(small),
            Err(_) => serializer.serialize_i128(number as i128),
        };
    }
    serializer.serialize_f64(number)
}

impl<'de> Deserialize<'de> for Struct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StructVisitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kind = deserializer.deserialize_any(KindVisitor)?;
        Ok(Self { kind: Some(kind) })
    }
}

struct StructVisitor;

impl<'de> Visitor<'de> for StructVisitor {
    type Value = Struct;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Struct, A::Error> {
        let mut fields = BTreeMap::new();
        // Of two members with one name the later wins, as in JavaScript.
        while let Some((name, value)) = map.next_entry()? {
            fields.insert(name, value);
        }
        Ok(Struct { fields })
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null(0))
    }

    fn visit_bool<E: de::Error>(self, bool: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(bool))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Kind, E> {
        Ok(Kind::Number(number))
    }

    // Beyond 2^53 an integer is rounded to the nearest double, as `JSON.parse` does.
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Kind, E> {
        Ok(Kind::Number(number as f64))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Kind, E> {
        Ok(Kind::Number(number as f64))
    }

    fn visit_str<E: de::Error>(self, string: &str) -> Result<Kind, E> {
        Ok(Kind::String(string.to_owned()))
    }

    fn visit_string<E: de::Error>(self, string: String) -> Result<Kind, E> {
        Ok(Kind::String(string))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Kind::List(ListValue { values }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Kind, A::Error> {
        StructVisitor.visit_map(map).map(Kind::Struct)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn parse(json: &str) -> Struct {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn integral_numbers_print_without_a_fraction_and_keys_in_order() {
        let data = parse(r#"{"z":1.0,"a":{"y":-3,"x":2.5},"m":[0,true,null,"s"]}"#);
        let printed = serde_json::to_string(&data).unwrap();
        assert_eq!(printed, r#"{"a":{"x":2.5,"y":-3},"m":[0,true,null,"s"],"z":1}"#);
    }

    #[test]
    fn a_value_survives_the_binary_encoding() {
        let data = parse(r#"{"n":null,"list":[[],{}],"zero":0,"empty":"","no":false}"#);
        assert_eq!(Struct::decode(data.encode_to_vec().as_slice()).unwrap(), data);
    }

    #[test]
    fn the_bytes_are_those_of_the_well_known_type() {
        // fields { key: "a" value { number_value: 1 } }
        let bytes =
            [&[0x0a, 0x0e, 0x0a, 0x01, b'a', 0x12, 0x09, 0x11][..], &1f64.to_le_bytes()].concat();
        assert_eq!(parse(r#"{"a":1}"#).encode_to_vec(), bytes);
    }

    #[test]
    fn numbers_beyond_2_to_the_53_keep_their_value() {
        let data = parse(r#"{"big":9007199254740993,"huge":1e300}"#);
        let printed = serde_json::to_string(&data).unwrap();
        assert_eq!(parse(&printed), data);
    }

    /// `9007199254740992` came back as `9007199254740992.0`, which readers that tell integers from
    /// doubles take for another value.
    #[test]
    fn integral_numbers_print_their_digits_as_long_as_javascript_does() {
        for (json, printed) in [
            ("9007199254740992", "9007199254740992"),
            ("9007199254740993", "9007199254740992"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("1e16", "10000000000000000"),
            ("18446744073709551616", "18446744073709551616"),
            ("-123456789012345680000", "-123456789012345683968"),
            ("999999999999999868928", "999999999999999868928"),
            ("1e21", "1e+21"),
            ("1e300", "1e+300"),
        ] {
            let data = parse(&format!(r#"{{"x":{json}}}"#));
            let text = serde_json::to_string(&data).unwrap();
            assert_eq!(text, format!(r#"{{"x":{printed}}}"#));
            assert_eq!(parse(&text), data, "{json}");
        }
    }

    #[test]
    fn fractions_come_back_to_the_last_digit() {
        let json = r#"{"x":15.872286270191061}"#; // off by one without serde_json's `float_roundtrip`
        assert_eq!(serde_json::to_string(&parse(json)).unwrap(), json);
    }

    #[test]
    fn what_json_has_no_number_for_is_refused() {
        let nan = Value { kind: Some(Kind::Number(f64::NAN)) };
        assert!(serde_json::to_string(&nan).is_err());
    }

    #[test]
    fn only_an_object_is_a_struct() {
        assert!(serde_json::from_str::<Struct>("[1]").is_err());
        assert!(serde_json::from_str::<Struct>("7").is_err());
    }
}
