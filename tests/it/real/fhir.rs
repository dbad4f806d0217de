//! In front of a real FHIR server: what its patients, staff and services get to see, judged by who owns each resource.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{FhirServer, Gateway, Signer, http, tokens};

const SERVICES: &str = "https://services.clinic.example";

const ROUTES: &str = r#"
  - { id: fhir.read, match: { fhir: { service: ehr, interactions: [read, vread, history-instance, search-type, search-compartment] } },
      tier: low, any_of: [{ issuer: patients, patient: self }, { issuer: patients, delegate: [caregiver] },
        { issuer: patients, roles: [nurse, prescriber] }, { issuer: services }] }
  - { id: fhir.write, match: { fhir: { service: ehr, interactions: [create, update, patch, delete] } }, tier: low,
      any_of: [{ issuer: patients, roles: [nurse] }, { issuer: services, clients: [lab-feed] }] }
  - { id: measure, match: { fhir: { service: ehr, types: [Observation], interactions: [create] } }, tier: low,
      any_of: [{ issuer: patients, patient: self }, { issuer: patients, delegate: [caregiver] }, { issuer: patients, roles: [nurse] },
        { issuer: services, clients: [lab-feed] }] }
  - { id: details, match: { fhir: { service: ehr, types: [Patient], interactions: [update, patch] } }, tier: low,
      any_of: [{ issuer: patients, patient: self }, { issuer: patients, delegate: [caregiver] }, { issuer: patients, roles: [nurse] }] }
  - { id: prescribe, match: { fhir: { service: ehr, types: [MedicationRequest], interactions: [create, update, patch] } },
      tier: low, any_of: [{ issuer: patients, roles: [prescriber] }] }
  - { id: everything, match: { fhir: { service: ehr, types: [Patient], operations: ["$everything"] } }, tier: low,
      any_of: [{ issuer: patients, patient: self }, { issuer: patients, delegate: [caregiver] }, { issuer: patients, roles: [nurse] }] }
"#;

/// Who may act for whom, and where that is granted.
const DELEGATION: &str = r#"operators: { address: "unix:$DIR/operators.sock" }
delegation:
  by: { issuer: patients, roles: [records-office], assurance: aal2 }
  relations: { caregiver: { issuer: patients } }
"#;

/// How many patients there are, from `p1` on.
const PATIENTS: usize = 24;

pub(super) struct Clinic {
    pub(super) server: FhirServer,
    pub(super) gateway: Gateway,
    signer: Signer,
}

/// A word that stands in everything that is a patient's, and nowhere else.
fn mark(patient: usize) -> String {
    format!("record-of-p{patient}.")
}

