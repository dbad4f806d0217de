//! Clients that keep asking, over HTTP/1.1 and HTTP/2, while programs come and go.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};

use super::super::h2::{H2, whole};
use super::super::pki::{Authority, Client};
use super::super::{journals, lasting};
use super::{Line, NOTES, READ, ROUTES};
use crate::support::{Connection, Recorder, Setup, Signer, eventually, free_address, tokens};

/// Streams at a time on each HTTP/2 connection.
const STREAMS: usize = 8;

/// What came of a load under which nothing was lost.
pub struct Served {
    /// Requests.
    pub all: usize,
    /// Those over HTTP/2.
    pub http2: usize,
    /// Streams that a GOAWAY named as not taken, and that were sent again on another connection (RFC 9113 §6.8).
    pub refused: usize,
}

/// What keeps asking.
struct Load {
    plain: SocketAddr,
    encrypted: SocketAddr,
    client: Client,
    token: String,
    over: AtomicBool,
    served: AtomicUsize,
    http2: AtomicUsize,
    refused: AtomicUsize,
    lost: Mutex<Vec<String>>,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn lose(&self, what: String) {
        self.lost.lock().expect("whole").push(what);
    }

    /// One client with a connection that it keeps as long as the gateway lets it; every second request is a POST.
    fn ask_http1(&self) {
        let mut kept = None::<Connection>;
        let mut number = 0_usize;
        while self.goes_on() {
            // A connection that was closed before anything was sent on it is simply replaced.
            let mut connection = match kept.take().filter(|kept| !kept.is_closed()) {
                Some(connection) => connection,
                None => match Connection::open(self.plain) {
                    Ok(connection) => connection,
                    Err(error) => return self.lose(format!("no connection: {error}")),
                },
            };
            number += 1;
            let (method, target, body) = kind(number);
            match connection.ask(method, target, &[("Authorization", &self.token)], body.as_bytes()) {
                Ok(answer) if answer.status == 200 => {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    kept = (!answer.closes()).then_some(connection);
                }
                Ok(answer) => self.lose(format!("{}: {}", answer.status, answer.text())),
                Err(error) => self.lose(format!("{method}: {error}")),
            }
        }
    }

    /// One client of HTTP/2, which opens a connection when the one before takes no more.
    async fn ask_http2(&self) {
        let mut numbers = [0_usize; STREAMS];
        while self.goes_on() {
            let connection = match H2::connect(self.encrypted, &self.client).await {
                Ok(connection) => connection,
                Err(error) => return self.lose(format!("no connection of HTTP/2: {error}")),
            };
            join_all(numbers.iter_mut().map(|number| self.ask_on(&connection, number))).await;
            // A gateway that has finished may be gone before the client's own goodbye: then that can't be written.
            if let Err(error) = connection.ended().await
                && !error.is_io()
            {
                self.lose(format!("a connection of HTTP/2 ended with {error}"));
            }
        }
    }

    /// Asks one request after the other, until the connection takes no more.
    async fn ask_on(&self, connection: &H2, number: &mut usize) {
        while self.goes_on() {
            // Nothing was sent where this fails.
            let Ok(mut ready) = connection.send.clone().ready().await else { return };
            let (method, target, body) = kind(*number + 1);
            let request = Request::builder()
                .method(method)
                .uri(format!("https://portal.example{target}"))
                .header("authorization", &self.token);
            let request = request.body(()).expect("a request");
            let Ok((answer, mut stream)) = ready.send_request(request, body.is_empty()) else { return };
            if !body.is_empty() {
                // Where this fails, the answer says why.
                let _ = stream.send_data(Bytes::from_static(body.as_bytes()), true);
            }
            match whole(answer).await {
                Ok((StatusCode::OK, _)) => {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    self.http2.fetch_add(1, Ordering::Relaxed);
                    *number += 1;
                }
                Ok((status, body)) => {
                    return self.lose(format!("HTTP/2: {status}: {}", String::from_utf8_lossy(&body)));
                }
                Err(error) if was_not_taken(&error) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) => return self.lose(format!("HTTP/2, {method}: {error}")),
            }
        }
    }
}

