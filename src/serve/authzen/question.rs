//! Evaluation requests (AuthZEN Authorization API 1.0 §6, §7), as a gateway of APIs sends them about HTTP requests.
//!
//! Members that are not known are left alone, as the standard asks. What is known must be as it says.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use crate::request::Unreadable;
use crate::request::json;
use crate::serve::described::Described;

/// The most evaluations in one request.
pub const MOST: usize = 50;

/// What is wrong with an evaluation, for whoever wrote what asks.
pub type Wrong = &'static str;

/// One request about one or several HTTP requests.
pub struct Batch {
    /// In the order in which they are decided.
    pub evaluations: Vec<Result<Question, Wrong>>,
    /// When it is enough.
    pub until: Until,
    /// Whether the answer is a list.
    pub is_list: bool,
}

/// When the rest of a list need not be decided (§7.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never: `execute_all`.
    End,
    /// `deny_on_first_deny`.
    Deny,
    /// `permit_on_first_permit`.
    Permit,
}

/// A question about one HTTP request.
pub struct Question {
    /// Whose it is, as who asks says.
    pub subject: Box<str>,
    /// The request, or why it can't be one.
    pub request: Result<Described, Unreadable>,
}

impl Batch {
    /// Reads the body of a request to the evaluation endpoint, or with `is_list` to that for several.
    ///
    /// # Errors
    /// It is none as a whole.
    pub fn read(body: &[u8], is_list: bool) -> Result<Self, Wrong> {
        let Ok(Value::Object(whole)) = json::parse(body) else {
            return Err("The body is no JSON object, or one of its members occurs twice.");
        };
        let listed = match whole.get("evaluations") {
            Some(Value::Array(listed)) if is_list => listed.as_slice(),
            None => &[],
            Some(_) if is_list => return Err("`evaluations` is no list."),
            Some(_) => &[],
        };
        if listed.len() > MOST {
            return Err("There are more than 50 evaluations.");
        }
        let until = if is_list { Until::read(&whole)? } else { Until::End };
        if listed.is_empty() {
            return Ok(Self { evaluations: vec![Ok(Question::read(&[&whole])?)], until, is_list: false });
        }
        let read = |one: &Value| match one {
            Value::Object(one) => Question::read(&[one, &whole]),
            _ => Err("An evaluation is no object."),
        };
        Ok(Self { evaluations: listed.iter().map(read).collect(), until, is_list: true })
    }
}

impl Until {
    fn read(whole: &Map<String, Value>) -> Result<Self, Wrong> {
        let Some(options) = whole.get("options") else { return Ok(Self::End) };
        let Value::Object(options) = options else { return Err("`options` is no object.") };
        match options.get("evaluations_semantic").map(Value::as_str) {
            None | Some(Some("execute_all")) => Ok(Self::End),
            Some(Some("deny_on_first_deny")) => Ok(Self::Deny),
            Some(Some("permit_on_first_permit")) => Ok(Self::Permit),
            Some(_) => Err(
                "`evaluations_semantic` is none of execute_all, deny_on_first_deny, permit_on_first_permit.",
            ),
        }
    }

    /// Whether nothing more is decided after this.
    pub fn is_reached(self, decision: bool) -> bool {
        match self {
            Self::End => false,
            Self::Deny => !decision,
            Self::Permit => decision,
        }
    }
}

impl Question {
    /// Reads one; what the first does not say the next may, member by member (§7.1.1).
    fn read(from: &[&Map<String, Value>]) -> Result<Self, Wrong> {
        let member = |name: &str| from.iter().find_map(|map| map.get(name));
        let object = |name: &str| match member(name) {
            Some(Value::Object(object)) => Some(object),
            _ => None,
        };
        let subject = object("subject").ok_or("`subject` is missing, or no object.")?;
        text(subject, "type").ok_or("`subject.type` is missing, or no text.")?;
        let id = text(subject, "id").ok_or("`subject.id` is missing, or no text.")?;
        let action = object("action").ok_or("`action` is missing, or no object.")?;
        let method = text(action, "name").ok_or("`action.name` is missing, or no text.")?;
        let resource = object("resource").ok_or("`resource` is missing, or no object.")?;
        let kind = text(resource, "type").ok_or("`resource.type` is missing, or no text.")?;
        let route = text(resource, "id").ok_or("`resource.id` is missing, or no text.")?;
        let nothing = Map::new();
        let properties =
            within(resource, "properties", &nothing).ok_or("`resource.properties` is no object.")?;
        let context = match member("context") {
            None => &nothing,
            Some(Value::Object(context)) => context,
            Some(_) => return Err("`context` is no object."),
        };
        let target = match properties.get("uri") {
            None => route,
            Some(uri) => uri.as_str().ok_or("`resource.properties.uri` is no text.")?,
        };
        let host = match properties.get("host") {
            None => None,
            Some(host) => Some(host.as_str().ok_or("`resource.properties.host` is no text.")?),
        };
        let has_no_body = match context.get("has_body") {
            None => false,
            Some(has_body) => !has_body.as_bool().ok_or("`context.has_body` is neither true nor false.")?,
        };
        let mut headers =
            headers(within(context, "headers", &nothing).ok_or("`context.headers` is no object.")?)?;
        if let Some(address) = context.get("client_address") {
            let address: IpAddr = address
                .as_str()
                .and_then(|address| address.parse().ok())
                .ok_or("`context.client_address` is no IP address.")?;
            put(&mut headers, "x-forwarded-for", &address.to_string());
        }
        match context.get("scheme").map(Value::as_str) {
            None => {}
            Some(Some(scheme @ ("http" | "https"))) => put(&mut headers, "x-forwarded-proto", scheme),
            Some(_) => return Err("`context.scheme` is neither http nor https."),
        }
        let request = if kind == "route" {
            described(method, target, host, &headers, has_no_body)
        } else {
            // Nothing else has rules here.
            Err(Unreadable::NotOriginForm)
        };
        Ok(Self { subject: id.into(), request })
    }
}

fn text<'v>(map: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    map.get(name)?.as_str()
}

fn within<'v>(
    map: &'v Map<String, Value>,
    name: &str,
    otherwise: &'v Map<String, Value>,
) -> Option<&'v Map<String, Value>> {
    match map.get(name) {
        None => Some(otherwise),
        Some(Value::Object(object)) => Some(object),
        Some(_) => None,
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The headers of the request, each with one value or a list; names in two spellings are two values of one header.
/// What the client says of its way is left out: who asks says that by itself.
fn headers(told: &Map<String, Value>) -> Result<HeaderMap, Wrong> {
    const WRONG: Wrong = "`context.headers` holds what is no header.";
    let mut headers = HeaderMap::new();
    for (name, values) in told {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| WRONG)?;
        if name.as_str().starts_with("x-forwarded-") {
            continue;
        }
        let one = std::slice::from_ref(values);
        for value in values.as_array().map_or(one, Vec::as_slice) {
            let value = HeaderValue::from_str(value.as_str().ok_or(WRONG)?).map_err(|_| WRONG)?;
            headers.try_append(name.clone(), value).map_err(|_| WRONG)?;
        }
    }
    Ok(headers)
}

fn described(
    method: &str,
    target: &str,
    host: Option<&str>,
    headers: &HeaderMap,
    has_no_body: bool,
) -> Result<Described, Unreadable> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Unreadable::BadMethod)?;
    let host = host.ok_or(Unreadable::MissingHost)?;
    let host = HeaderValue::from_str(host).map_err(|_| Unreadable::BadHost)?;
    Described::new((method, target.as_bytes()), &host, headers, has_no_body)
}

#[cfg(test)]
mod tests;
