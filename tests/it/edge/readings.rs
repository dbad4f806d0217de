//! What real servers serve for odd targets, against what the gateway takes these targets for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::servers::Servers;
use crate::support::{Gateway, Signer, http, tokens};

/// Targets that are made up for each server, beside the listed ones.
const GENERATED: usize = 160;

/// One server behind the gateway, under a host of its own.
struct Place {
    host: &'static str,
    address: SocketAddr,
    /// What the configuration says of how it reads.
    relaxed: &'static str,
    /// What it protects, and how that is spelled in a target.
    prefix: &'static str,
    spelled: &'static str,
}

fn places(servers: &Servers) -> [Place; 8] {
    let place =
        |host, address, relaxed| Place { host, address, relaxed, prefix: "/kiosk", spelled: "/kiosk" };
    [
        place("nginx.test", servers.nginx, ""),
        place("nginx-insensitive.test", servers.nginx_insensitive, ", path_case: insensitive"),
        Place {
            prefix: "/legacy/kiosk",
            spelled: "/legacy/kiosk",
            ..place("mixed.test", servers.nginx_legacy, ", path_case: insensitive")
        },
        place("node-url.test", servers.node_url, ""),
        place("node-servlet.test", servers.node_servlet, ", allow: [path_params]"),
        place("node-windows.test", servers.node_windows, ", path_case: insensitive, allow: [path_params]"),
        place("python.test", servers.python, ""),
        Place {
            prefix: "/k\u{fc}che",
            spelled: "/k%FCche",
            ..place("python-latin1.test", servers.python_latin1, ", allow: [latin1]")
        },
    ]
}

