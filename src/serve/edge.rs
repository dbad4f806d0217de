//! The edge of a connection: a stream that notices when the HTTP parser answers for itself.
//!
//! Pingora refuses some bytes (400, 405) before there is a request, and calls no hook. This stream sees such an
//! answer go out while no request is running, so that it is counted and audited.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp as _, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::{HttpProxy, Session};
use pingora::server::ShutdownWatch;

use super::crowd::Crowd;
use super::door::{Door, Guest};
use super::goodbye::Goodbye;
use super::h2;
use super::h2_watch;
use super::linger::{Left, linger};
use super::pace::{Life, Pace, Stop};
use super::proxy::Gateway;
use super::request_line::RequestLine;
use super::running;
use super::shutdown::Draining;
use super::tls::ListenerTls;
use super::watched::{Observer, Watched};
use crate::config::settings::ListenerSettings;
use crate::enforce::streams::{Line, OpenStreams};
use crate::request::certificate::ClientCertificate;

/// Connections may finish the request they are reading for this long after the listener closed; without it Pingora
/// drops requests that have just begun.
const LINGER: Duration = Duration::from_secs(2);

/// Pingora's idle time in seconds: without a limit, since the stream's own clock ends what waits for too long.
const KEEP_ALIVE: u64 = 0;

/// A listener's application: Pingora's proxy behind a door and a stream that is watched.
pub struct Edge {
    proxy: Arc<HttpProxy<Gateway>>,
    door: Door,
    crowd: Arc<Crowd>,
    tls: Option<Arc<ListenerTls>>,
    /// Whether every connection is HTTP/2, without TLS to say so (RFC 9113 §3.3).
    h2c: bool,
    header_bytes: usize,
    draining: Draining,
    streams: Arc<OpenStreams>,
}

impl Edge {
    /// Wraps the proxy of one listener.
    pub fn new(
        proxy: HttpProxy<Gateway>,
        door: Door,
        listener: &ListenerSettings,
        tls: Option<Arc<ListenerTls>>,
        (draining, streams): (Draining, Arc<OpenStreams>),
    ) -> Self {
        let header_bytes = listener.reading.header_bytes;
        let crowd = Arc::new(Crowd::new(listener.limits.slow_bodies));
        Self { proxy: Arc::new(proxy), door, crowd, tls, h2c: listener.h2c, header_bytes, draining, streams }
    }

    /// The stream behind its watcher.
    fn watched(
        &self,
        stream: Stream,
        connection: &Arc<Connection>,
        observer: Observer,
        line: Option<Arc<Line>>,
    ) -> Option<Stream> {
        let pace = Pace::new(*self.door.limits(), Arc::clone(&self.crowd));
        let goodbye = Goodbye::new(self.draining.clone(), line);
        Some(Box::new(Watched::new(stream, Arc::clone(connection), observer, pace, goodbye)?))
    }

    /// Says whether something was refused before it was a request.
    async fn serve_http2(
        &self,
        stream: Stream,
        connection: &Arc<Connection>,
        shutdown: &ShutdownWatch,
    ) -> bool {
        let watch = Arc::new(h2_watch::Watch::default());
        let observer = Observer::Http2(Box::new(h2_watch::Observer::new(Arc::clone(&watch))));
        let Some(stream) = self.watched(stream, connection, observer, None) else { return false };
        let limits = h2::Limits {
            header_bytes: self.header_bytes,
            streams: usize::try_from(self.door.limits().h2_streams).unwrap_or(usize::MAX),
            first_request_time: self.door.limits().header_deadline,
            idle_time: self.door.limits().keep_alive,
        };
        let (life, draining, streams) = (&connection.life, &self.draining, &self.streams);
        let service = h2::Service { proxy: &self.proxy, limits, watch: &watch, life, draining, streams };
        h2::serve(service, stream, shutdown).await > 0
    }

    /// Says whether something was refused before it was a request.
    async fn serve_http1(
        &self,
        stream: Stream,
        connection: &Arc<Connection>,
        shutdown: &ShutdownWatch,
    ) -> bool {
        let observer = Observer::Http1(RequestLine::default());
        let entry = self.streams.enter();
        let line = Some(Arc::clone(entry.line()));
        let Some(stream) = self.watched(stream, connection, observer, line) else { return false };
        // What Pingora's own loop does, without the memory of the protocols that it would ask about first.
        let requests = async {
            let mut session = ServerSession::new_http1(stream);
            session.set_keepalive((!*shutdown.borrow()).then_some(KEEP_ALIVE));
            while let Some(reused) = self.proxy.process_new_http(session, shutdown).await {
                let (stream, settings) = reused.consume();
                session = ServerSession::new_http1(stream);
                if let Some(settings) = settings {
                    settings.apply_to_session(&mut session);
                }
            }
        };
        running::serve(entry.line(), requests).await;
        connection.refused_by_parser.load(Ordering::Relaxed)
    }

