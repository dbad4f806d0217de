//! The file: its tables, and what one commit does to them.
//!
//! Names are kept as digests only. Times are Unix milliseconds of this machine's clock.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, StorageError,
    Table, TableDefinition, WriteTransaction,
};

use super::EmbeddedLimits;
use super::opening::{OpenError, create, open};
use crate::state::expiring::Key;

/// The file's name in the store's directory.
pub(super) const NAME: &str = "state.redb";
/// The layout below; a program that finds another leaves the file alone.
pub(super) const LAYOUT: i64 = 1;
/// So many ended entries are removed at a time, so that nobody waits long behind it.
const PRUNED_AT_ONCE: usize = 1_000;

pub(super) type Name = [u8; 32];

pub(super) const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");
/// When each spent proof may be forgotten.
pub(super) const PROOFS: TableDefinition<'_, &Name, i64> = TableDefinition::new("proofs");
/// The moment before which tokens of a name are refused, and when that may be forgotten.
pub(super) const REVOKED: TableDefinition<'_, &Name, (i64, i64)> = TableDefinition::new("revoked");
/// When sealed bytes end, and the bytes.
pub(super) const SEALED: TableDefinition<'_, &Name, (i64, &[u8])> = TableDefinition::new("sealed");
/// Every entry of the three by its end.
pub(super) const ENDS: TableDefinition<'_, (i64, u8, &Name), ()> = TableDefinition::new("ends");

const PROOF: u8 = 0;
const REVOCATION: u8 = 1;
const SEALED_BYTES: u8 = 2;

/// What is asked of the file.
#[derive(Debug)]
pub(super) enum Change {
    /// Spends a proof; kept for so many milliseconds.
    Consume(Key, i64),
    /// Revokes a name before a moment (Unix seconds).
    Revoke(Key, i64, i64),
    /// Keeps bytes.
    Seal(Key, Vec<u8>, i64),
    /// Keeps bytes, unless others are there, and gives those that are there then.
    Hold(Key, Vec<u8>, i64),
    /// Takes bytes out.
    Unseal(Key),
    /// Reads bytes.
    Peek(Key),
}

/// What became of it, once it is durable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    Stored,
    Already,
    Absent,
    Taken(Vec<u8>),
    Full,
    Failed,
}

/// The open file.
pub(super) struct StateFile {
    database: Database,
    limits: EmbeddedLimits,
    /// Proofs up to this moment (Unix seconds) may have been spent before the file began.
    pub(super) epoch: i64,
    sealed_bytes: usize,
}

/// A revocation as it was found in the file: its name, the moment, and how many milliseconds it still counts.
pub(super) type Revocation = (Key, i64, i64);

impl StateFile {
    /// Opens the file in `dir`, or makes it: then its epoch begins now.
    pub(super) fn open(dir: &Path, limits: EmbeddedLimits, now: i64) -> Result<Self, OpenError> {
        let path = dir.join(NAME);
        let unusable = |error: &dyn std::fmt::Display| OpenError::Unusable {
            path: path.clone(),
            error: error.to_string(),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| unusable(&error))?;
        let exists = path.try_exists().map_err(|error| unusable(&error))?;
        let database = if exists { open(&path)? } else { create(dir, &path, now)? };
        Self::check(database, &path, limits)
    }

    /// Opens the file that was in use before. One that is missing is not made anew, and another one not taken: what was
    /// spent and revoked until now would be forgotten by a gateway that does not know it.
    pub(super) fn open_again(dir: &Path, limits: EmbeddedLimits, epoch: i64) -> Result<Self, OpenError> {
        let path = dir.join(NAME);
        if !path.try_exists().unwrap_or(true) {
            return Err(OpenError::Gone(path));
        }
        let file = Self::check(open(&path)?, &path, limits)?;
        if file.epoch == epoch { Ok(file) } else { Err(OpenError::Gone(path)) }
    }

    /// Whether it is what this program wrote.
    fn check(database: Database, path: &Path, limits: EmbeddedLimits) -> Result<Self, OpenError> {
        let unusable = |error: &dyn std::fmt::Display| OpenError::Unusable {
            path: path.to_owned(),
            error: error.to_string(),
        };
        let read = database.begin_read().map_err(|error| unusable(&error))?;
        let damaged = |error: &dyn std::fmt::Display| OpenError::Damaged {
            path: path.to_owned(),
            error: error.to_string(),
        };
        let meta = read.open_table(META).map_err(|error| damaged(&error))?;
        let of = |key| -> Result<Option<i64>, OpenError> {
            Ok(meta.get(key).map_err(|error| damaged(&error))?.map(|value| value.value()))
        };
        if of("layout")? != Some(LAYOUT) {
            return Err(damaged(&"its layout is another"));
        }
        let epoch = of("epoch")?.ok_or_else(|| damaged(&"it does not say when it began"))?;
        let mut sealed_bytes = 0;
        let sealed = read.open_table(SEALED).map_err(|error| damaged(&error))?;
        for entry in sealed.iter().map_err(|error| damaged(&error))? {
            sealed_bytes += entry.map_err(|error| damaged(&error))?.1.value().1.len();
        }
        drop((meta, sealed, read));
        Ok(Self { database, limits, epoch, sealed_bytes })
    }

