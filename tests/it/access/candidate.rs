//! A tier that is tried out: counted and on record, and nobody outside can tell.

use serde_json::json;

use super::{bearer, setup};
use crate::support::{Recorder, Signer, eventually, http};

const ROUTES: &str = r#"
  - { id: notes.write, match: { path: "/notes", methods: [POST] }, upstream: app, tier: low, candidate: { tier: high },
      any_of: [{ roles: [nurse] }] }
  - { id: notes.sign, match: { path: "/sign", methods: [POST] }, upstream: app, tier: high, candidate: { tier: low },
      any_of: [{ roles: [nurse] }] }"#;

#[test]
fn a_tier_is_tried_out_beside_the_one_that_counts() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer, "", ROUTES).start();
    let send = |path: &str, role: &str, level: &str| {
        let token = bearer(&signer, "mia", &[role], level);
        let headers = [("Authorization", token.as_str()), ("Host", "portal.example")];
        http::send(gateway.address, "POST", path, &headers, b"").expect("an answer")
    };
    for (path, role, level, status, tier, verdict) in [
        ("/notes", "nurse", "aal1", 200, "high", "challenge"),
        ("/notes", "nurse", "aal2", 200, "high", "permit"),
        ("/notes", "clerk", "aal2", 403, "high", "deny"),
        ("/sign", "nurse", "aal1", 401, "low", "permit"),
    ] {
        let answer = send(path, role, level);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(!format!("{answer:?}").contains("candidate"), "{answer:?}");
        let id = answer.decision().to_owned();
        let mut found = None;
        eventually("it is on record", std::time::Duration::from_secs(20), || {
            found = gateway
                .audit()
                .into_iter()
                .find(|record| record["decision"] == id.as_str() && record["event"] != "outcome");
            found.is_some()
        });
        let record = found.expect("a record");
        assert_eq!(record["input"]["candidate"], json!({ "tier": tier, "verdict": verdict }), "{record}");
    }
    assert_eq!(upstream.count(), 2);
    for request in upstream.requests() {
        assert!(!format!("{:?}", request.line).contains("candidate"));
    }
    let counted = gateway.metric(
        "wardgate_candidate_decisions_total{candidate=\"challenge\",route=\"notes.write\",verdict=\"permit\"}",
    );
    assert!((counted - 1.0).abs() < f64::EPSILON, "{counted}");
}
