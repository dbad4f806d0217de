//! What is missing yields a clear answer, never a byte from an upstream that should not have been asked.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{EXPORT, JSON, NOTES, PAY, PROFILE, READ, proofs, setup};
use crate::support::upstream::{Behaviour, Recorded};
use crate::support::{Connection, Gateway, Recorder, Signer, free_address, http, wire};

/// Requests in each tier and on each way: without a body, streamed, read first, single use.
const REQUESTS: [(&str, &str, &str); 6] = [
    ("GET", READ, ""),
    ("POST", NOTES, "text"),
    ("POST", PAY, r#"{"amount":5}"#),
    ("PUT", PROFILE, r#"{"language":"es"}"#),
    ("PUT", PROFILE, r#"{"address":"x"}"#),
    ("PUT", EXPORT, "{}"),
];

/// Makes each request with a proof of its own, on a connection of its own.
fn ask_all(gateway: &Gateway, signer: &Signer) -> Vec<http::Answer> {
    let proofs = proofs(gateway, signer, REQUESTS.len());
    let asked = REQUESTS.iter().zip(&proofs).map(|((method, target, body), token)| {
        http::send(gateway.address, method, target, &[("Authorization", token), JSON], body.as_bytes())
            .expect("an answer")
    });
    asked.collect()
}

fn outcome(records: &[Value], decision: &str) -> String {
    let of_decision = |record: &&Value| record["decision"] == decision && record["event"] == "outcome";
    records
        .iter()
        .find(of_decision)
        .map_or("none".to_owned(), |record| record["result"].as_str().unwrap_or("?").to_owned())
}

/// Fails unless every request gets this status and problem, and its record this outcome.
fn assert_all(gateway: &Gateway, signer: &Signer, status: u16, problem: &str, result: &str) {
    let answers = ask_all(gateway, signer);
    let records = gateway.audit();
    for (answer, request) in answers.iter().zip(REQUESTS) {
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/problem+json")),
            "{request:?}"
        );
        assert_eq!(answer.json()["type"], format!("urn:wardgate:problem:{problem}"), "{request:?}");
        assert_eq!(outcome(&records, answer.decision()), result, "{request:?}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{request:?}");
    }
}

fn behaving(behaviour: impl Fn(&Recorded, &mut TcpStream) -> bool + Send + Sync + 'static) -> Recorder {
    let behaviour: Behaviour = Arc::new(behaviour);
    Recorder::behaving(behaviour)
}

fn impatient(upstream: SocketAddr) -> (Gateway, Signer) {
    let signer = Signer::new();
    (setup(upstream, &signer, |text| text.replace("read: 5s", "read: 700ms")).start(), signer)
}

#[test]
fn without_the_issuers_keys_nothing_passes() {
    let (upstream, signer, nobody) = (Recorder::start(), Signer::new(), free_address());
    let gateway = setup(upstream.address, &signer, |text| {
        let text = text.replace("file: jwks.json", &format!(r#"url: "http://{nobody}/keys""#));
        text.replace("upstreams:", "insecure: { plain_http_issuers: [patients] }\nupstreams:")
    });
    let gateway = gateway.start_unready();
    assert_all(&gateway, &signer, 503, "unavailable", "none");
    assert_eq!(upstream.count(), 0);
    assert_eq!(
        http::get(gateway.address, "/").expect("an answer").status,
        200,
        "a public route needs no issuer"
    );
}

#[test]
fn without_the_issuers_answer_nothing_passes() {
    let (upstream, signer, nobody) = (Recorder::start(), Signer::new(), free_address());
    let gateway = setup(upstream.address, &signer, |text| {
        let asked = format!(
            r#"introspection: {{ endpoint: "http://{nobody}/ask", client_id: gw, client_secret_file: jwks.json }}"#
        );
        let text = text.replace("jwks: { file: jwks.json }", &asked).replace("    algorithms: [ES256]\n", "");
        text.replace("upstreams:", "insecure: { plain_http_issuers: [patients] }\nupstreams:")
    });
    let gateway = gateway.start_unready();
    assert_all(&gateway, &signer, 503, "unavailable", "none");
    let opaque = http::send(gateway.address, "GET", READ, &[("Authorization", "Bearer opaque")], b"")
        .expect("an answer");
    assert_eq!(opaque.status, 503);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_upstream_that_is_not_there_was_sent_nothing() {
    let (gateway, signer) = impatient(free_address());
    assert_all(&gateway, &signer, 502, "upstream_unreachable", "upstream_unreachable");
    assert_eq!(gateway.metric(r#"wardgate_upstream_failures_total{kind="unreachable""#), 6.0);
}

#[test]
fn an_upstream_that_hangs_may_have_acted() {
    let upstream = behaving(|_, _| {
        std::thread::sleep(Duration::from_secs(3));
        false
    });
    let (gateway, signer) = impatient(upstream.address);
    assert_all(&gateway, &signer, 504, "upstream_timeout", "unknown");
    assert_eq!(upstream.count(), 6, "each was sent once");
    assert_eq!(gateway.metric(r#"wardgate_upstream_failures_total{kind="timeout""#), 6.0);
}

#[test]
fn a_proof_is_spent_though_the_upstream_failed() {
    for upstream in [behaving(|_, _| false).address, free_address()] {
        let (gateway, signer) = impatient(upstream);
        let proof = proofs(&gateway, &signer, 1).remove(0);
        for target in [EXPORT, PROFILE] {
            let ask = || {
                let headers = [("Authorization", proof.as_str()), JSON];
                http::send(gateway.address, "PUT", target, &headers, br#"{"address":"x"}"#)
                    .expect("an answer")
            };
            let answer = ask();
            match target {
                EXPORT => assert_eq!(answer.status, 502),
                _ => assert_eq!(answer.json()["reason"], "proof_already_spent"),
            }
            assert_eq!(ask().json()["reason"], "proof_already_spent");
        }
    }
}

#[test]
fn an_upstream_that_cuts_the_connection_may_have_acted() {
    let upstream = behaving(|_, _| false);
    let (gateway, signer) = impatient(upstream.address);
    assert_all(&gateway, &signer, 502, "upstream_broken", "unknown");
    assert_eq!(upstream.count(), 6, "each was sent once");
}

#[test]
fn an_answer_that_is_no_http_is_not_passed_on() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nsecret",
    ] {
        let upstream = behaving(move |_, stream| {
            let _ = stream.write_all(garbage.as_bytes());
            false
        });
        let (gateway, signer) = impatient(upstream.address);
        for answer in ask_all(&gateway, &signer) {
            assert_eq!(
                (answer.status, answer.body.contains("secret")),
                (502, false),
                "{garbage:?}: {answer:?}"
            );
        }
        assert_eq!(upstream.count(), 6, "each was sent once");
    }
}

#[test]
fn an_answer_that_breaks_off_is_seen_to_be_broken() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    for framing in [
        "Content-Length: 100\r\n\r\nbegin",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
        "Transfer-Encoding: chunked\r\n\r\nff\r\nbegin",
    ] {
        let bytes = format!("{head}{framing}");
        let upstream = behaving(move |_, stream| {
            let _ = stream.write_all(bytes.as_bytes());
            std::thread::sleep(Duration::from_millis(100));
            false
        });
        let (gateway, signer) = impatient(upstream.address);
        let mut decisions = Vec::new();
        let proofs = proofs(&gateway, &signer, REQUESTS.len());
        for ((method, target, body), token) in REQUESTS.iter().zip(&proofs) {
            let mut connection = Connection::open(gateway.address).expect("a connection");
            let mut request = wire::head(method, target, &[("Authorization", token), JSON], Some(body.len()));
            request.push_str(body);
            connection.stream.write_all(request.as_bytes()).expect("sent");
            let answer = connection.answer_head().expect("a head");
            let mut got = Vec::new();
            let end = connection.body(&answer, |bytes| got.extend_from_slice(bytes));
            assert!(
                end.is_err(),
                "{framing:?} {target}: the client takes {:?} for whole",
                String::from_utf8_lossy(&got)
            );
            decisions.push(answer.header("x-wardgate-decision").expect("a decision").to_owned());
        }
        let records = gateway.audit();
        for (decision, request) in decisions.iter().zip(REQUESTS) {
            assert_eq!(outcome(&records, decision), "unknown", "{framing:?} {request:?}");
        }
        assert_eq!(upstream.count(), 6, "each was sent once");
    }
}
