//! Batches and transactions: several requests in one body (FHIR R4 §3.1.0.11).
//!
//! Read as narrowly as any request: what is no entry of the specification makes the whole Bundle one that is not
//! understood, since the server might do something with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Map, Value};

use super::content::ContentFault;
use crate::request::json;
use crate::request::media::Patch;

/// What becomes of the others when one of the requests fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleKind {
    /// Nothing: each is done by itself.
    Batch,
    /// They fail too.
    Transaction,
}

impl BundleKind {
    /// Both, with the word that a Bundle has for it.
    pub const NAMED: [(&'static str, Self); 2] = [("batch", Self::Batch), ("transaction", Self::Transaction)];

    /// That word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Transaction => "transaction",
        }
    }

    /// The word of the Bundle that answers it.
    pub const fn answer(self) -> &'static str {
        match self {
            Self::Batch => "batch-response",
            Self::Transaction => "transaction-response",
        }
    }
}

/// One of the requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'b> {
    /// What is done.
    pub method: Method,
    /// Below the base, without a slash before it; with its query.
    pub url: &'b str,
    /// What a create looks for first.
    pub if_none_exist: Option<&'b str>,
    /// By what other entries refer to what it makes or changes.
    pub full_url: Option<&'b str>,
    /// What is written.
    pub content: Option<Content>,
}

/// The body of one of the requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// The resource, or the patch.
    pub value: Value,
    /// Which patch it is, where it came as content of a `Binary`.
    pub patch: Option<Patch>,
}

/// A Bundle of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle<'b> {
    /// Which.
    pub kind: BundleKind,
    /// At least one.
    pub entries: Vec<Entry<'b>>,
}

const MEMBERS: [&str; 7] = ["resourceType", "id", "meta", "type", "timestamp", "identifier", "entry"];
const OF_ENTRY: [&str; 3] = ["fullUrl", "resource", "request"];
const OF_REQUEST: [&str; 6] = ["method", "url", "ifNoneExist", "ifMatch", "ifNoneMatch", "ifModifiedSince"];
const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Reads a Bundle of at most `most` entries.
///
/// # Errors
/// It is none, has too many entries, or something in it that requests don't have.
pub fn read(body: &Value, most: usize) -> Result<Bundle<'_>, ContentFault> {
    let bundle = members(body, &MEMBERS)
        .ok_or(ContentFault("it is no Bundle, or has members that one of requests has not"))?;
    if text(bundle, "resourceType") != Some("Bundle") {
        return Err(ContentFault("it is no Bundle"));
    }
    let kind = text(bundle, "type").and_then(|word| BundleKind::NAMED.iter().find(|(name, _)| *name == word));
    let Some((_, kind)) = kind else {
        return Err(ContentFault("its `type` is neither `batch` nor `transaction`"));
    };
    let entries = bundle.get("entry").and_then(Value::as_array).filter(|entries| !entries.is_empty());
    let entries = entries.ok_or(ContentFault("it has no entries"))?;
    if entries.len() > most {
        return Err(ContentFault("it has more entries than the service takes"));
    }
    let read: Option<Vec<Entry<'_>>> = entries.iter().map(entry).collect();
    let entries = read.ok_or(ContentFault("an entry is no request, or has more than one has"))?;
    let mut names: Vec<&str> = entries.iter().filter_map(|entry| entry.full_url).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
        return Err(ContentFault("two entries have the same `fullUrl`"));
    }
    Ok(Bundle { kind: *kind, entries })
}

fn entry(value: &Value) -> Option<Entry<'_>> {
    let entry = members(value, &OF_ENTRY)?;
    let request = members(entry.get("request")?, &OF_REQUEST)?;
    if !request.values().all(|value| value.as_str().is_some_and(is_plain)) {
        return None;
    }
    let method = text(request, "method")?;
    let method = METHODS.into_iter().find(|known| known.as_str() == method)?;
    let url = text(request, "url").filter(|url| !url.is_empty() && !url.starts_with('/'))?;
    let full_url = match entry.get("fullUrl") {
        None => None,
        Some(name) => Some(name.as_str().filter(|name| is_plain(name))?),
    };
    let content = match entry.get("resource") {
        None => None,
        Some(resource) => Some(content(&method, resource)?),
    };
    Some(Entry { method, url, if_none_exist: text(request, "ifNoneExist"), full_url, content })
}

/// The body; a `Binary` that is sent by `PATCH` holds a JSON Patch (FHIR R4 §3.1.0.9.1).
fn content(method: &Method, resource: &Value) -> Option<Content> {
    let members = resource.as_object()?;
    let kind = text(members, "resourceType")?;
    // Some servers carry out whatever Bundle they meet.
    if kind == "Bundle" {
        return None;
    }
    if *method != Method::PATCH || kind != "Binary" {
        return Some(Content { value: resource.clone(), patch: None });
    }
    if text(members, "contentType")? != "application/json-patch+json" {
        return None;
    }
    let bytes = STANDARD.decode(text(members, "data")?).ok()?;
    Some(Content { value: json::parse_one_meaning(&bytes).ok()?, patch: Some(Patch::Json) })
}

/// An object that has no members but these.
fn members<'v>(value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
    value.as_object().filter(|members| members.keys().all(|name| known.contains(&name.as_str())))
}

fn text<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    members.get(name)?.as_str()
}

/// Whether a text could stand in a header or target: servers make one of it.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() || letter.is_whitespace())
}

