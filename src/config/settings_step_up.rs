//! The compiled configuration of those who ask a person for proof elsewhere than in the browser.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::identity::Level;

/// Who asks on a way to step up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskerSettings {
    /// An issuer, on the person's phone (OpenID Connect CIBA Core 1.0).
    Ciba(CibaSettings),
    /// A service that speaks the gateway's own contract.
    Http(HttpAskerSettings),
}

impl AskerSettings {
    /// The file with our secret there.
    pub fn secret_file(&self) -> &Path {
        match self {
            Self::Ciba(ciba) => &ciba.client_secret_file,
            Self::Http(http) => &http.secret_file,
        }
    }
}

/// An issuer that asks on the phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CibaSettings {
    /// The issuer's position in the policy.
    pub issuer: usize,
    /// Our name there.
    pub client_id: Box<str>,
    /// The file with our secret there.
    pub client_secret_file: PathBuf,
    /// What is asked for; `openid` is among it.
    pub scopes: Vec<Box<str>>,
    /// What the phone shows; `{label}` and `{code}` stand for the action's label and the code on the page.
    pub binding_message: Box<str>,
    /// How long one answer of the issuer may take.
    pub timeout: Duration,
}

/// A service that asks by the contract of `docs/step-up-service.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAskerSettings {
    /// The service's base address, without a slash at the end.
    pub url: reqwest::Url,
    /// The file with the secret that we show.
    pub secret_file: PathBuf,
    /// The file with the keys (JWKS, RFC 7517) that its results are signed with.
    pub keys_file: PathBuf,
    /// What its proof is worth.
    pub grants: Level,
    /// How long one answer may take.
    pub timeout: Duration,
}
