//! Reloads: what is sound is in force within seconds, what is not changes nothing and is told everywhere.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{reloads, rewrite};
use crate::support::{Connection, Gateway, Recorder, Setup, Signer, eventually, http, tokens};

const LONG: Duration = Duration::from_secs(20);
const READ: &str = "/patients/p1/results/1";
const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;
const MORE: &str = r#"  - { id: more, match: { path: "/more", methods: [GET] }, upstream: app, access: public }
"#;

fn setup(upstream: &Recorder, signer: &Signer) -> Setup {
    let keys = signer.jwks().to_owned();
    Setup::new(&tokens::config(upstream.address, ROUTES), |dir| {
        std::fs::write(dir.join("jwks.json"), keys).expect("writable")
    })
}

fn status(gateway: &Gateway, target: &str) -> u16 {
    http::get(gateway.address, target).expect("an answer").status
}

fn configuration(gateway: &Gateway) -> Value {
    let page = gateway.telemetry_page("/readyz");
    assert_eq!(page.status, 200, "a refused file is no reason to take no requests: {}", page.body);
    page.json()["configuration"].clone()
}

#[test]
fn a_changed_file_is_in_force_without_a_signal_and_on_open_connections() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer).start();
    let mut connection = Connection::open(gateway.address).expect("a connection");
    assert_eq!(connection.ask("GET", "/more", &[], b"").expect("an answer").status, 404);
    let before = configuration(&gateway)["policy"].as_str().expect("a version").to_owned();
    rewrite(&gateway, |text| format!("{text}{MORE}"));
    eventually("the new route serves", LONG, || status(&gateway, "/more") == 200);
    assert_eq!(connection.ask("GET", "/more", &[], b"").expect("an answer").status, 200);
    let token = signer.bearer("p1", "aal1", 5);
    let answer = connection.ask("GET", READ, &[("Authorization", &token)], b"").expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());

    let told = configuration(&gateway);
    assert_eq!(told["last_reload"], "accepted");
    assert_ne!(told["policy"], before);
    assert_eq!((reloads(&gateway, "accepted"), reloads(&gateway, "refused")), (1.0, 0.0));
    assert_eq!(gateway.metric("wardgate_config_last_reload_successful"), 1.0);
    let records = gateway.audit();
    let loads: Vec<&Value> = records.iter().filter(|record| record["event"] == "reloaded").collect();
    assert_eq!(loads.len(), 1);
    assert_eq!((&loads[0]["policy"], &loads[0]["previous"]), (&told["policy"], &before.into()));
    let last = records.iter().rfind(|record| record["input"].is_object()).expect("a decision");
    assert_eq!(last["input"]["policy"], told["policy"], "a decision names the version it was made by");
}

#[test]
fn what_is_not_sound_changes_nothing_and_is_told_everywhere() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer).start();
    let path = gateway.dir.path().join("gateway.yaml");
    let sound = std::fs::read_to_string(&path).expect("the configuration");
    let failing = format!("{MORE}cases: [{{ name: shut, as: nobody, request: GET /more, expect: deny }}]\n");
    let listen = gateway.address.to_string();
    let faults: [(&str, String); 6] = [
        ("WG002", format!("{sound}{MORE}]]]\n")),
        ("WG014", format!("{sound}{MORE}").replace("tier: low", "tier: lwo")),
        ("WG091", format!("{sound}{failing}")),
        ("WG130", format!("{sound}{MORE}").replace(&listen, "127.0.0.1:9")),
        ("WG131", format!("{sound}{MORE}").replace("jwks.json", "empty.json")),
        ("WG001", String::new()),
    ];
    std::fs::write(gateway.dir.path().join("empty.json"), "{\"keys\":[]}").expect("writable");
    for (code, text) in &faults {
        match text.as_str() {
            "" => std::fs::remove_file(&path).expect("removed"),
            text => std::fs::write(&path, text).expect("writable"),
        }
        gateway.signal("HUP");
        // It may be read twice: when it is found changed, and when the signal asks.
        let findings = || configuration(&gateway)["findings"].to_string();
        eventually(&format!("{code} is refused"), LONG, || findings().contains(code));
        let (told, findings) = (configuration(&gateway), findings());
        assert_eq!(told["last_reload"], "refused");
        if *code == "WG130" {
            assert!(findings.contains("restart needed: `listeners[0].address`"), "{findings}");
        }
        assert_eq!((status(&gateway, "/"), status(&gateway, "/more")), (200, 404), "{code}");
        assert_eq!(gateway.metric("wardgate_config_last_reload_successful"), 0.0);
        eventually(&format!("{code} is logged"), LONG, || {
            gateway.logs().iter().any(|line| line.contains(code))
        });
        let records = gateway.audit();
        let refused = records.iter().rfind(|record| record["event"] == "reload_refused").expect("recorded");
        assert!(refused["findings"].to_string().contains(code), "{refused}");
        assert_eq!(refused["policy"], told["policy"]);
    }
    assert_eq!(reloads(&gateway, "accepted"), 0.0);
    assert!(reloads(&gateway, "refused") >= faults.len() as f64);
    std::fs::write(&path, format!("{sound}{MORE}")).expect("writable");
    eventually("what is sound again is taken", LONG, || status(&gateway, "/more") == 200);
    assert_eq!(gateway.metric("wardgate_config_last_reload_successful"), 1.0);
    assert_eq!(configuration(&gateway)["last_reload"], "accepted");
}

