//! A FHIR server that answers a patient's every request with another's record, in every place where one could stand:
//! nothing of it reaches the patient.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::upstream::{Behaviour, Recorder};
use crate::support::{Gateway, Signer, eventually, http, tokens};

const ROUTES: &str = r#"
  - { id: fhir.read, match: { fhir: { service: ehr, interactions: [read, vread, history-instance, search-type, search-compartment, update, create] } },
      tier: low, any_of: [{ issuer: patients, patient: self }, { issuer: patients, roles: [nurse] }] }
  - { id: everything, match: { fhir: { service: ehr, types: [Patient], operations: ["$everything"] } }, tier: low,
      any_of: [{ issuer: patients, patient: self }] }
"#;

/// What stands in whatever is another's, and nowhere else.
const SECRET: &str = "record-of-p2";

/// The next answer, as bytes; pieces go out with a pause between them.
type Next = Arc<Mutex<Vec<Vec<u8>>>>;

struct Clinic {
    server: Recorder,
    next: Next,
    gateway: Gateway,
    patient: String,
    nurse: String,
}

impl Clinic {
    fn open() -> Self {
        Self::of_version("R4")
    }

    fn of_version(version: &str) -> Self {
        let next: Next = Arc::default();
        let said = Arc::clone(&next);
        let behaviour: Behaviour = Arc::new(move |_, stream: &mut TcpStream| {
            let pieces = said.lock().expect("whole").clone();
            let sent = pieces.iter().enumerate().all(|(at, piece)| {
                std::thread::sleep(Duration::from_millis(if at == 0 { 0 } else { 100 }));
                stream.write_all(piece).is_ok()
            });
            let _ = (sent, stream.flush(), stream.shutdown(std::net::Shutdown::Both));
            false
        });
        Self::before(version, behaviour, next)
    }

    fn before(version: &str, behaviour: Behaviour, next: Next) -> Self {
        let server = Recorder::behaving(behaviour);
        let ehr = "fhir_services:\n  - { name: ehr, base: /fhir, version: R4, upstream: app, max_reply_bytes: 64KiB, shared_types: [Practitioner],\n      search_params: { allow: [patient, _include, _revinclude, _summary] } }\nroutes:";
        let signer = Signer::new();
        let ehr = ehr.replace("version: R4", &format!("version: {version}"));
        let text = tokens::config(server.address, ROUTES).replace("routes:", &ehr);
        let gateway = Gateway::start(&text, |dir| {
            std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable")
        });
        let bearer = |who: &str, scope: &str| {
            let mut claims = Signer::claims(who, "aal1", 5);
            claims["scope"] = scope.into();
            if who == "nurse" {
                claims.as_object_mut().expect("claims").remove("patient_id");
                claims["groups"] = json!([who]);
            }
            format!("Bearer {}", signer.sign(&claims))
        };
        let (patient, nurse) = (bearer("p1", "patient/*.cruds"), bearer("nurse", "user/*.cruds"));
        Self { server, next, gateway, patient, nurse }
    }

    fn answers(&self, pieces: Vec<Vec<u8>>) {
        *self.next.lock().expect("whole") = pieces;
    }

    fn send(&self, bearer: &str, method: &str, target: &str) -> http::Answer {
        let headers = [
            ("Authorization", bearer),
            ("Accept", "application/fhir+xml"),
            ("Accept-Encoding", "gzip"),
            ("If-None-Match", "W/\"1\""),
            ("Prefer", "handling=lenient"),
        ];
        http::send(self.gateway.address, method, target, &headers, b"").expect("an answer")
    }

    fn write(&self, method: &str, target: &str) -> u16 {
        let headers = [("Authorization", &*self.nurse), ("Content-Type", "application/fhir+json")];
        let body = of("p1").to_string();
        http::send(self.gateway.address, method, target, &headers, body.as_bytes()).expect("an answer").status
    }

    fn get(&self, target: &str) -> http::Answer {
        self.send(&self.patient, "GET", target)
    }
}

