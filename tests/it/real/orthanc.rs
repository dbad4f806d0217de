//! In front of a real imaging archive: what a refusal spares it, and what a permit does there, counted in the archive.

use std::time::Duration;

use serde_json::Value;

use super::{ask, config};
use crate::support::{Gateway, Idp, Orthanc, http, wire};

const ROUTES: &str = r#"
  - { id: studies.list, match: { path: /studies, methods: [GET] }, upstream: app, tier: low,
      any_of: [{ roles: [nurse, prescriber] }] }
  - { id: study.read, match: { path: "/studies/{study}/**", methods: [GET] }, upstream: app, tier: low, data_class: phi,
      any_of: [{ roles: [nurse, prescriber] }] }
  - { id: study.upload, match: { path: /instances, methods: [POST] }, upstream: app, tier: moderate,
      any_of: [{ roles: [nurse] }] }
  - { id: study.anonymize, label: Make an anonymous copy, match: { path: "/studies/{study}/anonymize", methods: [POST] },
      upstream: app, tier: high, any_of: [{ roles: [prescriber] }] }
  - { id: study.delete, label: Delete a study, match: { path: "/studies/{study}", methods: [DELETE] }, upstream: app,
      tier: critical, any_of: [{ roles: [prescriber] }] }
"#;

struct Clinic {
    archive: Orthanc,
    gateway: Gateway,
}

impl Clinic {
    fn open() -> Self {
        let (idp, archive) = (Idp::shared(), Orthanc::start());
        let more = "    audiences: [portal-es256]\n    algorithms: [ES256]\n";
        let text = config(&idp.issuer, more, archive.address, ROUTES);
        let text = text.replace("upstreams:", "data_classes: { phi: { assurance: aal1 } }\nupstreams:");
        let gateway = Gateway::start(&text, |_| {});
        Self { archive, gateway }
    }

    fn token(&self, who: &str, level: &str, age: u32) -> String {
        Idp::shared().sign_in_earlier(who, level, "portal-es256", age).access().to_owned()
    }

    fn send(&self, method: &str, target: &str, token: &str) -> http::Answer {
        ask(&self.gateway, (method, target), token)
    }

    fn anonymize(&self, token: &str) -> http::Answer {
        let target = format!("/studies/{}/anonymize", Orthanc::STUDY);
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        http::send(self.gateway.address, "POST", &target, &headers, b"{}").expect("an answer")
    }

    fn delete(&self, token: &str) -> http::Answer {
        self.send("DELETE", &format!("/studies/{}", Orthanc::STUDY), token)
    }
}

#[test]
fn nurses_read_and_only_prescribers_change_with_proof_to_match() {
    let clinic = Clinic::open();
    clinic.archive.store();
    let (nora, paula) = (clinic.token("nora", "aal1", 0), clinic.token("paula", "aal1", 0));
    let listed = clinic.send("GET", "/studies", &nora);
    assert_eq!((listed.status, listed.json()[0].as_str()), (200, Some(Orthanc::STUDY)));
    assert_eq!(clinic.send("GET", &format!("/studies/{}/patient", Orthanc::STUDY), &paula).status, 200);
    assert_eq!(clinic.send("GET", "/studies", &clinic.token("alice", "aal2", 0)).status, 403, "a patient");
    assert_eq!(clinic.send("GET", "/system", &nora).status, 404, "no route");
    assert_eq!(clinic.send("DELETE", "/patients/x", &nora).status, 404, "no route");

    assert_eq!(clinic.anonymize(&nora).status, 403, "not her role, and no step-up would help");
    let weak = clinic.anonymize(&paula);
    assert_eq!((weak.status, weak.json()["action"].as_str()), (401, Some("Make an anonymous copy")));
    let old = clinic.anonymize(&clinic.token("paula", "aal2", 700));
    assert_eq!((old.status, old.json()["reason"].as_str()), (401, Some("authentication_too_old")));
    assert_eq!(clinic.archive.studies().len(), 1, "nothing was made");
    let done = clinic.anonymize(&clinic.token("paula", "aal2", 300));
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(clinic.archive.studies().len(), 2, "one copy was made");
    assert_eq!(clinic.send("GET", "/studies", &nora).json().as_array().map(Vec::len), Some(2));
}

