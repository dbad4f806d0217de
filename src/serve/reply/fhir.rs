//! Refusals for FHIR clients: an `OperationOutcome` (FHIR R4 §2.13).

use bytes::Bytes;
use serde_json::json;
use uuid::Uuid;

use super::Reply;
use crate::decision::Denial;

impl Reply {
    /// The same refusal as a FHIR client reads it: status and challenges stay.
    pub fn into_operation_outcome(mut self, id: Uuid, denial: &Denial) -> pingora::Result<Self> {
        let wording = denial.reason.wording();
        let outcome = json!({
            "resourceType": "OperationOutcome",
            "issue": [{
                "severity": "error",
                "code": issue_type(wording.status),
                "details": { "text": wording.title },
                "diagnostics": format!("{} (decision {id})", wording.remedy),
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
        503 => "transient",
        _ => "forbidden",
    }
}
