//! The policy decision point: what is asked as AuthZEN 1.0 has it, and what is answered.

use serde_json::{Value, json};

use super::World;
use crate::support::{Recorder, Signer, http};

/// A question about a request of patient p1.
fn question(method: &str, target: &str, authorization: &str) -> Value {
    json!({
        "subject": { "type": "identity", "id": "user-p1" },
        "action": { "name": method },
        "resource": { "type": "route", "id": target, "properties": { "host": "portal.example" } },
        "context": { "headers": { "Authorization": authorization }, "has_body": false },
    })
}

pub(super) fn post(world: &World, path: &str, body: &str) -> http::Answer {
    let headers =
        [("Content-Type", "application/json"), ("X-Request-ID", "q-17"), ("Host", "pdp.example:8443")];
    http::send(world.pdp, "POST", path, &headers, body.as_bytes()).expect("an answer")
}

fn evaluate(world: &World, question: &Value) -> Value {
    let answer = post(world, "/access/v1/evaluation", &question.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-request-id"), Some("q-17"));
    let told = answer.json();
    assert_eq!(told["context"]["id"], answer.decision());
    told
}

fn evaluate_all(world: &World, questions: &Value) -> Vec<Value> {
    let answer = post(world, "/access/v1/evaluations", &questions.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["evaluations"].as_array().expect("a list").clone()
}

fn world() -> World {
    World::start(Recorder::start().address, |text| text)
}

#[test]
fn leave_names_the_headers_and_a_refusal_is_whole() {
    let world = world();
    let own = world.signer.bearer("p1", "aal1", 42);
    let told = evaluate(&world, &question("GET", "/patients/p1/moderate?a=b", &own));
    assert_eq!(told["decision"], true);
    let headers = &told["context"]["request"]["headers"];
    assert!(headers["x-wardgate-assertion"].as_str().is_some_and(|value| value.starts_with("eyJ")), "{told}");
    assert_eq!(headers["x-remote-user"], "patients:user-p1");

    let refused = evaluate(&world, &question("GET", "/patients/p2/moderate", &own));
    assert_eq!(refused["decision"], false);
    let context = &refused["context"];
    assert_eq!(context["response"]["status"], 403);
    assert_eq!(context["reason_user"]["en"], context["response"]["body"]["detail"]);
    assert!(!refused.to_string().contains("no_relation"), "why is for operators: {refused}");

    let challenged = evaluate(&world, &question("GET", "/patients/p1/critical", &own));
    let context = &challenged["context"];
    let direct =
        http::send(world.gateway.address, "GET", "/patients/p1/critical", &[("Authorization", &own)], b"");
    let direct = direct.expect("an answer");
    assert_eq!((&challenged["decision"], &context["response"]["status"]), (&json!(false), &json!(401)));
    assert_eq!(
        context["response"]["headers"]["www-authenticate"].as_str(),
        direct.header("www-authenticate")
    );
    assert_eq!(context["acr_values"], direct.json()["acr_values"]);
    assert!(
        context["acr_values"].is_string() && context["max_age"] == direct.json()["max_age"],
        "{challenged}"
    );

    assert_eq!(world.gateway.metric("wardgate_request_duration_seconds_count{verdict=\"permit\"}"), 1.0);
    let records = world.gateway.audit();
    let asked: Vec<_> = records.iter().filter(|record| record["listener"] == "pdp").collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    let outcomes: Vec<_> = records.iter().filter(|record| record["event"] == "outcome").collect();
    assert!(outcomes.len() == 1 && outcomes[0]["result"] == "not_observed", "{outcomes:?}");
}

#[test]
fn a_token_is_good_for_its_own_subject_only() {
    let world = world();
    world.gateway.wait_until_proofs_count();
    let own = world.signer.bearer("p1", "aal2", 0);
    let mut question = question("PUT", "/patients/p1/critical", &own);
    for subject in ["user-p2", "", "USER-P1", "user-p1 "] {
        question["subject"]["id"] = subject.into();
        let told = evaluate(&world, &question);
        assert_eq!((&told["decision"], &told["context"]["response"]["status"]), (&json!(false), &json!(403)));
    }
    // Nor is a name enough without a token.
    question["subject"]["id"] = "user-p1".into();
    let mut without = question.clone();
    without["context"]["headers"] = json!({});
    assert_eq!(evaluate(&world, &without)["context"]["response"]["status"], 401);
    assert_eq!(evaluate(&world, &question)["decision"], true, "nothing was spent");
    assert_eq!(evaluate(&world, &question)["decision"], false, "one proof pays once");
    let records = world.gateway.audit();
    let differing = records.iter().filter(|record| record["reason"] == "subject_differs").count();
    assert_eq!(differing, 4);
}

#[test]
fn a_body_that_nobody_saw_counts_as_there() {
    let world = world();
    let own = world.signer.bearer("p1", "aal1", 42);
    let mut question = question("POST", "/patients/p1/moderate", &own);
    question["context"]["headers"]["Content-Type"] = "application/x-www-form-urlencoded".into();
    assert_eq!(evaluate(&world, &question)["decision"], true, "it is said that there is none");
    for has_body in [json!(true), Value::Null] {
        let context = question["context"].as_object_mut().expect("an object");
        if has_body.is_null() {
            context.remove("has_body")
        } else {
            context.insert("has_body".into(), has_body)
        };
        let told = evaluate(&world, &question);
        assert_eq!((&told["decision"], &told["context"]["response"]["status"]), (&json!(false), &json!(413)));
    }
}

#[test]
fn several_at_once_end_where_it_is_said() {
    let world = world();
    world.gateway.wait_until_proofs_count();
    let mut whole = question("GET", "/r/a", &world.signer.bearer("p1", "aal2", 0));
    let route = |id: &str| json!({ "resource": { "type": "route", "id": id, "properties": { "host": "portal.example" } } });
    whole["evaluations"] =
        json!([{}, route("/nowhere"), route("/patients/p1/low"), { "action": {} }, route("/r/b")]);
    let decisions = |told: &[Value]| -> Vec<bool> {
        told.iter().map(|one| one["decision"].as_bool().expect("a decision")).collect()
    };
    let all = evaluate_all(&world, &whole);
    assert_eq!(decisions(&all), [true, false, true, false, true]);
    assert_eq!(all[3]["context"]["error"]["status"], 400);
    whole["options"] = json!({ "evaluations_semantic": "deny_on_first_deny" });
    assert_eq!(decisions(&evaluate_all(&world, &whole)), [true, false]);
    whole["options"] = json!({ "evaluations_semantic": "permit_on_first_permit" });
    assert_eq!(decisions(&evaluate_all(&world, &whole)), [true]);
    // Each is leave for one request.
    whole["options"] = json!({});
    whole["evaluations"] = json!([route("/patients/p1/critical"), route("/patients/p1/critical")]);
    assert_eq!(decisions(&evaluate_all(&world, &whole)), [true, false]);
    whole["evaluations"] = json!([]);
    let single = post(&world, "/access/v1/evaluations", &whole.to_string()).json();
    assert_eq!(single["decision"], true, "{single}");
}

#[test]
fn what_is_no_question_is_told_so() {
    let world = world();
    let good = question("GET", "/r/a", "Bearer x").to_string();
    for path in ["/access/v1/evaluation", "/access/v1/evaluations"] {
        for body in ["", "{", "[]", "{}", r#"{"subject":{},"subject":{}}"#] {
            let answer = post(&world, path, body);
            assert_eq!(answer.status, 400, "{body}");
            assert_eq!(answer.header("x-request-id"), Some("q-17"));
            assert_eq!(answer.json()["reason"], "evaluation_malformed", "{body}");
        }
    }
    let many = json!({ "evaluations": vec![json!({}); 51] }).to_string();
    assert_eq!(post(&world, "/access/v1/evaluations", &many).status, 400);
    let long = good.replace("Bearer x", &"x".repeat(300_000));
    assert_eq!(post(&world, "/access/v1/evaluation", &long).status, 413);
    let plain = [("Content-Type", "text/plain")];
    let answer = http::send(world.pdp, "POST", "/access/v1/evaluation", &plain, good.as_bytes());
    assert_eq!(answer.expect("an answer").status, 400, "a page of another site could send it");
    for path in
        ["/", "/r/a", "/access/v1/search/subject", "/access/v1/evaluation/", "/access/v1/evaluation?a=b"]
    {
        assert_eq!(post(&world, path, &good).status, 404, "{path}");
    }
    let answer = http::get(world.pdp, "/access/v1/evaluation").expect("an answer");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let records = world.gateway.audit();
    let malformed = records.iter().filter(|record| record["reason"] == "evaluation_malformed").count();
    assert_eq!(malformed, 12);
    assert!(!records.iter().any(|record| record["event"] == "intent"));
}

#[test]
fn it_says_where_to_ask() {
    let world = world();
    let headers = [("Host", "pdp.example:8443"), ("X-Request-ID", "q-1")];
    let answer = http::send(world.pdp, "GET", "/.well-known/authzen-configuration", &headers, b"");
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("q-1")));
    assert_eq!(
        answer.json(),
        json!({
            "policy_decision_point": "http://pdp.example:8443",
            "access_evaluation_endpoint": "http://pdp.example:8443/access/v1/evaluation",
            "access_evaluations_endpoint": "http://pdp.example:8443/access/v1/evaluations",
        })
    );
    let signer = Signer::new();
    let foreign = evaluate(&world, &question("GET", "/patients/p1/low", &signer.bearer("p1", "aal1", 5)));
    assert_eq!(foreign["context"]["response"]["status"], 401, "another issuer's key");
}
