//! When the certificates in the configured files end.

use std::path::{Path, PathBuf};

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::findings::{Finding, validity};
use crate::config::settings::{Settings, SinkKind, StoreSettings};
use crate::tls::pem;

/// From when until when a certificate counts, in Unix seconds.
pub fn dates(der: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// A file with certificates.
struct File {
    path: PathBuf,
    /// Whether it holds authorities, each by itself; else a chain.
    has_authorities: bool,
}

fn files(settings: &Settings) -> Vec<File> {
    let mut found = Vec::new();
    let mut add = |path: Option<&PathBuf>, has_authorities| {
        found.extend(path.map(|path| File { path: path.clone(), has_authorities }));
    };
    for tls in settings.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        tls.certificates.iter().for_each(|pair| add(Some(&pair.cert_file), false));
        add(tls.client_ca_file.as_ref(), true);
    }
    for tls in settings.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref()) {
        add(tls.ca_file.as_ref(), true);
        add(tls.client.as_ref().map(|(chain, _)| chain), false);
    }
    if let StoreSettings::Redis(redis) = &settings.state.store {
        add(redis.ca_file.as_ref(), true);
    }
    for sink in &settings.audit.sinks {
        match &sink.kind {
            SinkKind::Http(to) => add(to.server.ca_file.as_ref(), true),
            SinkKind::Fhir(to) => add(to.server.ca_file.as_ref(), true),
            SinkKind::Otlp(to) => add(to.ca_file.as_ref(), true),
            SinkKind::RedisStream(to) => add(to.ca_file.as_ref(), true),
            SinkKind::Syslog(to) => {
                let tls = to.tls.as_ref();
                add(tls.and_then(|tls| tls.ca_file.as_ref()), true);
                add(tls.and_then(|tls| tls.identity.as_ref()).map(|(chain, _)| chain), false);
            }
            SinkKind::Kafka(_) | SinkKind::File(_) | SinkKind::Stdout => {}
        }
    }
    found
}

/// Reads every file once.
pub fn look(settings: &Settings, now: i64) -> Vec<Finding> {
    let mut files = files(settings);
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files.dedup_by(|one, other| one.path == other.path);
    files.iter().map(|file| judge(&file.path, file.has_authorities, now)).collect()
}

fn judge(path: &Path, has_authorities: bool, now: i64) -> Finding {
    let about = format!("`{}`", path.display());
    let unusable = |why: String| {
        Finding::failure(
            "certificate",
            about.clone(),
            why,
            "put PEM certificates there that this user may read",
        )
    };
    let read = pem::read(path).map_err(|why| why.to_string());
    let chain = match read.and_then(|bytes| pem::chain(&bytes).map_err(|why| why.to_string())) {
        Ok(chain) => chain,
        Err(why) => return unusable(why),
    };
    let all: Option<Vec<_>> = chain.iter().map(|der| dates(der)).collect();
    // Of a chain every certificate is needed; of authorities any may be.
    let first = all.iter().flatten().min_by_key(|(_, ends)| *ends);
    let last = all.iter().flatten().max_by_key(|(_, ends)| *ends);
    match (first, last) {
        (Some(first), Some(last)) => {
            let is_spare = has_authorities && last.1 > now && last != first;
            validity(&about, *first, now, is_spare)
        }
        _ => unusable("holds something else than X.509".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings::Verdict;
    use super::*;

    #[test]
    fn the_first_of_a_chain_to_end_counts() {
        let make = |years: (i32, i32)| {
            let mut parameters =
                rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("parameters");
            parameters.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(years.1, 1, 1);
            let key = rcgen::KeyPair::generate().expect("a key");
            parameters.self_signed(&key).expect("a certificate").pem()
        };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("chain.pem");
        let (old, new) = (make((2000, 2010)), make((2000, 2090)));
        let now = 1_800_000_000;
        let of = |text: &str, has_authorities| {
            std::fs::write(&path, text).expect("written");
            judge(&path, has_authorities, now).verdict
        };
        assert_eq!(of(&new, false), Verdict::Ok);
        assert_eq!(of(&format!("{new}{old}"), false), Verdict::Failure);
        assert_eq!(of(&format!("{new}{old}"), true), Verdict::Warning);
        assert_eq!(of(&old, true), Verdict::Failure);
        assert_eq!(of("nothing", true), Verdict::Failure);
    }
}
