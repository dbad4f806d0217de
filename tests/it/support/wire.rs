//! A client that keeps its connection, and reads each answer by its own framing.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::canaries::canary;

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// Statuses of interim answers that came before it.
    pub interim: Vec<u16>,
}

impl Answer {
    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Whether the server means to close the connection.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// How long a body is.
enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

/// A connection that is kept between requests.
pub struct Connection {
    /// The socket, for tests that send less than a request or more.
    pub stream: TcpStream,
    pending: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, pending: Vec::new() })
    }

    /// Sends a request and reads its answer; the connection stays.
    pub fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut bytes = head(method, target, headers, (!body.is_empty()).then_some(body.len())).into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes)?;
        self.answer(method == "HEAD")
    }

    /// Reads one answer; `bodiless` where it is that to a `HEAD`.
    pub fn answer(&mut self, bodiless: bool) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let mut answer = self.answer_head()?;
            if (100..200).contains(&answer.status) && answer.status != 101 {
                interim.push(answer.status);
                continue;
            }
            answer.interim = interim;
            if !bodiless && !matches!(answer.status, 101 | 204 | 304) {
                let mut body = Vec::new();
                self.body(&answer, |bytes| body.extend_from_slice(bytes))?;
                answer.body = body;
            }
            return Ok(answer);
        }
    }

    /// Reads a status line and headers.
    pub fn answer_head(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.pending[..end]).into_owned();
        self.pending.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {head:?}")))?;
        Ok(Answer { status, headers, body: Vec::new(), interim: Vec::new() })
    }

    /// Reads an answer's body piece by piece; an error where it ends early.
    pub fn body(&mut self, answer: &Answer, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let length = match (answer.header("transfer-encoding"), answer.header("content-length")) {
            (Some(_), _) => Length::Chunked,
            (None, Some(length)) => Length::Known(length.parse().map_err(io::Error::other)?),
            (None, None) => Length::UntilClosed,
        };
        match length {
            Length::Known(bytes) => self.exactly(bytes, &mut take),
            Length::Chunked => loop {
                let size = self.line()?;
                let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                self.exactly(size, &mut take)?;
                self.line()?;
                if size == 0 {
                    return Ok(());
                }
            },
            Length::UntilClosed => loop {
                take(&self.pending);
                self.pending.clear();
                if self.more().is_err() {
                    return Ok(());
                }
            },
        }
    }

    /// Whether the other end has closed, and nothing is left to read.
    pub fn is_closed(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket");
        match peeked {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn exactly(&mut self, mut left: usize, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.pending.is_empty() {
                self.more()?;
            }
            let count = left.min(self.pending.len());
            take(&self.pending[..count]);
            self.pending.drain(..count);
            left -= count;
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(end) = self.pending.windows(2).position(|window| window == b"\r\n") {
                break end;
            }
            self.more()?;
        };
        let line = String::from_utf8_lossy(&self.pending[..end]).into_owned();
        self.pending.drain(..end + 2);
        Ok(line)
    }

    fn more(&mut self) -> io::Result<()> {
        let mut chunk = [0u8; 65536];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.pending.extend_from_slice(&chunk[..count]);
                    return Ok(());
                }
                // A process that was stopped and goes on.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Headers that say something of a person or a secret, with the places of their canaries.
const PERSONAL: [(&str, &str); 8] = [
    ("User-Agent", "Browser"),
    ("Referer", "CameFrom"),
    ("X-Medical-Record-Number", "RecordNumber"),
    ("X-Api-Key", "Permit"),
    ("X-Patient-Name", "RealName"),
    ("X-Device", "Equipment"),
    ("X-Document-Title", "DocumentTitle"),
    ("If-None-Match", "Version"),
];

/// Adds canaries to a head's lines, where a test says nothing else there.
pub fn plant(head: &mut String, headers: &[(&str, &str)]) {
    for (name, place) in PERSONAL {
        if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            head.push_str(&format!("{name}: \"{}\"\r\n", canary(place)));
        }
    }
}

/// A request's head; `length` is that of its body.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)], length: Option<usize>) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("Host: portal.example\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    plant(&mut head, headers);
    if let Some(length) = length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    head
}

/// One request on a connection of its own.
pub fn once(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    Connection::open(address)?.ask(method, target, headers, body)
}
