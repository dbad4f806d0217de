//! A WebSocket handshake that is not answered ends in time, though the visit that follows may be silent for long.
//!
//! Pingora has one read timeout for both. So the connection is made here, and a second handle to its socket is kept
//! until the answer has come: where that takes too long, the socket is shut down, which Pingora reads as its end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::{Error, ErrorType};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

/// One handshake under way.
#[derive(Debug)]
pub struct Handshake {
    answer_within: Duration,
    socket: Mutex<Option<Socket>>,
    timer: Mutex<Option<AbortHandle>>,
    expired: AtomicBool,
}

#[derive(Debug)]
enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Handshake {
    pub(super) fn new(answer_within: Duration) -> Self {
        Self {
            answer_within,
            socket: Mutex::new(None),
            timer: Mutex::new(None),
            expired: AtomicBool::new(false),
        }
    }

    /// The request goes out now: its answer is waited for.
    pub fn start(self: &Arc<Self>) {
        let waiting = Arc::downgrade(self);
        let answer_within = self.answer_within;
        let timer = tokio::spawn(async move {
            tokio::time::sleep(answer_within).await;
            if let Some(handshake) = waiting.upgrade() {
                handshake.expire();
            }
        });
        *self.timer.lock().unwrap_or_else(PoisonError::into_inner) = Some(timer.abort_handle());
    }

    /// The answer has come, or is not waited for any more.
    pub fn settle(&self) {
        if let Some(timer) = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            timer.abort();
        }
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether it was given up.
    pub fn has_expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }

    fn expire(&self) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(socket) = socket {
            self.expired.store(true, Ordering::Release);
            // An error says that it is closed already.
            let _ = match socket {
                Socket::Tcp(socket) => socket.shutdown(std::net::Shutdown::Both),
                Socket::Unix(socket) => socket.shutdown(std::net::Shutdown::Both),
            };
        }
    }

    fn keep(&self, socket: Socket) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Makes the connection for one handshake.
#[derive(Debug)]
pub(super) struct Dial {
    handshake: Arc<Handshake>,
}

impl Dial {
    pub(super) fn new(handshake: Arc<Handshake>) -> Self {
        Self { handshake }
    }

    async fn dial(&self, address: &SocketAddr) -> io::Result<Stream> {
        match address {
            SocketAddr::Inet(address) => {
                let socket = TcpStream::connect(address).await?.into_std()?;
                self.handshake.keep(Socket::Tcp(socket.try_clone()?));
                Ok(TcpStream::from_std(socket)?.into())
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
                let socket = UnixStream::connect(path).await?.into_std()?;
                self.handshake.keep(Socket::Unix(socket.try_clone()?));
                Ok(UnixStream::from_std(socket)?.into())
            }
        }
    }
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        self.dial(address).await.map_err(|error| {
            Error::because(ErrorType::ConnectError, "while connecting for a handshake", error)
        })
    }
}
