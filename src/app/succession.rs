//! The hand-over from one program to the next, over a socket that is the successor's standard input.
//!
//! ```text
//! predecessor                                   successor
//!   starts it ─────────────────────────────────▶ reads the configuration
//!   greeting, with the listening sockets ──────▶ builds everything, fetches keys
//!                                    ◀────────── "ready"
//!   "serve after M": leaves proofs after M ─────▶ begins to accept
//!                                    ◀────────── "serving"
//!   stops accepting, finishes, ends
//! ```
//! Until "serving" the predecessor serves as if nothing had happened, and it goes on doing so where the successor
//! ends, stays silent or takes too long. The sockets are shared, so a connection waits in the kernel's one queue and
//! is accepted by either. See `docs/decisions/0009-upgrade.md`.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::program::Program;
use super::sockets::Socket;

/// Set for a program that is to take over.
const MARK: &str = "WARDGATE_TAKE_OVER";
/// The version of what the two say to each other.
const VERSION: u32 = 1;
/// Linux passes no more sockets at once (SCM_MAX_FD).
const MOST_SOCKETS: usize = 253;
/// How often a wait looks round.
const LOOK_ROUND: Duration = Duration::from_millis(50);
/// How long a successor that said "ready" may take to serve.
const SERVING_WITHIN: Duration = Duration::from_secs(15);

/// How long a program that talks no more is waited for before it is ended.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

const READY: &str = "ready";
const SERVING: &str = "serving";
const SERVE_AFTER: &str = "serve after ";

/// What the predecessor says first.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    version: u32,
    /// The addresses of the sockets that come with it, in their order.
    addresses: Vec<String>,
    /// The public keys of assertions that upstreams may still get from the predecessor.
    assertion_keys: Vec<Value>,
}

/// What a successor is given.
pub struct Estate<'e> {
    /// The listening sockets' addresses.
    pub addresses: &'e [String],
    /// The sockets, in the same order.
    pub sockets: &'e [BorrowedFd<'e>],
    /// The public keys of this program's assertions.
    pub assertion_keys: Vec<Value>,
}

/// A program that was started to take over; ended where it doesn't come to that.
pub struct Successor {
    child: Child,
    stream: UnixStream,
    is_serving: bool,
}

