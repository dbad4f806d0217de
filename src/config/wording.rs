//! The YAML reader's errors in the words of somebody who writes YAML and has never seen this program's types.

use std::borrow::Cow;

use serde_saphyr::{Error, Location, MessageFormatter, UserMessageFormatter};

use super::codes::Code;
use super::diagnostic::{Diagnostic, Place, Source};
use super::report::{instead, list};

/// A message and its remedy.
type Words = (Cow<'static, str>, Cow<'static, str>);

/// Makes a diagnostic of what the reader says.
pub(super) fn explain(source: &Source<'_>, error: &Error) -> Diagnostic {
    let known = error.location().filter(|at| *at != Location::UNKNOWN);
    let place = known.map_or(Place::FILE, Place::from);
    let error = innermost(error);
    let (code, (message, help)) = words(error);
    let length = match error {
        // The reader knows where a key begins, but not always where it ends.
        Error::SerdeUnknownField { field: key, .. } | Error::DuplicateMappingKey { key: Some(key), .. } => {
            key.chars().count()
        }
        _ => place.length,
    };
    Diagnostic::new(source, code, Place { length, ..place }, message, help)
}

fn innermost(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => innermost(error),
        other => other,
    }
}

fn words(error: &Error) -> (Code, Words) {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let nearest = instead(field, expected.iter().copied());
            let all = || format!("the keys here are {}", list(expected));
            let help = if nearest.starts_with("did") { nearest } else { all() };
            (Code::UnknownKey, (format!("unknown key `{field}`").into(), help.into()))
        }
        Error::DuplicateMappingKey { key, .. } => {
            let message =
                format!("the key `{}` occurs twice in this map", key.as_deref().unwrap_or_default());
            (Code::RepeatedKey, (message.into(), "keep one of the two".into()))
        }
        Error::NullIntoString { .. } => {
            (Code::Empty, ("a value is missing here".into(), "write one, or leave the key out".into()))
        }
        other => match shape(other) {
            Some(words) => (Code::WrongShape, words),
            None => (Code::NotYaml, refused(other).unwrap_or_else(|| syntax(other))),
        },
    }
}

/// One kind of value where another is expected.
fn shape(error: &Error) -> Option<Words> {
    let (message, help) = match error {
        Error::Unexpected { expected: "sequence start", .. } => {
            ("a list is expected here", "write `[a, b]`, or one `- item` a line; `[]` is an empty list")
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            ("a map is expected here", "write `{ key: value }`, or one `key: value` a line")
        }
        Error::Unexpected { expected: "string scalar", .. } => {
            ("a single value is expected here", "write one word, number or quoted text")
        }
        Error::InvalidBooleanStrict { .. } => ("this is neither true nor false", "write `true` or `false`"),
        Error::SerdeInvalidType { expected, .. } => {
            return Some(("this is not what is expected here".into(), format!("write {expected}").into()));
        }
        _ => return None,
    };
    Some((message.into(), help.into()))
}

/// Parts of YAML that are not accepted, since they have several readings or cost too much.
fn refused(error: &Error) -> Option<Words> {
    let (message, help) = match error {
        Error::MergeKeyNotAllowed { .. } => {
            ("merge keys (`<<`) are not accepted", "write the keys out, so that each has one value")
        }
        Error::UnsupportedTag { tag, .. } | Error::TaggedStructFieldName { tag, .. } => {
            return Some((format!("the tag `{tag}` is not accepted").into(), "leave it out".into()));
        }
        Error::TaggedScalarCannotDeserializeIntoString { .. } | Error::BinaryNotUtf8 { .. } => {
            ("a value with this tag is not accepted", "leave the tag out, and quote the value if it is text")
        }
        Error::NonFiniteFloat { value, .. } => {
            return Some((
                format!("`{value}` is not a number that JSON has").into(),
                "write a finite number".into(),
            ));
        }
        Error::UnknownAnchor { .. } => {
            ("there is no anchor of this name above", "write the value, or an `&anchor` before it")
        }
        Error::MultipleDocuments { .. } => {
            ("a second document begins here", "keep one document in the file, without `---` or `...`")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            ("the file is nested too deeply or uses too many aliases", "write it out plainly")
        }
        _ => return None,
    };
    Some((message.into(), help.into()))
}

/// What is not YAML at all, as the reader puts it.
fn syntax(error: &Error) -> Words {
    let message = UserMessageFormatter.format_message(error);
    (
        format!("this is not YAML: {message}").into(),
        "check indentation (with spaces, never tabs), quotes and brackets".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    #[test]
    fn messages_speak_of_the_file_and_not_of_this_program() {
        for text in [
            "a",
            "- a",
            "1: 2",
            "{[a]: 1}",
            "version: !!binary /w==",
            "version: !!int x",
            "version: !!map x",
            "version: {a: b}",
            "version: null",
            "listeners: ~",
            "listeners: {}",
            "upstreams: []",
            "upstreams: { a: 3 }",
            "upstreams: { a: { pass_bearer: 1 } }",
            "state: { single_replica: }",
            "cases: [{ as: [] }]",
            "cases: [{ as: { issuer: [] } }]",
            "cases: [{ body: .nan }]",
            "cases: [{ body: 1e999 }]",
            "cases: [{ body: { [a]: 1 } }]",
            "version: *a",
            "version: &a [*a]",
            "!!str version: 1\n!x routes: []",
            "version: \"\\xff\\q\"",
            "version: |\n x\n\ty: [",
            "? a\n: b",
            "%YAML 3.0\n---\nversion: 1",
            "version: 1\n...\nversion: 1",
            "\u{0}",
        ] {
            let read = parse(&Source::new("gateway.yaml", text));
            let said = read.expect_err(text).to_string();
            for word in [
                "struct",
                "enum",
                "variant",
                "field",
                "serde",
                "Option",
                "deserialize",
                "Policy",
                "policy",
                "invalid type",
            ] {
                assert!(!said.contains(word), "{text:?}: {said}");
            }
        }
    }
}
