//! TLS towards the upstreams: who is believed, whom the gateway says it is, and that nobody's connection serves another.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backends::{Authority, Certificate, Encrypted, ROUTES, ask, ask_for_websocket, setup};
use crate::support::{Gateway, Signer, eventually, http};

const LIMIT: Duration = Duration::from_secs(20);

fn write(dir: &Path, name: &str, text: &str) {
    // Renamed into place, as certificate managers do: nobody reads half a file.
    let beside = dir.join(format!("{name}.new"));
    std::fs::write(&beside, text).expect("writable");
    std::fs::rename(beside, dir.join(name)).expect("renamed");
}

fn write_identity(dir: &Path, name: &str, certificate: &Certificate) {
    write(dir, &format!("{name}.crt"), &certificate.chain);
    write(dir, &format!("{name}.key"), &certificate.key);
}

fn start(upstreams: &str, files: &[(&str, &str)]) -> Gateway {
    setup(upstreams, ROUTES, &Signer::new(), |dir| {
        for (name, text) in files {
            write(dir, name, text);
        }
    })
    .start()
}

#[test]
fn only_the_right_name_from_the_right_authority_now_is_served() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let cases = [
        (own.sign(&["127.0.0.1"], false), "", 200),
        (own.sign(&["ehr.example"], false), "", 502),
        (own.sign(&["ehr.example"], false), ", server_name: ehr.example", 200),
        (own.sign(&["ehr.example"], false), ", verify: authority_only", 200),
        (own.sign(&["127.0.0.1"], true), "", 502),
        (own.sign(&["127.0.0.1"], true), ", verify: authority_only", 502),
        (other.sign(&["127.0.0.1"], false), "", 502),
        (other.sign(&["127.0.0.1"], false), ", verify: authority_only", 502),
    ];
    let servers: Vec<Encrypted> =
        cases.iter().map(|(certificate, ..)| Encrypted::start("a", certificate, None, false)).collect();
    let (mut upstreams, mut routes) = (String::new(), String::new());
    for (number, ((_, more, _), server)) in cases.iter().zip(&servers).enumerate() {
        let address = server.address;
        upstreams.push_str(&format!(
            "  u{number}: {{ endpoints: [\"{address}\"], tls: {{ ca_file: own.pem{more} }} }}\n"
        ));
        routes.push_str(&format!("  - {{ id: r{number}, match: {{ path: /{number}, methods: [GET, POST] }}, upstream: u{number}, access: public }}\n"));
    }
    let gateway = setup(&upstreams, &routes, &Signer::new(), |dir| write(dir, "own.pem", own.pem())).start();
    for (number, (_, more, status)) in cases.iter().enumerate() {
        for (method, body) in [("GET", ""), ("POST", "text")] {
            let answer = ask(&gateway, method, &format!("/{number}"), body);
            assert_eq!(answer.status, *status, "{number} {more} {method}: {answer:?}");
        }
        let served = servers[number].served.load(Ordering::SeqCst);
        assert_eq!(served, if *status == 200 { 2 } else { 0 }, "{number}");
    }
    assert!(gateway.logs().iter().any(|line| line.contains("may show a certificate with any name")));
    assert!(!gateway.logs().iter().any(|line| line.contains("BEGIN")));
}

#[test]
fn what_is_signed_by_nobody_known_is_refused() {
    let own = Authority::new("own");
    let server = Encrypted::start("a", &own.sign(&["127.0.0.1"], false), None, false);
    let gateway = start(&format!("  app: {{ endpoints: [\"{}\"], tls: {{}} }}", server.address), &[]);
    assert_eq!(ask(&gateway, "GET", "/r/x", "").status, 502);
    assert_eq!(server.served.load(Ordering::SeqCst), 0);
}

