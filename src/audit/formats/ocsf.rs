//! Open Cybersecurity Schema Framework 1.8.
//!
//! Requests are API Activity (6003) with the profile `security_control`, sessions Authentication (3002), revocations and
//! what leads to them Entity Management (3004), all about the gateway itself Application Lifecycle (6002). What has no
//! attribute stands in `unmapped` under the record's own name.

use serde_json::{Map, Value, json};

use super::{Record, Weight, set};

/// The schema's version.
pub const VERSION: &str = "1.8.0";

/// What has an attribute in some class: it is not told again.
const MAPPED: [&str; 19] = [
    "decision",
    "verdict",
    "reason",
    "method",
    "action",
    "template",
    "upstream",
    "subject",
    "patient",
    "session",
    "address",
    "result",
    "status",
    "response_bytes",
    "duration_us",
    "count",
    "issuer",
    "what",
    "claim",
];

/// The methods that both know.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The record as an event; an outcome with its intent.
pub fn event(record: &Record, intent: Option<&Record>) -> Value {
    let mut event = match record.event() {
        "intent" | "decision" | "unparsed" | "aggregated" | "operator_refused" => request(record, record),
        "pseudonym_lookup" | "pseudonym_shred" | "break_glass" | "delegation" => request(record, record),
        "outcome" => outcome(record, intent),
        "session" => session(record),
        "revocation" | "shared_signal" => entity(record),
        _ => lifecycle(record),
    };
    let is_request = event.get("class_uid") == Some(&json!(6003));
    let mut metadata = json!({
        "version": VERSION,
        "product": { "name": "Wardgate", "vendor_name": "Wardgate" },
        "uid": record.key(),
        "sequence": record.sequence(),
        "log_name": "audit",
        "log_provider": record.origin(),
        "log_version": crate::audit::event::VERSION.to_string(),
        "event_code": record.event(),
        "original_time": record.time_text(),
    });
    set(&mut metadata, "correlation_uid", record.text("decision"));
    if is_request {
        set(&mut metadata, "profiles", Some(json!(["security_control"])));
    }
    set(&mut event, "metadata", Some(metadata));
    set(&mut event, "time", Some(record.time().as_millisecond()));
    set(&mut event, "message", Some(record.title()));
    set(&mut event, "severity_id", Some(severity(record.weight())));
    let is_lifecycle = event.get("class_uid") == Some(&json!(6002));
    let unmapped: Map<String, Value> = record
        .members()
        .filter(|(name, _)| is_lifecycle || !MAPPED.contains(name))
        .chain(intent.into_iter().flat_map(Record::members).filter(|(name, _)| !MAPPED.contains(name)))
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    set(&mut event, "unmapped", (!unmapped.is_empty()).then_some(unmapped));
    event
}

fn severity(weight: Weight) -> u8 {
    match weight {
        Weight::Routine => 1,
        Weight::Notable => 2,
        Weight::Suspect => 3,
        Weight::Fault => 4,
        Weight::Grave => 5,
    }
}

fn of_class(category: u32, class: u32, activity: u32) -> Value {
    json!({
        "category_uid": category,
        "class_uid": class,
        "activity_id": activity,
        "type_uid": class * 100 + activity,
    })
}

/// What was asked stands in `asked`: the record itself, or an outcome's intent.
fn request(record: &Record, asked: &Record) -> Value {
    let activity = match asked.text("method") {
        Some("GET" | "HEAD") => 2,
        Some("POST") => 1,
        Some("PUT" | "PATCH") => 3,
        Some("DELETE") => 4,
        Some(_) => 99,
        None if asked.event() == "pseudonym_lookup" => 2,
        None if asked.event() == "pseudonym_shred" => 4,
        None => 0,
    };
    let mut event = of_class(6, 6003, activity);
    if activity == 99 {
        set(&mut event, "activity_name", Some("Other method"));
    }
    let operation = match asked.event() {
        // An action that was refused before any route was found has no name.
        "intent" | "decision" => asked.text("action").unwrap_or("none"),
        "operator_refused" => asked.text("action").unwrap_or("operators"),
        other => other,
    };
    let mut api = json!({ "operation": operation });
    let service = asked.text("upstream").or(asked.text("listener")).unwrap_or("wardgate");
    set(&mut api, "service", Some(json!({ "name": service })));
    set(&mut api, "request", asked.text("decision").map(|id| json!({ "uid": id })));
    set(&mut event, "api", Some(api));
    set(&mut event, "actor", Some(actor(asked)));
    set(&mut event, "src_endpoint", Some(source(asked)));
    set(&mut event, "dst_endpoint", asked.text("upstream").map(|name| json!({ "svc_name": name })));
    let method = asked.text("method").filter(|method| METHODS.contains(method));
    set(&mut event, "http_request", method.map(|method| json!({ "http_method": method })));
    let resource =
        |kind: &str, key: &str, value: Option<&str>| value.map(|value| json!({ "type": kind, key: value }));
    let resources: Vec<Value> = [
        resource("patient", "uid", asked.text("patient")),
        resource("template", "name", asked.text("template")),
    ]
    .into_iter()
    .flatten()
    .collect();
    set(&mut event, "resources", (!resources.is_empty()).then_some(resources));
    let policy = asked.input("policy").and_then(Value::as_str);
    set(&mut event, "policy", policy.map(|policy| json!({ "uid": policy, "is_applied": true })));
    let reason = record.text("reason").or_else(|| record.text("why")).or_else(|| record.text("cause"));
    set(&mut event, "status_detail", reason);
    set(&mut event, "count", record.number("count"));
    // `security_control`: 1 allowed, 2 denied; 1 allowed, 2 blocked, 23 challenge, 26 unauthorized.
    let (status, action, disposition) = match asked.text("verdict") {
        Some("permit") => (1, 1, 1),
        Some("challenge") => (2, 2, 23),
        _ if asked.event() == "operator_refused" => (2, 2, 26),
        _ if asked.text("result") == Some("failed") => (2, 1, 1),
        _ if asked.event().starts_with("pseudonym_")
            || matches!(asked.event(), "break_glass" | "delegation") =>
        {
            (1, 1, 1)
        }
        // What was decided from is recorded where there was a policy to decide by.
        Some(_) if asked.input("v").is_some() => (2, 2, 26),
        _ => (2, 2, 2),
    };
    for (name, value) in [("status_id", status), ("action_id", action), ("disposition_id", disposition)] {
        set(&mut event, name, Some(value));
    }
    event
}

