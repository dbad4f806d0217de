//! An HTTP/2 connection that asks for nothing is ended in time, in order and with its reason on record.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::{Bench, bare, get};
use crate::support::{Gateway, Recorder, eventually};

const LONG: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(2);

fn closed(gateway: &Gateway, cause: &str) -> f64 {
    gateway.metric(&format!("wardgate_connections_closed_total{{cause=\"{cause}\""))
}

#[tokio::test]
async fn the_first_request_and_the_next_ones_have_their_time() {
    let upstream = Recorder::start();
    let bench = Bench::configured(upstream.address, ", limits: { header_deadline: 2s, keep_alive: 2s }");
    // Nothing but a preface.
    let begun = Instant::now();
    let silent = bench.open().await;
    silent.without_end().await;
    assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
    eventually("it is counted", LONG, || closed(&bench.gateway, "header_deadline") == 1.0);

    // Not even that.
    let socket = TcpStream::connect(bench.gateway.address).await.expect("a connection");
    let _stream = super::encrypt(socket, &bench.client).await.expect("a handshake");
    eventually("it is counted", LONG, || closed(&bench.gateway, "header_deadline") == 2.0);

    // A request, and then none.
    let mut idle = bench.open().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(idle.ask(bare(get("/open/x")), None).await.expect("an answer").status, 200);
    let begun = Instant::now();
    idle.without_end().await;
    assert!(begun.elapsed() >= LIMIT - Duration::from_millis(100), "{:?}", begun.elapsed());
    eventually("it is counted", LONG, || closed(&bench.gateway, "keep_alive") == 1.0);
    assert_eq!(closed(&bench.gateway, "header_deadline"), 2.0);
    let told = bench.gateway.metric(r#"wardgate_http2_goaways_total{code="no_error"}"#);
    assert_eq!(told, 2.0, "who spoke HTTP/2 was told in order");
}
