//! HTTP/2 of clients: as strict as HTTP/1.1, and bounded whatever a client does with its streams.

mod bodies;
mod cleartext;
mod drain;
mod floods;
mod limits;
mod requests;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use super::pki::{Authority, Client};
use crate::support::{Gateway, Recorder, Signer, tokens};

const ROUTES: &str = r#"
  - { id: open, match: { path: "/open/**", methods: [GET, POST, OPTIONS] }, upstream: app, access: public }
  - { id: admin, match: { path: "/admin/**", methods: [GET, POST] }, upstream: app, tier: low, any_of: [{ roles: [admin] }] }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: notes.write, match: { path: "/patients/{patient}/notes", methods: [POST] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: profile.update, match: { path: "/patients/{patient}/profile", methods: [PUT] }, upstream: app, tier: critical,
      patient: { from: path.patient }, any_of: [{ patient: self }],
      lower_risk_if_only: { fields: [language], tier: low, id: profile.preferences } }
  - { id: live, match: { path: "/patients/{patient}/live", upgrade: websocket }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

pub struct Bench<U = Recorder> {
    pub gateway: Gateway,
    pub upstream: U,
    client: Client,
    token: String,
}

impl Bench {
    pub fn start() -> Self {
        Self::before(Recorder::start())
    }

    fn before(upstream: Recorder) -> Self {
        let Bench { gateway, client, token, .. } = Bench::to(upstream.address);
        Self { gateway, upstream, client, token }
    }

    /// As many requests upstream as were admitted, each with an intent of its own.
    pub fn reconcile(&self) {
        let arrived = self.upstream.requests();
        assert_eq!(arrived.len(), self.gateway.admitted_intents());
        let records = self.gateway.audit();
        for request in &arrived {
            let [decision] = request.values("x-wardgate-decision")[..] else { panic!("{request:?}") };
            let intents = records
                .iter()
                .filter(|record| record["event"] == "intent" && record["decision"] == decision)
                .count();
            assert_eq!(intents, 1, "{request:?}");
        }
    }
}

impl Bench<()> {
    /// In front of an upstream of the test's own.
    fn to(upstream: SocketAddr) -> Self {
        Self::configured(upstream, "")
    }

    /// With these further settings of the listener.
    fn configured(upstream: SocketAddr, listener: &str) -> Self {
        let (authority, signer) = (Authority::new("servers"), Signer::new());
        // An upstream may take longer than a stop.
        let config = tokens::config(upstream, ROUTES).replace("read: 5s", "read: 20s");
        let plain = r#"address: "$LISTEN" }"#;
        assert!(config.contains(plain));
        let encrypted =
            format!(r#"address: "$LISTEN", tls: {{ cert_file: tls.crt, key_file: tls.key }}{listener} }}"#);
        let config = config.replace(plain, &encrypted);
        let gateway = Gateway::start(&config, |dir: &Path| {
            std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
            authority.issue(&["portal.example"]).write(dir, "tls");
        });
        let client = Client::trusting(&authority).speaking("h2");
        Self { gateway, upstream: (), client, token: signer.bearer("p1", "aal1", 30) }
    }
}

impl<U> Bench<U> {
    async fn open(&self) -> H2 {
        H2::connect(self.gateway.address, &self.client).await.expect("a connection")
    }
}

/// An HTTP/2 connection of the `h2` library.
pub struct H2 {
    pub send: h2::client::SendRequest<Bytes>,
    pub driver: JoinHandle<Result<(), h2::Error>>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl H2 {
    async fn over(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (send, connection) = h2::client::handshake(stream).await.expect("a preface");
        Self { send, driver: tokio::spawn(connection) }
    }

    /// An encrypted one.
    pub async fn connect(address: SocketAddr, client: &Client) -> std::io::Result<Self> {
        let stream = encrypt(TcpStream::connect(address).await?, client).await?;
        let (send, connection) = h2::client::handshake(stream).await.map_err(std::io::Error::other)?;
        Ok(Self { send, driver: tokio::spawn(connection) })
    }

    /// Says goodbye, and waits until that is done.
    async fn close(self) {
        let _ = self.ended().await;
    }

    /// Waits until the gateway ends the connection, which its client would keep.
    async fn without_end(self) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.driver).await;
        drop(self.send);
        // The client's own goodbye may find the connection closed.
        let error = ended.expect("the connection ends").expect("no panic").err();
        assert!(error.as_ref().is_none_or(h2::Error::is_io), "{error:?}");
    }

    /// How the connection ends that is not used any more.
    pub async fn ended(self) -> Result<(), h2::Error> {
        drop(self.send);
        let ended = tokio::time::timeout(Duration::from_secs(20), self.driver).await;
        ended.expect("the connection ends").expect("no panic")
    }

    async fn ask(&mut self, request: Request<()>, body: Option<&[u8]>) -> Result<Answer, h2::Error> {
        self.ask_with(request, body, None).await
    }

    async fn ask_with(
        &mut self,
        request: Request<()>,
        body: Option<&[u8]>,
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        self.send = self.send.clone().ready().await?;
        let (response, mut stream) = self.send.send_request(request, body.is_none())?;
        if let Some(body) = body {
            stream.send_data(Bytes::copy_from_slice(body), trailers.is_none())?;
            if let Some(trailers) = trailers {
                stream.send_trailers(trailers)?;
            }
        }
        let (head, body) = response.await?.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: read(body).await? })
    }
}

/// A handshake that ends in HTTP/2.
async fn encrypt(socket: TcpStream, client: &Client) -> std::io::Result<TlsStream<TcpStream>> {
    // Small frames must not wait for each other.
    socket.set_nodelay(true)?;
    let connector = tokio_rustls::TlsConnector::from(client.config());
    let stream = connector.connect(client.server_name(), socket).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    Ok(stream)
}

async fn read(mut body: h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut whole = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// An answer's status and its whole body.
pub async fn whole(response: h2::client::ResponseFuture) -> Result<(StatusCode, Vec<u8>), h2::Error> {
    let (head, body) = response.await?.into_parts();
    Ok((head.status, read(body).await?))
}

fn get(target: &str) -> http::request::Builder {
    Request::builder().method(Method::GET).uri(format!("https://portal.example{target}"))
}

fn bare(builder: http::request::Builder) -> Request<()> {
    builder.body(()).expect("a request")
}
