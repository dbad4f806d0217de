//! Checks a trail as whoever distrusts its disk would: record by record, in order, with nothing but the operators'
//! public key.

use tlog_tiles::tlog::Hash;

use super::frame::{self, Head};
use super::records::{Checkpoint, MOST_LINE, MOST_SEQUENCE, Retired, Segment, Signer};
use super::signing::{Certified, Trusted, log_name};
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
    /// Something stands behind the last line of a file that was ended.
    #[error("the file was ended with a whole record, and something stands behind its last one")]
    NoEnd,
    /// Nobody vouches for the signing key.
    #[error(
        "the key that signs from here on was not certified by the key given, or for another log, or for other records \
         before this one"
    )]
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
    /// The first record that is there, where it is not the first of the log and no record says why.
    pub begins_at: Option<u64>,
    /// The first record that is there, and when the file before it was retired.
    pub retired: Option<(u64, String)>,
    /// Whether the gateway was stopped and not started since.
    pub is_ended: bool,
    /// Records, from and to, that no checkpoint of the process that wrote them vouches for, but at most that of a later
    /// process: it had to take them as it found them.
    pub unvouched: Vec<(u64, u64)>,
    /// So many times a new log began, as the records before were damaged or missing.
    pub quarantines: u64,
    /// The files that were put aside then.
    pub put_aside: Vec<String>,
    /// Whether the kept checkpoint was reached; true without one.
    pub is_as_kept: bool,
    /// Whether the kept checkpoint is of records before the first one here.
    pub is_kept_older: bool,
}

/// A log as far as it was read.
pub(in crate::audit) struct Log {
    pub(in crate::audit) name: String,
    /// The number of its first record.
    pub(in crate::audit) first: u64,
    pub(in crate::audit) tree: Tree,
    /// The number of the record that comes next.
    pub(in crate::audit) next: u64,
    /// How many records it had before the first that was read.
    begins_at: u64,
    /// Who signs, with what vouches for that.
    signer: Option<(String, Certified)>,
    /// The first record that no checkpoint vouches for.
    unsealed_from: u64,
    /// How many records of others than the journal itself stand there.
    unsealed: u64,
}

impl Log {
    /// Takes in who signs from here on.
    fn sign(&mut self, key: &Trusted, signer: Signer) -> Result<bool, Fault> {
        if self.signer.as_ref().is_some_and(|(certificate, _)| *certificate == signer.certificate) {
            // Said again, at the beginning of a file.
            return Ok(false);
        }
        let certified = key.certified(&signer.certificate, &signer.key, &self.name);
        let certified = certified.ok_or(Fault::UnknownSigner)?;
        let begins_here = (certified.size, certified.root) == (self.tree.size(), self.tree.root());
        // Where what it began behind is not here, the next checkpoint shows whether this is its log.
        let began_before = self.signer.is_none() && certified.size < self.begins_at;
        if !begins_here && !began_before {
            return Err(Fault::UnknownSigner);
        }
        self.signer = Some((signer.certificate, certified));
        Ok(begins_here)
    }

    /// Whether the next checkpoint is by the process that writes from here on, so that what no other vouches for stays
    /// without one of its own: from and to.
    fn left(&mut self) -> Option<(u64, u64)> {
        let left = (self.unsealed > 0).then(|| (self.unsealed_from, self.next.saturating_sub(1)));
        self.unsealed = 0;
        left
    }
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
        // However many line ends its way into a file has added.
        let note = format!("{}\n", note.trim_end_matches(['\n', '\r']));
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
    /// What the log of the first file was before it: its name, its size, its root.
    before: Option<(String, u64, Hash)>,
    findings: Findings,
}

