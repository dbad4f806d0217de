//! TLS of a listener: the handshake, and the files behind it, looked at again and again.
//!
//! Every handshake uses the configuration of that moment; connections that exist keep theirs. Files that can't be used
//! change nothing but the log, a metric and the detail of `/readyz`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::protocols::Stream;
use rustls::ServerConfig;
use rustls::server::ServerConnection;

use super::tls_stream::TlsStream;
use crate::request::certificate::ClientCertificate;
use crate::telemetry::metrics;
use crate::tls::{Built, Certificate, Material, TlsError, TlsSettings};

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How often the files are looked at. Their content counts, not their dates: a Kubernetes secret changes by a link.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A certificate that ends within this many seconds is told of in `/readyz`: 14 days.
const ENDS_SOON: i64 = 14 * 86_400;

/// The TLS of one listener.
pub struct ListenerTls {
    listener: Box<str>,
    settings: TlsSettings,
    config: ArcSwap<ServerConfig>,
    files: Mutex<Files>,
}

/// What is known of the files.
struct Files {
    /// Of the content looked at last, whether it was taken or not; `None` where it could not be read.
    seen: Option<[u8; 32]>,
    /// Why it was not taken.
    problem: Option<String>,
    certificates: Vec<Certificate>,
}

impl ListenerTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// The first of them that can't be used.
    pub fn open(listener: &str, settings: &TlsSettings) -> Result<Self, TlsError> {
        let material = Material::read(settings)?;
        let Built { config, certificates } = material.build(settings)?;
        let files = Files { seen: Some(material.digest()), problem: None, certificates };
        let opened = Self {
            listener: listener.into(),
            settings: settings.clone(),
            config: ArcSwap::new(config),
            files: Mutex::new(files),
        };
        opened.show_ends(&opened.files());
        Ok(opened)
    }

    /// Looks at the files, and takes them for new handshakes where their content has changed and can be used. Waits for
    /// the disk.
    pub fn look_again(&self) {
        let read = Material::read(&self.settings);
        let seen = read.as_ref().ok().map(Material::digest);
        let mut files = self.files();
        let same_fault = files.problem.is_some() && seen.is_none() && files.seen.is_none();
        if (seen.is_some() && seen == files.seen) || same_fault {
            return;
        }
        files.seen = seen;
        let (listener, result) = (&self.listener, read.and_then(|material| material.build(&self.settings)));
        let count = |result: &str| {
            metrics().tls_reloads.with_label_values(&[listener.as_ref(), result]).inc();
        };
        match result {
            Ok(built) => {
                self.config.store(built.config);
                files.certificates = built.certificates;
                files.problem = None;
                self.show_ends(&files);
                count("taken");
                tracing::info!(listener = %listener, "the changed certificates are used for new connections");
            }
            Err(error) => {
                count("refused");
                tracing::error!(listener = %listener, %error, "changed certificates can't be used; the last good ones stay");
                files.problem = Some(error.to_string());
            }
        }
    }

    /// What an operator should know of the files now. `now` is in Unix seconds.
    pub fn notices(&self, now: i64) -> Vec<String> {
        let files = self.files();
        let listener = &self.listener;
        let refused = files.problem.iter().map(|problem| {
            format!("listener `{listener}` goes on with its last good certificates: {problem}")
        });
        let times = files.certificates.iter().filter_map(|certificate| {
            let what = if certificate.not_after <= now {
                "has ended"
            } else if certificate.not_before > now {
                "has not begun"
            } else if certificate.not_after - now < ENDS_SOON {
                "ends within 14 days"
            } else {
                return None;
            };
            Some(format!("listener `{listener}`: the certificate `{}` {what}", certificate.file.display()))
        });
        refused.chain(times).collect()
    }

    /// Takes a connection through its handshake; gives the certificate that the client showed. `None` where it fails.
    pub(super) async fn accept(&self, stream: Stream) -> Option<(Stream, Option<Arc<ClientCertificate>>)> {
        let acceptor = tokio_rustls::TlsAcceptor::from(self.config.load_full());
        let stream = match tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.failed(failure(&error)),
            Err(_) => return self.failed("timeout"),
        };
        match client_certificate(stream.get_ref().1) {
            Ok(certificate) => Some((Box::new(TlsStream::new(stream)), certificate)),
            // What can't be read can't be judged.
            Err(Unreadable) => self.failed("certificate_unreadable"),
        }
    }

    fn failed<T>(&self, reason: &str) -> Option<T> {
        metrics().tls_failures.with_label_values(&[self.listener.as_ref(), reason]).inc();
        tracing::debug!(listener = %self.listener, reason, "a TLS handshake failed");
        None
    }

    fn show_ends(&self, files: &Files) {
        for certificate in &files.certificates {
            let file = certificate.file.display().to_string();
            metrics()
                .certificate_ends_at
                .with_label_values(&[self.listener.as_ref(), file.as_str()])
                .set(certificate.not_after);
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the files of every listener, for ever; drop the future to stop.
pub async fn keep_fresh(listeners: Vec<Arc<ListenerTls>>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for listener in &listeners {
            let listener = Arc::clone(listener);
            // A disk that hangs must not hold up what else runs here.
            let _ = tokio::task::spawn_blocking(move || listener.look_again()).await;
        }
    }
}

struct Unreadable;

fn client_certificate(session: &ServerConnection) -> Result<Option<Arc<ClientCertificate>>, Unreadable> {
    match session.peer_certificates().and_then(|chain| chain.first()) {
        None => Ok(None),
        Some(own) => ClientCertificate::from_der(own).map(|read| Some(Arc::new(read))).ok_or(Unreadable),
    }
}

/// Why a handshake failed, in a word of a closed list.
fn failure(error: &std::io::Error) -> &'static str {
    use rustls::{Error, PeerIncompatible, PeerMisbehaved};
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return "closed";
    };
    match error {
        Error::NoCertificatesPresented => "no_client_certificate",
        Error::InvalidCertificate(_) => "bad_client_certificate",
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => "old_version",
        Error::PeerIncompatible(_) => "nothing_in_common",
        Error::NoApplicationProtocol => "no_common_protocol",
        Error::AlertReceived(_) => "refused_by_client",
        Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCertCompression) => "other",
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::PeerMisbehaved(_) => "not_tls",
        _ => "other",
    }
}
