//! The servers behind one upstream: every address of every endpoint, and which of them gets the next request.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{IntCounter, IntGauge};
use smallvec::SmallVec;
use tokio::sync::watch;

use super::balance::{self, Candidate};
use super::condition::{Condition, now};
use crate::config::settings::{Balance, EjectionSettings, Endpoint, HealthCheckSettings, UpstreamSettings};
use crate::telemetry::metrics;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An address and port.
    Network(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// One server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: Address,
    /// The position of the endpoint that it belongs to.
    pub endpoint: usize,
    /// A number that is its own in every process.
    pub hash: u64,
    /// How it is doing.
    pub condition: Condition,
    in_flight: AtomicUsize,
}

impl Server {
    fn new(endpoint: usize, address: Address, condition: Condition) -> Arc<Self> {
        let hash = balance::hash(address.to_string());
        Arc::new(Self { address, endpoint, hash, condition, in_flight: AtomicUsize::new(0) })
    }
}

/// Servers that a request has been to.
pub type Tried = SmallVec<[u64; 4]>;

/// Why no server was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoServer {
    /// No address is known.
    Unknown,
    /// Every server is known not to be well.
    AllUnwell,
}

struct Watched {
    name: String,
    well: IntGauge,
    ejections: IntCounter,
}

/// The servers of one upstream.
pub struct Servers {
    upstream: Box<str>,
    balance: Balance,
    ejection: EjectionSettings,
    slow_start: Duration,
    endpoints: Vec<Watched>,
    list: ArcSwap<Vec<Arc<Server>>>,
    turn: AtomicUsize,
    /// How many endpoints have not been looked up yet.
    pending: watch::Sender<usize>,
    /// Held while the list, or who is ejected, changes.
    change: Mutex<()>,
}

impl Servers {
    /// The servers whose addresses are written down; names follow through [`Self::found`].
    pub fn new(settings: &UpstreamSettings) -> Self {
        let watched = |endpoint: &Endpoint| {
            let name = endpoint.name();
            let labels = [settings.name.as_ref(), name.as_str()];
            Watched {
                well: metrics().endpoint_healthy.with_label_values(&labels),
                ejections: metrics().endpoint_ejections.with_label_values(&labels),
                name,
            }
        };
        let fixed = settings.endpoints.iter().enumerate().filter_map(|(at, endpoint)| {
            let address = match endpoint {
                Endpoint::Network(place) => Address::Network(place.parse().ok()?),
                Endpoint::Unix(path) => Address::Unix(path.clone()),
            };
            Some(Server::new(at, address, Condition::default()))
        });
        let list: Vec<_> = fixed.collect();
        Self {
            upstream: settings.name.clone(),
            balance: settings.balance,
            ejection: settings.ejection,
            slow_start: settings.slow_start,
            endpoints: settings.endpoints.iter().map(watched).collect(),
            pending: watch::Sender::new(settings.endpoints.len().saturating_sub(list.len())),
            list: ArcSwap::from_pointee(list),
            turn: AtomicUsize::new(0),
            change: Mutex::new(()),
        }
    }

    /// The upstream's name.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// An endpoint as it stands in the file.
    pub fn endpoint(&self, at: usize) -> &str {
        self.endpoints.get(at).map_or("?", |endpoint| &endpoint.name)
    }

    /// All of them.
    pub fn all(&self) -> Arc<Vec<Arc<Server>>> {
        self.list.load_full()
    }

    /// Takes the addresses that an endpoint's name stands for now. `first` says that it is the first answer, good or
    /// bad. Servers that stay keep their condition.
    pub fn found(&self, endpoint: usize, addresses: &[SocketAddr], first: bool) {
        let guard = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.list.load_full();
        let mut list: Vec<_> = known.iter().filter(|server| server.endpoint != endpoint).cloned().collect();
        for address in addresses {
            let address = Address::Network(*address);
            let stays = known.iter().find(|server| server.endpoint == endpoint && server.address == address);
            let condition = if first { Condition::default() } else { Condition::joined(now()) };
            list.push(stays.cloned().unwrap_or_else(|| Server::new(endpoint, address, condition)));
        }
        list.sort_by(|one, other| (one.endpoint, &one.address).cmp(&(other.endpoint, &other.address)));
        list.dedup_by(|one, other| (one.endpoint, &one.address) == (other.endpoint, &other.address));
        self.list.store(Arc::new(list));
        drop(guard);
        if first {
            self.pending.send_modify(|pending| *pending = pending.saturating_sub(1));
        }
    }

    /// Chooses a server, one that was not tried before where there is one. Waits, but not longer than `limit`, only
    /// where no name has been looked up yet.
    pub async fn choose(
        self: &Arc<Self>,
        key: u64,
        tried: &Tried,
        limit: Duration,
    ) -> Result<Attempt, NoServer> {
        match self.choose_now(key, tried) {
            Err(NoServer::Unknown) if *self.pending.borrow() > 0 => {
                let mut pending = self.pending.subscribe();
                let _ = tokio::time::timeout(limit, pending.wait_for(|pending| *pending == 0)).await;
                self.choose_now(key, tried)
            }
            chosen => chosen,
        }
    }

