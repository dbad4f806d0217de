//! HTTP/2 of clients: as strict as HTTP/1.1, and bounded whatever a client does with its streams.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::pki::{Authority, Client};
use crate::support::{Gateway, Recorder, Setup, Signer, tokens};

const ROUTES: &str = r#"
  - { id: open, match: { path: "/open/**", methods: [GET, POST, OPTIONS] }, upstream: app, access: public }
  - { id: admin, match: { path: "/admin/**", methods: [GET, POST] }, upstream: app, tier: low, any_of: [{ roles: [admin] }] }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: notes.write, match: { path: "/patients/{patient}/notes", methods: [POST] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: profile.update, match: { path: "/patients/{patient}/profile", methods: [PUT] }, upstream: app, tier: critical,
      patient: { from: path.patient }, any_of: [{ patient: self }],
      lower_risk_if_only: { fields: [language], tier: low, id: profile.preferences } }
  - { id: live, match: { path: "/patients/{patient}/live", upgrade: websocket }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

pub struct Bench {
    pub gateway: Gateway,
    pub upstream: Recorder,
    client: Client,
    token: String,
}

impl Bench {
    pub fn start() -> Self {
        Self::before(Recorder::start())
    }

    fn before(upstream: Recorder) -> Self {
        let (authority, signer) = (Authority::new("servers"), Signer::new());
        let config = tokens::config(upstream.address, ROUTES);
        let plain = r#"address: "$LISTEN" }"#;
        assert!(config.contains(plain));
        let config =
            config.replace(plain, r#"address: "$LISTEN", tls: { cert_file: tls.crt, key_file: tls.key } }"#);
        let gateway = Gateway::start(&config, |dir: &Path| {
            std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
            authority.issue(&["portal.example"]).write(dir, "tls");
        });
        let client = Client::trusting(&authority).speaking("h2");
        Self { gateway, upstream, client, token: signer.bearer("p1", "aal1", 30) }
    }

    async fn open(&self) -> H2 {
        let socket = TcpStream::connect(self.gateway.address).await.expect("a connection");
        // Small frames must not wait for each other.
        socket.set_nodelay(true).expect("a socket");
        let connector = tokio_rustls::TlsConnector::from(self.client.config());
        let stream = connector.connect(self.client.server_name(), socket).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        H2::over(stream).await
    }

    /// As many requests upstream as were admitted, each with an intent of its own.
    pub fn reconcile(&self) {
        let arrived = self.upstream.requests();
        assert_eq!(arrived.len(), self.gateway.admitted_intents());
        let records = self.gateway.audit();
        for request in &arrived {
            let [decision] = request.values("x-wardgate-decision")[..] else { panic!("{request:?}") };
            let intents = records
                .iter()
                .filter(|record| record["event"] == "intent" && record["decision"] == decision)
                .count();
            assert_eq!(intents, 1, "{request:?}");
        }
    }
}

/// An HTTP/2 connection of the `h2` library.
struct H2 {
    send: h2::client::SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl H2 {
    async fn over(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (send, connection) = h2::client::handshake(stream).await.expect("a preface");
        Self { send, driver: tokio::spawn(connection) }
    }

    /// Says goodbye, and waits until that is done.
    async fn close(self) {
        drop(self.send);
        let _ =
            tokio::time::timeout(Duration::from_secs(20), self.driver).await.expect("the connection ends");
    }

    async fn ask(&mut self, request: Request<()>, body: Option<&[u8]>) -> Result<Answer, h2::Error> {
        self.ask_with(request, body, None).await
    }

    async fn ask_with(
        &mut self,
        request: Request<()>,
        body: Option<&[u8]>,
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        self.send = self.send.clone().ready().await?;
        let (response, mut stream) = self.send.send_request(request, body.is_none())?;
        if let Some(body) = body {
            stream.send_data(Bytes::copy_from_slice(body), trailers.is_none())?;
            if let Some(trailers) = trailers {
                stream.send_trailers(trailers)?;
            }
        }
        let (head, mut body) = response.await?.into_parts();
        let mut whole = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            let _ = body.flow_control().release_capacity(chunk.len());
            whole.extend_from_slice(&chunk);
        }
        Ok(Answer { status: head.status, headers: head.headers, body: whole })
    }
}

fn get(target: &str) -> http::request::Builder {
    Request::builder().method(Method::GET).uri(format!("https://portal.example{target}"))
}

fn bare(builder: http::request::Builder) -> Request<()> {
    builder.body(()).expect("a request")
}

#[tokio::test]
async fn a_request_arrives_as_one_of_http_1() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    let target = "/patients/p1/results/a%20b?c=%2F&d";
    let request = get(target)
        .header("authorization", &bench.token)
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-remote-user", "spoofed")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-wardgate-assertion", "spoofed")
        .header("forwarded", "for=spoofed")
        .header("te", "trailers");
    let answer = connection.ask(bare(request), None).await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, &br#"{"served":true}"#[..]));
    assert!(answer.headers.contains_key("x-wardgate-decision"));
    assert!(!answer.headers.contains_key("connection") && !answer.headers.contains_key("transfer-encoding"));

    let arrived = bench.upstream.requests();
    let [request] = &arrived[..] else { panic!("{arrived:?}") };
    assert_eq!(request.line, format!("GET {target} HTTP/1.1"));
    assert_eq!(request.values("host"), ["portal.example"]);
    assert_eq!(request.values("cookie"), ["a=1; b=2"]);
    assert_eq!(request.values("x-remote-user"), ["patients:user-p1"]);
    assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["https"]);
    assert_eq!(request.values("x-forwarded-host"), ["portal.example"]);
    for name in ["authorization", "forwarded", "te"] {
        assert!(request.values(name).is_empty(), "{name}");
    }
    let text = format!("{request:?}");
    assert!(!text.contains("spoofed") && !text.contains("192.0.2.1"), "{text}");
    bench.reconcile();
}

