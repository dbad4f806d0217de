//! HTTP/2 without TLS.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::Request;
use tokio::net::TcpStream;

use super::{H2, ROUTES, bare};
use crate::support::{Recorder, Setup, Signer, tokens};

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
