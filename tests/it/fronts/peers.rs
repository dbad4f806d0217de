//! Proxies on other machines: who may ask.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::World;
use super::servers::{HTTP1, Server};
use crate::edge::pki::{Authority, Client};
use crate::support::{Recorder, Setup, Signer, eventually, free_address, http, tokens};

const ROUTES: &str = r#"
  - { id: read, match: { path: "/r/**", methods: [GET] }, upstream: app, access: public }
  - { id: counted, match: { path: /counted, methods: [GET] }, upstream: app, access: public }
"#;

#[test]
fn only_a_certificate_with_a_name_of_the_list_may_ask() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let plain = r#"address: "$LISTEN" }]"#;
    let listener = r#"address: "$LISTEN", mode: forward_auth, peers: [Nginx.clinic.example],
  tls: { cert_file: tls.crt, key_file: tls.key, client_ca_file: clients.pem } }]
rate_limits: [{ name: counted, per: address, requests: 1, in: 1h, routes: [counted] }]"#;
    let config = tokens::config(upstream.address, ROUTES);
    assert!(config.contains(plain));
    let prepare = |dir: &Path| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.join("clients.pem"), &clients.pem).expect("writable");
        servers.issue(&["portal.example"]).write(dir, "tls");
    };
    let gateway = Setup::new(&config.replace(plain, listener), prepare).start();
    let ask = |client: &Client, target: &str, address: &str| {
        let headers = [
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", target),
            ("X-Forwarded-Host", "portal.example"),
            ("X-Forwarded-Body", "no"),
            ("X-Forwarded-For", address),
        ];
        client.get(gateway.address, "/", &headers).expect("an answer").status
    };
    let nobody = Client::trusting(&servers);
    let known = nobody.clone().showing(&clients.issue(&["nginx.clinic.example"]));
    let other = nobody.clone().showing(&clients.issue(&["lab.clinic.example"]));
    assert!(nobody.get(gateway.address, "/", &[]).is_err(), "no handshake without a certificate");
    assert_eq!((ask(&known, "/r/a", "192.0.2.7"), ask(&other, "/r/a", "192.0.2.7")), (200, 403));
    assert_eq!(ask(&other, "/nowhere", "192.0.2.7"), 403, "nothing is learnt");
    // It is believed about its client.
    let counted = ["192.0.2.7", "192.0.2.8", "192.0.2.7"].map(|address| ask(&known, "/counted", address));
    assert_eq!(counted, [200, 200, 429]);
    let records = gateway.audit();
    let refused: Vec<_> = records.iter().filter(|record| record["reason"] == "peer_unknown").collect();
    assert_eq!(refused.len(), 2, "{records:?}");
    assert!(refused.iter().all(|record| record.get("action").is_none()), "{refused:?}");
    assert_eq!(gateway.metric(r#"wardgate_decisions_total{reason="peer_unknown""#), 2.0);
}

/// Letters enough.
const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

/// The shipped configuration of Envoy, over TLS, with this certificate and this metadata.
fn over_tls(dir: &Path, address: SocketAddr, identity: &str, metadata: &str, text: String) -> String {
    let shown = match identity {
        "" => String::new(),
        name => format!(
            "tls_certificates: [{{ certificate_chain: {{ filename: {0}/{name}.crt }}, private_key: {{ filename: {0}/{name}.key }} }}],",
            dir.display()
        ),
    };
    let tls = format!(
        r#"    - name: wardgate
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: portal.example
          common_tls_context:
            {{ alpn_protocols: [h2], {shown}
              validation_context: {{ trusted_ca: {{ filename: {}/servers.pem }},
                match_typed_subject_alt_names: [{{ san_type: DNS, matcher: {{ exact: portal.example }} }}] }} }}"#,
        dir.display()
    );
    let start = text.find("pipe: { path:").expect("a socket");
    let end = start + text[start..].find('}').expect("its end") + 1;
    let there = format!("socket_address: {{ address: 127.0.0.1, port_value: {} }}", address.port());
    let text = format!("{}{there}{}", &text[..start], &text[end..]);
    let changed = text
        .replacen("    - name: wardgate", &tls, 1)
        .replace("initial_metadata: [", &format!("initial_metadata: [{metadata}"));
    assert!(changed.contains("UpstreamTlsContext"));
    changed
}

/// A world with one more listener for Envoy, over TLS.
fn encrypted(dir: &Path, address: SocketAddr, who: &str) -> World {
    let listener = format!(
        r#"{{ name: envoy-tls, address: "{address}", mode: ext_authz, {who} }}, {{ name: envoy-grpc"#,
    )
    .replace("$DIR", dir.to_str().expect("utf-8"));
    World::start(Recorder::start().address, |text| text.replace("{ name: envoy-grpc", &listener))
}

fn refused(world: &World) -> usize {
    let of_peers =
        |record: &&serde_json::Value| record["listener"] == "envoy-tls" && record["reason"] == "peer_unknown";
    world.gateway.audit().iter().filter(of_peers).count()
}

#[test]
fn envoy_asks_over_tls_with_a_certificate_of_the_list() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("servers.pem"), &servers.pem).expect("writable");
    std::fs::write(dir.path().join("clients.pem"), &clients.pem).expect("writable");
    servers.issue(&["portal.example"]).write(dir.path(), "tls");
    clients.issue(&["envoy.clinic.example"]).write(dir.path(), "known");
    clients.issue(&["lab.clinic.example"]).write(dir.path(), "other");
    let address = free_address();
    let who = "peers: [envoy.clinic.example], tls: { cert_file: $DIR/tls.crt, key_file: $DIR/tls.key, client_ca_file: $DIR/clients.pem }";
    let world = encrypted(dir.path(), address, who);
    let envoy = |identity: &'static str, settled| {
        Server::envoy_with(&world, "grpc", settled, |text| over_tls(dir.path(), address, identity, "", text))
    };
    let own = world.signer.bearer("p1", "aal1", 5);
    let ask = |server: &Server| {
        let headers = [("Authorization", own.as_str())];
        http::send(server.address, "GET", "/patients/p1/low", &headers, b"").expect("an answer").status
    };
    assert_eq!(ask(&envoy("known", "x-wardgate-decision")), 200);
    assert_eq!(refused(&world), 0);
    assert_eq!(ask(&envoy("other", "http/1.1 503")), 503);
    let before = refused(&world);
    assert!(before > 0);
    assert_eq!(ask(&envoy("", "http/1.1 503")), 503, "no handshake without a certificate");
    assert_eq!(refused(&world), before);
}

