//! What the configuration says of a listener's TLS.

use std::path::PathBuf;

/// A listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates with their keys; the first is for clients that name no server or an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// The authorities that client certificates must be from.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub client_certificates: ClientCertificates,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// One certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// Whether clients are asked for a certificate. One that is shown and not from the authorities ends the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    No,
    /// They may show one.
    Optional,
    /// No connection without one.
    Required,
}

/// A version of TLS that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246) with AEAD suites and forward secrecy, and 1.3.
    Tls12,
    /// TLS 1.3 (RFC 8446) only.
    Tls13,
}
