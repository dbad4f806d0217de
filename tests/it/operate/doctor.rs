//! `wardgate doctor` before real parts: what is wrong is named with its remedy, what is well is said to be, nothing secret is.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{ROUTES, write_keys};
use crate::edge::pki::Authority;
use crate::support::redis::Redis;
use crate::support::{Signer, free_address, tokens};

const SECRET: &str = "0d9f0f3c5a7be1c4d8e2a6b0917f3355aa00ff11ee22dd33cc44bb5566778899";

/// A directory with a configuration that is well, but for what a test changes.
struct Patient {
    dir: TempDir,
    app: TcpListener,
    config: String,
}

impl Patient {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        write_keys(dir.path(), &Signer::new());
        let app = TcpListener::bind("127.0.0.1:0").expect("bound");
        let config = tokens::config(app.local_addr().expect("an address"), ROUTES);
        let config = config.replace("$LISTEN", &free_address().to_string());
        let config = config.replace("$TELEMETRY", &free_address().to_string());
        Self { dir, app, config }
    }

    fn change(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{from}");
        self.config = self.config.replace(from, to);
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
    }

    /// Whether it is well, and what was found.
    fn examine(&self, arguments: &[&str]) -> (bool, Vec<Value>) {
        self.file("gateway.yaml", &self.config, 0o644);
        let output = run(self.dir.path(), &[&["--format", "json"], arguments].concat());
        let told: Value = serde_json::from_str(&output.1).unwrap_or_else(|_| panic!("{output:?}"));
        assert!(!output.1.contains(SECRET) && !output.2.contains(SECRET), "{output:?}");
        assert!(!output.1.contains(&SECRET[..16]), "{output:?}");
        (output.0, told["findings"].as_array().expect("findings").clone())
    }

    /// What is said of something where the verdict is this one; the exit code must agree.
    fn said(&self, arguments: &[&str], verdict: &str, look: &str) -> String {
        let (is_well, found) = self.examine(arguments);
        assert_eq!(is_well, !found.iter().any(|it| it["verdict"] == "failure"), "{found:?}");
        let wanted = |it: &&Value| it["verdict"] == verdict && it["look"] == look;
        let found: Vec<_> = found.iter().filter(wanted).map(ToString::to_string).collect();
        assert!(!found.is_empty(), "no {verdict} of {look}: {:?}", self.examine(arguments));
        found.join("\n")
    }
}

fn run(dir: &Path, arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
    command.args(["doctor", "--config"]).arg(dir.join("gateway.yaml")).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// This machine's own address towards others, if it has one.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses a way.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

/// An issuer whose clock is this many seconds ahead.
fn issuer(ahead: i64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let keys = Signer::new().jwks().to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let Ok(read) = stream.read(&mut request) else { continue };
            let is_head = request[..read].starts_with(b"HEAD");
            let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ahead);
            let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT");
            let length = keys.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let body = if is_head { "" } else { &*keys };
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    address
}

#[test]
fn a_healthy_gateway_is_found_so() {
    let redis = Redis::start(&["--appendonly", "yes", "--maxmemory-policy", "noeviction"]);
    let mut patient = Patient::new();
    patient.file("key", SECRET, 0o400);
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"] }}, encryption_keys: [{{ id: k1, file: key }}] }}",
        redis.address
    );
    patient.change("state: { single_replica: true }", &state);
    let keys = format!("jwks: {{ url: \"http://{}/keys\" }}", issuer(0));
    patient.change("jwks: { file: jwks.json }", &keys);
    patient.change("\nupstreams:", "\ninsecure: { plain_http_issuers: [patients] }\nupstreams:");
    let (is_well, found) = patient.examine(&[]);
    assert!(is_well, "{found:#?}");
    for look in ["backend", "upstream", "issuer", "clock", "redis", "file", "system"] {
        assert!(
            found.iter().any(|it| it["look"] == look && it["verdict"] != "failure"),
            "{look}: {found:#?}"
        );
    }
    assert_eq!(redis.say(&["KEYS", "*look*text*"]), "", "nothing is left behind");
    let (_, text, _) = run(patient.dir.path(), &[]);
    assert!(text.lines().last().is_some_and(|line| line.contains(" 0 failures")), "{text}");
}

