//! TLS of listeners: which certificate, which versions, whose clients, and what happens when files change.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::pki::{Authority, Client, Issued};
use crate::support::{Gateway, Recorder, Setup, Signer, eventually, tokens};

const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: feed, match: { path: "/feed", methods: [GET] }, upstream: app, tier: low,
      any_of: [{ when: "'lab.clinic.example' in client_certificate.dns" }] }
"#;

/// A gateway whose listener has this `tls`; its files are those that `prepare` writes.
fn setup(upstream: &Recorder, signer: &Signer, tls: &str, prepare: impl FnOnce(&Path)) -> Setup {
    let plain = r#"address: "$LISTEN" }"#;
    let config = tokens::config(upstream.address, ROUTES);
    assert!(config.contains(plain));
    let config = config.replace(plain, &format!(r#"address: "$LISTEN", tls: {tls} }}"#));
    Setup::new(&config, |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        prepare(dir);
    })
}

/// The usual one: a certificate for `portal.example`.
fn start(authority: &Authority, upstream: &Recorder, signer: &Signer, more: &str, clients: &str) -> Gateway {
    let tls = format!("{{ cert_file: tls.crt, key_file: tls.key{more} }}");
    let prepare = |dir: &Path| {
        authority.issue(&["portal.example"]).write(dir, "tls");
        std::fs::write(dir.join("clients.pem"), clients).expect("writable");
    };
    setup(upstream, signer, &tls, prepare).start()
}

#[test]
fn the_certificate_is_chosen_by_server_name() {
    let (authority, upstream, signer) = (Authority::new("servers"), Recorder::start(), Signer::new());
    let portal = authority.issue(&["portal.example", "unknown.example"]);
    let clinic = authority.issue(&["*.clinic.example"]);
    let lab = authority.issue(&["lab.clinic.example"]);
    let certificates =
        ["a", "b", "c"].map(|name| format!("{{ cert_file: {name}.crt, key_file: {name}.key }}"));
    let tls = format!("{{ certificates: [{}] }}", certificates.join(", "));
    let gateway = setup(&upstream, &signer, &tls, |dir| {
        portal.write(dir, "a");
        clinic.write(dir, "b");
        lab.write(dir, "c");
    })
    .start();
    let client = Client::trusting(&authority);
    for (name, expected) in [
        ("portal.example", &portal),
        ("unknown.example", &portal),
        ("ward.clinic.example", &clinic),
        ("LAB.clinic.example", &lab),
    ] {
        let connection = client.clone().asking_for(name).connect(gateway.address).expect(name);
        assert_eq!(connection.server_certificate(), expected.certificate, "{name}");
    }
    // Two labels are not one: the default comes, which is not for that name.
    assert!(client.clone().asking_for("a.b.clinic.example").connect(gateway.address).is_err());
    let answer = client.get(gateway.address, "/", &[]).expect("an answer");
    assert_eq!(answer.status, 200);
    let arrived = upstream.requests();
    assert_eq!(arrived[0].values("x-forwarded-proto"), ["https"]);
    assert!(gateway.metric("wardgate_certificate_not_after_timestamp_seconds{") > 3.0e9);
}

/// A Kubernetes secret: files that are links through `..data`, which is itself a link that changes at once.
struct Secret<'d> {
    dir: &'d Path,
    version: usize,
}

impl Secret<'_> {
    fn put(&mut self, certificate: &str, key: &str) {
        self.version += 1;
        let folder = format!("..{}", self.version);
        std::fs::create_dir(self.dir.join(&folder)).expect("a directory");
        std::fs::write(self.dir.join(&folder).join("tls.crt"), certificate).expect("writable");
        std::fs::write(self.dir.join(&folder).join("tls.key"), key).expect("writable");
        symlink(&folder, self.dir.join("..next")).expect("a link");
        std::fs::rename(self.dir.join("..next"), self.dir.join("..data")).expect("renamed");
        for name in ["tls.crt", "tls.key"] {
            let _ = symlink(format!("..data/{name}"), self.dir.join(name));
        }
    }
}

