//! Policy decision points by OpenID AuthZEN: Cedar, and stand-ins for everything that goes wrong.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Says, StandIn, ask, bearer, setup};
use crate::support::idp::node;
use crate::support::{Recorder, Signer, eventually, free_address, http};

const ROUTES: &str = r#"
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }, { roles: [nurse] }], pdp: clinic }
  - { id: ward.visit, match: { path: "/ward/{bed}", methods: [GET, PUT] }, upstream: app, tier: moderate,
      any_of: [{ roles: [nurse] }], pdp: clinic }
  - { id: order.sign, match: { path: "/orders/{order}", methods: [POST] }, upstream: app, tier: high,
      any_of: [{ roles: [nurse] }], pdp: clinic }"#;
const READ: &str = "/patients/p1/results/7";

/// Cedar's engine behind AuthZEN; ends with the value.
pub(super) struct Cedar {
    process: Child,
    pub(super) address: SocketAddr,
}

impl Cedar {
    pub(super) fn start() -> Self {
        let address = free_address();
        let mut process = node()
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/authzen/pdp.mjs"))
            .env("PORT", address.port().to_string())
            .env("SECRET", "s3cret-of-the-gateway")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts; `scripts/setup.sh test` installs it");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it speaks");
        assert!(line.contains("deciding"), "the policy decision point did not start: {line}");
        Self { process, address }
    }
}

impl Drop for Cedar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn pdps(url: &str, more: &str) -> String {
    format!(
        "pdps: [{{ name: clinic, type: authzen, url: \"{url}\", secret_file: secret, timeout: 1s{more} }}]"
    )
}

