//! The master key behind the pseudonyms: named in the configuration, or made beside the journal on first start. And the
//! first pseudonyms: for good, or of the epoch that runs.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{StartError, secret_file};
use crate::audit::pseudonym::{InForce, Pseudonyms};
use crate::audit::pseudonym_keys::KeyFiles;
use crate::config::settings::AuditSettings;
use crate::enforce::ports::PseudonymKeys as _;

/// Reads the key behind the pseudonyms, or makes one beside the journal on first start; the same for the epoch that runs.
pub fn pseudonyms(
    settings: &AuditSettings,
    records_exist: bool,
) -> Result<(Arc<InForce>, KeyFiles), StartError> {
    let path = settings.pseudonyms.key_file.clone().unwrap_or_else(|| settings.dir.join("pseudonyms.key"));
    let secret = Zeroizing::new(match &settings.pseudonyms.key_file {
        Some(path) => std::fs::read(path).map_err(|error| {
            StartError(format!("the pseudonym key `{}` can't be read: {error}", path.display()))
        })?,
        None => own_key(&path, records_exist)?,
    });
    let own_dir = settings.dir.join("pseudonyms");
    let epochs = settings.pseudonyms.epochs.as_ref();
    let dir = epochs.map(|epochs| epochs.dir.clone().unwrap_or_else(|| own_dir.clone()));
    if dir.as_ref() == Some(&own_dir) {
        secret_file::make_dir(&own_dir).map_err(|error| cannot_make_dir(&own_dir, &error))?;
    }
    let master = secret.trim_ascii_end();
    let too_short = || {
        StartError(format!(
            "the pseudonym key `{}` has fewer than {} bytes; make one with `openssl rand -hex 32`",
            path.display(),
            Pseudonyms::MIN_KEY_BYTES
        ))
    };
    let keys = KeyFiles::new(master, dir.as_deref().zip(epochs.map(|epochs| epochs.days)));
    let keys = keys.ok_or_else(too_short)?;
    let pseudonyms = match keys.epoch_at(Timestamp::now()) {
        None => Pseudonyms::new(master).ok_or_else(too_short)?,
        Some(epoch) => keys.open_epoch(epoch).map_err(|error| {
            let shown = dir.unwrap_or_default();
            StartError(format!(
                "{error}; look at `{}`: the gateway's user must be able to write there, and `{}` must be the master key \
                 that its keys were sealed under",
                shown.display(),
                path.display()
            ))
        })?,
    };
    Ok((Arc::new(InForce::new(pseudonyms)), keys))
}

fn cannot_make_dir(dir: &Path, error: &std::io::Error) -> StartError {
    StartError(format!("the directory of pseudonyms' keys `{}` can't be made: {error}", dir.display()))
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::checkpoint_key::open_journal;
    use super::*;
    use crate::audit::pseudonym::{Kind, Named};
    use crate::config::settings::{EpochSettings, PseudonymSettings};
    use crate::enforce::Gate;
    use crate::enforce::pseudonyms::{Doomed, Operator};
    use crate::state::memory::MemoryState;
    use crate::state::rates::LocalRates;

    struct Trial {
        gate: Gate,
        keys: KeyFiles,
        settings: AuditSettings,
        _dir: tempfile::TempDir,
    }

    fn trial() -> Trial {
        let dir = tempfile::tempdir().expect("a directory");
        let epochs = Some(EpochSettings { days: 7, dir: None });
        let settings = AuditSettings {
            pseudonyms: PseudonymSettings { key_file: None, epochs },
            ..AuditSettings::in_dir(dir.path().join("audit"))
        };
        let journal = open_journal(&settings, "o", false).expect("opens");
        let (names, keys) = pseudonyms(&settings, false).expect("keys");
        let gate = Gate::new(
            Arc::new(MemoryState::new()),
            Arc::new(journal),
            Arc::new(LocalRates::default()),
            names,
        );
        Trial { gate, keys, settings, _dir: dir }
    }

    impl Trial {
        fn records(&self, event: &str) -> Vec<Value> {
            let text = std::fs::read_to_string(self.settings.dir.join("audit.jsonl")).expect("readable");
            let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            records.filter(|record| record["event"] == event).collect()
        }

        /// What the patient is called in records now.
        async fn name(&self) -> String {
            let named = Named { kind: Kind::Patient, realm: String::new(), value: "p1".to_owned() };
            let told = self.gate.look_up(&self.keys, named, Operator { uid: 0, reason: "case 1" }).await;
            let known = told.expect("told").known;
            let record = self.records("pseudonym_lookup").pop().expect("on record before the answer");
            let name = record["name"].as_str().expect("a pseudonym").to_owned();
            assert!(known.iter().any(|alias| *alias.pseudonym == *name));
            name
        }
    }

    fn in_days(days: i64) -> Timestamp {
        Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)
    }

    #[tokio::test]
    async fn everybody_is_called_otherwise_when_an_epoch_ends_and_never_as_before_again() {
        let trial = trial();
        let first = trial.name().await;
        assert!(!trial.gate.rotate(&trial.keys, Timestamp::now(), false).await);
        assert_eq!(trial.name().await, first);
        assert!(!trial.gate.rotate(&trial.keys, in_days(7), false).await);
        let second = trial.name().await;
        assert_ne!(second, first);
        // A clock that was set back.
        trial.gate.rotate(&trial.keys, Timestamp::now(), false).await;
        trial.gate.rotate(&trial.keys, in_days(-7), false).await;
        assert_eq!(trial.name().await, second);
        let records = trial.records("pseudonym_epoch");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["result"], "begun");
    }

    #[tokio::test]
    async fn while_the_next_key_can_not_be_made_the_epoch_before_goes_on_and_it_is_told_once() {
        let trial = trial();
        let first = trial.name().await;
        let dir = trial.settings.dir.join("pseudonyms");
        let away = trial.settings.dir.join("away");
        std::fs::rename(&dir, &away).expect("moved");
        assert!(trial.gate.rotate(&trial.keys, in_days(7), false).await);
        assert!(trial.gate.rotate(&trial.keys, in_days(7), true).await);
        std::fs::rename(&away, &dir).expect("moved back");
        assert_eq!(trial.name().await, first);
        let results = || -> Vec<String> {
            let records = trial.records("pseudonym_epoch");
            records.iter().map(|record| record["result"].as_str().expect("a word").to_owned()).collect()
        };
        assert_eq!(results(), ["failed"]);
        // Over by the clock, and records are made with it.
        let begins = trial.keys.epoch_at(Timestamp::now()).expect("an epoch").begins;
        let operator = Operator { uid: 0, reason: "case 1" };
        let shred = || trial.gate.shred(&trial.keys, Doomed::Beginning(begins), operator, in_days(7));
        assert!(shred().await.is_err());
        assert!(!trial.gate.rotate(&trial.keys, in_days(7), true).await);
        assert_eq!(results(), ["failed", "begun"]);
        assert_eq!(shred().await.expect("destroyed").len(), 1);
        assert_ne!(trial.name().await, first);
    }

    #[test]
    fn a_key_of_another_master_is_not_replaced_in_silence() {
        let mut trial = trial();
        let master = trial.settings.dir.join("other");
        std::fs::write(&master, [b'8'; 32]).expect("written");
        trial.settings.pseudonyms.key_file = Some(master);
        let refused = pseudonyms(&trial.settings, true).err().expect("refused").to_string();
        assert!(refused.contains("another master key"), "{refused}");
    }
}