    /// Serves one connection, from its first byte to its last.
    async fn serve(&self, mut stream: Stream, shutdown: &ShutdownWatch) {
        let Some(guest) = Box::pin(self.door.let_in(&mut stream)).await else { return };
        let (stream, certificate) = match &self.tls {
            None => (stream, None),
            Some(tls) => {
                // What is done once, or for some connections only, is not memory of each.
                let shaken = Box::pin(tls.accept(stream));
                let shaken = tokio::time::timeout(self.door.limits().header_deadline, shaken).await;
                let Ok(shaken) = shaken else {
                    self.door.count("handshake_deadline");
                    return;
                };
                let Some(shaken) = shaken else { return };
                shaken
            }
        };
        let is_h2 = self.h2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        let connection = Arc::new(Connection::new(&guest, is_h2, self.tls.is_some(), certificate));
        let refused = if is_h2 {
            Box::pin(self.serve_http2(stream, &connection, shutdown)).await
        } else {
            self.serve_http1(stream, &connection, shutdown).await
        };
        let stop = connection.life.stop();
        if let Some(stop) = stop {
            self.door.count(stop.cause());
        }
        let too_slow = stop == Some(Stop::Header) && connection.life.is_receiving();
        if too_slow || refused {
            Box::pin(self.door.record_unparsed(guest.client)).await;
        }
        if let Some(left) = connection.take_left() {
            Box::pin(linger(left)).await;
        }
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        // Pingora's task has room for a handshake of Pingora's own, more than all else here, and ends now.
        let (edge, shutdown) = (Arc::clone(self), shutdown.clone());
        tokio::spawn(async move { edge.serve(stream, &shutdown).await });
        None
    }

    async fn cleanup(&self) {
        tokio::time::sleep(LINGER).await;
        self.proxy.http_cleanup().await;
    }
}

/// Whether the request line held more than a method, a target and a version in visible ASCII.
///
/// Pingora encodes what may not stand there and goes on, so only the bytes of the stream still tell.
pub fn request_line_is_odd(session: &Session) -> bool {
    connection(session).is_some_and(|connection| connection.odd_request_line.load(Ordering::Relaxed))
}

/// The client's address; `None` where it can't be known.
pub fn client(session: &Session) -> Option<IpAddr> {
    connection(session).and_then(|connection| connection.client)
}

/// Whether a session's connection is encrypted, and the certificate that its client showed.
pub fn encryption(session: &Session) -> (bool, Option<&Arc<ClientCertificate>>) {
    connection(session)
        .map_or((false, None), |connection| (connection.encrypted, connection.certificate.as_ref()))
}

/// Whether the gateway ended the connection because its client was too slow with a body.
pub fn was_too_slow(session: &Session) -> bool {
    let stop = connection(session).and_then(|connection| connection.life.stop());
    matches!(stop, Some(Stop::SlowBody | Stop::SlowBodies | Stop::SlowReader))
}

/// Notes that so many bytes of a body were taken up that is collected.
pub fn takes_up(session: &Session, bytes: usize) {
    if let Some(connection) = connection(session) {
        connection.life.body_is_taken(bytes);
    }
}

/// Notes that a handshake for a WebSocket goes upstream.
pub fn websocket_may_begin(session: &Session) {
    if let Some(connection) = connection(session) {
        connection.websocket.store(true, Ordering::Relaxed);
    }
}

/// Notes that a request has begun; called first in its life. It ends when this is dropped.
pub fn request_began(session: &Session) -> Option<Running> {
    let connection = Arc::clone(connection(session)?);
    connection.life.begins_request();
    Some(Running { connection, awaits_body: false, taken: 0 })
}

/// A request that is being served.
pub struct Running {
    connection: Arc<Connection>,
    awaits_body: bool,
    /// How many bytes of its body were taken up.
    taken: usize,
}

impl Running {
    /// A body is to come, so that the client may be too slow.
    pub fn awaits_body(&mut self) {
        if !self.awaits_body {
            self.awaits_body = true;
            self.connection.life.begins_upload();
        }
    }

    /// So many bytes of the body were taken up in all.
    pub fn takes_up(&mut self, all: usize) {
        self.connection.life.body_is_taken(all.saturating_sub(self.taken));
        self.taken = all;
    }

    /// The body has come.
    pub fn has_body(&mut self) {
        if self.awaits_body {
            self.awaits_body = false;
            self.connection.life.ends_upload();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.has_body();
        self.connection.life.ends_request();
    }
}

fn connection(session: &Session) -> Option<&Arc<Connection>> {
    let digest = session.digest().and_then(|digest| digest.proxy_digest.as_ref())?;
    digest.user_data.as_ref().and_then(|data| data.downcast_ref::<Arc<Connection>>())
}

pub(super) struct Connection {
    pub(super) client: Option<IpAddr>,
    pub(super) life: Life,
    pub(super) refused_by_parser: AtomicBool,
    pub(super) odd_request_line: AtomicBool,
    pub(super) websocket: AtomicBool,
    /// Its stream, when the service is over before the client is.
    left: Mutex<Option<Left>>,
    encrypted: bool,
    certificate: Option<Arc<ClientCertificate>>,
}

impl Connection {
    fn new(guest: &Guest, is_h2: bool, encrypted: bool, certificate: Option<Arc<ClientCertificate>>) -> Self {
        Self {
            client: guest.client,
            life: Life::new(is_h2),
            refused_by_parser: AtomicBool::new(false),
            odd_request_line: AtomicBool::new(false),
            websocket: AtomicBool::new(false),
            left: Mutex::default(),
            encrypted,
            certificate,
        }
    }

    /// The service is over.
    pub(super) fn leave(&self, left: Left) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
    }

    fn take_left(&self) -> Option<Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Looks at bytes that came; `line` is what is known of the request line so far.
    pub(super) fn on_read(&self, bytes: &[u8], line: &mut RequestLine) {
        if self.life.is_serving() {
            return;
        }
        if !self.life.is_receiving() {
            self.life.begins_to_receive();
            *line = RequestLine::default();
        }
        if !line.has_ended() {
            line.feed(bytes);
            self.odd_request_line.store(line.is_odd(), Ordering::Relaxed);
        }
    }

    pub(super) fn on_write(&self) {
        if self.life.is_receiving() {
            self.refused_by_parser.store(true, Ordering::Relaxed);
        }
    }
}
