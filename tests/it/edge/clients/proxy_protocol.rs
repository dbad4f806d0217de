//! The PROXY protocol: believed from exact peers, wanted from them, and refused from everybody else.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::{LONG, closed, curl, records, rest, start};
use crate::support::{Connection, Gateway, Recorder, eventually, free_address, wire};

const LISTENER: &str = "proxy_protocol: { from: [127.0.0.1] }, limits: { header_deadline: 2s }";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A version 2 header: command and version, family and transport, the rest.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn request(headers: &[(&str, &str)]) -> Vec<u8> {
    wire::head("GET", "/", headers, None).into_bytes()
}

/// What the upstream is told of the client, where the request got there.
fn announced(
    gateway: &Gateway,
    upstream: &Recorder,
    header: &[u8],
    headers: &[(&str, &str)],
) -> Option<Vec<String>> {
    let before = upstream.count();
    let mut connection = Connection::open(gateway.address).expect("open");
    connection.stream.write_all(&[header, &request(headers)].concat()).expect("sent");
    let status = connection.answer(false).ok()?.status;
    assert_eq!(status, 200);
    let recorded = upstream.requests().get(before).cloned()?;
    Some(recorded.values("x-forwarded-for").into_iter().map(str::to_owned).collect())
}

#[test]
fn what_a_trusted_peer_announces_is_the_client() {
    let upstream = Recorder::start();
    let gateway = start(&upstream, LISTENER, "");
    // The harness connected without a header, to see whether the gateway listens.
    eventually("the harness is counted", LONG, || closed(&gateway, "proxy_protocol") >= 1.0);
    let before = closed(&gateway, "proxy_protocol");
    let client = |header: &[u8]| announced(&gateway, &upstream, header, &[]);
    let one = |text: &str| Some(vec![text.to_owned()]);
    assert_eq!(client(b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"), one("192.0.2.7"));
    assert_eq!(client(b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n"), one("2001:db8::7"));
    let four = [192, 0, 2, 8, 10, 0, 0, 1, 0xd4, 0x31, 0x01, 0xbb];
    assert_eq!(client(&binary(0x21, 0x11, &four)), one("192.0.2.8"));
    let with_extension = [&four[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    assert_eq!(client(&binary(0x21, 0x11, &with_extension)), one("192.0.2.8"));
    // `LOCAL` is the load balancer itself, whatever addresses stand there; unknown is unknown.
    assert_eq!(client(&binary(0x20, 0x11, &four)), one("127.0.0.1"));
    assert_eq!(client(b"PROXY UNKNOWN\r\n"), Some(Vec::new()));
    let forged = [("X-Forwarded-For", "203.0.113.1"), ("Forwarded", "for=203.0.113.1")];
    let header = b"PROXY TCP4 192.0.2.9 10.0.0.1 56324 443\r\n";
    assert_eq!(announced(&gateway, &upstream, header, &forged), one("192.0.2.9"));
    assert_eq!(closed(&gateway, "proxy_protocol"), before);
}

#[test]
fn no_header_or_a_bad_one_closes_the_connection_and_is_audited() {
    let upstream = Recorder::start();
    let gateway = start(&upstream, LISTENER, "");
    let bad: [Vec<u8>; 7] = [
        Vec::new(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.777 10.0.0.1 56324 443\r\n".to_vec(),
        [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(),
        binary(0x31, 0x11, &[0; 12]),
        binary(0x21, 0x11, &[0; 3]),
        binary(0x21, 0x11, &[0; 60_000]),
    ];
    // The harness connected without one, to see whether the gateway listens.
    eventually("the harness is counted", LONG, || closed(&gateway, "proxy_protocol") >= 1.0);
    let before = closed(&gateway, "proxy_protocol");
    for (number, header) in bad.iter().enumerate() {
        let mut connection = Connection::open(gateway.address).expect("open");
        let _ = connection.stream.write_all(&[header.as_slice(), &request(&[])].concat());
        assert_eq!(rest(&mut connection), "", "{number}");
    }
    let mut slow = Connection::open(gateway.address).expect("open");
    slow.stream.write_all(b"PROXY TCP4 192").expect("sent");
    assert_eq!(rest(&mut slow), "", "it has a deadline too");
    let all = bad.len() as f64 + 1.0;
    eventually("each is counted", LONG, || closed(&gateway, "proxy_protocol") - before == all);
    let audited = || records(&gateway, "unparsed").len();
    eventually("each is audited", LONG, || audited() as f64 == before + all);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn nobody_else_may_announce_a_client() {
    let upstream = Recorder::start();
    let gateway = start(&upstream, LISTENER, "");
    assert_eq!(curl("127.0.0.1", gateway.address, "/", &["--haproxy-protocol"]), "200", "a trusted peer");
    assert_eq!(curl("127.0.0.2", gateway.address, "/", &[]), "200", "a client of its own");
    assert_eq!(curl("127.0.0.2", gateway.address, "/", &["--haproxy-protocol"]), "400", "a liar");
    let clients: Vec<_> = upstream
        .requests()
        .iter()
        .flat_map(|request| {
            request.values("x-forwarded-for").into_iter().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(clients, ["127.0.0.1", "127.0.0.2"]);
}

#[test]
fn limits_count_the_client_that_was_announced() {
    let upstream = Recorder::start();
    let limits = "
rate_limits:
  - { name: few, per: address, requests: 2, in: 1h }
";
    let listener =
        "proxy_protocol: { from: [127.0.0.1] }, limits: { connections_per_client: 2, connections: 100 }";
    let gateway = start(&upstream, listener, limits);
    let open = |client: &str| {
        let mut connection = Connection::open(gateway.address).expect("open");
        let header = format!("PROXY TCP4 {client} 10.0.0.1 56324 443\r\n");
        connection.stream.write_all(&[header.as_bytes(), &request(&[])].concat()).expect("sent");
        let status = connection.answer(false).map(|answer| answer.status).unwrap_or(0);
        (connection, status)
    };
    let held = [open("192.0.2.1"), open("192.0.2.1"), open("192.0.2.1"), open("192.0.2.2")];
    assert_eq!(held.each_ref().map(|(_, status)| *status), [200, 200, 0, 200], "two connections of each");
    assert_eq!(closed(&gateway, "connections_per_client"), 1.0);
    drop(held);
    eventually("a third request of the first is one too many", LONG, || open("192.0.2.1").1 == 429);
    assert_eq!(open("192.0.2.2").1, 200);
}

/// A real load balancer.
struct HaProxy(Child);

impl HaProxy {
    fn start(dir: &std::path::Path, gateway: SocketAddr, send: &str) -> (Self, SocketAddr) {
        let address = free_address();
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
             listen front\n  bind {address}\n  server gateway {gateway} {send}\n"
        );
        let file = dir.join("haproxy.cfg");
        std::fs::write(&file, config).expect("writable");
        let child = Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy runs");
        eventually("HAProxy listens", LONG, || std::net::TcpStream::connect(address).is_ok());
        (Self(child), address)
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_load_balancer_speaks_both_versions() {
    if Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: haproxy is not installed");
        return;
    }
    let upstream = Recorder::start();
    let gateway = start(&upstream, LISTENER, "");
    for (send, from) in [("send-proxy", "127.0.0.5"), ("send-proxy-v2", "127.0.0.6")] {
        let (_balancer, address) = HaProxy::start(gateway.dir.path(), gateway.address, send);
        let before = upstream.count();
        assert_eq!(curl(from, address, "/", &["-H", "X-Forwarded-For: 203.0.113.1"]), "200", "{send}");
        assert_eq!(upstream.requests()[before].values("x-forwarded-for"), [from], "{send}");
    }
}
