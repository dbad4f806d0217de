//! Certificates and keys in PEM files (RFC 7468), read so that nothing later can trip over them: those of listeners and
//! those towards upstreams alike.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// No chain, key or bundle of authorities is larger.
const MOST_BYTES: u64 = 1024 * 1024;

/// Why there is nothing to look at, to be read after the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The system says no.
    #[error("can't be read: {0}")]
    Refused(String),
    /// A directory, or a pipe that nobody may ever write to.
    #[error("is not a file")]
    NoFile,
    /// Something else than certificates.
    #[error("is larger than 1 MiB")]
    TooLarge,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Refused(match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            kind => kind.to_string(),
        })
    }
}

/// Reads a file.
///
/// # Errors
/// It can't be read, or can't be one of certificates.
pub fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    // Looked at before it is opened: to open a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(Unreadable::NoFile);
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES { Err(Unreadable::TooLarge) } else { Ok(bytes) }
}

/// What is wrong with a file, to be read after its name; never holds anything of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No PEM block of the right kind.
    #[error("holds no certificate in PEM form")]
    NoCertificate,
    /// A block that is no certificate.
    #[error("holds something that is no certificate, or a broken one")]
    BrokenCertificate,
    /// No PEM block with a key.
    #[error("holds no private key in PEM form without a passphrase")]
    NoKey,
    /// A key that can't be used, or of another certificate.
    #[error("holds a key that is not that of the certificate, or of a kind that is not supported")]
    OtherKey,
}

/// A certificate with what leads to its authority, and its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate itself first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// Reads the certificates of authorities.
///
/// # Errors
/// There is none, or one is broken.
pub fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found = chain(pem)?;
    let mut store = RootCertStore::empty();
    for certificate in &found {
        store.add(certificate.clone()).map_err(|_| Fault::BrokenCertificate)?;
    }
    Ok(found)
}

/// Reads a certificate and its key.
///
/// # Errors
/// One of them is missing or broken, or they don't belong together.
pub fn identity(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Identity, Fault> {
    let chain = chain(certificate_pem)?;
    let key = private_key(key_pem)?;
    // Pingora guesses the key's form again from its bytes.
    PrivateKeyDer::try_from(key.secret_der()).map_err(|_| Fault::OtherKey)?;
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &default_provider())
        .map_err(|_| Fault::OtherKey)?;
    Ok(Identity { chain, key })
}

/// Reads a private key that has no passphrase.
///
/// # Errors
/// There is none, or a broken one.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| Fault::NoKey)
}

/// Reads certificates as they stand, the first in the file first.
///
/// # Errors
/// There is none, or one is no PEM.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| Fault::BrokenCertificate)?;
    if found.is_empty() { Err(Fault::NoCertificate) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_told() {
        let block =
            |kind: &str, text: &str| format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
        let broken = block("CERTIFICATE", "AAAA");
        assert_eq!(authorities(b"").err(), Some(Fault::NoCertificate));
        assert_eq!(authorities(b"no PEM").err(), Some(Fault::NoCertificate));
        assert_eq!(authorities(broken.as_bytes()).err(), Some(Fault::BrokenCertificate));
        assert_eq!(authorities(block("CERTIFICATE", "?!").as_bytes()).err(), Some(Fault::BrokenCertificate));
        assert_eq!(identity(broken.as_bytes(), b"").err(), Some(Fault::NoKey));
        let key = block("PRIVATE KEY", "AAAA");
        assert_eq!(identity(broken.as_bytes(), key.as_bytes()).err(), Some(Fault::OtherKey));
        assert_eq!(identity(key.as_bytes(), key.as_bytes()).err(), Some(Fault::NoCertificate));
    }

    #[test]
    fn what_is_no_file_of_certificates_is_not_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let refused = |path: &Path| read(path).err().map(|fault| fault.to_string());
        assert_eq!(refused(dir.path()).as_deref(), Some("is not a file"));
        let path = dir.path().join("x.pem");
        assert_eq!(refused(&path).as_deref(), Some("can't be read: there is no such file"));
        fs::write(&path, vec![b'x'; 1024 * 1024]).expect("written");
        assert_eq!(refused(&path), None);
        fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).expect("written");
        assert_eq!(refused(&path).as_deref(), Some("is larger than 1 MiB"));
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert_eq!(refused(&pipe).as_deref(), Some("is not a file"));
    }
}