    /// Every revocation that still counts.
    pub(super) fn revocations(&self, now: i64) -> Result<Vec<Revocation>, redb::Error> {
        let table = self.database.begin_read()?.open_table(REVOKED)?;
        let mut found = Vec::new();
        for entry in table.iter()? {
            let (name, value) = entry?;
            let (moment, ends) = value.value();
            if ends > now {
                found.push((Key::from_digest(*name.value()), moment, ends - now));
            }
        }
        Ok(found)
    }

    /// Carries out the changes in one commit: once this returns, all of them outlast a crash.
    pub(super) fn commit(&mut self, changes: Vec<Change>, now: i64) -> Result<Vec<Done>, redb::Error> {
        if changes.iter().all(|change| matches!(change, Change::Peek(_))) {
            // Nothing to make durable, so nobody waits for the disk.
            let sealed = self.database.begin_read()?.open_table(SEALED)?;
            let looks = changes.iter().map(|change| match change {
                Change::Peek(key) => peek(&sealed, key.digest(), now),
                _ => Ok(Done::Failed),
            });
            return Ok(looks.collect::<Result<_, _>>()?);
        }
        let transaction = self.begin()?;
        let (done, sealed_bytes) = {
            let mut tables = Tables::open(&transaction, self.limits, self.sealed_bytes)?;
            let done: Result<Vec<Done>, StorageError> =
                changes.into_iter().map(|change| tables.apply(change, now)).collect();
            (done?, tables.sealed_bytes)
        };
        transaction.commit()?;
        self.sealed_bytes = sealed_bytes;
        Ok(done)
    }

    /// Removes some of what has ended; says whether there is more.
    pub(super) fn prune(&mut self, now: i64) -> Result<bool, redb::Error> {
        let is_due = {
            let table = self.database.begin_read()?.open_table(ENDS)?;
            table.first()?.is_some_and(|(key, _)| key.value().0 <= now)
        };
        if !is_due {
            return Ok(false);
        }
        let transaction = self.begin()?;
        let (pruned, sealed_bytes) = {
            let mut tables = Tables::open(&transaction, self.limits, self.sealed_bytes)?;
            (tables.prune(now)?, tables.sealed_bytes)
        };
        transaction.commit()?;
        self.sealed_bytes = sealed_bytes;
        Ok(pruned == PRUNED_AT_ONCE)
    }

    #[cfg(test)]
    pub(super) fn lengths(&self) -> [u64; 4] {
        let read = self.database.begin_read().expect("readable");
        [
            read.open_table(PROOFS).and_then(|table| Ok(table.len()?)).expect("length"),
            read.open_table(REVOKED).and_then(|table| Ok(table.len()?)).expect("length"),
            read.open_table(SEALED).and_then(|table| Ok(table.len()?)).expect("length"),
            read.open_table(ENDS).and_then(|table| Ok(table.len()?)).expect("length"),
        ]
    }

    fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction)
    }
}

/// The tables within one commit.
struct Tables<'t> {
    proofs: Table<'t, &'static Name, i64>,
    revoked: Table<'t, &'static Name, (i64, i64)>,
    sealed: Table<'t, &'static Name, (i64, &'static [u8])>,
    ends: Table<'t, (i64, u8, &'static Name), ()>,
    limits: EmbeddedLimits,
    sealed_bytes: usize,
}

impl<'t> Tables<'t> {
    fn open(
        transaction: &'t WriteTransaction,
        limits: EmbeddedLimits,
        sealed_bytes: usize,
    ) -> Result<Self, redb::Error> {
        Ok(Self {
            proofs: transaction.open_table(PROOFS)?,
            revoked: transaction.open_table(REVOKED)?,
            sealed: transaction.open_table(SEALED)?,
            ends: transaction.open_table(ENDS)?,
            limits,
            sealed_bytes,
        })
    }

    fn apply(&mut self, change: Change, now: i64) -> Result<Done, StorageError> {
        match change {
            Change::Consume(key, keep) => self.consume(key.digest(), now, now.saturating_add(keep)),
            Change::Revoke(key, moment, keep) => {
                self.revoke(key.digest(), moment, now, now.saturating_add(keep))
            }
            Change::Seal(key, bytes, keep) => self.seal(key.digest(), &bytes, now, now.saturating_add(keep)),
            Change::Hold(key, bytes, keep) => self.hold(key.digest(), bytes, now, now.saturating_add(keep)),
            Change::Unseal(key) => self.unseal(key.digest(), now),
            Change::Peek(key) => peek(&self.sealed, key.digest(), now),
        }
    }

    fn hold(&mut self, name: &Name, bytes: Vec<u8>, now: i64, ends: i64) -> Result<Done, StorageError> {
        let before = self.sealed.get(name)?.map(|kept| (kept.value().0, kept.value().1.to_vec()));
        let ends = match before {
            Some((until, kept)) if until > now && kept != bytes => return Ok(Done::Taken(kept)),
            Some((until, _)) => ends.max(until),
            None => ends,
        };
        Ok(match self.seal(name, &bytes, now, ends)? {
            Done::Stored => Done::Taken(bytes),
            other => other,
        })
    }