/// Whether other entries may refer to an entry by this name: one that is made up for the Bundle, or the address of what the
/// request itself is about.
///
/// A server puts what an entry makes in the place of its name wherever that occurs; the name of another resource would
/// turn references to that one.
pub fn may_be_named(full_url: &str, resource: Option<(&str, &str)>) -> bool {
    if full_url.starts_with("urn:uuid:") || full_url.starts_with("urn:oid:") {
        return true;
    }
    let mut segments = full_url.rsplit('/');
    let (id, kind) = (segments.next(), segments.next());
    resource.is_some_and(|(own_kind, own_id)| kind == Some(own_kind) && id == Some(own_id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(entry: Value) -> Value {
        json!({ "resourceType": "Bundle", "type": "transaction", "entry": [entry] })
    }

    #[test]
    fn entries_are_requests() {
        let body = of(json!({
            "fullUrl": "urn:uuid:1",
            "resource": { "resourceType": "Observation" },
            "request": { "method": "POST", "url": "Observation", "ifNoneExist": "identifier=1" },
        }));
        let bundle = read(&body, 1).expect("a Bundle");
        assert_eq!(bundle.kind, BundleKind::Transaction);
        let [entry] = bundle.entries.as_slice() else { panic!("one entry") };
        assert_eq!(
            (&entry.method, entry.url, entry.if_none_exist),
            (&Method::POST, "Observation", Some("identifier=1"))
        );
        assert_eq!(
            entry.content.as_ref().map(|content| &content.value["resourceType"]),
            Some(&json!("Observation"))
        );
        assert!(read(&body, 0).is_err());
    }

    #[test]
    fn a_binary_that_patches_is_a_json_patch() {
        let patch = |kind: &str, text: &str| {
            let binary =
                json!({ "resourceType": "Binary", "contentType": kind, "data": STANDARD.encode(text) });
            of(json!({ "resource": binary, "request": { "method": "PATCH", "url": "Task/1" } }))
        };
        let body = patch("application/json-patch+json", r#"[{"op":"remove","path":"/note"}]"#);
        let bundle = read(&body, 1).expect("a Bundle");
        let content = bundle.entries.first().and_then(|entry| entry.content.clone()).expect("content");
        assert_eq!(
            (content.patch, content.value),
            (Some(Patch::Json), json!([{ "op": "remove", "path": "/note" }]))
        );
        assert!(read(&patch("application/merge-patch+json", "{}"), 1).is_err());
        assert!(read(&patch("application/json-patch+json", r#"[{"op":"remove","op":"add"}]"#), 1).is_err());
    }

    #[test]
    fn what_is_no_entry_makes_it_no_bundle() {
        let request = json!({ "method": "GET", "url": "Patient/1" });
        for entry in [
            json!({}),
            json!([]),
            json!({ "request": {} }),
            json!({ "request": { "method": "get", "url": "Patient/1" } }),
            json!({ "request": { "method": "TRACE", "url": "Patient/1" } }),
            json!({ "request": { "method": "GET", "url": "" } }),
            json!({ "request": { "method": "GET", "url": "/fhir/Patient/1" } }),
            json!({ "request": { "method": "GET", "url": "Patient/1 " } }),
            json!({ "request": { "method": "GET", "url": ["Patient/1"] } }),
            json!({ "request": { "method": "GET", "url": "Patient/1", "_url": {} } }),
            json!({ "request": { "method": "GET", "url": "Patient/1", "ifMatch": 1 } }),
            json!({ "request": [request] }),
            json!({ "request": request, "response": {} }),
            json!({ "request": request, "link": [] }),
            json!({ "request": request, "fullUrl": 1 }),
            json!({ "request": request, "resource": [] }),
            json!({ "request": { "method": "POST", "url": "Bundle" }, "resource": { "resourceType": "Bundle", "type": "batch" } }),
        ] {
            assert!(read(&of(entry.clone()), 10).is_err(), "{entry}");
        }
        let good = json!({ "request": request });
        assert!(read(&of(good.clone()), 10).is_ok());
        for body in [
            json!({ "resourceType": "Bundle", "entry": [good] }),
            json!({ "resourceType": "Bundle", "type": "message", "entry": [good] }),
            json!({ "resourceType": "Bundle", "type": "history", "entry": [good] }),
            json!({ "resourceType": "Bundle", "type": "Batch", "entry": [good] }),
            json!({ "resourceType": "bundle", "type": "batch", "entry": [good] }),
            json!({ "resourceType": "Bundle", "type": "batch", "entry": [] }),
            json!({ "resourceType": "Bundle", "type": "batch", "entry": good }),
            json!({ "resourceType": "Bundle", "type": "batch" }),
            json!({ "resourceType": "Bundle", "type": "batch", "entry": [good], "implicitRules": "x" }),
            json!([good]),
        ] {
            assert!(read(&body, 10).is_err(), "{body}");
        }
        let named = json!({ "request": request, "fullUrl": "urn:uuid:1" });
        let body = json!({ "resourceType": "Bundle", "type": "batch", "entry": [named, named] });
        assert!(read(&body, 10).is_err());
    }

    #[test]
    fn names_are_made_up_or_the_requests_own() {
        assert!(may_be_named("urn:uuid:1", None));
        assert!(may_be_named("https://ehr.example/fhir/Patient/p1", Some(("Patient", "p1"))));
        for (name, resource) in [
            ("https://ehr.example/fhir/Patient/p1", None),
            ("Patient/p1", Some(("Patient", "p2"))),
            ("Patient/p1", Some(("Practitioner", "p1"))),
            ("p1", Some(("Patient", "p1"))),
        ] {
            assert!(!may_be_named(name, resource), "{name}");
        }
    }
}
