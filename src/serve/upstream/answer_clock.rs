//! How long an HTTP/1.1 upstream may take for the whole head of its answer.
//!
//! Pingora's own limit is for each read, so a head that comes byte by byte would never end. Where the clock runs out,
//! the socket is shut down, which Pingora reads as its end. A request and its clock live on one thread: requests never
//! change theirs (`work_stealing` is off).

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, SockaddrStorage, getpeername, getsockname, shutdown};
use pingora::protocols::Digest;

/// So many times `timeouts.read` may pass from the last byte of a request to the end of its answer's head.
pub const HEAD_PATIENCE: u32 = 2;
/// How exact the clocks are.
const TICK: Duration = Duration::from_millis(250);

/// A connection that a request is sent on.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    socket: RawFd,
    local: SocketAddr,
    peer: SocketAddr,
    patience: Duration,
}

impl Line {
    /// `read` is the longest that one read may take. `None` where there is nothing to tell the socket by: on this
    /// machine's own sockets.
    pub fn new(socket: RawFd, digest: Option<&Digest>, read: Option<Duration>) -> Option<Self> {
        let addresses = digest?.socket_digest.as_ref()?;
        Some(Self {
            socket,
            local: *addresses.local_addr()?.as_inet()?,
            peer: *addresses.peer_addr()?.as_inet()?,
            patience: read? * HEAD_PATIENCE,
        })
    }

    /// Whether the number still means this connection.
    fn is_open(&self) -> bool {
        let is = |found: nix::Result<SockaddrStorage>, known| {
            found.is_ok_and(|found| address(&found).is_some_and(|found| is_same(found, known)))
        };
        is(getpeername(self.socket), self.peer) && is(getsockname(self.socket), self.local)
    }
}

/// Whether two addresses are one, whatever they say of the interface: a link-local address has it in one of them only.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

fn address(found: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = found.as_sockaddr_in().map(|found| SocketAddr::from((found.ip(), found.port())));
    v4.or_else(|| found.as_sockaddr_in6().map(|found| SocketAddr::from((found.ip(), found.port()))))
}

/// Waits for one answer's head, until it is dropped.
#[derive(Debug)]
pub struct AnswerClock {
    number: u64,
    expired: Arc<AtomicBool>,
}

impl AnswerClock {
    /// The last of a request is about to be sent.
    pub fn start(line: Line) -> Self {
        let expired = Arc::new(AtomicBool::new(false));
        let waiting = Waiting { line, due: Instant::now() + line.patience, expired: Arc::clone(&expired) };
        let number = CLOCKS.with_borrow_mut(|clocks| {
            clocks.latest += 1;
            clocks.waiting.insert(clocks.latest, waiting);
            if !std::mem::replace(&mut clocks.are_looked_at, true) {
                tokio::spawn(look());
            }
            clocks.latest
        });
        Self { number, expired }
    }

    /// Whether the time is over, and the connection with it.
    pub fn has_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }
}

impl Drop for AnswerClock {
    fn drop(&mut self) {
        // Threads that end take their clocks along.
        let _ = CLOCKS.try_with(|clocks| clocks.borrow_mut().waiting.remove(&self.number));
    }
}

struct Waiting {
    line: Line,
    due: Instant,
    expired: Arc<AtomicBool>,
}

/// The clocks of one thread.
#[derive(Default)]
struct Clocks {
    latest: u64,
    waiting: HashMap<u64, Waiting>,
    are_looked_at: bool,
}

thread_local! {
    static CLOCKS: RefCell<Clocks> = RefCell::default();
}

/// Looks at the clocks of this thread for as long as there are any.
async fn look() {
    loop {
        tokio::time::sleep(TICK).await;
        if !CLOCKS.with_borrow_mut(|clocks| clocks.expire(Instant::now())) {
            return;
        }
    }
}

impl Clocks {
    /// Ends the connections whose time is over; says whether any clock is left.
    fn expire(&mut self, now: Instant) -> bool {
        self.waiting.retain(|_, waiting| {
            let is_over = waiting.due <= now;
            if is_over && waiting.line.is_open() {
                waiting.expired.store(true, Ordering::Relaxed);
                // An error says that it is closed already.
                let _ = shutdown(waiting.line.socket, Shutdown::Both);
            }
            !is_over
        });
        self.are_looked_at = !self.waiting.is_empty();
        self.are_looked_at
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn pair() -> (TcpStream, TcpStream, Line) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let server = listener.accept().expect("accepted").0;
        let line = Line {
            socket: client.as_raw_fd(),
            local: client.local_addr().expect("an address"),
            peer: client.peer_addr().expect("an address"),
            patience: Duration::from_secs(2),
        };
        (client, server, line)
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_and_nothing_else() {
        let [(_ended, mut told, late), (answered, _, settled), (other, mut spared, stale)] =
            [pair(), pair(), pair()];
        let late = AnswerClock::start(late);
        drop(AnswerClock::start(settled));
        // Its number belongs to another connection by now.
        let stale = AnswerClock::start(Line { local: answered.local_addr().expect("an address"), ..stale });
        let now = Instant::now();
        let expire = |after| CLOCKS.with_borrow_mut(|clocks| clocks.expire(now + Duration::from_secs(after)));
        assert!(expire(1) && !late.has_expired());
        assert!(!expire(3) && late.has_expired() && !stale.has_expired());
        assert_eq!(told.read(&mut [0]).expect("the end"), 0);
        spared.set_nonblocking(true).expect("a socket");
        assert!(spared.read(&mut [0]).is_err(), "nothing, and no end");
        drop(other);
    }
}
