//! The state that several gateways share, in Redis: one server, with Sentinels, or a cluster.
//!
//! - Every operation has one time limit. One that has not answered by then, or whose write too few replicas have
//!   confirmed (`WAIT`), is unknown, and is never tried again: a proof then counts as spent.
//! - A memory that was emptied, rolled back or taken over begins a new epoch (see `scripts`), from before which no proof
//!   pays; and where the revocation table has lost something, everything from before is revoked.
//! - One task keeps the connections (see `keeper`). While there are none, every answer is "unavailable" at once. Another
//!   one hears at once what other gateways revoke (see `announcements`), which the first finds within a second anyway.
//!
//! `not_before` is read from Redis for every request. A cache of it would let a revoked token through for as long as it
//! lasts, on every gateway but the one that was told.

mod announcements;
mod fault;
mod keeper;
mod link;
mod names;
mod revocations;
mod scripts;
mod sentinel;
pub mod survey;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use redis::{Cmd, FromRedisValue};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use self::announcements::Hearing;
use self::fault::Fault;
use self::link::{Connector, Link};
use self::names::Names;
use self::scripts::{Changed, Revision, Told};
use super::health::{Health, Outages, counted};
use super::memory::revocation_name;
use super::revised::Revised;
use super::spent::{ProofKey, Spent};
use crate::config::settings::{RedisSettings, RedisTopology};
use crate::decision::evidence::Lookup;
use crate::enforce::ports::{Consumed, RevocationKey, State};

/// In a cluster keys are spread over so many hash tags; elsewhere one is enough.
const BUCKETS: u8 = 16;
/// So often the revocation table is read for one request, where it is not found whole at first.
const READS: usize = 3;

/// A [`State`] in Redis, shared by every gateway that names the same servers and prefix.
#[derive(Clone)]
pub struct RedisState {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Arc<RedisSettings>,
    /// This gateway's clock.
    now: fn() -> i64,
    connector: Connector,
    names: Names,
    health: Health,
    /// The connections; none during an outage.
    link: ArcSwapOption<Link>,
    /// Tells the keeper that an operation has failed.
    alarm: Arc<Notify>,
    was_reached: AtomicBool,
    /// The epoch of each bucket as it was last seen, 0 before.
    epochs: Vec<AtomicI64>,
    /// How much of the revocation table this gateway has seen.
    seen: Mutex<Revision>,
    /// Tells those who wait when that changes: the keeper looks every second, and every request on its way.
    revised: Revised,
    hearing: Hearing,
    /// Held by who mends the revocation table.
    mending: tokio::sync::Mutex<()>,
}

impl RedisState {
    /// A store that connects in the background, on `runtime`, for as long as it lives.
    pub fn start(settings: RedisSettings, runtime: &Handle) -> Self {
        Self::with_clock(settings, runtime, || jiff::Timestamp::now().as_second())
    }

