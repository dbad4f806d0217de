//! The keys of pseudonyms on the disk: a master key, and where they change a directory with one sealed key for each epoch.
//!
//! A key is made when its epoch begins and never again: whoever links its file first has made it for every gateway that
//! shares the directory. To delete the file is to forget for good who is behind the pseudonyms of that epoch.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use zeroize::Zeroizing;

use super::epoch::{self, Epoch, EpochKey, Wrapping};
use super::pseudonym::{Named, Pseudonyms};
use super::receipt::Receipt;
use crate::enforce::ports::{Alias, Aliases, KeysUnavailable, PseudonymKeys};

const SUFFIX: &str = ".key";
/// No sealed key is longer, in bytes.
const MOST_BYTES: u64 = 1_024;

/// The keys.
#[derive(Clone)]
pub struct KeyFiles(Arc<Keys>);

struct Keys {
    /// Those of records from before there were epochs, or where there are none.
    lasting: Pseudonyms,
    epochs: Option<Epochs>,
}

struct Epochs {
    dir: PathBuf,
    days: u16,
    wrapping: Wrapping,
}

impl KeyFiles {
    /// With this master key, and where pseudonyms change a directory and how many days an epoch has. `None` where the
    /// master key is too short.
    pub fn new(master: &[u8], epochs: Option<(&Path, u16)>) -> Option<Self> {
        let epochs = match epochs {
            None => None,
            Some((dir, days)) => Some(Epochs { dir: dir.to_owned(), days, wrapping: Wrapping::new(master)? }),
        };
        Some(Self(Arc::new(Keys { lasting: Pseudonyms::new(master)?, epochs })))
    }

    /// The pseudonyms of an epoch; its key is made where there is none. Waits for the disk.
    ///
    /// # Errors
    /// The key can't be read or made.
    pub fn open_epoch(&self, epoch: Epoch) -> Result<Pseudonyms, KeysUnavailable> {
        let epochs = self.0.epochs()?;
        let fail = |error: &dyn std::fmt::Display| {
            KeysUnavailable(format!(
                "the key of the pseudonyms' epoch {} can't be used: {error}",
                epoch.begins
            ))
        };
        let path = epochs.path(epoch.begins);
        if !path.try_exists().map_err(|error| fail(&error))? {
            epochs.make(epoch).map_err(|error| fail(&error))?;
        }
        let line = read(&path).map_err(|error| fail(&error))?;
        let key = epochs.wrapping.open(epoch.begins, &line).map_err(|error| fail(&error))?;
        Ok(Pseudonyms::of_epoch(epoch, &key))
    }

    async fn waiting<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Keys) -> Result<T, KeysUnavailable> + Send + 'static,
    ) -> Result<T, KeysUnavailable> {
        let keys = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&keys)).await;
        done.unwrap_or_else(|_| {
            Err(KeysUnavailable("the keys of pseudonyms could not be looked at".to_owned()))
        })
    }
}

#[async_trait]
impl PseudonymKeys for KeyFiles {
    fn epoch_at(&self, now: Timestamp) -> Option<Epoch> {
        self.0.epochs.as_ref().map(|epochs| Epoch::at(now, epochs.days))
    }

    async fn open(&self, epoch: Epoch) -> Result<Pseudonyms, KeysUnavailable> {
        let this = self.clone();
        self.waiting(move |_| this.open_epoch(epoch)).await
    }

    async fn aliases(&self, named: Named<String>, _recorded: &Receipt) -> Result<Aliases, KeysUnavailable> {
        self.waiting(move |keys| keys.aliases(&named)).await
    }

    async fn epochs(&self) -> Result<Vec<Epoch>, KeysUnavailable> {
        self.waiting(|keys| {
            let epochs = keys.epochs()?;
            let mut found = Vec::new();
            for begins in epochs.days_there()? {
                let path = epochs.path(begins);
                let claimed = read(&path)
                    .map_err(|error| error.to_string())
                    .and_then(|line| epoch::claimed(begins, &line).map_err(|error| error.to_string()));
                found.push(claimed.map_err(|error| {
                    KeysUnavailable(format!("`{}` can't be read: {error}; move it away", path.display()))
                })?);
            }
            Ok(found)
        })
        .await
    }