impl<'k> Verifier<'k> {
    /// Checks with this key, and by a checkpoint that was kept elsewhere.
    pub fn new(key: &'k Trusted, kept: Option<Kept>) -> Self {
        let findings = Findings { is_as_kept: kept.is_none(), ..Findings::default() };
        Self { key, kept, log: None, begins: true, before: None, findings }
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
        if line.len() > MOST_LINE || !frame::is_whole(line) {
            return Err(Fault::Damaged);
        }
        let head = Head::read(line).filter(|head| head.sequence < MOST_SEQUENCE).ok_or(Fault::Malformed)?;
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
                let signer = serde_json::from_slice(line).map_err(|_| Fault::Malformed)?;
                if log.sign(self.key, signer)? {
                    self.findings.unvouched.extend(log.left());
                }
            }
            "checkpoint" => {
                let Checkpoint { note } = serde_json::from_slice(line).map_err(|_| Fault::Malformed)?;
                let signed = log.signer.as_ref().and_then(|(_, signer)| signer.checkpoint(&note, &log.name));
                if signed.ok_or(Fault::UnknownSignature)? != (log.tree.size(), log.tree.root()) {
                    return Err(Fault::WrongRoot { from: log.unsealed_from });
                }
                log.unsealed_from = head.sequence;
                log.unsealed = 0;
                self.findings.checkpoints += 1;
                self.findings.unsealed = 0;
            }
            _ => {}
        }
        // A checkpoint vouches for what is before it; the next one for it.
        if head.event != "checkpoint" {
            self.findings.unsealed += 1;
        }
        // Where a file begins, and who signs, proves itself.
        if !matches!(head.event, "checkpoint" | "segment" | "signer") {
            if log.unsealed == 0 {
                log.unsealed_from = head.sequence;
            }
            log.unsealed += 1;
        }
        match head.event {
            "started" => self.findings.is_ended = false,
            // What still ran is recorded after it.
            "stopping" => self.findings.is_ended = true,
            "retired" => {
                let Retired { log, size, root, time } =
                    serde_json::from_slice(line).map_err(|_| Fault::Malformed)?;
                // After a crash in between it is said again.
                if self.before == Some((log, size, root))
                    && let Some(first) = self.findings.begins_at.take()
                {
                    self.findings.retired = Some((first, time));
                }
            }
            _ => {}
        }
        log.tree.push(line);
        log.next = head.sequence + 1;
        self.findings.records += 1;
        self.compare_with_kept()?;
        Ok(())
    }

    /// Compares with the kept checkpoint, where that is of as many records as were read.
    fn compare_with_kept(&mut self) -> Result<(), Fault> {
        match (&self.kept, &self.log) {
            (Some(kept), Some(log)) if kept.size == log.tree.size() && kept.log == log.name => {
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
        let is_quarantine = segment.why == "quarantined";
        match &mut self.log {
            Some(log) if log.name == segment.log => {
                let goes_on = segment.size == log.tree.size() && segment.edge == log.tree.edge();
                return if goes_on { Ok(()) } else { Err(Fault::DoesNotContinue) };
            }
            Some(log) => {
                if !is_quarantine || segment.size > 0 || sequence < log.next {
                    return Err(Fault::DoesNotContinue);
                }
                // No checkpoint will ever come for them.
                self.findings.unvouched.extend(log.left());
                self.findings.unsealed = 0;
            }
            None if segment.size > 0 || is_quarantine => self.findings.begins_at = Some(sequence),
            None => {}
        }
        if is_quarantine && segment.size == 0 {
            self.findings.quarantines += 1;
            self.findings.put_aside.extend(segment.quarantined.map(|aside| aside.file));
        }
        let tree = Tree::resume(segment.size, segment.edge).ok_or(Fault::Malformed)?;
        if segment.tree_first.checked_add(segment.size) != Some(sequence) {
            return Err(Fault::Malformed);
        }
        if let Some(kept) = &self.kept {
            self.findings.is_kept_older |= kept.log == segment.log && kept.size < segment.size;
        }
        if self.log.is_none() && segment.size > 0 {
            self.before = Some((segment.log.clone(), tree.size(), tree.root()));
        }
        self.log = Some(Log {
            name: segment.log,
            first: segment.tree_first,
            next: sequence,
            begins_at: tree.size(),
            tree,
            signer: None,
            unsealed_from: sequence,
            unsealed: 0,
        });
        self.compare_with_kept()
    }

    /// The log, as far as it was read.
    pub(in crate::audit) fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// The same, to go on with.
    pub(in crate::audit) fn into_log(self) -> Option<Log> {
        self.log
    }

    /// What there is, where nothing was wrong.
    pub fn finish(self) -> Findings {
        self.findings
    }
}