#[test]
fn envoy_asks_over_tls_with_a_secret() {
    let servers = Authority::new("servers");
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("servers.pem"), &servers.pem).expect("writable");
    std::fs::write(dir.path().join("secret"), OLD).expect("writable");
    servers.issue(&["portal.example"]).write(dir.path(), "tls");
    let address = free_address();
    let who = "peer_secret_file: $DIR/secret, tls: { cert_file: $DIR/tls.crt, key_file: $DIR/tls.key }";
    let world = encrypted(dir.path(), address, who);
    let envoy = |secret: &str, settled| {
        let metadata = format!("{{ key: x-wardgate-peer-secret, value: {secret} }}, ");
        Server::envoy_with(&world, "grpc", settled, |text| over_tls(dir.path(), address, "", &metadata, text))
    };
    let ask = |server: &Server, headers: &[(&str, &str)]| {
        http::send(server.address, "GET", "/r/a", headers, b"").expect("an answer").status
    };
    assert_eq!(ask(&envoy(OLD, "x-wardgate-decision"), &[]), 200);
    let other = envoy(NEW, "http/1.1 503");
    assert_eq!(ask(&other, &[]), 503);
    assert_eq!(ask(&other, &[("X-Wardgate-Peer-Secret", OLD)]), 503, "what a client says is of its request");
    assert!(refused(&world) > 0);
}

