//! Proxies on other machines: who may ask.

use std::path::Path;

use crate::edge::pki::{Authority, Client};
use crate::support::{Recorder, Setup, Signer, tokens};

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
