//! What may have taken effect is not sent again; what can't have is sent again at most once.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{EXPORT, JSON, NOTES, PROFILE, READ, proofs, start};
use crate::support::upstream::Behaviour;
use crate::support::{Connection, Recorder, wire};

const SERVED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const ANSWERED_IN: Duration = Duration::from_millis(100);
/// How long the gateway mostly takes to put a connection by for the next request. On a machine that is
/// busy it takes longer: whoever needs a kept connection asks until one was used.
const PUT_BY: Duration = Duration::from_millis(200);
/// How often somebody asks before no connection is ever kept.
const ASKED: usize = 20;

/// Serves so many requests on each connection, each after a moment, and cuts it at the next.
struct Cutting {
    upstream: Recorder,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Cutting {
    fn after(served: usize) -> Self {
        let peers = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&peers);
        let behaviour: Behaviour = Arc::new(move |_, stream| {
            let peer = stream.peer_addr().expect("a peer");
            let number = {
                let mut seen = seen.lock().expect("whole");
                seen.push(peer);
                seen.iter().filter(|known| **known == peer).count()
            };
            std::thread::sleep(ANSWERED_IN);
            number <= served && stream.write_all(SERVED).is_ok()
        });
        Self { upstream: Recorder::behaving(behaviour), peers }
    }

    /// How many requests came on each connection.
    fn per_connection(&self) -> Vec<usize> {
        let mut counts = HashMap::<SocketAddr, usize>::new();
        for peer in self.peers.lock().expect("whole").iter() {
            *counts.entry(*peer).or_default() += 1;
        }
        let mut counts: Vec<usize> = counts.into_values().collect();
        counts.sort_unstable();
        counts
    }
}

#[test]
fn a_post_on_a_kept_connection_that_is_cut_is_not_sent_again() {
    // The first kind is streamed, the second read before it is sent.
    for kind in ["text/csv", "application/x-www-form-urlencoded"] {
        let cutting = Cutting::after(1);
        let (gateway, signer) = start(&cutting.upstream);
        let token = signer.bearer("p1", "aal1", 5);
        let headers = [("Authorization", token.as_str()), ("Content-Type", kind)];
        let mut connection = Connection::open(gateway.address).expect("a connection");
        let mut post = || connection.ask("POST", NOTES, &headers, b"note").expect("an answer");
        assert_eq!(post().status, 200);
        let cut = (0..ASKED).find_map(|_| {
            std::thread::sleep(PUT_BY);
            let before = cutting.upstream.count();
            let answer = post();
            assert_eq!(cutting.upstream.count(), before + 1, "nothing was sent again");
            (answer.status != 200).then_some(answer)
        });
        let cut = cut.expect("a connection is kept");
        assert_eq!((cut.status, cut.text().contains("upstream_broken")), (502, true), "{kind}: {cut:?}");
        assert_eq!(cutting.per_connection().last(), Some(&2), "it went down the connection that was kept");
    }
}

#[test]
fn a_get_is_sent_again_once() {
    let cutting = Cutting::after(1);
    let (gateway, signer) = start(&cutting.upstream);
    let token = signer.bearer("p1", "aal1", 5);
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let mut get =
        || connection.ask("GET", READ, &[("Authorization", &token)], b"").expect("an answer").status;
    assert_eq!(get(), 200);
    let asked = (2..=ASKED).find(|_| {
        std::thread::sleep(PUT_BY);
        let before = cutting.upstream.count();
        assert_eq!(get(), 200);
        let sent = cutting.upstream.count() - before;
        assert!(sent <= 2, "sent {sent} times");
        sent == 2
    });
    let asked = asked.expect("a connection is kept");
    assert_eq!(cutting.per_connection().last(), Some(&2), "sent on the kept connection, then on a new one");
    assert_eq!(gateway.admitted_intents(), asked, "each is one request all the same");
}

#[test]
fn a_get_is_not_sent_down_every_kept_connection_in_turn() {
    let cutting = Cutting::after(1);
    let (gateway, signer) = start(&cutting.upstream);
    let token = signer.bearer("p1", "aal1", 5);
    let headers = [("Authorization", token.as_str())];
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| wire::once(gateway.address, "GET", READ, &headers, b"").expect("an answer"));
        }
    });
    std::thread::sleep(PUT_BY);
    let before = cutting.upstream.count();
    let _ = wire::once(gateway.address, "GET", READ, &headers, b"").expect("an answer");
    let sent = cutting.upstream.count() - before;
    assert!(sent <= 2, "sent {sent} times");
}

#[test]
fn a_get_that_fails_on_a_new_connection_fails() {
    let cutting = Cutting::after(0);
    let (gateway, signer) = start(&cutting.upstream);
    let token = signer.bearer("p1", "aal1", 5);
    let answer =
        wire::once(gateway.address, "GET", READ, &[("Authorization", &token)], b"").expect("an answer");
    assert_eq!(answer.status, 502);
    assert!(cutting.upstream.count() <= 2);
}

#[test]
fn what_costs_a_proof_is_never_sent_again() {
    for (target, body) in [(EXPORT, "{}"), (EXPORT, ""), (PROFILE, r#"{"address":"x"}"#)] {
        let cutting = Cutting::after(1);
        let (gateway, signer) = start(&cutting.upstream);
        let proof = proofs(&gateway, &signer, 1).remove(0);
        let mut connection = Connection::open(gateway.address).expect("a connection");
        let headers = [("Authorization", proof.as_str()), JSON];
        // One that is kept for each of the two ways upstream.
        for (method, target, body) in [("GET", READ, ""), ("PUT", PROFILE, r#"{"language":"es"}"#)] {
            assert_eq!(
                connection.ask(method, target, &headers, body.as_bytes()).expect("an answer").status,
                200
            );
        }
        std::thread::sleep(PUT_BY);
        let before = cutting.upstream.count();
        let cut = connection.ask("PUT", target, &headers, body.as_bytes()).expect("an answer");
        // PUT may be repeated by its nature; the proof may not.
        if cut.status == 502 {
            assert_eq!(cut.json()["type"], "urn:wardgate:problem:upstream_broken");
        }
        assert_eq!(cutting.upstream.count(), before + 1, "{target} {body}");
    }
}

#[test]
fn a_connection_that_the_upstream_closed_in_peace_costs_nothing() {
    let behaviour: Behaviour = Arc::new(|_, stream| {
        let _ = stream.write_all(SERVED);
        std::thread::sleep(Duration::from_millis(20));
        false
    });
    let upstream = Recorder::behaving(behaviour);
    let (gateway, signer) = start(&upstream);
    let token = signer.bearer("p1", "aal1", 5);
    let mut connection = Connection::open(gateway.address).expect("a connection");
    for _ in 0..10 {
        for (method, target, body) in [("POST", NOTES, "note"), ("PUT", PROFILE, r#"{"language":"es"}"#)] {
            let headers = [("Authorization", token.as_str()), JSON];
            let answer = connection.ask(method, target, &headers, body.as_bytes()).expect("an answer");
            assert_eq!(answer.status, 200, "{target}");
        }
        // Long after it has closed, on a machine with other work too.
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(upstream.count(), 20, "each was sent once");
}
