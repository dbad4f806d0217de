//! What pages and proxies in front add: cross-origin requests, public routes, the client's address.

use std::io::Write as _;
use std::sync::Arc;

use serde_json::Value;

use super::{READ, setup};
use crate::support::upstream::Behaviour;
use crate::support::{Gateway, Recorder, Signer, http};

const PORTAL: &str = "https://portal.clinic.example";

fn with_cors(upstream: &Recorder) -> (Gateway, Signer) {
    let signer = Signer::new();
    let cors = format!(
        "cors: {{ origins: [\"{PORTAL}\"], headers: [authorization, content-type], max_age: 5m }}, match: {{ path: \"/patients/{{patient}}/results/**\""
    );
    let gateway = setup(upstream.address, &signer, |text| {
        text.replace(r#"match: { path: "/patients/{patient}/results/**""#, &cors)
    });
    (gateway.start(), signer)
}

fn preflight(gateway: &Gateway, origin: &str, method: &str, target: &str) -> http::Answer {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    http::send(gateway.address, "OPTIONS", target, &headers, b"").expect("an answer")
}

#[test]
fn a_preflight_is_answered_for_the_origins_of_the_route_only() {
    let upstream = Recorder::start();
    let (gateway, _) = with_cors(&upstream);
    let allowed = preflight(&gateway, PORTAL, "GET", READ);
    assert_eq!(allowed.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", PORTAL),
        ("access-control-allow-headers", "authorization, content-type"),
        ("access-control-max-age", "300"),
        ("vary", "Origin"),
    ] {
        assert_eq!(allowed.header(name), Some(value), "{name}");
    }
    assert!(allowed.header("access-control-allow-methods").is_some_and(|methods| methods.contains("GET")));
    let refused = [
        ("https://evil.example", "GET", READ),
        ("null", "GET", READ),
        ("https://portal.clinic.example.evil.example", "GET", READ),
        ("HTTPS://PORTAL.CLINIC.EXAMPLE", "GET", READ),
        (PORTAL, "DELETE", READ),
        (PORTAL, "POST", super::NOTES),
        (PORTAL, "GET", "/nowhere"),
    ];
    for (origin, method, target) in refused {
        let answer = preflight(&gateway, origin, method, target);
        assert!((400..500).contains(&answer.status), "{origin} {method} {target}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin} {method} {target}");
    }
    assert_eq!(upstream.count(), 0, "the upstream is not asked");
    assert_eq!(gateway.audit().iter().filter(|record| record["reason"] == "preflight_allowed").count(), 1);
}

#[test]
fn pages_of_those_origins_read_every_answer_and_others_none() {
    // The application has an opinion of its own, which does not count on a route whose origins are configured.
    let behaviour: Behaviour = Arc::new(|_, stream| {
        let own = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true";
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\n{own}\r\nContent-Length: 2\r\n\r\nok").as_bytes())
            .is_ok()
    });
    let upstream = Recorder::behaving(behaviour);
    let (gateway, signer) = with_cors(&upstream);
    let tokens = [
        (signer.bearer("p1", "aal1", 5), 200),
        (signer.bearer("p2", "aal1", 5), 403),
        ("Bearer x".to_owned(), 401),
    ];
    for (token, status) in tokens {
        for (origin, expected) in [(PORTAL, Some(PORTAL)), ("https://evil.example", None)] {
            let headers = [("Authorization", token.as_str()), ("Origin", origin)];
            let answer = http::send(gateway.address, "GET", READ, &headers, b"").expect("an answer");
            assert_eq!(answer.status, status);
            assert_eq!(
                answer.header("access-control-allow-origin"),
                expected,
                "{status} for {origin}: {answer:?}"
            );
            let named =
                answer.headers.iter().filter(|(name, _)| name == "access-control-allow-origin").count();
            assert!(named <= 1, "{answer:?}");
            assert!(answer.header("vary").is_some_and(|vary| vary.contains("Origin")), "{answer:?}");
        }
    }
}

#[test]
fn a_public_route_asks_nobody_and_tells_nobody() {
    let upstream = Recorder::start();
    let signer = Signer::new();
    let gateway = setup(upstream.address, &signer, |text| text).start();
    let own = signer.bearer("p1", "aal2", 5);
    let forged = [
        ("X-Remote-User", "patients:admin"),
        ("X-Wardgate-Assertion", "forged"),
        ("Forwarded", "for=1.2.3.4"),
    ];
    for token in [None, Some(own.as_str()), Some("Bearer rubbish")] {
        let mut headers = forged.to_vec();
        headers.extend(token.map(|token| ("Authorization", token)));
        assert_eq!(http::send(gateway.address, "GET", "/", &headers, b"").expect("an answer").status, 200);
    }
    for request in upstream.requests() {
        for name in ["x-remote-user", "x-wardgate-assertion", "forwarded", "authorization"] {
            assert!(request.values(name).is_empty(), "{name}: {request:?}");
        }
    }
    let records = gateway.audit();
    let public: Vec<_> = records.iter().filter(|record| record["reason"] == "public_route").collect();
    assert_eq!(public.len(), 3, "it is recorded like any other");
    assert!(public.iter().all(|record| record["subject"].is_null()));
}

#[test]
fn the_clients_address_is_believed_from_trusted_proxies_only() {
    let upstream = Recorder::start();
    let signer = Signer::new();
    let trusting = setup(upstream.address, &signer, |text| {
        text.replace(
            r#"address: "$LISTEN" }"#,
            r#"address: "$LISTEN", trusted_proxies: [127.0.0.1, 10.0.0.8] }"#,
        )
    });
    let (trusting, plain) = (trusting.start(), setup(upstream.address, &signer, |text| text).start());
    let token = signer.bearer("p1", "aal1", 5);
    let cases: [(&[&str], Option<&str>); 5] = [
        (&["203.0.113.9"], Some("203.0.113.9")),
        (&["6.6.6.6, 203.0.113.9"], Some("203.0.113.9")),
        (&["6.6.6.6", "203.0.113.9, 10.0.0.8"], Some("203.0.113.9")),
        (&["203.0.113.9, unknown"], None),
        (&[], None),
    ];
    let mut decisions = Vec::new();
    for (chain, expected) in cases {
        let mut headers =
            vec![("Authorization", token.as_str()), ("X-Forwarded-Proto", "https"), ("X-Real-IP", "6.6.6.6")];
        headers.extend(chain.iter().map(|value| ("X-Forwarded-For", *value)));
        for (gateway, expected, scheme) in
            [(&trusting, expected, "https"), (&plain, Some("127.0.0.1"), "http")]
        {
            let answer = http::send(gateway.address, "GET", READ, &headers, b"").expect("an answer");
            let request = upstream.requests().pop().expect("a request");
            assert_eq!(request.values("x-forwarded-for"), Vec::from_iter(expected), "{chain:?}");
            assert_eq!(request.values("x-forwarded-proto"), [scheme]);
            assert_eq!(request.values("x-forwarded-host"), ["portal.example"]);
            assert!(request.values("x-real-ip").is_empty());
            decisions.push(answer.decision().to_owned());
        }
    }
    let mut records = trusting.audit();
    records.extend(plain.audit());
    let pseudonym = |decision: &String| {
        let intent = records.iter().find(|record| record["decision"] == decision.as_str());
        intent.expect("a record")["address"].clone()
    };
    let pseudonyms: Vec<Value> = decisions.iter().map(pseudonym).collect();
    assert!(pseudonyms[0].as_str().is_some_and(|name| name.starts_with("a_")));
    assert_eq!(pseudonyms[0], pseudonyms[2], "one client, one pseudonym");
    assert_ne!(pseudonyms[0], pseudonyms[1]);
    assert!(pseudonyms[6].is_null(), "an address that can't be known is unknown");
}
