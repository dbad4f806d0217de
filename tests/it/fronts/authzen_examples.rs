//! Questions in the shapes of the Authorization API 1.0 and of its gateway profile's interop scenario, a list of tasks: what
//! comes without a token is refused, whatever it says of its subject, and what comes with one is decided by the routes.

use serde_json::{Value, json};

use super::World;
use super::authzen::post;
use crate::support::{Recorder, Signer};

/// The routes of the scenario, with the rules that it has for them.
const ROUTES: &str = r#"
  - { id: user.read, match: { path: "/users/{userId}", methods: [GET] }, upstream: app, tier: low, any_of: [{ issuer: patients }] }
  - { id: task.list, match: { path: /todos, methods: [GET] }, upstream: app, tier: low, any_of: [{ issuer: patients }] }
  - { id: task.make, match: { path: /todos, methods: [POST] }, upstream: app, tier: low, any_of: [{ roles: [admin, editor] }] }
  - { id: task.change, match: { path: "/todos/{todoId}", methods: [PUT] }, upstream: app, tier: low,
      any_of: [{ roles: [evil_genius, editor] }] }
  - { id: task.remove, match: { path: "/todos/{todoId}", methods: [DELETE] }, upstream: app, tier: low,
      any_of: [{ roles: [admin, editor] }] }"#;

fn examples() -> Value {
    serde_json::from_str(include_str!("../authzen/examples.json")).expect("JSON")
}

fn world() -> World {
    World::start(Recorder::start().address, |text| text.replace("\nroutes:", &format!("\nroutes:{ROUTES}")))
}

/// The decisions of an answer of the standard's shape.
fn decisions(answer: &Value) -> Vec<bool> {
    let one = |answer: &Value| {
        assert!(answer.get("context").is_none_or(Value::is_object), "{answer}");
        answer["decision"].as_bool().expect("a boolean")
    };
    match answer.get("evaluations") {
        Some(list) => list.as_array().expect("a list").iter().map(one).collect(),
        None => vec![one(answer)],
    }
}

#[test]
fn who_brings_no_token_is_refused_in_every_shape() {
    let world = world();
    for example in examples()["refused_questions"].as_array().expect("a list") {
        let path =
            if example["several"] == true { "/access/v1/evaluations" } else { "/access/v1/evaluation" };
        let answer = post(&world, path, &example["body"].to_string());
        assert_eq!(answer.status, 200, "{example}: {answer:?}");
        let told = answer.json();
        assert_eq!(json!(decisions(&told)), example["decisions"], "{example}: {told}");
    }
    assert!(!world.gateway.audit().iter().any(|record| record["event"] == "intent"));
}

#[test]
fn a_list_of_tasks_is_whose_the_scenario_says() {
    let (world, examples) = (world(), examples());
    for (person, roles) in examples["people"].as_object().expect("people") {
        let mut claims = Signer::claims("p1", "aal1", 5);
        (claims["sub"], claims["groups"]) = (person.as_str().into(), roles.clone());
        let authorization = format!("Bearer {}", world.signer.sign(&claims));
        let mut all = Vec::new();
        let mut expected = Vec::new();
        for route in examples["routes"].as_array().expect("a list") {
            let question = json!({
                "subject": { "type": "identity", "id": person },
                "action": { "name": route["method"] },
                "resource": { "type": "route", "id": route["route"],
                    "properties": { "uri": route["path"], "host": "portal.example" } },
                "context": { "headers": { "authorization": authorization }, "has_body": false },
            });
            let is_permitted = route["permitted"].as_array().expect("a list").contains(&json!(person));
            let told = post(&world, "/access/v1/evaluation", &question.to_string()).json();
            assert_eq!(decisions(&told), [is_permitted], "{person}: {route}: {told}");
            // The token is what counts, not the name beside it.
            let mut another = question.clone();
            another["subject"]["id"] = "ana-maria".into();
            let told = post(&world, "/access/v1/evaluation", &another.to_string()).json();
            assert_eq!(decisions(&told), [false], "{person}: {route}: {told}");
            all.push(question);
            expected.push(is_permitted);
        }
        let told = post(&world, "/access/v1/evaluations", &json!({ "evaluations": all }).to_string()).json();
        assert_eq!(decisions(&told), expected, "{person}: {told}");
    }
}