    /// The same with a clock, which gives Unix seconds.
    pub fn with_clock(settings: RedisSettings, runtime: &Handle, now: fn() -> i64) -> Self {
        let settings = Arc::new(settings);
        let buckets = if settings.topology == RedisTopology::Cluster { BUCKETS } else { 1 };
        let inner = Arc::new(Inner {
            connector: Connector::new(Arc::clone(&settings)),
            names: Names::new(&settings.prefix, buckets),
            health: Health::default(),
            link: ArcSwapOption::empty(),
            alarm: Arc::default(),
            was_reached: AtomicBool::new(false),
            epochs: (0..buckets).map(|_| AtomicI64::new(0)).collect(),
            seen: Mutex::default(),
            revised: Revised::default(),
            hearing: Hearing::default(),
            mending: tokio::sync::Mutex::default(),
            now,
            settings,
        });
        runtime.spawn(keeper::keep(Arc::downgrade(&inner)));
        runtime.spawn(announcements::listen(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Tells when an outage begins or ends.
    pub fn outages(&self) -> watch::Receiver<Outages> {
        self.inner.health.outages()
    }

    /// What is wrong with it, in words for the operator.
    pub fn trouble(&self) -> Option<String> {
        self.inner.health.trouble()
    }

    /// Whether what other gateways revoke is announced to this one; else it is noticed a second later.
    pub fn is_subscribed(&self) -> bool {
        self.inner.hearing.is_subscribed()
    }

    /// How many revocations at other gateways an announcement has made known here.
    pub fn announcements(&self) -> u64 {
        self.inner.hearing.heard()
    }

    /// What does not keep it from being used, but should be mended, in words for the operator.
    pub fn notice(&self) -> Option<String> {
        self.inner.hearing.trouble()
    }

    /// Whether it could be used at any time since the start.
    pub fn was_reached(&self) -> bool {
        self.inner.was_reached.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// Runs a command whose effect must last: it counts once enough replicas have it.
    async fn confirmed<T: FromRedisValue>(&self, link: &Link, command: Cmd) -> Result<T, Fault> {
        let (limit, replicas) = (self.settings.timeout, self.settings.min_replicas);
        // The confirmation must not use up the time in which its answer can still arrive.
        let writing = link.write(command, replicas, limit.saturating_mul(2) / 3);
        let (answer, confirmed) = within(limit, writing).await?;
        if confirmed < i64::from(replicas) {
            return Err(Fault::unconfirmed(confirmed, replicas));
        }
        Ok(answer)
    }

    /// Builds a command for the connections there are and runs it as [`Self::confirmed`].
    async fn write<T: FromRedisValue>(&self, command: impl FnOnce(Told<'_>) -> Cmd) -> Option<T> {
        let link = self.link.load_full()?;
        let command = command(Told { now: (self.now)(), run: &link.run });
        self.noticed(self.confirmed(&link, command).await)
    }

    fn noticed<T>(&self, result: Result<T, Fault>) -> Option<T> {
        if result.is_err() {
            // Looked into by the keeper, which tells it once.
            self.alarm.notify_one();
        }
        result.ok()
    }
}

#[async_trait]
impl State for RedisState {
    async fn consume(&self, key: &ProofKey, remember: Duration) -> Consumed {
        let inner = &self.inner;
        let keys = inner.names.proof(key.as_str());
        let token = uuid::Uuid::now_v7().simple().to_string();
        let command = |told: Told<'_>| scripts::consume(&keys, told, key.moment(), &token, millis(remember));
        match inner.write::<i64>(command).await {
            Some(1) => counted("consume", true, Consumed::Done(Spent::new(key.clone()))),
            Some(_) => counted("consume", true, Consumed::Already),
            None => counted("consume", false, Consumed::Unknown),
        }
    }

    async fn not_before(&self, keys: &[RevocationKey<'_>]) -> Lookup<i64> {
        let Some(link) = self.inner.link.load_full() else {
            return counted("not_before", false, Lookup::Unavailable);
        };
        let limit = self.inner.settings.timeout;
        let read = timeout(limit, self.inner.read_revocations(&link, keys)).await;
        match self.inner.noticed(read.unwrap_or_else(|_| Err(Fault::slow(limit)))) {
            Some(Some(moment)) => counted("not_before", true, Lookup::Found(moment)),
            Some(None) => counted("not_before", true, Lookup::Absent),
            None => counted("not_before", false, Lookup::Unavailable),
        }
    }

    async fn revoke(&self, key: &RevocationKey<'_>, moment: i64, remember: Duration) -> Lookup<()> {
        let inner = &self.inner;
        let name = inner.names.revoked(&revocation_name(key));
        let seen = inner.seen();
        let lineage = new_lineage();
        let command =
            |_: Told<'_>| scripts::revoke(&inner.table(&seen, &lineage), name, (moment, millis(remember)));
        match inner.write::<Changed>(command).await {
            Some(changed) => {
                inner.adopt(&changed);
                counted("revoke", true, Lookup::Found(()))
            }
            None => counted("revoke", false, Lookup::Unavailable),
        }
    }

    async fn revised(&self, seen: u64) -> u64 {
        self.inner.revised.since(seen).await
    }

    async fn window(&self, key: &str, span: Duration) -> Lookup<u64> {
        let inner = &self.inner;
        let Some(link) = inner.link.load_full() else {
            return counted("window", false, Lookup::Unavailable);
        };
        let micros = span.as_micros().max(1);
        let command = scripts::window(inner.names.window(key, micros), micros);
        // A counter that a failover loses counts anew, so nobody waits for the replicas.
        match inner.noticed(within(inner.settings.timeout, link.ask(&command)).await) {
            Some(count) => counted("window", true, Lookup::Found(count)),
            None => counted("window", false, Lookup::Unavailable),
        }
    }

    async fn distinct(&self, key: &str, member: &str, span: Duration, most: usize) -> Lookup<usize> {
        let inner = &self.inner;
        let Some(link) = inner.link.load_full() else {
            return counted("distinct", false, Lookup::Unavailable);
        };
        let micros = span.as_micros().max(1);
        let command = scripts::distinct(inner.names.distinct(key, micros), member, micros, most);
        match inner.noticed(within(inner.settings.timeout, link.ask(&command)).await) {
            Some(count) => counted("distinct", true, Lookup::Found(count)),
            None => counted("distinct", false, Lookup::Unavailable),
        }
    }

    async fn hold(&self, key: &str, word: &str, keep: Duration) -> Lookup<Box<str>> {
        let name = self.inner.names.held(key);
        let command = |_: Told<'_>| scripts::hold(&name, word, millis(keep));
        match self.inner.write::<String>(command).await {
            Some(held) => counted("hold", true, Lookup::Found(held.into())),
            None => counted("hold", false, Lookup::Unavailable),
        }
    }

    async fn held(&self, key: &str) -> Lookup<Box<str>> {
        let inner = &self.inner;
        let Some(link) = inner.link.load_full() else {
            return counted("held", false, Lookup::Unavailable);
        };
        let command = scripts::peek(inner.names.held(key));
        match inner.noticed(within(inner.settings.timeout, link.ask::<Option<String>>(&command)).await) {
            Some(Some(held)) => counted("held", true, Lookup::Found(held.into())),
            Some(None) => counted("held", true, Lookup::Absent),
            None => counted("held", false, Lookup::Unavailable),
        }
    }

    async fn seal(&self, key: &str, bytes: &[u8], ttl: Duration) -> Lookup<()> {
        let keys = self.inner.names.sealed(key);
        let command = |told: Told<'_>| scripts::seal(&keys, told, bytes, millis(ttl));
        match self.inner.write::<i64>(command).await {
            Some(_) => counted("seal", true, Lookup::Found(())),
            None => counted("seal", false, Lookup::Unavailable),
        }
    }

    async fn unseal(&self, key: &str) -> Lookup<Vec<u8>> {
        let keys = self.inner.names.sealed(key);
        let command = |told: Told<'_>| scripts::unseal(&keys, told);
        match self.inner.write::<Option<Vec<u8>>>(command).await {
            Some(Some(bytes)) => counted("unseal", true, Lookup::Found(bytes)),
            Some(None) => counted("unseal", true, Lookup::Absent),
            None => counted("unseal", false, Lookup::Unavailable),
        }
    }

    async fn peek(&self, key: &str) -> Lookup<Vec<u8>> {
        let inner = &self.inner;
        let Some(link) = inner.link.load_full() else {
            return counted("peek", false, Lookup::Unavailable);
        };
        let [bytes, _] = inner.names.sealed(key);
        let command = scripts::peek(bytes);
        let asked = within(inner.settings.timeout, link.ask::<Option<Vec<u8>>>(&command)).await;
        match inner.noticed(asked).map(|kept| kept.and_then(scripts::kept)) {
            Some(Some(bytes)) => counted("peek", true, Lookup::Found(bytes)),
            Some(None) => counted("peek", true, Lookup::Absent),
            None => counted("peek", false, Lookup::Unavailable),
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, redis::RedisError>>,
) -> Result<T, Fault> {
    match timeout(limit, work).await {
        Ok(done) => done.map_err(|error| Fault::from(&error)),
        Err(_) => Err(Fault::slow(limit)),
    }
}

/// A name for a revocation table that begins now.
fn new_lineage() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

fn millis(duration: Duration) -> u64 {
    // Redis takes no more than fits into its signed milliseconds, and no zero.
    const LONGEST: u64 = 30 * 365 * 24 * 3_600 * 1_000;
    u64::try_from(duration.as_millis()).unwrap_or(LONGEST).clamp(1, LONGEST)
}