#[tokio::test]
async fn bodies_are_streamed_and_classified() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    let large = vec![b'x'; 1_000_000];
    let post =
        |target: &str| get(target).method(Method::POST).header("content-type", "application/octet-stream");
    // Streamed, of unknown length: chunked behind the gateway.
    let (response, mut stream) =
        connection.send.send_request(bare(post("/open/upload")), false).expect("sent");
    let mut rest = Bytes::from(large.clone());
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let room = room.expect("open").expect("capacity").min(rest.len());
        let part = rest.split_to(room);
        stream.send_data(part, rest.is_empty()).expect("sent");
    }
    assert_eq!(response.await.expect("an answer").status(), 200);
    // Known length.
    let known = post("/open/known").header("content-length", "5");
    assert_eq!(connection.ask(bare(known), Some(b"12345")).await.expect("an answer").status, 200);
    // Read for its risk, and sent from memory.
    let lower = get("/patients/p1/profile")
        .method(Method::PUT)
        .header("authorization", &bench.token)
        .header("content-type", "application/json")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let answer = connection.ask(bare(lower), Some(br#"{"language":"en"}"#)).await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let higher = get("/patients/p1/profile")
        .method(Method::PUT)
        .header("authorization", &bench.token)
        .header("content-type", "application/json");
    let answer = connection.ask(bare(higher), Some(br#"{"address":"x"}"#)).await.expect("an answer");
    assert_eq!(answer.status, 401);
    assert!(
        answer.headers["www-authenticate"]
            .to_str()
            .expect("text")
            .contains("insufficient_user_authentication")
    );

    let arrived = bench.upstream.requests();
    assert_eq!(arrived.len(), 3);
    assert_eq!(arrived[0].values("transfer-encoding"), ["chunked"]);
    assert_eq!(arrived[0].body.iter().filter(|byte| **byte == b'x').count(), large.len());
    assert_eq!((arrived[1].values("content-length"), arrived[1].body.as_slice()), (vec!["5"], &b"12345"[..]));
    assert_eq!(arrived[2].line, "PUT /patients/p1/profile HTTP/1.1");
    assert_eq!(arrived[2].values("host"), ["portal.example"]);
    assert_eq!(arrived[2].values("cookie"), ["a=1; b=2"]);
    assert_eq!(arrived[2].body, br#"{"language":"en"}"#);
    bench.reconcile();
}

#[tokio::test]
async fn what_is_refused_over_http_1_is_refused_here() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    let target = |target: &str| get(target).header("authorization", &bench.token);
    let with = |name: &str, value: &str| target("/open/x").header(name, value);
    let cases: Vec<(&str, http::request::Builder, u16, &str)> = vec![
        ("dots", target("/open/../admin/x"), 400, "path_dot_segment"),
        ("encoded dots", target("/open/%2e%2e/admin"), 400, "path_dot_segment"),
        ("encoded twice", target("/open/%252e%252e/x"), 400, "path_encoded_delimiter"),
        ("empty segment", target("//admin"), 400, "path_empty_segment"),
        ("encoded letter", target("/open/%61"), 400, "path_encoded_unreserved"),
        ("encoded slash", target("/open/..%2fadmin"), 400, "path_encoded_delimiter"),
        ("backslash", target("/open/a\\b"), 400, "path_backslash"),
        ("parameter", target("/open/;/admin"), 400, "path_parameter"),
        ("tomcat", target("/open/..;/admin"), 400, "path_parameter"),
        ("NUL", target("/open/1%00.json"), 400, "control_character"),
        ("CRLF", target("/open/%0d%0ax"), 400, "control_character"),
        ("percent", target("/open/%zz"), 400, "bad_percent_encoding"),
        ("half percent", target("/open/1%"), 400, "bad_percent_encoding"),
        ("overlong", target("/open/%c0%ae"), 400, "not_utf8"),
        ("full width", target("/open/%ef%bc%8e"), 400, "foldable_character"),
        ("plain UTF-8", target("/open/\u{e9}"), 400, "forbidden_character"),
        ("braces", target("/open/{x}"), 400, "forbidden_character"),
        ("TRACE", target("/open/x").method(Method::TRACE), 400, "bad_method"),
        ("small letters", target("/open/x").method("get"), 400, "bad_method"),
        ("made up", target("/open/x").method("GETX"), 405, "method_not_allowed"),
        ("underscore", with("x_user_id", "1"), 400, "bad_header_name"),
        ("dot", with("x.user", "1"), 400, "bad_header_name"),
        ("second authorization", with("authorization", "Bearer x"), 400, "duplicate_header"),
        ("blank in front", with("x-a", " b"), 400, "bad_header_value"),
        ("blank behind", with("x-a", "b "), 400, "bad_header_value"),
        ("overlong length", with("content-length", "00"), 400, "bad_content_length"),
        ("same host twice", with("host", "portal.example").header("host", "portal.example"), 400, "any"),
        ("another host", with("host", "staff.example"), 400, "any"),
        (
            "override",
            target("/patients/p1/results/1").header("x-http-method-override", "DELETE"),
            400,
            "method_override",
        ),
        ("override in the query", target("/patients/p1/results/1?_method=DELETE"), 400, "method_override"),
        ("token in the query", target("/patients/p1/results/1?access_token=x"), 400, "credentials_malformed"),
        ("another patient", target("/patients/p2/results/1"), 403, "no_relation"),
        ("no role", target("/admin/x"), 403, "role_missing"),
        ("no route", target("/nothing"), 404, "no_route"),
        (
            "a WebSocket's address",
            target("/patients/p1/live")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "x"),
            404,
            "any",
        ),
    ];
    for (name, request, status, reason) in cases {
        let answer =
            connection.ask(bare(request), None).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status, status, "{name}");
        assert!(reason == "any" || answer.headers.contains_key("x-wardgate-decision"), "{name}: {answer:?}");
        if reason != "any" {
            let decision = answer.headers["x-wardgate-decision"].to_str().expect("text").to_owned();
            let records = bench.gateway.audit();
            let record = records.iter().find(|record| record["decision"] == decision.as_str()).expect(name);
            assert_eq!(record["reason"], reason, "{name}");
        }
    }
    // The connection goes on, and nothing of it went upstream.
    let answer = connection.ask(bare(target("/open/x")), None).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(bench.upstream.count(), 1);
    bench.reconcile();
}

#[tokio::test]
async fn a_body_is_as_long_as_it_says() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    for (length, body) in [("3", &b"12345"[..]), ("9", b"12345")] {
        let request = get("/patients/p1/profile")
            .method(Method::PUT)
            .header("authorization", &bench.token)
            .header("content-type", "application/json")
            .header("content-length", length);
        let answered = connection.ask(bare(request), Some(body)).await;
        let refused = match &answered {
            Ok(answer) => !answer.status.is_success(),
            Err(error) => error.is_reset(),
        };
        assert!(refused, "{length}: {answered:?}");
    }
    for lengths in [&["5", "5"][..], &["5, 5"], &["+5"], &["5", "6"]] {
        let mut request = get("/open/x").method(Method::POST);
        for length in lengths {
            request = request.header("content-length", *length);
        }
        let answered = connection.ask(bare(request), Some(b"12345")).await;
        let refused = match &answered {
            Ok(answer) => answer.status == 400,
            Err(error) => error.is_reset(),
        };
        assert!(refused, "{lengths:?}: {answered:?}");
    }
    let answer = connection.ask(bare(get("/open/x")), None).await.expect("the connection goes on");
    assert_eq!(answer.status, 200);
    assert_eq!(bench.upstream.count(), 1);
    bench.reconcile();
}