#[test]
fn changed_files_are_taken_and_broken_ones_are_not() {
    let (authority, upstream, signer) = (Authority::new("servers"), Recorder::start(), Signer::new());
    let [first, second, third] = [(); 3].map(|()| authority.issue(&["portal.example"]));
    let tls = "{ cert_file: secret/tls.crt, key_file: secret/tls.key }";
    let gateway = setup(&upstream, &signer, tls, |dir| {
        std::fs::create_dir(dir.join("secret")).expect("a directory");
        Secret { dir: &dir.join("secret"), version: 0 }.put(&first.pem, &first.key_pem);
    })
    .start();
    let dir = gateway.dir.path().join("secret");
    let mut secret = Secret { dir: &dir, version: 1 };
    let client = Client::trusting(&authority);
    let shown = || client.connect(gateway.address).expect("a connection").server_certificate();
    let limit = Duration::from_secs(30);
    let notices = || gateway.telemetry_page("/readyz").json()["notices"].to_string();
    let mut kept = client.connect(gateway.address).expect("a connection");
    assert_eq!(kept.server_certificate(), first.certificate);
    let still = |kept: &mut super::pki::Connection| {
        assert_eq!(kept.get("/", &[], false).expect("the connection stays").status, 200);
    };
    still(&mut kept);

    secret.put(&second.pem, &second.key_pem);
    eventually("the second certificate", limit, || shown() == second.certificate);
    still(&mut kept);

    for (certificate, key, fault) in [
        (&third.pem, &second.key_pem, "is not the key of"),
        (&"nothing".to_owned(), &third.key_pem, "holds no certificate in PEM form"),
        (&third.pem, &String::new(), "holds no private key in PEM form"),
    ] {
        secret.put(certificate, key);
        eventually(fault, limit, || notices().contains(fault));
        assert_eq!(gateway.telemetry_page("/readyz").status, 200);
        assert_eq!(shown(), second.certificate);
        still(&mut kept);
    }
    std::fs::remove_file(dir.join("..data")).expect("removed");
    eventually("the files are gone", limit, || notices().contains("there is no such file"));
    assert_eq!(shown(), second.certificate);

    secret.put(&third.pem, &third.key_pem);
    eventually("the third certificate", limit, || shown() == third.certificate);
    still(&mut kept);
    assert_eq!(notices(), "[]");
    assert_eq!(gateway.metric(r#"wardgate_tls_reloads_total{listener="portal",result="refused"}"#), 4.0);
    assert_eq!(gateway.metric(r#"wardgate_tls_reloads_total{listener="portal",result="taken"}"#), 2.0);
    let logs = gateway.logs().join("\n");
    assert!(!logs.contains("PRIVATE KEY") && logs.contains("the last good ones stay"), "{logs}");
}

/// Whether OpenSSL comes to a connection with these options.
fn openssl(address: SocketAddr, options: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "portal.example"])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success() && !said.contains("Cipher is (NONE)"), said)
}

#[test]
fn old_versions_and_weak_suites_are_refused() {
    let (authority, upstream, signer) = (Authority::new("servers"), Recorder::start(), Signer::new());
    let gateway = start(&authority, &upstream, &signer, "", "");
    const WEAK: &str = "@SECLEVEL=0";
    for (options, works) in [
        (&["-tls1_3"][..], true),
        (&["-tls1_2"], true),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], true),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], true),
        (&["-tls1_1", "-cipher", &format!("ALL:{WEAK}")], false),
        (&["-tls1", "-cipher", &format!("ALL:{WEAK}")], false),
        (&["-tls1_2", "-cipher", &format!("ECDHE-ECDSA-AES128-SHA:{WEAK}")], false),
        (&["-tls1_2", "-cipher", &format!("ECDHE-ECDSA-AES256-SHA384:{WEAK}")], false),
        (&["-tls1_2", "-cipher", &format!("ECDHE-ECDSA-AES128-CCM:{WEAK}")], false),
    ] {
        let (worked, said) = openssl(gateway.address, options);
        assert_eq!(worked, works, "{options:?}: {said}");
    }
    assert!(gateway.metric(r#"wardgate_tls_handshake_failures_total{listener="portal""#) >= 4.0);

    let strict = start(&authority, &upstream, &signer, r#", min_version: "1.3""#, "");
    assert!(openssl(strict.address, &["-tls1_3"]).0);
    assert!(!openssl(strict.address, &["-tls1_2"]).0);
    let old = Client::trusting(&authority).only(TLS12);
    assert!(old.get(strict.address, "/", &[]).is_err());
    assert_eq!(old.get(gateway.address, "/", &[]).expect("an answer").status, 200);
}

#[test]
fn a_scanner_finds_nothing_below_policy() {
    let (authority, upstream, signer) = (Authority::new("servers"), Recorder::start(), Signer::new());
    let gateway = start(&authority, &upstream, &signer, "", "");
    let scan = Command::new("sslscan")
        .args(["--no-colour", "--sni-name=portal.example", &gateway.address.to_string()])
        .output()
        .expect("sslscan runs: `scripts/setup.sh test` installs it");
    let said = String::from_utf8_lossy(&scan.stdout);
    for line in ["SSLv2     disabled", "SSLv3     disabled", "TLSv1.0   disabled", "TLSv1.1   disabled"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let suites: Vec<&str> =
        said.lines().filter(|line| line.starts_with("Preferred") || line.starts_with("Accepted")).collect();
    assert!(suites.len() >= 5, "{said}");
    for suite in suites {
        let aead = suite.contains("GCM") || suite.contains("CHACHA20");
        let secret = suite.contains("TLSv1.3") || suite.contains("ECDHE");
        assert!(aead && secret && (suite.contains("TLSv1.2") || suite.contains("TLSv1.3")), "{suite}");
    }
    assert!(said.contains("Session renegotiation not supported"), "{said}");
    assert!(!said.contains("Compression enabled"), "{said}");
    assert!(
        !said.contains("vulnerable to heartbleed") || said.contains("not vulnerable to heartbleed"),
        "{said}"
    );
}

#[test]
fn client_certificates_are_asked_for_and_checked() {
    let (servers, clients, others) =
        (Authority::new("servers"), Authority::new("clients"), Authority::new("others"));
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let (own, foreign) = (clients.issue(&["lab.clinic.example"]), others.issue(&["lab.clinic.example"]));
    let nobody = Client::trusting(&servers);
    let [known, unknown] = [&own, &foreign].map(|identity| nobody.clone().showing(identity));

    let gateway = start(&servers, &upstream, &signer, ", client_ca_file: clients.pem", &clients.pem);
    for versions in [TLS12, TLS13] {
        assert!(nobody.clone().only(versions).get(gateway.address, "/", &[]).is_err());
        assert!(unknown.clone().only(versions).get(gateway.address, "/", &[]).is_err());
        let answer = known.clone().only(versions).get(gateway.address, "/", &[]);
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!(upstream.count(), 2);
    let failures = |reason: &str| {
        gateway.metric(&format!(
            r#"wardgate_tls_handshake_failures_total{{listener="portal",reason="{reason}"}}"#
        ))
    };
    assert_eq!((failures("no_client_certificate"), failures("bad_client_certificate")), (2.0, 2.0));

    let more = ", client_ca_file: clients.pem, client_certificates: optional";
    let gateway = start(&servers, &upstream, &signer, more, &clients.pem);
    assert_eq!(nobody.get(gateway.address, "/", &[]).expect("an answer").status, 200);
    assert_eq!(known.get(gateway.address, "/", &[]).expect("an answer").status, 200);
    assert!(unknown.get(gateway.address, "/", &[]).is_err());

    // A rule about the certificate: the name is the route's business, the authority the listener's.
    let bearer = signer.bearer("p1", "aal1", 30);
    let headers = [("Authorization", bearer.as_str())];
    let ward = nobody.clone().showing(&clients.issue(&["ward.clinic.example"]));
    let status = |client: &Client| client.get(gateway.address, "/feed", &headers).expect("an answer").status;
    assert_eq!((status(&known), status(&ward), status(&nobody)), (200, 403, 403));
    assert_eq!(upstream.count(), 5);
}

fn bound(signer: &Signer, to: &Issued) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &to.certificate);
    let mut claims = Signer::claims("p1", "aal1", 30);
    claims["cnf"] = json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(digest) });
    format!("Bearer {}", signer.sign(&claims))
}

