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

use super::h2;
use super::proxy::Gateway;
use super::tls::ListenerTls;
use crate::config::settings::ListenerSettings;
use crate::enforce::Gate;
use crate::request::certificate::ClientCertificate;

/// Connections may finish the request they are reading for this long after the listener closed; without it Pingora
/// drops requests that have just begun.
const LINGER: Duration = Duration::from_secs(2);

/// A listener's application: Pingora's proxy behind a stream that is watched.
pub struct Edge {
    proxy: Arc<HttpProxy<Gateway>>,
    gate: Arc<Gate>,
    listener: Box<str>,
    tls: Option<Arc<ListenerTls>>,
    /// Whether every connection is HTTP/2, without TLS to say so (RFC 9113 §3.3).
    h2c: bool,
    header_bytes: usize,
}

impl Edge {
    /// Wraps the proxy of one listener.
    pub fn new(
        proxy: HttpProxy<Gateway>,
        gate: Arc<Gate>,
        listener: &ListenerSettings,
        tls: Option<Arc<ListenerTls>>,
    ) -> Self {
        Self {
            proxy: Arc::new(proxy),
            gate,
            listener: listener.name.clone(),
            tls,
            h2c: listener.h2c,
            header_bytes: listener.reading.header_bytes,
        }
    }

    async fn serve_http2(
        &self,
        stream: Stream,
        connection: Arc<Connection>,
        shutdown: &ShutdownWatch,
    ) -> bool {
        let watch = Arc::new(h2::Watch::default());
        let observer = Observer::Http2(Box::new(h2::Observer::new(Arc::clone(&watch))));
        let Some(watched) = Watched::new(stream, connection, observer) else { return false };
        let refused = h2::serve(&self.proxy, Box::new(watched), &watch, self.header_bytes, shutdown).await;
        refused > 0
    }

    async fn serve_http1(
        &self,
        stream: Stream,
        connection: Arc<Connection>,
        shutdown: &ShutdownWatch,
    ) -> bool {
        let observer = Observer::Http1(RequestLine::default());
        let Some(watched) = Watched::new(stream, Arc::clone(&connection), observer) else { return false };
        self.proxy.process_new(Box::new(watched), shutdown).await;
        connection.refused_by_parser.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let peer = stream.get_socket_digest().and_then(|digest| {
            digest.peer_addr().and_then(|address| address.as_inet().map(|inet| inet.ip()))
        });
        let (stream, certificate) = match &self.tls {
            None => (stream, None),
            Some(tls) => tls.accept(stream).await?,
        };
        let encrypted = self.tls.is_some();
        let connection = Arc::new(Connection { encrypted, certificate, ..Connection::default() });
        let refused = if self.h2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            self.serve_http2(stream, connection, shutdown).await
        } else {
            self.serve_http1(stream, connection, shutdown).await
        };
        if refused {
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

/// Whether a session's connection is encrypted, and the certificate that its client showed.
pub fn encryption(session: &Session) -> (bool, Option<&Arc<ClientCertificate>>) {
    connection(session)
        .map_or((false, None), |connection| (connection.encrypted, connection.certificate.as_ref()))
}

/// Notes that a request has begun; called first in its life.
pub fn request_began(session: &Session) {
    set_phase(session, Phase::InRequest);
}

/// Notes that a request has ended; called last in its life.
pub fn request_ended(session: &Session) {
    set_phase(session, Phase::Idle);
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
    encrypted: bool,
    certificate: Option<Arc<ClientCertificate>>,
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

/// What looks at the bytes of a connection.
enum Observer {
    Http1(RequestLine),
    Http2(Box<h2::Observer>),
}

impl Observer {
    fn on_read(&mut self, bytes: &[u8], connection: &Connection) {
        match self {
            Self::Http1(line) => connection.on_read(bytes, line),
            Self::Http2(frames) => frames.on_read(bytes),
        }
    }

    /// `slices` are offered to the socket, which takes `taken` bytes of them.
    fn on_write(&mut self, slices: &[io::IoSlice<'_>], mut taken: usize, connection: &Connection) {
        match self {
            Self::Http1(_) => connection.on_write(),
            Self::Http2(frames) => {
                for slice in slices {
                    let part = slice.get(..taken.min(slice.len())).unwrap_or_default();
                    taken -= part.len();
                    frames.on_write(part);
                }
            }
        }
    }
}

struct Watched {
    inner: Stream,
    observer: Observer,
    connection: Arc<Connection>,
    /// Pingora gives a session this digest and nothing else of the stream, so the connection travels in it.
    digest: Arc<ProxyDigest>,
}

impl Watched {
    fn new(inner: Stream, connection: Arc<Connection>, observer: Observer) -> Option<Self> {
        let response = ResponseHeader::build(200, None).ok()?;
        let digest = Arc::new(ProxyDigest::new(Box::new(response), Some(Box::new(Arc::clone(&connection)))));
        Some(Self { inner, observer, connection, digest })
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
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            this.observer.on_read(bytes, &this.connection);
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
        let this = &mut *self;
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(taken)) = &written {
            this.observer.on_write(&[io::IoSlice::new(bytes)], *taken, &this.connection);
        }
        written
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
        let this = &mut *self;
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(taken)) = &written {
            this.observer.on_write(slices, *taken, &this.connection);
        }
        written
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