impl Successor {
    /// Starts it and gives it the estate.
    ///
    /// # Errors
    /// It can't be started, in words for the operator.
    pub fn start(program: &Program, estate: &Estate<'_>) -> Result<Self, String> {
        if estate.sockets.len() > MOST_SOCKETS {
            return Err(format!("more than {MOST_SOCKETS} sockets can't be handed over at once"));
        }
        let (stream, theirs) =
            UnixStream::pair().map_err(|error| format!("no socket to the new program: {error}"))?;
        let child = {
            let mut command = Command::new(&program.path);
            command.args(&program.arguments).env(MARK, VERSION.to_string()).stdin(OwnedFd::from(theirs));
            command
                .spawn()
                .map_err(|error| format!("`{}` can't be started: {error}", program.path.display()))?
        };
        let mut successor = Self { child, stream, is_serving: false };
        match successor.greet(estate) {
            Ok(()) => Ok(successor),
            Err(error) => {
                let how = successor.how_it_ended();
                Err(format!("the sockets can't be handed over: {error} ({how})"))
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn greet(&self, estate: &Estate<'_>) -> io::Result<()> {
        let greeting = Greeting {
            version: VERSION,
            addresses: estate.addresses.to_vec(),
            assertion_keys: estate.assertion_keys.clone(),
        };
        let mut text = serde_json::to_vec(&greeting).map_err(io::Error::other)?;
        text.push(b'\n');
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !estate.sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(estate.sockets)) {
            return Err(io::Error::other("there are too many"));
        }
        let sent = sendmsg(self.stream.as_fd(), &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        (&self.stream).write_all(text.get(sent..).unwrap_or_default())
    }

    /// Waits until it is ready; `give_up` is asked again and again.
    ///
    /// # Errors
    /// It ended, said something else, or was not ready within `limit`.
    pub fn wait_until_ready(&mut self, limit: Duration, give_up: impl Fn() -> bool) -> Result<(), String> {
        self.wait_for(READY, limit, give_up)
    }

    /// Lets it serve; proofs after `moment` (Unix seconds) are its own to spend.
    ///
    /// # Errors
    /// It ended, or doesn't say that it serves.
    pub fn let_serve(&mut self, moment: i64) -> Result<(), String> {
        let line = format!("{SERVE_AFTER}{moment}\n");
        self.stream
            .write_all(line.as_bytes())
            .map_err(|error| format!("the new program is gone: {error}"))?;
        self.wait_for(SERVING, SERVING_WITHIN, || false)?;
        self.is_serving = true;
        Ok(())
    }

    /// How a program ended that talks no more, once that is known.
    fn how_it_ended(&mut self) -> String {
        let deadline = Instant::now() + ENDS_WITHIN;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.to_string(),
                Ok(None) if Instant::now() < deadline => std::thread::park_timeout(LOOK_ROUND),
                Ok(None) => return "it closed its standard input".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    }

    fn wait_for(&mut self, word: &str, limit: Duration, give_up: impl Fn() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        let mut line = Line::default();
        loop {
            match line.read(&self.stream) {
                Ok(Some(said)) if said == word => return Ok(()),
                Ok(Some(_)) => return Err("the new program said something unexpected".to_owned()),
                Ok(None) if give_up() => return Err("this gateway was told to stop".to_owned()),
                Ok(None) if Instant::now() > deadline => {
                    return Err(format!("the new program was not {word} within {limit:?}"));
                }
                Ok(None) => {}
                Err(_) => {
                    let how = self.how_it_ended();
                    return Err(format!(
                        "the new program ended before it was {word} ({how}); its log says why"
                    ));
                }
            }
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.is_serving {
            // It has gone already, or it goes now: it must not serve beside this program.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The program that this one takes over from.
pub struct Predecessor {
    stream: UnixStream,
    /// The sockets it listens on.
    pub sockets: Vec<Socket>,
    /// The public keys of its assertions.
    pub assertion_keys: Vec<Value>,
}

impl Predecessor {
    /// The predecessor, where this program was started as a successor.
    ///
    /// # Errors
    /// What it says can't be understood, in words for the operator.
    pub fn find() -> Result<Option<Self>, String> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let input = io::stdin().as_fd().try_clone_to_owned();
        let stream = UnixStream::from(input.map_err(|error| format!("no standard input: {error}"))?);
        let (text, sockets) = receive(&stream).map_err(|error| {
            format!("the program before hands nothing over: {error}; start this one without {MARK}")
        })?;
        let greeting: Greeting = serde_json::from_slice(&text)
            .map_err(|_| "the program before speaks another language: restart instead".to_owned())?;
        if greeting.version != VERSION || greeting.addresses.len() != sockets.len() {
            return Err("the program before hands over in another way: restart instead".to_owned());
        }
        let named = greeting.addresses.into_iter().zip(sockets);
        let sockets = named.map(|(address, socket)| Socket { address, socket }).collect();
        Ok(Some(Self { stream, sockets, assertion_keys: greeting.assertion_keys }))
    }

    /// Waits until `is_ready`, says so, and waits for leave to serve: the moment (Unix seconds) after which proofs are
    /// this program's to spend.
    ///
    /// # Errors
    /// The predecessor is gone or has given this program up.
    pub fn wait_for_leave(&mut self, is_ready: impl Fn() -> bool) -> Result<i64, String> {
        let gone = |_| "the program before has gone or given up; nothing was served".to_owned();
        let mut line = Line::default();
        while !is_ready() {
            line.read(&self.stream).map_err(gone)?;
        }
        self.say(READY).map_err(gone)?;
        loop {
            if let Some(said) = line.read(&self.stream).map_err(gone)? {
                let moment = said.strip_prefix(SERVE_AFTER).and_then(|moment| moment.parse().ok());
                return moment.ok_or_else(|| "the program before gives no leave to serve".to_owned());
            }
        }
    }

    /// Says that this program serves, so that the other stops.
    pub fn announce_serving(&mut self) {
        if self.say(SERVING).is_err() {
            tracing::warn!("the program before has gone already");
        }
    }

    fn say(&mut self, word: &str) -> io::Result<()> {
        self.stream.write_all(format!("{word}\n").as_bytes())
    }
}

/// A line as it arrives.
#[derive(Default)]
struct Line(Vec<u8>);

impl Line {
    /// The next line, if it is there within a moment; an error once the other end is gone.
    fn read(&mut self, mut stream: &UnixStream) -> io::Result<Option<String>> {
        stream.set_read_timeout(Some(LOOK_ROUND))?;
        let mut byte = [0u8; 1];
        loop {
            match stream.read(&mut byte) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if byte == *b"\n" => {
                    let line = String::from_utf8(std::mem::take(&mut self.0));
                    return line.map(Some).map_err(io::Error::other);
                }
                Ok(_) if self.0.len() > 1024 => return Err(io::Error::other("the line has no end")),
                Ok(_) => self.0.extend_from_slice(&byte),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads the greeting's line and the sockets that come with it.
fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    const MOST_BYTES: usize = 1024 * 1024;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut text, mut sockets) = (Vec::new(), Vec::new());
    let mut chunk = vec![0u8; 64 * 1024];
    while !text.ends_with(b"\n") {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            stream.as_fd(),
            &mut [IoSliceMut::new(&mut chunk)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sockets.extend(fds);
            }
        }
        if received.bytes == 0 || text.len() > MOST_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(chunk.get(..received.bytes).unwrap_or_default());
    }
    Ok((text, sockets))
}
