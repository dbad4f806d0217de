//! What passes through the proxies that ask: bodies, WebSockets, refusals as they are; and what does not.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::servers::{HTTP2, Server};
use super::{World, without_hidden_methods};
use crate::operate::websocket::{echoing, next};
use crate::support::possession::ClientKey;
use crate::support::upstream::Recorded;
use crate::support::{Recorder, Signer, eventually, http};

/// Method, target, headers and the status that is due.
type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], u16);

fn servers(world: &World) -> [Server; 5] {
    let (grpc, http) = (Server::envoy(world, "grpc"), Server::envoy(world, "http"));
    [Server::nginx(world), Server::caddy(world), Server::traefik(world), grpc, http]
}

/// A recorded body, without its chunks' sizes.
fn whole(request: &Recorded) -> Vec<u8> {
    if request.values("transfer-encoding").is_empty() {
        return request.body.clone();
    }
    let (mut rest, mut body) = (&request.body[..], Vec::new());
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a size");
        let size = std::str::from_utf8(&rest[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a number");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
}

#[test]
fn bodies_reach_the_application_unharmed() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    let token = world.signer.bearer("p1", "aal1", 42);
    let large: Vec<u8> = (0..10 * 1024 * 1024_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let chunked = b"5\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n0\r\n\r\n";
    for server in servers(&world) {
        let head = format!(
            "POST /patients/p1/moderate HTTP/1.1\r\nHost: portal.example\r\nAuthorization: {token}\r\n\
             Content-Type: application/dicom\r\nConnection: close\r\n"
        );
        for (framing, sent, due) in [
            ("Content-Length: 4\r\n\r\n".to_owned(), &b"a,b\n"[..], &b"a,b\n"[..]),
            ("Transfer-Encoding: chunked\r\n\r\n".to_owned(), chunked, b"hello, world"),
            (format!("Content-Length: {}\r\n\r\n", large.len()), &large, &large),
        ] {
            let request = [head.as_bytes(), framing.as_bytes(), sent].concat();
            let answer = http::raw(server.address, &request, Duration::from_secs(30)).expect("an answer");
            let answer = http::parse(&answer).expect("an answer");
            assert_eq!(answer.status, 200, "{}, {} bytes: {}", server.name, sent.len(), answer.body);
            let recorded = upstream.requests().pop().expect("a request");
            assert!(whole(&recorded) == due, "{}: {} bytes", server.name, recorded.body.len());
        }
    }
}

#[test]
fn a_form_that_nobody_saw_is_refused() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, |text| text);
    let token = world.signer.bearer("p1", "aal1", 42);
    let form = [("Authorization", token.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let ask = |address| {
        let answer = http::send(address, "POST", "/patients/p1/moderate", &form, b"text=hello");
        answer.expect("an answer").status
    };
    assert_eq!(ask(world.gateway.address), 200);
    for server in [Server::nginx(&world), Server::caddy(&world)] {
        assert_eq!(ask(server.address), 413, "{}: it could hold another method", server.name);
        // With a length that no header tells.
        let request = format!(
            "POST /patients/p1/moderate HTTP/1.1\r\nHost: portal.example\r\nAuthorization: {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             e\r\n_method=DELETE\r\n0\r\n\r\n"
        );
        let answer =
            http::raw(server.address, request.as_bytes(), Duration::from_secs(20)).expect("an answer");
        assert_eq!(http::parse(&answer).expect("an answer").status, 413, "{}", server.name);
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_pass_both_ways() {
    let handshakes = std::sync::Arc::default();
    let application = echoing(std::sync::Arc::clone(&handshakes)).await;
    let world = World::start(application, without_hidden_methods);
    let (own, other) = (world.signer.bearer("p1", "aal1", 5), world.signer.bearer("p2", "aal1", 5));
    for server in tokio::task::block_in_place(|| servers(&world)) {
        let join = async |token: &str| {
            let mut request =
                "ws://portal.example/patients/p1/visit".into_client_request().expect("a request");
            request.headers_mut().insert("authorization", token.parse().expect("a value"));
            // By this name a proxy could be made to forget what the gateway said.
            request
                .headers_mut()
                .insert("connection", "Upgrade, X-Wardgate-Assertion".parse().expect("a value"));
            let stream = TcpStream::connect(server.address).await.expect("a connection");
            client_async(request, stream).await
        };
        assert!(join(&other).await.is_err(), "{}", server.name);
        let (mut socket, _) = join(&own).await.unwrap_or_else(|error| panic!("{}: {error}", server.name));
        assert_eq!(next(&mut socket).await, Message::text("welcome"), "{}", server.name);
        let large = Message::binary((0..100_000_u32).map(|at| at.to_be_bytes()[3]).collect::<Vec<u8>>());
        for message in [Message::text("hello"), large] {
            socket.send(message.clone()).await.expect("sent");
            assert!(next(&mut socket).await == message, "{}", server.name);
        }
        socket.close(None).await.expect("closed");
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
        let handshake = handshakes.lock().expect("whole").pop().expect("one handshake");
        let (assertion, token) =
            (handshake.headers().get("x-wardgate-assertion"), handshake.headers().get("authorization"));
        assert!(assertion.is_some() && token.is_none(), "{}: {handshake:?}", server.name);
        assert!(handshakes.lock().expect("whole").is_empty(), "{}", server.name);
    }
}

#[test]
fn the_application_learns_from_the_gateway_alone_who_asks() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    let token = world.signer.bearer("p1", "aal1", 42);
    for server in servers(&world) {
        let forged = [
            ("Authorization", token.as_str()),
            ("X-Wardgate-Assertion", "forged"),
            ("X-Wardgate-Decision", "forged"),
            ("X-Remote-User", "forged"),
            ("Remote-User", "forged"),
            ("X-Forwarded-For", "forged"),
            ("X-Forwarded-User", "forged"),
            ("X-Forwarded-Uri", "forged"),
            ("X-Original-URL", "forged"),
            ("X-Rewrite-URL", "forged"),
            ("Forwarded", "for=forged"),
        ];
        for nominated in [&[][..], &[("Connection", "close, X-Wardgate-Assertion, X-Wardgate-Decision")]] {
            let headers = [&forged[..], nominated].concat();
            for (target, is_known) in [("/patients/p1/moderate", true), ("/r/a", false)] {
                let answer = http::send(server.address, "GET", target, &headers, b"").expect("an answer");
                assert_eq!(answer.status, 200, "{}: {}", server.name, answer.body);
                let request = upstream.requests().pop().expect("a request");
                let which = format!("{} {target}: {:?}", server.name, request.headers);
                assert!(!request.headers.iter().any(|(_, value)| value.contains("forged")), "{which}");
                let assertions = request.values("x-wardgate-assertion");
                assert_eq!(assertions.len(), usize::from(is_known), "{which}");
                assert!(assertions.iter().all(|assertion| assertion.starts_with("eyJ")), "{which}");
                assert_eq!(request.values("x-wardgate-decision").len(), 1, "{which}");
                assert!(request.values("authorization").is_empty(), "{which}");
            }
        }
    }
    let records = world.gateway.audit();
    let outcomes: Vec<_> = records.iter().filter(|record| record["event"] == "outcome").collect();
    assert_eq!(outcomes.len(), upstream.count());
    assert!(outcomes.iter().all(|outcome| outcome["result"] == "not_observed"), "{outcomes:?}");
    assert!(outcomes.iter().all(|outcome| outcome.get("status").is_none()), "{outcomes:?}");
}

/// No header of HTTP/2 needs to say that there is a body.
#[test]
fn over_http2_bodies_without_a_length_hide_nothing() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, |text| text);
    let token = format!("Authorization: {}", world.signer.bearer("p1", "aal1", 42));
    for server in [Server::nginx_http2(&world), Server::caddy(&world)] {
        let ask = |method: &str, more: &[&str], body: &[u8]| {
            let arguments = [&["--include", "--header", &token, "--request", method][..], more].concat();
            server.curl(HTTP2, &arguments, "/patients/p1/moderate", body)
        };
        let plain = ask("GET", &[], b"");
        assert!(plain.starts_with("http/2 200"), "{}: {plain}", server.name);
        let form = ["--header", "Content-Type: application/x-www-form-urlencoded", "--upload-file", "-"];
        let hidden = b"_method=DELETE";
        let refused = ask("POST", &form, hidden);
        assert!(refused.starts_with("http/2 413"), "{}: {refused}", server.name);
        let methods: Vec<String> = upstream.requests().into_iter().map(|request| request.line).collect();
        assert!(!methods.last().expect("a request").starts_with("POST"), "{}: {methods:?}", server.name);
        let csv = ["--header", "Content-Type: text/csv", "--upload-file", "-"];
        let taken = ask("POST", &csv, b"a,b\n");
        assert!(taken.starts_with("http/2 200"), "{}: {taken}", server.name);
        assert_eq!(whole(&upstream.requests().pop().expect("a request")), b"a,b\n", "{}", server.name);
        let got = ask("GET", &form, hidden);
        let last = upstream.requests().pop().expect("a request");
        assert!(!last.body.windows(7).any(|part| part == b"_method"), "{}: {got}: {last:?}", server.name);
        let empty = ask("POST", &["--header", "Content-Length: 0"], b"");
        assert!(empty.starts_with("http/2 200"), "{}: {empty}", server.name);
    }
}

#[test]
fn a_long_assertion_reaches_the_application() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    let mut claims = Signer::claims("p1", "aal1", 42);
    claims["groups"] = (0..120).map(|number| format!("ward-{number:03}-of-the-clinic")).collect();
    let token = format!("Bearer {}", world.signer.sign(&claims));
    assert!((4_000..8_000).contains(&token.len()), "{}", token.len());
    for server in servers(&world) {
        let headers = [("Authorization", token.as_str())];
        let answer = http::send(server.address, "GET", "/patients/p1/moderate", &headers, b"");
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{}: {answer:?}", server.name);
        let request = upstream.requests().pop().expect("a request");
        let assertion = request.values("x-wardgate-assertion").concat();
        assert!(assertion.len() > 4_000, "{}: {assertion}", server.name);
    }
}

