//! What the configuration's files hold, in short: to see that one has changed.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};

use crate::config::{self, Settings};

/// A SHA-256.
pub type Digest = [u8; 32];

/// What the files say, in short. Two that are equal are the same configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The version of the configuration's own file.
    pub version: Option<Box<str>>,
    /// Digests of the files that the configuration in force names.
    pub named: Vec<Option<Digest>>,
}

impl Fingerprint {
    /// What they say now.
    pub fn of(path: &Path, settings: &Settings) -> Self {
        Self { version: config::version_of_file(path), named: digests(settings) }
    }
}

/// What the files that a configuration names hold. To be taken before they are read for use: what changes in between
/// is then found at the next look.
pub fn digests(settings: &Settings) -> Vec<Option<Digest>> {
    let file = |path: &Path| {
        let bytes = std::fs::read(path).ok()?;
        digest(&SHA256, &bytes).as_ref().try_into().ok()
    };
    settings.reloaded_files().map(file).collect()
}
