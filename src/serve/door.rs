//! The door: how many connections there may be, in all and of one client, and who is behind each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use pingora::protocols::Stream;
use prometheus::IntGauge;
use tokio::time::timeout;

use super::proxy_header::{self, Source};
use crate::config::settings::{Announcers, ListenerLimits, ListenerSettings};
use crate::enforce::Gate;
use crate::telemetry::metrics;

/// One listener's door.
pub struct Door {
    listener: Box<str>,
    limits: ListenerLimits,
    announcers: Announcers,
    /// HTTP proxies: behind one address of theirs are many clients.
    trusted_proxies: Vec<IpNet>,
    counts: Arc<Counts>,
    gate: Arc<Gate>,
}

/// A connection that was let in; holds its places until it is dropped.
pub struct Guest {
    /// The client's address: the peer's own, or what a load balancer announced; `None` where it can't be known.
    pub client: Option<IpAddr>,
    /// The places it takes, given back when the guest goes.
    _places: (Place, Option<ClientPlace>),
}

impl Door {
    /// The door of a listener.
    pub fn new(settings: &ListenerSettings, gate: Arc<Gate>) -> Self {
        let open = metrics().connections.with_label_values(&[&settings.name]);
        Self {
            listener: settings.name.clone(),
            limits: settings.limits,
            announcers: settings.announcers.clone(),
            trusted_proxies: settings.reading.trusted_proxies.clone(),
            counts: Arc::new(Counts { open, seats: Mutex::default() }),
            gate,
        }
    }

    /// Lets a connection in, or says no: then it is to be closed at once. Nothing was read from it but a PROXY header.
    pub async fn let_in(&self, stream: &mut Stream) -> Option<Guest> {
        let peer = stream.get_socket_digest().and_then(|digest| {
            digest.peer_addr().and_then(|address| address.as_inet().map(|inet| inet.ip().to_canonical()))
        });
        let Some(place) = Place::take(&self.counts, self.limits.connections) else {
            return self.refuse("connections");
        };
        let client = if self.announcers.include(peer) {
            match timeout(self.limits.header_deadline, proxy_header::read(stream)).await {
                Ok(Ok(Source::Client(client))) => Some(client),
                Ok(Ok(Source::Unknown)) => None,
                Ok(Ok(Source::Itself)) => peer,
                Ok(Err(_)) | Err(_) => {
                    self.count("proxy_protocol");
                    self.gate.record_unparsed(&self.listener, peer).await;
                    return None;
                }
            }
        } else {
            peer
        };
        let is_shared = |client: &IpAddr| self.trusted_proxies.iter().any(|network| network.contains(client));
        let own = match client.filter(|client| !is_shared(client)) {
            None => None,
            Some(client) => {
                match ClientPlace::take(&self.counts, household(client), self.limits.connections_per_client) {
                    None => return self.refuse("connections_per_client"),
                    taken => taken,
                }
            }
        };
        Some(Guest { client, _places: (place, own) })
    }

    fn refuse(&self, cause: &'static str) -> Option<Guest> {
        self.count(cause);
        self.gate.count_refused_connection(&self.listener, cause);
        None
    }

    /// Counts a connection that is closed because of a limit.
    pub fn count(&self, cause: &'static str) {
        metrics().connections_closed.with_label_values(&[&self.listener, cause]).inc();
    }

    /// Records that a connection's bytes were refused before there was a request.
    pub async fn record_unparsed(&self, client: Option<IpAddr>) {
        self.gate.record_unparsed(&self.listener, client).await;
    }

    /// What is allowed here.
    pub fn limits(&self) -> &ListenerLimits {
        &self.limits
    }
}

/// Who counts as one client: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer gets.
fn household(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

/// How many connections are open. There are no more entries than connections.
struct Counts {
    open: IntGauge,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Counts {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the listener's places.
struct Place(Arc<Counts>);

impl Place {
    fn take(counts: &Arc<Counts>, most: usize) -> Option<Self> {
        let mut seats = counts.seats();
        if seats.all >= most {
            return None;
        }
        seats.all += 1;
        counts.open.inc();
        Some(Self(Arc::clone(counts)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.seats().all -= 1;
        self.0.open.dec();
    }
}

/// One of a client's places.
struct ClientPlace(Arc<Counts>, IpAddr);

impl ClientPlace {
    fn take(counts: &Arc<Counts>, client: IpAddr, most: usize) -> Option<Self> {
        let mut seats = counts.seats();
        let own = seats.by_client.get(&client).copied().unwrap_or(0);
        if own >= most {
            return None;
        }
        seats.by_client.insert(client, own + 1);
        Some(Self(Arc::clone(counts), client))
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut seats = self.0.seats();
        match seats.by_client.get_mut(&self.1) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                seats.by_client.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_nothing_is_kept_of_who_left() {
        let open = IntGauge::new("open", "open").expect("a gauge");
        let counts = Arc::new(Counts { open, seats: Mutex::default() });
        let client = |text: &str| household(text.parse().expect("address"));
        let first = ClientPlace::take(&counts, client("192.0.2.1"), 2).expect("a place");
        let second = ClientPlace::take(&counts, client("192.0.2.1"), 2).expect("a place");
        assert!(ClientPlace::take(&counts, client("192.0.2.1"), 2).is_none());
        assert!(ClientPlace::take(&counts, client("192.0.2.2"), 2).is_some());
        drop(first);
        assert!(ClientPlace::take(&counts, client("192.0.2.1"), 2).is_some());
        drop(second);
        assert!(counts.seats().by_client.is_empty());
        let places: Vec<_> = (0..3).map_while(|_| Place::take(&counts, 2)).collect();
        assert_eq!((places.len(), counts.open.get()), (2, 2));
        drop(places);
        assert_eq!((counts.seats().all, counts.open.get()), (0, 0));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    }
}
