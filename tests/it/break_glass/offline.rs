//! Codes on paper, with a real OpenID Provider that stops answering.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{WHY, get, glass_records, order};
use crate::support::{Gateway, Idp, Recorder, eventually};

const LONG: Duration = Duration::from_secs(20);

fn config(idp: &Idp, upstream: &Recorder) -> String {
    format!(
        r#"version: 1
listeners: [{{ name: portal, address: "$LISTEN" }}]
telemetry: {{ address: "$TELEMETRY" }}
operators: {{ address: "unix:$DIR/operators.sock" }}
state: {{ single_replica: true }}
shutdown: {{ lame_duck: 0s, grace: 5s }}
issuers:
  - name: clinic
    issuer: {}
    audiences: [portal-es256]
    jwks: {{ refresh: 1h, timeout: 1s }}
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }}, aal2: {{ any_of: {{ acr: ["urn:clinic:loa:2"] }} }} }}
    claims: {{ patient: patient_id, roles: groups }}
insecure: {{ plain_http_issuers: [clinic] }}
upstreams:
  app: {{ endpoints: ["{}"] }}
audit: {{ dir: ./audit }}
break_glass:
  treatment:
    roles: [hospitalist]
    require: {{ assurance: aal2, max_age: 5m, reason_codes: [emergency], text_min: 20, offline_codes: true }}
    grant: {{ most_per_day: 50 }}
    review: {{ within: 72h, by: [privacy-office] }}
routes:
  - {{ id: results.read, match: {{ path: "/patients/{{patient}}/results", methods: [GET] }}, upstream: app, tier: low,
      patient: {{ from: path.patient }}, break_glass: treatment, any_of: [{{ roles: [nurse] }}] }}
"#,
        idp.issuer, upstream.address
    )
}

fn codes(gateway: &Gateway, right: &str) -> Result<Vec<String>, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .args(["break-glass", "codes", "--right", right, "--count", "3", "--days", "30", "--socket"])
        .arg(gateway.dir.path().join("operators.sock"))
        .output()
        .expect("it runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn with_code(patient: &str, code: Option<&str>) -> Value {
    let target = format!("/patients/{patient}/results");
    json!({ "target": target, "code": "emergency", "text": WHY, "offline_code": code })
}

#[test]
fn a_code_stands_in_for_a_proof_that_can_not_be_had_and_counts_once() {
    let (idp, upstream) = (Idp::start(), Recorder::start());
    let gateway = Gateway::start(&config(&idp, &upstream), |_| {});
    gateway.wait_until_proofs_count();
    let at = gateway.address;
    for account in ["house", "wilson"] {
        idp.set_claims(account, &json!({ "groups": ["hospitalist"] }));
    }
    let bearer = |account: &str, age| {
        format!("Bearer {}", idp.sign_in_earlier(account, "aal2", "portal-es256", age).access())
    };
    let (house, wilson, clerk) = (bearer("house", 400), bearer("wilson", 400), bearer("paula", 400));
    assert_eq!(get(at, "/patients/p1/results", &house).status, 403, "the keys are known by now");
    assert!(codes(&gateway, "other").expect_err("no such right").contains("offline_codes"));
    let paper = codes(&gateway, "treatment").expect("codes");
    assert_eq!(paper.len(), 3, "{paper:?}");

    // As long as the issuer answers, a proof can be had, and no code stands in for it.
    assert_eq!(order(at, &house, &with_code("p1", Some(&paper[0]))).status, 401);

    idp.fail("jwks", Some("500"));
    assert_eq!(order(at, &house, &with_code("p1", None)).status, 401);
    for (who, code, status) in
        [(&house, "0000-0000-0000-0000", 400), (&house, "no code", 400), (&clerk, &*paper[0], 403)]
    {
        assert_eq!(order(at, who, &with_code("p1", Some(code))).status, status, "{code}");
    }
    assert_eq!(get(at, "/patients/p1/results", &house).status, 403);
    let typed = paper[0].to_lowercase().replace('-', " ");
    assert_eq!(order(at, &house, &with_code("p1", Some(&typed))).status, 201);
    assert_eq!(get(at, "/patients/p1/results", &house).status, 200);
    assert_eq!(get(at, "/patients/p2/results", &house).status, 403, "one patient");
    for who in [&house, &wilson] {
        assert_eq!(order(at, who, &with_code("p2", Some(&paper[0]))).status, 400, "it was used");
    }
    // Ten at once with one code: one of them.
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|number| {
                let (wilson, code) = (&wilson, &paper[1]);
                scope.spawn(move || order(at, wilson, &with_code(&format!("q{number}"), Some(code))).status)
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");

    // It answers again: back to proofs.
    idp.fail("jwks", None);
    eventually("a proof is asked for", LONG, || {
        order(at, &house, &with_code("p2", Some(&paper[2]))).status == 401
    });

    let records = gateway.audit();
    let glass = glass_records(&records);
    assert_eq!((&glass[0]["what"], &glass[0]["result"]), (&json!("codes_issued"), &json!("3")));
    let opened: Vec<&&Value> = glass.iter().filter(|record| record["what"] == "opened").collect();
    assert_eq!(opened.len(), 2);
    assert!(opened.iter().all(|record| record["result"] == "offline_code"), "{opened:?}");
    let told =
        std::fs::read_to_string(gateway.audit_file()).expect("the journal") + &gateway.logs().join("\n");
    for code in &paper {
        assert!(!told.contains(code.as_str()) && !told.contains(&code.replace('-', "")), "{code} is told");
    }
}
