//! One record, proven to others who have nothing else of the trail (RFC 6962 §2.1.1).

use serde::{Deserialize, Serialize};
use tlog_tiles::tlog::{
    Error, Hash, HashReader, check_record, prove_record, record_hash, stored_hash_count, stored_hash_index,
    stored_hashes_for_record_hash,
};

use super::signing::Trusted;
use super::tree::Tree;

/// A record with what proves that it stands in a log.
#[derive(Debug, Serialize, Deserialize)]
pub struct Proof {
    /// The record, in the bytes that were hashed.
    pub record: String,
    /// The log's name.
    pub log: String,
    /// Its place there, from 0.
    pub index: u64,
    /// The way from it to the root, in base64.
    pub path: Vec<String>,
    /// The checkpoint that vouches for it.
    pub checkpoint: String,
    /// The key that signed that.
    pub signer: String,
    /// The note by which the operators' key vouches for that key.
    pub certificate: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// Nobody vouches for the key.
    #[error("the key that signed the checkpoint was not certified by the key given, or for another log")]
    Signer,
    /// It did not sign this.
    #[error("the checkpoint was not signed by that key, or is another log's")]
    Checkpoint,
    /// The record is not in what was signed.
    #[error("the record is not the one that the checkpoint vouches for")]
    Record,
}

impl Proof {
    /// Checks it with nothing but the operators' public key.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, key: &Trusted) -> Result<(), Unproven> {
        let signer = key.certified(&self.certificate, &self.signer, &self.log).ok_or(Unproven::Signer)?;
        let (size, root) = signer.checkpoint(&self.checkpoint, &self.log).ok_or(Unproven::Checkpoint)?;
        let path: Result<Vec<Hash>, _> = self.path.iter().map(|hash| Hash::parse_hash(hash)).collect();
        let path = path.map_err(|_| Unproven::Record)?;
        check_record(&path, size, root, self.index, record_hash(self.record.as_bytes()))
            .map_err(|_| Unproven::Record)
    }
}

/// The hashes of a tree, in the order of the library's numbers. Of what is not here it needs only the roots of whole subtrees:
/// no way from a later record to the root has any other hash of theirs.
#[derive(Debug, Default)]
pub struct Hashes {
    /// The roots of the subtrees before the first record that is here, with their numbers.
    before: Vec<(u64, Hash)>,
    /// The number of the first of the others.
    first: u64,
    all: Vec<Hash>,
    tree: Tree,
}

impl HashReader for Hashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let hash = |index: &u64| match index.checked_sub(self.first) {
            Some(index) => self.all.get(usize::try_from(index).ok()?).copied(),
            None => self.before.iter().find(|(number, _)| number == index).map(|(_, hash)| *hash),
        };
        indexes.iter().map(|index| hash(index).ok_or(Error::IndexesNotInTree)).collect()
    }
}

impl Hashes {
    /// Of a tree that began elsewhere.
    pub fn resume(tree: Tree) -> Self {
        let (mut before, mut from) = (Vec::new(), 0);
        // The bits of its size, the highest first, are its whole subtrees, each beginning where the one before ends.
        let levels = (0..u64::BITS).rev().filter(|level| tree.size() >> level & 1 == 1);
        for (level, root) in levels.zip(tree.edge()) {
            before.push((stored_hash_index(level as u8, from >> level), *root));
            from += 1 << level;
        }
        Self { before, first: stored_hash_count(tree.size()), all: Vec::new(), tree }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Never, as long as what was added before is whole.
    pub fn push(&mut self, record: &[u8]) -> Result<(), Error> {
        let new = stored_hashes_for_record_hash(self.tree.size(), record_hash(record), self)?;
        self.all.extend(new);
        self.tree.push(record);
        debug_assert_eq!(
            stored_hash_count(self.tree.size()),
            self.first + self.all.len() as u64,
            "each hash has its place"
        );
        Ok(())
    }

    /// The tree over all of them.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The way from a record to the root of the tree of all of them.
    ///
    /// # Errors
    /// There is no such record.
    pub fn path(&self, index: u64) -> Result<Vec<String>, Error> {
        Ok(prove_record(self.tree.size(), index, self)?.iter().map(Hash::to_string).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::signing::Key;

    #[test]
    fn a_proof_proves_its_record_and_no_other() {
        let (kept, boot) = (Key::kept(&[1; 32]).expect("a key"), Key::boot(&[2; 32]).expect("a key"));
        let trusted = Trusted::read(kept.public()).expect("a key");
        let mut hashes = Hashes::default();
        let mut tree = Tree::default();
        for number in 0..100 {
            hashes.push(format!("record {number}").as_bytes()).expect("hashed");
            tree.push(format!("record {number}").as_bytes());
        }
        let proof = |index: u64| Proof {
            record: format!("record {index}"),
            log: "a1".to_owned(),
            index,
            path: hashes.path(index).expect("a path"),
            checkpoint: boot.checkpoint("a1", 100, tree.root()).expect("signed"),
            signer: boot.public().to_owned(),
            certificate: kept.certify(boot.public(), "a1", &Tree::default()).expect("signed"),
        };
        for index in 0..100 {
            assert_eq!(proof(index).check(&trusted), Ok(()), "{index}");
            let other = (index + 1) % 100;
            for index in [other, 100, u64::MAX] {
                assert_eq!(Proof { index, ..proof(other) }.check(&trusted).is_ok(), index == other);
            }
            assert_eq!(Proof { index: other, ..proof(index) }.check(&trusted), Err(Unproven::Record));
            let record = "record x".to_owned();
            assert_eq!(Proof { record, ..proof(index) }.check(&trusted), Err(Unproven::Record));
        }
        assert_eq!(Proof { log: "a2".to_owned(), ..proof(1) }.check(&trusted), Err(Unproven::Signer));
        let checkpoint = kept.checkpoint("a1", 100, tree.root()).expect("signed");
        assert_eq!(Proof { checkpoint, ..proof(1) }.check(&trusted), Err(Unproven::Checkpoint));
    }

    #[test]
    fn what_is_proven_behind_records_that_are_gone_is_the_same() {
        for gone in 0..70 {
            let (mut all, mut before) = (Hashes::default(), Tree::default());
            (0..gone).for_each(|number: u64| before.push(format!("record {number}").as_bytes()));
            let mut rest = Hashes::resume(before);
            for number in 0..100_u64 {
                let record = format!("record {number}");
                all.push(record.as_bytes()).expect("hashed");
                if number >= gone {
                    rest.push(record.as_bytes()).expect("hashed");
                }
            }
            assert_eq!(rest.tree().root(), all.tree().root());
            for index in gone..100 {
                assert_eq!(
                    rest.path(index).expect("a path"),
                    all.path(index).expect("a path"),
                    "{gone} {index}"
                );
            }
        }
    }
}
