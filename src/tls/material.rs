//! The files behind a listener's TLS, read once and made into what a handshake needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::choice::ByServerName;
use super::pem::{self, Fault, Unreadable};
use super::settings::{CertificateFiles, ClientCertificates, TlsSettings, TlsVersion};

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A chain of certificates.
    Certificate,
    /// A private key.
    Key,
    /// Authorities of client certificates.
    Authorities,
}

/// Why a file can't be used. Says nothing of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}; {remedy}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What it is for.
    pub part: Part,
    /// Whether the file itself is sound and only does not go with another.
    pub mismatch: bool,
    /// What is wrong, to follow the file's name.
    pub problem: String,
    /// What an operator can do.
    pub remedy: &'static str,
}

/// One certificate of a listener, as operators watch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain's file.
    pub file: PathBuf,
    /// The DNS names it is for, in lower case.
    pub names: Vec<Box<str>>,
    /// When it begins, in Unix seconds.
    pub not_before: i64,
    /// When it ends, in Unix seconds.
    pub not_after: i64,
}

/// A rustls configuration, and what it was made from.
#[derive(Debug)]
pub struct Built {
    /// For new handshakes.
    pub config: Arc<ServerConfig>,
    /// In the order of the configuration.
    pub certificates: Vec<Certificate>,
}

/// The bytes of every file that a listener's TLS is made from.
pub struct Material {
    pairs: Vec<(Pem, Pem)>,
    authorities: Option<Pem>,
}

struct Pem {
    path: PathBuf,
    part: Part,
    bytes: Vec<u8>,
}

impl Material {
    /// Reads every file.
    ///
    /// # Errors
    /// The first that can't be read.
    pub fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let pair = |files: &CertificateFiles| {
            Ok((Pem::read(&files.cert_file, Part::Certificate)?, Pem::read(&files.key_file, Part::Key)?))
        };
        Ok(Self {
            pairs: settings.certificates.iter().map(pair).collect::<Result<_, _>>()?,
            authorities: match &settings.client_ca_file {
                Some(path) => Some(Pem::read(path, Part::Authorities)?),
                None => None,
            },
        })
    }

    /// Tells one content of the files from another.
    pub fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        let pems = self.pairs.iter().flat_map(|(chain, key)| [chain, key]).chain(&self.authorities);
        for pem in pems {
            context.update(&pem.bytes.len().to_le_bytes());
            context.update(&pem.bytes);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }

    /// Makes the configuration of new handshakes.
    ///
    /// # Errors
    /// The first file that holds something else than it should.
    pub fn build(&self, settings: &TlsSettings) -> Result<Built, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut certificates = Vec::new();
        let mut keys = Vec::new();
        for (chain, key) in &self.pairs {
            let (certificate, pair) = load_pair(chain, key, &provider)?;
            keys.push((Arc::new(pair), certificate.names.clone()));
            certificates.push(certificate);
        }
        let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version {
            TlsVersion::Tls12 => &[&rustls::version::TLS12, &rustls::version::TLS13],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let default_pem = self.pairs.first().map(|(chain, _)| chain);
        let internal = |error: rustls::Error| TlsError {
            path: default_pem.map(|pem| pem.path.clone()).unwrap_or_default(),
            part: Part::Certificate,
            mismatch: false,
            problem: format!("can't be served: {error}"),
            remedy: "this is a fault of the program, please report it",
        };
        // Every suite of this provider is AEAD with forward secrecy; nothing of the process decides here.
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(internal)?;
        let builder = match (&self.authorities, settings.client_certificates) {
            (Some(pem), asked) if asked != ClientCertificates::No => {
                let roots = Arc::new(load_authorities(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match asked {
                    ClientCertificates::Required => verifier,
                    ClientCertificates::Optional | ClientCertificates::No => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|error| pem.fault(error.to_string(), AUTHORITIES))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByServerName::new(keys)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if settings.client_certificates == ClientCertificates::No {
            config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(internal)?;
        } else {
            // A resumed session would go on with a certificate that has expired, or whose authority is gone.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Built { config: Arc::new(config), certificates })
    }
}

const AUTHORITIES: &str =
    "write the PEM certificates of the authorities that sign client certificates into it";
const CHAIN: &str = "write the PEM chain into it, the server's own certificate first";
const KEY: &str = "write the PEM private key (PKCS #8, PKCS #1 or SEC 1, not encrypted) into it";

impl Pem {
    fn read(path: &Path, part: Part) -> Result<Self, TlsError> {
        let mut pem = Self { path: path.to_owned(), part, bytes: Vec::new() };
        pem.bytes = pem::read(path).map_err(|unreadable| {
            let remedy = match unreadable {
                Unreadable::Refused(_) => "check the path, and that the gateway's user may read the file",
                Unreadable::NoFile => "name a PEM file",
                Unreadable::TooLarge => "check that it is the right file",
            };
            pem.fault(unreadable.to_string(), remedy)
        })?;
        Ok(pem)
    }

    fn fault(&self, problem: String, remedy: &'static str) -> TlsError {
        TlsError { path: self.path.clone(), part: self.part, mismatch: false, problem, remedy }
    }

    fn certificates(&self, remedy: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        pem::chain(&self.bytes).map_err(|fault| self.broken(fault, remedy))
    }

    fn broken(&self, fault: Fault, remedy: &'static str) -> TlsError {
        self.fault(fault.to_string(), remedy)
    }
}

fn load_pair(
    chain: &Pem,
    key: &Pem,
    provider: &CryptoProvider,
) -> Result<(Certificate, CertifiedKey), TlsError> {
    let ders = chain.certificates(CHAIN)?;
    let mut own = None;
    for (at, der) in ders.iter().enumerate() {
        let parsed = X509Certificate::from_der(der);
        let Ok((_, certificate)) = parsed else {
            return Err(
                chain.fault(format!("holds something else than X.509 as certificate {}", at + 1), CHAIN)
            );
        };
        own.get_or_insert_with(|| describe(chain, &certificate));
    }
    let own = own.ok_or_else(|| chain.broken(Fault::NoCertificate, CHAIN))?;
    let private = pem::private_key(&key.bytes).map_err(|fault| key.broken(fault, KEY))?;
    let pair = CertifiedKey::from_der(ders, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError {
            mismatch: true,
            ..key.fault(
                format!("is not the key of `{}`", chain.path.display()),
                "put the key beside the certificate that was issued for it",
            )
        },
        rustls::Error::InvalidCertificate(_) => {
            chain.fault("holds a certificate that TLS can't use".to_owned(), CHAIN)
        }
        _ => key.fault(
            "holds a key that TLS can't use".to_owned(),
            "use RSA of at least 2048 bits, ECDSA P-256, P-384 or P-521, or Ed25519",
        ),
    })?;
    Ok((own, pair))
}

fn describe(chain: &Pem, certificate: &X509Certificate<'_>) -> Certificate {
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase().into());
            }
        }
    }
    let validity = certificate.validity();
    Certificate {
        file: chain.path.clone(),
        names,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    }
}

fn load_authorities(pem: &Pem) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (at, der) in pem.certificates(AUTHORITIES)?.into_iter().enumerate() {
        let is_authority = X509Certificate::from_der(&der).is_ok_and(|(_, certificate)| certificate.is_ca());
        if !is_authority || roots.add(der).is_err() {
            let problem = format!("holds something else than an authority as certificate {}", at + 1);
            return Err(pem.fault(problem, AUTHORITIES));
        }
    }
    Ok(roots)
}