#[test]
fn a_file_that_is_refused_is_not_refused_again_and_again() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer).start();
    rewrite(&gateway, |text| text.replace("tier: low", "tier: lwo"));
    eventually("it is refused", LONG, || reloads(&gateway, "refused") == 1.0);
    // Two more looks at it.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(reloads(&gateway, "refused"), 1.0);
}

#[test]
fn a_load_that_can_not_be_recorded_is_not_in_force() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer).with_small_files().start();
    rewrite(&gateway, |text| format!("{text}{MORE}"));
    let size = std::fs::metadata(gateway.audit_file()).expect("the journal").len();
    gateway.limit_files(Some(size));
    gateway.signal("HUP");
    eventually("it is refused", LONG, || reloads(&gateway, "refused") >= 1.0);
    gateway.limit_files(None);
    assert_eq!(status(&gateway, "/more"), 404);
    gateway.signal("HUP");
    eventually("the next attempt succeeds", LONG, || status(&gateway, "/more") == 200);
}

#[test]
fn a_mounted_config_map_is_exchanged_by_its_link() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = Setup::new(&tokens::config(upstream.address, ROUTES), |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::create_dir(dir.join("..2026_01")).expect("a directory");
        symlink("..2026_01", dir.join("..data")).expect("a link");
        symlink("..data/gateway.yaml", dir.join("gateway.yaml")).expect("a link");
    });
    let gateway = setup.start();
    let dir = gateway.dir.path();
    let text = std::fs::read_to_string(dir.join("gateway.yaml")).expect("the configuration");
    std::fs::create_dir(dir.join("..2026_02")).expect("a directory");
    std::fs::write(dir.join("..2026_02/gateway.yaml"), format!("{text}{MORE}")).expect("writable");
    symlink("..2026_02", dir.join("..data_tmp")).expect("a link");
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("exchanged");
    eventually("the new route serves", LONG, || status(&gateway, "/more") == 200);
    assert_eq!(reloads(&gateway, "refused"), 0.0);
}

#[test]
fn keys_in_a_file_are_read_anew_when_they_change() {
    let (upstream, old, new) = (Recorder::start(), Signer::new(), Signer::new());
    let gateway = setup(&upstream, &old).start();
    let ask = |signer: &Signer| {
        let token = signer.bearer("p1", "aal1", 5);
        http::send(gateway.address, "GET", READ, &[("Authorization", &token)], b"").expect("an answer").status
    };
    assert_eq!((ask(&old), ask(&new)), (200, 401));
    std::fs::write(gateway.dir.path().join("jwks.json"), new.jwks()).expect("writable");
    eventually("the new keys count", LONG, || ask(&new) == 200);
    assert_eq!(ask(&old), 401);
}

#[test]
fn a_reload_asks_no_issuer_for_keys_it_has() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let keys = signer.jwks().to_owned();
    let issuer = Recorder::behaving(Arc::new(move |_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{keys}", keys.len()).is_ok()
    }));
    let remote = format!("jwks: {{ url: \"http://{}/keys\" }}", issuer.address);
    let config = tokens::config(upstream.address, ROUTES).replace("jwks: { file: jwks.json }", &remote);
    let config = format!("{config}insecure: {{ plain_http_issuers: [patients] }}\n");
    let gateway = Setup::new(&config, |_| ()).start();
    let (token, fetched) = (signer.bearer("p1", "aal1", 5), issuer.count());
    for number in 1..=3 {
        // A change of the issuer's rules, so that its verifier is made anew.
        rewrite(&gateway, |text| text.replace("[portal-api", &format!("[portal-api, other-{number}")));
        gateway.signal("HUP");
        eventually("it is taken", LONG, || reloads(&gateway, "accepted") >= f64::from(number));
        let answer = http::send(gateway.address, "GET", READ, &[("Authorization", &token)], b"");
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!(issuer.count(), fetched);
}

/// An upstream that answers with its name, where the assertion it gets is meant for it.
fn named(name: &'static str) -> Recorder {
    Recorder::behaving(Arc::new(move |request, stream| {
        let audience = request.values("x-wardgate-assertion").first().and_then(|assertion| {
            let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
            Some(serde_json::from_slice::<Value>(&claims).ok()?["aud"] == name)
        });
        let status = if audience.unwrap_or(true) { 200 } else { 500 };
        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{name}", name.len()).is_ok()
    }))
}

