//! Many at once: keys are fetched once, made-up key names cost the issuer nothing, one proof pays once.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{EXPORT, JSON, PROFILE, READ, proofs, setup};
use crate::support::upstream::{Behaviour, Recorded};
use crate::support::{Connection, Recorder, Signer, eventually};

const REQUESTS: usize = 10_000;
const LONG: Duration = Duration::from_secs(60);

/// As many connections as the system's limit on open files allows; each takes up to four of them.
fn connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    files.map_or(100, |files: usize| (files / 8).clamp(100, 1000))
}

/// Serves keys, but only while the gate is open.
fn key_server(keys: &str, gate: &Arc<AtomicBool>) -> Recorder {
    let (gate, keys) = (Arc::clone(gate), keys.to_owned());
    let behaviour: Behaviour = Arc::new(move |_: &Recorded, stream: &mut std::net::TcpStream| {
        while !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{keys}", keys.len()).is_ok()
    });
    Recorder::behaving(behaviour)
}

fn fetching_keys_from(server: &Recorder, more: &str) -> impl FnOnce(String) -> String {
    let jwks = format!(r#"jwks: {{ url: "http://{}/keys", timeout: 30s, {more} }}"#, server.address);
    move |text| {
        let text = text.replace("jwks: { file: jwks.json }", &jwks);
        text.replace("upstreams:", "insecure: { plain_http_issuers: [patients] }\nupstreams:")
    }
}

/// Runs one client on each of so many threads; each gets its number.
fn together(clients: usize, client: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for number in 0..clients {
            let client = &client;
            let builder = std::thread::Builder::new().stack_size(256 * 1024);
            builder.spawn_scoped(scope, move || client(number)).expect("a thread");
        }
    });
}

#[test]
fn ten_thousand_cold_requests_fetch_the_keys_once() {
    let (upstream, signer, gate) = (Recorder::start(), Signer::new(), Arc::new(AtomicBool::new(false)));
    let keys = key_server(signer.jwks(), &gate);
    let gateway = setup(upstream.address, &signer, fetching_keys_from(&keys, "refresh: 1h")).start_unready();
    let clients = connections();
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            together(clients, |_| {
                let mut connection = Connection::open(gateway.address).expect("a connection");
                // A token of its own: nobody's was verified before.
                let token = signer.bearer("p1", "aal1", 30);
                for _ in 0..REQUESTS / clients {
                    let answer =
                        connection.ask("GET", READ, &[("Authorization", &token)], b"").expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        let all = f64::from(u32::try_from(clients).expect("small"));
        eventually("all wait for the keys", LONG, || gateway.metric("wardgate_requests_in_flight") >= all);
        assert_eq!(upstream.count(), 0);
        gate.store(true, Ordering::SeqCst);
    });
    assert_eq!(served.into_inner(), REQUESTS / clients * clients);
    assert_eq!(keys.count(), 1, "the keys were fetched more than once");
    assert_eq!(upstream.count(), REQUESTS / clients * clients);
    assert_eq!(upstream.count(), gateway.admitted_intents());
}

#[test]
fn five_thousand_made_up_key_names_cost_one_fetch_an_interval() {
    let (upstream, signer, gate) = (Recorder::start(), Signer::new(), Arc::new(AtomicBool::new(true)));
    let keys = key_server(signer.jwks(), &gate);
    let interval = Duration::from_secs(2);
    let more = "refresh: 1h, unknown_kid_interval: 2s";
    let gateway = setup(upstream.address, &signer, fetching_keys_from(&keys, more)).start();
    // Under another key of the same name; who has no such key can't tell that the name was changed after that.
    let strangers = Signer::new().bearer("p1", "aal2", 5);
    let (_, signed) = strangers.split_once('.').expect("three parts");
    let began = Instant::now();
    together(50, |_| {
        let mut connection = Connection::open(gateway.address).expect("a connection");
        for _ in 0..100 {
            let name = uuid::Uuid::now_v7().to_string();
            let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": name}).to_string();
            let bearer = format!("Bearer {}.{signed}", URL_SAFE_NO_PAD.encode(header));
            let answer = connection.ask("GET", READ, &[("Authorization", &bearer)], b"").expect("an answer");
            assert_eq!(answer.status, 401, "{}", answer.text());
        }
    });
    // One at the start, one for the first made-up name, and one more for each interval that passed.
    let most = 2 + began.elapsed().as_millis() / interval.as_millis();
    let fetches = keys.count();
    assert!(u128::try_from(fetches).expect("small") <= most, "{fetches} fetches, at most {most} are due");
    let of_the_known_name = Connection::open(gateway.address)
        .and_then(|mut it| it.ask("GET", READ, &[("Authorization", &strangers)], b""));
    assert_eq!(of_the_known_name.expect("an answer").status, 401);
    assert_eq!(upstream.count(), 0);
    let good = signer.bearer("p1", "aal1", 5);
    let answer = Connection::open(gateway.address)
        .and_then(|mut it| it.ask("GET", READ, &[("Authorization", &good)], b""));
    assert_eq!(answer.expect("an answer").status, 200, "the flood stopped nobody else");
}

#[test]
fn of_sixteen_racers_on_each_of_twenty_proofs_one_wins() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    // Both ways that lead upstream: the body is read for one of these routes, and streamed for the other.
    let gateway = setup(upstream.address, &signer, |text| text).start();
    let proofs = proofs(&gateway, &signer, 20);
    let mut won = Vec::new();
    for proof in &proofs {
        // On connections that are open already, so that the requests leave at the same moment.
        let opened = (0..16).map(|_| Connection::open(gateway.address).expect("a connection"));
        let racers: Vec<Mutex<(Connection, u16)>> =
            opened.map(|connection| Mutex::new((connection, 0))).collect();
        together(racers.len(), |number| {
            let mut racer = racers[number].lock().expect("its own");
            let target = if number % 2 == 0 { PROFILE } else { EXPORT };
            let answer = racer.0.ask("PUT", target, &[("Authorization", proof), JSON], br#"{"address":"x"}"#);
            racer.1 = answer.map_or(0, |answer| answer.status);
        });
        let mut statuses: Vec<u16> =
            racers.into_iter().map(|racer| racer.into_inner().expect("whole").1).collect();
        statuses.sort_unstable();
        won.push(statuses);
    }
    let mut expected = vec![200];
    expected.resize(16, 401);
    assert!(won.iter().all(|statuses| *statuses == expected), "{won:?}");
    assert_eq!(upstream.count(), 20);
    assert_eq!(gateway.admitted_intents(), 20);
    assert_eq!(gateway.metric(r#"wardgate_proofs_total{result="spent"}"#), 20.0);
    assert_eq!(gateway.metric(r#"wardgate_proofs_total{result="already_spent"}"#), 300.0);
}