/// Answers the first request of a connection as if it would keep it, and closes it at the second, unanswered.
fn keeps_no_connection() -> Behaviour {
    let seen = Mutex::new(HashSet::new());
    Arc::new(move |request, stream: &mut TcpStream| {
        let is_new = seen.lock().expect("whole").insert(stream.peer_addr().expect("an address"));
        let status = if request.line.starts_with("POST") { "201 Created" } else { "200 OK" };
        is_new && stream.write_all(&raw(status, JSON, of("p1").to_string().as_bytes())).is_ok()
    })
}

fn raw(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

const JSON: &str = "Content-Type: application/fhir+json\r\n";

fn answer(resource: &Value) -> Vec<u8> {
    raw("200 OK", JSON, resource.to_string().as_bytes())
}

fn of(patient: &str) -> Value {
    json!({ "resourceType": "Observation", "id": "o1", "status": "final", "code": { "text": format!("record-of-{patient}") },
        "subject": { "reference": format!("Patient/{patient}") } })
}

fn bundle(entries: &[Value]) -> Value {
    let entries: Vec<Value> = entries.iter().map(|resource| json!({ "resource": resource })).collect();
    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })
}

/// Another's record in every place and every wrapping, each as a whole answer.
fn hiding_places() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let (own, other) = (of("p1"), of("p2"));
    let with = |name: &str, value: Value| {
        let mut resource = own.clone();
        resource[name] = value;
        resource
    };
    let text = own.to_string();
    let twice =
        text.replacen("\"id\"", &format!("\"note\":[{{\"text\":\"{SECRET}\"}}],\"note\":[],\"id\""), 1);
    let reference =
        json!([{ "url": "x", "valueReference": { "reference": "Patient/p2", "display": SECRET } }]);
    let plain = other.to_string();
    let chunked = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
        .into_bytes()
    };
    let long = with("note", json!([{ "text": format!("{SECRET}{}", "x".repeat(80 * 1024)) }])).to_string();
    let one = |bytes: Vec<u8>| vec![bytes];
    vec![
        ("plain", one(answer(&other))),
        ("an entry", one(answer(&bundle(&[own.clone(), other.clone()])))),
        ("a nested Bundle", one(answer(&bundle(&[own.clone(), bundle(std::slice::from_ref(&other))])))),
        ("contained", one(answer(&with("contained", json!([other]))))),
        (
            "a contained patient",
            one(answer(&with(
                "contained",
                json!([{ "resourceType": "Patient", "id": "p1", "name": [{ "text": SECRET }] }]),
            ))),
        ),
        (
            "Parameters",
            one(answer(
                &json!({ "resourceType": "Parameters", "parameter": [{ "name": "x", "resource": other }] }),
            )),
        ),
        (
            "a value of Parameters",
            one(answer(
                &json!({ "resourceType": "Parameters", "parameter": [{ "name": "x", "valueString": SECRET }] }),
            )),
        ),
        (
            "an outcome",
            one(answer(
                &json!({ "resourceType": "Bundle", "type": "batch-response", "entry": [{ "response": { "status": "200", "outcome": other } }] }),
            )),
        ),
        ("an extension", one(answer(&with("extension", reference)))),
        (
            "an extension's resource",
            one(answer(&with("extension", json!([{ "url": "x", "resource": other }])))),
        ),
        (
            "no type",
            one(answer(&json!({ "id": "o1", "note": SECRET, "subject": { "reference": "Patient/p1" } }))),
        ),
        ("an unknown type", one(answer(&json!({ "resourceType": "Secret", "id": "o1", "note": SECRET })))),
        ("a list", one(answer(&json!([other])))),
        ("a Binary", one(answer(&json!({ "resourceType": "Binary", "id": "o1", "data": SECRET })))),
        (
            "a type that is not shared",
            one(answer(&json!({ "resourceType": "Medication", "id": "o1", "code": { "text": SECRET } }))),
        ),
        (
            "a member of a Bundle",
            one(answer(&json!({ "resourceType": "Bundle", "type": "searchset", "note": SECRET }))),
        ),
        (
            "a link of a Bundle",
            one(answer(
                &json!({ "resourceType": "Bundle", "type": "searchset", "link": [{ "relation": "next", "url": format!("https://other.example/{SECRET}") }] }),
            )),
        ),
        ("a member twice", one(raw("200 OK", JSON, twice.as_bytes()))),
        ("trailing bytes", one(raw("200 OK", JSON, format!("{text}{plain}").as_bytes()))),
        ("a byte order mark", one(raw("200 OK", JSON, format!("\u{feff}{plain}").as_bytes()))),
        ("gzip by name", one(raw("200 OK", &format!("{JSON}Content-Encoding: gzip\r\n"), plain.as_bytes()))),
        (
            "an own record by the name of gzip",
            one(raw("200 OK", &format!("{JSON}Content-Encoding: gzip\r\nX: {SECRET}\r\n"), text.as_bytes())),
        ),
        (
            "XML",
            one(raw(
                "200 OK",
                "Content-Type: application/fhir+xml\r\n",
                format!("<Observation>{SECRET}</Observation>").as_bytes(),
            )),
        ),
        (
            "another type",
            one(raw(
                "200 OK",
                "Content-Type: text/html\r\n",
                text.replace("record-of-p1", SECRET).as_bytes(),
            )),
        ),
        (
            "two types",
            one(raw(
                "200 OK",
                &format!("{JSON}Content-Type: text/html\r\n"),
                text.replace("record-of-p1", SECRET).as_bytes(),
            )),
        ),
        ("no media type", one(raw("200 OK", "", text.replace("record-of-p1", SECRET).as_bytes()))),
        (
            "another charset",
            one(raw(
                "200 OK",
                "Content-Type: application/fhir+json; charset=utf-7\r\n",
                text.replace("record-of-p1", SECRET).as_bytes(),
            )),
        ),
        (
            "multipart",
            one(raw(
                "200 OK",
                "Content-Type: multipart/mixed; boundary=x\r\n",
                format!("--x\r\n\r\n{plain}\r\n--x--").as_bytes(),
            )),
        ),
        ("longer than allowed", one(raw("200 OK", JSON, long.as_bytes()))),
        ("longer than allowed in chunks", one(chunked(&long))),
        ("chunks", one(chunked(&plain))),
        ("cut off", one(raw("200 OK", JSON, plain.as_bytes())[..120].to_vec())),
        ("in pieces", raw("200 OK", JSON, plain.as_bytes()).chunks(40).map(<[u8]>::to_vec).collect()),
        ("an error", one(raw("400 Bad Request", JSON, plain.as_bytes()))),
        ("a failure", one(raw("500 Internal Server Error", JSON, plain.as_bytes()))),
        ("not found", one(raw("404 Not Found", JSON, plain.as_bytes()))),
        ("gone", one(raw("410 Gone", JSON, plain.as_bytes()))),
        ("accepted", one(raw("202 Accepted", JSON, plain.as_bytes()))),
        ("a part", one(raw("206 Partial Content", JSON, plain.as_bytes()))),
        ("an odd status", one(raw("299 Fine", JSON, plain.as_bytes()))),
        ("elsewhere", one(raw("302 Found", &format!("Location: https://other.example/{SECRET}\r\n"), b""))),
        (
            "not modified",
            one(format!("HTTP/1.1 304 Not Modified\r\nETag: \"{SECRET}\"\r\n\r\n").into_bytes()),
        ),
        (
            "a location",
            one(raw(
                "200 OK",
                &format!("{JSON}Content-Location: https://other.example/{SECRET}\r\n"),
                text.as_bytes(),
            )),
        ),
        (
            "an early hint",
            one([
                format!("HTTP/1.1 103 Early Hints\r\nLink: </{SECRET}>\r\n\r\n").into_bytes(),
                answer(&other),
            ]
            .concat()),
        ),
    ]
}

