//! The key that vouches for the audit trail: named in the configuration, or made beside the journal on first start.

use std::path::Path;

use zeroize::Zeroizing;

use super::{StartError, secret_file};
use crate::audit::journal::{self, FileJournal, Retention};
use crate::audit::signing::Key;
use crate::config::settings::AuditSettings;

/// Its public half, in the journal's directory: for people to copy to where nobody can change it.
const PUBLIC: &str = "checkpoints.pub";

/// Reads the key, or makes one.
fn checkpoint_key(settings: &AuditSettings) -> Result<Key, StartError> {
    let own = settings.dir.join("checkpoints.key");
    let path = settings.checkpoint_key_file.as_deref().unwrap_or(&own);
    let fail = |error: &dyn std::fmt::Display| {
        StartError(format!("the key of checkpoints `{}` can't be used: {error}", path.display()))
    };
    let text = Zeroizing::new(match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path == own => {
            if settings.dir.join(PUBLIC).exists() {
                return Err(fail(
                    &"it is not there, and `checkpoints.pub` says that one was: put it back or name it, or move the trail away with `checkpoints.pub`",
                ));
            }
            make(path)?
        }
        Err(error) => return Err(fail(&error)),
    });
    let secret = secret(text.trim())
        .ok_or_else(|| fail(&"it is not 64 hexadecimal digits; make one with `openssl rand -hex 32`"))?;
    Key::kept(&secret).ok_or_else(|| fail(&"it is no key"))
}

/// Opens the journal under the key, which is not kept in memory beyond that.
pub fn open_journal(
    settings: &AuditSettings,
    origin: &str,
    is_successor: bool,
) -> Result<FileJournal, StartError> {
    let key = checkpoint_key(settings)?;
    let options =
        journal::Options { origin, key: &key, most_bytes: journal::MOST_BYTES, reserve: settings.reserve };
    let open = if is_successor { FileJournal::open_beside } else { FileJournal::open };
    let opened = open(&settings.dir, options).map_err(StartError::new)?;
    publish(settings, &key)?;
    if let Some(sink) = &settings.remote_sink {
        opened.wait_for(sink);
    }
    if let Some(keep) = settings.retention {
        let sinks = settings.sinks.iter().map(|sink| sink.name.clone()).collect();
        opened.keep_for(Retention { keep, sinks }, &key).map_err(StartError::new)?;
    }
    Ok(opened)
}

/// Writes the public half where people find it; only whoever holds the journal's lock may.
fn publish(settings: &AuditSettings, key: &Key) -> Result<(), StartError> {
    let public = settings.dir.join(PUBLIC);
    let unfinished = settings.dir.join("checkpoints.pub.unfinished");
    std::fs::write(&unfinished, format!("{}\n", key.public()))
        .and_then(|()| std::fs::rename(&unfinished, &public))
        .map_err(|error| StartError(format!("`{}` can't be written: {error}", public.display())))
}

fn make(path: &Path) -> Result<String, StartError> {
    let fail =
        |error| StartError(format!("the key of checkpoints `{}` can't be made: {error}", path.display()));
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(fail)?;
    let text = secret_file::make(path).map_err(fail)?;
    tracing::info!(path = %path.display(), "made a key that vouches for the audit trail; copy checkpoints.pub to where nobody can change it");
    Ok(text)
}

/// 32 bytes of hexadecimal digits.
fn secret(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut secret = Zeroizing::new([0; 32]);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != secret.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in secret.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert_eq!(secret(&"0f".repeat(32)).as_deref(), Some(&[15; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"0f".repeat(33), &"+f".repeat(32)] {
            assert_eq!(secret(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_that_is_gone_is_not_replaced_in_silence() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = AuditSettings::in_dir(dir.path().join("audit"));
        let open = || open_journal(&settings, "o", false).map(drop);
        open().expect("made");
        let made = std::fs::read(settings.dir.join(PUBLIC)).expect("published");
        open().expect("opens again");
        std::fs::remove_file(settings.dir.join("checkpoints.key")).expect("removed");
        let refused = open().expect_err("refused").to_string();
        assert!(refused.contains("put it back"), "{refused}");
        assert_eq!(std::fs::read(settings.dir.join(PUBLIC)).expect("there"), made);
        std::fs::remove_file(settings.dir.join(PUBLIC)).expect("removed");
        open().expect("whoever moves both away begins anew");
        assert_ne!(std::fs::read(settings.dir.join(PUBLIC)).expect("published"), made);
    }
}
