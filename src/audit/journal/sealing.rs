//! What vouches for records: the tree over them as it grows, and checkpoints of it.

use std::time::{Duration, Instant};

use tlog_tiles::tlog::Hash;
use zeroize::Zeroizing;

use crate::audit::event::{Event, Quarantined, SegmentEvent};
use crate::audit::signing::Key;
use crate::audit::tree::Tree;

/// No record waits longer for a checkpoint that vouches for it.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// So many don't wait that long.
const CHECKPOINT_RECORDS: u64 = 1_000;
/// Where nothing is recorded, a checkpoint says so as often.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// A log: what one tree is over.
pub(super) struct Log {
    /// Its name, which no other has.
    pub(super) name: String,
    /// The number of its first record.
    pub(super) first: u64,
    pub(super) tree: Tree,
}

/// Takes whole lines into a tree; a last one that has no end yet stays.
fn take(lines: &mut Vec<u8>, tree: &mut Tree) {
    let whole = memchr::memrchr(b'\n', lines).map_or(0, |end| end + 1);
    for line in lines.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
        tree.push(line.strip_suffix(b"\n").unwrap_or(line));
    }
    lines.drain(..whole);
}

impl Log {
    /// A new one, which begins with the record of this number.
    pub(super) fn new(first: u64) -> Option<Self> {
        let mut name = [0; 16];
        aws_lc_rs::rand::fill(&mut name).ok()?;
        let name = name.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { name, first, tree: Tree::default() })
    }

    /// Takes lines into the tree that were written before anybody signs.
    pub(super) fn take(&mut self, lines: &mut Vec<u8>) {
        take(lines, &mut self.tree);
    }

    /// The record that begins a file.
    pub(super) fn header<R>(
        &self,
        why: &'static str,
        quarantined: Option<Quarantined<'_>>,
        then: impl FnOnce(&Event<'_>) -> R,
    ) -> R {
        let edge: Vec<String> = self.tree.edge().iter().map(Hash::to_string).collect();
        then(&Event::Segment(SegmentEvent {
            log: &self.name,
            tree_first: self.first,
            size: self.tree.size(),
            edge: &edge,
            why,
            quarantined,
        }))
    }
}

/// Signs checkpoints of a log.
pub(super) struct Sealer {
    pub(super) log: Log,
    /// This process's key, and what vouches for it.
    key: Key,
    certificate: String,
    /// The tree's size at the last checkpoint, with the checkpoint itself.
    sealed: u64,
    sealed_at: Instant,
    /// When the next file could not be begun.
    stuck_since: Option<Instant>,
    /// Lines that wait to be hashed; the last may still be without its end.
    pub(super) lines: Vec<u8>,
}

impl Sealer {
    /// With a new key, for which the operators' key vouches from the log's next record on.
    pub(super) fn new(log: Log, kept: &Key) -> Option<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *secret).ok()?;
        let key = Key::boot(&secret)?;
        let certificate = kept.certify(key.public(), &log.name, &log.tree)?;
        let sealed = log.tree.size();
        Some(Self {
            log,
            key,
            certificate,
            sealed,
            sealed_at: Instant::now(),
            stuck_since: None,
            lines: Vec::new(),
        })
    }

    /// The record that says who signs.
    pub(super) fn signer(&self) -> Event<'_> {
        Event::Signer { key: self.key.public(), certificate: &self.certificate }
    }

    /// Takes the lines that wait into the tree.
    pub(super) fn hash(&mut self) {
        take(&mut self.lines, &mut self.log.tree);
    }

    /// Whether the next file may be begun, after an attempt that failed.
    pub(super) fn may_rotate(&self) -> bool {
        self.stuck_since.is_none_or(|since| since.elapsed() >= CHECKPOINT_EVERY)
    }

    pub(super) fn wait_to_rotate(&mut self) {
        self.stuck_since = Some(Instant::now());
    }

    /// Whether a checkpoint is due.
    pub(super) fn is_due(&self) -> bool {
        let new = self.log.tree.size().saturating_sub(self.sealed);
        let waited = self.sealed_at.elapsed();
        new >= CHECKPOINT_RECORDS || (new > 0 && waited >= CHECKPOINT_EVERY) || waited >= HEARTBEAT
    }

    /// Whether records wait for a checkpoint.
    pub(super) fn has_unsealed(&self) -> bool {
        self.log.tree.size() > self.sealed
    }

    /// A checkpoint of all that is in the tree. It becomes a record of its own.
    pub(super) fn checkpoint(&mut self) -> Option<String> {
        let tree = &self.log.tree;
        let note = self.key.checkpoint(&self.log.name, tree.size(), tree.root())?;
        self.sealed = tree.size() + 1;
        self.sealed_at = Instant::now();
        Some(note)
    }
}