/// Requests that name the patient, and such that do not.
const REQUESTS: [&str; 9] = [
    "/fhir/Observation/o1",
    "/fhir/Observation/o1/_history/1",
    "/fhir/Observation/o1/_history",
    "/fhir/Observation?patient=p1",
    "/fhir/Observation?patient=p1&_include=Observation:performer",
    "/fhir/Observation?patient=p1&_revinclude=Provenance:target",
    "/fhir/Patient/p1",
    "/fhir/Patient/p1/Observation",
    "/fhir/Patient/p1/$everything",
];

#[test]
fn nothing_of_anothers_reaches_a_patient_in_any_wrapping() {
    let clinic = Clinic::open();
    for (name, pieces) in hiding_places() {
        clinic.answers(pieces);
        for target in REQUESTS {
            let seen = clinic.get(target);
            let all = format!("{seen:?}");
            assert!(!all.contains(SECRET) && seen.status >= 400, "{name}, {target}: {all}");
            // One that broke off is any upstream's fault.
            let kind = seen.header("content-type");
            assert!(kind == Some("application/fhir+json") || name == "cut off", "{name}, {target}: {all}");
        }
    }
}

#[test]
fn ones_own_record_comes_as_the_server_wrote_it() {
    let clinic = Clinic::open();
    // Spelled as no serialiser of ours would.
    let odd = br#"{ "resourceType":"Observation",  "id":"o1", "valueQuantity":{"value":1.50},"subject":{"reference":"Patient\/p1"} }"#;
    clinic.answers(vec![raw(
        "200 OK",
        &format!("{JSON}ETag: W/\"7\"\r\nX-Whose: {SECRET}\r\nSet-Cookie: a={SECRET}\r\n"),
        odd,
    )]);
    let seen = clinic.get("/fhir/Observation/o1");
    assert_eq!((seen.status, seen.body.as_bytes(), seen.header("etag")), (200, &odd[..], Some("W/\"7\"")));
    assert!(!format!("{seen:?}").contains(SECRET), "headers that nobody looks through stay behind");
    let head = clinic.send(&clinic.patient, "HEAD", "/fhir/Observation/o1");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let asked = clinic.server.requests();
    for request in &asked {
        assert!(request.line.starts_with("GET "), "{}", request.line);
        assert_eq!(request.values("accept"), ["application/fhir+json"]);
        assert_eq!(request.values("accept-encoding"), ["identity"]);
        assert!(request.values("if-none-match").is_empty() && request.values("prefer").is_empty());
    }
    let paged = |url: String| {
        let mut page = bundle(&[of("p1"), json!({ "resourceType": "Practitioner", "id": "1" })]);
        page["total"] = 40.into();
        page["link"] = json!([{ "relation": "next", "url": url }]);
        clinic.answers(vec![answer(&page)]);
        clinic.get("/fhir/Observation?patient=p1").status
    };
    assert_eq!(paged(format!("http://{}/fhir/Observation?patient=p1&_offset=1", clinic.server.address)), 200);
    assert_eq!(paged("https://other.example/fhir/Observation?patient=p1".to_owned()), 502);
    let searched = clinic.server.requests();
    assert_eq!(searched.last().expect("a request").values("prefer"), ["handling=strict"]);
}

