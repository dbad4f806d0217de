//! HL7 FHIR R4 AuditEvent, after IHE's Basic Audit Log Patterns (BALP 1.1.5).
//!
//! A request is told twice, as two things happen: that it was permitted (from its intent, at once: it may never end) and
//! what came of it (from its outcome, with the intent). Only the latter is a read, create, update or delete in the sense
//! of BALP, and only where it succeeded. Searches have a profile of our own: BALP's wants the raw query, which no record
//! holds. Persons and patients are logical references to pseudonyms; nothing refers to a resource.

mod agents;
mod coding;

use serde_json::{Value, json};

use self::agents::{agents, gateway, logical};
use self::coding::{Interaction, code, of_gateway};
use super::{Record, plain, set};

/// What our own identifiers, codes and profiles begin with.
pub const NAMES: &str = "urn:wardgate";
/// What BALP's profiles begin with.
pub const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";

const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const TRANSACTION_TYPE: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";

/// A text that is longer is cut, in bytes.
const MOST_TEXT: usize = 4096;

/// The record as an AuditEvent; an outcome with its intent. `None` for the journal's own business, but for damage to it.
pub fn audit_event(record: &Record, intent: Option<&Record>) -> Option<Value> {
    let mut event = match (record.event(), intent) {
        ("outcome", Some(intent)) => request(record, intent),
        ("intent" | "decision", _) => decision(record),
        ("outcome", None) => of_gateway("ended", "Request Ended"),
        ("session", _) => session(record),
        ("signer" | "checkpoint", _) => return None,
        ("segment", _) if record.text("why") != Some("quarantined") => return None,
        _ => own(record),
    };
    let asked = intent.unwrap_or(record);
    set(&mut event, "resourceType", Some("AuditEvent"));
    set(&mut event, "id", Some(id(record)));
    // R4 has no identifier here: with `If-None-Exist: _tag=system|key` a server takes an event once.
    let mut meta = event.get("meta").cloned().unwrap_or_else(|| json!({}));
    set(&mut meta, "tag", Some(json!([{ "system": format!("{NAMES}:record"), "code": record.key() }])));
    set(&mut event, "meta", Some(meta));
    set(&mut event, "recorded", Some(record.time_text()));
    let source = json!({
        "site": plain(asked.text("listener").unwrap_or("gateway"), MOST_TEXT),
        "observer": logical("Device", "origin", record.origin()),
        "type": [code(coding::SOURCE_TYPE, "6", "Security Server")],
    });
    set(&mut event, "source", Some(source));
    if event.get("outcome").is_none() {
        let failed = record.weight() >= super::Weight::Suspect;
        set(&mut event, "outcome", Some(if failed { "8" } else { "0" }));
    }
    let why = ["reason", "result", "why", "cause", "verdict"].into_iter().find_map(|name| record.text(name));
    if let Some(why) = why.filter(|why| !why.trim().is_empty()) {
        set(&mut event, "outcomeDesc", Some(plain(why, MOST_TEXT)));
    }
    if event.get("agent").is_none() {
        set(&mut event, "agent", Some(json!([gateway(record, true)])));
    }
    let entities = entities(record, asked);
    if !entities.is_empty() {
        set(&mut event, "entity", Some(entities));
    }
    Some(event)
}

/// `[A-Za-z0-9\-\.]{1,64}`.
fn id(record: &Record) -> String {
    let origin: String = record.origin().chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    format!("{origin}-{}", record.sequence())
}

/// What came of a request: BALP's profile where it succeeded.
fn request(record: &Record, intent: &Record) -> Value {
    let interaction = Interaction::of(intent);
    let (subtype, display) = interaction.code();
    let mut event = json!({
        "type": code(coding::EVENT_TYPE, "rest", "Restful Operation"),
        "subtype": [code(coding::INTERACTION, subtype, display)],
        "action": interaction.action(),
        "outcome": match record.number("status") {
            _ if record.is_success() => "0",
            Some(400..500) => "4",
            _ => "8",
        },
        "agent": agents(intent, interaction),
    });
    let of_patient = if intent.text("patient").is_some() { "Patient" } else { "" };
    let profile = match interaction.profile() {
        _ if !record.is_success() => format!("{NAMES}:StructureDefinition:RequestFailed"),
        Some(profile) => format!("{BALP}{of_patient}{profile}"),
        None if interaction == Interaction::Query => format!("{NAMES}:StructureDefinition:{of_patient}Query"),
        None => format!("{NAMES}:StructureDefinition:{of_patient}Operation"),
    };
    set(&mut event, "meta", Some(json!({ "profile": [profile] })));
    event
}

/// That a request was permitted, challenged or refused.
fn decision(record: &Record) -> Value {
    let mut event = of_gateway("decision", "Access Decision");
    let outcome = match record.text("verdict") {
        Some("permit") => "0",
        Some("challenge") => "4",
        _ => "8",
    };
    set(&mut event, "outcome", Some(outcome));
    let profile = format!("{NAMES}:StructureDefinition:AccessDecision");
    set(&mut event, "meta", Some(json!({ "profile": [profile] })));
    set(&mut event, "agent", Some(agents(record, Interaction::Decision)));
    event
}

