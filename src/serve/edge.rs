//! The edge of a connection: a stream that notices when the HTTP parser answers for itself.
//!
//! Pingora refuses some bytes (400, 405) before there is a request, and calls no hook. This stream sees such an
//! answer go out while no request is running, so that it is counted and audited.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

use super::door::Door;
use super::goodbye::Goodbye;
use super::pace::{Life, Pace, Stop};
use super::proxy::Gateway;
use super::reply;
use super::request_line::RequestLine;
use super::shutdown::Draining;

/// Connections may finish the request they are reading for this long after the listener closed; without it Pingora
/// drops requests that have just begun.
const LINGER: Duration = Duration::from_secs(2);

/// How an HTTP/2 connection begins (RFC 9113 §3.4), up to where no HTTP/1 request could.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// A listener's application: Pingora's proxy behind a door and a stream that is watched.
pub struct Edge {
    proxy: Arc<HttpProxy<Gateway>>,
    door: Door,
    draining: Draining,
}

impl Edge {
    /// Wraps the proxy of one listener.
    pub fn new(proxy: HttpProxy<Gateway>, door: Door, draining: Draining) -> Self {
        Self { proxy: Arc::new(proxy), door, draining }
    }
}

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let guest = self.door.let_in(&mut stream).await?;
        let is_h2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        let connection = Arc::new(Connection {
            client: guest.client,
            life: Life::new(is_h2),
            refused_by_parser: AtomicBool::new(false),
            odd_request_line: AtomicBool::new(false),
            websocket: AtomicBool::new(false),
        });
        let pace = Pace::new(*self.door.limits());
        let goodbye = Goodbye::new(self.draining.clone());
        let watched: Stream = Box::new(Watched::new(stream, Arc::clone(&connection), pace, goodbye)?);
        self.proxy.process_new(watched, shutdown).await;
        let stop = connection.life.stop();
        if let Some(stop) = stop {
            self.door.count(stop.cause());
        }
        let too_slow = stop == Some(Stop::Header) && connection.life.is_receiving();
        if too_slow || connection.refused_by_parser.load(Ordering::Relaxed) {
            self.door.record_unparsed(guest.client).await;
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

/// The client's address; `None` where it can't be known.
pub fn client(session: &Session) -> Option<IpAddr> {
    connection(session).and_then(|connection| connection.client)
}

/// Whether the gateway ended the connection because its client was too slow with a body.
pub fn was_too_slow(session: &Session) -> bool {
    let stop = connection(session).and_then(|connection| connection.life.stop());
    matches!(stop, Some(Stop::SlowBody | Stop::SlowReader))
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
    Some(Running { connection, awaits_body: false })
}

/// A request that is being served.
pub struct Running {
    connection: Arc<Connection>,
    awaits_body: bool,
}

impl Running {
    /// A body is to come, so that the client may be too slow.
    pub fn awaits_body(&mut self) {
        if !self.awaits_body {
            self.awaits_body = true;
            self.connection.life.begins_upload();
        }
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

struct Connection {
    client: Option<IpAddr>,
    life: Life,
    refused_by_parser: AtomicBool,
    odd_request_line: AtomicBool,
    websocket: AtomicBool,
}

impl Connection {
    /// Looks at bytes that came; `line` is what is known of the request line so far.
    fn on_read(&self, bytes: &[u8], line: &mut RequestLine) {
        if self.life.is_h2() || self.life.is_serving() {
            return;
        }
        if !self.life.is_receiving() {
            if bytes.starts_with(H2_PREFACE) {
                self.life.speaks_h2();
                return;
            }
            self.life.begins_to_receive();
            *line = RequestLine::default();
        }
        if !line.has_ended() {
            line.feed(bytes);
            self.odd_request_line.store(line.is_odd(), Ordering::Relaxed);
        }
    }

    fn on_write(&self) {
        if self.life.is_receiving() && !self.life.is_h2() {
            self.refused_by_parser.store(true, Ordering::Relaxed);
        }
    }
}

struct Watched {
    inner: Stream,
    pace: Pace,
    line: RequestLine,
    connection: Arc<Connection>,
    goodbye: Goodbye,
    /// Pingora gives a session this digest and nothing else of the stream, so the connection travels in it.
    digest: Arc<ProxyDigest>,
}

impl Watched {
    fn new(inner: Stream, connection: Arc<Connection>, pace: Pace, goodbye: Goodbye) -> Option<Self> {
        let response = ResponseHeader::build(200, None).ok()?;
        let digest = Arc::new(ProxyDigest::new(Box::new(response), Some(Box::new(Arc::clone(&connection)))));
        Some(Self { inner, pace, line: RequestLine::default(), connection, goodbye, digest })
    }

    /// Ends the connection. A client that was too slow to ask is told so, as far as that goes without waiting.
    fn end(&mut self, stop: Stop, context: &mut Context<'_>) -> io::Error {
        let life = &self.connection.life;
        if stop == Stop::Header && life.is_receiving() && life.stop().is_none() {
            let answer = reply::too_slow_to_ask();
            if Pin::new(&mut self.inner).poll_write(context, answer).is_ready() {
                let _ = Pin::new(&mut self.inner).poll_flush(context);
            }
        }
        life.ends(stop);
        io::Error::new(io::ErrorKind::TimedOut, stop.cause())
    }

    /// What a write that has to wait comes to.
    fn wait_to_write<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let inner = &self.inner;
        // How much the client's system has taken: the socket's buffer may hide a slow reader for long.
        let acknowledged = || Some(inner.get_socket_digest()?.tcp_info()?.tcpi_bytes_acked);
        match self.pace.waits_to_write(acknowledged, context) {
            Some(stop) => Poll::Ready(Err(self.end(stop, context))),
            None => Poll::Pending,
        }
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
            this.pace.has_read(bytes.len());
        }
        if read.is_pending()
            && let Some(stop) = this.pace.waits_to_read(&this.connection.life, context)
        {
            return Poll::Ready(Err(this.end(stop, context)));
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
        let written = if this.carries_websocket() {
            this.goodbye.poll_write(&mut this.inner, context, bytes)
        } else {
            Pin::new(&mut this.inner).poll_write(context, bytes)
        };
        match written {
            Poll::Pending => self.wait_to_write(context),
            Poll::Ready(written) => {
                self.pace.has_written(written.as_ref().map_or(0, |bytes| *bytes));
                Poll::Ready(written)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(context) {
            Poll::Pending => self.wait_to_write(context),
            Poll::Ready(flushed) => {
                self.pace.has_written(0);
                Poll::Ready(flushed)
            }
        }
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
        let written = if this.carries_websocket() {
            this.goodbye.poll_write_vectored(&mut this.inner, context, slices)
        } else {
            Pin::new(&mut this.inner).poll_write_vectored(context, slices)
        };
        match written {
            Poll::Pending => self.wait_to_write(context),
            Poll::Ready(written) => {
                self.pace.has_written(written.as_ref().map_or(0, |bytes| *bytes));
                Poll::Ready(written)
            }
        }
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
        // Asked before the first request of a connection that may be HTTP/2; nobody else would end the wait.
        match tokio::time::timeout(self.pace.header_deadline(), self.inner.try_peek(buffer)).await {
            Ok(peeked) => peeked,
            Err(_) => {
                self.connection.life.ends(Stop::Header);
                Err(io::Error::new(io::ErrorKind::TimedOut, Stop::Header.cause()))
            }
        }
    }
}
