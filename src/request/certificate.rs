//! The certificate that a client showed on its own connection, as far as a decision may know it.
//!
//! The TLS layer has verified it against the listener's authorities before anything here looks at it.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The SHA-256 of a certificate's DER bytes, as tokens name it in `x5t#S256` (RFC 8705 §3.1).
#[derive(Clone, Copy)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Digests a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// Reads base64url without padding of exactly 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Compares in a time that does not depend on where the two differ.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Thumbprint({self})")
    }
}

/// A verified client certificate. `Debug` shows its thumbprint only: the rest may name a person.
#[derive(Clone)]
pub struct ClientCertificate {
    /// What tokens are bound to.
    pub thumbprint: Thumbprint,
    /// The subject in the form of RFC 4514, the most specific part first: `CN=lab,O=Clinic`.
    pub subject: Box<str>,
    /// Subject alternative names of type dNSName, in lower case.
    pub dns: Vec<Box<str>>,
    /// Subject alternative names of type uniformResourceIdentifier, such as SPIFFE ids.
    pub uris: Vec<Box<str>>,
}

impl ClientCertificate {
    /// Reads a certificate; `None` where it is not DER of one X.509 certificate.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let (mut dns, mut uris) = (Vec::new(), Vec::new());
        if let Some(names) = certificate.subject_alternative_name().ok()? {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase().into()),
                    GeneralName::URI(uri) => uris.push((*uri).into()),
                    _ => {}
                }
            }
        }
        let subject = rfc4514(certificate.subject()).into();
        Some(Self { thumbprint: Thumbprint::of(der), subject, dns, uris })
    }

    /// What conditions see as `client_certificate`.
    pub fn for_conditions(&self) -> serde_json::Value {
        serde_json::json!({
            "thumbprint": self.thumbprint.to_string(), "subject": self.subject, "dns": self.dns, "uris": self.uris,
        })
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientCertificate({})", self.thumbprint)
    }
}

/// Writes a name so that no value can look like two (RFC 4514 §2).
fn rfc4514(name: &X509Name<'_>) -> String {
    let relative = |parts: Vec<String>| parts.join("+");
    let mut names: Vec<String> =
        name.iter_rdn().map(|one| relative(one.iter().map(attribute).collect())).collect();
    names.reverse();
    names.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type().to_id_string();
    let kind = match kind.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        other => other,
    };
    match attribute.as_str() {
        Ok(value) => format!("{kind}={}", escaped(value)),
        Err(_) => {
            let hex: String = attribute.as_slice().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{kind}=#{hex}")
        }
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, letter) in value.chars().enumerate() {
        let at_an_end = (at == 0 && matches!(letter, ' ' | '#')) || (at == last && letter == ' ');
        if letter.is_control() {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                text.push_str(&format!("\\{byte:02x}"));
            }
            continue;
        }
        if at_an_end || matches!(letter, '"' | '+' | ',' | ';' | '<' | '>' | '=' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_32_bytes_in_base64url() {
        let one = Thumbprint::of(b"a certificate");
        let again = Thumbprint::parse(&one.to_string()).expect("its own text");
        assert!(one.matches(&again) && !one.matches(&Thumbprint::of(b"another")));
        for text in ["", "AAAA", &format!("{one}="), &format!("{one}A"), "ä"] {
            assert!(Thumbprint::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn names_are_read_and_a_value_can_not_look_like_two() {
        let mut parameters =
            rcgen::CertificateParams::new(vec!["Lab.Clinic.example".to_owned()]).expect("names");
        let uri = "spiffe://clinic.example/lab".try_into().expect("a URI");
        parameters.subject_alt_names.push(rcgen::SanType::URI(uri));
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Clinic, CN=admin");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "#lab ");
        let key = rcgen::KeyPair::generate().expect("a key");
        let der = parameters.self_signed(&key).expect("a certificate").der().to_vec();
        let read = ClientCertificate::from_der(&der).expect("readable");
        assert_eq!(read.subject.as_ref(), r"CN=\#lab\ ,O=Clinic\, CN\=admin");
        assert_eq!(read.dns, [Box::from("lab.clinic.example")]);
        assert_eq!(read.uris, [Box::from("spiffe://clinic.example/lab")]);
        assert!(read.thumbprint.matches(&Thumbprint::of(&der)));
        assert!(!format!("{read:?}").contains("lab"));
        assert!(ClientCertificate::from_der(b"rubbish").is_none());
        let longer = [der.as_slice(), b"x"].concat();
        assert!(ClientCertificate::from_der(&longer).is_none());
    }
}
