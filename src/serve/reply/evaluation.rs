//! Answers to evaluation requests (AuthZEN Authorization API 1.0 §6.2, §7.2).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{DECISION_HEADER, Problem, Reply, problem_type, public_name};
use crate::decision::{Challenge, Denial};

/// Leave to forward, with the headers by which the application is told who the caller is.
pub fn permit(id: Uuid, told: &RequestHeader) -> Value {
    json!({ "decision": true, "context": { "id": id, "request": { "headers": values(&told.headers) } } })
}

/// The answer to one of several evaluations that is none.
pub fn malformed(wrong: &str) -> Value {
    json!({ "decision": false, "context": { "error": { "status": 400, "message": wrong } } })
}

impl Reply {
    /// The same refusal as data: in words for the person, as a hint for a step-up, and whole for the client. Why it was
    /// refused stands in the audit trail.
    pub fn into_evaluation(self, id: Uuid, challenge: Option<&Challenge>) -> Value {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let response = json!({
            "status": self.status(), "headers": values(&self.header.headers), "body": body,
        });
        let mut context = Map::new();
        context.insert("id".to_owned(), id.to_string().into());
        context.insert("reason_user".to_owned(), json!({ "en": body.get("detail") }));
        context.insert("response".to_owned(), response);
        if let Some(Challenge { acr_values, max_age, .. }) = challenge {
            if !acr_values.is_empty() {
                context.insert("acr_values".to_owned(), acr_values.join(" ").into());
            }
            if let Some(max_age) = max_age {
                context.insert("max_age".to_owned(), (*max_age).into());
            }
        }
        json!({ "decision": false, "context": context })
    }

    /// An answer that is data; `id` names the decision, where it is about one.
    pub fn json(id: Option<Uuid>, value: &Value) -> pingora::Result<Self> {
        let body = Bytes::from(value.to_string());
        let mut header = ResponseHeader::build(StatusCode::OK, Some(5))?;
        header.insert_header(header::CONTENT_TYPE, "application/json")?;
        header.insert_header(header::CONTENT_LENGTH, body.len())?;
        header.insert_header(header::CACHE_CONTROL, "no-store")?;
        if let Some(id) = id {
            header.insert_header(DECISION_HEADER, id.to_string())?;
        }
        Ok(Self { header, body })
    }

    /// A refusal that says to whoever wrote the program at the other end what is wrong.
    pub fn refusal_because(id: Uuid, denial: &Denial, wrong: &str) -> pingora::Result<Self> {
        let wording = denial.reason.wording();
        let status = StatusCode::from_u16(wording.status).unwrap_or(StatusCode::BAD_REQUEST);
        let problem = Problem {
            r#type: problem_type(public_name(denial.reason)),
            title: wording.title,
            status: wording.status,
            detail: wrong,
            decision: id,
            reason: Some(wording.code),
            ..Problem::default()
        };
        Self::problem(status, id, &problem)
    }

    /// The same with one more header.
    pub fn with_header(mut self, name: &'static str, value: HeaderValue) -> pingora::Result<Self> {
        self.header.insert_header(name, value)?;
        Ok(self)
    }
}

/// Headers as data, without those that are about one message's framing.
fn values(headers: &HeaderMap) -> Map<String, Value> {
    let text = |value: &HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned());
    headers
        .iter()
        .filter(|(name, _)| **name != header::CONTENT_LENGTH)
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}
