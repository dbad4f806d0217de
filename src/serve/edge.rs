//! The edge of a connection: a stream that notices when the HTTP parser answers for itself.
//!
//! Pingora refuses some bytes (400, 405) before there is a request, and calls no hook. This stream sees such an
//! answer go out while no request is running, so that it is counted and audited.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora::proxy::{HttpProxy, Session};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::goodbye::Goodbye;
use super::proxy::Gateway;
use super::shutdown::Draining;
use crate::enforce::Gate;

/// Connections may finish the request they are reading for this long after the listener closed; without it Pingora
/// drops requests that have just begun.
const LINGER: Duration = Duration::from_secs(2);

/// A listener's application: Pingora's proxy behind a stream that is watched.
pub struct Edge {
    proxy: Arc<HttpProxy<Gateway>>,
    gate: Arc<Gate>,
    listener: Box<str>,
    draining: Draining,
}

impl Edge {
    /// Wraps the proxy of one listener.
    pub fn new(proxy: HttpProxy<Gateway>, gate: Arc<Gate>, listener: &str, draining: Draining) -> Self {
        Self { proxy: Arc::new(proxy), gate, listener: listener.into(), draining }
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let connection = Arc::new(Connection::default());
        let peer = stream.get_socket_digest().and_then(|digest| {
            digest.peer_addr().and_then(|address| address.as_inet().map(|inet| inet.ip()))
        });
        let goodbye = Goodbye::new(self.draining.clone());
        let watched: Stream = Box::new(Watched::new(stream, Arc::clone(&connection), goodbye)?);
        self.proxy.process_new(watched, shutdown).await;
        if connection.refused_by_parser.load(Ordering::Relaxed) {
            self.gate.record_unparsed(&self.listener, peer).await;
        }
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

/// Notes that a request has begun; called first in its life.
pub fn request_began(session: &Session) {
    set_phase(session, Phase::InRequest);
}

/// Notes that a request has ended; called last in its life.
pub fn request_ended(session: &Session) {
    set_phase(session, Phase::Idle);
}

/// Notes that a handshake for a WebSocket goes upstream.
pub fn websocket_may_begin(session: &Session) {
    if let Some(connection) = connection(session) {
        connection.websocket.store(true, Ordering::Relaxed);
    }
}

fn set_phase(session: &Session, phase: Phase) {
    if let Some(connection) = connection(session) {
        connection.phase.store(phase as u8, Ordering::Relaxed);
    }
}

fn connection(session: &Session) -> Option<&Arc<Connection>> {
    let digest = session.digest().and_then(|digest| digest.proxy_digest.as_ref())?;
    digest.user_data.as_ref().and_then(|data| data.downcast_ref::<Arc<Connection>>())
}

/// Where a connection is in its life.
#[derive(Clone, Copy)]
enum Phase {
    /// Between requests.
    Idle = 0,
    /// Bytes have come that are not a request yet.
    Receiving = 1,
    /// A request is being served.
    InRequest = 2,
}

#[derive(Default)]
struct Connection {
    phase: AtomicU8,
    refused_by_parser: AtomicBool,
    odd_request_line: AtomicBool,
    websocket: AtomicBool,
}

impl Connection {
    /// Looks at bytes that came; `line` is what is known of the request line so far.
    fn on_read(&self, bytes: &[u8], line: &mut RequestLine) {
        let phase = self.phase.load(Ordering::Relaxed);
        if phase == Phase::Idle as u8 {
            self.phase.store(Phase::Receiving as u8, Ordering::Relaxed);
            *line = RequestLine::default();
        }
        if phase != Phase::InRequest as u8 && !line.ended {
            line.feed(bytes);
            self.odd_request_line.store(line.spaces > 2 || line.has_odd_bytes, Ordering::Relaxed);
        }
    }

    fn on_write(&self) {
        if self.phase.load(Ordering::Relaxed) == Phase::Receiving as u8 {
            self.refused_by_parser.store(true, Ordering::Relaxed);
        }
    }
}

/// What a request line is made of, as it arrives.
#[derive(Default)]
struct RequestLine {
    begun: bool,
    ended: bool,
    spaces: usize,
    has_odd_bytes: bool,
}

impl RequestLine {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                // Empty lines before a request are allowed (RFC 9112 §2.2).
                b'\r' | b'\n' if !self.begun => continue,
                b'\n' => {
                    self.ended = true;
                    return;
                }
                b' ' => self.spaces += 1,
                b'\r' | 0x21..=0x7e => {}
                _ => self.has_odd_bytes = true,
            }
            self.begun = true;
        }
    }
}

struct Watched {
    inner: Stream,
    line: RequestLine,
    connection: Arc<Connection>,
    goodbye: Goodbye,
    /// Pingora gives a session this digest and nothing else of the stream, so the connection travels in it.
    digest: Arc<ProxyDigest>,
}

impl Watched {
    fn new(inner: Stream, connection: Arc<Connection>, goodbye: Goodbye) -> Option<Self> {
        let response = ResponseHeader::build(200, None).ok()?;
        let digest = Arc::new(ProxyDigest::new(Box::new(response), Some(Box::new(Arc::clone(&connection)))));
        Some(Self { inner, line: RequestLine::default(), connection, goodbye, digest })
    }

    /// Whether what is written now is, or may become, a WebSocket's.
    fn carries_websocket(&mut self) -> bool {
        if self.connection.websocket.load(Ordering::Relaxed) {
            self.goodbye.expect();
        }
        self.goodbye.is_expected()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        if this.goodbye.is_expected() {
            this.goodbye.poll(&mut this.inner, context);
        }
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            this.connection.on_read(bytes, &mut this.line);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection.on_write();
        let this = &mut *self;
        if this.carries_websocket() {
            return this.goodbye.poll_write(&mut this.inner, context, bytes);
        }
        Pin::new(&mut this.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.on_write();
        let this = &mut *self;
        if this.carries_websocket() {
            return this.goodbye.poll_write_vectored(&mut this.inner, context, slices);
        }
        Pin::new(&mut this.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Watched {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[async_trait]
impl Peek for Watched {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}