/// What there is of one patient; the practitioner who treats all of them is nobody's record.
fn record(patient: usize) -> Vec<Value> {
    let (subject, text) =
        (json!({ "reference": format!("Patient/p{patient}") }), json!({ "text": mark(patient) }));
    let performer = json!([{ "reference": "Practitioner/d1" }]);
    let category = json!([{ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory" }] }]);
    vec![
        json!({ "resourceType": "Patient", "id": format!("p{patient}"), "name": [{ "family": mark(patient) }] }),
        json!({ "resourceType": "Observation", "id": format!("o{patient}"), "status": "final", "code": text, "subject": subject,
            "performer": performer, "category": category, "effectiveDateTime": "2026-05-01" }),
        json!({ "resourceType": "Condition", "id": format!("c{patient}"), "subject": subject, "code": text }),
        json!({ "resourceType": "MedicationRequest", "id": format!("m{patient}"), "status": "active", "intent": "order",
            "subject": subject, "medicationCodeableConcept": text }),
        json!({ "resourceType": "Encounter", "id": format!("e{patient}"), "status": "finished", "class": { "code": "AMB" },
            "subject": subject, "type": [text] }),
    ]
}

impl Clinic {
    pub(super) fn open() -> Self {
        let (server, signer) = (FhirServer::start(), Signer::new());
        let mut resources =
            vec![json!({ "resourceType": "Practitioner", "id": "d1", "name": [{ "family": "Who" }] })];
        resources.extend((1..=PATIENTS).flat_map(record));
        server.store(&resources);
        let services = format!(
            "  - {{ name: services, issuer: {SERVICES}, audiences: [portal-api], algorithms: [ES256], callers: services, jwks: {{ file: jwks.json }} }}\nupstreams:"
        );
        // More parameters than anybody should list, some of which this server does not know.
        let ehr = "fhir_services:\n  - { name: ehr, base: /fhir, version: R4, upstream: app, bundles: { allow: [batch, transaction] }, shared_types: [Practitioner],\n      search_params: { allow: [patient, subject, performer, code, category, date, status, _id, _count, _lastUpdated, _type, _include, _revinclude,\n        _has, _filter, _sort, _total, _summary, _elements, _offset, _contained, _security, unheard-of] } }\nroutes:";
        let text =
            tokens::config(server.address, ROUTES).replace("upstreams:", &services).replace("routes:", ehr);
        let store = "store: embedded, data_dir: ./state }\n";
        let text =
            text.replace("single_replica: true }\n", &format!("single_replica: true, {store}{DELEGATION}"));
        let gateway = Gateway::start(&text, |dir| {
            std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable")
        });
        let clinic = Self { server, gateway, signer };
        for person in ["user-carer", "user-p2"] {
            clinic.grant(person);
        }
        clinic
    }

    /// Somebody may act for `p1`, and for nobody else.
    fn grant(&self, person: &str) {
        self.gateway.wait_until_proofs_count();
        let mut claims = Signer::claims("pam", "aal2", 0);
        claims["groups"] = json!(["records-office"]);
        let dir = self.gateway.dir.path();
        std::fs::write(dir.join("office"), self.signer.sign(&claims)).expect("writable");
        let granted = Command::new(env!("CARGO_BIN_EXE_wardgate"))
            .args(["delegation", "grant", "--relation", "caregiver", "--person", person, "--patient", "p1"])
            .args(["--token-file".as_ref(), dir.join("office").as_os_str()])
            .args(["--socket".as_ref(), dir.join("operators.sock").as_os_str()])
            .output()
            .expect("it runs");
        assert!(granted.status.success(), "{granted:?}");
    }

    /// A token as a header value: of a patient, of somebody with a role, of a service.
    pub(super) fn bearer(&self, who: &str, scope: &str) -> String {
        let mut claims = Signer::claims(who, "aal1", 5);
        claims["scope"] = scope.into();
        if !who.starts_with('p') || who == "prescriber" {
            claims.as_object_mut().expect("claims").remove("patient_id");
            claims["groups"] = json!([who]);
        }
        if who.ends_with("-feed") {
            claims["iss"] = SERVICES.into();
            claims["client_id"] = who.into();
        }
        format!("Bearer {}", self.signer.sign(&claims))
    }

    /// Sends a line as the tables have it: `METHOD target`, and a form or JSON behind it.
    pub(super) fn send(&self, line: &str, bearer: &str) -> http::Answer {
        let forms = [
            (" form:", "application/x-www-form-urlencoded"),
            (" json:", "application/fhir+json"),
            (" patch:", "application/json-patch+json"),
        ];
        let split = forms.iter().find_map(|(mark, kind)| Some((line.split_once(mark)?, *kind)));
        let ((line, body), kind) = split.unwrap_or(((line, ""), ""));
        let (method, target) = line.split_once(' ').expect("a method");
        let mut headers = vec![("Authorization", bearer), ("Accept", "application/fhir+json")];
        headers.extend((!kind.is_empty()).then_some(("Content-Type", kind)));
        http::send(self.gateway.address, method, target, &headers, body.as_bytes()).expect("an answer")
    }
}

/// Whose records an answer shows.
fn owners(answer: &http::Answer) -> Vec<usize> {
    (1..=PATIENTS).filter(|patient| answer.body.contains(&mark(*patient))).collect()
}

pub(super) const TABLE: &[&str] = &[
    "GET /fhir/metadata",
    "GET /fhir/Patient/p1",
    "GET /fhir/Patient/p2",
    "GET /fhir/Patient/p1/_history",
    "GET /fhir/Patient?_id=p1",
    "GET /fhir/Patient",
    "GET /fhir/Observation/o1",
    "GET /fhir/Observation/o2",
    "GET /fhir/Observation/none",
    "GET /fhir/Observation/o1/_history",
    "GET /fhir/Encounter/e2/_history/1",
    "GET /fhir/Observation?patient=p1",
    "GET /fhir/Observation?patient=p1&unheard-of=x",
    "GET /fhir/Observation?patient=p1&_include=Observation:subject&_include=Observation:performer",
    "GET /fhir/Patient?_id=p1&_revinclude=Observation:performer",
    "GET /fhir/Observation?patient=p1&_has:Provenance:target:agent=x",
    "GET /fhir/Observation?subject=Patient/p1&category=laboratory&date=ge2026-01-01&date=le2026-12-31",
    // Not among the service's parameters.
    "GET /fhir/Encounter?patient=p1&participant=Practitioner/d1",
    "GET /fhir/Observation?patient=p2",
    "GET /fhir/Observation?code=x",
    "POST /fhir/Condition/_search form:patient=p1",
    "POST /fhir/Condition/_search form:patient=p2",
    "GET /fhir/Patient/p1/Observation",
    "GET /fhir/Patient/p2/Observation",
    "GET /fhir/Patient/p1/$everything",
    "GET /fhir/Patient/p2/$everything",
    "GET /fhir/Practitioner/d1",
    r#"POST /fhir json:{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p1"}},{"request":{"method":"GET","url":"Observation?patient=p1"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"GET","url":"Observation/o1"}},{"request":{"method":"GET","url":"Condition/c1"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p1"}},{"request":{"method":"GET","url":"Observation/o2"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"GET","url":"Patient/p1"}},{"request":{"method":"GET","url":"Patient/p2"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Observation/none"}}]}"#,
    r#"PUT /fhir/Observation/new json:{"resourceType":"Observation","id":"new","status":"final","code":{"text":"x"}}"#,
    r#"PUT /fhir/MedicationRequest/new json:{"resourceType":"MedicationRequest","id":"new","status":"draft","intent":"order","subject":{"reference":"Patient/p3"},"medicationCodeableConcept":{"text":"x"}}"#,
    r#"POST /fhir/Observation json:{"resourceType":"Observation","status":"final","code":{"text":"weight"},"subject":{"reference":"Patient/p1"}}"#,
    r#"POST /fhir/Observation json:{"resourceType":"Observation","status":"final","code":{"text":"weight"},"subject":{"reference":"Patient/p2"}}"#,
    r#"POST /fhir/Observation json:{"resourceType":"Observation","status":"final","code":{"text":"weight"}}"#,
    r#"POST /fhir/Condition json:{"resourceType":"Condition","subject":{"reference":"Patient/p1"}}"#,
    r#"POST /fhir/Patient json:{"resourceType":"Patient"}"#,
    r#"PUT /fhir/Patient/p1 json:{"resourceType":"Patient","id":"p1","name":[{"family":"record-of-p1."}]}"#,
    r#"PUT /fhir/Patient/p2 json:{"resourceType":"Patient","id":"p2","name":[{"family":"record-of-p2."}]}"#,
    r#"PATCH /fhir/Patient/p1 patch:[{"op":"add","path":"/active","value":true}]"#,
    r#"PATCH /fhir/Patient/p2 patch:[{"op":"add","path":"/active","value":true}]"#,
    r#"PUT /fhir/Observation/o2 json:{"resourceType":"Observation","id":"o2","status":"final","code":{"text":"record-of-p2."},"subject":{"reference":"Patient/p2"}}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"GET","url":"Patient/p1"}},{"resource":{"resourceType":"Observation","status":"final","code":{"text":"weight"},"subject":{"reference":"Patient/p1"}},"request":{"method":"POST","url":"Observation"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p2"}},{"resource":{"resourceType":"Observation","status":"final","code":{"text":"weight"},"subject":{"reference":"Patient/p2"}},"request":{"method":"POST","url":"Observation"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation","status":"final","code":{"text":"weight"},"subject":{"reference":"Patient/p1"}},"request":{"method":"POST","url":"Observation"}},{"resource":{"resourceType":"Observation","status":"final","code":{"text":"weight"},"subject":{"reference":"Patient/p2"}},"request":{"method":"POST","url":"Observation"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p1"}},{"request":{"method":"GET","url":"Observation?patient=p2"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Patient","id":"p1","name":[{"family":"record-of-p1."}]},"request":{"method":"PUT","url":"Patient/p1"}},{"request":{"method":"GET","url":"Observation?patient=p1"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p1"}},{"resource":{"resourceType":"MedicationRequest","status":"draft","intent":"order","subject":{"reference":"Patient/p1"},"medicationCodeableConcept":{"text":"x"}},"request":{"method":"POST","url":"MedicationRequest"}}]}"#,
    r#"POST /fhir json:{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"DELETE","url":"Observation/o1"}},{"request":{"method":"GET","url":"Patient/p1"}}]}"#,
    r#"DELETE /fhir/Condition/c2"#,
    r#"DELETE /fhir/Condition/c1"#,
    // Linked by staff, the record is no more one patient's alone.
    r#"PATCH /fhir/Patient/p1 patch:[{"op":"add","path":"/link","value":[{"other":{"reference":"Patient/p2"},"type":"seealso"}]}]"#,
    "GET /fhir/Patient/p1",
];

#[test]
fn each_sees_what_the_table_says() {
    let clinic = Clinic::open();
    let callers = [
        ("patient", clinic.bearer("p1", "patient/*.cruds")),
        // Acts for p1, and has no record here.
        ("caregiver", clinic.bearer("carer", "user/*.cruds")),
        // Acts for p1, and is p2.
        ("daughter", clinic.bearer("p2", "user/*.cruds")),
        ("observations", clinic.bearer("p1", "patient/Observation.rs")),
        ("nurse", clinic.bearer("nurse", "user/*.cruds")),
        ("prescriber", clinic.bearer("prescriber", "user/*.cruds")),
        ("service", clinic.bearer("lab-feed", "system/Observation.cruds")),
        ("unscoped", clinic.bearer("p1", "openid profile")),
    ];
    let mut table = String::new();
    for line in TABLE {
        let _ = writeln!(table, "{line}");
        for (name, bearer) in &callers {
            let answer = clinic.send(line, bearer);
            let seen = owners(&answer);
            let whose = match seen.as_slice() {
                [] => "nobody's record".to_owned(),
                [one] => format!("the record of p{one}"),
                many => format!("{} records", many.len()),
            };
            let _ = writeln!(table, "  {name:<13}{} {whose}", answer.status);
            if answer.status >= 400 {
                let kind = answer.header("content-type").unwrap_or_default();
                assert!(kind.starts_with("application/fhir+json"), "{line}: {answer:?}");
                assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{line}");
            }
        }
    }
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("fhir_server", table);
    });
}

/// What asks for `p2` in the entries of a Bundle.
const SMUGGLED: [&str; 24] = [
    "Patient/p2",
    "Observation/o2",
    "Observation/o2/_history",
    "Observation/o2/_history/1",
    "Observation",
    "Observation?patient=p2",
    "Observation?patient=p1,p2",
    "Observation?patient=p1&patient=p2",
    "Observation?patient=p1&unheard-of=p2",
    "Observation?%70atient=p2",
    "Observation?patient=p1&_include=Observation:subject",
    "Observation?subject:Patient._id=p2",
    "Observation?_id=o2",
    "Observation?_has:Patient:link:_id=p2",
    "Observation/_search?patient=p2",
    "Patient/p2/Observation",
    "Patient/p2/$everything",
    "Patient/p1/../p2",
    "Patient/p1/%2e%2e/p2",
    "/fhir/Patient/p2",
    "http://ehr.example/fhir/Patient/p2",
    "?_type=Observation",
    "_history",
    "",
];

/// Bundles of them, alone and in company.
pub(super) fn smuggling() -> Vec<String> {
    let own = json!({ "request": { "method": "GET", "url": "Patient/p1" } });
    let mut lines = Vec::new();
    for (kind, url) in ["batch", "transaction"].iter().flat_map(|kind| SMUGGLED.map(|url| (*kind, url))) {
        let of = |entries: &[&Value]| json!({ "resourceType": "Bundle", "type": kind, "entry": entries });
        for method in ["GET", "HEAD"] {
            let entry = json!({ "request": { "method": method, "url": url, "ifNoneMatch": "W/\"0\"" } });
            let named = json!({ "fullUrl": "urn:uuid:1", "request": { "method": method, "url": url } });
            let nested = json!({ "resource": of(&[&named]), "request": { "method": "POST", "url": "" } });
            let bundles = [of(&[&entry]), of(&[&own, &named]), of(&[&named, &own]), of(&[&own, &nested])];
            lines.extend(bundles.iter().map(|bundle| format!("POST /fhir json:{bundle}")));
        }
    }
    lines
}

/// Every line that is tried: what would show or change something of others at some server.
pub(super) fn evasions() -> Vec<String> {
    let known = include_str!("../../decisions/fhir_evasions.txt").lines();
    let known = known.filter(|line| !line.is_empty() && !line.starts_with('#'));
    known.chain(TABLE.iter().copied()).map(str::to_owned).chain(smuggling()).collect()
}

/// The server itself gives another's record for many of these.
#[test]
fn nothing_of_another_patient_reaches_a_patient() {
    let clinic = Clinic::open();
    let callers = [
        ("p1", "patient/*.cruds"),
        ("p1", "user/*.cruds"),
        ("p1", "patient/*.cruds user/*.cruds system/*.cruds"),
        ("carer", "user/*.cruds"),
        ("p2", "user/*.cruds"),
    ];
    for (who, scope) in callers {
        let bearer = clinic.bearer(who, scope);
        for line in evasions() {
            let seen = owners(&clinic.send(&line, &bearer));
            match who {
                // Their own or that of whom they act for, and never both at once.
                "p2" => assert!(matches!(seen.as_slice(), [] | [1 | 2]), "{who}, {scope}: {line}: {seen:?}"),
                _ => assert!(matches!(seen.as_slice(), [] | [1]), "{who}, {scope}: {line}: {seen:?}"),
            }
        }
    }
    for (who, scope) in [("p1", "patient/*.rs"), ("carer", "user/*.rs")] {
        let mine = clinic.send("GET /fhir/Observation?patient=p1", &clinic.bearer(who, scope));
        assert_eq!((mine.status, owners(&mine)), (200, vec![1]), "{who}");
    }
}