#[test]
fn an_application_that_answers_around_the_gateway_is_a_failure() {
    let Some(own) = own_address() else { return };
    let mut patient = Patient::new();
    assert!(patient.said(&[], "ok", "backend").contains("does not answer on the other"));
    let wide = TcpListener::bind("0.0.0.0:0").expect("bound");
    let (narrow, port) =
        (patient.app.local_addr().expect("an address"), wide.local_addr().expect("one").port());
    patient.change(&narrow.to_string(), &format!("127.0.0.1:{port}"));
    let said = patient.said(&[], "failure", "backend");
    assert!(said.contains(&format!("{own}:{port}")) && said.contains("Unix socket"), "{said}");
    // An address that no interface has, as a proxy before the pod may.
    patient.change(&format!("127.0.0.1:{port}"), &narrow.to_string());
    let beside = TcpListener::bind(("127.0.0.9", narrow.port())).expect("bound");
    let said = patient.said(&["--pod-address", "127.0.0.9"], "failure", "backend");
    assert!(said.contains(&beside.local_addr().expect("an address").to_string()), "{said}");
}

#[test]
fn an_envoy_that_lets_pass_what_nobody_judged_is_a_failure() {
    let patient = Patient::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/envoy/ext-authz-grpc.yaml");
    let text = std::fs::read_to_string(shipped).expect("shipped");
    patient.file("sound.yaml", &text, 0o644);
    patient.file("open.yaml", &text.replace("failure_mode_allow: false", "failure_mode_allow: true"), 0o644);
    let path = |name: &str| patient.dir.path().join(name).display().to_string();
    let said = patient.said(&["--envoy", &path("sound.yaml")], "ok", "envoy");
    assert!(said.contains("sound.yaml"), "{said}");
    let both = [path("sound.yaml"), path("open.yaml")];
    let said = patient.said(&["--envoy", &both[0], "--envoy", &both[1]], "failure", "envoy");
    assert!(said.contains("open.yaml") && said.contains("failure_mode_allow"), "{said}");
    assert!(patient.said(&["--envoy", "/nowhere"], "failure", "envoy").contains("can't be read"));
}