    fn choose_now(self: &Arc<Self>, key: u64, tried: &Tried) -> Result<Attempt, NoServer> {
        let (list, now) = (self.list.load(), now());
        if list.is_empty() {
            return Err(NoServer::Unknown);
        }
        let well = |server: &Server| server.condition.is_well();
        let fresh = |server: &Server| !tried.contains(&server.hash);
        let server = self
            .among(&list, key, now, |server| {
                well(server) && fresh(server) && !server.condition.is_ejected(now)
            })
            // An ejected server is better than none, and so is one that failed this request before.
            .or_else(|| self.among(&list, key, now, |server| well(server) && fresh(server)))
            .or_else(|| self.among(&list, key, now, well))
            .ok_or(NoServer::AllUnwell)?;
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Attempt { servers: Arc::clone(self), server: Arc::clone(server) })
    }

    fn among<'l>(
        &self,
        list: &'l [Arc<Server>],
        key: u64,
        now: u64,
        fits: impl Fn(&Server) -> bool,
    ) -> Option<&'l Arc<Server>> {
        let fitting: SmallVec<[&Arc<Server>; 8]> = list.iter().filter(|server| fits(server)).collect();
        if let [only] = fitting.as_slice() {
            return Some(*only);
        }
        let candidates: SmallVec<[Candidate; 8]> = fitting
            .iter()
            .map(|server| Candidate {
                hash: server.hash,
                in_flight: server.in_flight.load(Ordering::Relaxed),
                share: server.condition.share(self.slow_start, now),
            })
            .collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        fitting.get(balance::choose(self.balance, &candidates, turn, key)?).copied()
    }

    /// Takes the result of a check.
    pub fn checked(&self, server: &Server, good: bool, settings: &HealthCheckSettings) {
        if server.condition.check(good, settings, now()) {
            let (upstream, endpoint) = (&self.upstream, self.endpoint(server.endpoint));
            if good {
                tracing::info!(%upstream, endpoint, address = %server.address, "the endpoint is well again");
            } else {
                tracing::warn!(%upstream, endpoint, address = %server.address, "the endpoint fails its health check and gets no requests");
            }
        }
    }

    fn failed(&self, server: &Server) {
        if !server.condition.fail(&self.ejection, now()) {
            return;
        }
        let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, now) = (self.list.load(), now());
        let well = || list.iter().filter(|server| server.condition.is_well());
        let ejected = well().filter(|server| server.condition.is_ejected(now)).count();
        let percent = usize::try_from(self.ejection.max_percent).unwrap_or(0);
        let most = (well().count() * percent / 100).min(well().count().saturating_sub(1));
        if ejected >= most || server.condition.is_ejected(now) {
            return;
        }
        let time = server.condition.eject(&self.ejection, now);
        if let Some(endpoint) = self.endpoints.get(server.endpoint) {
            endpoint.ejections.inc();
            tracing::warn!(upstream = %self.upstream, endpoint = %endpoint.name, address = %server.address, ?time,
                "the endpoint keeps failing and is left out for a time");
        }
    }

    /// Writes how each endpoint is doing into the metrics.
    pub fn observe(&self) {
        let (list, now) = (self.list.load(), now());
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            let serves = |server: &Server| server.condition.is_well() && !server.condition.is_ejected(now);
            let well = list.iter().any(|server| server.endpoint == at && serves(server));
            endpoint.well.set(i64::from(well));
        }
    }

    /// Whether nobody is there to serve.
    pub fn is_down(&self) -> bool {
        !self.list.load().iter().any(|server| server.condition.is_well())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Whoever took an endpoint over writes its own number at the next look.
        for endpoint in &self.endpoints {
            endpoint.well.set(0);
        }
    }
}

/// A request at a server: counted there until it is dropped.
pub struct Attempt {
    servers: Arc<Servers>,
    /// The server.
    pub server: Arc<Server>,
}

impl Attempt {
    /// The connection could not be made, or was cut.
    pub fn failed(&self) {
        self.servers.failed(&self.server);
    }

    /// The answer came whole.
    pub fn succeeded(&self) {
        let condition = &self.server.condition;
        condition.succeed(&self.servers.ejection, now);
    }

    /// Whether there is a server, well and not ejected, that the request has not been to.
    pub fn has_other(&self, tried: &Tried) -> bool {
        let now = now();
        self.servers.list.load().iter().any(|server| {
            let condition = &server.condition;
            condition.is_well() && !condition.is_ejected(now) && !tried.contains(&server.hash)
        })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.server.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests;
