//! The key behind the pseudonyms: named in the configuration, or made beside the journal on first start.

use std::path::{Path, PathBuf};

use super::{StartError, secret_file};
use crate::audit::pseudonym::Pseudonyms;
use crate::config::settings::AuditSettings;

/// Reads the key behind the pseudonyms, or makes one beside the journal on first start.
pub fn pseudonyms(settings: &AuditSettings, records_exist: bool) -> Result<Pseudonyms, StartError> {
    let secret = match &settings.pseudonym_key_file {
        Some(path) => std::fs::read(path).map_err(|error| {
            StartError(format!("the pseudonym key `{}` can't be read: {error}", path.display()))
        })?,
        None => own_key(&own_key_path(settings), records_exist)?,
    };
    Pseudonyms::new(secret.trim_ascii_end()).ok_or_else(|| {
        let path = settings.pseudonym_key_file.clone().unwrap_or_else(|| own_key_path(settings));
        StartError(format!(
            "the pseudonym key `{}` has fewer than {} bytes; make one with `openssl rand -hex 32`",
            path.display(),
            Pseudonyms::MIN_KEY_BYTES
        ))
    })
}

fn own_key_path(settings: &AuditSettings) -> PathBuf {
    settings.dir.join("pseudonyms.key")
}

fn own_key(path: &Path, records_exist: bool) -> Result<Vec<u8>, StartError> {
    let fail = |error: &dyn std::fmt::Display| {
        StartError(format!("the pseudonym key `{}` can't be made: {error}", path.display()))
    };
    match std::fs::read(path) {
        Ok(secret) => return Ok(secret),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(&error)),
        Err(_) if records_exist => {
            return Err(StartError(format!(
                "the pseudonym key `{}` is gone, though there are records made with it: put it back, or move the records away and begin a new trail",
                path.display()
            )));
        }
        Err(_) => {}
    }
    let text = secret_file::make(path).map_err(|error| fail(&error))?;
    tracing::info!(path = %path.display(), "made a key for pseudonyms; keep it, or the trail can't be matched to persons");
    Ok(text.into_bytes())
}
