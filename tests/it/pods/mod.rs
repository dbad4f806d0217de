//! Sidecars as pods wire them, in network namespaces of this machine: nothing leads around the gateway, and pods come and go
//! without a lost request. What only a cluster can show is left out: kube-proxy's own delays, the kubelet itself, images.

mod pod;

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use crate::support::{Connection, Signer, eventually, http};
use pod::{APP, LONG, Pod};

const READ: &str = "/patients/p1/results/1";
const NOTES: &str = "/patients/p1/notes";
const ON_LOOPBACK: &str = "127.0.0.1:8080";
const ON_SOCKET: &str = "unix:$DIR/app.sock";

/// Whether somebody answers there.
fn answers(pod: &Pod, port: u16) -> bool {
    TcpStream::connect_timeout(&pod.at(port), Duration::from_secs(5)).is_ok()
}

#[test]
fn an_application_on_loopback_is_reached_through_the_gateway_alone() {
    let signer = Signer::new();
    let pod = Pod::start("a", ON_LOOPBACK, &signer);
    assert_eq!(pod.open_ports(), [8443, 9901]);
    assert!(!answers(&pod, APP), "the application answers around the gateway");
    let doctor = pod.doctor();
    assert!(!doctor.is_empty() && doctor.iter().all(|line| line.starts_with("ok ")), "{doctor:?}");
    let refused = http::get(pod.portal(), READ).expect("an answer");
    assert_eq!(refused.status, 401);
    let token = signer.bearer("p1", "aal1", 5);
    let answer = http::send(pod.portal(), "GET", READ, &[("Authorization", &token)], b"").expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "a GET 0"));
    let other = http::send(pod.portal(), "GET", "/patients/p2/results/1", &[("Authorization", &token)], b"");
    assert_eq!(other.expect("an answer").status, 403);
}

#[test]
fn an_application_on_a_socket_has_no_port_at_all() {
    let signer = Signer::new();
    let pod = Pod::start("a", ON_SOCKET, &signer);
    assert_eq!(pod.open_ports(), [8443, 9901]);
    let token = signer.bearer("p1", "aal1", 5);
    let answer = http::send(pod.portal(), "POST", NOTES, &[("Authorization", &token)], b"note");
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "a POST 4"));
}

/// So that the test above can fail: this is what it would look like.
#[test]
fn an_application_on_every_address_can_be_reached_around_the_gateway() {
    let signer = Signer::new();
    let pod = Pod::start("a", "0.0.0.0:8080", &signer);
    assert_eq!(pod.open_ports(), [APP, 8443, 9901]);
    assert_eq!(http::get(pod.at(APP), READ).expect("an answer").status, 200);
    let doctor = pod.doctor();
    assert!(doctor.iter().any(|line| line.starts_with("failure ")), "{doctor:?}");
}

/// Clients behind a Service: each keeps its connection as long as the gateway lets it, and opens the next to a pod that is
/// among the endpoints.
struct Clients<'a> {
    endpoints: RwLock<Vec<std::net::SocketAddr>>,
    signer: &'a Signer,
    served: AtomicUsize,
    over: AtomicBool,
    lost: Mutex<Vec<String>>,
}

impl Clients<'_> {
    fn open(&self, number: usize) -> Option<Connection> {
        let endpoints = self.endpoints.read().expect("whole").clone();
        Connection::open(*endpoints.get(number % endpoints.len().max(1))?).ok()
    }

    fn ask(&self) {
        let token = self.signer.bearer("p1", "aal1", 5);
        let (mut kept, mut number) = (None::<Connection>, 0_usize);
        while !self.over.load(Ordering::SeqCst) {
            number += 1;
            let connection = kept.take().filter(|kept| !kept.is_closed()).or_else(|| self.open(number));
            let Some(mut connection) = connection else { return self.lose("no connection".to_owned()) };
            let (method, target, body) =
                if number.is_multiple_of(2) { ("POST", NOTES, "a note") } else { ("GET", READ, "") };
            match connection.ask(method, target, &[("Authorization", &token)], body.as_bytes()) {
                Ok(answer) if answer.status == 200 => {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    kept = (!answer.closes()).then_some(connection);
                }
                Ok(answer) => return self.lose(format!("{}: {}", answer.status, answer.text())),
                Err(error) => return self.lose(format!("{method}: {error}")),
            }
        }
    }

    fn lose(&self, what: String) {
        self.lost.lock().expect("whole").push(what);
    }

    fn is_whole(&self) -> bool {
        self.lost.lock().expect("whole").is_empty()
    }

    /// Waits for as many more requests.
    fn go_on(&self) {
        let from = self.served.load(Ordering::Relaxed);
        let enough = || self.served.load(Ordering::Relaxed) >= from + 100 || !self.is_whole();
        eventually("requests are served", LONG, enough);
    }
}

/// How long the news that a pod ends takes to the last client; `preStop` of the application waits longer.
const PROPAGATION: Duration = Duration::from_millis(700);
const PRE_STOP: Duration = Duration::from_secs(2);

/// Replaces pods one after the other under load; what was lost.
fn roll(times: usize, end: impl Fn(&mut Pod)) -> (usize, Vec<String>) {
    let signer = Signer::new();
    let mut pod = Pod::start("0", ON_LOOPBACK, &signer);
    let clients = Clients {
        endpoints: RwLock::new(vec![pod.portal()]),
        signer: &signer,
        served: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        lost: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| clients.ask());
        }
        for number in 1..=times {
            clients.go_on();
            let next = Pod::start(&number.to_string(), ON_LOOPBACK, &signer);
            clients.endpoints.write().expect("whole").push(next.portal());
            clients.go_on();
            let mut old = std::mem::replace(&mut pod, next);
            let gone = old.portal();
            let clients = &clients;
            scope.spawn(move || {
                std::thread::sleep(PROPAGATION);
                clients.endpoints.write().expect("whole").retain(|address| *address != gone);
            });
            end(&mut old);
            clients.go_on();
        }
        clients.over.store(true, Ordering::SeqCst);
    });
    (clients.served.into_inner(), clients.lost.into_inner().expect("whole"))
}

#[test]
fn pods_are_replaced_without_a_lost_request() {
    let (served, lost) = roll(3, |pod| {
        pod.drain();
        std::thread::sleep(PRE_STOP);
        pod.end();
    });
    assert!(lost.is_empty(), "{} of {served}: {lost:?}", lost.len());
}

/// So that the test above can fail: kept connections go on leading to a gateway whose application has gone.
#[test]
fn without_a_word_to_the_sidecar_requests_are_lost() {
    let (_, lost) = roll(1, |pod| {
        std::thread::sleep(PRE_STOP);
        pod.end();
    });
    assert!(
        lost.iter().all(|why| why.starts_with("502") || why.starts_with("503")) && !lost.is_empty(),
        "{lost:?}"
    );
}