#[test]
fn a_key_is_proven_through_each_of_them() {
    const ADDRESS: &str = "http://portal.example/patients/p1/low";
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    let key = ClientKey::new();
    let mut claims = Signer::claims("p1", "aal1", 5);
    claims["cnf"] = serde_json::json!({ "jkt": key.thumbprint() });
    let token = world.signer.sign(&claims);
    let authorization = format!("DPoP {token}");
    for server in servers(&world) {
        let show = |proof: &str| {
            let headers = [("Authorization", authorization.as_str()), ("DPoP", proof)];
            http::send(server.address, "GET", "/patients/p1/low", &headers, b"").expect("an answer")
        };
        let asked =
            show(&key.proof(&ClientKey::claims("GET", "http://portal.example/r/a", Some(&token), None)));
        let challenge = asked.header("www-authenticate").unwrap_or_default();
        assert_eq!(asked.status, 401, "{}: {asked:?}", server.name);
        assert!(challenge.starts_with("DPoP error="), "{}: {challenge}", server.name);
        let nonce = asked.header("dpop-nonce").unwrap_or_else(|| panic!("{}: {asked:?}", server.name));
        // What may have been shown before the gateway started is not taken.
        let mut proof = String::new();
        eventually(server.name, Duration::from_secs(30), || {
            proof = key.proof(&ClientKey::claims("GET", ADDRESS, Some(&token), Some(nonce)));
            show(&proof).status == 200
        });
        assert_eq!(show(&proof).status, 401, "{}: one proof, one request", server.name);
        let request = upstream.requests().pop().expect("a request");
        assert!(request.values("dpop").is_empty(), "{}: {:?}", server.name, request.headers);
    }
    assert_eq!(upstream.count(), 5);
}