fn start(places: &[Place], relax: bool) -> (Gateway, Signer) {
    let signer = Signer::new();
    let (mut upstreams, mut routes) = (String::new(), String::new());
    for (at, place) in places.iter().enumerate() {
        let (host, prefix) = (place.host, place.prefix);
        let relaxed = if relax { place.relaxed } else { "" };
        upstreams += &format!("  up{at}: {{ endpoints: [\"{}\"]{relaxed} }}\n", place.address);
        // What is open beside the protected prefix: all of the same upstream, or another one's where two share a host.
        let open = if prefix.starts_with("/legacy") { "other" } else { &format!("up{at}") };
        routes += &format!(
            "  - {{ id: p{at}.open, match: {{ host: {host}, path: \"/**\", methods: [GET] }}, upstream: {open}, access: public }}
  - {{ id: p{at}.protected, match: {{ host: {host}, path: \"{prefix}/**\", methods: [GET] }}, upstream: up{at}, tier: low, any_of: [{{ issuer: patients }}] }}\n"
        );
        if prefix.starts_with("/legacy") {
            routes += &format!(
                "  - {{ id: p{at}.legacy, match: {{ host: {host}, path: \"/legacy/**\", methods: [GET] }}, upstream: up{at}, access: public }}\n"
            );
        }
    }
    let text = tokens::config(places[0].address, &routes);
    // The stranger under whose catch-all the legacy application hangs protects nothing of that name.
    let more = format!("  other: {{ endpoints: [\"{}\"] }}\n{upstreams}audit:", places[7].address);
    let text = text.replace("audit:", &more);
    let gateway =
        Gateway::start(&text, |dir| std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable"));
    (gateway, signer)
}

/// Small and the same on every run: a failure can be looked at again.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(most).unwrap()).unwrap()
    }

    fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }
}

/// Targets that some server may take for one below the protected prefix.
fn targets(spelled: &str) -> Vec<String> {
    let mut targets: Vec<String> = [
        "{}/x",
        "{}",
        "{}/",
        "/{}/x",
        "//h{}/x",
        "/.{}/x",
        "/./{}/x",
        "/other/..{}/x",
        "/other/%2e%2e{}/x",
        "/other/.%2e{}/x",
        "/other/..;{}/x",
        "/other/..;/{}/x",
        "/;{}/x",
        "/;x{}/x",
        "/%2e{}/x",
        "/%2f{}/x",
        "/%5c{}/x",
        "/\\{}/x",
        "{};x/x",
        "{};x=1;y/x",
        "{}/x;jsessionid=1",
        "{}%3bx/x",
        "{}%2fx",
        "{}%5cx",
        "{}\\x",
        "{}#/x",
        "/#{}/x",
        "{}?x",
        "/?{}/x",
        "{}%23x",
        "{}%3fx",
        "{}%00/x",
        "{}%20/x",
        "{}./x",
        "{}%2e/x",
        "{}::$DATA/x",
        "/other/../{}/x",
        "/other//..{}/x",
        "/%u006biosk/x",
        "/kio%73k/x",
        "/%6biosk/x",
        "/%256biosk/x",
        "/KIOSK/x",
        "/Kiosk/x",
        "/legacy/KIOSK/x",
        "/LEGACY/kiosk/x",
        "/legacy/%6Biosk/x",
        "/legacy/x/../kiosk/x",
        "/%E2%84%AAiosk/x",
        "/kio%C5%BFk/x",
        "/k%C4%B1osk/x",
        "/%EF%BD%8Biosk/x",
        "/%c1%abiosk/x",
        "/k%C3%BCche/x",
        "/k%fcche/x",
        "/k%FCche/../k%FCche/x",
        "/K%DCCHE/x",
        "http://h{}/x",
        "*",
        "{}/../other/x",
        "{}/%2e%2e/other/x",
        "/legacy;x{}/x",
        "/legacy/;x/kiosk/x",
        "/legacy/..{}/x",
        "/kiosk%0a/x",
        "/kiosk%09",
        "/other/x/%2e%2e/%2E%2E{}/x",
    ]
    .iter()
    .map(|pattern| pattern.replace("{}", spelled))
    .collect();
    let mut random = Random(0x05ee_d0f1_dea5);
    let words = [
        "kiosk",
        "KIOSK",
        "Kiosk",
        "%6biosk",
        "kios%6B",
        "k%69osk",
        "legacy",
        "LEGACY",
        "other",
        "k%FCche",
        "k%C3%BCche",
    ];
    let joints =
        ["/", "/", "/", "//", "/./", "/../", "/;x/", ";x/", ";/", "%2f", "\\", "/%2e/", "/..;/", "/%2e%2e/"];
    let ends = ["", "/", "/x", "/x", ";x", "?q", "#f", "%00", "/.", "%20", "."];
    for _ in 0..GENERATED {
        let mut target = random.of(&["/", "/", "/", "//", "/./", "/;x/", "/%2e/"]).to_owned();
        for _ in 0..=random.below(3) {
            target += random.of(&words);
            target += random.of(&joints);
        }
        target += random.of(&words);
        target += random.of(&ends);
        targets.push(target);
    }
    targets.sort();
    targets.dedup();
    targets
}

/// Sends a target as it stands; the answer's status and body, or nothing where there is no answer.
fn ask(address: SocketAddr, host: &str, target: &str, token: Option<&str>) -> Option<http::Answer> {
    let authorization = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n");
    let answer = http::raw(address, request.as_bytes(), Duration::from_secs(10)).ok()?;
    http::parse(&answer).ok()
}

fn serves_protected(answer: &Option<http::Answer>) -> bool {
    answer.as_ref().is_some_and(|answer| answer.status == 200 && answer.body.contains("protected"))
}

/// The targets by which somebody without a token gets at what is protected.
fn leaks(gateway: &Gateway, place: &Place, targets: &[String]) -> Vec<String> {
    let leaks = |target: &&String| serves_protected(&ask(gateway.address, place.host, target, None));
    targets.iter().filter(leaks).cloned().collect()
}

#[test]
fn what_a_server_serves_as_protected_was_classified_so() {
    let servers = Servers::start();
    let places = places(&servers);
    let (gateway, signer) = start(&places, true);
    let token = signer.bearer("p1", "aal1", 0);
    let mut served: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for (at, place) in places.iter().enumerate() {
        let targets = targets(place.spelled);
        let direct: Vec<&String> = targets
            .iter()
            .filter(|target| serves_protected(&ask(place.address, place.host, target, None)))
            .collect();
        assert!(direct.len() >= 5, "{} knows only {direct:?}: the comparison says nothing", place.host);
        assert_eq!(leaks(&gateway, place, &targets), Vec::<String>::new(), "{}", place.host);
        let mut through = 0;
        for target in direct {
            let answer = ask(gateway.address, place.host, target, Some(&token));
            if serves_protected(&answer) {
                through += 1;
                let decision = answer.expect("an answer").decision().to_owned();
                served.insert(decision, (at, target.clone()));
            }
        }
        assert!(through > 0, "{} serves nothing at all through the gateway", place.host);
        let relaxed = ask(gateway.address, place.host, &format!("{}/x", place.spelled), Some(&token));
        assert!(serves_protected(&relaxed), "{}", place.host);
    }
    let records = gateway.audit();
    for record in records.iter().filter(|record| record["event"] == "intent") {
        if let Some((at, target)) = served.remove(record["decision"].as_str().expect("an id")) {
            assert_eq!(record["action"], format!("p{at}.protected"), "{target}");
        }
    }
    assert!(served.is_empty(), "served without a record: {served:?}");
}

#[test]
fn relaxations_let_through_what_their_servers_mean() {
    let servers = Servers::start();
    let places = places(&servers);
    let (gateway, signer) = start(&places, true);
    let token = signer.bearer("p1", "aal1", 0);
    for (host, target, status, served) in [
        ("nginx-insensitive.test", "/KIOSK/x", 200, true),
        ("mixed.test", "/legacy/KIOSK/x", 200, true),
        ("mixed.test", "/LEGACY/kiosk/x", 400, false),
        ("mixed.test", "/other/KIOSK", 200, false),
        ("node-servlet.test", "/kiosk;jsessionid=1/x", 200, true),
        ("node-servlet.test", "/other/x;jsessionid=1", 200, false),
        ("node-servlet.test", "/other/..;/kiosk", 400, false),
        ("node-windows.test", "/KiOsK;x/x", 200, true),
        ("node-windows.test", "/%E2%84%AAiosk/x", 400, false),
        ("python-latin1.test", "/k%FCche/x", 200, true),
        ("python-latin1.test", "/k%C3%BCche/x", 404, false),
        ("node-url.test", "/kiosk;x/x", 400, false),
        ("nginx.test", "/k%FCche", 400, false),
    ] {
        let answer = ask(gateway.address, host, target, Some(&token));
        assert_eq!(answer.as_ref().map(|answer| answer.status), Some(status), "{host}{target}");
        assert_eq!(serves_protected(&answer), served, "{host}{target}");
    }
    let said = gateway.logs().join("\n");
    for what in ["differ in capitals only", "`;` parameters", "ISO 8859-1"] {
        assert!(said.contains(what), "not logged at start: {what}");
    }
}

/// What shows that the comparison above can fail.
#[test]
fn a_server_whose_reading_is_not_said_leaks_what_it_protects() {
    let servers = Servers::start();
    let places = places(&servers);
    let (gateway, _) = start(&places, false);
    let [_, insensitive, _, _, _, windows, ..] = &places;
    assert_eq!((insensitive.host, windows.host), ("nginx-insensitive.test", "node-windows.test"));
    assert!(!leaks(&gateway, windows, &targets(windows.spelled)).is_empty());
    // Capitals alone are caught even so: a path that is near a more specific route is no other route's.
    assert_eq!(leaks(&gateway, insensitive, &targets(insensitive.spelled)), Vec::<String>::new());
}
