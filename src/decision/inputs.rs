//! What conditions are evaluated over: the caller, the request, its body, and what it changes.

use serde_json::json;

use super::content;
use super::evidence::BodyReading;
use super::step::Question;
use crate::identity::Subject;
use crate::policy::condition::Inputs;
use crate::request::body::{BodyFacts, Patch};
use crate::request::certificate::ClientCertificate;
use crate::request::changes::Changes;

/// The fields of a form as conditions see them; `None` where a name has several values.
fn one_value_each(fields: &[(String, String)]) -> Option<serde_json::Value> {
    let mut map = serde_json::Map::new();
    for (name, value) in fields {
        if map.insert(name.clone(), value.clone().into()).is_some() {
            return None;
        }
    }
    Some(map.into())
}

/// Everything that a condition may speak of.
pub(super) fn condition_inputs(
    question: &Question<'_>,
    subject: &Subject,
    body: &BodyReading,
    device: Option<bool>,
) -> Result<Inputs, String> {
    let facts = question.facts;
    let reading = question.route.reading;
    let path = facts.target.path_as(reading).map_err(|_| "the path can't be read".to_owned())?;
    // Folded, or a condition about `root` would not hold for `ROOT`, which is the same to the upstream.
    let path = reading.fold(path);
    let parameters: serde_json::Map<String, serde_json::Value> = question
        .route
        .template
        .parameters()
        .filter_map(|name| Some((name.to_owned(), question.route.template.value(name, &path)?.into())))
        .collect();
    let mut query = serde_json::Map::new();
    let mut query_is_ambiguous = false;
    for (name, value) in facts.target.query_pairs() {
        query_is_ambiguous |= query.insert(name.into_owned(), value.into_owned().into()).is_some();
    }
    let changes = match content::changes(question, body) {
        Changes::Of(names) => Some(names),
        Changes::Any => None,
    };
    let body = match body {
        // A list of operations is not what it makes of the document.
        BodyReading::Read(_) if facts.body.patch == Some(Patch::Json) => None,
        BodyReading::Read(BodyFacts::Json(value)) => Some(value.clone()),
        BodyReading::Read(BodyFacts::Form(fields)) => one_value_each(fields),
        BodyReading::Absent => Some(serde_json::Value::Null),
        BodyReading::Searched { .. } | BodyReading::Unreadable => None,
    };
    let inputs = Inputs::new(
        json!({
            "id": subject.id, "issuer": subject.issuer.as_ref(), "client": subject.client,
            "caller": subject.caller_word(),
            "roles": subject.roles, "scopes": subject.scopes, "patient": subject.patient, "methods": subject.methods,
            "level": question.policy.levels.name(subject.level), "claims": subject.claims.as_ref(),
        }),
        json!({
            "method": facts.method.as_str(), "host": facts.host.as_str(), "path": path,
            "parameters": parameters, "query": query,
        }),
        body,
        query_is_ambiguous,
    );
    let inputs = inputs.with_device(device).with_changes(changes);
    Ok(inputs.with_certificate(facts.certificate.as_deref().map(ClientCertificate::for_conditions)))
}
