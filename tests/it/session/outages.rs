//! What becomes of sessions when something fails: the store, the issuer, or nothing but time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::browser::{Browser, portal};
use super::{RESULTS, config, running, signed_in};
use crate::support::redis::Redis;
use crate::support::{Gateway, Idp, Recorder, eventually};

const ALONE: &str = "state: { single_replica: true }";

#[test]
fn signing_out_while_the_store_is_away_promises_nothing() {
    let (idp, upstream, server) = (Idp::shared(), Recorder::start(), Redis::start(&[]));
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"] }}, encryption_keys: [{{ id: k1, file: $DIR/k1 }}] }}",
        server.address
    );
    let text = config(&idp.issuer, "desk", "", upstream.address).replace(ALONE, &state);
    let gateway = Gateway::start(&text, |dir| {
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written");
    });
    let mut alice = signed_in(&gateway, "alice");
    // What is remembered for a moment is forgotten.
    std::thread::sleep(Duration::from_millis(2_500));
    server.freeze();
    let own = [("Sec-Fetch-Site", "same-origin"), ("Content-Type", "application/x-www-form-urlencoded")];
    let answer = alice.ask("POST", &portal("/_wardgate/sign-out"), &own, b"");
    assert_eq!((answer.status, answer.header("location")), (503, None), "{answer:?}");
    assert!(alice.session().is_some(), "the browser keeps it, to try again");
    assert_eq!(
        alice.step(&portal("/_wardgate/sign-out")).status,
        503,
        "nor is it said that nobody is signed in"
    );
    server.thaw();
    eventually("the session is there again", Duration::from_secs(15), || {
        alice.fetch("GET", RESULTS).status == 200
    });
    let answer = alice.ask("POST", &portal("/_wardgate/sign-out"), &own, b"");
    assert_eq!((answer.status, alice.session()), (303, None));
    let trail = super::events(&gateway);
    assert!(trail.contains(&("sign_out".to_owned(), "store_unavailable".to_owned())), "{trail:?}");
    assert!(trail.contains(&("sign_out".to_owned(), "ok".to_owned())), "{trail:?}");
}

#[test]
fn a_wrong_secret_ends_nobodys_session() {
    let idp = Idp::start();
    let (gateway, _upstream) = super::start(&idp, "desk-short", "");
    let mut nora = signed_in(&gateway, "nora");
    idp.fail("token", Some("unauthorized"));
    std::thread::sleep(Duration::from_millis(3_100));
    assert_eq!(nora.fetch("GET", "/ward").status, 200, "what was known counts on");
    idp.fail("token", None);
    let asked = idp.asked("token");
    eventually("the claims are renewed", Duration::from_secs(90), || {
        assert_eq!(nora.fetch("GET", "/ward").status, 200);
        let renewed = ("refresh".to_owned(), "ok".to_owned());
        idp.asked("token") > asked && super::events(&gateway).contains(&renewed)
    });
}

#[test]
fn who_is_revoked_is_told_so_and_not_sent_round_and_round() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let text = config(&idp.issuer, "desk", "", upstream.address)
        .replace("telemetry: {", "operators: { address: \"unix:$DIR/operators.sock\" }\ntelemetry: {");
    let gateway = running(&text);
    let mut alice = signed_in(&gateway, "alice");
    let tomorrow = (jiff::Timestamp::now().as_second() + 86_400).to_string();
    let told = Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .args(["revoke", "--issuer", "patients", "--subject", "alice", "--not-before", &tomorrow, "--socket"])
        .arg(gateway.dir.path().join("operators.sock"))
        .status()
        .expect("the program runs");
    assert!(told.success());
    assert_eq!(alice.fetch("GET", RESULTS).status, 401);
    let arrived = alice.go(&portal(RESULTS));
    assert!(arrived.url.contains("/_wardgate/callback"), "{:?}", arrived.way);
    assert_eq!(arrived.answer.status, 403, "{:?}", arrived.answer);
    let refused = ("sign_in".to_owned(), "revoked".to_owned());
    assert!(super::events(&gateway).contains(&refused));
    assert_eq!(Browser::new(gateway.address, "bob").go(&portal("/")).answer.status, 200, "others sign in");
}

#[test]
fn a_stream_ends_when_its_session_is_idle() {
    let idp = Idp::shared();
    let upstream = Recorder::behaving(Arc::new(|_, stream: &mut TcpStream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        let mut going = stream.write_all(head).is_ok();
        while going {
            going = stream.write_all(b"data: still here\n\n").is_ok();
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    }));
    let text = config(&idp.issuer, "desk", "      session: { idle: 4s, absolute: 60s }", upstream.address);
    let gateway = running(&text);
    // Nothing is asked of the upstream here, which would talk for ever.
    let mut alice = Browser::new(gateway.address, "alice");
    let callback = alice.go_until_callback(&portal("/_wardgate/sign-in?to=%2F"));
    assert_eq!(alice.step(&callback).status, 303);
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a socket");
    let session = alice.session().expect("a session");
    let request = format!(
        "GET {RESULTS} HTTP/1.1\r\nHost: portal.example\r\nAccept: text/event-stream\r\nSec-Fetch-Mode: cors\r\n\
         Sec-Fetch-Site: same-origin\r\nCookie: __Host-wardgate-session={session}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
    let begun = std::time::Instant::now();
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "it goes on for ever");
    }
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("still here"), "{said}");
    assert_eq!(gateway.metric("wardgate_streams_ended_total{why=\"session\"}"), 1.0);
}

#[test]
fn nobody_fills_the_store_with_sign_ins_that_never_end() {
    let idp = Idp::shared();
    let (gateway, _upstream) = super::start(idp, "desk", "");
    let target = portal("/_wardgate/sign-in?to=%2F");
    let mut statuses = Vec::new();
    for _ in 0..400 {
        // A new browser each time: nothing but the address tells that it is one.
        let answer = Browser::new(gateway.address, "alice").step(&target);
        statuses.push(answer.status);
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            break;
        }
    }
    assert_eq!(statuses.last(), Some(&429), "{} were begun", statuses.len());
    assert!(statuses.len() > 300 && statuses[..300].iter().all(|status| *status == 303), "{statuses:?}");
}