#[tokio::test]
async fn trailers_bring_no_identity() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    let mut trailers = HeaderMap::new();
    for name in ["x-remote-user", "x-wardgate-assertion", "authorization", "x-checksum"] {
        trailers.insert(name, "spoofed".parse().expect("a value"));
    }
    let request = get("/patients/p1/notes")
        .method(Method::POST)
        .header("authorization", &bench.token)
        .header("content-type", "application/json");
    let answer = connection.ask_with(bare(request), Some(b"{}"), Some(trailers)).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let arrived = format!("{:?}", bench.upstream.requests());
    assert!(!arrived.contains("spoofed") && arrived.contains("patients:user-p1"), "{arrived}");
    let body = String::from_utf8_lossy(&bench.upstream.requests()[0].body).into_owned();
    assert!(!body.contains("spoofed"), "{body}");
    bench.reconcile();
}

#[tokio::test]
async fn header_sections_are_bounded() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    let ask = |bytes: usize| bare(get("/open/x").header("x-long", "y".repeat(bytes)));
    assert_eq!(connection.ask(ask(30 * 1024), None).await.expect("an answer").status, 200);
    let answer = connection.ask(ask(33 * 1024), None).await.expect("an answer");
    assert_eq!(answer.status, 431);
    assert!(answer.headers.contains_key("x-wardgate-decision"));
    let answered = connection.ask(ask(70 * 1024), None).await;
    assert!(answered.as_ref().map_or(true, |answer| answer.status == 431), "{answered:?}");
    let many = (0..101).fold(get("/open/x"), |request, at| request.header(format!("x-{at}"), "y"));
    assert_eq!(connection.ask(bare(many), None).await.expect("an answer").status, 431);
    assert_eq!(connection.ask(ask(1), None).await.expect("the connection goes on").status, 200);
    assert_eq!(bench.upstream.count(), 2);
    connection.close().await;
    crate::support::eventually("the library's refusal is counted", Duration::from_secs(10), || {
        bench.gateway.metric(r#"wardgate_unreadable_requests_total{reason="unparsed"}"#) >= 1.0
    });
}