/// In R5 some types are others, and say elsewhere whose they are.
#[test]
fn the_compartment_of_r5_is_its_own() {
    let clinic = Clinic::of_version("R5");
    let own = json!({ "reference": "Patient/p1" });
    let other = json!({ "reference": "Patient/p2", "display": SECRET });
    let ordered = |by: &Value| json!({ "resourceType": "DeviceRequest", "id": "x", "subject": own, "performer": { "reference": by } });
    let made =
        |kind: &str, member: &str, whose: &Value| json!({ "resourceType": kind, "id": "x", member: whose });
    for (resource, status) in [
        (made("DeviceUsage", "patient", &own), 200),
        (made("DeviceUsage", "patient", &other), 404),
        (made("Consent", "subject", &own), 200),
        (made("Consent", "subject", &other), 404),
        (made("Consent", "patient", &own), 404),
        (ordered(&json!({ "reference": "Practitioner/1" })), 200),
        (ordered(&other), 404),
    ] {
        clinic.answers(vec![answer(&resource)]);
        let kind = resource["resourceType"].as_str().expect("a type");
        let seen = clinic.get(&format!("/fhir/{kind}/x"));
        assert!(seen.status == status && !format!("{seen:?}").contains(SECRET), "{resource}: {seen:?}");
    }
    clinic.answers(vec![answer(&bundle(&[made("DeviceUsage", "patient", &own)]))]);
    assert_eq!(clinic.get("/fhir/DeviceUsage?patient=p1").status, 200);
    assert_eq!(clinic.get("/fhir/DeviceUsage?patient=p2").status, 403);
    clinic.answers(vec![answer(&bundle(&[made("DeviceUsage", "patient", &other)]))]);
    assert_ne!(clinic.get("/fhir/DeviceUsage?patient=p1").status, 200);
    // R4 had these.
    assert_eq!(clinic.get("/fhir/DeviceUseStatement?patient=p1").status, 400);
}

