//! The one way in which HTTP clients are made: no redirect is followed, no proxy is taken from the environment, and who may
//! vouch for the other side is said.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use rustls::{ClientConfig, RootCertStore};

use crate::tls::pem;

/// The system's authorities are read once by a process: some 140 certificates, for which each client would take as long to
/// be made as thousands of requests. What is installed later counts after a restart.
static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();

/// Who may vouch for the other side's certificate.
#[derive(Debug, Clone, Copy)]
pub enum Authorities<'a> {
    /// Those of the system.
    System,
    /// Those in this PEM file, and nobody else.
    File(&'a Path),
    /// Nobody: TLS is not needed, and a system without authorities is no reason not to start.
    Nobody,
}

impl<'a> Authorities<'a> {
    /// For one address: those of `file` where it is given, else the system's, if TLS is spoken at all.
    pub fn of(address: &reqwest::Url, file: Option<&'a Path>) -> Self {
        match file {
            Some(file) => Self::File(file),
            None if address.scheme() == "https" => Self::System,
            None => Self::Nobody,
        }
    }
}

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The program forgot its first step.
    #[error("no cryptography provider is installed")]
    NoCryptography,
    /// The system has no certificate authorities.
    #[error("no certificate authorities of the system were found")]
    NoAuthorities,
    /// The file of authorities can't be read.
    #[error("`{}`: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// It holds no certificates.
    #[error("`{}` holds no certificates in PEM", path.display())]
    NoCertificates {
        /// The file.
        path: PathBuf,
    },
    /// The client itself.
    #[error("the HTTP client can't be made")]
    Client(#[source] reqwest::Error),
}

/// Makes a client that keeps at most `idle` connections to one host for reuse. `deadline` is for each request with its
/// answer; `None` where the caller has one of its own.
///
/// # Errors
/// The authorities can't be read, or the process has no cryptography provider.
pub fn client(
    authorities: Authorities<'_>,
    deadline: Option<Duration>,
    idle: usize,
) -> Result<Client, ClientError> {
    // The library would panic without one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(ClientError::NoCryptography);
    }
    let builder = Client::builder()
        .redirect(Policy::none())
        .referer(false)
        // A proxy from the environment would see tokens and could answer for the other side.
        .no_proxy()
        .pool_max_idle_per_host(idle)
        .user_agent(concat!("wardgate/", env!("CARGO_PKG_VERSION")));
    let builder = match deadline {
        Some(deadline) => builder.timeout(deadline),
        None => builder,
    };
    let builder = match authorities {
        Authorities::System => {
            let mut config = ClientConfig::builder().with_root_certificates(system()?).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            builder.tls_backend_preconfigured(config)
        }
        Authorities::File(path) => builder.tls_certs_only(read(path)?),
        Authorities::Nobody => builder.tls_certs_only([]),
    };
    builder.build().map_err(ClientError::Client)
}

/// TLS towards a server that is not spoken to over HTTP: who may vouch for it, those in `ca_file` or the system's, and the
/// certificate and key that are shown to it.
///
/// # Errors
/// A file can't be used; the text names it.
pub fn tls(ca_file: Option<&Path>, identity: Option<&(PathBuf, PathBuf)>) -> Result<ClientConfig, String> {
    let named = |path: &Path, fault: &dyn std::fmt::Display| format!("`{}` {fault}", path.display());
    let roots = match ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let pem = pem::read(path).map_err(|fault| named(path, &fault))?;
            for certificate in pem::authorities(&pem).map_err(|fault| named(path, &fault))? {
                roots.add(certificate).map_err(|error| named(path, &error))?;
            }
            Arc::new(roots)
        }
        None => system().map_err(|error| error.to_string())?,
    };
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let read = |path| pem::read(path).map_err(|fault| named(path, &fault));
    let identity = pem::identity(&read(certificate)?, &read(key)?);
    let identity = identity.map_err(|fault| named(certificate, &fault))?;
    builder.with_client_auth_cert(identity.chain, identity.key).map_err(|error| named(certificate, &error))
}

/// The system's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
///
/// # Errors
/// There are none.
pub fn system() -> Result<Arc<RootCertStore>, ClientError> {
    if let Some(roots) = SYSTEM.get() {
        return Ok(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    // One that can't be read vouches for nobody: the others are good all the same.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(ClientError::NoAuthorities);
    }
    // Two may get here at once: both have read the same.
    Ok(Arc::clone(SYSTEM.get_or_init(|| Arc::new(roots))))
}

fn read(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let pem = std::fs::read(path).map_err(|why| ClientError::Unreadable { path: path.to_owned(), why })?;
    let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    // Nobody would be trusted then, and nobody told why.
    if found.is_empty() { Err(ClientError::NoCertificates { path: path.to_owned() }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_no_file_of_authorities() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.pem");
        let told = || client(Authorities::File(&path), None, 1).expect_err("no client").to_string();
        assert!(told().contains("No such file"), "{}", told());
        for text in ["", "no certificate\n", "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).expect("written");
            assert!(client(Authorities::File(&path), None, 1).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_says_whether_authorities_are_needed() {
        let of =
            |address: &str, file| format!("{:?}", Authorities::of(&address.parse().expect("a URL"), file));
        assert_eq!(of("http://127.0.0.1/", None), "Nobody");
        assert_eq!(of("https://a.example/", None), "System");
        assert_eq!(of("https://a.example/", Some(Path::new("ca"))), "File(\"ca\")");
    }
}
