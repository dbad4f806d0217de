//! The certificates towards one upstream: whom the gateway believes, and who it says it is.

use std::path::Path;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use pingora::protocols::tls::CaType;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

use crate::config::settings::UpstreamTlsSettings;
use crate::telemetry::metrics;
use crate::tls::pem;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is in the files now.
pub struct Material {
    /// Who may vouch for the upstream; `None` is the system's list.
    pub authorities: Option<Arc<CaType>>,
    /// The gateway's own certificate and key.
    pub client: Option<Arc<CertKey>>,
    /// A number that another content of the files does not have: Pingora's own key of a connection leaves the
    /// authorities out, so that a connection checked against others would be used again.
    pub digest: u64,
}

/// The files of one upstream and what was last read of them.
pub struct Tls {
    upstream: Box<str>,
    settings: UpstreamTlsSettings,
    material: ArcSwap<Material>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One can't be read or used; the text names it.
    pub fn new(upstream: &str, settings: UpstreamTlsSettings) -> Result<Self, String> {
        let material = read(&settings)?;
        Ok(Self { upstream: upstream.into(), settings, material: ArcSwap::from_pointee(material) })
    }

    /// The settings.
    pub fn settings(&self) -> &UpstreamTlsSettings {
        &self.settings
    }

    /// What is in the files now.
    pub fn material(&self) -> arc_swap::Guard<Arc<Material>> {
        self.material.load()
    }

    /// Reads the files again; what can't be used changes nothing. Says whether there was something new.
    fn look(&self) -> Result<bool, String> {
        let found = read(&self.settings)?;
        if found.digest == self.material.load().digest {
            return Ok(false);
        }
        self.material.store(Arc::new(found));
        Ok(true)
    }
}

/// Reads the files again and again for as long as they are used: certificates are renewed while the gateway runs.
pub async fn keep_fresh(tls: Weak<Tls>) {
    let mut failing: Option<String> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(tls) = tls.upgrade() else { return };
        let upstream = tls.upstream.clone();
        let looked = tokio::task::spawn_blocking(move || tls.look()).await;
        let Ok(looked) = looked else { continue };
        let count = |result: &str| {
            metrics().upstream_certificates.with_label_values(&[upstream.as_ref(), result]).inc()
        };
        match looked {
            Ok(true) => {
                count("renewed");
                tracing::info!(%upstream, "the certificates towards the upstream were renewed");
                failing = None;
            }
            Ok(false) => failing = None,
            Err(problem) => {
                count("failed");
                if failing.as_ref() != Some(&problem) {
                    tracing::warn!(%upstream, %problem, "the certificates towards the upstream can't be renewed; the last good ones go on");
                }
                failing = Some(problem);
            }
        }
    }
}

fn read(settings: &UpstreamTlsSettings) -> Result<Material, String> {
    let bytes =
        |path: &Path| pem::read(path).map_err(|unreadable| format!("`{}` {unreadable}", path.display()));
    let told = |path: &Path, fault: pem::Fault| format!("`{}` {fault}", path.display());
    let mut digest = Context::new(&SHA256);
    let mut take = |bytes: &[u8]| {
        digest.update(&bytes.len().to_be_bytes());
        digest.update(bytes);
    };
    let authorities = match &settings.ca_file {
        None => None,
        Some(path) => {
            let bundle = bytes(path)?;
            take(&bundle);
            let found = pem::authorities(&bundle).map_err(|fault| told(path, fault))?;
            let wrapped: Result<Vec<_>, _> = found.iter().map(|certificate| wrap(certificate)).collect();
            Some(Arc::from(wrapped.map_err(|fault| told(path, fault))?))
        }
    };
    let client = match &settings.client {
        None => None,
        Some((chain_path, key_path)) => {
            let (chain_pem, key_pem) = (bytes(chain_path)?, bytes(key_path)?);
            take(&chain_pem);
            take(&key_pem);
            let identity = pem::identity(&chain_pem, &key_pem)
                .map_err(|fault| format!("`{}` or `{}` {fault}", chain_path.display(), key_path.display()))?;
            for certificate in &identity.chain {
                wrap(certificate).map_err(|fault| told(chain_path, fault))?;
            }
            let chain = identity.chain.iter().map(|certificate| certificate.to_vec()).collect();
            Some(Arc::new(CertKey::new(chain, identity.key.secret_der().to_vec())))
        }
    };
    let digest =
        digest.finish().as_ref().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte));
    Ok(Material { authorities, client, digest })
}

/// Makes a certificate into the form that Pingora keeps, whose parser panics where rustls' own did not complain.
fn wrap(certificate: &[u8]) -> Result<WrappedX509, pem::Fault> {
    std::panic::catch_unwind(|| WrappedX509::new(certificate.to_vec(), parse_x509))
        .map_err(|_| pem::Fault::BrokenCertificate)
}
