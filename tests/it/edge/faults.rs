//! Everything that a service can do wrong, in HTTP/1.1 and in HTTP/2: a decided answer, one outcome in the journal,
//! nothing sent twice that must not be, nothing that hangs.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backends::{Authority, Encrypted, read_head, read_on, serve_async, setup};
use crate::support::{Connection, Gateway, Signer, eventually, free_address, wire};

/// What the client must see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// An answer of the gateway's own, or the upstream's.
    Status(u16),
    /// One of two: which depends on who is faster.
    Either(u16, u16),
    /// A head, and then an end that can't be taken for whole.
    BrokenOff,
}

struct Fault {
    name: &'static str,
    address: SocketAddr,
    seen: Seen,
    /// The outcome in the journal.
    outcomes: &'static [&'static str],
    requests: Arc<AtomicUsize>,
    tls: &'static str,
}

const UNREACHABLE: &[&str] = &["upstream_unreachable"];
const UNKNOWN: &[&str] = &["unknown"];

/// Closes so that the other end sees a reset.
fn reset(stream: &TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&stream.as_fd(), nix::sys::socket::sockopt::Linger, &linger).expect("set");
}

type Behaviour = fn(&mut TcpStream);

fn h1(name: &'static str, seen: Seen, outcomes: &'static [&'static str], behaviour: Behaviour) -> Fault {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                if read_head(&mut stream).is_some() {
                    counted.fetch_add(1, Ordering::SeqCst);
                    behaviour(&mut stream);
                }
            });
        }
    });
    Fault { name, address, seen, outcomes, requests, tls: "" }
}

fn say(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes());
}

fn http1_faults() -> Vec<Fault> {
    use Seen::{BrokenOff, Either, Status};
    vec![
        h1("reset-before", Status(502), UNKNOWN, |stream| reset(stream)),
        h1("reset-mid-headers", Status(502), UNKNOWN, |stream| {
            say(stream, "HTTP/1.1 200 OK\r\nContent-Le");
            std::thread::sleep(Duration::from_millis(100));
            reset(stream);
        }),
        h1("reset-mid-body", BrokenOff, UNKNOWN, |stream| {
            say(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
            std::thread::sleep(Duration::from_millis(100));
            reset(stream);
        }),
        h1("slow", Status(504), UNKNOWN, |stream| {
            say(stream, "HTTP/1.1 200 OK\r\n");
            read_on(stream);
        }),
        // Each byte is within `timeouts.read`, the whole is not.
        h1("dripping-head", Status(504), UNKNOWN, |stream| {
            let mut other = stream.try_clone().expect("a handle");
            let reader = std::thread::spawn(move || read_on(&mut other));
            say(stream, "HTTP/1.1 200 OK\r\nX-Slow: ");
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(200));
            }
            let _ = reader.join();
        }),
        h1("half-close", Status(502), UNKNOWN, |stream| {
            let _ = stream.shutdown(Shutdown::Write);
            read_on(stream);
        }),
        h1("half-close-mid-body", BrokenOff, UNKNOWN, |stream| {
            say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
            let _ = stream.shutdown(Shutdown::Write);
            read_on(stream);
        }),
        h1("bad-chunk", BrokenOff, UNKNOWN, |stream| {
            say(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n");
            read_on(stream);
        }),
        h1("early-response", Either(413, 502), &["completed", "unknown"], |stream| {
            say(stream, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }),
        h1("interim-storm", Status(502), UNKNOWN, |stream| {
            while stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").is_ok() {}
        }),
        h1("unasked-101", Status(502), UNKNOWN, |stream| {
            say(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsecret",
            );
            read_on(stream);
        }),
        h1("oversize-header", Status(502), UNKNOWN, |stream| {
            let large = "x".repeat(200_000);
            say(stream, &format!("HTTP/1.1 200 OK\r\nX-Large: {large}\r\nContent-Length: 2\r\n\r\nok"));
            read_on(stream);
        }),
        h1("endless-header", Status(502), UNKNOWN, |stream| {
            say(stream, "HTTP/1.1 200 OK\r\nX-Large: ");
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        }),
    ]
}

type Respond = h2::server::SendResponse<Bytes>;

fn h2<F>(
    name: &'static str,
    seen: Seen,
    outcomes: &'static [&'static str],
    behaviour: fn(Respond, h2::RecvStream) -> F,
) -> Fault
where
    F: Future<Output = ()> + Send + 'static,
{
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let address = serve_async(move |stream| {
        let counted = Arc::clone(&counted);
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(behaviour(respond, request.into_body()));
            }
        }
    });
    Fault { name, address, seen, outcomes, requests, tls: "" }
}

