//! Which fields a body changes: the top-level ones that a patch names, or that a document has.

use serde_json::Value;

/// The operations of JSON Patch (RFC 6902 §4).
const OPERATIONS: [&str; 6] = ["add", "remove", "replace", "move", "copy", "test"];

/// A patch with more operations than this has no one meaning here: 1,000.
const MAX_OPERATIONS: usize = 1000;

/// What is known of the fields that a request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// These and no others, each once, in the order of the alphabet.
    Of(Vec<String>),
    /// Any may be among them.
    Any,
}

impl Changes {
    /// Takes names as they come.
    pub fn of(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self::Of(names)
    }

    /// Whether it changes something, and nothing beside `fields`.
    pub fn only(&self, fields: &[Box<str>]) -> bool {
        match self {
            Self::Of(names) => {
                !names.is_empty() && names.iter().all(|name| fields.iter().any(|field| **field == **name))
            }
            Self::Any => false,
        }
    }
}

/// The first steps of all paths in a JSON Patch (RFC 6902): of those that are changed, and of those that are moved, copied
/// or only tested, since the answer tells what stands there.
///
/// `None` where it is no JSON Patch, or one that replaces the whole document.
pub fn of_json_patch(patch: &Value) -> Option<Changes> {
    let operations = patch.as_array().filter(|list| (1..=MAX_OPERATIONS).contains(&list.len()))?;
    let mut names = Vec::with_capacity(operations.len());
    for operation in operations {
        let operation = operation.as_object()?;
        let kind = operation.get("op")?.as_str().filter(|kind| OPERATIONS.contains(kind))?;
        names.push(first_step(operation.get("path")?)?);
        match operation.get("from") {
            Some(from) => names.push(first_step(from)?),
            None if matches!(kind, "move" | "copy") => return None,
            None => {}
        }
    }
    Some(Changes::of(names))
}

/// The first step of a JSON Pointer (RFC 6901), unescaped; `None` for the whole document.
fn first_step(pointer: &Value) -> Option<String> {
    let first = pointer.as_str()?.strip_prefix('/')?.split('/').next()?;
    let mut plain = String::with_capacity(first.len());
    let mut letters = first.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '~' => match letters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_json_patch_changes_what_any_of_its_paths_names() {
        let patch = json!([
            { "op": "test", "path": "/status", "value": "draft" },
            { "op": "move", "from": "/dosage~1Text/0", "path": "/note/-" },
            { "op": "replace", "path": "/status", "value": "active" },
        ]);
        let names = ["dosage/Text", "note", "status"].map(str::to_owned).to_vec();
        assert_eq!(of_json_patch(&patch), Some(Changes::Of(names)));
        for bad in [
            json!([]),
            json!({}),
            json!([{ "op": "add", "path": "", "value": {} }]),
            json!([{ "op": "add", "path": "status", "value": 1 }]),
            json!([{ "op": "copy", "path": "/a" }]),
            json!([{ "op": "move", "path": "/a", "from": "" }]),
            json!([{ "op": "Add", "path": "/a" }]),
            json!([{ "op": "add", "path": "/~2" }]),
            json!([{ "op": "add" }]),
            json!(["add"]),
        ] {
            assert_eq!(of_json_patch(&bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_is_not_only_something() {
        let fields: Vec<Box<str>> = vec!["a".into(), "b".into()];
        assert!(Changes::of(["b", "a", "b"]).only(&fields) && Changes::of(["a"]).only(&fields));
        for other in [Changes::of(["a", "c"]), Changes::Of(Vec::new()), Changes::Any] {
            assert!(!other.only(&fields), "{other:?}");
        }
    }
}