#[test]
fn a_client_has_one_address_whatever_it_says() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    let mut passed = 0;
    for server in servers(&world) {
        for said in ["198.51.100.1", "198.51.100.2", "198.51.100.3"] {
            let headers = [("X-Forwarded-For", said), ("X-Real-IP", said), ("Forwarded", "for=198.51.100.9")];
            let answer = http::send(server.address, "GET", "/counted", &headers, b"").expect("an answer");
            assert!(matches!(answer.status, 200 | 429), "{}: {answer:?}", server.name);
            passed += usize::from(answer.status == 200);
        }
    }
    assert_eq!(passed, 1, "all of them come from here");
}

/// Of the others it is said that the list is to be completed.
#[test]
fn caddy_takes_out_what_the_proxy_does() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, |text| text);
    let caddy = Server::caddy(&world);
    let names = [
        "Client-IP",
        "CF-Connecting-IP",
        "Fastly-Client-IP",
        "Front-End-Https",
        "Forwarded",
        "Remote-Addr",
        "Remote-User",
        "SSL-Client-Cert",
        "True-Client-IP",
        "X-Amzn-Oidc-Identity",
        "X-Auth-Request-User",
        "X-Authenticated-User",
        "X-Azure-ClientIP",
        "X-Client-Cert",
        "X-Client-IP",
        "X-Client-Verify",
        "X-Cluster-Client-IP",
        "X-Consumer-Username",
        "X-Envoy-External-Address",
        "X-Forwarded",
        "X-Forwarded-User",
        "X-Goog-Authenticated-User-Email",
        "X-Goog-IAP-JWT-Assertion",
        "X-Host",
        "X-IISNode-Auth-User",
        "X-MS-Client-Principal",
        "X-Original-URL",
        "X-Override-URL",
        "X-Real-IP",
        "X-Remote-User",
        "X-Rewrite-URL",
        "X-SSL-Client-DN",
        "X-SSO-User",
        "X-Token-Subject",
        "X-User",
        "X-User-Id",
        "X-Username",
        "X-Wardgate-Assertion",
        "X-Webauth-User",
        "X-Harmless",
    ];
    let headers = names.map(|name| (name, "forged"));
    for address in [world.gateway.address, caddy.address] {
        let answer = http::send(address, "GET", "/r/a", &headers, b"").expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        let request = upstream.requests().pop().expect("a request");
        let arrived: Vec<_> = request.headers.iter().filter(|(_, value)| value == "forged").collect();
        assert!(arrived.len() == 1 && arrived[0].0.eq_ignore_ascii_case("X-Harmless"), "{arrived:?}");
    }
}

