//! Which certificate a client gets, by the server name it asks for (RFC 6066 §3, RFC 9525 §6.3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Chooses by name: exact, then a wildcard for one label, then the first of all. Where several have the name, such as
/// one with an RSA key and one with an ECDSA key, the first that the client can verify.
#[derive(Debug)]
pub(super) struct ByServerName {
    certificates: Vec<Arc<CertifiedKey>>,
    by_name: HashMap<Box<str>, Vec<usize>>,
}

impl ByServerName {
    /// Takes certificates with the DNS names they are for, in lower case.
    pub(super) fn new(certificates: impl IntoIterator<Item = (Arc<CertifiedKey>, Vec<Box<str>>)>) -> Self {
        let mut chooser = Self { certificates: Vec::new(), by_name: HashMap::new() };
        for (at, (certificate, names)) in certificates.into_iter().enumerate() {
            chooser.certificates.push(certificate);
            for name in names {
                chooser.by_name.entry(name).or_default().push(at);
            }
        }
        chooser
    }

    fn candidates(&self, server_name: Option<&str>) -> &[usize] {
        self.named(server_name).unwrap_or(&[0])
    }

    fn named(&self, server_name: Option<&str>) -> Option<&[usize]> {
        let name = server_name?.to_ascii_lowercase();
        if let Some(exact) = self.by_name.get(name.as_str()) {
            return Some(exact);
        }
        let (_, parent) = name.split_once('.')?;
        self.by_name.get(format!("*.{parent}").as_str()).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(hello.server_name());
        let mut known = candidates.iter().filter_map(|at| self.certificates.get(*at));
        let first = known.clone().next();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        known.find(fits).or(first).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_then_one_label_then_the_first() {
        let key = rcgen::generate_simple_self_signed(["unused".to_owned()]).expect("a certificate");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let der = key.signing_key.serialize_der().try_into().expect("a key");
        let key =
            Arc::new(CertifiedKey::from_der(vec![key.cert.der().clone()], der, &provider).expect("a pair"));
        let names: [&[&str]; 3] = [
            &["portal.example"],
            &["*.clinic.example", "clinic.example"],
            &["lab.clinic.example", "portal.example"],
        ];
        let names = names.map(|names| names.iter().map(|name| (*name).into()).collect());
        let chooser = ByServerName::new(names.into_iter().map(|names| (Arc::clone(&key), names)));
        for (name, expected) in [
            (None, &[0][..]),
            (Some("portal.example"), &[0, 2]),
            (Some("PORTAL.example"), &[0, 2]),
            (Some("clinic.example"), &[1]),
            (Some("a.clinic.example"), &[1]),
            (Some("lab.clinic.example"), &[2]),
            (Some("a.b.clinic.example"), &[0]),
            (Some("example"), &[0]),
            (Some("evilclinic.example"), &[0]),
        ] {
            assert_eq!(chooser.candidates(name), expected, "{name:?}");
        }
    }
}