#[test]
fn a_bound_token_counts_only_beside_its_certificate() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let more = ", client_ca_file: clients.pem, client_certificates: optional";
    let gateway = start(&servers, &upstream, &signer, more, &clients.pem);
    let (own, other) = (clients.issue(&["a.example"]), clients.issue(&["b.example"]));
    let nobody = Client::trusting(&servers);
    let (holder, thief) = (nobody.clone().showing(&own), nobody.clone().showing(&other));
    let token = bound(&signer, &own);
    let headers = [("Authorization", token.as_str())];
    let ask =
        |client: &Client| client.get(gateway.address, "/patients/p1/results/1", &headers).expect("an answer");
    // The first use puts the token into the cache of verified ones; what follows must not profit from that.
    for round in 0..3 {
        assert_eq!(ask(&holder).status, 200, "{round}");
        for (client, reason) in [(&thief, "token_wrong_certificate"), (&nobody, "token_proof_of_key_missing")]
        {
            let answer = ask(client);
            assert_eq!(answer.status, 401, "{round} {reason}");
            let challenge = answer.header("www-authenticate").expect("a challenge");
            assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
            let decision = answer.decision().to_owned();
            let record = gateway.audit().into_iter().find(|record| record["decision"] == decision.as_str());
            assert_eq!(record.expect("a record")["reason"], reason);
        }
    }
    assert_eq!(upstream.count(), 3);
    assert!(gateway.metric(r#"wardgate_token_cache_total{result="hit"}"#) >= 8.0);
    // An unbound token is nobody's in particular.
    let plain = signer.bearer("p1", "aal1", 30);
    let headers = [("Authorization", plain.as_str())];
    assert_eq!(
        thief.get(gateway.address, "/patients/p1/results/1", &headers).expect("an answer").status,
        200
    );
}

#[test]
fn files_that_can_not_be_used_are_said_at_start() {
    let (authority, upstream, signer) = (Authority::new("servers"), Recorder::start(), Signer::new());
    let (one, two) = (authority.issue(&["portal.example"]), authority.issue(&["portal.example"]));
    let tls = "{ cert_file: tls.crt, key_file: tls.key, client_ca_file: clients.pem }";
    type Prepare<'a> = &'a dyn Fn(&Path);
    let whole = |dir: &Path| {
        one.write(dir, "tls");
        std::fs::write(dir.join("clients.pem"), &authority.pem).expect("writable");
    };
    let cases: [(&str, Prepare<'_>, &str); 5] = [
        (
            "an absent key",
            &|dir| std::fs::remove_file(dir.join("tls.key")).expect("removed"),
            "there is no such file",
        ),
        (
            "another key",
            &|dir| std::fs::write(dir.join("tls.key"), &two.key_pem).expect("written"),
            "is not the key of `tls.crt`",
        ),
        (
            "an encrypted key",
            &|dir| {
                let text =
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
                std::fs::write(dir.join("tls.key"), text).expect("written");
            },
            "holds no private key in PEM form",
        ),
        (
            "half a certificate",
            &|dir| {
                std::fs::write(dir.join("tls.crt"), &one.pem[..one.pem.len() / 2]).expect("written");
            },
            "`tls.crt` holds something that is no certificate",
        ),
        (
            "a leaf as authority",
            &|dir| std::fs::write(dir.join("clients.pem"), &two.pem).expect("written"),
            "`clients.pem` holds something else than an authority",
        ),
    ];
    for (name, spoil, wanted) in cases {
        let setup = setup(&upstream, &signer, tls, |dir| {
            whole(dir);
            spoil(dir);
        });
        let (code, said) = setup.refused();
        assert!(code.is_some_and(|code| code != 0), "{name}: {said}");
        assert!(
            said.contains(wanted) && said.contains("help:") && !said.contains("panicked"),
            "{name}: {said}"
        );
        assert!(!said.contains("BEGIN"), "{name}: {said}");
    }
}