#[test]
fn a_kept_connection_that_the_server_closed_costs_only_what_must_not_be_sent_twice() {
    let clinic = Clinic::before("R4", keeps_no_connection(), Next::default());
    let resent = || clinic.gateway.metric(r#"wardgate_upstream_retries_total{kind="resend",upstream="app"}"#);
    let read = || clinic.get("/fhir/Observation/o1").status;
    assert_eq!((read(), resent()), (200, 0.0));
    assert_eq!((read(), resent()), (200, 1.0));
    for (method, target, status) in [("PUT", "/fhir/Observation/o1", 200), ("POST", "/fhir/Observation", 201)]
    {
        let before = clinic.server.count();
        assert_eq!((clinic.write(method, target), resent()), (502, 1.0));
        assert_eq!(clinic.server.count(), before + 1, "what may have been done is not done twice");
        assert_eq!(clinic.write(method, target), status);
    }
}

#[test]
fn an_id_of_anothers_looks_like_one_that_is_not_there() {
    let clinic = Clinic::open();
    let mut seen = Vec::new();
    for pieces in [
        vec![answer(&of("p2"))],
        vec![raw("404 Not Found", JSON, b"{}")],
        vec![raw("410 Gone", JSON, b"{}")],
        vec![raw("403 Forbidden", "", b"")],
        vec![raw("204 No Content", "", b"")],
        vec![answer(&bundle(&[]))],
    ] {
        clinic.answers(pieces);
        for method in ["GET", "HEAD"] {
            let one = clinic.send(&clinic.patient, method, "/fhir/Observation/o1");
            let id = one.header("x-wardgate-decision").expect("an id").to_owned();
            let kept = |name: &str| !matches!(name, "date" | "x-wardgate-decision" | "content-length");
            let headers: Vec<_> =
                one.headers.iter().filter(|(name, _)| kept(&name.to_lowercase())).cloned().collect();
            seen.push((method, one.status, headers, one.body.replace(&id, "ID")));
        }
    }
    for (method, status, headers, body) in &seen {
        let first = seen.iter().find(|(known, ..)| known == method).expect("one");
        assert_eq!((*status, headers, body), (404, &first.2, &first.3), "{method}");
    }
}

#[test]
fn what_came_of_it_is_recorded_and_counted() {
    let clinic = Clinic::open();
    for (body, reason) in
        [(of("p2").to_string(), "fhir_reply_foreign"), (of("p1").to_string() + "x", "fhir_reply_unchecked")]
    {
        clinic.answers(vec![raw("200 OK", JSON, body.as_bytes())]);
        let answer = clinic.get("/fhir/Observation/o1");
        let outcome = || {
            let of_it =
                |record: &Value| record["event"] == "outcome" && record["decision"] == *answer.decision();
            clinic.gateway.audit().into_iter().find(of_it)
        };
        eventually("the outcome is recorded", Duration::from_secs(20), || outcome().is_some());
        let record = outcome().expect("a record");
        assert_eq!((&record["result"], &record["reason"]), (&json!("not_completed"), &json!(reason)));
    }
    for (result, count) in [("foreign", 1.0), ("unreadable", 1.0)] {
        let name = format!("wardgate_fhir_replies_total{{result=\"{result}\",service=\"ehr\"}}");
        assert!((clinic.gateway.metric(&name) - count).abs() < 0.1, "{name}");
    }
    // Who is confined to nobody gets what the server says.
    clinic.answers(vec![answer(&of("p2"))]);
    let seen = clinic.send(&clinic.nurse, "GET", "/fhir/Observation/o1");
    assert!(seen.status == 200 && seen.body.contains(SECRET));
}
