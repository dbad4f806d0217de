//! Hears from Redis at once that something was revoked at another gateway (pub/sub).
//!
//! An announcement only says that there is something to look for. The keeper looks every second whether or not anything
//! was announced, so one that is lost costs that second and nothing else; and nothing that is announced is believed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::time::{interval, sleep, timeout};

use super::Inner;
use super::fault::Fault;
use super::link::{Link, OPENS_WITHIN};
use super::scripts::Revision;
use crate::telemetry::metrics;

/// How often the subscription's connection is tried, and compared with the one in use.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// How soon is looked again whether there is a server to subscribe at.
const LOOK_FOR_LINK: Duration = Duration::from_millis(100);
/// How long to wait between two attempts to subscribe, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(15);

/// Whether announcements can be heard and made: told once when that changes.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    condition: Mutex<Condition>,
    heard: AtomicU64,
}

#[derive(Debug, Default)]
struct Condition {
    is_subscribed: bool,
    /// Why this gateway hears nothing.
    deaf: Option<String>,
    /// It may not announce what is revoked here.
    is_mute: bool,
}

impl Hearing {
    /// Whether the subscription stands.
    pub(super) fn is_subscribed(&self) -> bool {
        self.condition().is_subscribed
    }

    /// How many announcements told something new.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// What is wrong, in words for the operator.
    pub(super) fn trouble(&self) -> Option<String> {
        let condition = self.condition();
        let deaf = condition.deaf.as_deref().map(|why| {
            format!(
                "announcements can't be heard, so what other gateways revoke is noticed a second later: {why}"
            )
        });
        let mute = "what is revoked here can't be announced, so other gateways notice it a second later: its user \
                    lacks a permission; compare its ACL with the one in docs/state.md";
        deaf.or_else(|| condition.is_mute.then(|| mute.to_owned()))
    }

    /// Announcements are heard from now on.
    fn subscribed(&self) {
        let mut condition = self.condition();
        condition.is_subscribed = true;
        metrics().store_subscribed.set(1);
        if condition.deaf.take().is_some() {
            tracing::info!("announcements of revocations are heard again");
        }
    }

    /// The subscription has ended.
    fn ended(&self) {
        self.condition().is_subscribed = false;
        metrics().store_subscribed.set(0);
    }

    /// The server can be used, and can't be subscribed at.
    fn deaf(&self, why: String) {
        let is_news = self.condition().deaf.replace(why).is_none();
        if let (true, Some(why)) = (is_news, self.trouble()) {
            tracing::warn!("{why}");
        }
    }

    /// A change of the revocation table was announced, or could not be.
    pub(super) fn announced(&self, is_announced: bool) {
        let was_mute = std::mem::replace(&mut self.condition().is_mute, !is_announced);
        if !was_mute && !is_announced {
            tracing::warn!(
                "what is revoked here can't be announced, so other gateways notice it a second later: the Redis user \
                 lacks a permission; compare its ACL with the one in docs/state.md"
            );
        }
    }

    fn condition(&self) -> std::sync::MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens until the store is dropped.
pub(super) async fn listen(inner: Weak<Inner>) {
    let (mut pause, mut attempt) = (RETRY_FIRST, 0);
    loop {
        // Between two steps nothing here holds on to the store, nor to connections that it has given up.
        let Some(strong) = inner.upgrade() else { return };
        let Some(link) = strong.link.load_full() else {
            drop(strong);
            sleep(LOOK_FOR_LINK).await;
            continue;
        };
        let fault = match strong.connector.subscribe(&link, strong.names.channel(), attempt).await {
            Ok(subscription) => {
                pause = RETRY_FIRST;
                strong.hearing.subscribed();
                // What was revoked before was announced to somebody else.
                let seen = strong.read_revocations(&link, &[]).await;
                strong.noticed(seen);
                let link = Arc::downgrade(&{ link });
                drop(strong);
                let (sink, stream) = subscription.split();
                hear(&inner, &link, sink, stream).await;
                let Some(strong) = inner.upgrade() else { return };
                strong.hearing.ended();
                // It may be more than this connection that broke.
                strong.alarm.notify_one();
                None
            }
            Err(fault) => Some((fault, link)),
        };
        sleep(pause).await;
        if let Some((fault, link)) = fault {
            pause = pause.saturating_mul(2).min(RETRY_MOST);
            attempt += 1;
            let Some(strong) = inner.upgrade() else { return };
            // During an outage there is nothing to add to what is told already.
            if strong.uses(&link) && strong.health.trouble().is_none() {
                strong.hearing.deaf(fault.text);
            }
        }
    }
}

/// Hears until the connection breaks, or the store uses other servers.
async fn hear(inner: &Weak<Inner>, link: &Weak<Link>, mut sink: PubSubSink, mut stream: PubSubStream) {
    let mut tries = interval(TRY_EVERY);
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return };
                let (Some(inner), Some(link)) = (inner.upgrade(), link.upgrade()) else { return };
                if let Some(announced) = message.get_payload::<String>().ok().as_deref().and_then(Revision::read) {
                    inner.heard(&link, &announced).await;
                }
            }
            _ = tries.tick() => {
                let is_in_use = match (inner.upgrade(), link.upgrade()) {
                    (Some(inner), Some(link)) => inner.uses(&link),
                    _ => false,
                };
                // A network that swallows everything breaks no connection.
                let answer = timeout(OPENS_WITHIN, sink.ping::<redis::Value>());
                if !is_in_use || !matches!(answer.await, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

impl Inner {
    fn uses(&self, link: &Arc<Link>) -> bool {
        self.link.load().as_ref().is_some_and(|used| Arc::ptr_eq(used, link))
    }

    /// Looks, unless what is announced has been seen: it comes to whoever revoked, too, and many at once to everybody.
    async fn heard(&self, link: &Link, announced: &Revision) {
        let before = self.seen();
        if announced.lineage == before.lineage && announced.count <= before.count {
            return;
        }
        let read: Result<_, Fault> = self.read_revocations(link, &[]).await;
        if self.noticed(read).is_some() && self.seen() != before {
            self.hearing.heard.fetch_add(1, Ordering::Relaxed);
            metrics().store_announcements.inc();
        }
    }
}