fn outcome(record: &Record, intent: Option<&Record>) -> Value {
    let mut event = request(record, intent.unwrap_or(record));
    set(&mut event, "status_id", Some(if record.is_success() { 1 } else { 2 }));
    // That it is recorded means that it was permitted, whether or not the intent was seen.
    set(&mut event, "action_id", Some(1));
    set(&mut event, "disposition_id", Some(1));
    set(&mut event, "status", record.text("result"));
    let milliseconds = record.number("duration_us").map(|microseconds| microseconds / 1000);
    set(&mut event, "duration", milliseconds);
    let response = record.number("status").map(|status| {
        let mut response = json!({ "code": status });
        set(&mut response, "body_length", record.number("response_bytes"));
        set(&mut response, "latency", milliseconds);
        response
    });
    set(&mut event, "http_response", response);
    set(&mut event, "status_code", record.number("status").map(|status| status.to_string()));
    event
}

/// Whoever asked, under a pseudonym.
fn user(record: &Record) -> Value {
    let mut user = match (record.text("subject"), record.number("uid")) {
        (Some(subject), _) => json!({ "uid": subject, "type_id": 1 }),
        (None, Some(uid)) => json!({ "uid": uid.to_string(), "type_id": 2 }),
        (None, None) => json!({ "name": "unknown", "type_id": 0 }),
    };
    let roles: Vec<Value> = record.roles().map(|role| json!({ "name": role })).collect();
    set(&mut user, "groups", (!roles.is_empty()).then_some(roles));
    user
}

fn actor(record: &Record) -> Value {
    let mut actor = json!({ "user": user(record) });
    set(&mut actor, "app_uid", record.caller("client"));
    set(&mut actor, "session", record.text("session").map(|session| json!({ "uid": session })));
    set(&mut actor, "idp", record.caller("issuer").map(|issuer| json!({ "name": issuer })));
    actor
}

fn source(record: &Record) -> Value {
    record.text("address").map_or_else(|| json!({ "name": "unknown" }), |address| json!({ "uid": address }))
}

fn session(record: &Record) -> Value {
    let what = record.text("what").unwrap_or("unknown");
    let activity = match what {
        "sign_in" => 1,
        "sign_out" | "back_channel_logout" => 2,
        _ => 99,
    };
    let mut event = of_class(3, 3002, activity);
    let result = record.text("result");
    set(&mut event, "activity_name", Some(what));
    set(&mut event, "user", Some(user(record)));
    set(&mut event, "service", Some(json!({ "name": record.text("listener").unwrap_or("wardgate") })));
    set(&mut event, "src_endpoint", Some(source(record)));
    let mut session = json!({});
    set(&mut session, "uid", record.text("session"));
    set(&mut session, "issuer", record.text("issuer"));
    set(&mut event, "session", (session != json!({})).then_some(session));
    set(&mut event, "auth_protocol_id", Some(4));
    set(&mut event, "status_id", Some(if result == Some("ok") { 1 } else { 2 }));
    set(&mut event, "status_detail", result);
    event
}

/// What ends tokens: the thing is a person, a session, a token or a client, under a pseudonym.
fn entity(record: &Record) -> Value {
    let is_revocation = record.event() == "revocation";
    // 9: disabled.
    let mut event = of_class(3, 3004, if is_revocation { 9 } else { 99 });
    let name = record.text("name").or_else(|| record.text("token")).unwrap_or("unknown");
    let kind = record.text("claim").or_else(|| record.text("what")).unwrap_or("security_event");
    set(&mut event, "activity_name", Some(record.event()));
    set(&mut event, "entity", Some(json!({ "uid": name, "type_id": 99, "type": kind })));
    let mut actor =
        json!({ "app_name": record.text("source").or(record.text("issuer")).unwrap_or("unknown") });
    set(&mut actor, "user", record.number("uid").map(|_| user(record)));
    set(&mut actor, "idp", record.text("issuer").map(|issuer| json!({ "name": issuer })));
    set(&mut event, "actor", Some(actor));
    let result = record.text("result");
    set(&mut event, "status_id", Some(if matches!(result, Some("stored" | "revoked")) { 1 } else { 99 }));
    set(&mut event, "status", result);
    event
}

fn lifecycle(record: &Record) -> Value {
    let activity = match record.event() {
        "started" => 3,
        "stopping" => 4,
        "upgrade" => 8,
        _ => 99,
    };
    let mut event = of_class(6, 6002, activity);
    set(&mut event, "activity_name", Some(record.event()));
    let mut app = json!({ "name": "Wardgate", "vendor_name": "Wardgate" });
    set(&mut app, "version", record.text("version"));
    set(&mut event, "app", Some(app));
    let is_failure = record.weight() >= Weight::Suspect;
    set(&mut event, "status_id", Some(if is_failure { 2 } else { 1 }));
    set(&mut event, "status_detail", record.text("why").or_else(|| record.text("result")));
    event
}
