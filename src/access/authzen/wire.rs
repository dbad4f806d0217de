//! Questions and answers as they are written, and by what a question is known again. Pure.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::decision::evidence::{Evaluation, StepUpHint};
use crate::enforce::ports::EvaluationRequest;
use crate::request::{client, json};

/// An access evaluation request (Authorization API 1.0).
#[derive(Debug, Serialize)]
pub struct Question<'a> {
    subject: Entity<'a, SubjectProperties<'a>>,
    action: Action<'a>,
    resource: Entity<'a, ResourceProperties<'a>>,
    context: Context<'a>,
}

#[derive(Debug, Serialize)]
struct Entity<'a, P> {
    r#type: &'static str,
    id: std::borrow::Cow<'a, str>,
    properties: P,
}

#[derive(Debug, Serialize)]
struct SubjectProperties<'a> {
    issuer: &'a str,
    sub: &'a str,
    caller: &'static str,
    level: &'a str,
    roles: &'a [Box<str>],
    scopes: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Action<'a> {
    name: &'a str,
    properties: ActionProperties<'a>,
}

#[derive(Debug, Serialize)]
struct ActionProperties<'a> {
    id: &'a str,
}

#[derive(Debug, Serialize)]
struct ResourceProperties<'a> {
    hostname: &'a str,
    path: &'a str,
    params: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Context<'a> {
    tier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<String>,
}

impl<'a> Question<'a> {
    /// The question about a request.
    pub fn new(request: &EvaluationRequest<'a>) -> Self {
        let subject = request.subject;
        let params = request.parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
        Self {
            subject: Entity {
                r#type: "identity",
                id: subject.qualified_id().into(),
                properties: SubjectProperties {
                    issuer: &subject.issuer,
                    sub: &subject.id,
                    caller: subject.caller_word(),
                    level: request.level,
                    roles: &subject.roles,
                    scopes: &subject.scopes,
                    client: subject.client.as_deref(),
                    patient: subject.patient.as_deref(),
                    actor: subject.actor.as_deref(),
                },
            },
            action: Action { name: request.method, properties: ActionProperties { id: request.action } },
            resource: Entity {
                r#type: "route",
                id: request.template.into(),
                properties: ResourceProperties {
                    hostname: request.host,
                    path: request.path,
                    params: params.collect(),
                    patient: request.patient,
                },
            },
            context: Context { tier: request.tier, client_address: request.client.map(client::text) },
        }
    }
}

/// Reads an answer. Members that are not known are left alone, but for obligations: a permit that comes with any is none
/// that can be kept.
///
/// # Errors
/// It is none; why, for operators.
pub fn read(text: &[u8]) -> Result<Evaluation, &'static str> {
    let Ok(Value::Object(members)) = json::parse(text) else {
        return Err("it is no JSON object with one reading");
    };
    let Some(Value::Bool(permitted)) = members.get("decision") else {
        return Err("`decision` is missing or no boolean");
    };
    let empty = Map::new();
    let context = match members.get("context") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(context)) => context,
        Some(_) => return Err("`context` is no object"),
    };
    if *permitted {
        let obliges = context.get("obligations").is_some_and(|obligations| match obligations {
            Value::Null => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        });
        return if obliges {
            Err("it obliges, and nothing here carries that out")
        } else {
            Ok(Evaluation::Permitted)
        };
    }
    let acr_values = acr_values(context.get("acr_values")).ok_or("`acr_values` is no list of words")?;
    let max_age = match context.get("max_age") {
        None | Some(Value::Null) => None,
        Some(age) => Some(age.as_i64().filter(|age| *age >= 0).ok_or("`max_age` is no number of seconds")?),
    };
    if acr_values.is_empty() && max_age.is_none() {
        return Ok(Evaluation::Denied);
    }
    Ok(Evaluation::StepUp(StepUpHint { acr_values, max_age }))
}

/// Words with spaces between, as in RFC 9470 §3, or a list of them.
fn acr_values(given: Option<&Value>) -> Option<Vec<Box<str>>> {
    match given {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(text)) => Some(text.split_ascii_whitespace().map(Into::into).collect()),
        Some(Value::Array(list)) => list.iter().map(|word| word.as_str().map(Into::into)).collect(),
        Some(_) => None,
    }
}

/// By what a question is known again: the SHA-256 of all that it says.
pub fn key(request: &EvaluationRequest<'_>) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, &parts(request)).as_ref());
    bytes
}

/// All that a question says, so that no two say the same: each part behind its length, each list behind its count, what may
/// be missing behind whether it is there.
fn parts(request: &EvaluationRequest<'_>) -> Vec<u8> {
    let (subject, mut parts) = (request.subject, Parts::default());
    for text in [&*subject.issuer, &subject.id, subject.caller_word(), request.level] {
        parts.text(text);
    }
    for given in
        [subject.client.as_deref(), subject.patient.as_deref(), subject.actor.as_deref(), request.patient]
    {
        parts.given(given);
    }
    for list in [&subject.roles, &subject.scopes] {
        parts.count(list.len());
        list.iter().for_each(|text| parts.text(text));
    }
    for text in [request.method, request.action, request.template, request.host, request.path, request.tier] {
        parts.text(text);
    }
    parts.count(request.parameters.len());
    for (name, value) in request.parameters {
        parts.text(name);
        parts.text(value);
    }
    parts.given(request.client.map(client::text).as_deref());
    parts.0
}

#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn count(&mut self, count: usize) {
        // `usize` has at most 64 bits wherever this runs.
        self.0.extend_from_slice(&u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn given(&mut self, text: Option<&str>) {
        self.count(usize::from(text.is_some()));
        self.text(text.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
