//! The compiled configuration of signing in: with whom, at which hosts, for how long, and what the pages look like.

use std::path::PathBuf;
use std::time::Duration;

use crate::identity::Level;

/// How people sign in at one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInSettings {
    /// Our name at the issuer.
    pub client_id: Box<str>,
    /// The file with our secret there.
    pub client_secret_file: PathBuf,
    /// Where people sign in with it.
    pub origins: Vec<Origin>,
    /// What is asked for; `openid` is among it.
    pub scopes: Vec<Box<str>>,
    /// Whether the issuer may end sessions (OpenID Connect Back-Channel Logout 1.0).
    pub backchannel_logout: bool,
    /// Whether several people use one browser, so that each signs in anew.
    pub shared_workstation: bool,
    /// What people call the issuer.
    pub label: Box<str>,
    /// How long its sessions last.
    pub session: SessionLimits,
    /// Whether browsers are recognised in which people have given strong proof.
    pub recognised_device: Option<RecognisedDevice>,
}

impl SignInSettings {
    /// The origin by which people reach a host.
    pub fn origin(&self, host: &str) -> Option<&Origin> {
        self.origins.iter().find(|origin| origin.host.as_ref() == host)
    }
}

/// How browsers are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecognisedDevice {
    /// The least proof for that, given when somebody was signed in already.
    pub after: Level,
    /// For how long.
    pub lasts: Duration,
}

/// Where a browser finds the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The host in lower case.
    pub host: Box<str>,
    /// The whole origin, such as `https://portal.clinic.example`.
    pub text: Box<str>,
}

/// How long a session lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Without a request.
    pub idle: Duration,
    /// At the longest.
    pub absolute: Duration,
}

/// What the gateway's own pages look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagesSettings {
    /// Whose they are.
    pub name: Box<str>,
    /// The colour of buttons and links: `#rrggbb`, dark enough to be read on white.
    pub colour: Box<str>,
    /// A picture for their top.
    pub logo: Option<LogoSettings>,
    /// A host of their own, for those on which a step-up is confirmed.
    pub origin: Option<Origin>,
}

impl Default for PagesSettings {
    fn default() -> Self {
        Self { name: "Sign-in".into(), colour: "#0b5394".into(), logo: None, origin: None }
    }
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoSettings {
    /// Its media type.
    pub media: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}
