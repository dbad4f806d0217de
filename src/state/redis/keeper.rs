//! Keeps the connections: opens them, sees every second whether they are good, and opens others where they are not.
//!
//! What is asked while there is none is answered at once, so an outage never makes requests pile up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::fault::Fault;
use super::link::Link;
use super::{Inner, scripts, sentinel};
use crate::config::settings::RedisTopology;
use crate::telemetry::metrics;

/// How often a good connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon after a failed operation it is looked at, at the earliest.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long to wait between two attempts to connect, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(1);
/// A cluster that answers, but slowly, is given up after so many looks.
const SLOW_LOOKS: u32 = 2;

/// Works until the store is dropped.
pub(super) async fn keep(inner: std::sync::Weak<Inner>) {
    let mut pause = RETRY_FIRST;
    loop {
        // Between two steps nothing here holds on to the store.
        let Some(inner) = inner.upgrade() else { return };
        let link = inner.link.load_full();
        let wait = match link {
            None => match connect(&inner).await {
                Ok(()) => {
                    pause = RETRY_FIRST;
                    LOOK_EVERY
                }
                Err(fault) => {
                    inner.health.ill(&fault.text);
                    pause = pause.saturating_mul(2).min(RETRY_MOST);
                    pause
                }
            },
            Some(link) => match look(&inner, &link).await {
                Ok(()) => {
                    inner.health.well();
                    LOOK_EVERY
                }
                Err(fault) => {
                    inner.health.ill(&fault.text);
                    if fault.reads_are_true {
                        LOOK_EVERY
                    } else {
                        inner.link.store(None);
                        Duration::ZERO
                    }
                }
            },
        };
        let alarm = Arc::clone(&inner.alarm);
        drop(inner);
        if timeout(wait, alarm.notified()).await.is_ok() {
            sleep(LOOK_AGAIN).await;
        }
    }
}

async fn connect(inner: &Arc<Inner>) -> Result<(), Fault> {
    let link = inner.connector.connect().await?;
    let trouble = match probe(inner, &link).await {
        Ok(()) => None,
        // It can be read, which is better than nothing; every write says no by itself.
        Err(fault) if fault.reads_are_true => Some(fault),
        Err(fault) => return Err(fault),
    };
    // Nobody reads from it before the table is known to be whole.
    inner.read_revocations(&link, &[]).await?;
    inner.link.store(Some(Arc::new(link)));
    inner.was_reached.store(true, Ordering::Relaxed);
    match trouble {
        None => inner.health.well(),
        Some(fault) => inner.health.ill(&fault.text),
    }
    Ok(())
}

/// Whether the connections are still those to use.
async fn look(inner: &Arc<Inner>, link: &Link) -> Result<(), Fault> {
    if let (RedisTopology::Sentinel { service }, Some(known)) = (&inner.settings.topology, &link.master) {
        let now = sentinel::master(&inner.connector, service).await;
        match now {
            Ok(now) if now != *known => {
                return Err(Fault::new("the Sentinels name another master; it is connected to"));
            }
            // Who can't ask goes on: the replicas' confirmations tell an old master from the new one.
            Ok(_) | Err(_) => {}
        }
    }
    let mut tries = 1;
    while let Err(fault) = probe(inner, link).await {
        if fault.reads_are_true || !fault.is_slowness || tries >= SLOW_LOOKS {
            return Err(fault);
        }
        tries += 1;
    }
    inner.read_revocations(link, &[]).await.map(drop)
}

/// Writes to every bucket and waits for the replicas, as a proof would.
async fn probe(inner: &Arc<Inner>, link: &Link) -> Result<(), Fault> {
    let now = (inner.now)();
    for bucket in inner.names.buckets() {
        let told = scripts::Told { now, run: &link.run };
        let command = scripts::probe(&inner.names.probe(bucket), told);
        let (epoch, policy, evicted): (i64, String, u64) = inner.confirmed(link, command).await?;
        if !policy.is_empty() && policy != "noeviction" {
            if evicted > 0 {
                inner.assume_loss(link).await?;
            }
            return Err(Fault::new(format!(
                "it may forget what counts when its memory is full; set `maxmemory-policy noeviction` in the place of `{policy}`"
            )));
        }
        let before = inner.epochs.get(usize::from(bucket)).map(|known| known.swap(epoch, Ordering::Relaxed));
        if before.is_some_and(|before| before != 0 && before != epoch) {
            metrics().store_epochs.with_label_values(&["proofs"]).inc();
            tracing::warn!(
                "the state store may have lost memory (a restart, a failover or a flush): sign-ins from before pay for nothing single-use"
            );
        }
    }
    Ok(())
}
