//! The clock of a connection, with time that stands still between steps.

use std::future::{Future as _, poll_fn};
use std::task::Poll;

use super::*;

const LIMITS: ListenerLimits = ListenerLimits {
    header_deadline: Duration::from_secs(10),
    body_bytes: 0,
    body_min_rate: 500,
    body_grace: Duration::from_secs(20),
    slow_bodies: 1,
    keep_alive: Duration::from_secs(75),
    connections: 1,
    connections_per_client: 1,
    h2_streams: 1,
};

/// A clock where so many bodies may be slow.
fn clock(slow_bodies: usize) -> Pace {
    Pace::new(LIMITS, Arc::new(Crowd::new(slow_bodies)))
}

/// Waits for the client, which sends or takes some bytes now and then, until it is given up: after how long, and why.
async fn give_up(life: &Life, pace: &mut Pace, every: Duration, bytes: usize) -> (u64, Stop) {
    let begun = Instant::now();
    loop {
        let client = tokio::time::sleep(every);
        tokio::pin!(client);
        let stop = poll_fn(|context| {
            if client.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            pace.waits_to_read(life, context).map_or(Poll::Pending, |stop| Poll::Ready(Some(stop)))
        });
        match stop.await {
            Some(stop) => return (begun.elapsed().as_secs(), stop),
            None => {
                pace.has_read(bytes, life);
                if !life.is_serving() && !life.is_receiving() {
                    life.begins_to_receive();
                }
            }
        }
        if begun.elapsed() > Duration::from_secs(600) {
            return (u64::MAX, Stop::Idle);
        }
    }
}

const NEVER: Duration = Duration::from_secs(10_000);

#[tokio::test(start_paused = true)]
async fn a_header_has_one_deadline_however_it_drips() {
    let (life, mut pace) = (Life::new(false), clock(1));
    assert_eq!(give_up(&life, &mut pace, NEVER, 0).await, (10, Stop::Header));
    let (life, mut pace) = (Life::new(false), clock(1));
    assert_eq!(give_up(&life, &mut pace, Duration::from_secs(2), 1).await, (12, Stop::Header));
}

#[tokio::test(start_paused = true)]
async fn between_requests_there_is_keep_alive_then_a_header_deadline_again() {
    let (life, mut pace) = (Life::new(false), clock(1));
    life.begins_request();
    tokio::time::sleep(Duration::from_secs(100)).await;
    life.ends_request();
    assert_eq!(give_up(&life, &mut pace, NEVER, 0).await, (75, Stop::Idle));
    life.begins_request();
    life.ends_request();
    assert_eq!(give_up(&life, &mut pace, Duration::from_secs(70), 1).await, (80, Stop::Header));
}

