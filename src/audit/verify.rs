//! Checks a trail as whoever distrusts its disk would: record by record, in order, with nothing but the operators'
//! public key.

use serde::Deserialize;
use tlog_tiles::tlog::Hash;

use super::frame::{self, Head};
use super::signing::{Trusted, log_name};
use super::tree::Tree;

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its checksum is another's.
    #[error("the record is damaged: its checksum does not fit")]
    Damaged,
    /// It is not what the gateway writes.
    #[error("the record can't be read")]
    Malformed,
    /// A file does not begin as the gateway begins one.
    #[error("the file does not begin with a `segment` record")]
    NoHeader,
    /// A file begins again.
    #[error("a `segment` record stands where none belongs")]
    Misplaced,
    /// Records are missing, doubled or out of order.
    #[error("record {expected} belongs here")]
    WrongNumber {
        /// The number that belongs here.
        expected: u64,
    },
    /// The file before ends otherwise than this one says.
    #[error(
        "the file does not go on where the one before ends: records are missing, or one of both was changed"
    )]
    DoesNotContinue,
    /// Nobody vouches for the signing key.
    #[error("the key that signs from here on was not certified by the key given, or for another log")]
    UnknownSigner,
    /// The signature is not by a certified key, or the checkpoint is of another log.
    #[error("the checkpoint's signature is not by a certified key")]
    UnknownSignature,
    /// What was signed is not what is here.
    #[error(
        "something in the records from {from} on was changed: they are not what this checkpoint was signed for"
    )]
    WrongRoot {
        /// The first record that no earlier checkpoint vouches for.
        from: u64,
    },
    /// What was signed and kept elsewhere is not what is here.
    #[error("the trail is not the one that the kept checkpoint was signed for")]
    NotAsKept,
}

/// What a trail holds that has no fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many records there are.
    pub records: u64,
    /// How many checkpoints vouch for them.
    pub checkpoints: u64,
    /// So many records at the end no checkpoint vouches for yet.
    pub unsealed: u64,
    /// The first record that is there, where it is not the first of the log.
    pub begins_at: Option<u64>,
    /// Whether the gateway was stopped and not started since.
    pub is_ended: bool,
    /// So many times the records before were put aside because they were damaged.
    pub quarantines: u64,
    /// Whether the kept checkpoint was reached; true without one.
    pub is_as_kept: bool,
}

#[derive(Deserialize)]
struct Segment {
    log: String,
    tree_first: u64,
    size: u64,
    edge: Vec<Hash>,
    why: String,
}

#[derive(Deserialize)]
struct Signer {
    key: String,
    certificate: String,
}

#[derive(Deserialize)]
struct Checkpoint {
    note: String,
}

/// A log as far as it was read.
struct Log {
    name: String,
    tree: Tree,
    next: u64,
    signers: Vec<Trusted>,
    /// The first record that no checkpoint vouches for.
    unsealed_from: u64,
}

/// A checkpoint that was kept where nobody who can change the trail can change it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The log's name.
    pub log: String,
    /// How many records it had.
    pub size: u64,
    /// The root of its tree.
    pub root: Hash,
}

impl Kept {
    /// Reads a checkpoint's note. Its signature is not looked at: it counts by where it was kept.
    pub fn read(note: &str) -> Option<Self> {
        let note = signed_note::Note::from_bytes(note.as_bytes()).ok()?;
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).ok()?;
        let log = checkpoint.origin().strip_prefix(&log_name(""))?.to_owned();
        Some(Self { log, size: checkpoint.size(), root: *checkpoint.hash() })
    }
}

/// Goes through a trail.
pub struct Verifier<'k> {
    key: &'k Trusted,
    kept: Option<Kept>,
    log: Option<Log>,
    begins: bool,
    findings: Findings,
}

