//! Puts the upstreams together, and chooses the server for a request.

use std::sync::Arc;

use pingora::connectors::http::Connector;
use tokio::runtime::Handle;

use super::resolve::{self, Resolve};
use super::servers::{NoServer, Tried};
use super::{Departure, Destination, Upstream, Upstreams, balance, health, tls};
use crate::config::settings::{Balance, Endpoint, RetrySettings, UpstreamSettings};
use crate::request::headers::IdentityHeaders;
use crate::serve::assertion::Assertions;
use crate::serve::proxy_status::ProxyError;
use crate::serve::reply::UpstreamFault;

impl Upstreams {
    /// Takes the settings; `assertions` signs for those that want an assertion. Names are looked up, servers asked how
    /// they are and certificates renewed on `background` until the value is dropped.
    ///
    /// # Errors
    /// A certificate's file can't be used; the text names it.
    pub fn new(
        settings: Vec<UpstreamSettings>,
        assertions: Assertions,
        background: &Handle,
    ) -> Result<Self, String> {
        Self::joining(&[], settings, assertions, background)
    }

    /// The upstreams of another version of the configuration: those whose settings are the same go on as they are,
    /// with all that is known of their servers.
    ///
    /// # Errors
    /// As in [`Self::new`].
    pub fn succeeded_by(&self, settings: Vec<UpstreamSettings>, background: &Handle) -> Result<Self, String> {
        Self::joining(&self.upstreams, settings, self.assertions.succeeded(), background)
    }

    fn joining(
        known: &[Arc<Upstream>],
        settings: Vec<UpstreamSettings>,
        assertions: Assertions,
        background: &Handle,
    ) -> Result<Self, String> {
        let injected = settings.iter().flat_map(|upstream| {
            upstream
                .inject
                .keys()
                .map(AsRef::as_ref)
                .chain(upstream.identity.iter().map(|identity| identity.header.as_ref()))
        });
        let identity_headers = IdentityHeaders::new(injected);
        let resolver: Arc<dyn Resolve> = Arc::new(resolve::System);
        // Reads the system's authorities, so it is made only where somebody needs it.
        let checks = settings.iter().any(|upstream| upstream.health_check.is_some());
        let connector = checks.then(|| Arc::new(Connector::new(None)));
        let mut upstreams = Vec::new();
        let mut joined = Vec::new();
        for settings in settings {
            if let Some(same) = known.iter().find(|upstream| upstream.settings == settings) {
                upstreams.push(Arc::clone(same));
                continue;
            }
            let upstream = Arc::new(Upstream::new(settings)?);
            joined.push(Arc::clone(&upstream));
            upstreams.push(upstream);
        }
        for upstream in joined {
            upstream.start(&resolver, connector.as_ref(), background);
        }
        Ok(Self { upstreams, identity_headers, assertions })
    }

    /// Names the upstreams that nobody serves for now.
    pub fn down(&self) -> Vec<String> {
        let down = self.upstreams.iter().filter(|upstream| upstream.servers.is_down());
        down.map(|upstream| format!("upstream `{}` has no healthy endpoint", upstream.settings.name))
            .collect()
    }

    /// Writes how the endpoints are doing into the metrics.
    pub fn observe(&self) {
        for upstream in &self.upstreams {
            upstream.servers.observe();
        }
    }

    /// What the configuration lets be sent again.
    pub fn retries(&self, index: usize) -> Option<&RetrySettings> {
        self.upstreams.get(index).map(|upstream| &upstream.settings.retries)
    }

    /// Whether an upstream is spoken to in nothing but HTTP/2.
    pub fn is_http2_only(&self, index: usize) -> bool {
        self.upstreams.get(index).is_some_and(|upstream| upstream.wire.is_http2_only())
    }

    /// Where to connect. Taking the departure, and with it the admission, is what makes an unadmitted connection
    /// impossible to write.
    ///
    /// # Errors
    /// What the client is told, and in which word of RFC 9209.
    pub async fn destination(
        &self,
        departure: &Departure<'_>,
        tried: &Tried,
    ) -> Result<Destination, (UpstreamFault, ProxyError)> {
        let unreachable = (UpstreamFault::Unreachable, ProxyError::DestinationUnavailable);
        let upstream = self.upstreams.get(departure.upstream).ok_or(unreachable)?;
        let (wire, own) = (&upstream.wire, &departure.timeouts);
        let key = if upstream.settings.balance == Balance::ConsistentHash { key(departure) } else { 0 };
        let attempt = upstream.servers.choose(key, tried, wire.connect_timeout(own)).await;
        let attempt = attempt.map_err(|why| match why {
            // Addresses that are written down are always known: this one's name could not be looked up.
            NoServer::Unknown => (UpstreamFault::Unreachable, ProxyError::DnsError),
            NoServer::AllUnwell => (UpstreamFault::NoneHealthy, UpstreamFault::NoneHealthy.into()),
        })?;
        let (peer, handshake) = if departure.facts.websocket {
            wire.peer_for_websocket(&attempt.server, own).map(|(peer, handshake)| (peer, Some(handshake)))
        } else {
            wire.peer(&attempt.server, own).map(|peer| (peer, None))
        }
        .ok_or(unreachable)?;
        Ok(Destination { peer, attempt, handshake })
    }
}

impl Upstream {
    /// Begins what goes on beside the requests.
    fn start(&self, resolver: &Arc<dyn Resolve>, connector: Option<&Arc<Connector>>, background: &Handle) {
        let servers = Arc::downgrade(&self.servers);
        for (at, endpoint) in self.settings.endpoints.iter().enumerate() {
            if let Endpoint::Network(place) = endpoint
                && place.parse::<std::net::SocketAddr>().is_err()
            {
                let resolver = Arc::clone(resolver);
                background.spawn(resolve::keep_fresh(resolver, servers.clone(), at, place.clone()));
            }
        }
        if let (Some(check), Some(connector)) = (&self.settings.health_check, connector) {
            let (wire, check) = (Arc::downgrade(&self.wire), Arc::new(check.clone()));
            background.spawn(health::keep_asking(Arc::clone(connector), wire, servers, check));
        }
        if let Some(tls) = self.wire.tls() {
            background.spawn(tls::keep_fresh(Arc::downgrade(tls)));
        }
    }
}

/// Whose request it is: the subject's, or else the client address's.
fn key(departure: &Departure<'_>) -> u64 {
    match (departure.admission.permit().subject(), departure.facts.client) {
        (Some(subject), _) => balance::hash((&subject.issuer, &subject.id)),
        (None, client) => balance::hash(client),
    }
}