#[tokio::test(start_paused = true)]
async fn a_body_may_pause_but_not_drip() {
    let uploading = || {
        let life = Life::new(false);
        life.begins_request();
        life.begins_upload();
        (life, clock(1))
    };
    let (life, mut pace) = uploading();
    assert_eq!(give_up(&life, &mut pace, NEVER, 0).await, (20, Stop::SlowBody));
    let (life, mut pace) = uploading();
    assert_eq!(give_up(&life, &mut pace, Duration::from_secs(2), 1).await.1, Stop::SlowBody);
    let (life, mut pace) = uploading();
    let (after, stop) = give_up(&life, &mut pace, Duration::from_millis(20), 1).await;
    assert!((20..=24).contains(&after) && stop == Stop::SlowBody, "{after}");
    let (life, mut pace) = uploading();
    assert_eq!(
        give_up(&life, &mut pace, Duration::from_secs(2), 1_000).await.0,
        u64::MAX,
        "just fast enough"
    );
    let (life, mut pace) = uploading();
    assert_eq!(
        give_up(&life, &mut pace, Duration::from_secs(19), 9_500).await.0,
        u64::MAX,
        "it made up for it"
    );
    let (life, mut pace) = uploading();
    life.ends_upload();
    assert_eq!(give_up(&life, &mut pace, Duration::from_secs(601), 0).await.0, u64::MAX, "it waits for us");
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_waited_for_the_client_does_not_count() {
    let (life, mut pace) = (Life::new(false), clock(1));
    life.begins_request();
    life.begins_upload();
    for _ in 0..10 {
        let asked = poll_fn(|context| Poll::Ready(pace.waits_to_read(&life, context)));
        assert_eq!(asked.await, None);
        // The upstream holds us up: the client has sent, but nobody reads.
        tokio::time::sleep(Duration::from_secs(50)).await;
        pace.has_read(1, &life);
    }
}

fn uploading(is_h2: bool) -> Life {
    let life = Life::new(is_h2);
    life.begins_request();
    life.begins_upload();
    life
}

#[tokio::test(start_paused = true)]
async fn a_body_is_looked_at_though_the_reader_waited_before_its_request_began() {
    let (life, mut clock) = (Arc::new(Life::new(true)), clock(1));
    let read = Arc::clone(&life);
    // A task of its own: nothing else wakes it.
    let reader = tokio::spawn(async move {
        poll_fn(|context| clock.waits_to_read(&read, context).map_or(Poll::Pending, Poll::Ready)).await
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    life.begins_request();
    tokio::time::sleep(Duration::from_secs(5)).await;
    life.begins_upload();
    let ended = tokio::time::timeout(Duration::from_secs(600), reader).await.expect("it ends");
    assert_eq!(ended.expect("no panic"), Stop::SlowBody);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_goes_where_there_are_too_many() {
    for is_h2 in [false, true] {
        assert_eq!(give_up(&uploading(is_h2), &mut clock(0), NEVER, 0).await, (0, Stop::SlowBodies));
        let ended = give_up(&uploading(is_h2), &mut clock(0), Duration::from_millis(600), 1).await;
        assert!(ended.0 < 2 && ended.1 == Stop::SlowBodies, "{ended:?}");
    }
    assert_eq!(give_up(&uploading(true), &mut clock(1), NEVER, 0).await, (80, Stop::SlowBody));
    let soon = Duration::from_millis(500);
    assert_eq!(give_up(&uploading(false), &mut clock(0), soon, 300).await.0, u64::MAX, "fast enough");
}

#[tokio::test(start_paused = true)]
async fn whom_a_slow_upstream_holds_back_is_not_one_of_too_many() {
    let life = uploading(true);
    life.body_comes(65_535);
    assert_eq!(give_up(&life, &mut clock(0), NEVER, 0).await, (80, Stop::SlowBody));
    life.body_is_taken(65_534);
    assert_eq!(give_up(&life, &mut clock(0), NEVER, 0).await, (80, Stop::SlowBody));
    life.body_is_taken(1);
    assert_eq!(give_up(&life, &mut clock(0), NEVER, 0).await, (0, Stop::SlowBodies));
    // What a request left unread says nothing of the next one.
    life.body_comes(1);
    life.ends_request();
    life.begins_request();
    assert_eq!(give_up(&life, &mut clock(0), NEVER, 0).await, (0, Stop::SlowBodies));
}

#[tokio::test(start_paused = true)]
async fn a_byte_that_is_about_to_be_taken_up_is_no_excuse() {
    let (life, mut pace, begun) = (uploading(true), clock(0), Instant::now());
    loop {
        let asked = poll_fn(|context| Poll::Ready(pace.waits_to_read(&life, context)));
        if let Some(stop) = asked.await {
            assert_eq!(stop, Stop::SlowBodies);
            break;
        }
        life.body_is_taken(1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        pace.has_read(1, &life);
        life.body_comes(1);
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_measured_by_what_it_takes() {
    let stalled = |acknowledged: &'static dyn Fn(u64) -> Option<u64>| async move {
        let (mut pace, begun) = (clock(1), Instant::now());
        let stop = poll_fn(|context| {
            let seen = || acknowledged(begun.elapsed().as_secs());
            pace.waits_to_write(seen, context).map_or(Poll::Pending, Poll::Ready)
        });
        tokio::time::timeout(Duration::from_secs(3_000), stop).await.ok().map(|_| begun.elapsed().as_secs())
    };
    assert_eq!(stalled(&|_| Some(7)).await, Some(20));
    assert_eq!(stalled(&|seconds| Some(seconds * 600)).await, None, "slow, but fast enough");
    assert!(stalled(&|seconds| Some(seconds * 250)).await.is_some_and(|after| (38..=42).contains(&after)));
    assert_eq!(stalled(&|_| None).await, Some(20 + 524), "seen in large steps only");
}
