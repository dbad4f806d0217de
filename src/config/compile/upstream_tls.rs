//! TLS towards an upstream, and the HTTP that is spoken over it.

use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;
use serde_saphyr::Spanned;

use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{Text, Upstream, UpstreamTls as Schema};
use crate::config::settings::{Endpoint, Protocol, UpstreamTlsSettings};
use crate::config::values;
use crate::tls::pem::{self, Fault};

/// Which HTTP is spoken.
pub(super) fn protocol(schema: &Upstream, report: &mut Report<'_>) -> Protocol {
    let words = [("h1", Protocol::Http1), ("h2", Protocol::Http2), ("auto", Protocol::Auto)];
    let protocol = values::choice(report, &schema.protocol, &words, Protocol::Http1);
    if let Some(text) = schema.protocol.as_ref()
        && protocol == Protocol::Auto
        && schema.tls.is_none()
    {
        let message = "without TLS nothing tells which protocol the upstream speaks";
        report.add(Code::BadProtocol, text, message, "write `h1` or `h2`, or `tls: {}` beside it");
    }
    protocol
}

/// Compiles `tls`; the files are read now so that a broken one is found now.
pub(super) fn compile(
    item: &Spanned<Schema>,
    endpoints: &[Endpoint],
    base_dir: &Path,
    report: &mut Report<'_>,
) -> UpstreamTlsSettings {
    let schema = &item.value;
    let ca_file = schema.ca_file.as_ref().map(|text| {
        let path = read(report, base_dir, text, |bytes| pem::authorities(bytes).map(drop));
        (path, text)
    });
    let client = match (schema.client_cert_file.as_ref(), schema.client_key_file.as_ref()) {
        (Some(certificate), Some(key)) => Some(client(report, base_dir, certificate, key)),
        (Some(only), None) | (None, Some(only)) => {
            let help = "write both `client_cert_file` and `client_key_file`";
            report.add(Code::HalfAnIdentity, only, "a certificate and its key go together", help);
            None
        }
        (None, None) => None,
    };
    let words = [("full", true), ("authority_only", false)];
    let verify_name = values::choice(report, &schema.verify, &words, true);
    if let (false, None, Some(text)) = (verify_name, &ca_file, schema.verify.as_ref()) {
        let message = "anybody with a certificate from a public authority could stand in for the upstream";
        report.add(Code::AnyNameOfAnyAuthority, text, message, "name your own authority with `ca_file`");
    }
    match schema.server_name.as_ref() {
        Some(text) if !is_server_name(&text.value) => {
            let message = format!("`{}` is no name that a certificate can have", text.value);
            report.add(
                Code::BadServerName,
                text,
                message,
                "write a DNS name or an IP address, without a port",
            );
        }
        None if endpoints.iter().any(|endpoint| !is_server_name(endpoint.host())) => {
            let message = "an endpoint does not say which name its certificate should have";
            report.add(Code::BadServerName, item, message, "write `server_name: ehr.clinic.example`");
        }
        _ => {}
    }
    UpstreamTlsSettings {
        ca_file: ca_file.map(|(path, _)| path),
        client,
        server_name: schema.server_name.text().map(Into::into),
        verify_name,
    }
}

/// Whether TLS can look for it in a certificate: never empty, or Pingora would look at nothing at all.
fn is_server_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('_') && ServerName::try_from(text).is_ok()
}

fn read(
    report: &mut Report<'_>,
    base_dir: &Path,
    text: &Text,
    check: impl FnOnce(&[u8]) -> Result<(), Fault>,
) -> PathBuf {
    let errors = report.errors();
    let path = values::file(report, base_dir, text);
    if report.errors() == errors {
        match pem::read(&path).map(|bytes| check(&bytes)) {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => refuse(report, text, &fault),
            Err(unreadable) => refuse(report, text, &unreadable),
        }
    }
    path
}

pub(super) fn client(
    report: &mut Report<'_>,
    base_dir: &Path,
    certificate: &Text,
    key: &Text,
) -> (PathBuf, PathBuf) {
    let errors = report.errors();
    let paths = (values::file(report, base_dir, certificate), values::file(report, base_dir, key));
    if report.errors() == errors {
        match (pem::read(&paths.0), pem::read(&paths.1)) {
            (Ok(chain_pem), Ok(key_pem)) => {
                if let Err(fault) = pem::identity(&chain_pem, &key_pem) {
                    let of_certificate = matches!(fault, Fault::NoCertificate | Fault::BrokenCertificate);
                    refuse(report, if of_certificate { certificate } else { key }, &fault);
                }
            }
            (Err(unreadable), _) => refuse(report, certificate, &unreadable),
            (_, Err(unreadable)) => refuse(report, key, &unreadable),
        }
    }
    paths
}

fn refuse(report: &mut Report<'_>, text: &Text, fault: &dyn std::fmt::Display) {
    let help = "look at it with `openssl x509 -in FILE -noout -text`, or `openssl pkey -in FILE -noout`";
    report.add(Code::BadCertificateFile, text, format!("`{}` {fault}", text.value), help);
}