#[test]
fn the_gateway_shows_its_own_certificate() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let server = Encrypted::start("a", &own.sign(&["127.0.0.1"], false), Some(&own), false);
    let (mine, wrong) = (own.sign(&["gateway"], false), other.sign(&["gateway"], false));
    let files = [
        ("own.pem", own.pem()),
        ("gw.crt", &mine.chain),
        ("gw.key", &mine.key),
        ("wrong.crt", &wrong.chain),
        ("wrong.key", &wrong.key),
    ];
    for (client, status) in [
        (", client_cert_file: gw.crt, client_key_file: gw.key", 200),
        ("", 502),
        (", client_cert_file: wrong.crt, client_key_file: wrong.key", 502),
    ] {
        let upstream =
            format!("  app: {{ endpoints: [\"{}\"], tls: {{ ca_file: own.pem{client} }} }}", server.address);
        let gateway = start(&upstream, &files);
        let answer = ask(&gateway, "GET", "/r/x", "");
        assert_eq!((answer.status, answer.body == "a+"), (status, status == 200), "{client}: {answer:?}");
        assert_eq!(ask_for_websocket(&gateway, "/ws").status, status, "{client}");
    }
    assert_eq!(server.served.load(Ordering::SeqCst), 2);
}

#[test]
fn a_connection_never_serves_an_upstream_that_trusts_others() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    for http2 in [false, true] {
        let server = Encrypted::start("a", &own.sign(&["127.0.0.1"], false), None, http2);
        let address = server.address;
        let protocol = if http2 { "h2" } else { "h1" };
        let upstreams = format!(
            "  one: {{ protocol: {protocol}, endpoints: [\"{address}\"], tls: {{ ca_file: own.pem }} }}
  other: {{ protocol: {protocol}, endpoints: [\"{address}\"], tls: {{ ca_file: other.pem }} }}"
        );
        let routes = r#"
  - { id: one, match: { path: /one, methods: [GET] }, upstream: one, access: public }
  - { id: other, match: { path: /other, methods: [GET] }, upstream: other, access: public }
"#;
        let gateway = setup(&upstreams, routes, &Signer::new(), |dir| {
            write(dir, "own.pem", own.pem());
            write(dir, "other.pem", other.pem());
        })
        .start();
        for _ in 0..5 {
            assert_eq!(ask(&gateway, "GET", "/one", "").status, 200);
            assert_eq!(ask(&gateway, "GET", "/other", "").status, 502, "{protocol}");
        }
        assert_eq!(server.served.load(Ordering::SeqCst), 5);
        // A request may come before the connection of the one before is back in its place.
        assert!(server.connections.load(Ordering::SeqCst) < 5, "{protocol}: its own are kept");
    }
}

#[test]
fn http2_is_chosen_by_alpn() {
    let own = Authority::new("own");
    let certificate = own.sign(&["127.0.0.1"], false);
    let (one, two) = (
        Encrypted::start("one", &certificate, None, false),
        Encrypted::start("two", &certificate, None, true),
    );
    for (protocol, server, status, begins) in [
        ("auto", &one, 200, "one"),
        ("auto", &two, 200, "two https://portal.example/r/x"),
        ("h2", &two, 200, "two https://portal.example/r/x"),
        ("h2", &one, 502, ""),
        ("h1", &two, 502, ""),
        ("h1", &one, 200, "one"),
    ] {
        let upstream = format!(
            "  app: {{ protocol: {protocol}, endpoints: [\"{}\"], tls: {{ ca_file: own.pem }} }}",
            server.address
        );
        let gateway = start(&upstream, &[("own.pem", own.pem())]);
        let before = server.served.load(Ordering::SeqCst);
        for _ in 0..2 {
            let answer = ask(&gateway, "GET", "/r/x", "");
            assert_eq!(answer.status, status, "{protocol}: {answer:?}");
            assert!(status != 200 || answer.body.starts_with(begins), "{protocol}: {answer:?}");
            assert!(!answer.headers.iter().any(|(name, _)| name.contains("forged")));
        }
        assert_eq!(
            server.served.load(Ordering::SeqCst) - before,
            if status == 200 { 2 } else { 0 },
            "{protocol}"
        );
    }
}

#[test]
fn renewed_certificates_are_taken_and_broken_ones_are_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = Encrypted::start("a", &new.sign(&["127.0.0.1"], false), Some(&new), false);
    let gateway = setup(
        &format!(
            "  app: {{ endpoints: [\"{}\"], tls: {{ ca_file: ca.pem, client_cert_file: gw.crt, client_key_file: gw.key }} }}",
            server.address
        ),
        ROUTES,
        &Signer::new(),
        |dir| {
            write(dir, "ca.pem", old.pem());
            write_identity(dir, "gw", &old.sign(&["gateway"], false));
        },
    )
    .start();
    let status = || ask(&gateway, "GET", "/r/x", "").status;
    let changes = |result: &str| {
        gateway
            .metric(&format!(r#"wardgate_upstream_certificates_total{{result="{result}",upstream="app"}}"#))
    };
    assert_eq!(status(), 502);
    write(gateway.dir.path(), "ca.pem", new.pem());
    write_identity(gateway.dir.path(), "gw", &new.sign(&["gateway"], false));
    eventually("the new ones are taken", LIMIT, || status() == 200);
    assert!(changes("renewed") >= 1.0);
    write(gateway.dir.path(), "ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    eventually("the broken one is noticed", LIMIT, || changes("failed") >= 1.0);
    assert_eq!(status(), 200);
    let said = gateway.logs().join("\n");
    assert!(said.contains("ca.pem` holds something that is no certificate"), "{said}");
    // A key that is not the certificate's.
    write(gateway.dir.path(), "ca.pem", new.pem());
    write(gateway.dir.path(), "gw.key", &old.sign(&["gateway"], false).key);
    eventually("the wrong key is noticed", LIMIT, || {
        gateway.logs().iter().any(|line| line.contains("not that of the certificate"))
    });
    assert_eq!(status(), 200);
}

#[test]
fn a_file_that_is_no_certificate_is_named_at_the_start() {
    let own = Authority::new("own");
    let (mine, other) = (own.sign(&["gateway"], false), own.sign(&["gateway"], false));
    for (tls, said) in [
        ("ca_file: broken.pem", "`broken.pem` holds something that is no certificate"),
        ("ca_file: gw.key", "`gw.key` holds no certificate"),
        ("ca_file: missing.pem", "`missing.pem` can't be read"),
        ("client_cert_file: gw.crt, client_key_file: other.key", "`other.key` holds a key that is not that"),
        ("client_cert_file: gw.crt, client_key_file: gw.crt", "`gw.crt` holds no private key"),
    ] {
        let upstream = format!("  app: {{ endpoints: [\"127.0.0.1:1\"], tls: {{ {tls} }} }}");
        let setup = setup(&upstream, ROUTES, &Signer::new(), |dir| {
            write(dir, "broken.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
            write_identity(dir, "gw", &mine);
            write(dir, "other.key", &other.key);
        });
        let (code, logs) = setup.refused();
        assert!(code.is_some_and(|code| code != 0), "{tls}");
        assert!(
            logs.contains(said) && logs.contains("gateway.yaml:") && !logs.contains("panicked"),
            "{tls}: {logs}"
        );
    }
}

#[test]
fn bodies_that_are_read_first_go_the_same_way() {
    let own = Authority::new("own");
    let server = Encrypted::start("a", &own.sign(&["127.0.0.1"], false), Some(&own), true);
    let mine = own.sign(&["gateway"], false);
    let signer = Signer::new();
    let upstream = format!(
        "  app: {{ protocol: auto, endpoints: [\"{}\"], tls: {{ ca_file: own.pem, client_cert_file: gw.crt, client_key_file: gw.key }} }}",
        server.address
    );
    let gateway = setup(&upstream, ROUTES, &signer, |dir| {
        write(dir, "own.pem", own.pem());
        write_identity(dir, "gw", &mine);
    })
    .start();
    let token = signer.bearer("p1", "aal1", 5);
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    for _ in 0..3 {
        let answer =
            http::send(gateway.address, "POST", "/patients/p1/notes", &headers, b"a=b").expect("one");
        assert_eq!(answer.body, "a+ https://portal.example/patients/p1/notes 3 - false");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1, "the connection is kept");
}