    fn consume(&mut self, name: &Name, now: i64, ends: i64) -> Result<Done, StorageError> {
        let before = self.proofs.get(name)?.map(|ends| ends.value());
        match before {
            Some(ends) if ends > now => return Ok(Done::Already),
            Some(ended) => drop(self.ends.remove((ended, PROOF, name))?),
            None if !has_room(self.proofs.len()?, self.limits.proofs) => {
                self.prune(now)?;
                if !has_room(self.proofs.len()?, self.limits.proofs) {
                    return Ok(Done::Full);
                }
            }
            None => {}
        }
        self.proofs.insert(name, ends)?;
        self.ends.insert((ends, PROOF, name), ())?;
        Ok(Done::Stored)
    }

    fn revoke(&mut self, name: &Name, moment: i64, now: i64, ends: i64) -> Result<Done, StorageError> {
        let before = self.revoked.get(name)?.map(|before| before.value());
        let (mut latest, mut longest) = (moment, ends);
        if let Some((old_moment, old_ends)) = before {
            self.ends.remove((old_ends, REVOCATION, name))?;
            if old_ends > now {
                // Neither an earlier moment nor a shorter memory undoes what was revoked before.
                (latest, longest) = (latest.max(old_moment), longest.max(old_ends));
            }
        } else if !has_room(self.revoked.len()?, self.limits.revocations) {
            self.prune(now)?;
            if !has_room(self.revoked.len()?, self.limits.revocations) {
                return Ok(Done::Full);
            }
        }
        self.revoked.insert(name, (latest, longest))?;
        self.ends.insert((longest, REVOCATION, name), ())?;
        Ok(Done::Stored)
    }

    fn seal(&mut self, name: &Name, bytes: &[u8], now: i64, ends: i64) -> Result<Done, StorageError> {
        let old = self.take(name)?;
        if !self.fits(bytes.len())? {
            self.prune(now)?;
            if !self.fits(bytes.len())? {
                // What is there stays: it may be all that somebody has.
                if let Some((ends, bytes)) = old {
                    self.insert(name, &bytes, ends)?;
                }
                return Ok(Done::Full);
            }
        }
        self.insert(name, bytes, ends)?;
        Ok(Done::Stored)
    }

    fn insert(&mut self, name: &Name, bytes: &[u8], ends: i64) -> Result<(), StorageError> {
        self.sealed.insert(name, (ends, bytes))?;
        self.ends.insert((ends, SEALED_BYTES, name), ())?;
        self.sealed_bytes += bytes.len();
        Ok(())
    }

    fn unseal(&mut self, name: &Name, now: i64) -> Result<Done, StorageError> {
        Ok(match self.take(name)? {
            Some((ends, bytes)) if ends > now => Done::Taken(bytes),
            Some(_) | None => Done::Absent,
        })
    }

    /// Removes sealed bytes, ended or not.
    fn take(&mut self, name: &Name) -> Result<Option<(i64, Vec<u8>)>, StorageError> {
        let taken = self.sealed.remove(name)?.map(|entry| {
            let (ends, bytes) = entry.value();
            (ends, bytes.to_vec())
        });
        if let Some((ends, bytes)) = &taken {
            self.ends.remove((*ends, SEALED_BYTES, name))?;
            self.sealed_bytes = self.sealed_bytes.saturating_sub(bytes.len());
        }
        Ok(taken)
    }

    fn fits(&self, bytes: usize) -> Result<bool, StorageError> {
        let sum = self.sealed_bytes.saturating_add(bytes);
        Ok(has_room(self.sealed.len()?, self.limits.sealed) && sum <= self.limits.sealed_bytes)
    }

    /// Removes what has ended, at most so much at once; says how much.
    fn prune(&mut self, now: i64) -> Result<usize, StorageError> {
        let mut ended = Vec::new();
        for entry in self.ends.iter()?.take(PRUNED_AT_ONCE) {
            let (ends, kind, name) = {
                let (key, _) = entry?;
                let (ends, kind, name) = key.value();
                (ends, kind, *name)
            };
            if ends > now {
                break;
            }
            ended.push((ends, kind, name));
        }
        for (ends, kind, name) in &ended {
            self.ends.remove((*ends, *kind, name))?;
            match *kind {
                PROOF => drop(self.proofs.remove(name)?),
                REVOCATION => drop(self.revoked.remove(name)?),
                _ => drop(self.take(name)?),
            }
        }
        Ok(ended.len())
    }
}

fn peek(
    sealed: &impl ReadableTable<&'static Name, (i64, &'static [u8])>,
    name: &Name,
    now: i64,
) -> Result<Done, StorageError> {
    Ok(match sealed.get(name)?.as_ref().map(|entry| entry.value()) {
        Some((ends, bytes)) if ends > now => Done::Taken(bytes.to_vec()),
        Some(_) | None => Done::Absent,
    })
}

fn has_room(used: u64, most: usize) -> bool {
    used < u64::try_from(most).unwrap_or(u64::MAX)
}