#[test]
fn cedar_takes_away_and_never_gives() {
    let (cedar, upstream, signer) = (Cedar::start(), Recorder::start(), Signer::new());
    let url = format!("http://{}/access/v1/evaluation", cedar.address);
    let gateway = setup(&upstream, &signer, &pdps(&url, ""), ROUTES).start();
    let (patient, nurse) = (bearer(&signer, "u1", &[], "aal1"), bearer(&signer, "n1", &["nurse"], "aal1"));
    assert_eq!(ask(&gateway, &patient, "GET", READ), (200, "permitted".into()));
    // The route's rules allow a nurse; Cedar knows no policy that does.
    assert_eq!(ask(&gateway, &nurse, "GET", "/patients/p2/results/7"), (403, "pdp_denied".into()));
    assert_eq!(ask(&gateway, &nurse, "PUT", "/ward/4"), (200, "permitted".into()));
    // Cedar would permit it; the route does not.
    assert_eq!(ask(&gateway, &patient, "GET", "/ward/4"), (403, "role_missing".into()));
    let headers = [("Authorization", nurse.as_str()), ("Host", "portal.example")];
    let asked = http::send(gateway.address, "GET", "/ward/isolation", &headers, b"").expect("an answer");
    assert_eq!(asked.status, 401);
    let challenge = asked.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains(r#"acr_values="urn:clinic:loa:2""#), "{challenge}");
    let strong = bearer(&signer, "n1", &["nurse"], "aal2");
    assert_eq!(ask(&gateway, &strong, "GET", "/ward/isolation"), (200, "permitted".into()));
    assert_eq!(upstream.count(), 3);
    drop(cedar);
    assert_eq!(ask(&gateway, &nurse, "PUT", "/ward/4"), (503, "pdp_unavailable".into()));
    assert_eq!(upstream.count(), 3);
}

#[test]
fn everything_but_a_plain_yes_is_a_no() {
    let (pdp, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
    let url = pdp.url("/access/v1/evaluation");
    let gateway = setup(&upstream, &signer, &pdps(&url, ", when_unavailable: allow"), ROUTES).start();
    let nurse = bearer(&signer, "n1", &["nurse"], "aal2");
    let yes = r#"{"decision":true}"#.to_owned();
    let refused = |says: Says, what: &str| {
        pdp.say(says);
        assert_eq!(ask(&gateway, &nurse, "PUT", "/ward/4"), (403, "pdp_answer_refused".into()), "{what}");
    };
    for body in [
        "",
        "yes",
        "{}",
        r#"{"decision":"true"}"#,
        r#"{"decision":1}"#,
        r#"{"decision":false,"decision":true}"#,
        r#"{"decision":true,"context":{"obligations":[{"id":"mask"}]}}"#,
    ] {
        refused(Says::Answer(200, body.to_owned()), body);
    }
    for status in [201, 400, 401, 403, 404] {
        refused(Says::Answer(status, yes.clone()), &status.to_string());
    }
    refused(Says::Redirect, "a redirect");
    refused(Says::Elsewhere(yes.clone()), "an answer to another question");
    refused(Says::Answer(200, format!("{yes}{}", " ".repeat(70_000))), "a long answer");
    assert_eq!(upstream.count(), 0);
    assert!(
        gateway.metric("wardgate_access_questions_total{kind=\"pdp\",result=\"refused\",service=\"clinic\"}")
            >= 14.0
    );
    assert!(gateway.telemetry_page("/readyz").body.contains("pdp `clinic`"));

    pdp.answer(r#"{"decision":false}"#);
    assert_eq!(ask(&gateway, &nurse, "PUT", "/ward/4"), (403, "pdp_denied".into()));
    pdp.say(Says::Answer(200, yes));
    assert_eq!(ask(&gateway, &nurse, "PUT", "/ward/4"), (200, "permitted".into()));
    assert!(!gateway.telemetry_page("/readyz").body.contains("pdp `clinic`"));
    let said = gateway.logs().join("\n");
    for secret in ["s3cret-of-the-gateway", "n1", "/ward/4"] {
        assert!(!said.contains(secret), "the log holds {secret}");
    }
}

#[test]
fn silence_is_what_the_configuration_and_the_tier_say() {
    let (pdp, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
    let url = pdp.url("/access/v1/evaluation");
    let nurse = bearer(&signer, "n1", &["nurse"], "aal2");
    for (more, low) in [(", when_unavailable: allow", 200), ("", 503)] {
        let gateway = setup(&upstream, &signer, &pdps(&url, more).replace("1s", "200ms"), ROUTES).start();
        for says in [
            Says::Close,
            Says::Nothing,
            Says::Answer(500, r#"{"decision":true}"#.into()),
            Says::Answer(429, String::new()),
        ] {
            pdp.say(says);
            assert_eq!(ask(&gateway, &nurse, "PUT", "/ward/4").0, low, "{more}");
            assert_eq!(ask(&gateway, &nurse, "POST", "/orders/9"), (503, "pdp_unavailable".into()), "{more}");
        }
        let notices = gateway.telemetry_page("/readyz");
        assert!(notices.status == 200 && notices.body.contains("pdp `clinic`"), "{}", notices.body);
        // It is left alone for a while; then it is found to be back.
        let before = pdp.recorder.count();
        assert_eq!(ask(&gateway, &nurse, "POST", "/orders/9").0, 503);
        assert!(pdp.recorder.count() <= before + 1);
        pdp.answer(r#"{"decision":true}"#);
        eventually("it is asked again", Duration::from_secs(10), || {
            ask(&gateway, &nurse, "POST", "/orders/9").0 == 200
        });
        let outages = || {
            let of_it = |record: &Value| record["event"] == "access_outage" && record["service"] == "clinic";
            gateway.audit().into_iter().filter(of_it).collect::<Vec<_>>()
        };
        eventually("its end is on record", Duration::from_secs(20), || outages().len() == 2);
        let told: Vec<_> = outages().iter().map(|record| record["phase"].clone()).collect();
        assert_eq!(told, ["begun", "ended"]);
        let begun = "wardgate_access_outages_total{kind=\"pdp\",service=\"clinic\"}";
        assert_eq!(gateway.metric(begun), 1.0);
        let records = gateway.audit();
        let unavailable = records.iter().filter(|record| record["input"]["pdp"] == "unavailable").count();
        assert!(unavailable >= 8, "{unavailable}");
    }
}

#[test]
fn it_is_asked_once_about_what_the_rules_allow() {
    let (pdp, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
    let url = pdp.url("/access/v1/evaluation");
    let gateway = setup(&upstream, &signer, &pdps(&url, ", cache: 30s"), ROUTES).start();
    pdp.answer(r#"{"decision":true}"#);
    let patient = bearer(&signer, "u1", &[], "aal1");
    // Refused anyway, or not known: it does not hear of them.
    assert_eq!(ask(&gateway, &patient, "GET", "/patients/p2/results/7").1, "no_relation");
    assert_eq!(ask(&gateway, &patient, "PUT", "/ward/4").1, "role_missing");
    assert_eq!(ask(&gateway, "Bearer x", "GET", READ).0, 401);
    assert_eq!(pdp.recorder.count(), 0);
    // Allowed, and to be confirmed first: it is asked before the person is.
    let nurse = bearer(&signer, "n1", &["nurse"], "aal1");
    assert_eq!(ask(&gateway, &nurse, "POST", "/orders/9").1, "level_too_low");
    assert_eq!(pdp.recorder.count(), 0, "below the floor nothing is asked");

    let headers = [("Authorization", patient.as_str()), ("Host", "portal.example")];
    let answer = http::send(gateway.address, "GET", READ, &headers, b"").expect("an answer");
    assert_eq!(answer.status, 200);
    let asked = pdp.recorder.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /access/v1/evaluation HTTP/1.1");
    assert_eq!(asked[0].values("x-request-id"), [answer.decision()]);
    assert_eq!(asked[0].values("authorization"), ["Bearer s3cret-of-the-gateway"]);
    let question: Value = serde_json::from_slice(&asked[0].body).expect("JSON");
    assert_eq!(question["subject"]["type"], "identity");
    assert_eq!(question["subject"]["id"], "patients:u1");
    assert_eq!(question["action"], json!({ "name": "GET", "properties": { "id": "results.read" } }));
    assert_eq!(question["resource"]["id"], "/patients/{patient}/results/**");
    assert_eq!(question["resource"]["properties"]["params"], json!({ "patient": "p1" }));
    assert_eq!(question["context"], json!({ "tier": "low", "client_address": "127.0.0.1" }));

    // Remembered, for the same question only.
    assert_eq!(ask(&gateway, &patient, "GET", READ).0, 200);
    assert_eq!(pdp.recorder.count(), 1);
    pdp.answer(r#"{"decision":false}"#);
    assert_eq!(ask(&gateway, &patient, "GET", "/patients/p1/results/8").1, "pdp_denied");
    assert_eq!(ask(&gateway, &bearer(&signer, "u2", &[], "aal1"), "GET", READ).1, "pdp_denied");
    assert_eq!(pdp.recorder.count(), 3);
    assert_eq!(upstream.count(), 2);
}

/// What was silent and then talks nonsense is not silent any more: nobody gets past it as in an outage.
#[test]
fn nonsense_after_silence_is_refused_each_time() {
    let (pdp, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
    let url = pdp.url("/access/v1/evaluation");
    let gateway = setup(&upstream, &signer, &pdps(&url, ", when_unavailable: allow"), ROUTES).start();
    let nurse = bearer(&signer, "n1", &["nurse"], "aal2");
    for _ in 0..6 {
        assert_eq!(ask(&gateway, &nurse, "PUT", "/ward/4").0, 200);
    }
    pdp.say(Says::Answer(403, r#"{"decision":true}"#.into()));
    eventually("it is asked again", Duration::from_secs(10), || {
        ask(&gateway, &nurse, "PUT", "/ward/4").0 == 403
    });
    for _ in 0..3 {
        assert_eq!(ask(&gateway, &nurse, "PUT", "/ward/4"), (403, "pdp_answer_refused".into()));
    }
}
