//! An upstream that records the exact bytes of every request it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::canaries::canary;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The request line.
    pub line: String,
    /// The headers as they stood, in order.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked by length only (chunked bodies are kept as they came).
    pub body: Vec<u8>,
}

impl Recorded {
    /// A header's values, by any spelling of its name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What the upstream does with a request, once it has recorded it.
pub type Behaviour = Arc<dyn Fn(&Recorded, &mut TcpStream) -> bool + Send + Sync>;

/// The upstream.
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Answers every request with 200 and `{"served":true}`.
    pub fn start() -> Self {
        let personal =
            ["Allergy", "Medication", "Ward"].map(|name| format!("X-{name}: {}\r\n", canary(name)));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{}", personal.concat());
        let answer = format!("{head}Content-Length: 15\r\n\r\n{{\"served\":true}}");
        Self::behaving(Arc::new(move |_, stream| stream.write_all(answer.as_bytes()).is_ok()))
    }

    /// Answers like [`Self::start`] and remembers nothing: for more requests than memory should hold.
    pub fn forgetful() -> Self {
        Self::listening(
            Arc::new(|_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()),
            false,
        )
    }

    /// Answers as `behaviour` does; `false` ends the connection.
    pub fn behaving(behaviour: Behaviour) -> Self {
        Self::listening(behaviour, true)
    }

    fn listening(behaviour: Behaviour, remembers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (record, behaviour) = (Arc::clone(&record), Arc::clone(&behaviour));
                std::thread::spawn(move || serve(stream, remembers.then_some(&*record), &behaviour));
            }
        });
        Self { address, requests }
    }

    /// Every request so far, after a moment for stragglers.
    pub fn requests(&self) -> Vec<Recorded> {
        std::thread::sleep(Duration::from_millis(100));
        self.requests.lock().expect("whole").clone()
    }

    /// How many requests came so far.
    pub fn count(&self) -> usize {
        self.requests().len()
    }
}

fn serve(mut stream: TcpStream, record: Option<&Mutex<Vec<Recorded>>>, behaviour: &Behaviour) {
    let mut pending = Vec::new();
    loop {
        let Some(end) = read_until_head_ends(&mut stream, &mut pending) else { return };
        let head = String::from_utf8_lossy(&pending[..end]).into_owned();
        pending.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let find = |name: &str| {
            headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        let chunked = find("transfer-encoding").is_some();
        let length = find("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        while if chunked { !pending.ends_with(b"0\r\n\r\n") } else { pending.len() < length } {
            if !read_more(&mut stream, &mut pending) {
                break;
            }
        }
        let taken = if chunked { pending.len() } else { length.min(pending.len()) };
        let recorded = Recorded { line, headers, body: pending.drain(..taken).collect() };
        if let Some(record) = record {
            record.lock().expect("whole").push(recorded.clone());
        }
        if !behaviour(&recorded, &mut stream) {
            return;
        }
    }
}

fn read_until_head_ends(stream: &mut TcpStream, pending: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(end);
        }
        if !read_more(stream, pending) {
            return None;
        }
    }
}

fn read_more(stream: &mut TcpStream, pending: &mut Vec<u8>) -> bool {
    let mut chunk = [0u8; 16384];
    match stream.read(&mut chunk) {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            pending.extend_from_slice(&chunk[..count]);
            true
        }
    }
}
