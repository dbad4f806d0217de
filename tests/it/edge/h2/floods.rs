//! Many streams at a time, and streams that are opened only to be reset.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::Reason;

use super::{Bench, bare, get};
use crate::support::Recorder;

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