/// The shipped configurations with the line that `docs/fronts.md` gives for each.
#[test]
fn proxies_show_the_secret_by_the_documented_lines() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, secret: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, secret).expect("writable");
        path.to_str().expect("utf-8").to_owned()
    };
    let (secret, wrong) = (file("secret", OLD), file("wrong", NEW));
    let mode =
        |mode: &str| (format!("mode: {mode} }}"), format!("mode: {mode}, peer_secret_file: \"{secret}\" }}"));
    let (forward, envoy) = (mode("forward_auth"), mode("ext_authz_http"));
    let world = World::start(Recorder::start().address, |text| {
        text.replace(&forward.0, &forward.1).replace(&envoy.0, &envoy.1)
    });
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fronts.md"));
    let documented = documented.expect("the document");
    let with = |text: String, before: &str, line: &str, value: &str| {
        let written = line.replace("{file.WHERE}", "{file./secrets/peer-secret}").replace("VALUE", "…");
        assert!(documented.contains(written.trim()), "{written}");
        let line = line.replace("WHERE", value).replace("VALUE", value);
        let changed = text.replacen(before, &format!("{before}\n{line}"), 1);
        assert_ne!(changed, text);
        changed
    };
    let nginx = |secret: &str| {
        let line = "proxy_set_header X-Wardgate-Peer-Secret VALUE;";
        Server::nginx_with(&world, HTTP1, |text| with(text, "location = /.wardgate-question {", line, secret))
    };
    let caddy = |path: &str| {
        let line = "header_up X-Wardgate-Peer-Secret {file.WHERE}";
        Server::caddy_with(&world, |text| with(text, "rewrite /", line, path))
    };
    let envoy = |secret: &str, settled: &str| {
        let line =
            "authorization_request: { headers_to_add: [{ key: x-wardgate-peer-secret, value: VALUE }] }";
        Server::envoy_with(&world, "http", settled, |text| {
            with(text, "cluster: wardgate, timeout: 5s }", &format!("{}{line}", " ".repeat(24)), secret)
        })
    };
    let own = world.signer.bearer("p1", "aal1", 5);
    let ask = |server: &Server, secret: &str| {
        // Envoy does not say by HTTP whether there is a body: one of this type hides no method.
        let mut headers = vec![("Authorization", own.as_str()), ("Content-Type", "text/csv")];
        headers.extend((!secret.is_empty()).then_some(("X-Wardgate-Peer-Secret", secret)));
        http::send(server.address, "GET", "/patients/p1/low", &headers, b"").expect("an answer").status
    };
    let decision = "x-wardgate-decision";
    for server in [nginx(OLD), caddy(&secret), envoy(OLD, decision)] {
        assert_eq!(ask(&server, ""), 200, "{}", server.name);
    }
    for server in [nginx(NEW), caddy(&wrong), envoy(NEW, decision)] {
        assert_eq!(ask(&server, ""), 403, "{}", server.name);
        assert_eq!(ask(&server, OLD), 403, "{}: what a client says is of its request", server.name);
    }
}

#[test]
fn a_secret_is_asked_for_and_changed_without_a_gap() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let plain = r#"address: "$LISTEN" }]"#;
    let listener = r#"address: "$LISTEN", mode: forward_auth, peer_secret_file: secret }]"#;
    let config = tokens::config(upstream.address, ROUTES);
    let prepare = |dir: &Path| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.join("secret"), format!("{OLD}\n")).expect("writable");
    };
    let gateway = Setup::new(&config.replace(plain, listener), prepare).start();
    let ask = |secrets: &[&str]| {
        let mut headers = vec![
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Uri", "/r/a"),
            ("X-Forwarded-Host", "portal.example"),
            ("X-Forwarded-Body", "no"),
        ];
        headers.extend(secrets.iter().map(|secret| ("X-Wardgate-Peer-Secret", *secret)));
        let answer = http::send(gateway.address, "GET", "/", &headers, b"").expect("an answer");
        assert!(!format!("{answer:?}").contains(OLD), "{answer:?}");
        answer.status
    };
    assert_eq!(ask(&[OLD]), 200);
    for wrong in [&[][..], &[NEW], &[&OLD[1..]], &[OLD, OLD], &[NEW, OLD]] {
        assert_eq!(ask(wrong), 403, "{wrong:?}");
    }
    let write = |text: &str| {
        std::fs::write(gateway.dir.path().join("secret"), text).expect("writable");
    };
    write(&format!("{OLD}\n{NEW}\n"));
    eventually("both are taken", Duration::from_secs(30), || ask(&[NEW]) == 200);
    assert_eq!(ask(&[OLD]), 200);
    write("too short");
    let refusals = || gateway.metric(r#"wardgate_config_reloads_total{result="refused""#);
    eventually("what is none is refused", Duration::from_secs(30), || refusals() == 1.0);
    assert_eq!((ask(&[OLD]), ask(&[NEW])), (200, 200));
    write(NEW);
    eventually("the old one has gone", Duration::from_secs(30), || ask(&[OLD]) == 403);
    assert_eq!(ask(&[NEW]), 200);
    let trail = std::fs::read_to_string(gateway.audit_file()).expect("a trail");
    assert!(!trail.contains(OLD) && !trail.contains(NEW));
    assert!(gateway.logs().iter().all(|line| !line.contains(OLD) && !line.contains(NEW)));
}