fn kind(number: usize) -> (&'static str, &'static str, &'static str) {
    if number.is_multiple_of(2) { ("POST", NOTES, "a note") } else { ("GET", READ, "") }
}

/// Whether the gateway said in order that it did not look at a stream: its GOAWAY names an earlier one as the last.
fn was_not_taken(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

/// Upgrades so often, each after so many more requests.
pub fn upgrade_under_load(
    times: usize,
    http1_clients: usize,
    http2_clients: usize,
    requests_between: usize,
) -> Served {
    let (upstream, signer, authority) = (Recorder::forgetful(), Signer::new(), Authority::new("servers"));
    let encrypted = free_address();
    let plain = r#"{ name: portal, address: "$LISTEN" }"#;
    let config = tokens::config(upstream.address, ROUTES);
    assert!(config.contains(plain));
    let both = format!(
        r#"{plain}, {{ name: apps, address: "{encrypted}", tls: {{ cert_file: tls.crt, key_file: tls.key }} }}"#
    );
    let line = Line::start(Setup::new(&config.replace(plain, &both), |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        authority.issue(&["portal.example"]).write(dir, "tls");
    }));
    let load = Load {
        plain: line.gateway.address,
        encrypted,
        client: Client::trusting(&authority).speaking("h2"),
        token: lasting(&signer),
        over: AtomicBool::new(false),
        served: AtomicUsize::new(0),
        http2: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        lost: Mutex::default(),
    };
    let mut pids = HashSet::from([line.pid()]);
    std::thread::scope(|scope| {
        for _ in 0..http1_clients {
            scope.spawn(|| load.ask_http1());
        }
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let clients = join_all((0..http2_clients).map(|_| load.ask_http2()));
            runtime.expect("a runtime").block_on(clients);
        });
        for _ in 0..times {
            let is_whole = || load.lost.lock().expect("whole").is_empty();
            let from = load.served.load(Ordering::Relaxed);
            eventually("requests are served", Duration::from_secs(300), || {
                load.served.load(Ordering::Relaxed) >= from + requests_between || !is_whole()
            });
            if !is_whole() {
                break;
            }
            let old = line.upgrade();
            assert!(pids.insert(line.pid()), "a process took over from itself");
            line.wait_for_end(old);
        }
        load.over.store(true, Ordering::SeqCst);
    });
    let [all, http2, refused] = [load.served, load.http2, load.refused].map(AtomicUsize::into_inner);
    let lost = load.lost.into_inner().expect("whole");
    assert!(lost.is_empty(), "{} of {all} were lost: {lost:?}", lost.len());
    assert!(http2 > all / 10, "hardly anything went over HTTP/2: {http2} of {all}");
    let last = line.pid();
    line.signal("TERM");
    line.wait_for_end(last);
    assert_recorded(&line, all, times + 1);
    Served { all, http2, refused }
}

/// Every request is recorded once, by one of so many programs, and no journal has a gap.
fn assert_recorded(line: &Line, served: usize, programs: usize) {
    let journals = journals(line.gateway.dir.path());
    let (mut intents, mut outcomes, mut numbers) = (0, 0, HashSet::new());
    for journal in &journals {
        let sequence: Vec<u64> =
            journal.iter().map(|record| record["seq"].as_u64().expect("a number")).collect();
        assert!(sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "a journal has a gap");
        for record in journal {
            assert!(numbers.insert((record["origin"].to_string(), record["seq"].as_u64())), "{record}");
            intents += usize::from(record["event"] == "intent");
            outcomes += usize::from(record["event"] == "outcome" && record["result"] == "completed");
        }
    }
    let origins: HashSet<&String> = numbers.iter().map(|(origin, _)| origin).collect();
    assert_eq!((intents, outcomes, origins.len()), (served, served, programs));
}