#[test]
fn refusals_reach_the_client_as_they_are() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    let old = world.signer.bearer("p1", "aal1", 4_000);
    let own = [("Authorization", old.as_str())];
    let first = http::send(world.gateway.address, "GET", "/rare", &own, b"").expect("an answer");
    assert_eq!(first.status, 200);
    let cases: [Case<'_>; 7] = [
        ("GET", "/patients/p1/low", &[], 401),
        ("GET", "/patients/p1/critical", &own, 401),
        ("GET", "/patients/p2/low", &own, 403),
        ("GET", "/ward/1", &own, 403),
        ("GET", "/nowhere", &[], 404),
        ("DELETE", "/patients/p1/low", &[], 405),
        ("GET", "/rare", &own, 429),
    ];
    for server in servers(&world) {
        for (method, target, headers, status) in &cases {
            let ask = |address| http::send(address, method, target, headers, b"").expect("an answer");
            let (due, told) = (ask(world.gateway.address), ask(server.address));
            let which = format!("{}: {method} {target}: {told:?}", server.name);
            assert_eq!((due.status, told.status), (*status, *status), "{which}");
            for name in [
                "www-authenticate",
                "content-type",
                "allow",
                "ratelimit-policy",
                "cache-control",
                "x-content-type-options",
                "proxy-status",
            ] {
                assert_eq!(told.header(name), due.header(name), "{name}: {which}");
            }
            assert_eq!(told.header("retry-after").is_some(), due.header("retry-after").is_some(), "{which}");
            assert_eq!(told.json()["decision"], told.decision(), "{which}");
            for name in ["type", "title", "detail", "reason", "action", "acr_values", "max_age"] {
                assert_eq!(told.json()[name], due.json()[name], "{name}: {which}");
            }
        }
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn without_the_gateway_nothing_passes() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    let servers = servers(&world);
    world.gateway.signal("KILL");
    for server in &servers {
        for target in ["/r/a", "/patients/p1/low", "/nowhere"] {
            let answer = http::get(server.address, target).expect("an answer");
            assert!((500..=504).contains(&answer.status), "{} {target}: {answer:?}", server.name);
        }
    }
    assert_eq!(upstream.count(), 0);
}
