//! nginx forwards, the gateway judges: with the shipped configuration, and the verdicts that the proxy gives.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::backends::{ROUTES, setup};
use crate::support::{Gateway, Recorder, Signer, eventually, free_address, http};

/// Method, target, headers and the status that is due.
type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], u16);

/// A gateway that proxies at its address, and answers nginx on a socket; nginx with the shipped configuration.
struct Front {
    gateway: Gateway,
    nginx: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Front {
    fn start(upstream: &Recorder, signer: &Signer) -> Self {
        let app = format!(
            "  app:\n    endpoints: [\"{}\"]\n    identity: {{ header: x-wardgate-assertion, audience: app, ttl: 60s }}",
            upstream.address
        );
        let mut setup = setup(&app, ROUTES, signer, |_| ());
        setup.change(|text| {
            let both = r#"address: "$LISTEN" }, { name: auth, address: "unix:$DIR/auth.sock", mode: forward_auth }]"#;
            let changed = text.replace(r#"address: "$LISTEN" }]"#, both);
            assert_ne!(changed, text);
            changed
        });
        let gateway = setup.start();
        let (dir, nginx) = (TempDir::new().expect("a directory"), free_address());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let conf = std::fs::read_to_string(root.join("deploy/nginx/nginx.conf")).expect("shipped");
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path temp_{name};"))
            .concat();
        let socket = gateway.dir.path().join("auth.sock");
        let conf = conf
            .replace("http {", &format!("http {{ access_log off; {paths}"))
            .replace("unix:/run/wardgate/auth.sock", &format!("unix:{}", socket.display()))
            .replace("127.0.0.1:8081", &upstream.address.to_string())
            .replace("127.0.0.1:8080", &nginx.to_string());
        let beginning = "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\n";
        std::fs::write(dir.path().join("nginx.conf"), format!("{beginning}{conf}")).expect("writable");
        let program =
            ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists());
        let child = Command::new(program.unwrap_or("nginx"))
            .arg("-p")
            .arg(dir.path())
            .arg("-c")
            .arg(dir.path().join("nginx.conf"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error}; `scripts/setup.sh test` installs it"));
        eventually("nginx listens", Duration::from_secs(30), || TcpStream::connect(nginx).is_ok());
        Self { gateway, nginx, child, _dir: dir }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nginx_lets_through_what_the_proxy_does() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let front = Front::start(&upstream, &signer);
    let (own, old) = (signer.bearer("p1", "aal1", 42), signer.bearer("p1", "aal2", 4000));
    let csv = ("Content-Type", "text/csv");
    let cases: &[Case<'_>] = &[
        ("GET", "/r/a?b=1", &[], 200),
        ("DELETE", "/r/a", &[], 200),
        ("POST", "/r/a", &[], 405),
        ("POST", "/w/a", &[csv], 200),
        ("GET", "/nowhere", &[], 404),
        ("GET", "/patients/p1/notes", &[], 401),
        ("GET", "/patients/p1/notes", &[("Authorization", "Bearer forged")], 401),
        ("GET", "/patients/p1/notes", &[("Authorization", &own)], 200),
        ("GET", "/patients/p2/notes", &[("Authorization", &own)], 403),
        ("POST", "/patients/p1/notes", &[("Authorization", &own), csv], 200),
        ("PUT", "/patients/p1/export", &[("Authorization", &own), csv], 401),
        ("PUT", "/patients/p1/export", &[("Authorization", &old), csv], 401),
        ("GET", "/r/../patients/p1/notes", &[], 400),
        ("GET", "/r/%2e%2e/patients/p1/notes", &[], 400),
        // What clients say of themselves changes nothing.
        (
            "GET",
            "/patients/p1/notes",
            &[("X-Forwarded-Uri", "/r/a"), ("X-Forwarded-Method", "GET"), ("X-Forwarded-Body", "no")],
            401,
        ),
        ("POST", "/r/a", &[("X-Forwarded-Method", "GET"), ("X-Original-Method", "GET")], 405),
        ("GET", "/ws", &[], 405),
    ];
    for (method, target, headers, status) in cases {
        let body: &[u8] = if headers.contains(&csv) { b"a,b\n" } else { b"" };
        let seen = |address| {
            let before = upstream.count();
            let answer = http::send(address, method, target, headers, body).expect("an answer");
            (answer, upstream.count() - before)
        };
        let ((direct, sent), (asked, forwarded)) = (seen(front.gateway.address), seen(front.nginx));
        let which = format!("{method} {target} {headers:?}");
        assert_eq!((direct.status == 200, sent), (*status == 200, usize::from(*status == 200)), "{which}");
        assert_eq!(
            (asked.status == 200, forwarded),
            (direct.status == 200, sent),
            "{which}: {}",
            asked.status
        );
        if matches!(direct.status, 401 | 403) {
            // The others nginx turns into 500.
            assert_eq!(asked.status, direct.status, "{which}");
            assert_eq!(asked.header("www-authenticate"), direct.header("www-authenticate"), "{which}");
        }
    }
    let intents = front.gateway.audit().iter().filter(|record| record["event"] == "intent").count();
    assert_eq!(intents, upstream.count());
}

#[test]
fn the_application_learns_from_the_gateway_alone_who_asks() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let front = Front::start(&upstream, &signer);
    let token = signer.bearer("p1", "aal1", 42);
    let forged = [("Authorization", token.as_str()), ("X-Wardgate-Assertion", "forged")];
    let answer = http::send(front.nginx, "GET", "/patients/p1/notes", &forged, b"").expect("an answer");
    assert_eq!(answer.status, 200);
    let request = upstream.requests().pop().expect("a request");
    let assertions = request.values("x-wardgate-assertion");
    assert!(assertions.len() == 1 && assertions[0].starts_with("eyJ"), "{assertions:?}");
    assert!(request.values("authorization").is_empty());
    http::send(front.nginx, "GET", "/r/a", &forged, b"").expect("an answer");
    let request = upstream.requests().pop().expect("a request");
    assert!(request.values("x-wardgate-assertion").is_empty(), "nobody was asked who they are");
    let records = front.gateway.audit();
    let outcomes: Vec<_> = records.iter().filter(|record| record["event"] == "outcome").collect();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|outcome| outcome["result"] == "not_observed"), "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| outcome.get("status").is_none()), "{outcomes:?}");
}

#[test]
fn a_form_that_nobody_saw_is_refused() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let front = Front::start(&upstream, &signer);
    let token = signer.bearer("p1", "aal1", 42);
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let ask = |address| {
        http::send(address, "POST", "/patients/p1/notes", &headers, b"text=hello").expect("an answer").status
    };
    assert_eq!(ask(front.gateway.address), 200);
    assert_ne!(ask(front.nginx), 200, "it could hold another method");
    assert_eq!(upstream.count(), 1);
}
