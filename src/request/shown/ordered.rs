//! JSON in the order in which it was written: people look for what they filled in where they filled it in.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// A JSON value whose members stand in their order.
pub(super) enum Ordered {
    /// `null`.
    Nothing,
    /// A number, `true` or `false`, as it is written.
    Word(Box<str>),
    /// A string.
    Text(Box<str>),
    /// An array.
    List(Vec<Ordered>),
    /// An object: no name occurs twice.
    Members(Vec<(Box<str>, Ordered)>),
}

impl Ordered {
    /// Reads a whole JSON text; `None` where it is none, or has more than one reading: a name twice in an object.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// How many values lie in it.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Nothing | Self::Word(_) | Self::Text(_) => 0,
            Self::List(items) => items.len(),
            Self::Members(members) => members.len(),
        }
    }

    /// Whether it is one value, and no collection of them.
    pub(super) const fn is_leaf(&self) -> bool {
        matches!(self, Self::Nothing | Self::Word(_) | Self::Text(_))
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Ordered;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Ordered, E> {
        Ok(Ordered::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Ordered, E> {
        Ok(Ordered::Word(value.to_string().into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Ordered, E> {
        Ok(Ordered::Word(value.to_string().into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Ordered, E> {
        Ok(Ordered::Word(value.to_string().into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Ordered, E> {
        let number = serde_json::Number::from_f64(value);
        let number = number.ok_or_else(|| E::custom("a number that JSON does not have"))?;
        Ok(Ordered::Word(number.to_string().into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Ordered, E> {
        Ok(Ordered::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Ordered, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Ordered::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Ordered, A::Error> {
        let (mut list, mut names) = (Vec::new(), HashSet::new());
        while let Some((name, value)) = members.next_entry::<Box<str>, Ordered>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a member name occurs twice"));
            }
            list.push((name, value));
        }
        Ok(Ordered::Members(list))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::json;
    use super::*;

    fn plain(value: &Ordered) -> serde_json::Value {
        match value {
            Ordered::Nothing => serde_json::Value::Null,
            Ordered::Word(word) => serde_json::from_str(word).expect("a word of JSON"),
            Ordered::Text(text) => serde_json::Value::from(&**text),
            Ordered::List(items) => items.iter().map(plain).collect(),
            Ordered::Members(members) => {
                members.iter().map(|(name, value)| (name.to_string(), plain(value))).collect()
            }
        }
    }

    proptest! {
        /// What decides reads the same, or neither reads it.
        #[test]
        fn it_is_read_as_everywhere_else(text in "[{}\\[\\]\":,a1.e\\-truefalsn ]{0,40}") {
            let (ordered, value) = (Ordered::read(text.as_bytes()), json::parse(text.as_bytes()).ok());
            prop_assert_eq!(ordered.as_ref().map(plain), value);
        }
    }

    #[test]
    fn members_stand_as_they_were_written() {
        let Some(Ordered::Members(members)) =
            Ordered::read(br#"{"z":1,"a":[true,null,1.50],"m":{"y":"","b":-2}}"#)
        else {
            panic!("an object")
        };
        let names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["z", "a", "m"]);
        for bad in [r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"\u0062":2}}"#, "{} {}", "{", ""] {
            assert!(Ordered::read(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Ordered::read("[".repeat(200).as_bytes()).is_none());
    }
}