/// An upstream that answers after a moment, so that requests overlap.
fn slow() -> Recorder {
    Recorder::behaving(Arc::new(|_, stream| {
        std::thread::sleep(Duration::from_millis(200));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    }))
}

#[tokio::test]
async fn many_requests_at_once_are_all_answered() {
    let bench = Bench::before(slow());
    let mut connection = bench.open().await;
    // The client learns the limits with the first answer.
    connection.ask(bare(get("/open/first")), None).await.expect("an answer");
    let mut waiting = Vec::new();
    for at in 0..250 {
        connection.send = connection.send.clone().ready().await.expect("open");
        let request = bare(get(&format!("/open/{at}")));
        let (response, _) = connection.send.send_request(request, true).expect("sent");
        waiting.push(tokio::spawn(async move {
            let mut response = response.await?;
            while let Some(chunk) = response.body_mut().data().await {
                chunk?;
            }
            Ok::<_, h2::Error>(response.status())
        }));
    }
    for response in waiting {
        assert_eq!(response.await.expect("no panic").expect("an answer"), 200);
    }
    assert_eq!(bench.upstream.count(), 251);
    bench.reconcile();
}

/// Opens and resets streams until the connection ends; gives how many, and why it ended.
async fn reset_streams(bench: &Bench, most: usize, pause: bool) -> (usize, Option<Reason>) {
    let mut connection = bench.open().await;
    let mut opened = 0;
    while opened < most {
        let Ok(ready) = connection.send.clone().ready().await else { break };
        connection.send = ready;
        let request = bare(get("/open/x"));
        let Ok((response, mut stream)) = connection.send.send_request(request, true) else { break };
        opened += 1;
        if pause {
            // Until the request is under way.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        stream.send_reset(Reason::CANCEL);
        drop(response);
        tokio::task::yield_now().await;
    }
    drop(connection.send);
    let ended = tokio::time::timeout(Duration::from_secs(20), connection.driver).await;
    let error = ended.expect("the connection ends").expect("no panic").err();
    (opened, error.and_then(|error| error.reason()))
}

#[tokio::test]
async fn a_hundred_thousand_resets_end_in_goaway() {
    let bench = Bench::before(slow());
    let begun = Instant::now();
    // At once: the library sees streams that are reset before they are taken. With a pause they are requests under way,
    // and only the budget of resets ends it.
    for (most, pause) in [(100_000, false), (3_000, true)] {
        let (opened, reason) = reset_streams(&bench, most, pause).await;
        assert!(opened < most.min(10_000), "{opened} streams were opened and reset");
        assert!(reason.is_none_or(|reason| reason == Reason::ENHANCE_YOUR_CALM), "{reason:?}");
    }
    let seconds = begun.elapsed().as_secs() as usize + 1;
    let calm = bench.gateway.metric(r#"wardgate_http2_goaways_total{code="enhance_your_calm"}"#);
    assert_eq!(calm, 2.0);
    // The budget of two connections, and what it gained meanwhile.
    let most = 2 * 200 + 2 * 100 + 20 * seconds;
    assert!(bench.upstream.count() >= 20, "hardly a request was under way");
    assert!(bench.upstream.count() <= most, "{} requests, at most {most}", bench.upstream.count());
    let mut connection = bench.open().await;
    assert_eq!(connection.ask(bare(get("/open/x")), None).await.expect("an answer").status, 200);
    crate::support::eventually("no request is left", Duration::from_secs(20), || {
        bench.gateway.metric("wardgate_requests_in_flight") == 0.0
    });
    bench.reconcile();
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
        false
    }));
    let bench = Bench::before(upstream);
    let mut connection = bench.open().await;
    let answered = connection.ask(bare(get("/open/x")), None).await;
    assert!(answered.as_ref().is_err_and(h2::Error::is_reset), "{answered:?}");
    let lower = get("/patients/p1/profile")
        .method(Method::PUT)
        .header("authorization", &bench.token)
        .header("content-type", "application/json");
    let answered = connection.ask(bare(lower), Some(br#"{"language":"en"}"#)).await;
    assert!(answered.as_ref().is_err_and(h2::Error::is_reset), "{answered:?}");
}

fn h2c_listener(upstream: &Recorder) -> Setup {
    let config = tokens::config(upstream.address, ROUTES);
    Setup::new(&config.replace(r#"address: "$LISTEN" }"#, r#"address: "$LISTEN", h2c: true }"#), |dir| {
        std::fs::write(dir.join("jwks.json"), Signer::new().jwks()).expect("writable");
    })
}

async fn open_h2c(address: SocketAddr) -> H2 {
    H2::over(TcpStream::connect(address).await.expect("a connection")).await
}

#[tokio::test]
async fn without_tls_http_2_has_a_listener_of_its_own() {
    let upstream = Recorder::start();
    let gateway = h2c_listener(&upstream).start();
    let mut connection = open_h2c(gateway.address).await;
    let request = Request::builder().uri("http://portal.example/open/x");
    let answer = connection.ask(bare(request), None).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.requests()[0].values("x-forwarded-proto"), ["http"]);
    // HTTP/1.1 is told at once that it is at the wrong door, however short its request.
    for request in ["GET / HTTP/1.1\r\n\r\n", "GET /open/x HTTP/1.1\r\nHost: portal.example\r\n\r\n"] {
        let begun = Instant::now();
        let said = crate::support::http::raw(gateway.address, request.as_bytes(), Duration::from_secs(30));
        assert!(!String::from_utf8_lossy(&said.expect("closed")).contains("HTTP/1.1 2"));
        assert!(begun.elapsed() < Duration::from_secs(20), "the connection hung");
    }
    assert_eq!(upstream.count(), 1);
    crate::support::eventually("both are counted", Duration::from_secs(10), || {
        gateway.metric(r#"wardgate_unreadable_requests_total{reason="unparsed"}"#) >= 2.0
    });
}
