//! What is asked is told apart and has the standard's shape; what is answered is read strictly.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::identity::{Caller, Level, NamedActions, Subject};

fn subject(id: &str, roles: &[&str]) -> Subject {
    Subject {
        issuer: "patients".into(),
        issuer_index: 0,
        id: id.into(),
        caller: Caller::Person,
        client: None,
        actor: None,
        patient: Some("p1".into()),
        roles: roles.iter().map(|text| Box::from(*text)).collect(),
        scopes: Vec::new(),
        level: Level::NONE,
        methods: Vec::new(),
        auth_time: None,
        issued_at: 0,
        expires_at: 0,
        token_id: None,
        session: None,
        bound_to: None,
        bound_key: None,
        names: NamedActions::Nothing,
        changes_at: None,
        claims: Arc::default(),
    }
}

fn request<'a>(subject: &'a Subject, parameters: &'a [(&'a str, &'a str)]) -> EvaluationRequest<'a> {
    EvaluationRequest {
        id: Uuid::nil(),
        subject,
        level: "aal1",
        method: "GET",
        action: "results.read",
        template: "/patients/{patient}/results/**",
        host: "portal.clinic.example",
        path: "/patients/p1/results/7",
        parameters,
        patient: Some("p1"),
        tier: "low",
        client: "192.0.2.7".parse().ok(),
    }
}

#[test]
fn a_question_has_the_gateway_profiles_shape() {
    let (subject, parameters) = (subject("u1", &["patient"]), [("patient", "p1")]);
    let written = serde_json::to_value(Question::new(&request(&subject, &parameters))).expect("JSON");
    let expected = json!({
        "subject": { "type": "identity", "id": "patients:u1", "properties": {
            "issuer": "patients", "sub": "u1", "caller": "person", "level": "aal1", "roles": ["patient"],
            "scopes": [], "patient": "p1" } },
        "action": { "name": "GET", "properties": { "id": "results.read" } },
        "resource": { "type": "route", "id": "/patients/{patient}/results/**", "properties": {
            "hostname": "portal.clinic.example", "path": "/patients/p1/results/7", "params": { "patient": "p1" },
            "patient": "p1" } },
        "context": { "tier": "low", "client_address": "192.0.2.7" },
    });
    assert_eq!(written, expected);
}