fn session(record: &Record) -> Value {
    let what = record.text("what").unwrap_or("session");
    let subtype = match what {
        "sign_in" => code(coding::DICOM, "110122", "Login"),
        "sign_out" | "back_channel_logout" => code(coding::DICOM, "110123", "Logout"),
        _ => code(&format!("{NAMES}:session"), what, what),
    };
    json!({
        "type": code(coding::DICOM, "110114", "User Authentication"),
        "subtype": [subtype],
        "action": "E",
        "outcome": if record.text("result") == Some("ok") { "0" } else { "8" },
        "agent": agents(record, Interaction::Decision),
    })
}

/// What is about the gateway itself.
fn own(record: &Record) -> Value {
    let dicom = |kind: &str, kind_display: &str, subtype: &str, display: &str| {
        json!({
            "type": code(coding::DICOM, kind, kind_display),
            "subtype": [code(coding::DICOM, subtype, display)],
            "action": "E",
        })
    };
    let alert = |subtype, display| dicom("110113", "Security Alert", subtype, display);
    let mut event = match record.event() {
        "started" => dicom("110100", "Application Activity", "110120", "Application Start"),
        "stopping" => dicom("110100", "Application Activity", "110121", "Application Stop"),
        "reloaded" | "reload_refused" => alert("110129", "Security Configuration"),
        "break_glass" if record.text("what") == Some("ended") => {
            alert("110138", "Emergency Override Stopped")
        }
        "break_glass" if record.text("what") == Some("codes_issued") => {
            alert("110132", "Use of Restricted Function")
        }
        "break_glass" => alert("110127", "Emergency Override Started"),
        "upgrade" => alert("110131", "Software Configuration"),
        "revocation" | "shared_signal" | "delegation" => alert("110137", "User Security Attributes Changed"),
        "operator_refused" | "pseudonym_lookup" | "pseudonym_shred" => {
            alert("110132", "Use of Restricted Function")
        }
        other => of_gateway(other, record.title()),
    };
    let operator = record.number("uid").map(|uid| {
        json!({
            "type": { "coding": [code(coding::DICOM, "110150", "Application")] },
            "who": logical("", "operator", &uid.to_string()),
            "requestor": true,
        })
    });
    let person = record
        .text("subject")
        .filter(|_| matches!(record.event(), "break_glass" | "delegation"))
        .map(|subject| {
            json!({
                "type": { "coding": [code(coding::PARTICIPATION, "AUT", "author (originator)")] },
                "who": logical("", "subject", subject),
                "requestor": operator.is_none(),
            })
        });
    let own = gateway(record, operator.is_none() && person.is_none());
    set(&mut event, "agent", Some(operator.into_iter().chain(person).chain([own]).collect::<Value>()));
    event
}

fn entities(record: &Record, asked: &Record) -> Vec<Value> {
    let mut entities = Vec::new();
    let role = |code_: &str, display: &str| code(OBJECT_ROLE, code_, display);
    let kind = |code_: &str, display: &str| code(ENTITY_TYPE, code_, display);
    if let Some(patient) = asked.text("patient") {
        entities.push(json!({
            "what": logical("Patient", "patient", patient),
            "type": kind("1", "Person"),
            "role": role("1", "Patient"),
        }));
    }
    if let Some(account) = asked.text("account") {
        entities.push(json!({
            "what": logical("", "account", account),
            // A person is BALP's patient, and whose account it is nobody has found out yet.
            "type": kind("4", "Other"),
            "role": role("11", "Security User Entity"),
        }));
    }
    if matches!(asked.event(), "intent" | "decision") {
        // Which resource it was, no record says: the action and its template stand for it.
        let mut what = logical("", "action", asked.text("action").unwrap_or("none"));
        if let Some(template) = asked.text("template") {
            set(&mut what, "display", Some(plain(template, MOST_TEXT)));
        }
        let role = match Interaction::of(asked) {
            Interaction::Query if record.event() == "outcome" => role("24", "Query"),
            _ => role("4", "Domain Resource"),
        };
        entities.push(json!({ "what": what, "type": kind("2", "System Object"), "role": role }));
    }
    let ended = record.text("name").or_else(|| record.text("token")).filter(|name| !name.trim().is_empty());
    if let Some(name) = ended {
        entities.push(json!({ "what": logical("", "token", name), "type": kind("2", "System Object"),
            "role": role("13", "Security Resource") }));
    }
    if let Some(id) = record.text("decision") {
        entities.push(json!({
            "what": logical("", "decision", id),
            "type": code(TRANSACTION_TYPE, "XrequestId", "X-Request-Id"),
        }));
    }
    entities
}
