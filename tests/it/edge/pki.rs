//! Authorities and certificates made for one test, and clients that use them.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::http::{self, Answer};

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: CertificateDer<'static>,
    pub pem: String,
}

/// A certificate with its key.
pub struct Issued {
    pub certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pub pem: String,
    pub key_pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A certificate for these DNS names, or for whoever is called so.
    pub fn issue(&self, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names.clone()).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        let uri = "spiffe://clinic.example/test".try_into().expect("a URI");
        parameters.subject_alt_names.push(SanType::URI(uri));
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
            key_pem: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// Writes chain and key into a directory, as `NAME.crt` and `NAME.key`.
    pub fn write(&self, dir: &Path, name: &str) {
        std::fs::write(dir.join(format!("{name}.crt")), &self.pem).expect("writable");
        std::fs::write(dir.join(format!("{name}.key")), &self.key_pem).expect("writable");
    }
}

/// What a client trusts, shows and speaks.
#[derive(Clone)]
pub struct Client {
    roots: RootCertStore,
    identity: Option<(CertificateDer<'static>, Vec<u8>)>,
    protocols: Vec<Vec<u8>>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
    server: &'static str,
}

impl Client {
    /// Trusts an authority, and asks for `portal.example`.
    pub fn trusting(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).expect("an authority");
        Self {
            roots,
            identity: None,
            protocols: Vec::new(),
            versions: rustls::ALL_VERSIONS,
            server: "portal.example",
        }
    }

    pub fn showing(mut self, identity: &Issued) -> Self {
        self.identity = Some((identity.certificate.clone(), identity.key.clone()));
        self
    }

    pub fn asking_for(mut self, server: &'static str) -> Self {
        self.server = server;
        self
    }

    pub fn speaking(mut self, protocol: &str) -> Self {
        self.protocols = vec![protocol.as_bytes().to_vec()];
        self
    }

    pub fn only(mut self, versions: &'static [&'static rustls::SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("versions")
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.clone()).expect("a key");
                builder.with_client_auth_cert(vec![certificate.clone()], key).expect("a pair")
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Arc::new(config)
    }

    pub fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.server).expect("a name")
    }

    /// Connects and finishes the handshake; in TLS 1.3 a server may refuse the client after that.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let session = ClientConnection::new(self.config(), self.server_name()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection { stream })
    }

    /// One request on a connection of its own.
    pub fn get(&self, address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> io::Result<Answer> {
        self.connect(address)?.get(target, headers, true)
    }
}

/// An encrypted HTTP/1.1 connection.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Connection {
    /// The server's own certificate.
    pub fn server_certificate(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().expect("a chain")[0].clone().into_owned()
    }

    /// A request; `last` where the connection ends with it.
    pub fn get(&mut self, target: &str, headers: &[(&str, &str)], last: bool) -> io::Result<Answer> {
        let mut head = format!("GET {target} HTTP/1.1\r\nHost: portal.example\r\n");
        if last {
            head.push_str("Connection: close\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.stream.write_all(head.as_bytes())?;
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return http::parse(&bytes),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !bytes.is_empty() => {
                    return http::parse(&bytes);
                }
                Err(error) => return Err(error),
            }
            if !last && is_whole(&bytes) {
                return http::parse(&bytes);
            }
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    http::parse(bytes).is_ok_and(|answer| {
        answer.header("content-length").and_then(|length| length.parse().ok()) == Some(answer.body.len())
    })
}
