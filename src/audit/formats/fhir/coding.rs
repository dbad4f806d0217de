//! Codes, and which interaction of FHIR's REST a request is.

use serde_json::{Value, json};

use super::NAMES;
use crate::audit::formats::{Record, plain};

pub(super) const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
pub(super) const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
pub(super) const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
pub(super) const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
pub(super) const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
pub(super) const ROLE_CLASS: &str = "http://terminology.hl7.org/CodeSystem/v3-RoleClass";
pub(super) const PARTICIPANT: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";

/// A Coding.
pub(super) fn code(system: &str, code: &str, display: &str) -> Value {
    // A code has no spaces at its ends and none doubled.
    let code: String = plain(code, 256).split_whitespace().collect::<Vec<_>>().join("_");
    let code = if code.is_empty() { "unknown".to_owned() } else { code };
    let display = plain(display, 256);
    if display.trim().is_empty() {
        json!({ "system": system, "code": code })
    } else {
        json!({ "system": system, "code": code, "display": display })
    }
}

/// An event that no standard has a code for.
pub(super) fn of_gateway(event: &str, display: &str) -> Value {
    json!({
        "type": code(DICOM, "110113", "Security Alert"),
        "subtype": [code(&format!("{NAMES}:event"), event, display)],
        "action": "E",
    })
}

/// What a request is for an AuditEvent, as far as its method and its template say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interaction {
    Read,
    Query,
    Create,
    Update,
    Patch,
    Delete,
    Operation,
    /// None: that it was decided on.
    Decision,
}

impl Interaction {
    /// A `GET` of what one variable names is a read, of anything else a search: who sees more than one thing sees what
    /// was found.
    pub(super) fn of(record: &Record) -> Self {
        let last =
            record.text("template").and_then(|template| template.rsplit('/').next()).unwrap_or_default();
        let is_one_thing = last.starts_with('{') && last.ends_with('}');
        match record.text("method") {
            _ if last.starts_with('$') || record.text("bundle").is_some() => Self::Operation,
            Some("GET" | "HEAD") if is_one_thing => Self::Read,
            Some("GET" | "HEAD") => Self::Query,
            Some("POST") if last == "_search" => Self::Query,
            Some("POST") => Self::Create,
            Some("PUT") => Self::Update,
            Some("PATCH") => Self::Patch,
            Some("DELETE") => Self::Delete,
            _ => Self::Operation,
        }
    }

    /// FHIR's code for it.
    pub(super) fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::Read => ("read", "read"),
            Self::Query => ("search", "search"),
            Self::Create => ("create", "create"),
            Self::Update => ("update", "update"),
            Self::Patch => ("patch", "patch"),
            Self::Delete => ("delete", "delete"),
            Self::Operation | Self::Decision => ("operation", "operation"),
        }
    }

    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Read => "R",
            Self::Create => "C",
            Self::Update | Self::Patch => "U",
            Self::Delete => "D",
            Self::Query | Self::Operation | Self::Decision => "E",
        }
    }

    /// BALP's profile for it.
    pub(super) fn profile(self) -> Option<&'static str> {
        match self {
            Self::Read => Some("Read"),
            Self::Create => Some("Create"),
            Self::Update | Self::Patch => Some("Update"),
            Self::Delete => Some("Delete"),
            Self::Query | Self::Operation | Self::Decision => None,
        }
    }
}