/// A configuration whose version shows in its routes, and whose upstreams stand in one order or the other.
fn versioned(number: usize, upstreams: [&Recorder; 2]) -> String {
    let route = |path: &str, upstream: &str| {
        format!(
            "  - {{ id: r{upstream}, match: {{ path: \"/patients/{{patient}}/{path}\", methods: [GET] }}, upstream: {upstream},
      tier: low, patient: {{ from: path.patient }}, any_of: [{{ patient: self }}] }}\n"
        )
    };
    let routes = format!("{}{}", route(&format!("v{number}"), "app"), route("b", "b"));
    let [app, b] = upstreams.map(|upstream| upstream.address);
    let text = tokens::config(app, &routes);
    let other = format!(
        "  b: {{ endpoints: [\"{b}\"], identity: {{ header: x-wardgate-assertion, audience: b }} }}\n"
    );
    if number.is_multiple_of(2) {
        text.replace("upstreams:\n", &format!("upstreams:\n{other}"))
    } else {
        text.replace("audit:", &format!("{other}audit:"))
    }
}

struct Soak {
    /// The newest version that may be in force.
    written: AtomicUsize,
    /// The oldest that may be.
    in_force: AtomicUsize,
    over: AtomicBool,
    asked: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

/// Asks for what the version in force has, and for what only the one before had.
fn check_versions(gateway: &Gateway, token: &str, soak: &Soak) {
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let mut ask = |target: &str| match connection.ask("GET", target, &[("Authorization", token)], b"") {
        Ok(answer) => (answer.status, answer.text()),
        Err(error) => (0, error.to_string()),
    };
    while !soak.over.load(Ordering::SeqCst) {
        let before = soak.in_force.load(Ordering::SeqCst);
        let there = ask(&format!("/patients/p1/v{before}"));
        let gone = ask(&format!("/patients/p1/v{}", before - 1));
        let other = ask("/patients/p1/b");
        let is_stable = soak.written.load(Ordering::SeqCst) == before;
        soak.asked.fetch_add(3, Ordering::Relaxed);
        let mut faults = Vec::new();
        if !(there == (200, "app".to_owned()) || (there.0 == 404 && !is_stable)) {
            faults.push(format!("v{before} (stable: {is_stable}): {there:?}"));
        }
        if gone.0 != 404 {
            faults.push(format!("v{}: {gone:?}", before - 1));
        }
        if other != (200, "b".to_owned()) {
            faults.push(format!("b: {other:?}"));
        }
        soak.faults.lock().expect("whole").extend(faults);
    }
}

/// Reloads so often under load, one file in four broken; gives the number of requests.
fn reload_under_load(times: usize) -> usize {
    let (app, b, signer) = (named("app"), named("b"), Signer::new());
    let config = versioned(1, [&app, &b]);
    let gateway =
        Setup::new(&config, |dir| std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable"))
            .start();
    let fill = |text: &str| {
        let text = text.replace("$LISTEN", &gateway.address.to_string());
        text.replace("$TELEMETRY", &gateway.telemetry.to_string())
    };
    let soak = Soak {
        written: AtomicUsize::new(1),
        in_force: AtomicUsize::new(1),
        over: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
        faults: Mutex::default(),
    };
    let token = super::lasting(&signer);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| check_versions(&gateway, &token, &soak));
        }
        let path = gateway.dir.path().join("gateway.yaml");
        let mut version = 1;
        for number in 1..=times {
            let before = configuration(&gateway);
            let is_broken = number % 4 == 0;
            let text = fill(&versioned(version + 1, [&app, &b]));
            if is_broken {
                std::fs::write(&path, text.replace("tier: low", "tier: lwo")).expect("writable");
            } else {
                version += 1;
                soak.written.store(version, Ordering::SeqCst);
                std::fs::write(&path, text).expect("writable");
            }
            gateway.signal("HUP");
            eventually(&format!("reload {number} is done"), LONG, || {
                let told = configuration(&gateway);
                if is_broken { told["last_reload"] == "refused" } else { told["policy"] != before["policy"] }
            });
            soak.in_force.store(version, Ordering::SeqCst);
            // A while in which nothing changes.
            let from = soak.asked.load(Ordering::Relaxed);
            eventually("requests are answered", LONG, || soak.asked.load(Ordering::Relaxed) > from + 60);
            if !soak.faults.lock().expect("whole").is_empty() {
                break;
            }
        }
        soak.over.store(true, Ordering::SeqCst);
    });
    let faults = soak.faults.into_inner().expect("whole");
    assert!(faults.is_empty(), "{faults:?}");
    soak.asked.into_inner()
}

#[test]
fn under_load_the_policy_is_right_at_every_moment() {
    reload_under_load(8);
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn soak_200_reloads() {
    let asked = reload_under_load(200);
    println!(
        "200 reloads, one file in four broken, {asked} requests: 0 failed, the right policy at every moment"
    );
}
