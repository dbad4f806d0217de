//! An issuer for tests: a tiny HTTP server that counts what it is asked and answers as told, also badly.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::Verifier;
use super::http::HttpClient;
use crate::config::settings::{IssuerSettings, KeyLifetimes, KeySource};
use crate::identity::IssuerRules;
use crate::identity::testing::{ISSUER, rules};

/// A request as the server saw it.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub host: String,
    pub authorization: String,
    pub body: String,
}

/// What the server does.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer {
        status: u16,
        body: String,
    },
    After(Duration, Box<Reply>),
    Redirect(String),
    /// Says nothing.
    Hang,
    /// Sends the head and half of the body, then nothing.
    HangInBody,
    /// Closes at once.
    Close,
    /// Closes in the middle of the body.
    CutShort,
    /// Never stops sending.
    Endless,
}

impl Reply {
    pub fn json(body: &str) -> Self {
        Self::Answer { status: 200, body: body.into() }
    }

    pub fn status(status: u16) -> Self {
        Self::Answer { status, body: "{}".into() }
    }
}

/// A running server; it stops with the test's runtime.
pub struct Server {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub async fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let at = listener.local_addr().expect("address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (reply, log) = (Arc::new(reply), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, log) = (Arc::clone(&reply), Arc::clone(&log));
                tokio::spawn(async move { serve(stream, reply.as_ref(), &log).await });
            }
        });
        Self { at, asked }
    }

    pub fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.path == path).count()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("lock").clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    reply: &(impl Fn(&Asked) -> Reply + Sync),
    log: &Mutex<Vec<Asked>>,
) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let asked = read(&mut stream, &mut received).await?;
        log.lock().expect("lock").push(asked.clone());
        let mut reply = reply(&asked);
        while let Reply::After(pause, then) = reply {
            tokio::time::sleep(pause).await;
            reply = *then;
        }
        let text = match reply {
            Reply::Answer { status, body } => {
                head(status, &format!("content-length: {}", body.len())) + &body
            }
            Reply::Redirect(to) => head(302, &format!("location: {to}\r\ncontent-length: 0")),
            Reply::Hang => std::future::pending().await,
            Reply::HangInBody => {
                stream.write_all(head(200, "content-length: 100").as_bytes()).await.ok()?;
                std::future::pending().await
            }
            Reply::CutShort => {
                stream.write_all((head(200, "content-length: 100") + "{").as_bytes()).await.ok()?;
                return None;
            }
            Reply::Endless => {
                stream.write_all(head(200, "transfer-encoding: chunked").as_bytes()).await.ok()?;
                loop {
                    stream.write_all(format!("1000\r\n{}\r\n", " ".repeat(0x1000)).as_bytes()).await.ok()?;
                }
            }
            Reply::Close | Reply::After(..) => return None,
        };
        stream.write_all(text.as_bytes()).await.ok()?;
    }
}

fn head(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}\r\n\r\n")
}

async fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<Asked> {
    loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&received[..end]).into_owned();
            let mut lines = text.lines();
            let (method, rest) = lines.next()?.split_once(' ')?;
            let headers: HashMap<String, &str> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value))
                .collect();
            let header = |name: &str| headers.get(name).copied().unwrap_or_default();
            let length = header("content-length").parse().unwrap_or(0);
            if received.len() >= end + 4 + length {
                let asked = Asked {
                    method: method.into(),
                    path: rest.split(' ').next()?.into(),
                    host: header("host").into(),
                    authorization: header("authorization").into(),
                    body: String::from_utf8_lossy(&received[end + 4..end + 4 + length]).into_owned(),
                };
                received.drain(..end + 4 + length);
                return Some(asked);
            }
        }
        if stream.read_buf(received).await.ok()? == 0 {
            return None;
        }
    }
}

/// What `main` does first.
pub fn install_crypto() {
    // A second test finds the first one's provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A client for loopback.
pub fn client() -> HttpClient {
    install_crypto();
    HttpClient::new(false).expect("client")
}

/// What a verifier is made from: the issuer of [`rules`] with keys from somewhere, and perhaps more.
pub struct Gateway {
    pub rules: Vec<IssuerRules>,
    pub settings: Vec<IssuerSettings>,
    dir: TempDir,
}

impl Gateway {
    pub fn new(issuer: &str, source: KeySource) -> Self {
        let lifetimes = KeyLifetimes {
            refresh: Duration::from_secs(300),
            stale_for: Duration::from_secs(3600),
            stale_for_critical: Duration::from_secs(600),
            unknown_kid_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
        };
        Self {
            rules: vec![IssuerRules { issuer: issuer.into(), ..rules() }],
            settings: vec![IssuerSettings {
                sign_in: None,
                signals: None,
                name: "people".into(),
                issuer: issuer.into(),
                source,
                keys: lifetimes,
            }],
            dir: tempfile::tempdir().expect("dir"),
        }
    }

    /// An issuer whose tokens come from [`ISSUER`] and whose keys are at a loopback address.
    pub fn keys_at(address: &str) -> Self {
        Self::new(ISSUER, KeySource::Address(address.into()))
    }

    pub fn keys_in_file(keys: &str) -> Self {
        let mut gateway = Self::new(ISSUER, KeySource::Discovery);
        gateway.settings[0].source = KeySource::File(gateway.file("keys", keys));
        gateway
    }

    /// A second issuer, `other`, with keys in a file.
    pub fn add(&mut self, issuer: &str, keys: &str) {
        let index = self.rules.len();
        self.rules.push(IssuerRules { name: "other".into(), index, issuer: issuer.into(), ..rules() });
        let source = KeySource::File(self.file("other", keys));
        self.settings.push(IssuerSettings {
            sign_in: None,
            signals: None,
            name: "other".into(),
            issuer: issuer.into(),
            source,
            ..self.settings[0].clone()
        });
    }

    pub fn refreshed_every(mut self, refresh: Duration) -> Self {
        self.settings[0].keys.refresh = refresh;
        self
    }

    /// A file that lives as long as this.
    pub fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    }

    /// The verifier, asking on the runtime of the test.
    pub fn verifier(&self) -> Arc<Verifier> {
        install_crypto();
        let verifier = Verifier::new(self.rules.clone(), self.settings.clone(), Handle::current());
        Arc::new(verifier.expect("verifier"))
    }
}