    async fn destroy(&self, epoch: Epoch, _recorded: &Receipt) -> Result<(), KeysUnavailable> {
        self.waiting(move |keys| {
            keys.epochs()?.destroy(epoch).map_err(|error| {
                KeysUnavailable(format!("the key of epoch {} can't be destroyed: {error}", epoch.begins))
            })
        })
        .await
    }
}

impl Keys {
    fn epochs(&self) -> Result<&Epochs, KeysUnavailable> {
        let none = "pseudonyms do not change here: there are no epochs without `audit.pseudonyms.rotate`";
        self.epochs.as_ref().ok_or_else(|| KeysUnavailable(none.to_owned()))
    }

    fn aliases(&self, named: &Named<String>) -> Result<Aliases, KeysUnavailable> {
        let Named { kind, realm, value } = named;
        let mut aliases = Aliases::default();
        let mut add = |pseudonyms: &Pseudonyms, epoch| {
            aliases.known.push(Alias { pseudonym: pseudonyms.compute(*kind, realm, value), epoch });
        };
        let mut unreadable = Vec::new();
        if let Some(epochs) = &self.epochs {
            for begins in epochs.days_there()? {
                match read(&epochs.path(begins)).ok().and_then(|line| epochs.open(begins, &line)) {
                    Some((epoch, key)) => add(&Pseudonyms::of_epoch(epoch, &key), Some(epoch)),
                    None => unreadable.push(begins),
                }
            }
        }
        add(&self.lasting, None);
        aliases.unreadable = unreadable;
        Ok(aliases)
    }
}

impl Epochs {
    fn path(&self, begins: Date) -> PathBuf {
        self.dir.join(format!("{}{SUFFIX}", epoch::label(begins)))
    }

    fn open(&self, begins: Date, line: &str) -> Option<(Epoch, EpochKey)> {
        Some((epoch::claimed(begins, line).ok()?, self.wrapping.open(begins, line).ok()?))
    }

