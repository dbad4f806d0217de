//! How one upstream is spoken to: the peers that Pingora connects to, with their protocol, times and TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Uri, header};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;

use super::handshake::{Dial, Handshake};
use super::servers::{Address, Server};
use super::tls::Tls;
use crate::config::settings::{Protocol, UpstreamSettings};
use crate::policy::route::UpstreamTimeouts;

/// How long a WebSocket may be silent: far longer than an answer may take.
pub const WEBSOCKET_SILENCE: Duration = Duration::from_secs(3600);
/// Requests at a time on one HTTP/2 connection, where the upstream allows that many.
const STREAMS: usize = 100;

/// How one upstream is spoken to.
pub struct Wire {
    protocol: Protocol,
    connect: Duration,
    read: Duration,
    write: Duration,
    idle: Duration,
    /// Hosts of the endpoints, by their positions.
    hosts: Vec<Box<str>>,
    tls: Option<Arc<Tls>>,
    /// Keeps the connections of one upstream from serving another, whatever else they have in common.
    group: u64,
}

impl Wire {
    /// Reads the certificates' files.
    ///
    /// # Errors
    /// One of them can't be used; the text names it.
    pub fn new(settings: &UpstreamSettings) -> Result<Self, String> {
        let tls = settings.tls.clone().map(|tls| Tls::new(&settings.name, tls)).transpose()?;
        Ok(Self {
            protocol: settings.protocol,
            connect: settings.connect,
            read: settings.read,
            write: settings.write,
            idle: settings.idle,
            hosts: settings.endpoints.iter().map(|endpoint| endpoint.host().into()).collect(),
            group: super::balance::hash((&settings.name, tls.is_some(), settings.protocol as u8)),
            tls: tls.map(Arc::new),
        })
    }

    /// The certificates, where there are some.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// Whether nothing but HTTP/2 may be spoken.
    pub fn is_http2_only(&self) -> bool {
        self.protocol == Protocol::Http2
    }

    /// How long a connection may take.
    pub fn connect_timeout(&self, own: &UpstreamTimeouts) -> Duration {
        own.connect.unwrap_or(self.connect)
    }

    /// Where and how to connect for a request; `own` are its route's times.
    pub(super) fn peer(&self, server: &Server, own: &UpstreamTimeouts) -> Option<HttpPeer> {
        let mut peer = self.bare_peer(server)?;
        // Stock Pingora waits for ever.
        let connect = self.connect_timeout(own);
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
        peer.options.read_timeout = Some(own.read.unwrap_or(self.read));
        peer.options.write_timeout = Some(own.write.unwrap_or(self.write));
        peer.options.idle_timeout = Some(self.idle);
        peer.options.max_h2_streams = STREAMS;
        Some(peer)
    }

    /// The same for a WebSocket handshake: on HTTP/1.1, on a connection of its own, which may be silent for long once
    /// the handshake has been answered.
    pub(super) fn peer_for_websocket(
        &self,
        server: &Server,
        own: &UpstreamTimeouts,
    ) -> Option<(HttpPeer, Arc<Handshake>)> {
        static HANDSHAKES: AtomicU64 = AtomicU64::new(1);
        let mut peer = self.peer(server, own)?;
        let answer_within = own.read.unwrap_or(self.read);
        peer.options.set_http_version(1, 1);
        peer.options.read_timeout = Some(answer_within.max(WEBSOCKET_SILENCE));
        peer.options.idle_timeout = Some(Duration::from_millis(1));
        peer.group_key ^= HANDSHAKES.fetch_add(1, Ordering::Relaxed).rotate_right(8);
        let handshake = Arc::new(Handshake::new(answer_within));
        peer.options.custom_l4 = Some(Arc::new(Dial::new(Arc::clone(&handshake))));
        Some((peer, handshake))
    }

    /// The same for a health check, which carries nothing of any client.
    pub(super) fn peer_for_check(&self, server: &Server, timeout: Duration) -> Option<HttpPeer> {
        let mut peer = self.bare_peer(server)?;
        peer.options.connection_timeout = Some(timeout);
        peer.options.total_connection_timeout = Some(timeout);
        peer.options.read_timeout = Some(timeout);
        peer.options.write_timeout = Some(timeout);
        // With more, Pingora would keep the connection.
        peer.options.max_h2_streams = 1;
        Some(peer)
    }

    /// The `Host` of a health check.
    pub(super) fn host_for_check(&self, server: &Server) -> String {
        let written = self.tls.as_ref().and_then(|tls| tls.settings().server_name.as_deref());
        match (written, &server.address) {
            (Some(name), _) => name.to_owned(),
            (None, Address::Unix(_)) => "localhost".to_owned(),
            (None, Address::Network(address)) => {
                let host = self.hosts.get(server.endpoint).map_or("localhost", AsRef::as_ref);
                if host.contains(':') {
                    format!("[{host}]:{}", address.port())
                } else {
                    format!("{host}:{}", address.port())
                }
            }
        }
    }

    fn bare_peer(&self, server: &Server) -> Option<HttpPeer> {
        let name = match &self.tls {
            None => String::new(),
            Some(tls) => {
                let host = self.hosts.get(server.endpoint).map(AsRef::as_ref);
                // Without a name Pingora checks nothing at all; the configuration sees to it that there is one.
                tls.settings().server_name.as_deref().or(host).filter(|name| !name.is_empty())?.to_owned()
            }
        };
        let mut peer = match &server.address {
            Address::Network(address) => HttpPeer::new(*address, self.tls.is_some(), name),
            Address::Unix(path) => HttpPeer::new_uds(path.to_str()?, self.tls.is_some(), name).ok()?,
        };
        peer.group_key = self.group;
        if let Some(tls) = &self.tls {
            let material = tls.material();
            peer.options.ca.clone_from(&material.authorities);
            peer.client_cert_key.clone_from(&material.client);
            peer.options.verify_hostname = tls.settings().verify_name;
            peer.group_key ^= material.digest;
        }
        let (newest, oldest) = match self.protocol {
            Protocol::Http1 => (1, 1),
            Protocol::Http2 => (2, 2),
            Protocol::Auto => (2, 1),
        };
        peer.options.set_http_version(newest, oldest);
        Some(peer)
    }
}

/// Moves the host of a request into its target, where HTTP/2 has it (RFC 9113 §8.3.1).
pub fn address_h2(request: &mut RequestHeader, tls: bool) -> pingora::Result<()> {
    let broken = || pingora::Error::explain(pingora::ErrorType::InternalError, "no target for HTTP/2");
    let host = request.remove_header(&header::HOST).ok_or_else(broken)?;
    let target = request.uri.path_and_query().cloned().ok_or_else(broken)?;
    let uri = Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(host.as_bytes())
        .path_and_query(target)
        .build();
    request.set_uri(uri.map_err(|_| broken())?);
    request.set_version(http::Version::HTTP_2);
    Ok(())
}
