//! What an Envoy that asks the gateway is told to do: where it lets requests by that nobody judged.
//!
//! Filters are found by their type wherever they stand, so that it may be Envoy's own file, one of Istio, or a dump.

use std::path::Path;

use serde_json::{Map, Value};

use super::findings::Finding;

const LOOK: &str = "envoy";
const FILTER: &str = ".ext_authz.v3.ExtAuthz";
const FOR_A_ROUTE: &str = ".ext_authz.v3.ExtAuthzPerRoute";
/// The metadata by which a filter says how long a body it sends.
const BODY_BYTES: &str = "x-wardgate-body-bytes";

/// What is of concern in a file.
#[derive(Default)]
struct Seen<'v> {
    filters: Vec<&'v Map<String, Value>>,
    /// Routes and hosts that ask nobody.
    unasked: usize,
}

/// Looks at one file.
pub fn look(path: &Path) -> Vec<Finding> {
    let about = format!("`{}`", path.display());
    let unreadable = |why: String| {
        vec![Finding::failure(
            LOOK,
            &about,
            why,
            "name Envoy's configuration, in YAML or JSON, readable here",
        )]
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return unreadable(format!("can't be read: {error}")),
    };
    match serde_saphyr::from_multiple::<Value>(&text) {
        Ok(documents) => judge(&about, &documents),
        Err(_) => unreadable("is no YAML or JSON".to_owned()),
    }
}

fn judge(about: &str, documents: &[Value]) -> Vec<Finding> {
    let mut seen = Seen::default();
    documents.iter().for_each(|document| seen.walk(document));
    let mut found: Vec<Finding> = seen
        .filters
        .iter()
        .flat_map(|filter| [open_when_down(about, filter), body(about, filter)])
        .flatten()
        .collect();
    if seen.filters.is_empty() {
        let remedy = "name the file with the filter `envoy.filters.http.ext_authz`";
        found.push(Finding::failure(LOOK, about, "asks nobody: there is no `ext_authz` in it", remedy));
    }
    if seen.unasked > 0 {
        let says = format!("has {} places with `disabled: true`, whose requests nobody judges", seen.unasked);
        let remedy = "take `ExtAuthzPerRoute` out; let Wardgate say what is public (`access: public`)";
        found.push(Finding::warning(LOOK, about, says, remedy));
    }
    if found.is_empty() {
        found.push(Finding::ok(LOOK, about, "lets nothing pass that was not judged"));
    }
    found
}

impl<'v> Seen<'v> {
    fn walk(&mut self, value: &'v Value) {
        match value {
            Value::Object(map) => {
                let kind = map.get("@type").and_then(Value::as_str).unwrap_or_default();
                if kind.ends_with(FILTER) {
                    self.filters.push(map);
                }
                if kind.ends_with(FOR_A_ROUTE) && is_true(map, "disabled") {
                    self.unasked += 1;
                }
                map.values().for_each(|value| self.walk(value));
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            _ => {}
        }
    }
}

fn open_when_down(about: &str, filter: &Map<String, Value>) -> Option<Finding> {
    is_true(filter, "failure_mode_allow").then(|| {
        let says =
            "lets every request pass whenever the gateway does not answer (`failure_mode_allow: true`)";
        Finding::failure(LOOK, about, says, "write `failure_mode_allow: false`")
    })
}

/// Whether what is said of bodies by gRPC is what is sent.
fn body(about: &str, filter: &Map<String, Value>) -> Option<Finding> {
    let service = field(filter, "grpc_service")?.as_object()?;
    let metadata = field(service, "initial_metadata").and_then(Value::as_array).into_iter().flatten();
    let said = metadata
        .filter(|entry| entry.get("key").and_then(Value::as_str) == Some(BODY_BYTES))
        .find_map(|entry| number(entry.get("value")?));
    let sends = field(filter, "with_request_body").and_then(Value::as_object);
    let sent = sends.and_then(|sends| number(field(sends, "max_request_bytes")?));
    let remedy =
        "write the same number in `initial_metadata` (`x-wardgate-body-bytes`) and `max_request_bytes`";
    match (said, sent) {
        (Some(said), sent) if sent.is_none_or(|sent| said > sent) => {
            let sent = sent.unwrap_or_default();
            let says = format!(
                "says that bodies of {said} bytes come, and sends {sent}: what it cut may count as whole"
            );
            Some(Finding::failure(LOOK, about, says, remedy))
        }
        (said, Some(sent)) if said != Some(sent) => {
            let says = "does not say how long bodies it sends: some count as unreadable, and are refused";
            Some(Finding::warning(LOOK, about, says, remedy))
        }
        _ => None,
    }
}

/// A member under either of its names in JSON (`a_b` or `aB`).
fn field<'v>(map: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    map.get(name).or_else(|| {
        let mut words = name.split('_');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
            camel.push_str(&first.to_ascii_uppercase());
            camel.push_str(rest);
        }
        map.get(&camel)
    })
}

fn is_true(map: &Map<String, Value>, name: &str) -> bool {
    field(map, name) == Some(&Value::Bool(true))
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::super::findings::Verdict;
    use super::*;

    fn shipped(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
        std::fs::read_to_string(path).expect("shipped")
    }

    fn verdicts(text: &str) -> Vec<Verdict> {
        let documents = serde_saphyr::from_multiple::<Value>(text).expect("YAML");
        judge("`envoy.yaml`", &documents).into_iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn what_is_shipped_is_sound() {
        for name in ["envoy/ext-authz-grpc.yaml", "envoy/ext-authz-http.yaml", "istio/ext-authz.yaml"] {
            assert_eq!(verdicts(&shipped(name)), [Verdict::Ok], "{name}");
        }
    }

    #[test]
    fn what_passes_unjudged_is_told() {
        let grpc = shipped("envoy/ext-authz-grpc.yaml");
        let change = |from: &str, to: &str| {
            let changed = grpc.replace(from, to);
            assert_ne!(changed, grpc, "{from}");
            verdicts(&changed)
        };
        assert_eq!(change("failure_mode_allow: false", "failure_mode_allow: true"), [Verdict::Failure]);
        assert_eq!(change("failure_mode_allow: false", "failureModeAllow: true"), [Verdict::Failure]);
        assert_eq!(change("max_request_bytes: 262144", "max_request_bytes: 1024"), [Verdict::Failure]);
        assert_eq!(change("max_request_bytes: 262144", "max_request_bytes: 300000"), [Verdict::Warning]);
        assert_eq!(change("with_request_body:", "unknown:"), [Verdict::Failure]);
        assert_eq!(change("initial_metadata:", "unknown:"), [Verdict::Warning]);
        assert_eq!(change(".v3.ExtAuthz", ".v3.Other"), [Verdict::Failure]);
        let disabled = "typed_per_filter_config: { envoy.filters.http.ext_authz: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true } }\n                          route: {";
        assert_eq!(verdicts(&grpc.replace("route: {", disabled)).len(), 1);
        assert_eq!(verdicts("{}"), [Verdict::Failure]);
    }
}
