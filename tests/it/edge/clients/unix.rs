//! Listening on a Unix socket: for real clients, for the group only, and tidied up.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Recorder, Setup, tokens, wire};

const ROUTES: &str =
    r#"  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }"#;

fn setup(upstream: &Recorder, more: &str) -> Setup {
    let tcp = r#"listeners: [{ name: portal, address: "$LISTEN" }"#;
    let unix = format!(r#"{tcp}, {{ name: local, address: "unix:$DIR/edge.sock"{more} }}"#);
    let config = tokens::config(upstream.address, ROUTES).replace(tcp, &unix);
    let signer = crate::support::Signer::new();
    Setup::new(&config, |dir| std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable"))
}

fn curl(socket: &Path) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-H", "X-Forwarded-For: 203.0.113.1", "--unix-socket"])
        .arg(socket)
        .arg("http://portal.example/")
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_real_client_is_served_and_the_socket_is_tidied_up() {
    let upstream = Recorder::start();
    let setup = setup(&upstream, "");
    let mut gateway = setup.start_unready();
    let socket = gateway.dir.path().join("edge.sock");
    assert_eq!(curl(&socket), r#"{"served":true}"#);
    let mode = std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let request = &upstream.requests()[0];
    assert!(request.values("x-forwarded-for").is_empty(), "who is behind a Unix socket is not known");
    // Another gateway does not take it away.
    let (code, said) = setup.refused();
    assert!(code != Some(0) && said.contains("edge.sock` is in use"), "{code:?} {said}");
    assert_eq!(curl(&socket), r#"{"served":true}"#);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(Duration::from_secs(30)), Some(0));
    assert!(!socket.exists(), "it is removed at the end");
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else() {
    let upstream = Recorder::start();
    let setup = setup(&upstream, "");
    let gateway = setup.start_unready();
    let socket = gateway.dir.path().join("edge.sock");
    gateway.kill();
    assert!(socket.exists(), "it was left behind");
    let gateway = setup.start_unready();
    assert_eq!(curl(&socket), r#"{"served":true}"#);
    gateway.kill();
    std::fs::remove_file(&socket).expect("removed");
    std::fs::write(&socket, "precious").expect("written");
    let (code, said) = setup.refused();
    assert!(code != Some(0) && said.contains("is not a socket"), "{code:?} {said}");
    assert_eq!(std::fs::read_to_string(&socket).expect("still there"), "precious");
    std::fs::remove_file(&socket).expect("removed");
    let _holder = UnixListener::bind(&socket).expect("bound");
    assert!(setup.refused().1.contains("is in use"));
}

#[test]
fn a_front_on_the_same_machine_may_announce_its_clients() {
    let upstream = Recorder::start();
    let gateway = setup(&upstream, ", proxy_protocol: { from: [unix] }").start_unready();
    let mut stream = UnixStream::connect(gateway.dir.path().join("edge.sock")).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let request = wire::head("GET", "/", &[("Connection", "close")], None);
    stream
        .write_all(format!("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n{request}").as_bytes())
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(upstream.requests()[0].values("x-forwarded-for"), ["192.0.2.7"]);
}
