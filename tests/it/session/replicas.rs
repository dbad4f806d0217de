//! Two gateways that share a Redis: a session is one at both, and over at both.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::browser::{NAVIGATION, portal};
use super::{RESULTS, config, signed_in};
use crate::support::redis::Redis;
use crate::support::{Gateway, Idp, Recorder, Setup, eventually, http};

const SOON: Duration = Duration::from_secs(15);

fn shown(gateway: &Gateway, session: &str) -> u16 {
    let line = format!("__Host-wardgate-session={session}");
    http::send(gateway.address, "GET", RESULTS, &[("Cookie", &line)], b"").expect("an answer").status
}

/// Begins to read events that have no end.
fn listening(gateway: &Gateway, session: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    let request = format!(
        "GET {RESULTS}/events HTTP/1.1\r\nHost: portal.example\r\nCookie: __Host-wardgate-session={session}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut said = String::new();
    while !said.contains("data: here") {
        let mut bytes = [0; 1_024];
        let count = stream.read(&mut bytes).expect("an answer");
        assert!(count > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    stream
}

fn ends(mut stream: TcpStream) {
    let mut bytes = [0; 1_024];
    eventually("the stream ends", SOON, || match stream.read(&mut bytes) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    });
}

#[test]
fn a_session_is_shared_by_gateways_and_ends_at_all_of_them() {
    let (idp, server) = (Idp::shared(), Redis::start(&[]));
    let upstream = Recorder::behaving(Arc::new(|request, stream: &mut TcpStream| {
        if !request.target().ends_with("/events") {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok();
        }
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        let mut going = stream.write_all(head).is_ok();
        while going {
            going = stream.write_all(b"data: here\n\n").is_ok();
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }));
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}\n\
         operators: {{ address: \"unix:$DIR/operators.sock\" }}",
        server.address
    );
    let text =
        config(&idp.issuer, "desk", "", upstream.address).replace("state: { single_replica: true }", &state);
    let start = || {
        let setup = Setup::new(&text, |dir| {
            std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
            std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written");
        });
        setup.start()
    };
    let [one, two] = [start(), start()];

    let mut alice = signed_in(&one, "alice");
    let session = alice.session().expect("a session").to_owned();
    let stays = signed_in(&two, "nora").session().expect("a session").to_owned();
    assert_eq!((shown(&one, &session), shown(&two, &session)), (200, 200), "one session, two gateways");
    let (here, there) = (listening(&one, &session), listening(&two, &session));
    let mut own = NAVIGATION.to_vec();
    own.push(("Sec-Fetch-Site", "same-origin"));
    assert_eq!(alice.ask("POST", &portal("/_wardgate/sign-out"), &own, b"").status, 303);
    // Also at the gateway that had just read it and remembers it.
    assert_eq!((shown(&two, &session), shown(&one, &session)), (401, 401), "a copy of its name");
    ends(here);
    ends(there);

    // An operator ends everything of hers at one gateway.
    let session = signed_in(&two, "alice").session().expect("a session").to_owned();
    assert_eq!((shown(&one, &session), shown(&two, &session)), (200, 200));
    let there = listening(&two, &session);
    let revoked = Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .args(["revoke", "--issuer", "patients", "--subject", "alice", "--socket"])
        .arg(one.dir.path().join("operators.sock"))
        .output()
        .expect("the program runs");
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    assert_eq!((shown(&two, &session), shown(&one, &session)), (401, 401));
    ends(there);
    // Nobody else's. nora is no patient: she is known, and refused.
    assert_eq!((shown(&one, &stays), shown(&two, &stays)), (403, 403));
}
