//! Services of every kind to put behind a gateway: named ones, encrypted ones, ones that speak HTTP/2.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::support::{Gateway, Setup, Signer, http, tokens, wire};

/// Routes that anybody may use, and those of a patient; all lead to upstream `app`.
pub const ROUTES: &str = r#"
  - { id: read, match: { path: "/r/**", methods: [GET, PUT, DELETE] }, upstream: app, access: public }
  - { id: visit, match: { path: /ws, upgrade: websocket }, upstream: app, access: public }
  - { id: write, match: { path: "/w/**", methods: [POST] }, upstream: app, access: public }
  - { id: own, match: { path: "/patients/{patient}/notes", methods: [GET, POST] }, upstream: app, tier: moderate,
      patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: export, match: { path: "/patients/{patient}/export", methods: [PUT] }, upstream: app, tier: critical,
      patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

/// A gateway whose upstreams are written as in the file: `app: { … }`, two spaces in.
pub fn setup(upstreams: &str, routes: &str, signer: &Signer, prepare: impl FnOnce(&Path)) -> Setup {
    // An upstream of HTTP/2 takes no handshakes, and the configuration says so.
    let only_http2 = upstreams.contains("protocol: h2");
    let routes =
        if only_http2 { routes.replace("upgrade: websocket", "methods: [GET]") } else { routes.to_owned() };
    let text = tokens::config("127.0.0.1:1".parse().expect("an address"), &routes);
    let (before, rest) = text.split_once("upstreams:\n").expect("upstreams");
    let (_, after) = rest.split_once("audit:").expect("audit");
    let text = format!("{before}upstreams:\n{upstreams}\naudit:{after}");
    Setup::new(&text, |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        prepare(dir);
    })
}

/// The same, started, for tests without callers.
pub fn gateway(upstreams: &str) -> Gateway {
    setup(upstreams, ROUTES, &Signer::new(), |_| ()).start()
}

/// Asks with a method on a connection of its own.
pub fn ask(gateway: &Gateway, method: &str, target: &str, body: &str) -> http::Answer {
    let kind = [("Content-Type", "text/csv")];
    http::send(gateway.address, method, target, &kind, body.as_bytes()).expect("an answer")
}

/// Asks for a WebSocket on a connection of its own.
pub fn ask_for_websocket(gateway: &Gateway, target: &str) -> wire::Answer {
    let handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    wire::once(gateway.address, "GET", target, &handshake, b"").expect("an answer")
}

/// A service that answers with its name, and can be stopped and started at its address.
pub struct Named {
    /// Where it listens.
    pub address: SocketAddr,
    name: &'static str,
    served: Arc<AtomicUsize>,
    /// What it does with `/health`.
    pub healthy: Arc<AtomicBool>,
    stop: Option<Arc<AtomicBool>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Named {
    /// Starts it.
    pub fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut named = Self {
            address,
            name,
            served: Arc::default(),
            healthy: Arc::new(AtomicBool::new(true)),
            stop: None,
            open: Arc::default(),
        };
        named.serve(listener);
        named
    }

    /// How many requests it served, health checks apart.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    /// Stops: its connections are cut, and nobody listens at its address.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address);
            for stream in self.open.lock().expect("whole").drain(..) {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            while TcpStream::connect(self.address).is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }

    /// Listens again.
    pub fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).expect("its own port");
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let stop = Arc::new(AtomicBool::new(false));
        self.stop = Some(Arc::clone(&stop));
        let (name, served, healthy) = (self.name, Arc::clone(&self.served), Arc::clone(&self.healthy));
        let open = Arc::clone(&self.open);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                open.lock().expect("whole").push(stream.try_clone().expect("a handle"));
                let (served, healthy) = (Arc::clone(&served), Arc::clone(&healthy));
                std::thread::spawn(move || answer_by_name(stream, name, &served, &healthy));
            }
        });
    }
}

