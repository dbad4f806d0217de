//! A listener's TLS: the files are read as they will be at start, so that what is wrong with them is said now.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_saphyr::Spanned;

use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, Given, Listener, Text, Tls};
use crate::config::values;
use crate::policy::Condition;
use crate::tls::{
    Built, CertificateFiles, ClientCertificates, Material, Part, TlsError, TlsSettings, TlsVersion,
};

/// A certificate's place in the file.
struct Written<'s> {
    files: CertificateFiles,
    cert: &'s Text,
    key: &'s Text,
}

/// Compiles `tls`, and reads its files.
pub(super) fn compile(schema: &Spanned<Tls>, base_dir: &Path, report: &mut Report<'_>) -> TlsSettings {
    let Tls { certificates, cert_file, key_file, client_ca_file, client_certificates, min_version } =
        &schema.value;
    let before = report.errors();
    let mut written = Vec::new();
    if cert_file.is_some() || key_file.is_some() {
        if let Some(list) = certificates.as_ref() {
            let message = "certificates are written in two ways here";
            report.add(
                Code::TlsContradiction,
                list,
                message,
                "move `cert_file` and `key_file` into the list",
            );
        }
        written.extend(pair(cert_file, key_file, schema.into(), base_dir, report));
    } else if let Some(list) = report.required(
        certificates,
        "certificates",
        schema.into(),
        "[{ cert_file: tls.crt, key_file: tls.key }]",
    ) && list.value.is_empty()
    {
        report.add(Code::Empty, list, "this list is empty", "write at least one certificate");
    }
    for item in certificates.items() {
        written.extend(pair(&item.value.cert_file, &item.value.key_file, item.into(), base_dir, report));
    }
    let authorities = client_ca_file.as_ref().map(|text| (values::file(report, base_dir, text), text));
    let words = [("required", ClientCertificates::Required), ("optional", ClientCertificates::Optional)];
    let asked = values::choice(report, client_certificates, &words, ClientCertificates::Required);
    if authorities.is_none()
        && let Some(text) = client_certificates.as_ref()
    {
        let message = "clients are asked for a certificate, but by no authority";
        report.add(Code::TlsContradiction, text, message, "add `client_ca_file`, or take this out");
    }
    let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
    let settings = TlsSettings {
        certificates: written.iter().map(|written| written.files.clone()).collect(),
        client_ca_file: authorities.as_ref().map(|(path, _)| path.clone()),
        client_certificates: if authorities.is_some() { asked } else { ClientCertificates::No },
        min_version: values::choice(report, min_version, &versions, TlsVersion::Tls12),
    };
    // What can't be read was told already, and would only be told again.
    if report.errors() == before {
        let authorities = authorities.map(|(_, text)| text);
        match Material::read(&settings).and_then(|material| material.build(&settings)) {
            Ok(built) => review(&built, &written, report),
            Err(error) => tell(&error, &written, authorities, schema.into(), report),
        }
    }
    settings
}

/// Whether a listener speaks HTTP/2 without TLS.
pub(super) fn h2c(schema: &Listener, report: &mut Report<'_>) -> bool {
    let Some(wanted) = schema.h2c.as_ref() else { return false };
    if wanted.value && schema.tls.is_some() {
        let message = "`h2c` is HTTP/2 without TLS, and this listener has TLS";
        report.add(
            Code::TlsContradiction,
            wanted,
            message,
            "take `h2c` out: over TLS clients choose HTTP/2 by themselves",
        );
    }
    wanted.value
}

/// Warns of conditions about client certificates where no client is asked for one: they can never hold. Expects every
/// condition to compile.
pub(super) fn check_conditions(file: &File, report: &mut Report<'_>) {
    let asks =
        |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.value.client_ca_file.is_some());
    if file.listeners.items().iter().any(|item| asks(&item.value)) {
        return;
    }
    let told = (
        "no listener asks clients for a certificate",
        "add `client_ca_file` to a listener's `tls`, or take this out",
    );
    super::conditions::check(file, report, Condition::reads_certificate, Code::CertificateNotAsked, told);
}

fn pair<'s>(
    cert: &'s Given<Text>,
    key: &'s Given<Text>,
    place: Place,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<Written<'s>> {
    let cert = report.required(cert, "cert_file", place, "tls.crt");
    let key = report.required(key, "key_file", place, "tls.key");
    let (cert, key) = (cert?, key?);
    let cert_file = values::file(report, base_dir, cert);
    let key_file = values::file(report, base_dir, key);
    Some(Written { files: CertificateFiles { cert_file, key_file }, cert, key })
}

/// Reports what is wrong with a file where its name is written.
fn tell(
    error: &TlsError,
    written: &[Written<'_>],
    authorities: Option<&Text>,
    whole: Place,
    report: &mut Report<'_>,
) {
    let named = match error.part {
        Part::Authorities => authorities,
        Part::Certificate => {
            written.iter().find(|written| written.files.cert_file == error.path).map(|found| found.cert)
        }
        Part::Key => {
            written.iter().find(|written| written.files.key_file == error.path).map(|found| found.key)
        }
    };
    let code = if error.mismatch { Code::KeyMismatch } else { Code::BadTlsFile };
    let (place, name) =
        named.map_or((whole, error.path.display().to_string()), |text| (text.into(), text.value.clone()));
    let problem = match written.iter().find(|found| error.mismatch && found.files.key_file == error.path) {
        // As written, not as found.
        Some(found) => format!("is not the key of `{}`", found.cert.value),
        None => error.problem.clone(),
    };
    report.add(code, place, format!("`{name}` {problem}"), error.remedy);
}

/// Warns of what can be used, but hardly as it was meant.
fn review(built: &Built, written: &[Written<'_>], report: &mut Report<'_>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    let now = now.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or_default();
    let mut seen: BTreeMap<&str, &Text> = BTreeMap::new();
    for (certificate, written) in built.certificates.iter().zip(written) {
        let name = &written.cert.value;
        let fault = if certificate.not_after <= now {
            Some("has ended: clients refuse it")
        } else if certificate.not_before > now {
            Some("has not begun: clients refuse it")
        } else {
            None
        };
        if let Some(fault) = fault {
            let help = "put a new certificate there; the gateway takes it while it runs";
            report.add(
                Code::CertificateDates,
                written.cert,
                format!("the certificate `{name}` {fault}"),
                help,
            );
        }
        for server in &certificate.names {
            match seen.get(server.as_ref()) {
                Some(first) if first.value != *name => {
                    let message = format!("`{server}` is in `{}` too", first.value);
                    let help = "of two certificates for a name the first that a client can verify is used";
                    report.add(Code::RepeatedServerName, written.cert, message, help);
                }
                _ => {
                    seen.insert(server, written.cert);
                }
            }
        }
    }
}
