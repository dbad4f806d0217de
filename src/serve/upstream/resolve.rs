//! Names of endpoints, looked up again and again in the background so that no request ever waits for it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::servers::Servers;
use crate::telemetry::metrics;

/// How long an answer is used before the name is looked up again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// How soon after a failure.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How long one look-up may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last good answer is used while look-ups fail.
const LAST_GOOD_FOR: Duration = Duration::from_secs(300);

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of `host:port`.
    async fn resolve(&self, place: &str) -> io::Result<Vec<SocketAddr>>;
}

/// The system's own resolver.
pub struct System;

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, place: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(place).await?.collect())
    }
}

/// Keeps an endpoint's addresses fresh for as long as its servers are used.
pub async fn keep_fresh(
    resolver: Arc<dyn Resolve>,
    servers: Weak<Servers>,
    endpoint: usize,
    place: Box<str>,
) {
    let mut last_good: Option<Instant> = None;
    let (mut first, mut failing) = (true, false);
    loop {
        let found = tokio::time::timeout(TIMEOUT, resolver.resolve(&place)).await;
        let found = found.ok().and_then(Result::ok).filter(|addresses| !addresses.is_empty());
        let Some(servers) = servers.upgrade() else { return };
        let result = if found.is_some() { "ok" } else { "failed" };
        metrics().upstream_lookups.with_label_values(&[servers.upstream(), result]).inc();
        if failing != found.is_none() {
            failing = found.is_none();
            let (upstream, endpoint) = (servers.upstream(), &place);
            if failing {
                tracing::warn!(upstream, %endpoint, "the endpoint's name can't be looked up; its last addresses are used for five minutes");
            } else {
                tracing::info!(upstream, %endpoint, "the endpoint's name can be looked up again");
            }
        }
        match &found {
            Some(addresses) => {
                last_good = Some(Instant::now());
                servers.found(endpoint, addresses, first);
            }
            None if last_good.is_none_or(|at| at.elapsed() >= LAST_GOOD_FOR) => {
                servers.found(endpoint, &[], first);
            }
            None => {}
        }
        first = false;
        drop(servers);
        tokio::time::sleep(if failing { AGAIN_AFTER_FAILURE } else { AGAIN_AFTER }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::servers::Tried;
    use super::super::servers::tests::servers;
    use super::*;

    /// Answers what it was told to last.
    struct Told(Mutex<Option<Vec<SocketAddr>>>);

    impl Told {
        fn tell(&self, addresses: Option<&[&str]>) {
            let addresses =
                addresses.map(|list| list.iter().map(|text| text.parse().expect("one")).collect());
            *self.0.lock().expect("whole") = addresses;
        }
    }

    #[async_trait]
    impl Resolve for Told {
        async fn resolve(&self, place: &str) -> io::Result<Vec<SocketAddr>> {
            assert_eq!(place, "app.example:80");
            self.0.lock().expect("whole").clone().ok_or(io::ErrorKind::NotFound.into())
        }
    }

    async fn known(servers: &Arc<Servers>) -> Vec<String> {
        // The time of the test's clock goes on only while everything else waits.
        tokio::time::sleep(Duration::from_millis(1)).await;
        servers.all().iter().map(|server| server.address.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_looked_up_again_and_the_last_good_answer_lasts_five_minutes() {
        let servers = servers("{ endpoints: ['app.example:80'] }");
        let told = Arc::new(Told(Mutex::default()));
        let resolver: Arc<dyn Resolve> = Arc::clone(&told) as _;
        let task = tokio::spawn(keep_fresh(resolver, Arc::downgrade(&servers), 0, "app.example:80".into()));
        assert!(known(&servers).await.is_empty());
        assert!(servers.choose(0, &Tried::new(), Duration::from_secs(9)).await.is_err(), "it was looked up");

        told.tell(Some(&["127.0.0.1:80", "127.0.0.2:80"]));
        tokio::time::sleep(AGAIN_AFTER_FAILURE).await;
        assert_eq!(known(&servers).await, ["127.0.0.1:80", "127.0.0.2:80"]);
        told.tell(Some(&["127.0.0.2:80", "127.0.0.3:80"]));
        assert_eq!(known(&servers).await.len(), 2);
        tokio::time::sleep(AGAIN_AFTER).await;
        assert_eq!(known(&servers).await, ["127.0.0.2:80", "127.0.0.3:80"]);

        told.tell(None);
        tokio::time::sleep(LAST_GOOD_FOR - Duration::from_secs(5)).await;
        assert_eq!(known(&servers).await.len(), 2);
        tokio::time::sleep(AGAIN_AFTER + Duration::from_secs(5)).await;
        assert!(known(&servers).await.is_empty());
        told.tell(Some(&["127.0.0.1:80"]));
        tokio::time::sleep(AGAIN_AFTER).await;
        assert_eq!(known(&servers).await.len(), 1);

        drop(servers);
        tokio::time::sleep(AGAIN_AFTER).await;
        assert!(task.is_finished(), "nobody looks up what nobody uses");
    }

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let found = System.resolve("localhost:80").await.expect("found");
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty());
    }
}