fn answer_by_name(mut stream: TcpStream, name: &str, served: &AtomicUsize, healthy: &AtomicBool) {
    while let Some(head) = read_head(&mut stream) {
        let status = if head.starts_with("GET /health ") {
            if healthy.load(Ordering::SeqCst) { "200 OK" } else { "503 Service Unavailable" }
        } else {
            served.fetch_add(1, Ordering::SeqCst);
            "200 OK"
        };
        if head.contains("/slow") {
            std::thread::sleep(std::time::Duration::from_secs(2));
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads a request's head, byte for byte so that nothing after it is lost; its body must be read by whoever wants it.
pub fn read_head(stream: &mut impl std::io::Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Reads and drops whatever still comes, until the other end closes.
pub fn read_on(stream: &mut TcpStream) {
    let mut chunk = [0; 16_384];
    while matches!(stream.read(&mut chunk), Ok(1..)) {}
}

/// An authority that signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// Makes one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its certificate, for `ca_file`.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for these names; `expired` makes it one of the past.
    pub fn sign(&self, names: &[&str], expired: bool) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Certificate { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

/// An encrypted service that answers with its name and, where the client shows a certificate, with a `+`.
pub struct Encrypted {
    /// Where it listens.
    pub address: SocketAddr,
    /// How many connections it took.
    pub connections: Arc<AtomicUsize>,
    /// How many requests it served.
    pub served: Arc<AtomicUsize>,
}

impl Encrypted {
    /// Starts it. `clients` is whom clients' certificates must come from; `http2` is whether it speaks HTTP/2 only.
    pub fn start(
        name: &'static str,
        certificate: &Certificate,
        clients: Option<&Authority>,
        http2: bool,
    ) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key");
        let builder = rustls::ServerConfig::builder();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("one"))
                    .expect("added");
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("one"),
                )
            }
        };
        let mut config = builder.with_single_cert(chain, key).expect("a configuration");
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (connections, served) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, counted_requests) = (Arc::clone(&connections), Arc::clone(&served));
        let address = serve_async(move |stream| {
            let (acceptor, counted, served) =
                (acceptor.clone(), Arc::clone(&counted), Arc::clone(&counted_requests));
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let shown = stream.get_ref().1.peer_certificates().is_some();
                let name = if shown { format!("{name}+") } else { name.to_owned() };
                if http2 {
                    answer_h2(stream, &name, &served).await;
                } else {
                    answer_h1(stream, &name, &served).await;
                }
            }
        });
        Self { address, connections, served }
    }
}

/// Serves connections on a runtime of its own.
pub fn serve_async<F>(serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    address
}

async fn answer_h1(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    name: &str,
    served: &AtomicUsize,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut head = Vec::new();
    loop {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            served.fetch_add(1, Ordering::SeqCst);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Answers each request with the name, its authority and path, the bytes of its body, and a trailer.
pub async fn answer_h2(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    name: &str,
    served: &AtomicUsize,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        served.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(reply_h2(request, respond, name.to_owned()));
    }
}

/// Serves one request on each connection, says goodbye (GOAWAY), and closes.
pub async fn answer_h2_once(stream: tokio::net::TcpStream, served: &AtomicUsize) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let Some(Ok((request, respond))) = connection.accept().await else { return };
    served.fetch_add(1, Ordering::SeqCst);
    tokio::spawn(reply_h2(request, respond, "h2".to_owned()));
    connection.graceful_shutdown();
    while let Some(Ok(_)) = connection.accept().await {
        served.fetch_add(1, Ordering::SeqCst);
    }
}

async fn reply_h2(
    request: ::http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    name: String,
) {
    let (parts, mut body) = request.into_parts();
    let mut bytes = 0;
    while let Some(Ok(chunk)) = body.data().await {
        bytes += chunk.len();
        let _ = body.flow_control().release_capacity(chunk.len());
    }
    let te = parts.headers.get("te").and_then(|te| te.to_str().ok()).unwrap_or("-");
    let host = parts.headers.contains_key("host");
    let text = format!("{name} {} {bytes} {te} {host}", parts.uri);
    let mut trailers = ::http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    trailers.insert("x-wardgate-forged", "1".parse().expect("a value"));
    let Ok(mut send) = respond.send_response(::http::Response::new(()), false) else { return };
    let _ = send.send_data(text.into(), false);
    let _ = send.send_trailers(trailers);
}