#[test]
fn a_dead_application_and_a_dead_sink_are_failures() {
    let mut patient = Patient::new();
    let dead = free_address();
    let sink =
        format!("audit: {{ dir: ./audit, sinks: [{{ name: siem, type: http, url: \"http://{dead}/x\" }}] }}");
    patient.change("audit: { dir: ./audit }", &sink);
    let said = patient.said(&[], "failure", "sink");
    assert!(said.contains("siem") && said.contains(&dead.to_string()) && said.contains("pile up"), "{said}");
    let app = patient.app.local_addr().expect("an address").to_string();
    patient.change(&app, &free_address().to_string());
    assert!(patient.said(&[], "failure", "upstream").contains("start the application"));
    // Who swallows everything holds nobody up for long.
    patient.change(&format!("http://{dead}"), "https://192.0.2.1:9");
    let begun = Instant::now();
    patient.said(&[], "failure", "sink");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn an_issuers_clock_is_compared() {
    for (ahead, verdict) in [(10, "warning"), (-300, "failure")] {
        let mut patient = Patient::new();
        let keys = format!("jwks: {{ url: \"http://{}/keys\" }}", issuer(ahead));
        patient.change("jwks: { file: jwks.json }", &keys);
        patient.change("\nupstreams:", "\ninsecure: { plain_http_issuers: [patients] }\nupstreams:");
        let said = patient.said(&[], verdict, "clock");
        assert!(said.contains("patients") && said.contains("NTP"), "{said}");
    }
}

#[test]
fn an_issuer_that_is_gone_is_a_failure() {
    let mut patient = Patient::new();
    let keys = format!("jwks: {{ url: \"http://{}/keys\" }}", free_address());
    patient.change("jwks: { file: jwks.json }", &keys);
    patient.change("\nupstreams:", "\ninsecure: { plain_http_issuers: [patients] }\nupstreams:");
    assert!(patient.said(&[], "failure", "issuer").contains("can't be reached"));
}

#[test]
fn a_secret_that_everybody_may_read_is_a_failure() {
    let mut patient = Patient::new();
    patient.change(
        "state: { single_replica: true }",
        "state: { single_replica: true, data_dir: ./state, encryption_keys: [{ id: k1, file: key }] }",
    );
    patient.file("key", SECRET, 0o644);
    let said = patient.said(&[], "failure", "file");
    assert!(said.contains("everybody may read it") && said.contains("0644"), "{said}");
    patient.file("key", SECRET, 0o640);
    // Its mode stays as it was when there is a file already.
    let path = patient.dir.path().join("key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("set");
    let (is_well, found) = patient.examine(&[]);
    assert!(is_well, "{found:#?}");
}

#[test]
fn certificates_that_end_are_told_before() {
    let date = |days: i64| {
        let there = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let date = there.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(
            date.year().into(),
            u8::try_from(date.month()).expect("small"),
            u8::try_from(date.day()).expect("small"),
        )
    };
    for (days, verdict) in [(-3, "failure"), (4, "failure"), (20, "warning"), (90, "ok")] {
        let mut patient = Patient::new();
        let mut parameters =
            rcgen::CertificateParams::new(vec!["portal.clinic.example".to_owned()]).expect("parameters");
        (parameters.not_before, parameters.not_after) = (date(-100), date(days));
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        patient.file("portal.crt", &certificate.pem(), 0o644);
        patient.file("portal.key", &key.serialize_pem(), 0o400);
        let at = patient.config.find("listeners:").expect("listeners");
        let line = patient.config[at..].lines().next().expect("a line").to_owned();
        let with = line.replace(
            "\" }]",
            "\", tls: { certificates: [{ cert_file: portal.crt, key_file: portal.key }] } }]",
        );
        assert_ne!(line, with);
        patient.change(&line, &with);
        let (_, found) = patient.examine(&[]);
        let of = found.iter().find(|it| it["look"] == "certificate").unwrap_or_else(|| panic!("{found:#?}"));
        assert_eq!(of["verdict"], verdict, "{days}: {of}");
    }
}

#[test]
fn a_server_whose_certificate_nobody_vouches_for_is_a_failure() {
    let mut patient = Patient::new();
    patient.file("ca.pem", &Authority::new("ours").pem, 0o644);
    let app = patient.app.local_addr().expect("an address");
    let with = format!("endpoints: [\"{app}\"]\n    tls: {{ ca_file: ca.pem, server_name: app.example }}");
    patient.change(&format!("endpoints: [\"{app}\"]"), &with);
    // It accepts and says nothing, as a server without TLS may.
    let (is_well, found) = patient.examine(&[]);
    assert!(!is_well, "{found:#?}");
    assert!(patient.said(&[], "failure", "upstream").contains("no answer within"));
}

#[test]
fn what_redis_lacks_is_named() {
    let mut patient = Patient::new();
    patient.file("key", SECRET, 0o400);
    patient.file("password", SECRET, 0o400);
    let redis = Redis::start(&["--maxmemory-policy", "allkeys-lru"]);
    let all = "+publish +subscribe +eval +get +set +del +mget +hincrby +hgetall +hdel +zadd +zcard +zremrangebyscore +zremrangebyrank +pexpire +pttl +time +info +wait +ping";
    let user = |rights: &str| {
        let mut words = vec!["ACL", "SETUSER", "wardgate", "reset", "on"];
        let password = format!(">{SECRET}");
        words.extend([password.as_str(), "~wardgate:*", "&wardgate:revised", "-@all"]);
        words.extend(rights.split(' '));
        assert_eq!(redis.say(&words), "OK");
    };
    user(&all.replace(" +hdel", "").replace("+publish ", ""));
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], username: wardgate, password_file: password }}, encryption_keys: [{{ id: k1, file: key }}] }}",
        redis.address
    );
    patient.change("state: { single_replica: true }", &state);
    let (failures, warnings) = (patient.said(&[], "failure", "redis"), patient.said(&[], "warning", "redis"));
    assert!(failures.contains("may not run HDEL") && failures.contains("allkeys-lru"), "{failures}");
    assert!(warnings.contains("append-only") && warnings.contains("may not announce"), "{warnings}");
    user(all);
    redis.say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.say(&["CONFIG", "SET", "appendonly", "yes"]);
    let (is_well, found) = patient.examine(&[]);
    assert!(is_well, "the rights of docs/state.md are enough: {found:#?}");
    patient.file("password-2", "wrong", 0o400);
    patient.change("password_file: password", "password_file: password-2");
    assert!(patient.said(&[], "failure", "redis").contains("the password is refused"));
}

#[test]
fn a_faulty_configuration_is_told_as_check_tells_it() {
    let mut patient = Patient::new();
    patient.change("tier: critical", "tier: critcal");
    assert!(patient.said(&[], "failure", "config").contains("wardgate check"));
}