    /// The first days of all epochs whose keys are there, the earliest first.
    fn days_there(&self) -> Result<Vec<Date>, KeysUnavailable> {
        let day = |name: &str| {
            let label = name.strip_suffix(SUFFIX)?;
            let day: Date = label.parse().ok()?;
            (epoch::label(day) == label).then_some(day)
        };
        let entries = fs::read_dir(&self.dir)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|error| KeysUnavailable(format!("`{}` can't be read: {error}", self.dir.display())))?;
        let mut days: Vec<Date> =
            entries.iter().filter_map(|entry| day(entry.file_name().to_str()?)).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// Makes the key of an epoch, or takes the one that another gateway has made meanwhile.
    fn make(&self, epoch: Epoch) -> io::Result<()> {
        let no_randomness = || io::Error::other("the system gives no randomness");
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| no_randomness())?;
        let line = self.wrapping.seal(epoch, &key).ok_or_else(no_randomness)?;
        // Under a name of its own first: half a key, or two, would be there for good.
        let unfinished = self.dir.join(format!("{}.{}", epoch.label(), uuid::Uuid::now_v7().simple()));
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished)?;
        let made = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
        let linked = made.and_then(|()| fs::hard_link(&unfinished, self.path(epoch.begins)));
        let removed = fs::remove_file(&unfinished);
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => removed?,
        }
        self.sync()
    }

    /// Overwrites and removes all that there is of an epoch's key.
    fn destroy(&self, epoch: Epoch) -> io::Result<()> {
        let own = format!("{}.", epoch.label());
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| name.starts_with(&own)) {
                continue;
            }
            let mut file = OpenOptions::new().write(true).open(entry.path())?;
            let length = usize::try_from(file.metadata()?.len().min(MOST_BYTES)).unwrap_or(0);
            file.write_all(&vec![0; length])?;
            file.sync_all()?;
            fs::remove_file(entry.path())?;
        }
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::pseudonym::Kind;
    use super::*;

    fn keys(dir: &Path, days: u16) -> KeyFiles {
        KeyFiles::new(&[7; 32], Some((dir, days))).expect("keys")
    }

    fn epoch(keys: &KeyFiles, now: &str) -> Epoch {
        keys.epoch_at(now.parse().expect("a moment")).expect("an epoch")
    }

    fn name(pseudonyms: &Pseudonyms) -> Arc<str> {
        pseudonyms.of(Kind::Patient, "", "p1")
    }

    fn known(keys: &KeyFiles) -> Vec<(Arc<str>, Option<Epoch>)> {
        let named = Named { kind: Kind::Patient, realm: String::new(), value: "p1".to_owned() };
        let aliases = keys.0.aliases(&named).expect("readable");
        assert!(aliases.unreadable.is_empty(), "{:?}", aliases.unreadable);
        aliases.known.into_iter().map(|alias| (alias.pseudonym, alias.epoch)).collect()
    }

    #[test]
    fn gateways_that_share_the_directory_agree_however_they_race() {
        let dir = tempfile::tempdir().expect("a directory");
        let epoch = epoch(&keys(dir.path(), 90), "2026-11-22T10:15:00Z");
        let racers: Vec<_> = (0..16)
            .map(|_| {
                let keys = keys(dir.path(), 90);
                std::thread::spawn(move || name(&keys.open_epoch(epoch).expect("a key")))
            })
            .collect();
        let names: Vec<_> = racers.into_iter().map(|racer| racer.join().expect("a name")).collect();
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn a_destroyed_epoch_can_not_be_computed_and_the_others_can() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = keys(dir.path(), 7);
        let epochs = ["2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z", "2026-11-15T00:00:00Z"]
            .map(|now| epoch(&keys, now));
        let names = epochs.map(|epoch| name(&keys.open_epoch(epoch).expect("a key")));
        let of_all: Vec<_> = known(&keys).into_iter().map(|(name, _)| name).collect();
        assert_eq!(of_all[..3], names);
        // What a gateway that was killed while it made the key has left goes too.
        let path = dir.path().join(format!("{}.0123", epochs[1].label()));
        fs::hard_link(dir.path().join(format!("{}.key", epochs[1].label())), &path).expect("linked");
        let backup = dir.path().join("elsewhere");
        fs::hard_link(&path, &backup).expect("linked");
        keys.0.epochs().expect("epochs").destroy(epochs[1]).expect("destroyed");
        assert!(!path.exists());
        assert!(fs::read(&backup).expect("readable").iter().all(|byte| *byte == 0), "overwritten first");
        let left: Vec<_> = known(&keys).into_iter().map(|(name, _)| name).collect();
        assert_eq!(left.len(), 3);
        assert!(!left.contains(&names[1]) && left.contains(&names[0]) && left.contains(&names[2]));
        // Who has the master key and asks for that epoch again gets another person.
        assert_ne!(name(&keys.open_epoch(epochs[1]).expect("a key")), names[1]);
    }

    #[test]
    fn the_directory_alone_says_nothing_and_another_master_key_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let (own, other) =
            (keys(dir.path(), 90), KeyFiles::new(&[8; 32], Some((dir.path(), 90))).expect("keys"));
        let epoch = epoch(&own, "2026-11-22T10:15:00Z");
        own.open_epoch(epoch).expect("a key");
        let refused = other.open_epoch(epoch).err().expect("refused").to_string();
        assert!(refused.contains("another master key"), "{refused}");
        let named = Named { kind: Kind::Patient, realm: String::new(), value: "p1".to_owned() };
        assert_eq!(other.0.aliases(&named).expect("readable").unreadable, [epoch.begins]);
    }

    #[test]
    fn where_nothing_changes_there_is_one_name_and_nothing_to_destroy() {
        let keys = KeyFiles::new(&[7; 32], None).expect("keys");
        let lasting = Pseudonyms::new(&[7; 32]).expect("a key").of(Kind::Patient, "", "p1");
        assert_eq!(known(&keys), [(lasting, None)]);
        assert!(keys.0.epochs().is_err() && keys.epoch_at(Timestamp::UNIX_EPOCH).is_none());
        assert!(KeyFiles::new(&[7; 31], None).is_none());
    }
}