/// Answers of the kinds that the Authorization API 1.0 shows, and everything that is none.
#[test]
fn only_a_boolean_decides() {
    use Evaluation::{Denied, Permitted};
    for (text, evaluation) in [
        (r#"{"decision":true}"#, Permitted),
        (r#"{"decision":true,"context":{}}"#, Permitted),
        (r#"{"decision":true,"context":null,"later":{"version":2}}"#, Permitted),
        (r#"{"decision":true,"context":{"reason_user":{"en":"welcome"},"obligations":[]}}"#, Permitted),
        (r#"{"decision":false}"#, Denied),
        (r#"{"decision":false,"context":{"id":"0","reason_admin":{"en":"policy C076E82F"}}}"#, Denied),
        (r#"{"decision":false,"context":{"obligations":[{"id":"log"}]}}"#, Denied),
    ] {
        assert_eq!(read(text.as_bytes()), Ok(evaluation), "{text}");
    }
    for text in [
        "",
        "true",
        "[]",
        "{}",
        r#"{"decision":null}"#,
        r#"{"decision":"true"}"#,
        r#"{"decision":1}"#,
        r#"{"Decision":true}"#,
        r#"{"decision":false,"decision":true}"#,
        r#"{"decision":true}{"decision":true}"#,
        r#"{"evaluations":[{"decision":true}]}"#,
        r#"{"decision":true,"context":[]}"#,
        r#"{"decision":true,"context":{"obligations":[{"id":"mask"}]}}"#,
        r#"{"decision":true,"context":{"obligations":{"mask":["ssn"]}}}"#,
        r#"{"decision":true,"context":{"obligations":"mask"}}"#,
        r#"{"decision":false,"context":{"acr_values":7}}"#,
        r#"{"decision":false,"context":{"acr_values":["a",7]}}"#,
        r#"{"decision":false,"context":{"max_age":-1}}"#,
        r#"{"decision":false,"context":{"max_age":"60"}}"#,
    ] {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn a_hint_is_read_in_both_spellings() {
    let hint = |words: &[&str], max_age| {
        let acr_values = words.iter().map(|word| Box::from(*word)).collect();
        Ok(Evaluation::StepUp(StepUpHint { acr_values, max_age }))
    };
    for (context, expected) in [
        (
            json!({ "acr_values": "urn:clinic:loa:2 urn:clinic:loa:3" }),
            hint(&["urn:clinic:loa:2", "urn:clinic:loa:3"], None),
        ),
        (json!({ "acr_values": ["phrh"], "max_age": 60 }), hint(&["phrh"], Some(60))),
        (json!({ "max_age": 0 }), hint(&[], Some(0))),
        (json!({ "acr_values": "", "max_age": null }), Ok(Evaluation::Denied)),
    ] {
        let text = json!({ "decision": false, "context": context }).to_string();
        assert_eq!(read(text.as_bytes()), expected);
    }
}

/// What two questions may differ in.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    texts: Vec<String>,
    given: Vec<Option<String>>,
    roles: Vec<String>,
    scopes: Vec<String>,
    parameters: Vec<(String, String)>,
}

fn asked() -> impl Strategy<Value = Asked> {
    // Few letters, among them the bytes of a length.
    let text = || "[a\u{0}\u{1}:]{0,3}";
    let texts = |count| prop::collection::vec(text(), count);
    let given = prop::collection::vec(prop::option::of(text()), 4..5);
    let parameters = prop::collection::vec((text(), text()), 0..3);
    (texts(8..9), given, texts(0..3), texts(0..3), parameters).prop_map(
        |(texts, given, roles, scopes, parameters)| Asked { texts, given, roles, scopes, parameters },
    )
}

fn written(asked: &Asked) -> Vec<u8> {
    let texts = |list: &[String]| list.iter().map(|text| Box::from(text.as_str())).collect();
    let given = |at: usize| asked.given[at].as_deref();
    let subject = Subject {
        issuer: asked.texts[0].as_str().into(),
        roles: texts(&asked.roles),
        scopes: texts(&asked.scopes),
        client: given(0).map(Into::into),
        patient: given(1).map(Into::into),
        actor: given(2).map(Into::into),
        ..subject(&asked.texts[1], &[])
    };
    let parameters: Vec<(&str, &str)> =
        asked.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let request = EvaluationRequest {
        method: &asked.texts[2],
        action: &asked.texts[3],
        template: &asked.texts[4],
        host: &asked.texts[5],
        path: &asked.texts[6],
        tier: &asked.texts[7],
        patient: given(3),
        ..request(&subject, &parameters)
    };
    parts(&request)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// An answer is remembered for one question and no other.
    #[test]
    fn no_two_questions_are_written_alike(one in asked(), two in asked()) {
        prop_assert_eq!(written(&one) == written(&two), one == two);
    }

    /// The same where they differ in where one part ends and the next begins.
    #[test]
    fn moving_a_letter_to_the_next_part_is_another_question(base in asked(), at in 0..7usize) {
        let mut moved = base.clone();
        if let Some(letter) = moved.texts[at].pop() {
            moved.texts[at + 1].insert(0, letter);
        }
        prop_assert_eq!(written(&base) == written(&moved), base == moved);
    }
}

#[test]
fn a_decisions_id_is_no_part_of_the_question() {
    let subject = subject("u1", &[]);
    let one = request(&subject, &[]);
    assert_eq!(key(&one), key(&EvaluationRequest { id: Uuid::max(), ..one }));
}
