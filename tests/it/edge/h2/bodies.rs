//! Bodies and trailers, in both directions.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::{Bench, bare, get};
use crate::support::Recorder;

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