#[test]
fn a_deletion_costs_one_proof_each() {
    let clinic = Clinic::open();
    clinic.archive.store();
    assert_eq!(clinic.delete(&clinic.token("nora", "aal2", 0)).status, 403);
    assert_eq!(clinic.delete(&clinic.token("paula", "aal1", 0)).status, 401);
    let old = clinic.delete(&clinic.token("paula", "aal2", 90));
    assert_eq!((old.status, old.json()["reason"].as_str()), (401, Some("authentication_too_old")));
    assert_eq!(clinic.archive.studies(), [Orthanc::STUDY]);

    clinic.gateway.wait_until_proofs_count();
    let proof = clinic.token("paula", "aal2", 0);
    assert_eq!(clinic.delete(&proof).status, 200);
    assert!(clinic.archive.studies().is_empty());
    clinic.archive.store();
    let replayed = clinic.delete(&proof);
    assert_eq!((replayed.status, replayed.json()["reason"].as_str()), (401, Some("proof_already_spent")));
    assert!(replayed.header("www-authenticate").is_some_and(|value| value.contains(r#"max_age="0""#)));
    assert_eq!(clinic.archive.studies(), [Orthanc::STUDY], "the replay did nothing");
    // Sign-ins are told apart by the second in which they happened.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(clinic.delete(&clinic.token("paula", "aal2", 0)).status, 200, "a new sign-in pays again");
    assert!(clinic.archive.studies().is_empty());

    let outcomes = clinic.gateway.audit().into_iter().filter(|record| record["event"] == "outcome");
    let outcomes: Vec<Value> = outcomes.map(|record| record["result"].clone()).collect();
    assert_eq!(outcomes, ["completed", "not_forwarded", "completed"]);
}

#[test]
fn an_upload_reaches_the_archive_byte_for_byte() {
    let clinic = Clinic::open();
    let image = Orthanc::image();
    let nora = format!("Bearer {}", clinic.token("nora", "aal1", 0));
    let headers = [("Authorization", nora.as_str()), ("Content-Type", "application/dicom")];
    let stored =
        http::send(clinic.gateway.address, "POST", "/instances", &headers, &image).expect("an answer");
    assert_eq!((stored.status, stored.json()["Status"].as_str()), (200, Some("Success")), "{}", stored.body);
    assert_eq!(clinic.archive.studies(), [Orthanc::STUDY]);
    let instance = stored.json()["ID"].as_str().expect("its id").to_owned();
    let kept = wire::once(clinic.archive.address, "GET", &format!("/instances/{instance}/file"), &[], b"");
    assert_eq!(kept.expect("an answer").body, image);

    let paula = format!("Bearer {}", clinic.token("paula", "aal2", 0));
    let refused = [("Authorization", paula.as_str()), ("Content-Type", "application/dicom")];
    let refused =
        http::send(clinic.gateway.address, "POST", "/instances", &refused, &image).expect("an answer");
    assert_eq!(refused.status, 403);
    let again =
        http::send(clinic.gateway.address, "POST", "/instances", &headers, &image).expect("an answer");
    assert_eq!(again.json()["Status"], "AlreadyStored", "the same bytes again");
}

#[test]
fn an_idle_archive_connection_is_not_trusted() {
    let clinic = Clinic::open();
    clinic.archive.store();
    let nora = clinic.token("nora", "aal1", 0);
    // The archive closes idle connections after a second; the gateway's own limit is shorter.
    for pause in [0, 300, 600, 1100] {
        std::thread::sleep(Duration::from_millis(pause));
        assert_eq!(clinic.send("GET", "/studies", &nora).status, 200, "after {pause} ms");
    }
    assert_eq!(clinic.gateway.metric("wardgate_upstream_failures_total"), 0.0);
}
