//! Certificates and keys in PEM files (RFC 7468), read so that nothing later can trip over them.

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

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
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| Fault::NoKey)?;
    // Pingora guesses the key's form again from its bytes.
    PrivateKeyDer::try_from(key.secret_der()).map_err(|_| Fault::OtherKey)?;
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &default_provider())
        .map_err(|_| Fault::OtherKey)?;
    Ok(Identity { chain, key })
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
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
}
