//! Who took part: the client, what it asked, the person behind it.

use serde_json::{Value, json};

use super::coding::{DICOM, Interaction, PARTICIPANT, PARTICIPATION, ROLE_CLASS, code};
use super::{MOST_TEXT, NAMES};
use crate::audit::formats::{Record, plain, set};

/// A reference to what has a name of ours and no resource; without a kind where a person may be a patient, a practitioner or
/// neither.
pub(super) fn logical(kind: &str, system: &str, value: &str) -> Value {
    let value = plain(value, MOST_TEXT);
    let value = if value.trim().is_empty() { "unknown".to_owned() } else { value };
    let mut reference = json!({ "identifier": { "system": format!("{NAMES}:{system}"), "value": value } });
    set(&mut reference, "type", (!kind.is_empty()).then_some(kind));
    reference
}

/// The gateway.
pub(super) fn gateway(record: &Record, is_requestor: bool) -> Value {
    json!({
        "type": { "coding": [code(DICOM, "110150", "Application")] },
        "who": logical("Device", "origin", record.origin()),
        "requestor": is_requestor,
    })
}

/// The client, the server and the person, in the parts that BALP gives them for this interaction.
pub(super) fn agents(record: &Record, interaction: Interaction) -> Vec<Value> {
    let (source, destination) =
        (code(DICOM, "110153", "Source Role ID"), code(DICOM, "110152", "Destination Role ID"));
    let recipient = code(PARTICIPATION, "IRCP", "information recipient");
    let author = code(PARTICIPATION, "AUT", "author (originator)");
    let (client, server, person) = match interaction {
        // The data flows from the server.
        Interaction::Read => (destination, source, recipient),
        Interaction::Create | Interaction::Update | Interaction::Patch => (source, destination, author),
        Interaction::Delete => {
            (code(DICOM, "110150", "Application"), code(PARTICIPANT, "custodian", "Custodian"), author)
        }
        // The question flows from the client.
        Interaction::Query | Interaction::Operation | Interaction::Decision => {
            (source, destination, recipient)
        }
    };
    let subject = record.text("subject");
    let is_machine = record.caller("kind") == Some("service");
    let address = record.text("address").unwrap_or("unknown");
    let who = match record.caller("client") {
        Some(id) => logical("Device", "client", id),
        None => logical("Device", "address", address),
    };
    let upstream = record.text("upstream");
    let server_who = match upstream {
        Some(upstream) => logical("Device", "upstream", upstream),
        None => logical("Device", "origin", record.origin()),
    };
    let server_network = upstream.or(record.text("listener")).unwrap_or("gateway");
    let mut agents = vec![
        json!({
            "type": { "coding": [client] },
            "who": who,
            "requestor": subject.is_none(),
            "network": network("address", address),
        }),
        json!({
            "type": { "coding": [server] },
            "who": server_who,
            "requestor": false,
            "network": network("upstream", server_network),
        }),
    ];
    if let Some(subject) = subject {
        let mut agent = json!({
            "type": { "coding": [person] },
            "who": logical(if is_machine { "Device" } else { "" }, "subject", subject),
            "requestor": true,
        });
        let roles: Vec<Value> = record
            .roles()
            .filter(|role| !role.trim().is_empty())
            .map(|role| json!({ "coding": [code(&format!("{NAMES}:role"), role, "")], "text": plain(role, MOST_TEXT) }))
            .collect();
        set(&mut agent, "role", (!roles.is_empty()).then_some(roles));
        agents.push(agent);
    }
    // Somebody acts for the subject (RFC 8693 §4.1).
    if let Some(actor) = record.text("actor") {
        agents.push(json!({
            "type": { "coding": [code(ROLE_CLASS, "AGNT", "agent")] },
            "who": logical("", "subject", actor),
            "requestor": false,
        }));
    }
    agents
}

/// Type 5 is a URI: the address itself is a pseudonym, and an upstream's name is that of the configuration.
fn network(kind: &str, name: &str) -> Value {
    let name: String = name.chars().filter(|letter| letter.is_ascii_graphic()).take(256).collect();
    let name = if name.is_empty() { "unknown" } else { &name };
    json!({ "address": format!("{NAMES}:{kind}:{name}"), "type": "5" })
}
