//! The bytes are those that serde_json writes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;

use super::*;

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Tagged {
    Inner(Shape),
    Named { text: String },
    Alone,
}

#[derive(Debug, Serialize)]
enum Plain {
    Alone,
    One(i64),
    Named { a: u8, b: Option<bool> },
}

#[derive(Debug, Serialize)]
struct Shape {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    maybe: Option<u64>,
    nothing: Option<char>,
    pairs: Vec<(String, Option<bool>)>,
    map: BTreeMap<String, i64>,
    plain: Vec<Plain>,
}

fn written(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    write(value, &mut bytes).expect("writable");
    String::from_utf8(bytes).expect("text")
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_serde_json(
        text in any::<String>(),
        quoted in "[ -~\"\\\\\u{0}-\u{1f}\u{7f}é€]{0,40}",
        maybe in any::<Option<u64>>(),
        number in any::<i64>(),
        small in any::<u8>(),
        flag in any::<Option<bool>>(),
    ) {
        let shape = |text: &str| Shape {
            text: text.to_owned(),
            maybe,
            nothing: None,
            pairs: vec![(quoted.clone(), flag), (text.to_owned(), None)],
            map: BTreeMap::from([(text.to_owned(), number), (quoted.clone(), 0)]),
            plain: vec![Plain::Alone, Plain::One(number), Plain::Named { a: small, b: flag }],
        };
        for value in [
            Tagged::Inner(shape(&text)),
            Tagged::Inner(shape(&quoted)),
            Tagged::Named { text: quoted.clone() },
            Tagged::Alone,
        ] {
            prop_assert_eq!(written(&value), serde_json::to_string(&value).expect("writable"));
        }
    }
}

#[test]
fn what_no_record_holds_is_refused() {
    let mut bytes = Vec::new();
    assert!(write(&0.5, &mut bytes).is_err());
    assert!(write(&BTreeMap::from([(1, 2)]), &mut bytes).is_err());
}