/// What can't be said with a library that keeps to the rules: the settings of a server, then these bytes at the first
/// request, then the end.
fn h2_bytes(name: &'static str, seen: Seen, bytes: &'static [u8]) -> Fault {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut preface = [0; 24];
                if stream.read_exact(&mut preface).is_err() {
                    return;
                }
                let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
                loop {
                    let mut frame = [0; 9];
                    if stream.read_exact(&mut frame).is_err() {
                        return;
                    }
                    let length = usize::from(frame[1]) * 256 + usize::from(frame[2]);
                    let mut payload = vec![0; length];
                    if stream.read_exact(&mut payload).is_err() {
                        return;
                    }
                    // HEADERS
                    if frame[3] == 1 {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let _ = stream.write_all(bytes);
                        std::thread::sleep(Duration::from_millis(100));
                        reset(&stream);
                        return;
                    }
                }
            });
        }
    });
    Fault { name, address, seen, outcomes: UNKNOWN, requests, tls: "" }
}

fn head(status: u16) -> ::http::Response<()> {
    let mut response = ::http::Response::new(());
    *response.status_mut() = ::http::StatusCode::from_u16(status).expect("a status");
    response
}

async fn for_ever() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

fn http2_faults() -> Vec<Fault> {
    use Seen::{BrokenOff, Either, Status};
    vec![
        h2("h2-reset-before", Status(502), UNKNOWN, |mut respond, _| async move {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
        }),
        // A HEADERS frame of 64 bytes of which ten come.
        h2_bytes(
            "h2-reset-mid-headers",
            Status(502),
            &[0, 0, 64, 1, 4, 0, 0, 0, 1, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        h2_bytes("h2-connection-cut", Status(502), &[]),
        h2("h2-reset-mid-body", BrokenOff, UNKNOWN, |mut respond, _| async move {
            let Ok(mut send) = respond.send_response(head(200), false) else { return };
            let _ = send.send_data("half".into(), false);
            tokio::time::sleep(Duration::from_millis(100)).await;
            send.send_reset(h2::Reason::INTERNAL_ERROR);
        }),
        h2("h2-slow", Status(504), UNKNOWN, |respond, body| async move {
            for_ever().await;
            drop((respond, body));
        }),
        h2("h2-too-short", BrokenOff, UNKNOWN, |mut respond, _| async move {
            let mut head = head(200);
            head.headers_mut().insert("content-length", "100".parse().expect("a value"));
            let Ok(mut send) = respond.send_response(head, false) else { return };
            let _ = send.send_data("half".into(), true);
        }),
        // A DATA frame for a stream that was never opened.
        h2_bytes("h2-bad-frame", Status(502), &[0, 0, 1, 0, 0, 0, 0, 0, 9, 0]),
        h2("h2-early-response", Either(413, 502), &["completed", "unknown"], |mut respond, _| async move {
            let _ = respond.send_response(head(413), true);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }),
        h2("h2-interim-storm", Status(504), UNKNOWN, |mut respond, _| async move {
            while respond.send_informational(head(103)).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }),
        // HEADERS with `:status: 101` and nothing after it: HTTP/2 has no such status (RFC 9113 §8.6).
        h2_bytes("h2-unasked-101", Status(502), &[0, 0, 5, 1, 4, 0, 0, 0, 1, 0x08, 0x03, b'1', b'0', b'1']),
        h2("h2-oversize-header", Status(502), UNKNOWN, |mut respond, _| async move {
            let mut head = head(200);
            head.headers_mut().insert("x-large", "x".repeat(200_000).parse().expect("a value"));
            let _ = respond.send_response(head, true);
            for_ever().await;
        }),
    ]
}

fn nobody(name: &'static str, address: SocketAddr) -> Fault {
    Fault { name, address, seen: Seen::Status(502), outcomes: UNREACHABLE, requests: Arc::default(), tls: "" }
}

fn tls_faults(own: &Authority, other: &Authority, http2: bool) -> Vec<Fault> {
    [
        ("tls-name", own.sign(&["other.example"], false)),
        ("tls-expired", own.sign(&["127.0.0.1"], true)),
        ("tls-authority", other.sign(&["127.0.0.1"], false)),
    ]
    .into_iter()
    .map(|(name, certificate)| {
        let server = Encrypted::start("a", &certificate, None, http2);
        Fault { requests: server.served, tls: ", tls: { ca_file: own.pem }", ..nobody(name, server.address) }
    })
    .collect()
}

struct Case {
    method: &'static str,
    path: &'static str,
    kind: &'static str,
    body: String,
}

fn cases() -> Vec<Case> {
    let case = |method, path, kind, body: &str| Case { method, path, kind, body: body.to_owned() };
    vec![
        case("GET", "r", "text/csv", ""),
        case("POST", "r", "text/csv", "small"),
        case("POST", "r", "text/csv", &"large".repeat(100_000)),
        // Read first, and sent on the other way.
        case("POST", "p1", "application/x-www-form-urlencoded", "a=b"),
    ]
}

fn start(faults: &[Fault], protocol: &str, own: &Authority, signer: &Signer) -> Gateway {
    let (mut upstreams, mut routes) = (String::new(), String::new());
    for Fault { name, address, tls, .. } in faults {
        let endpoint = if *name == "dns" { "gone.invalid:80".to_owned() } else { address.to_string() };
        upstreams.push_str(&format!(
            "  {name}: {{ protocol: {protocol}, endpoints: [\"{endpoint}\"], timeouts: {{ connect: 1s, read: 1s, write: 2s }}{tls} }}\n"
        ));
        routes.push_str(&format!(
            "  - {{ id: open.{name}, match: {{ path: /{name}/r, methods: [GET, POST] }}, upstream: {name}, access: public }}
  - {{ id: own.{name}, match: {{ path: \"/{name}/{{patient}}\", methods: [POST] }}, upstream: {name}, tier: moderate,
      patient: {{ from: path.patient }}, any_of: [{{ patient: self }}] }}\n"
        ));
    }
    setup(&upstreams, &routes, signer, |dir| std::fs::write(dir.join("own.pem"), own.pem()).expect("written"))
        .start()
}

fn all_faults_are_answered(faults: &[Fault], protocol: &str, own: &Authority) {
    let signer = Signer::new();
    let gateway = start(faults, protocol, own, &signer);
    let token = signer.bearer("p1", "aal1", 5);
    let mut asked = Vec::new();
    for fault in faults {
        for Case { method, path, kind, body } in cases() {
            let what = format!("{} {method} {path} {}", fault.name, body.len());
            let before = fault.requests.load(Ordering::SeqCst);
            let began = Instant::now();
            let decision = ask(&gateway, fault, (method, path, kind, &body), &token, &what);
            assert!(began.elapsed() < Duration::from_secs(12), "{what} took {:?}", began.elapsed());
            let sent = fault.requests.load(Ordering::SeqCst) - before;
            assert!(sent <= 1, "{what} was sent {sent} times");
            asked.push((decision, fault.outcomes, what));
        }
    }
    eventually("nothing hangs", Duration::from_secs(15), || {
        gateway.metric("wardgate_requests_in_flight") == 0.0
    });
    let records = gateway.audit();
    for (decision, outcomes, what) in asked {
        let found: Vec<&str> = records
            .iter()
            .filter(|record| record["decision"] == decision.as_str() && record["event"] == "outcome")
            .filter_map(|record| record["result"].as_str())
            .collect();
        assert!(matches!(found.as_slice(), [one] if outcomes.contains(one)), "{what}: {found:?}");
    }
    // It is as well as before.
    assert_eq!(gateway.telemetry_page("/healthz").status, 200);
    assert!(!gateway.logs().iter().any(|line| line.contains("panicked")), "{:?}", gateway.logs());
}

/// Asks, looks at what comes, and gives the decision's id.
fn ask(
    gateway: &Gateway,
    fault: &Fault,
    (method, path, kind, body): (&str, &str, &str, &str),
    token: &str,
    what: &str,
) -> String {
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let headers = [("Authorization", token), ("Content-Type", kind)];
    let target = format!("/{}/{path}", fault.name);
    let mut request = wire::head(method, &target, &headers, (!body.is_empty()).then_some(body.len()));
    request.push_str(body);
    // An answer may come, and the connection end, before all was sent.
    let _ = connection.stream.write_all(request.as_bytes());
    let mut heads = (0..100)
        .map(|_| connection.answer_head().unwrap_or_else(|error| panic!("{what}: no answer: {error}")));
    let answer = heads.find(|answer| !(100..200).contains(&answer.status));
    let answer = answer.unwrap_or_else(|| panic!("{what}: interim answers without end"));
    let mut got = Vec::new();
    let end = connection.body(&answer, |bytes| got.extend_from_slice(bytes));
    let seen = match fault.seen {
        Seen::Status(status) => answer.status == status && end.is_ok(),
        Seen::Either(one, other) => [one, other].contains(&answer.status),
        Seen::BrokenOff => answer.status == 200 && end.is_err(),
    };
    let text = String::from_utf8_lossy(&got);
    assert!(
        seen && !text.contains("secret"),
        "{what}: wanted {:?}, got {} {end:?} {text}",
        fault.seen,
        answer.status
    );
    answer.header("x-wardgate-decision").expect("a decision").to_owned()
}

#[test]
fn in_http1() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let mut faults = http1_faults();
    faults.push(nobody("refuse", free_address()));
    faults.push(nobody("dns", free_address()));
    faults.extend(tls_faults(&own, &other, false));
    all_faults_are_answered(&faults, "h1", &own);
}

#[test]
fn in_http2() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let mut faults = http2_faults();
    faults.push(nobody("refuse", free_address()));
    faults.push(nobody("dns", free_address()));
    faults.extend(tls_faults(&own, &other, true));
    all_faults_are_answered(&faults, "h2", &own);
}
