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
pub async fn keep_fresh(resolver: Arc<dyn Resolve>, servers: Weak<Servers>, endpoint: usize, place: Box<str>) {
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
