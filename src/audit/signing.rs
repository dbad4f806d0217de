//! Who vouches for the trail: checkpoints, each signed by a key that lives as long as the process, and the certificate
//! of that key by the one that operators keep.
//!
//! Both are signed notes (C2SP signed-note); a checkpoint is one of a transparency log (C2SP tlog-checkpoint), so that
//! other tools can check and witness them.

use ed25519_dalek::SigningKey;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint, Hash};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::tree::Tree;

/// The name of the keys that operators keep.
const KEPT: &str = "wardgate-audit";
/// The name of the keys of one process.
const BOOT: &str = "wardgate-audit-boot";
/// What begins a certificate: no checkpoint begins so, whose first line names a log.
const CERTIFIES: &str = "This process signs checkpoints of the log named below.";
/// Ed25519 in keys of signed notes.
const ED25519: u8 = 1;

/// A key that signs.
pub struct Key {
    signer: StandardSigner,
    public: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Key({})", self.public)
    }
}

/// The name of a log in its checkpoints.
pub fn log_name(log: &str) -> String {
    format!("wardgate-audit/{log}")
}

impl Key {
    /// The key that operators keep, of its secret.
    pub fn kept(secret: &[u8; 32]) -> Option<Self> {
        Self::new(KEPT, secret)
    }

    /// The key of a process.
    pub fn boot(secret: &[u8; 32]) -> Option<Self> {
        Self::new(BOOT, secret)
    }

    fn new(name: &str, secret: &[u8; 32]) -> Option<Self> {
        let public = SigningKey::from_bytes(secret).verifying_key();
        let id = signed_note::key_id(name, &[&[ED25519], public.as_bytes().as_slice()].concat());
        let secret = Zeroizing::new([&[ED25519], secret.as_slice()].concat());
        let secret = Zeroizing::new(STANDARD.encode(&*secret));
        let text = Zeroizing::new(format!("PRIVATE+KEY+{name}+{id:08x}+{}", *secret));
        let signer = StandardSigner::new(&text).ok()?;
        Some(Self { signer, public: signed_note::new_ed25519_verifier_key(name, &public) })
    }

    /// What others check its signatures with, as text.
    pub fn public(&self) -> &str {
        &self.public
    }

    fn sign(&self, text: &[u8]) -> Option<String> {
        let mut note = Note::new(text, &[]).ok()?;
        note.add_sigs(&[&self.signer]).ok()?;
        String::from_utf8(note.to_bytes()).ok()
    }

    /// Certifies another process's key (its public text) for what one log becomes after these records.
    pub fn certify(&self, boot: &str, log: &str, after: &Tree) -> Option<String> {
        self.sign(certificate(boot, log, after.size(), after.root()).as_bytes())
    }

    /// Signs that the log has this root at this size.
    pub fn checkpoint(&self, log: &str, size: u64, root: Hash) -> Option<String> {
        self.sign(&Checkpoint::new(&log_name(log), size, root, "").ok()?.to_bytes())
    }
}

fn certificate(boot: &str, log: &str, size: u64, root: Hash) -> String {
    format!("{CERTIFIES}\n{}\n{boot}\n{size}\n{root}\n", log_name(log))
}

/// A process's key, and the records behind which it may sign.
pub struct Certified {
    key: Trusted,
    /// How many records the log had when the process began to write.
    pub size: u64,
    /// The root of its tree then.
    pub root: Hash,
}

impl Certified {
    /// What a checkpoint of the log says, where this key has signed it and may: the size and the root.
    pub fn checkpoint(&self, note: &str, log: &str) -> Option<(u64, Hash)> {
        self.key.checkpoint(note, log).filter(|(size, _)| *size > self.size)
    }
}

/// A key that checks.
pub struct Trusted(VerifierList);

impl Trusted {
    /// Of the public text.
    pub fn read(public: &str) -> Option<Self> {
        let key = StandardVerifier::new(public.trim()).ok()?;
        Some(Self(VerifierList::new(vec![Box::new(key)])))
    }

    fn text(&self, note: &str) -> Option<Vec<u8>> {
        let note = Note::from_bytes(note.as_bytes()).ok()?;
        note.verify(&self.0).ok()?;
        Some(note.text().to_vec())
    }

    /// The key of a process, where this key has certified it for the log.
    pub fn certified(&self, note: &str, boot: &str, log: &str) -> Option<Certified> {
        let text = String::from_utf8(self.text(note)?).ok()?;
        let mut lines = text.lines().skip(3);
        let size = lines.next()?.parse().ok()?;
        let root = Hash::parse_hash(lines.next()?).ok()?;
        // Whatever else there is, or is written in another way, is not what a gateway certifies.
        (text == certificate(boot, log, size, root)).then_some(())?;
        Some(Certified { key: Self::read(boot)?, size, root })
    }

    /// What a checkpoint of the log says, where this key has signed it: the size and the root.
    pub fn checkpoint(&self, note: &str, log: &str) -> Option<(u64, Hash)> {
        let checkpoint = Checkpoint::from_bytes(&self.text(note)?).ok()?;
        (checkpoint.origin() == log_name(log)).then(|| (checkpoint.size(), *checkpoint.hash()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn only_the_certified_key_of_this_log_counts() {
        let (kept, boot) = (Key::kept(&[1; 32]).expect("a key"), Key::boot(&[2; 32]).expect("a key"));
        let trusted = Trusted::read(kept.public()).expect("a key");
        let mut tree = Tree::default();
        let certificate = kept.certify(boot.public(), "a1", &tree).expect("signed");
        let certified = trusted.certified(&certificate, boot.public(), "a1").expect("certified");
        assert_eq!((certified.size, certified.root), (0, tree.root()));
        tree.push(b"{}");
        let note = boot.checkpoint("a1", 1, tree.root()).expect("signed");
        assert_eq!(certified.checkpoint(&note, "a1"), Some((1, tree.root())));
        // Another log's, another key's, a changed one.
        assert!(certified.checkpoint(&note, "a2").is_none());
        assert!(trusted.checkpoint(&note, "a1").is_none());
        // Of what was there before its process.
        let later = kept.certify(boot.public(), "a1", &tree).expect("signed");
        let later = trusted.certified(&later, boot.public(), "a1").expect("certified");
        assert!(later.checkpoint(&note, "a1").is_none());
        assert!(certified.checkpoint(&note.replacen("\n1\n", "\n2\n", 1), "a1").is_none());
        assert!(trusted.certified(&certificate, boot.public(), "a2").is_none());
        let other = Key::boot(&[3; 32]).expect("a key");
        assert!(trusted.certified(&certificate, other.public(), "a1").is_none());
        let foreign = other.certify(other.public(), "a1", &tree).expect("signed");
        assert!(trusted.certified(&foreign, other.public(), "a1").is_none());
        // A checkpoint is no certificate.
        assert!(
            trusted.certified(&kept.checkpoint("a1", 1, tree.root()).expect("signed"), "", "a1").is_none()
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", Key::kept(&[7; 32])).contains("PRIVATE"));
    }
}