impl<'k> Verifier<'k> {
    /// Checks with this key, and by a checkpoint that was kept elsewhere.
    pub fn new(key: &'k Trusted, kept: Option<Kept>) -> Self {
        let findings = Findings { is_as_kept: kept.is_none(), ..Findings::default() };
        Self { key, kept, log: None, begins: true, findings }
    }

    /// The next record is the first of a file.
    pub fn next_file(&mut self) {
        self.begins = true;
    }

    /// Checks the next record: a line without its end.
    ///
    /// # Errors
    /// What is wrong with it, or with what came before it.
    pub fn record(&mut self, line: &[u8]) -> Result<(), Fault> {
        if !frame::is_whole(line) {
            return Err(Fault::Damaged);
        }
        let head = Head::read(line).ok_or(Fault::Malformed)?;
        let begins = std::mem::replace(&mut self.begins, false);
        match (begins, head.event) {
            (true, "segment") => self.segment(head.sequence, line)?,
            (true, _) => return Err(Fault::NoHeader),
            (false, "segment") => return Err(Fault::Misplaced),
            (false, _) => {}
        }
        let log = self.log.as_mut().ok_or(Fault::NoHeader)?;
        if head.sequence != log.next {
            return Err(Fault::WrongNumber { expected: log.next });
        }
        match head.event {
            "signer" => {
                let signer: Signer = serde_json::from_slice(line).map_err(|_| Fault::Malformed)?;
                let certified = self.key.certified(&signer.certificate, &signer.key, &log.name);
                log.signers.push(certified.ok_or(Fault::UnknownSigner)?);
            }
            "checkpoint" => {
                let Checkpoint { note } = serde_json::from_slice(line).map_err(|_| Fault::Malformed)?;
                let signed = log.signers.iter().rev().find_map(|signer| signer.checkpoint(&note, &log.name));
                if signed.ok_or(Fault::UnknownSignature)? != (log.tree.size(), log.tree.root()) {
                    return Err(Fault::WrongRoot { from: log.unsealed_from });
                }
                log.unsealed_from = head.sequence;
                self.findings.checkpoints += 1;
                self.findings.unsealed = 0;
            }
            _ => {}
        }
        // A checkpoint vouches for what is before it; the next one for it.
        if head.event != "checkpoint" {
            self.findings.unsealed += 1;
        }
        match head.event {
            "started" => self.findings.is_ended = false,
            // What still ran is recorded after it.
            "stopping" => self.findings.is_ended = true,
            _ => {}
        }
        log.tree.push(line);
        log.next += 1;
        self.findings.records += 1;
        match &self.kept {
            Some(kept) if kept.size == log.tree.size() && kept.log == log.name => {
                if log.tree.root() != kept.root {
                    return Err(Fault::NotAsKept);
                }
                self.findings.is_as_kept = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn segment(&mut self, sequence: u64, line: &[u8]) -> Result<(), Fault> {
        let segment: Segment = serde_json::from_slice(line).map_err(|_| Fault::Malformed)?;
        match &mut self.log {
            Some(log) if log.name == segment.log => {
                let goes_on = segment.size == log.tree.size() && segment.edge == log.tree.edge();
                return if goes_on { Ok(()) } else { Err(Fault::DoesNotContinue) };
            }
            Some(_) if segment.why == "quarantined" && segment.size == 0 => self.findings.quarantines += 1,
            Some(_) => return Err(Fault::DoesNotContinue),
            None if segment.size > 0 || segment.why == "quarantined" => {
                self.findings.begins_at = Some(sequence);
            }
            None => {}
        }
        let tree = Tree::resume(segment.size, segment.edge).ok_or(Fault::Malformed)?;
        if segment.tree_first.checked_add(segment.size) != Some(sequence) {
            return Err(Fault::Malformed);
        }
        self.log = Some(Log {
            name: segment.log,
            tree,
            next: sequence,
            signers: Vec::new(),
            unsealed_from: sequence,
        });
        Ok(())
    }

    /// What there is, where nothing was wrong.
    pub fn finish(self) -> Findings {
        self.findings
    }
}
