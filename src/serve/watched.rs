//! A connection's stream, watched: how fast it is, when the parser answers for itself, how a WebSocket is to end.

use std::fmt;
use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::edge::Connection;
use super::goodbye::Goodbye;
use super::h2_watch;
use super::linger::Left;
use super::pace::{Pace, Stop};
use super::reply;
use super::request_line::RequestLine;

/// What looks at the bytes of a connection.
pub enum Observer {
    Http1(RequestLine),
    Http2(Box<h2_watch::Observer>),
}

impl Observer {
    fn on_read(&mut self, bytes: &[u8], connection: &Connection) {
        match self {
            Self::Http1(line) => connection.on_read(bytes, line),
            Self::Http2(frames) => frames.on_read(bytes, &connection.life),
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

/// A stream that notices what goes through it, and ends where it takes too long.
pub struct Watched {
    inner: Stream,
    observer: Observer,
    pace: Pace,
    connection: Arc<Connection>,
    goodbye: Goodbye,
    /// The client has closed its side, or the connection is broken.
    client_is_done: bool,
    /// Pingora gives a session this digest and nothing else of the stream, so the connection travels in it.
    digest: Arc<ProxyDigest>,
}

impl Watched {
    pub fn new(
        inner: Stream,
        connection: Arc<Connection>,
        observer: Observer,
        pace: Pace,
        goodbye: Goodbye,
    ) -> Option<Self> {
        let response = ResponseHeader::build(200, None).ok()?;
        let digest = Arc::new(ProxyDigest::new(Box::new(response), Some(Box::new(Arc::clone(&connection)))));
        Some(Self { inner, observer, pace, connection, goodbye, client_is_done: false, digest })
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

    /// Notes what the socket took of `slices`.
    fn note_write(
        &mut self,
        written: Poll<io::Result<usize>>,
        slices: &[io::IoSlice<'_>],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else { return self.wait_to_write(context) };
        self.client_is_done |= written.is_err();
        if let Ok(taken) = &written {
            self.observer.on_write(slices, *taken, &self.connection);
        }
        self.pace.has_written(written.as_ref().map_or(0, |bytes| *bytes));
        Poll::Ready(written)
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

impl Drop for Watched {
    fn drop(&mut self) {
        if self.client_is_done || self.connection.life.stop().is_some() {
            return;
        }
        let stream = std::mem::replace(&mut self.inner, Box::new(Cursor::new(Vec::new())));
        self.connection.leave(Left { stream, hold: self.goodbye.hold() });
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
        // What a caller still says who may not go on is heard by nobody.
        while this.goodbye.is_over() {
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
        }
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            this.pace.has_read(bytes.len(), &this.connection.life);
            this.observer.on_read(bytes, &this.connection);
        } else if read.is_ready() {
            this.client_is_done = true;
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
        let this = &mut *self;
        let written = if this.carries_websocket() {
            this.goodbye.poll_write(&mut this.inner, context, bytes)
        } else {
            Pin::new(&mut this.inner).poll_write(context, bytes)
        };
        this.note_write(written, &[io::IoSlice::new(bytes)], context)
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
        let this = &mut *self;
        let written = if this.carries_websocket() {
            this.goodbye.poll_write_vectored(&mut this.inner, context, slices)
        } else {
            Pin::new(&mut this.inner).poll_write_vectored(context, slices)
        };
        this.note_write(written, slices, context)
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
