//! JSON with one reading: no member name twice, at any depth (RFC 8259 §4 leaves the choice to each reader).

use std::collections::HashSet;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::names::fold;

/// Parses a whole JSON text.
///
/// # Errors
/// Not JSON, trailing bytes, a repeated member, or nesting deeper than `serde_json`'s limit of 128.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    parse_with(bytes, Unique { ignores_case: false })
}

/// Parses a whole JSON text that some back end may read without regard to the letter case of names.
///
/// # Errors
/// As [`parse`], or two members of one object differ in nothing but the case of their names.
pub fn parse_one_meaning(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    parse_with(bytes, Unique { ignores_case: true })
}

fn parse_with(bytes: &[u8], unique: Unique) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = unique.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Unique {
    ignores_case: bool,
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that JSON does not have"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut folded = HashSet::new();
        while let Some(name) = members.next_key::<Name>()? {
            let value = members.next_value_seed(self)?;
            if self.ignores_case && !folded.insert(fold(&name.0).into_owned()) {
                return Err(de::Error::custom("a member name occurs twice but for its case"));
            }
            if map.insert(name.0, value).is_some() {
                return Err(de::Error::custom("a member name occurs twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[derive(serde::Deserialize)]
struct Name(String);

/// Deserialises a type from JSON with one reading.
///
/// # Errors
/// As [`parse`], or the text does not have the type's shape.
pub fn parse_as<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_value(parse(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_members_are_refused_at_every_depth() {
        assert!(parse(br#"{"a":1,"b":[{"c":1}]}"#).is_ok());
        for text in
            [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":1,"a":1}}]"#, r#"{"a":1,"\u0061":2}"#, r#"{"a":1}x"#, "{", ""]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn names_in_two_cases_are_refused_where_that_matters() {
        let text = br#"{"a":{"key":1,"Key":2}}"#;
        assert!(parse(text).is_ok() && parse_one_meaning(text).is_err());
        assert!(parse_one_meaning(br#"{"a":{"A":{"a":1}}}"#).is_ok());
    }

    #[test]
    fn keeps_values_as_they_are() {
        let text = br#"{"n":null,"t":true,"i":-3,"u":18446744073709551615,"f":1.5,"s":"\u00e9","l":[1,"x"]}"#;
        assert_eq!(parse(text).expect("json"), serde_json::from_slice::<Value>(text).expect("json"));
    }
}
