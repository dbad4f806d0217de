//! `Proxy-Status` (RFC 9209): which answers are the gateway's, and what failed, without a word on what stands behind.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Gateway, Recorder, Setup, Signer, free_address, http, tokens};

const ROUTES: &str = r#"
  - { id: home, match: { path: "/**", methods: [GET] }, upstream: app, access: public }
  - { id: read, match: { path: "/read", methods: [GET] }, upstream: app, tier: low, any_of: [{ issuer: patients }] }
  - { id: pay, match: { path: "/pay", methods: [POST] }, upstream: app, tier: low, any_of: [{ issuer: patients }],
      refine: [{ when: "body.amount > 100", tier: high }] }
"#;

fn setup(upstream: &str, more: &str) -> (Setup, Signer) {
    let signer = Signer::new();
    let text = tokens::config(SocketAddr::from(([127, 0, 0, 1], 9)), ROUTES)
        .replace("127.0.0.1:9\"", &format!("{upstream}\""));
    let text = text.replace("read: 5s", "read: 1s").replace("audit:", &format!("{more}audit:"));
    let keys = signer.jwks().to_owned();
    (Setup::new(&text, move |dir| std::fs::write(dir.join("jwks.json"), keys).expect("writable")), signer)
}

fn status(answer: &http::Answer) -> Option<&str> {
    answer.header("proxy-status")
}

/// The answers to a streamed and to a buffered request, which take different ways upstream.
fn both(gateway: &Gateway, signer: &Signer) -> [http::Answer; 2] {
    let token = signer.bearer("p1", "aal1", 0);
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    [
        http::get(gateway.address, "/x").expect("an answer"),
        http::send(gateway.address, "POST", "/pay", &headers, br#"{"amount":5}"#).expect("an answer"),
    ]
}

fn assert_fault(upstream: &str, error: &str) {
    let (setup, signer) = setup(upstream, "proxy_status: { name: edge }\n");
    let gateway = setup.start();
    for answer in both(&gateway, &signer) {
        assert!(matches!(answer.status, 502 | 504), "{error}: {answer:?}");
        assert_eq!(status(&answer), Some(format!("edge; error={error}").as_str()));
        let told = format!("{answer:?}");
        let port = upstream.rsplit(':').next().expect("a port");
        assert!(!told.contains(port) && !told.to_lowercase().contains("wardgate/"), "{told}");
    }
}

#[test]
fn answers_of_the_gateway_are_marked_and_those_of_the_application_are_not() {
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nProxy-Status: squid7.ward3.internal; error=dns_error\r\n\r\nok";
        stream.write_all(answer).is_ok()
    }));
    let (setup, signer) = setup(&upstream.address.to_string(), "");
    let gateway = setup.start();
    for answer in both(&gateway, &signer) {
        assert_eq!((answer.status, status(&answer)), (200, None), "what stands behind is not told");
    }
    for (method, target, code, error) in [
        ("GET", "/read", 401, "http_request_denied"),
        ("POST", "/read", 405, "http_request_denied"),
        ("DELETE", "/pay", 405, "http_request_denied"),
        ("GET", "/a/../b", 400, "http_request_error"),
        ("OPTIONS", "*", 204, "proxy_internal_response"),
    ] {
        let answer = http::send(gateway.address, method, target, &[], b"").expect("an answer");
        assert_eq!(answer.status, code, "{method} {target}");
        assert_eq!(status(&answer), Some(format!("gateway; error={error}").as_str()), "{method} {target}");
    }
}

#[test]
fn what_upstreams_say_is_passed_on_only_where_that_is_wanted() {
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nProxy-Status: inner\r\n\r\n").is_ok()
    }));
    let (setup, signer) = setup(&upstream.address.to_string(), "proxy_status: { from_upstream: pass }\n");
    for answer in both(&setup.start(), &signer) {
        assert_eq!(status(&answer), Some("inner"));
    }
}

#[test]
fn an_upstream_that_is_not_there() {
    assert_fault(&free_address().to_string(), "connection_refused");
    // Five digits, as above: two are in every third decision id.
    assert_fault("nowhere.invalid:58181", "dns_error");
}

#[test]
fn an_upstream_that_breaks_off() {
    for (sent, error) in [
        (&b""[..], "connection_terminated"),
        (b"HTTP/1.1 200 OK\r\nContent-", "http_response_incomplete"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "http_protocol_error"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "http_protocol_error",
        ),
    ] {
        let upstream = Recorder::behaving(Arc::new(move |_, stream| {
            let _ = stream.write_all(sent);
            let _ = stream.shutdown(Shutdown::Both);
            false
        }));
        assert_fault(&upstream.address.to_string(), error);
    }
}

#[test]
fn an_upstream_that_is_silent() {
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        // Until the gateway gives up, which closes the connection.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let _ = std::io::Read::read(stream, &mut [0]);
        false
    }));
    assert_fault(&upstream.address.to_string(), "connection_read_timeout");
}
