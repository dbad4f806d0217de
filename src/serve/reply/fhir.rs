//! Refusals for FHIR clients: an `OperationOutcome` (FHIR R4 §2.13).

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::{Problem, Reply};
use crate::decision::Denial;

impl Reply {
    /// The server's own refusal, of which only the status is told: what it says could be about anybody.
    pub fn declined(id: Uuid, status: StatusCode) -> pingora::Result<Self> {
        let (title, detail) = if status.is_server_error() {
            ("The server failed", "Try again later. Whether a change took effect is not known.")
        } else {
            ("The server refused the request", "Check the request against the server's capabilities.")
        };
        let problem = Problem { title, detail, status: status.as_u16(), decision: id, ..Problem::default() };
        let reply = Self::problem(status, id, &problem)?;
        reply.with_outcome(status.as_u16(), title, &format!("{detail} (decision {id})"))
    }

    /// The same refusal as a FHIR client reads it: status and challenges stay.
    pub fn into_operation_outcome(self, id: Uuid, denial: &Denial) -> pingora::Result<Self> {
        let wording = denial.reason.wording();
        self.with_outcome(wording.status, wording.title, &format!("{} (decision {id})", wording.remedy))
    }

    fn with_outcome(mut self, status: u16, title: &str, diagnostics: &str) -> pingora::Result<Self> {
        let outcome = json!({
            "resourceType": "OperationOutcome",
            "issue": [{
                "severity": "error",
                "code": issue_type(status),
                "details": { "text": title },
                "diagnostics": diagnostics,
            }],
        });
        self.body = Bytes::from(format!("{outcome}\n"));
        self.header.insert_header(http::header::CONTENT_TYPE, "application/fhir+json")?;
        self.header.insert_header(http::header::CONTENT_LENGTH, self.body.len())?;
        Ok(self)
    }
}

/// The code of the value set `issue-type` that is nearest to a status.
const fn issue_type(status: u16) -> &'static str {
    match status {
        400 => "invalid",
        401 => "login",
        404 => "not-found",
        405 => "not-supported",
        408 => "timeout",
        409 => "conflict",
        413 | 431 => "too-long",
        429 => "throttled",
        502 => "processing",
        503 => "transient",
        _ => "forbidden",
    }
}
