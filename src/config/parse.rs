//! From text to [`schema::File`], within bounds, and the reader's errors in plain words.

use serde_saphyr::{Error, Location, MergeKeyPolicy, Options, UserMessageFormatter};

use super::codes::Code;
use super::diagnostic::{Diagnostic, Place, Source};
use super::report::{instead, list};
use super::schema;

/// The largest file: 1 MiB has room for some 5,000 routes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Reads the file's shape.
///
/// # Errors
/// The first thing that is not YAML or not the shape: the reader can't go on behind it.
pub(super) fn parse(source: &Source<'_>) -> Result<schema::File, Diagnostic> {
    if source.text().len() > MAX_BYTES {
        let help = "split it into several gateways";
        return Err(Diagnostic::new(source, Code::FileUnreadable, Place::FILE, "the file is larger than 1 MiB", help));
    }
    serde_saphyr::from_str_with_options(source.text(), options()).map_err(|error| explain(source, &error))
}

/// One reading only, and no more work than a file of 1 MiB can honestly ask for.
fn options() -> Options {
    serde_saphyr::options! {
        // The default of 250,000 nodes ends at some 10,000 routes; without aliases the size of the file bounds them.
        budget: serde_saphyr::budget! {
            max_nodes: 600_000,
            max_events: 1_200_000,
            max_depth: 24,
            // One is read; the budget lets the second begin, so that it can be reported as what it is.
            max_documents: 2,
            // Aliases are for a list of roles used in many places, not for building a file out of pieces.
            max_aliases: 2_000,
            max_anchors: 200,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 4,
        },
        // A merged map hides which of two values counts.
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        with_snippet: false,
    }
}

fn explain(source: &Source<'_>, error: &Error) -> Diagnostic {
    let place = error.location().filter(|at| *at != Location::UNKNOWN).map_or(Place::FILE, Place::from);
    let (code, message, help) = words(error);
    let place = match error.without_snippet() {
        // What is reported is where the key begins.
        Error::SerdeUnknownField { field: key, .. } | Error::DuplicateMappingKey { key: Some(key), .. } => {
            Place { length: key.chars().count(), ..place }
        }
        _ => place,
    };
    Diagnostic::new(source, code, place, message, help)
}

/// The finding in the words of somebody who writes YAML and has never seen this program's types.
fn words(error: &Error) -> (Code, String, String) {
    let is = |code, message: &str, help: &str| (code, message.to_owned(), help.to_owned());
    match error.without_snippet() {
        Error::AliasError { error, .. } => words(error),
        Error::SerdeUnknownField { field, expected, .. } => {
            (Code::UnknownKey, format!("unknown key `{field}`"), key_help(field, expected))
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or_default();
            (Code::RepeatedKey, format!("the key `{key}` occurs twice in this map"), "keep one of the two".to_owned())
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            is(Code::WrongShape, "a list is expected here", "write `[a, b]`, or one `- item` a line; `[]` is an empty list")
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            is(Code::WrongShape, "a map is expected here", "write `{ key: value }`, or one `key: value` a line")
        }
        Error::Unexpected { expected: "string scalar", .. } => {
            is(Code::WrongShape, "a single value is expected here", "write one word, number or quoted text")
        }
        Error::NullIntoString { .. } => is(Code::Empty, "a value is missing here", "write one, or leave the key out"),
        Error::InvalidBooleanStrict { .. } => {
            is(Code::WrongShape, "this is neither true nor false", "write `true` or `false`")
        }
        Error::SerdeInvalidType { expected, .. } => {
            (Code::WrongShape, "this is not what is expected here".to_owned(), format!("write {expected}"))
        }
        Error::MergeKeyNotAllowed { .. } => {
            is(Code::NotYaml, "merge keys (`<<`) are not accepted", "write the keys out, so that each has one value")
        }
        Error::UnsupportedTag { tag, .. } | Error::TaggedStructFieldName { tag, .. } => {
            (Code::NotYaml, format!("the tag `{tag}` is not accepted"), "leave it out".to_owned())
        }
        Error::UnknownAnchor { .. } => {
            is(Code::NotYaml, "there is no anchor of this name above", "write the value, or an `&anchor` before it")
        }
        Error::MultipleDocuments { .. } => {
            is(Code::NotYaml, "a second document begins here", "take out the line `---`")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            is(Code::NotYaml, "the file is nested too deeply or uses too many aliases", "write it out plainly")
        }
        other => {
            let message = serde_saphyr::MessageFormatter::format_message(&UserMessageFormatter, other);
            (Code::NotYaml, format!("this is not YAML: {message}"), "check indentation, quotes and brackets".to_owned())
        }
    }
}

fn key_help(field: &str, expected: &[&'static str]) -> String {
    let nearest = instead(field, expected.iter().copied());
    if nearest.starts_with("did") { nearest } else { format!("the keys here are {}", list(expected)) }
}
