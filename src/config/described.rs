//! The JSON Schema of the configuration (draft 2020-12), made by the types that read it: editors complete and check with it.
//!
//! It knows which keys there are and what shape each value has. What a value means, and what fits together, `wardgate check`
//! says.

use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;

use super::schema::{Caller, Entries, File, Given, Person};

/// Named schemas, by the name of their type.
pub(in crate::config) type Definitions = Map<String, Value>;

/// A shape in the file.
pub(in crate::config) trait Described {
    /// Its schema; those of the maps in it go to `definitions`.
    fn describe(definitions: &mut Definitions) -> Value;
}

/// A single value: YAML's numbers and words of truth are read as they are written.
impl Described for String {
    fn describe(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

impl Described for bool {
    fn describe(_: &mut Definitions) -> Value {
        json!({ "type": "boolean" })
    }
}

/// Anything.
impl Described for Value {
    fn describe(_: &mut Definitions) -> Value {
        Self::Bool(true)
    }
}

impl<T: Described> Described for Spanned<T> {
    fn describe(definitions: &mut Definitions) -> Value {
        T::describe(definitions)
    }
}

impl<T: Described> Described for Given<T> {
    fn describe(definitions: &mut Definitions) -> Value {
        T::describe(definitions)
    }
}

impl<T: Described> Described for Vec<T> {
    fn describe(definitions: &mut Definitions) -> Value {
        json!({ "type": "array", "items": T::describe(definitions) })
    }
}

impl<T: Described> Described for Entries<T> {
    fn describe(definitions: &mut Definitions) -> Value {
        json!({ "type": "object", "additionalProperties": T::describe(definitions) })
    }
}

impl Described for Caller {
    fn describe(definitions: &mut Definitions) -> Value {
        json!({ "anyOf": [{ "const": "nobody" }, Person::describe(definitions)] })
    }
}

/// A key of a map, with what its value is like.
pub(in crate::config) type Key = (&'static str, fn(&mut Definitions) -> Value);

/// A reference to a map's schema, which is put among the definitions where it is not there yet.
pub(in crate::config) fn map(
    definitions: &mut Definitions,
    name: &'static str,
    description: &'static str,
    keys: &[Key],
) -> Value {
    if !definitions.contains_key(name) {
        // It stands there already while its own keys are described.
        definitions.insert(name.to_owned(), Value::Null);
        let properties: Map<String, Value> = keys
            .iter()
            .map(|(key, describe)| (key.trim_start_matches("r#").to_owned(), describe(definitions)))
            .collect();
        let schema = json!({
            "description": description.trim(), "type": "object", "properties": properties,
            "additionalProperties": false,
        });
        definitions.insert(name.to_owned(), schema);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// The schema of the whole file.
pub fn schema() -> Value {
    let mut definitions = Definitions::new();
    let file = File::describe(&mut definitions);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gateway.yaml of Wardgate",
        "$ref": file.get("$ref"),
        "required": ["version", "listeners", "routes"],
        "$defs": definitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_of_the_file_has_one_schema_and_a_description() {
        let schema = schema();
        let definitions = schema["$defs"].as_object().expect("definitions");
        assert!(definitions.len() > 60, "{}", definitions.len());
        for (name, definition) in definitions {
            assert_eq!(definition["additionalProperties"], false, "{name}");
            assert!(definition["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
            assert!(definition["properties"].as_object().is_some_and(|keys| !keys.is_empty()), "{name}");
        }
        let keys = |name: &str| definitions[name]["properties"].as_object().expect("keys").clone();
        assert!(keys("Route").contains_key("match"), "as it stands in the file");
        assert_eq!(keys("AnyOf")["roles"]["type"], "array");
        assert_eq!(keys("File")["upstreams"]["additionalProperties"]["$ref"], "#/$defs/Upstream");
        assert_eq!(keys("Case")["as"]["anyOf"][1]["$ref"], "#/$defs/Person");
    }

    /// Two types of one name would share a schema.
    #[test]
    fn no_two_maps_have_one_name() {
        let sources =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config")).expect("a folder");
        let mut names = Vec::new();
        for file in sources.map(|entry| entry.expect("an entry").path()) {
            let is_schema = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("schema"));
            let text = if is_schema { std::fs::read_to_string(&file).expect("text") } else { String::new() };
            let maps = text.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(" {"));
            let maps = maps.map(|(name, _)| name).filter(|name| {
                name.starts_with(char::is_uppercase) && name.chars().all(char::is_alphanumeric)
            });
            names.extend(maps.map(str::to_owned));
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert!(all > 60, "{all}");
        assert_eq!(names.len(), all, "{names:?}");
    }
}
