//! The Merkle tree over the records' exact bytes (RFC 6962 §2.1), as it grows: of what is behind it keeps the roots of
//! whole subtrees, one for each bit of its size.

use tlog_tiles::tlog::{EMPTY_HASH, Hash, node_hash, record_hash};

/// No tree is larger: a million records a second take a hundred thousand years to fill it.
const MOST_RECORDS: u64 = 1 << 62;

/// A tree that only grows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree {
    size: u64,
    /// The roots of its whole subtrees, the largest first.
    edge: Vec<Hash>,
}

impl Tree {
    /// The tree whose edge was written down; `None` where no tree of this size has such an edge.
    pub fn resume(size: u64, edge: Vec<Hash>) -> Option<Self> {
        let fits = size < MOST_RECORDS && edge.len() == usize::try_from(size.count_ones()).ok()?;
        fits.then_some(Self { size, edge })
    }

    /// Adds a record.
    pub fn push(&mut self, record: &[u8]) {
        let mut hash = record_hash(record);
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                hash = node_hash(left, hash);
            }
        }
        self.edge.push(hash);
        // From below the limit nothing that is read or written comes near the end of the type.
        self.size = self.size.saturating_add(1);
    }

    /// How many records it holds.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its whole subtrees, the largest first.
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// Its root.
    pub fn root(&self) -> Hash {
        let mut roots = self.edge.iter().rev().copied();
        let smallest = roots.next().unwrap_or(EMPTY_HASH);
        roots.fold(smallest, |right, left| node_hash(left, right))
    }
}

#[cfg(test)]
mod tests {
    use tlog_tiles::tlog::{Error, HashReader, stored_hashes, tree_hash};

    use super::*;

    struct Stored(Vec<Hash>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
            Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).expect("small")]).collect())
        }
    }

    #[test]
    fn its_roots_are_those_of_a_transparency_log() {
        let (mut tree, mut stored) = (Tree::default(), Stored(Vec::new()));
        assert_eq!(tree.root(), tree_hash(0, &stored).expect("a hash"));
        for number in 0..300u64 {
            let record = format!("record {number}");
            tree.push(record.as_bytes());
            let new = stored_hashes(number, record.as_bytes(), &stored).expect("hashes");
            stored.0.extend(new);
            assert_eq!(tree.root(), tree_hash(number + 1, &stored).expect("a hash"), "{number}");
            let again = Tree::resume(tree.size(), tree.edge().to_vec());
            assert_eq!(again.as_ref(), Some(&tree));
        }
        assert_eq!(Tree::resume(3, tree.edge()[..1].to_vec()), None);
        assert_eq!(Tree::resume(u64::MAX, vec![EMPTY_HASH; 64]), None);
    }
}
