//! The gateway as a client in the interop scenario of AuthZEN's gateway profile, a list of tasks, with Cedar as the policy
//! decision point; and answers in the shapes of the Authorization API 1.0, of which only one permits.

use serde_json::{Value, json};

use super::pdp::{Cedar, pdps};
use super::{Says, StandIn, ask, bearer, setup};
use crate::support::{Recorder, Signer};

const ROUTES: &str = r#"
  - { id: user.read, match: { path: "/users/{userId}", methods: [GET] }, upstream: app, tier: low, any_of: [{ issuer: patients }], pdp: clinic }
  - { id: tasks, match: { path: /todos, methods: [GET, POST] }, upstream: app, tier: low, any_of: [{ issuer: patients }], pdp: clinic }
  - { id: task, match: { path: "/todos/{todoId}", methods: [PUT, DELETE] }, upstream: app, tier: low, any_of: [{ issuer: patients }], pdp: clinic }"#;

fn examples() -> Value {
    serde_json::from_str(include_str!("../authzen/examples.json")).expect("JSON")
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().expect("a list")
}

fn roles_of(examples: &Value, person: &str) -> Vec<String> {
    list(&examples["people"], person).iter().map(|role| role.as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_list_of_tasks_is_whose_the_scenario_says() {
    let (cedar, upstream, signer, examples) = (Cedar::start(), Recorder::start(), Signer::new(), examples());
    let url = format!("http://{}/access/v1/evaluation", cedar.address);
    let gateway = setup(&upstream, &signer, &pdps(&url, ""), ROUTES).start();
    for person in examples["people"].as_object().expect("people").keys() {
        let roles = roles_of(&examples, person);
        let token = bearer(&signer, person, &roles.iter().map(String::as_str).collect::<Vec<_>>(), "aal1");
        for route in list(&examples, "routes") {
            let (method, path) =
                (route["method"].as_str().expect("text"), route["path"].as_str().expect("text"));
            let is_permitted = list(route, "permitted").contains(&json!(person));
            let expected = if is_permitted { (200, "permitted") } else { (403, "pdp_denied") };
            let seen = ask(&gateway, &token, method, path);
            assert_eq!((seen.0, seen.1.as_str()), expected, "{person}: {method} {path}");
        }
    }
}

#[test]
fn a_question_has_the_members_that_the_scenario_has() {
    let (pdp, upstream, signer, examples) = (StandIn::start(), Recorder::start(), Signer::new(), examples());
    pdp.answer(r#"{"decision":true}"#);
    let gateway = setup(&upstream, &signer, &pdps(&pdp.url("/access/v1/evaluation"), ""), ROUTES).start();
    let token = bearer(&signer, "ana", &["admin"], "aal1");
    for (position, route) in list(&examples, "routes").iter().enumerate() {
        let (method, path) = (route["method"].as_str().expect("text"), route["path"].as_str().expect("text"));
        assert_eq!(ask(&gateway, &token, method, path).0, 200);
        let asked = &pdp.recorder.requests()[position];
        assert_eq!(asked.line, "POST /access/v1/evaluation HTTP/1.1");
        let question: Value = serde_json::from_slice(&asked.body).expect("JSON");
        let names: Vec<&str> = question.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, ["action", "context", "resource", "subject"]);
        assert_eq!(
            (&question["subject"]["type"], &question["subject"]["id"]),
            (&json!("identity"), &json!("patients:ana"))
        );
        assert_eq!(question["action"]["name"], route["method"]);
        assert_eq!(
            (&question["resource"]["type"], &question["resource"]["id"]),
            (&json!("route"), &route["route"])
        );
        for member in ["/subject/properties", "/action/properties", "/resource/properties", "/context"] {
            assert!(question.pointer(member).is_some_and(Value::is_object), "{member}: {question}");
        }
    }
}

#[test]
fn an_answer_in_any_other_shape_than_a_permit_denies() {
    let (pdp, upstream, signer, examples) = (StandIn::start(), Recorder::start(), Signer::new(), examples());
    let gateway = setup(&upstream, &signer, &pdps(&pdp.url("/access/v1/evaluation"), ""), ROUTES).start();
    let token = bearer(&signer, "ana", &["admin"], "aal1");
    let mut permitted = 0;
    for example in list(&examples, "answers") {
        let status =
            example["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status");
        pdp.say(Says::Answer(status, example["body"].to_string()));
        let (status, reason) = ask(&gateway, &token, "GET", "/todos");
        let expected = match example["means"].as_str().expect("a reason") {
            "permitted" => 200,
            "level_too_low" => 401,
            "pdp_unavailable" => 503,
            _ => 403,
        };
        permitted += usize::from(expected == 200);
        assert_eq!((status, json!(reason)), (expected, example["means"].clone()), "{example}");
    }
    assert_eq!(upstream.count(), permitted);
}
